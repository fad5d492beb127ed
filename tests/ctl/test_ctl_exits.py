"""How ownerctl fails: one line on stderr that says what to do, and one exit code per kind."""

import json
import os
import shutil
import socket
import subprocess
import sys

import grpc
import pytest
from sanitizer import patient_s, plain_environment
from terminal import table_of

from ownerd.ctl.terminal.exits import EXIT_OF_STATUS, Exit
from ownerd.v1 import admin_pb2 as pb


@pytest.mark.parametrize(("status", "exit_code"), EXIT_OF_STATUS.items())
def test_each_status_of_the_server_has_its_exit_code(ctl, fake, status, exit_code):
    fake.fail_next("GetServerStatus", status, "what\nand why", count=4)
    code, out, err = ctl("status")
    assert (code, out) == (exit_code, "")
    assert err.startswith("ownerctl: ") and err.count("\n") == 1


def test_exit_codes_have_one_meaning_each_and_are_listed(ctl):
    assert len({code.meaning for code in Exit}) == len(Exit)
    assert "ownerctl options" in ctl("--help")[1]
    _, out, _ = ctl("options")
    for code in Exit:
        assert f"{code.value:>5}  {code.meaning}" in out


def test_r20_unavailable_is_retried_with_the_same_request_id(ctl, fake):
    fake.fail_next("UpsertCampaign", grpc.StatusCode.UNAVAILABLE, "draining", count=2)
    assert ctl("campaign", "set", "C1", "--name", "x")[0] == 0
    ids = [r.request_id for r in fake.requests if isinstance(r, pb.UpsertCampaignRequest)]
    assert len(ids) == 3 and len(set(ids)) == 1


def test_a_server_that_says_unavailable_is_quoted(ctl, fake):
    fake.fail_next("GetServerStatus", grpc.StatusCode.UNAVAILABLE, "draining", count=9)
    assert ctl("status")[::2] == (Exit.UNAVAILABLE, "ownerctl: draining\n")


def test_an_unreachable_server_is_named_with_what_to_do(ctl):
    with socket.socket() as taken:  # bound but not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, out, err = ctl("status", "--server", address)
    assert (code, out) == (Exit.UNAVAILABLE, "")
    assert address in err and "ownerd serve" in err and "OWNERD_SERVER" in err
    assert "Connection refused" in err and err.count("\n") == 1


@pytest.mark.parametrize("address", ["", "localhost", ":7412", "host:", "host:99999", "host:http"])
def test_an_address_without_host_and_port_is_a_usage_error(ctl, address):
    assert ctl("status", "--server", address)[0] == Exit.USAGE


def test_control_characters_of_the_server_never_reach_the_terminal(ctl):
    ctl("campaign", "set", "C1", "--name", "\x1b[31mred\nline")
    _, out, _ = ctl("campaign", "list")
    assert "\x1b" not in out and table_of(out)[1] == ["C1", r"\x1b[31mred\nline"]


def test_options_may_stand_before_or_after_the_command(ctl):
    assert json.loads(ctl("-o", "json", "list", "ls")[1]) == {"lists": []}
    assert json.loads(ctl("list", "-o", "json", "ls", "--timeout", "1m")[1]) == {"lists": []}


@pytest.mark.parametrize(
    ("defect", "exit_code"),
    [(KeyboardInterrupt(), Exit.INTERRUPTED), (RuntimeError("a\nbug"), Exit.INTERNAL)],
)
def test_whatever_happens_is_told_in_one_line(ctl, monkeypatch, defect, exit_code):
    def happen(*_):
        raise defect

    monkeypatch.setattr("ownerd.ctl.connect.channel.Connection.ask", happen)
    code, out, err = ctl("status")
    assert (code, out) == (exit_code, "")
    assert err.startswith("ownerctl: ") and err.count("\n") == 1


def test_an_argument_that_is_not_utf8_is_a_usage_error(ctl, fake):
    assert ctl("owners", "caf\udce9")[0] == Exit.USAGE
    assert not fake.requests


def test_no_room_for_the_output_has_its_own_exit_code(fake):
    with open("/dev/full", "w") as full:
        ended = run_process(fake, "status", stdout=full)
    assert ended.returncode == Exit.OUTPUT_FILE
    assert ended.stderr == "ownerctl: cannot write the output: No space left on device\n"


def test_a_reader_who_has_seen_enough_is_no_message(fake):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        ended = run_process(fake, "status", stdout=pipe)
    assert (ended.returncode, ended.stderr) == (Exit.OUTPUT_FILE, "")


def run_process(fake, *arguments, **streams):
    """Run ownerctl as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "ownerd.ctl", *arguments],
        env={**os.environ, "OWNERD_SERVER": fake.address},
        stderr=subprocess.PIPE,
        text=True,
        timeout=patient_s(60),
        **streams,
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    ("words", "candidates"),
    [
        (["re"], {"record", "release"}),
        (["list", "cr"], {"create"}),
        (["owners", "L", "-o", ""], {"table", "json", "jsonl", "yaml", "csv", "name"}),
        (["policy", "set", "L", "--no"], {"--no-expiration"}),
    ],
)
def test_bash_completes_commands_options_and_values(ctl, tmp_path, monkeypatch, words, candidates):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ctl("--install-completion", "--shell", "bash")[0] == 0
    script = next(tmp_path.rglob("completions/ownerctl"))
    words = ["ownerctl", *words]
    line = f'COMP_CWORD={len(words) - 1}; _ownerctl; printf "%s\\n" "${{COMPREPLY[@]}}"'
    command = ["bash", "-c", f'. "{script}"; COMP_WORDS=("$@"); {line}', "bash", *words]
    environment = plain_environment()
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=patient_s(60)
    )
    assert set(ended.stdout.split()) == candidates
