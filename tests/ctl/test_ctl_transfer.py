"""ownerctl transfers what a campaign owns, and gives back what a dialer reserved, after a yes."""

import io
import json

import grpc
import pytest
from fake_admin import own
from terminal import UUID4, answer_with

from ownerd.ctl.terminal.exits import Exit
from ownerd.v1 import admin_pb2 as pb
from ownerd.v1 import dial_pb2


def owners(fake, list_id):
    return sorted(row.campaign_id for row in fake.rows[list_id].values())


def test_r27_a_transfer_says_how_many_it_would_give_and_asks(ctl, fake, monkeypatch):
    ctl("list", "create", "L")
    own(fake, "L", 3, "OLD")
    own(fake, "L", 2, "OTHER")
    answer_with(monkeypatch, "y\n")
    code, out, err = ctl("transfer", "OLD", "NEW", "--list", "L", "--reason", "rerun")
    assert code == 0
    what = "3 records of list L from campaign OLD to campaign NEW"
    assert f"Transfer {what}? [y/N]" in err
    assert out == f"Transferred {what}.\n"
    sent = fake.last(pb.TransferOwnershipRequest)
    assert (sent.reason, sent.dry_run, sent.all_lists) == ("rerun", False, False)
    assert UUID4.fullmatch(sent.request_id)
    assert owners(fake, "L") == ["NEW"] * 3 + ["OTHER"] * 2


@pytest.mark.parametrize("line", ["n\n", "\n", "", "yes please\n"])
def test_anything_but_yes_transfers_nothing(ctl, fake, monkeypatch, line):
    ctl("list", "create", "L")
    own(fake, "L", 3, "OLD")
    answer_with(monkeypatch, line)
    code, out, err = ctl("transfer", "OLD", "NEW", "--list", "L")
    assert (code, out) == (Exit.DECLINED, "")
    assert err.endswith("ownerctl: nothing was changed\n")
    assert owners(fake, "L") == ["OLD"] * 3


def test_a_transfer_of_nothing_asks_nothing(ctl, fake, monkeypatch):
    ctl("list", "create", "L")
    answer_with(monkeypatch, "")
    code, out, err = ctl("transfer", "OLD", "NEW", "--list", "L")
    assert (code, err) == (0, "")
    assert out == "Nothing to transfer: campaign OLD owns nothing there.\n"
    assert fake.last(pb.TransferOwnershipRequest).dry_run


def test_a_dry_run_of_a_transfer_needs_no_terminal(ctl, fake, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    for name in ("L", "M"):
        ctl("list", "create", name)
        own(fake, name, 2, "OLD")
    code, out, _ = ctl("transfer", "OLD", "NEW", "--all-lists", "--dry-run", "-o", "json")
    answer = json.loads(out)
    assert code == 0 and answer["dry_run"] is True
    assert (answer["transferred_count"], answer["list_id"]) == (4, None)
    assert owners(fake, "L") == owners(fake, "M") == ["OLD"] * 2


def test_a_transfer_without_a_terminal_needs_yes(ctl, fake, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    ctl("list", "create", "L")
    own(fake, "L", 3, "OLD")
    code, _, err = ctl("transfer", "OLD", "NEW", "--list", "L")
    assert code == Exit.USAGE and "--yes" in err
    assert ctl("transfer", "OLD", "NEW", "--all-lists", "--yes")[0] == 0
    assert owners(fake, "L") == ["NEW"] * 3
    assert [r.dry_run for r in fake.requests if isinstance(r, pb.TransferOwnershipRequest)] == [
        False
    ]


@pytest.mark.parametrize("where", [(), ("--list", "L", "--all-lists")])
def test_a_transfer_must_say_where(ctl, fake, where):
    ctl("list", "create", "L")
    code, _, err = ctl("transfer", "OLD", "NEW", *where, "--yes")
    assert code == Exit.USAGE and "exactly one" in err
    assert not any(isinstance(r, pb.TransferOwnershipRequest) for r in fake.requests)


def test_r23_giving_back_says_how_many_dials_are_in_progress_and_asks(ctl, fake, monkeypatch):
    ctl("list", "create", "L")
    fake.reserved_count = 40
    answer_with(monkeypatch, "y\n")
    code, out, err = ctl("give-back", "C1", "node-1", "--list", "L")
    assert code == 0
    assert "dialer node-1 of campaign C1 (list L; the campaign has 40 dials in progress" in err
    assert out == "Dialer node-1 of campaign C1 has nothing reserved (list L).\n"
    sent = fake.last(dial_pb2.GiveBackRequest)
    assert (sent.campaign_id, sent.dialer_id, sent.list_id) == ("C1", "node-1", "L")


@pytest.mark.parametrize("line", ["n\n", "\n", "", "yes please\n"])
def test_anything_but_yes_gives_nothing_back(ctl, fake, monkeypatch, line):
    answer_with(monkeypatch, line)
    code, out, err = ctl("give-back", "C1", "node-1")
    assert (code, out) == (Exit.DECLINED, "")
    assert "(all lists; " in err and err.endswith("ownerctl: nothing was changed\n")
    assert not any(isinstance(r, dial_pb2.GiveBackRequest) for r in fake.requests)


def test_who_may_not_know_the_dials_is_asked_without_a_number(ctl, fake, monkeypatch):
    answer_with(monkeypatch, "y\n")
    fake.fail_next("SignalCampaign", grpc.StatusCode.PERMISSION_DENIED, "not yours")
    code, _, err = ctl("give-back", "C1", "node-1")
    assert code == 0 and "of campaign C1 (all lists)?" in err


def test_giving_back_without_a_terminal_needs_yes(ctl, fake, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    code, _, err = ctl("give-back", "C1", "node-1")
    assert code == Exit.USAGE and "--yes" in err
    code, out, _ = ctl("give-back", "C1", "node-1", "--yes", "-o", "json")
    answer = json.loads(out)
    assert (code, answer["dialer_id"], answer["list_id"]) == (0, "node-1", None)
