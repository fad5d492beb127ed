"""What signals do to a server: SIGHUP reads the settings again, some drain, the rest do nothing."""

import signal
from pathlib import Path

import pytest
from harness import ServerProcess, poll
from tls_files import Authority, Files

from ownerd.server.signals import IGNORED, STOPPING
from ownerd.v1 import admin_pb2


def write(path: Path, **settings: object) -> None:
    path.write_text("".join(f"{name} = {value!r}\n" for name, value in settings.items()))


def reload(server: ServerProcess, event: str = "reloaded") -> dict[str, object]:
    """Send SIGHUP and return the event that says how it went."""
    seen = len(server.events)
    server.send(signal.SIGHUP)
    return poll(
        lambda: next((e for e in server.events[seen:] if e["event"] == event), None),
        f"{event}:\n{server.log_text}",
    )


def test_hangup_does_not_end_a_server(server: ServerProcess) -> None:
    assert reload(server)["changed"] == []
    assert server.running
    assert alarms(server) == []
    assert server.stop() == 0


@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_a_signal_to_stop_drains(tmp_path: Path, number: signal.Signals) -> None:
    with ServerProcess(tmp_path / "data") as server:
        server.send(number)
        assert server.wait() == 0
        asked = next(each for each in server.events if each["event"] == "asked_to_stop")
        assert asked["signal"] == number.name


def test_any_other_signal_does_nothing(server: ServerProcess) -> None:
    for number in IGNORED:
        server.send(number)
    assert reload(server)["changed"] == []  # so that they have come
    assert server.running and server.stop() == 0


def test_no_signal_that_a_program_can_take_is_left_out() -> None:
    left = signal.valid_signals() - set(STOPPING) - set(IGNORED) - {signal.SIGHUP}
    assert left == {
        *(signal.SIGKILL, signal.SIGSTOP),
        # Of faults, which end a process that goes on no longer.
        *(signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV),
        *(signal.SIGSYS, signal.SIGTRAP),
        # Which a shell stops and continues a job by, and those that end nothing.
        *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT, signal.SIGCHLD),
        *(signal.SIGURG, signal.SIGWINCH),
        # Ignored by Python itself, so that writing fails instead.
        *(signal.SIGPIPE, signal.SIGXFSZ),
    }


def test_a_reload_takes_what_it_can_and_names_what_needs_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "ownerd.toml"
    write(path, log_level="info", queue_limit=20_000)
    with ServerProcess(tmp_path / "data", "--config", str(path)) as server:
        write(
            path,
            log_level="debug",
            queue_limit=10_000,
            drain_timeout_s=5,
            dial_max_streams=7,
            dial_max_idle_s=99,
            reserve_bytes="65MiB",
            map_bytes="1GiB",
        )
        taken = ["drain_timeout_s", "log_level", "queue_limit"]
        native = any(each.get("kind") == "native" for each in server.events)
        limits = ["dial_max_idle_s", "dial_max_streams"]
        assert reload(server)["changed"] == sorted(taken + limits if native else taken)
        left = next(each for each in server.events if each["event"] == "restart_needed")
        assert left["settings"] == sorted(
            ["map_bytes", "reserve_bytes"] + ([] if native else limits)
        )
        # What was taken is in force, and named no more.
        assert reload(server)["changed"] == []
        write(path, log_level="error")
        seen = len(server.events)
        server.send(signal.SIGHUP)
        assert server.stop() == 0
        assert all(each["level"] != "info" for each in server.events[seen + 2 :])


def test_settings_that_are_wrong_change_nothing_and_are_an_alarm(tmp_path: Path) -> None:
    path = tmp_path / "ownerd.toml"
    write(path, queue_limit=20_000)
    with ServerProcess(tmp_path / "data", "--config", str(path)) as server:
        for text in ("queue_limit = 1\n", "nonsense = 1\n", "no toml", None):
            if text is None:
                path.unlink()
            else:
                path.write_text(text)
            assert str(path) in str(reload(server, "reload_failed")["cause"])
            assert alarms(server) == ["RELOAD_FAILED"]
        write(path, queue_limit=30_000)
        assert reload(server)["changed"] == ["queue_limit"]
        assert alarms(server) == []


def test_a_certificate_under_another_name_is_taken_by_a_reload(tmp_path: Path) -> None:
    ours = Authority()
    first = Files(tmp_path / "one", ours.issue())
    second = Files(tmp_path / "two", ours.issue())
    path = tmp_path / "ownerd.toml"
    write(path, tls_certificate=str(first.certificate), tls_key=str(first.key))
    with ServerProcess(tmp_path / "data", "--config", str(path)) as server:
        write(path, tls_certificate=str(second.certificate), tls_key=str(second.key))
        assert reload(server)["changed"] == ["tls_certificate", "tls_key"]
        assert any(each["event"] == "tls_reloaded" for each in server.events)
        write(path, tls_certificate=str(second.certificate), tls_key=str(first.key))
        assert "does not fit" in str(reload(server, "reload_failed")["cause"])
        path.write_text("")
        reload(server)
        left = [each for each in server.events if each["event"] == "restart_needed"][-1]
        assert left["settings"] == ["tls_certificate", "tls_key"]


def alarms(server: ServerProcess) -> list[str]:
    """Return the alarms that are up."""
    answer = server.admin_stub().GetServerStatus(admin_pb2.GetServerStatusRequest(), timeout=10)
    return [alarm.name for alarm in answer.alarms]
