"""R18: what was answered is on the disk, whatever happens to the process or to its disk."""

import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest
from harness import ServerDidNotStart, ServerProcess, poll
from ledger import Ledger
from load import Threads
from sanitizer import patient_s
from shim import SyncShim
from subject import DAY, Policy, Refusal, Subject
from subject_engine import EngineSubject
from subject_grpc import GrpcSubject

from ownerd.base.testing import FAILPOINTS
from ownerd.engine import engine as native
from ownerd.v1 import admin_pb2, dial_pb2

ROUNDS = (12, pytest.param(200, marks=pytest.mark.long))
LEDGERS = 4
HELD = Policy(True, None, None, DAY)


def _subject(server: ServerProcess) -> GrpcSubject:
    return GrpcSubject(server.dial_stub(), server.admin_stub())


def _ledgers(subject: Subject, seed: int) -> list[Ledger]:
    print(f"seed {seed}")
    ledgers = [Ledger(f"ledger-{number}", seed + number) for number in range(LEDGERS)]
    for campaign_id in "ABC":
        subject.upsert_campaign(campaign_id, "")
    for ledger in ledgers:
        ledger.open(subject)
    return ledgers


def _acknowledged_count(ledgers: list[Ledger]) -> int:
    return sum(ledger.acknowledged_count for ledger in ledgers)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_r18_a_kill_loses_nothing_that_was_answered_and_invents_nothing(
    tmp_path: Path, rounds: int
) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    server = ServerProcess(tmp_path, "--settle-interval-s", "1")
    with server:
        ledgers = _ledgers(_subject(server), seed)
        for _ in range(rounds):
            enough = _acknowledged_count(ledgers) + chance.randrange(20, 400)
            with Threads(*(ledger.run for ledger in ledgers)) as threads:
                have_made = partial(_have_made, ledgers, enough, threads)
                poll(have_made, f"{enough} acknowledged calls", patient_s(60))
                seen = _subject(server).revision()
                server.kill()
            _check_after_restart(server.start(), ledgers, seen)
        resolved = [ledger.doubts_resolved for ledger in ledgers]
        print(_acknowledged_count(ledgers), "calls acknowledged; in doubt:", resolved)
        assert server.stop() == 0
    verify = [sys.executable, "-m", "ownerd.server", "verify", str(tmp_path)]
    subprocess.run(verify, check=True, timeout=patient_s(60), stdout=subprocess.DEVNULL)


def _have_made(ledgers: list[Ledger], enough: int, threads: Threads) -> bool:
    return bool(threads.failures) or _acknowledged_count(ledgers) > enough


def _check_after_restart(server: ServerProcess, ledgers: list[Ledger], seen: int) -> None:
    subject = _subject(server)
    revision = subject.revision()
    assert revision >= seen
    for ledger in ledgers:
        ledger.reconcile(_subject(server))
    subject.upsert_campaign("A", "")
    assert subject.revision() > revision


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.long)])
@pytest.mark.parametrize("point", [point for point in FAILPOINTS if point != "in_migration"])
def test_r18_a_crash_at_any_step_of_commit_and_maintenance_loses_nothing_that_was_answered(
    tmp_path: Path, point: str, times: int
) -> None:
    """The server is killed at a named place, by itself, after the place was passed a few times."""
    seed = random.randrange(2**32)
    with closing(EngineSubject(tmp_path, time.time_ns())) as subject:
        ledgers = _ledgers(subject, seed)
        seen = subject.revision()
    server = ServerProcess(tmp_path, "--settle-interval-s", "1", "--overlay-bytes", "8MiB")
    with ExitStack() as ending:
        ending.push(server)
        for passes in random.Random(seed).sample((0, 1, 2, 3, 4), times):
            server.environment["OWNERD_FAILPOINT"] = f"{point}:{passes}"
            server.launch()
            with Threads(*(partial(_run_once_up, ledger, server) for ledger in ledgers)) as threads:
                poll(
                    lambda: threads.failures or server.exit_code is not None,
                    "the crash",
                    patient_s(60),
                )
                assert not threads.failures and server.wait() == -signal.SIGKILL
            del server.environment["OWNERD_FAILPOINT"]
            _check_after_restart(server.start(), ledgers, seen)
            seen = _subject(server).revision()
            assert server.stop() == 0


def _run_once_up(ledger: Ledger, server: ServerProcess, stopping: threading.Event) -> None:
    """Run a ledger on a server that may end before it even listens."""
    try:
        poll(
            lambda: server.address("dial") and server.address("admin"),
            "the listeners",
            patient_s(5),
        )
    except TimeoutError:
        return
    ledger.subject = _subject(server)
    ledger.run(stopping)


def test_r18_revisions_never_repeat_across_kills(tmp_path: Path) -> None:
    given: list[int] = []
    server = ServerProcess(tmp_path)
    with server:
        _subject(server).create_list("list", HELD)
        for life in range(4):
            subject = _subject(server)
            for number in range(25):
                answer = subject.claim("list", f"{life}-{number}", "A")
                given.append(answer.revision)
            server.kill()
            server.start()
    assert given == sorted(set(given))


@pytest.mark.usefixtures("dial_listener")
def test_r18_sigterm_under_load_answers_every_call_and_exits_with_0(server: ServerProcess) -> None:
    ledgers = _ledgers(_subject(server), random.randrange(2**32))
    with Threads(*(ledger.run for ledger in ledgers)) as threads:
        poll(
            lambda: threads.failures or _acknowledged_count(ledgers) > 200,
            "some calls",
            patient_s(60),
        )
        assert server.stop() == 0
    assert "Traceback" not in server.log_text
    server.start()
    for ledger in ledgers:
        ledger.reconcile(_subject(server))


def test_two_servers_on_one_directory_the_second_ends_with_a_clear_line(
    server: ServerProcess,
) -> None:
    _subject(server).create_list("list", HELD)
    with pytest.raises(ServerDidNotStart) as failure:
        ServerProcess(server.directory).start()
    assert failure.value.exit_code == 3
    assert str(server.directory) in failure.value.log_text
    assert len(failure.value.log_text.splitlines()) == 1
    assert _subject(server).claim("list", "1", "A").what == "GRANTED"


def test_two_engines_on_one_directory_the_second_is_refused(engine: EngineSubject) -> None:
    with pytest.raises(native.StoreInUseError):
        native.Engine(engine.directory)
    engine.create_list("list")


def test_the_directory_is_free_again_after_a_kill(server: ServerProcess) -> None:
    server.kill()
    server.start()
    assert _subject(server).campaigns() == {}


# ---- a disk that fails, or is slow


@pytest.fixture
def shim(tmp_path: Path) -> SyncShim:
    return SyncShim(tmp_path / "shim")


@pytest.mark.usefixtures("dial_listener")
@pytest.mark.parametrize("what", ["fail", "fail-write"])
def test_r18_a_failed_sync_or_write_stops_the_server(
    tmp_path: Path, shim: SyncShim, what: str
) -> None:
    server = ServerProcess(tmp_path / "data", environment=shim.environment)
    with server:
        subject = _subject(server)
        subject.create_list("list", HELD)
        granted = [str(n) for n in range(50) if subject.claim("list", str(n), "A").what]
        shim.fail(what)
        with pytest.raises(Refusal) as refusal:
            subject.claim("list", "in doubt", "A")
        assert refusal.value.code == "UNAVAILABLE"
        with pytest.raises(Refusal) as refusal:
            subject.claim("list", "later", "A")
        assert refusal.value.code == "UNAVAILABLE"
        assert server.wait() == 4
        assert "storage_failed" in [event.get("event") for event in server.events]
        assert shim.failed_count == 1, "a failed sync is never tried again"
    with ServerProcess(server.directory) as again:
        subject = _subject(again)
        assert all(subject.holder("list", record_id) for record_id in granted)
        assert subject.holder("list", "later") is None
        assert subject.claim("list", "in doubt", "A").what == "GRANTED"


def test_r18_a_failed_sync_of_an_admin_change_stops_the_server_too(
    tmp_path: Path, shim: SyncShim
) -> None:
    with ServerProcess(tmp_path / "data", environment=shim.environment) as server:
        subject = _subject(server)
        subject.create_list("list", HELD)
        shim.fail()
        with pytest.raises(Refusal) as refusal:
            subject.update_policy("list", HELD._replace(enabled=False))
        assert refusal.value.code == "UNAVAILABLE"
        assert server.wait() == 4


@pytest.mark.usefixtures("dial_listener")
def test_r18_a_failed_sync_of_maintenance_stops_the_server(tmp_path: Path, shim: SyncShim) -> None:
    quick = ("--settle-interval-s", "1")
    with ServerProcess(tmp_path / "data", *quick, environment=shim.environment) as server:
        subject = _subject(server)
        subject.create_list("list", HELD)
        granted = [str(n) for n in range(50) if subject.claim("list", str(n), "A").what]
        shim.fail()
        assert server.wait() == 4
        assert shim.failed_count == 1, "a failed sync is never tried again"
    with ServerProcess(server.directory) as again:
        assert all(_subject(again).holder("list", record_id) for record_id in granted)


def test_r18_slow_syncs_make_slow_answers_and_nothing_worse(tmp_path: Path, shim: SyncShim) -> None:
    with ServerProcess(
        tmp_path / "data", "--queue-limit", "10000", environment=shim.environment
    ) as server:
        subject = _subject(server)
        subject.create_list("list", HELD)
        request = dial_pb2.ClaimRequest(list_id="list", record_id="late", campaign_id="A")
        with shim.slow():
            assert subject.claim("list", "1", "A").what == "GRANTED"
            hasty = server.dial_stub().Claim.future(request, timeout=0.1)
            assert hasty.exception(30).code().name == "DEADLINE_EXCEEDED"
            assert subject.claim("list", "1", "B").what == "DENIED"
        assert subject.claim("list", "late", "A").what == "GRANTED"
        assert server.stop() == 0


def test_r18_no_answer_comes_before_its_sync_and_nobody_sees_what_is_not_on_disk(
    tmp_path: Path, shim: SyncShim
) -> None:
    with ServerProcess(tmp_path / "data", environment=shim.environment) as server:
        subject = _subject(server)
        subject.create_list("list", HELD)
        request = dial_pb2.ClaimRequest(list_id="list", record_id="1", campaign_id="A")
        with shim.holding():
            granted = server.dial_stub().Claim.future(request, timeout=patient_s(60))
            shim.wait_until_held()
            look = dial_pb2.GetHolderRequest(list_id="list", record_id="1")
            seen = server.dial_stub().GetHolder.future(look, timeout=patient_s(60))
            list_owners = admin_pb2.ListOwnersRequest(list_id="list")
            owners = server.admin_stub().ListOwners.future(list_owners, timeout=patient_s(60))
            # Whatever is answered from here on was asked while the commit was under way.
            revision = subject.revision()
            assert not granted.done()
            assert not seen.done() or not seen.result().HasField("holder")
            assert not owners.done() or not owners.result().owners
        assert granted.result(30).decision == dial_pb2.CLAIM_DECISION_GRANTED
        assert granted.result().revision > revision
        assert subject.holder("list", "1") is not None


@pytest.mark.usefixtures("dial_listener")
def test_r18_a_client_that_gives_up_does_not_take_its_commit_back(
    tmp_path: Path, shim: SyncShim
) -> None:
    with ServerProcess(tmp_path / "data", environment=shim.environment) as server:
        subject = _subject(server)
        subject.create_list("list", HELD)
        request = dial_pb2.ClaimRequest(list_id="list", record_id="1", campaign_id="A")
        with shim.holding():
            call = server.dial_stub().Claim.future(request, timeout=patient_s(60))
            shim.wait_until_held()
            call.cancel()
        holder = poll(lambda: subject.holder("list", "1"), "the commit of a cancelled call")
        assert (holder.kind, holder.campaign_id) == ("RESERVED", "A")
        assert subject.claim("list", "1", "B").what == "DENIED"
        assert server.stop() == 0
        assert "Traceback" not in server.log_text


@pytest.mark.usefixtures("dial_listener")
def test_r18_a_kill_while_a_sync_waits_leaves_a_store_that_opens(
    tmp_path: Path, shim: SyncShim
) -> None:
    server = ServerProcess(tmp_path / "data", environment=shim.environment)
    with server:
        subject = _subject(server)
        subject.create_list("list", HELD)
        subject.claim("list", "answered", "A")
        with shim.holding():
            request = dial_pb2.ClaimRequest(list_id="list", record_id="in doubt", campaign_id="A")
            call = server.dial_stub().Claim.future(request, timeout=patient_s(60))
            shim.wait_until_held()
            server.kill()
        assert call.exception(30) is not None
        subject = _subject(server.start())
        assert subject.claim("list", "answered", "B").what == "DENIED"
        assert subject.claim("list", "in doubt", "A").what == "GRANTED"


@pytest.mark.usefixtures("dial_listener")
def test_sigterm_while_a_sync_waits_still_answers_the_call(tmp_path: Path, shim: SyncShim) -> None:
    with ServerProcess(tmp_path / "data", environment=shim.environment) as server:
        _subject(server).create_list("list", HELD)
        with shim.holding():
            request = dial_pb2.ClaimRequest(list_id="list", record_id="1", campaign_id="A")
            call = server.dial_stub().Claim.future(request, timeout=patient_s(60))
            shim.wait_until_held()
            server.ask_to_stop()
            poll(lambda: "asked_to_stop" in server.log_text, "the server to hear the signal")
            assert not call.done()
        assert call.result(30).decision == dial_pb2.CLAIM_DECISION_GRANTED
        assert server.wait() == 0
