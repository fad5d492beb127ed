"""Errors speak of ownerctl's commands, and know what was meant."""

import json
import re

import grpc
import pytest

from ownerd.api.reasons import REASONS
from ownerd.ctl import cli
from ownerd.ctl.connect import words
from ownerd.ctl.terminal.exits import Exit
from ownerd.v1 import admin_pb2, dial_pb2

RPCS = {
    rpc.name
    for file in (admin_pb2, dial_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for rpc in service.methods
}
DIALS = {"Claim", "ClaimBatch", "ReportAttempt", "ReportAttemptBatch"}


def test_every_rpc_but_those_of_dialers_has_a_command_that_there_is():
    assert set(words.COMMANDS) == RPCS - DIALS
    for command in words.COMMANDS.values():
        _, apps, rest = cli.app.parse_commands(command.split())
        assert not [word for word in rest if not word.startswith("--")], command
        assert apps[-1].default_command is not None, command


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_no_message_of_the_server_names_an_rpc_to_a_person(reason):
    for text in REASONS[reason][1]:
        said = words.in_commands(text)
        assert not set(re.findall(r"\w+", said)) & (RPCS - DIALS), said


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["ownrs", "L"], "owners"),
        (["list", "shw", "L"], "show"),
        (["principal", "rotat", "P"], "rotate"),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--help"], ["-h"]])
def test_a_mistyped_command_is_told_with_what_was_meant(ctl, fake, typed, meant, flags):
    code, out, err = ctl(*typed, *flags)
    assert (code, out) == (Exit.USAGE, "") and not fake.requests
    assert f'did you mean "{meant}"?' in err and err.count("\n") == 1
    assert ", ;" not in err and "..." not in err


def test_a_word_like_no_command_is_told_so(ctl):
    code, _, err = ctl("xyzzy", "--help")
    assert (code, err) == (Exit.USAGE, 'ownerctl: unknown command "xyzzy"; see: ownerctl --help\n')
    assert ctl("list", "--help")[0] == 0 and ctl("list", "show", "--help")[0] == 0


@pytest.mark.parametrize(("typed", "meant"), [("custmers", "customers"), ("CUSTOMER", "customers")])
def test_a_mistyped_list_is_told_with_the_one_that_was_meant(real, typed, meant):
    real("list", "create", "customers")
    code, _, err = real("owners", typed)
    assert code == Exit.NOT_FOUND and f'did you mean "{meant}"?' in err
    assert "ownerctl list create" in err and "CreateContactList" not in err
    assert err.count("\n") == 1


def test_a_mistyped_campaign_principal_or_code_is_told_likewise(real):
    real("list", "create", "known")
    real("campaign", "set", "spring", "--name", "Spring")
    for arguments, meant in (
        (("campaign", "stop", "sprng"), "spring"),
        (("release", "known", "--campaign", "sprng", "--yes"), "spring"),
        (("wrapup", "delete", "Bussy"), "Busy"),
    ):
        code, _, err = real(*arguments)
        assert code == Exit.NOT_FOUND and f'did you mean "{meant}"?' in err, arguments


def test_what_may_not_be_seen_is_not_suggested(ctl, fake):
    fake.fail_next("ListOwners", grpc.StatusCode.NOT_FOUND, "no such list (CreateContactList)")
    code, _, err = ctl("owners", "custmers")
    assert code == Exit.NOT_FOUND
    assert err == "ownerctl: no such list (`ownerctl list create`)\n"


@pytest.fixture
def real(any_server, capsys, monkeypatch):
    """Run ownerctl against a real server; returns exit code, stdout and stderr."""
    monkeypatch.setenv("OWNERD_SERVER", any_server.admin_address)

    def run(*arguments):
        code = cli.main(list(arguments))
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_the_status_is_an_error_while_an_alarm_is_up(ctl, fake):
    assert ctl("status")[0] == 0
    alarm = admin_pb2.Alarm(name="DISK_FULL", message="free some")
    fake.alarms = [alarm]
    for form in ("table", "json", "jsonl", "csv"):
        code, out, _ = ctl("status", "-o", form)
        assert code == Exit.ALARM and "DISK_FULL" in out
    assert json.loads(ctl("status", "-o", "json")[1])["alarms"] == ["DISK_FULL"]
