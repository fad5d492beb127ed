"""`ownerctl backup`: what it writes where, and what it leaves alone."""

import io
import json
import os
import pty
import subprocess
import sys

import pytest
from sanitizer import patient_s

from ownerd.backupfile import reading
from ownerd.ctl import cli
from ownerd.ctl.terminal.exits import Exit


@pytest.fixture
def ctl(any_server, capsys, monkeypatch):
    """Run ownerctl against the server; returns exit code, stdout and stderr."""
    monkeypatch.setenv("OWNERD_SERVER", any_server.admin_address)

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def head_of(path):
    with path.open("rb") as file:
        return reading.read(file).head


def test_a_backup_is_written_and_told_of(ctl, tmp_path):
    file = tmp_path / "store.backup"
    code, out, err = ctl("backup", file, "-o", "json", "--reason", "a test")
    assert (code, err) == (0, "")
    head = head_of(file)
    assert json.loads(out) == {
        "file": str(file),
        "bytes": file.stat().st_size,
        "revision": head.revision,
        "time": head.time,
        "store_id": head.store_id,
        "incarnation": head.incarnation,
    }
    assert file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["store.backup"]
    (entry,) = json.loads(ctl("audit", "--limit", 1, "-o", "json")[1])["entries"]
    assert (entry["action"], entry["reason"]) == ("BackupStore", "a test")


def test_a_file_that_is_there_is_left_alone_unless_asked(ctl, tmp_path):
    file = tmp_path / "store.backup"
    file.write_text("of yesterday")
    code, _, err = ctl("backup", file)
    assert (code, "exists, and is left as it is" in err) == (Exit.OUTPUT_FILE, True)
    assert file.read_text() == "of yesterday"
    code, out, _ = ctl("backup", file, "--overwrite")
    assert code == 0 and str(file) in out
    assert head_of(file).revision > 0
    link = tmp_path / "link"
    link.symlink_to(file)
    before = head_of(file).revision
    assert ctl("backup", link, "--overwrite")[0] == 0
    assert link.is_symlink() and head_of(file).revision > before


@pytest.mark.parametrize("place", ["none/store.backup", "", "/dev/full"])
def test_a_place_that_takes_none_is_named(ctl, tmp_path, place):
    code, _, err = ctl("backup", tmp_path / place)
    assert code == Exit.OUTPUT_FILE and "cannot write" in err
    assert os.listdir(tmp_path) == []


def test_a_backup_goes_to_a_pipe_but_to_no_terminal(any_server, tmp_path):
    command = [sys.executable, "-m", "ownerd.ctl", "backup", "-"]
    environment = {**os.environ, "OWNERD_SERVER": any_server.admin_address}
    options = {"env": environment, "timeout": patient_s(60), "stderr": subprocess.PIPE}
    done = subprocess.run(command, stdout=subprocess.PIPE, **options)
    assert (done.returncode, done.stderr) == (0, b"")
    assert reading.read(io.BytesIO(done.stdout)).head.total_bytes == len(done.stdout)
    main, terminal = pty.openpty()
    try:
        done = subprocess.run(command, stdout=terminal, **options)
    finally:
        os.close(main)
        os.close(terminal)
    assert done.returncode == Exit.USAGE and b"a terminal; name a file" in done.stderr


def test_a_server_of_before_is_told_of(fake, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("OWNERD_SERVER", fake.address)
    assert cli.main(["backup", str(tmp_path / "store.backup")]) == Exit.UNAVAILABLE
    assert "does not serve this" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []
