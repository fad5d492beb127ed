"""R1 and R22 under concurrency: many dialers over few hot records with holds of one second.

What every client saw is checked by the demo's checker, which knows the rules and not the server.
"""

import random
import threading
import time

import grpc
import msgspec
import pytest
from harness import ServerProcess, poll
from load import Dialer, Threads, logs_of, said
from sanitizer import patient_s
from subject import SECOND, Policy
from subject_grpc import GrpcSubject

from ownerd.demo.checker import check
from ownerd.demo.logbook import Claimed, Entry, PolicySet, ReleaseMade

POLICY = PolicySet(0, 0, SECOND, SECOND, revision=0)
RECORDS = [str(number) for number in range(6)]
CAMPAIGNS = "ABCDABCDEFGH"
RUN_S = 4.0


@pytest.mark.parametrize("steered", [False, True], ids=["dialing only", "with steering"])
def test_r1_no_history_of_many_clients_shows_two_holders(
    shared_server: ServerProcess, unique: str, steered: bool
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    subject = GrpcSubject(shared_server.dial_stub(), shared_server.admin_stub())
    # Without a window no owner is renewed, so records change hands more often.
    window_ns = None if steered else 0
    policy = Policy(True, POLICY.duration_ns, window_ns, POLICY.reservation_ttl_ns)
    subject.create_list(unique, policy)
    for campaign_id in CAMPAIGNS:
        subject.upsert_campaign(campaign_id, "")
    dialers = _dialers(shared_server, unique, seed)
    steering = Steering(subject, unique, seed) if steered else None
    work = [dialer.run for dialer in dialers] + ([steering.run] if steering else [])
    with Threads(*work) as threads:
        threads.stopping.wait(RUN_S)
        poll(lambda: _is_rich(dialers), "a history in which much happens", patient_s(60))
    logs = logs_of(dialers)
    admin = [POLICY, *(steering.log if steering else [])]
    assert [error for dialer in dialers for error in dialer.errors] == []
    print(said(logs))
    assert check(logs, admin).violations == []
    assert check(_doctored(logs, seed), admin).violations != [], "the checks see nothing"


def test_r3_holds_outlast_kills_and_restarts(server: ServerProcess) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    policy = Policy(True, POLICY.duration_ns, 0, POLICY.reservation_ttl_ns)
    GrpcSubject(server.dial_stub(), server.admin_stub()).create_list("list", policy)
    everyone: list[Dialer] = []
    for life in range(4):
        dialers = _dialers(server, "list", seed + 100 * life)
        with Threads(*(dialer.run for dialer in dialers)) as threads:
            threads.stopping.wait(1.2)
            server.kill()
        everyone += dialers
        errors = {error for dialer in dialers for error in dialer.errors}
        assert errors <= {grpc.StatusCode.UNAVAILABLE}
        server.start()
    logs = logs_of(everyone)
    counts = said(logs)
    print(counts.total(), "calls:", dict(counts))
    assert counts["ACQUIRED"] > 10 and counts["DENIED"] > 100 and counts[None] > 0
    assert check(logs, [POLICY]).violations == []


def _doctored(logs: dict[str, list[Entry]], seed: int) -> dict[str, list[Entry]]:
    """The same logs with five denials turned into grants."""
    doctored = {campaign_id: list(log) for campaign_id, log in logs.items()}
    denied = [
        (log, index)
        for log in doctored.values()
        for index, entry in enumerate(log)
        if isinstance(entry, Claimed) and entry.decision == "DENIED"
    ]
    for log, index in random.Random(seed).sample(denied, 5):
        log[index] = msgspec.structs.replace(
            log[index], decision="GRANTED", holder_id=None, holder_kind=None
        )
    return doctored


def _dialers(server: ServerProcess, list_id: str, seed: int) -> list[Dialer]:
    """Half of the clients speak to the dial port, half to the admin port."""
    ports = (server.dial_address, server.admin_address)
    return [
        Dialer(
            server.dial_stub(ports[number % 2]),
            list_id,
            campaign_id,
            RECORDS,
            seed + number,
            dialer_id=f"dialer {number}",
        )
        for number, campaign_id in enumerate(CAMPAIGNS)
    ]


def _is_rich(dialers: list[Dialer]) -> bool:
    """A history in which nothing happened proves nothing: holds expire, records change hands."""
    counts = said(logs_of(dialers))
    return (
        counts.total() > 1000
        and counts["DENIED"] > 100
        and counts["GRANTED"] > 30
        and counts["ACQUIRED"] >= 3 * len(RECORDS)
        and counts["RESERVATION_CLEARED"] > 0
    )


class Steering:
    """An administrator who releases, stops and changes the duration while others dial."""

    def __init__(self, subject: GrpcSubject, list_id: str, seed: int) -> None:
        self.subject = subject
        self.list_id = list_id
        self.chance = random.Random(seed)
        self.log: list[Entry] = []
        self.duration_ns = SECOND

    def run(self, stopping: threading.Event) -> None:
        while not stopping.wait(self.chance.uniform(0.02, 0.4)):
            self.log.append(self._steer(self.chance.choice(("release", "stop", "duration"))))

    def _steer(self, kind: str) -> Entry:
        ask_ns = time.monotonic_ns()
        if kind == "duration":
            self.duration_ns = 3 * SECOND - self.duration_ns
            self.subject.update_policy(self.list_id, Policy(True, self.duration_ns, None, SECOND))
            return PolicySet(*self._answered(ask_ns), self.duration_ns, SECOND, self._revision())
        if kind == "stop":
            campaign_id = self.chance.choice(CAMPAIGNS)
            self.subject.signal(campaign_id, "STOPPED", self.list_id, True)
            ended = [campaign_id], True, False
        else:
            self.subject.release(self.list_id)
            ended = None, False, True
        return ReleaseMade(*self._answered(ask_ns), *ended, self._revision())

    def _answered(self, ask_ns: int) -> tuple[int, int]:
        return ask_ns, time.monotonic_ns()

    def _revision(self) -> int:
        return self.subject.last_answer.revision
