"""`ownerctl watch` and `export --since` against a server: what they print, and how they end."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from subject import DAY, HOUR, Policy
from subject_grpc import GrpcSubject

from ownerd.ctl import cli
from ownerd.ctl.terminal.exits import Exit


@pytest.fixture
def subject(shared_server, unique, monkeypatch):
    monkeypatch.setenv("OWNERD_SERVER", shared_server.admin_address)
    subject = GrpcSubject(shared_server.dial_stub(), shared_server.admin_stub())
    subject.create_list(unique, Policy(True, DAY, None, HOUR))
    return subject


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_once_shows_what_there_is_and_ends(subject, unique, capsys):
    begin = subject.revision()
    subject.attempt(unique, "1", "A", "Busy")
    subject.claim(unique, "2", "A")
    subject.release(unique, ["A"])
    code, out, _ = run(capsys, "watch", unique, "--from", begin, "--once", "-o", "json")
    assert code == Exit.OK
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["event"] for row in rows] == ["record", "released"]
    assert (rows[0]["record_id"], rows[0]["campaign_id"]) == ("1", "A")
    assert rows[0]["revision"] == begin + 1 and len(rows[0]["incarnation_id"]) == 16
    code, out, _ = run(capsys, "watch", unique, "--from", begin, "--once")
    assert "1 is owned by A until" in out and "the ownership of A is released" in out
    code, _, err = run(capsys, "watch", unique, "--from", begin + 10_000, "--once")
    assert code != Exit.OK and "revision" in err


def started(unique, *more, **options):
    command = [sys.executable, "-m", "ownerd.ctl", "watch", unique, "-o", "jsonl", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ, **options)


def test_it_ends_well_on_ctrl_c_and_when_nobody_reads(subject, unique):
    begin = str(subject.revision())
    subject.attempt(unique, "1", "A", "Busy")
    with started(unique, "--from", begin) as process:
        assert json.loads(process.stdout.readline())["record_id"] == "1"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == Exit.INTERRUPTED
    with started(unique, "--from", begin, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        for record in range(40):  # the pipe is found broken by a line to come
            if process.poll() is None:
                subject.attempt(unique, f"r{record}", "A", "Busy")
                time.sleep(0.1)
        assert process.wait(10) == Exit.OUTPUT_FILE
        assert "Traceback" not in process.stderr.read()


def test_export_since_has_what_changed_and_what_ended(subject, unique, capsys, tmp_path):
    subject.attempt(unique, "0", "A", "Busy")
    subject.attempt(unique, "1", "A", "Busy")
    begin = subject.revision()
    subject.attempt(unique, "2", "B", "Busy")
    subject.release_records(unique, ["1"])
    file = tmp_path / "changes.csv"
    code, out, _ = run(capsys, "export", unique, file, "--since", begin)
    assert code == Exit.OK and "These are the changes." in out
    assert f"--since {subject.revision()}" in out
    rows = {line.split(",")[0]: line.split(",")[1] for line in file.read_text().splitlines()[1:]}
    assert rows == {"2": "B", "1": ""}
    subject.release(unique, ["B"])
    code, out, _ = run(capsys, "export", unique, "-", "--since", begin, "-o", "json")
    told = json.loads(out)
    assert not told["from_changes"] and [each["i3_identity"] for each in told["records"]] == ["0"]
