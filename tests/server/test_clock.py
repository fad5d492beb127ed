"""A clock that is wrong: alarms, lines of the log, imports that say so, and the way back."""

import json
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from harness import ServerProcess, poll
from sanitizer import patient_s, plain_environment, preload

from ownerd.base.testing import ManualClock
from ownerd.engine.engine import Engine, Policy
from ownerd.server import alarms
from ownerd.v1 import admin_pb2

DAY_NS = 86_400 * 10**9
POLICY = Policy(True, 3 * DAY_NS, None, 300 * 10**9)
OK, USAGE, IN_USE = 0, 2, 3


def ownerd_clock(store: Path, *arguments: str) -> tuple[int, str]:
    """Run `ownerd clock`; return its exit code and all that it printed."""
    command = [sys.executable, "-m", "ownerd.server", "clock", "--data", str(store)]
    run = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=patient_s(60)
    )
    return run.returncode, run.stdout + run.stderr


def logged(server: ServerProcess, event: str) -> list[dict[str, object]]:
    """Return the lines of a server's log with this event."""
    lines = [json.loads(line) for line in server.log_lines if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


@pytest.fixture
def ahead(tmp_path: Path) -> Path:
    """A store that was served once by a clock ten years ahead, then stopped."""
    wrong = ManualClock(time.time_ns() + 3_650 * DAY_NS)
    with Engine(str(tmp_path / "store"), wrong, background=False) as engine:
        engine.create_list("list", POLICY)
        engine.import_rows("list", [("1", "A", "", wrong.now_ns() + DAY_NS, None)], 1)
    return tmp_path / "store"


def clock_alarms(server: ServerProcess) -> list[str]:
    """Return the names of the alarms about the clock."""
    status = server.admin_stub().GetServerStatus(admin_pb2.GetServerStatusRequest())
    return [alarm.name for alarm in status.alarms if alarm.name == "CLOCK_OFF"]


def import_until(server: ServerProcess, end: datetime) -> admin_pb2.ImportOwnershipResponse:
    """Import one ownership."""
    row = admin_pb2.OwnershipRow(record_id="2", campaign_id="B")
    row.expire_time.FromDatetime(end)
    request = admin_pb2.ImportOwnershipRequest(list_id="list", rows=[row])
    return server.admin_stub().ImportOwnership(iter([request]))


def test_r19_a_time_far_ahead_is_an_alarm_a_line_of_the_log_and_said_with_an_import(
    ahead: Path,
) -> None:
    with ServerProcess(ahead) as server:
        assert clock_alarms(server) == ["CLOCK_OFF"]
        poll(lambda: logged(server, "alarm_raised"), "the line about the alarm")
        assert logged(server, "alarm_raised")[0]["alarm"] == "CLOCK_OFF"
        answer = import_until(server, datetime.now(UTC) + timedelta(days=30))
        assert answer.expired_count == 1
        assert answer.clock_offset.ToSeconds() > 3_600 * 86_400
        assert logged(server, "import_judged_by_a_wrong_time")


def test_r19_ownerd_clock_is_the_way_back(ahead: Path) -> None:
    with ServerProcess(ahead):
        assert ownerd_clock(ahead)[0] == IN_USE
    code, said = ownerd_clock(ahead)
    assert (code, "ends no hold" in said, "list: 1 ownerships" in said) == (OK, True, True), said
    code, said = ownerd_clock(ahead, "--set-back")
    assert (code, "No hold was ended" in said) == (OK, True), said
    assert ownerd_clock(ahead, "--set-back")[0] == USAGE
    with ServerProcess(ahead) as server:
        assert clock_alarms(server) == []
        answer = import_until(server, datetime.now(UTC) + timedelta(days=30))
        assert (answer.imported_count, answer.HasField("clock_offset")) == (1, False)
        request = admin_pb2.ListOwnedRecordsRequest(list_id="list")
        owned = server.admin_stub().ListOwnedRecords(request).records
        assert [record.record_id for record in owned] == ["1", "2"]
        left = owned[0].expire_time.ToDatetime(UTC) - datetime.now(UTC)
        assert timedelta(hours=23) < left <= timedelta(days=1)
        entries = server.admin_stub().ListAuditEntries(admin_pb2.ListAuditEntriesRequest()).entries
        assert "SetTimeBack" in [entry.action for entry in entries]


@pytest.mark.unsanitized("address", "thread", reason="its runtime does not start with faketime")
@pytest.mark.parametrize("shift", ["+8h", "-8h", "+2m"])
def test_r19_a_clock_that_is_off_while_serving_is_an_alarm(tmp_path: Path, shift: str) -> None:
    if shutil.which("faketime") is None:
        pytest.skip("there is no faketime here")
    file = tmp_path / "shift"
    file.write_text("+0")
    environment = {"FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_CACHE_DURATION": "1"}
    command = ("faketime", "-f", "+0")
    library = subprocess.run(
        [*command, "printenv", "LD_PRELOAD"],
        env=plain_environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    environment |= {"LD_PRELOAD": preload(library), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with ServerProcess(tmp_path / "store", environment=environment) as server:
        assert clock_alarms(server) == []
        file.write_text(shift)
        poll(lambda: clock_alarms(server), "the alarm")
        poll(lambda: logged(server, "alarm_raised"), "the line of the log")
        file.write_text("+0")
        poll(lambda: not clock_alarms(server), "the end of the alarm")
        poll(lambda: logged(server, "alarm_ended"), "the line of its end")


def test_a_clock_far_ahead_of_what_the_store_has_seen_is_told_of_at_once(tmp_path: Path) -> None:
    past = ManualClock(time.time_ns() - 400 * DAY_NS)
    with Engine(str(tmp_path / "store"), past, background=False) as engine:
        engine.create_list("list", POLICY)
    with ServerProcess(tmp_path / "store") as server:
        assert logged(server, "clock_far_ahead")[0]["days"] in (399, 400)
        server.admin_stub().UpsertCampaign(admin_pb2.UpsertCampaignRequest(campaign_id="A"))
        server.restart()
        assert logged(server, "clock_far_ahead") == []


def test_each_alarm_is_told_of_when_it_goes_up_and_when_it_goes_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[str, object]] = []
    up: list[alarms.Alarm] = []
    log = alarms.AlarmLog(lambda: list(up))

    class Lines:
        def warning(self, event: str, **fields: object) -> None:
            told.append((event, fields["alarm"]))

        info = warning

    monkeypatch.setattr(alarms, "log", Lines())
    log.look()
    up.append(("clock_off", "text"))
    log.look()
    log.look()
    up.clear()
    log.look()
    assert told == [("alarm_raised", "CLOCK_OFF"), ("alarm_ended", "CLOCK_OFF")]
