"""What is wrong is found, from here and on the server, and told with what to do."""

import json
import os
import re
import subprocess
import sys
import tarfile
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from harness import ServerProcess
from tls_files import NOW, Authority, Files

from ownerd.ctl import cli
from ownerd.ctl.commands import doctors
from ownerd.ctl.terminal.exits import Exit
from ownerd.server import config
from ownerd.server.workings import Workings

SECRET = re.compile(r"ownerd_[A-Za-z0-9_-]{43}|PRIVATE KEY")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server whose certificate ends within days; `ca` is the file of its CA."""
    directory = tmp_path_factory.mktemp("doctor")
    authority = Authority()
    pair = authority.issue(not_after=NOW + timedelta(days=3))
    files = Files(directory / "tls", pair)
    tls = ("--tls-certificate", str(files.certificate), "--tls-key", str(files.key))
    with ServerProcess(directory / "data", *tls, auth=True) as process:
        process.ca = directory / "ca.pem"
        process.ca.write_bytes(authority.pem)
        yield process


@pytest.fixture
def ctl(server, capsys, monkeypatch):
    monkeypatch.setenv("OWNERD_SERVER", server.admin_address)
    monkeypatch.setenv("OWNERD_CA", str(server.ca))
    monkeypatch.setenv("OWNERD_TOKEN", server.token)

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_the_doctor_names_what_is_wrong_and_what_to_do(ctl):
    code, out, _ = ctl("doctor", "-o", "json")
    checks = {each["check"]: each for each in json.loads(out)["checks"]}
    assert code == Exit.ALARM
    assert {name for name in checks if checks[name]["status"] == "ok"} >= {
        "reach",
        "identity",
        "versions",
        "clocks",
        "disk_free",
        "map_free",
    }
    for name in ("server_certificate", "certificate"):
        assert checks[name]["status"] == "warning" and checks[name]["advice"]
    assert "TLS_CERTIFICATE_EXPIRES" in checks["alarms"]["found"]
    assert all(bool(each["advice"]) == (each["status"] != "ok") for each in checks.values())
    assert set(checks) >= {"disk_sync", "filesystem", "clock", "descriptors"}


def test_a_server_that_cannot_be_reached_is_a_finding(ctl):
    code, out, err = ctl("doctor", "--server", "127.0.0.1:1", "-o", "json")
    (check,) = json.loads(out)["checks"]
    assert (code, check["check"], check["status"], err) == (
        Exit.UNAVAILABLE,
        "reach",
        "failure",
        "",
    )
    assert "start one" in check["advice"] and "start one" not in check["found"]


def test_a_certificate_that_is_not_trusted_is_looked_at_all_the_same(ctl, tmp_path):
    (tmp_path / "other.pem").write_bytes(Authority().pem)
    code, out, _ = ctl("doctor", "--ca", tmp_path / "other.pem", "-o", "json")
    certificate, reach = json.loads(out)["checks"]
    assert (code, certificate["check"]) == (Exit.UNAVAILABLE, "server_certificate")
    assert "not trusted" in reach["found"]
    assert "--ca" in reach["advice"] and "ownerd serve" not in reach["advice"]


def test_what_grpc_itself_logs_of_a_failed_handshake_is_not_shown(server, tmp_path):
    (tmp_path / "other.pem").write_bytes(Authority().pem)
    words = ("status", "--server", server.admin_address, "--ca", str(tmp_path / "other.pem"))
    said = subprocess.run(
        [sys.executable, "-m", "ownerd.ctl", *words],
        env={**os.environ, "OWNERD_TOKEN": server.token},
        capture_output=True,
        text=True,
        timeout=60,
    ).stderr
    assert "not trusted" in said and said.count("\n") == 1


def test_a_token_that_cannot_be_read_is_a_finding_with_what_to_do(ctl, monkeypatch, tmp_path):
    monkeypatch.delenv("OWNERD_TOKEN")
    code, out, _ = ctl("doctor", "--token-file", tmp_path / "none", "-o", "json")
    reach = json.loads(out)["checks"][-1]
    assert (code, reach["check"]) == (Exit.PERMISSION, "reach")
    assert "No such file" in reach["found"] and "admin.token" in reach["advice"]


@pytest.mark.parametrize(
    ("begin_days", "end_days", "status", "found"),
    [
        (-9, -1, "failure", "expired at"),
        (1, 90, "failure", "not valid before"),
        (-1, 3, "warning", "expires in 3 days"),
        (-1, 90, "ok", "valid until"),
    ],
)
def test_a_certificate_is_judged_with_the_clock_that_judges_it(begin_days, end_days, status, found):
    begin_s, end_s = (time.time() + days * 86_400 for days in (begin_days, end_days))
    check = doctors._certificate(begin_s, end_s)
    assert check.status == status and check.found.startswith(found)
    assert ("this machine's clock says" in check.found) == (status == "failure")
    assert ("clock" in check.advice) == (status == "failure")


@pytest.mark.parametrize(
    ("free_mib", "alarms", "status", "found"),
    [
        (900, [], "ok", "900 MiB free"),
        (200, [], "warning", "is little"),
        (0, [], "failure", "grants go on while"),
        (0, [("disk_full", "")], "failure", "grants are refused"),
    ],
)
def test_that_grants_are_refused_is_said_only_when_they_are(free_mib, alarms, status, found):
    stats = {"disk_free_bytes": free_mib << 20, "map_free_bytes": 1 << 40}
    engine = SimpleNamespace(stats=lambda: stats, alarms=lambda: alarms)
    disk, map_free = Workings(engine, config.Settings(), None, lambda: None)._room()
    assert (disk.name, disk.status, map_free.status) == ("disk_free", status, "ok")
    assert found in disk.found and bool(disk.advice) == (status != "ok")


def test_what_one_looks_for_a_fault_by_is_in_one_archive_without_secrets(ctl, tmp_path, server):
    file = tmp_path / "d.tar.gz"
    assert ctl("debug", file)[0] == 0
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as archive:
        found = {each.name: archive.extractfile(each).read().decode() for each in archive}
    assert set(found) == {
        f"d/{name}"
        for name in (
            "doctor.json engine.json log.txt machine.txt metrics.txt ownerctl.json settings.json"
            " status.json threads.txt versions.json"
        ).split()
    }
    assert not SECRET.search(str(found)) and server.token not in str(found)
    assert json.loads(found["d/settings.json"])["data"] == str(server.directory)
    assert "ownerd_claims_total" in found["d/metrics.txt"] and '"serving"' in found["d/log.txt"]
    assert "workings.py" in found["d/threads.txt"] and "Max open files" in found["d/machine.txt"]
    code, _, err = ctl("debug", file)
    assert code == Exit.OUTPUT_FILE and "exists" in err


def test_no_setting_that_may_be_secret_is_shown(monkeypatch):
    settings = config.Settings()
    monkeypatch.setattr(config, "KEYS", {"etcd_password": config.KEYS["data"]})
    monkeypatch.setattr(config.Settings, "etcd_password", "hunter2", raising=False)
    shown = Workings(None, settings, None, lambda: None)._shown_settings()
    assert shown == {"etcd_password": "(not shown)"}


def test_the_log_level_is_set_at_run_time(ctl, server):
    assert json.loads(ctl("log-level", "-o", "json")[1])["level"] == "info"
    code, out, _ = ctl("log-level", "error")
    assert (code, out) == (0, "The log is written from error up.\n")
    server.send(1)  # reads its settings again, by which it is info
    import harness

    harness.poll(lambda: ctl("log-level", "-o", "name")[1] == "info\n", "the reload")
    assert ctl("log-level", "loud")[0] == Exit.USAGE
