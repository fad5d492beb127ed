"""ownerctl with the addresses of several nodes: it asks the one that leads, and says which."""

import asyncio
import json
import socket

import grpc
import pytest
from fake_admin import fake_server, own

from ownerd.console.settings import Upstream
from ownerd.ctl import cli
from ownerd.ctl.connect import access
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.v1 import admin_pb2 as pb


@pytest.fixture
def leader():
    with fake_server() as server:
        yield server


@pytest.fixture
def standby():
    with fake_server() as server:
        server.stands_by = True
        yield server


@pytest.fixture
def ctl(standby, leader, capsys, monkeypatch):
    """Run ownerctl against both, the one that stands by first."""
    monkeypatch.setenv("OWNERD_SERVER", f"{standby.address},{leader.address}")

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_changes_and_reads_go_to_whoever_leads(ctl, standby, leader):
    assert ctl("list", "create", "L", "--enable")[0] == Exit.OK
    code, out, _ = ctl("list", "ls", "-o", "json")
    assert code == Exit.OK and [row["list_id"] for row in json.loads(out)["lists"]] == ["L"]
    assert not standby.lists
    code, out, _ = ctl("status", "-o", "json")
    assert code == Exit.OK and json.loads(out)["server"] == leader.address


def test_a_standby_is_asked_where_it_alone_is_named(ctl, standby, leader):
    standby.lists["here"] = pb.ContactList(list_id="here")
    code, out, _ = ctl("--server", standby.address, "list", "ls", "-o", "json")
    assert code == Exit.OK and [row["list_id"] for row in json.loads(out)["lists"]] == ["here"]


def test_r20_a_change_that_is_sent_again_has_the_same_request_id(ctl, standby, leader):
    standby.stands_by = False
    standby.fail_next("UpsertCampaign", grpc.StatusCode.UNAVAILABLE, "just now")
    assert ctl("campaign", "set", "C1", "--name", "One")[0] == Exit.OK
    sent = [each.last(pb.UpsertCampaignRequest) for each in (standby, leader)]
    assert sent[0] == sent[1] and sent[0].request_id


def test_files_go_to_the_leader_and_come_from_it(ctl, standby, leader, tmp_path):
    for each in (standby, leader):
        each.lists["L"] = pb.ContactList(list_id="L")
    own(leader, "L", 3)
    file = tmp_path / "owned.csv"
    assert ctl("export", "L", file)[0] == Exit.OK
    assert len(file.read_text().splitlines()) == 4
    assert ctl("import", "L", file, "--yes")[0] == Exit.OK
    asked = {type(each).__name__ for each in standby.requests}
    assert asked == {"WhoAmIRequest"}


def test_where_nobody_answers_each_address_is_told(ctl, capsys):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        code, _, err = ctl("--server", f"{address},{address[:-1]}", "--timeout", "0.5", "status")
    assert code == Exit.UNAVAILABLE
    assert f"{address}: Connection refused" in err and err.count("Connection refused") == 2


def test_a_refusal_is_no_fail_over(ctl, standby, leader):
    standby.stands_by = False
    code, _, err = ctl("owners", "none")
    assert code == Exit.NOT_FOUND and "none" in err
    assert not leader.requests


def test_each_of_several_addresses_is_checked():
    assert access.check_address("a:1,[::1]:2") == "a:1,[::1]:2"
    for wrong in ("a:1,b", "a,b:2", ","):
        with pytest.raises(CtlError):
            access.check_address(wrong)


def test_a_context_keeps_several_addresses(ctl, leader, standby, config, monkeypatch):
    both = f"{standby.address},{leader.address}"
    monkeypatch.delenv("OWNERD_SERVER")
    assert ctl("context", "add", "cluster", "--server", both, "--use")[0] == Exit.OK
    assert ctl("list", "create", "L", "--enable")[0] == Exit.OK
    assert list(leader.lists) == ["L"]


def test_the_console_asks_whoever_leads(ctl, leader, standby):
    leader.lists["L"] = pb.ContactList(list_id="L")

    async def ids():
        async with Upstream(f"{standby.address},{leader.address}").client() as client:
            return [each.list_id async for each in client.lists()]

    assert asyncio.run(ids()) == ["L"]
