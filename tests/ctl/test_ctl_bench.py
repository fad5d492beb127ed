"""`ownerctl bench`: its own list only, gone afterwards; figures that add up; failures in a line."""

import json
import sys

import grpc
import pytest

from ownerd.ctl import cli
from ownerd.ctl.terminal.exits import Exit
from ownerd.v1 import admin_pb2 as pb

load_http2 = pytest.importorskip("ownerd.load.http2", reason="built without libnghttp2")

SHORT = ("--seconds", "0.4", "--warm-up", "0.1", "--records", "500", "--in-flight", "4")


@pytest.fixture
def bench(any_server, capsys, monkeypatch):
    """Run `ownerctl bench` against the server; returns exit code, stdout and stderr."""
    monkeypatch.setenv("OWNERD_SERVER", any_server.admin_address)
    monkeypatch.setenv("OWNERD_DIAL", any_server.dial_address)

    def run(*arguments):
        code = cli.main(["bench", *map(str, arguments), *SHORT])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def lists(admin):
    """Return the ids of all lists of the server."""
    answer = admin.ListContactLists(pb.ListContactListsRequest(page_size=1_000))
    return {contact_list.list_id for contact_list in answer.lists}


def test_it_measures_on_a_list_of_its_own_and_deletes_it(bench, admin):
    before = lists(admin)
    code, out, err = bench("-o", "json")
    row = json.loads(out)
    assert (code, err) == (0, "")
    assert row["calls_per_s"] == row["decisions_per_s"] > 0 and row["error_count"] == 0
    times = [float(row[key].removesuffix("s")) for key in ("p50", "p99", "p999", "max")]
    assert times == sorted(times) and times[0] > 0
    assert row["answers"][0].startswith("granted ") and len(row["answers"]) == 1
    assert lists(admin) == before
    entries = admin.ListAuditEntries(pb.ListAuditEntriesRequest(page_size=1)).entries
    assert (entries[0].action, entries[0].reason) == ("DeleteContactList", "ownerctl bench")


def test_a_batch_counts_its_records_and_a_mix_has_both_kinds(bench, unique):
    code, out, _ = bench(unique, "-o", "json", "--batch", 50, "--mix", "1:1", "--threads", 2)
    row = json.loads(out)
    assert code == 0 and row["list_id"] == unique
    assert row["decisions_per_s"] > 40 * row["calls_per_s"]
    kinds = {answer.split()[0].partition("_")[0] for answer in row["answers"]}
    assert kinds == {"granted", "ownership"}


def test_a_rate_is_kept(bench):
    row = json.loads(bench("-o", "json", "--rate", 200)[1])
    assert 150 <= row["calls_per_s"] <= 250


def test_the_table_names_what_an_operator_looks_for(bench):
    code, out, _ = bench()
    assert code == 0
    for word in ("Calls/s", "p50", "p99", "p99.9", "Longest", "Errors"):
        assert word in out
    assert bench("-o", "csv")[1].splitlines()[0].startswith("list_id,dial,seconds,calls_per_s,")


def test_a_list_that_exists_is_left_alone_unless_told_otherwise(bench, admin, unique):
    policy = pb.OwnershipPolicy(enabled=True, no_expiration=True)
    admin.CreateContactList(pb.CreateContactListRequest(list_id=unique, policy=policy))
    code, out, err = bench(unique)
    assert (code, out) == (Exit.ALREADY_EXISTS, "") and "--use-existing" in err
    owners = admin.ListOwners(pb.ListOwnersRequest(list_id=unique))
    assert (owners.total_owned_count, owners.total_reserved_count) == (0, 0)
    assert bench(unique, "--use-existing")[0] == 0
    assert admin.ListOwners(pb.ListOwnersRequest(list_id=unique)).total_reserved_count > 0
    assert unique in lists(admin)


def test_use_existing_needs_a_list_that_exists(bench, unique):
    assert bench(unique, "--use-existing")[0] == Exit.NOT_FOUND
    assert bench("--use-existing")[0] == Exit.USAGE


def test_an_address_where_nobody_dials_is_named_and_the_list_is_gone(bench, admin, unique):
    code, out, err = bench(unique, "--dial", "127.0.0.1:1")
    assert (code, out) == (Exit.UNAVAILABLE, "")
    assert "127.0.0.1:1" in err and "--dial" in err and err.count("\n") == 1
    assert unique not in lists(admin)


def test_of_several_addresses_the_first_that_takes_dials_is_loaded(ctl, any_server, bench):
    several = f"127.0.0.1:1,{any_server.dial_address}"
    code, out, _ = bench("--dial", several, "-o", "json")
    assert code == 0 and json.loads(out)["dial"] == any_server.dial_address
    code, _, err = bench("--dial", "127.0.0.1:1,127.0.0.1:2")
    assert code == Exit.UNAVAILABLE and "none of 127.0.0.1:1, 127.0.0.1:2" in err


def test_the_dial_address_of_another_server_is_found_out(ctl, any_server, fake):
    code, out, err = ctl("bench", "--dial", any_server.dial_address, *SHORT)
    assert (code, out) == (Exit.UNAVAILABLE, "") and "NOT_FOUND" in err
    assert not fake.lists


def test_a_list_that_cannot_be_deleted_is_named(ctl, fake, any_server):
    fake.fail_next("DeleteContactList", grpc.StatusCode.PERMISSION_DENIED, "not you")
    _, _, err = ctl("bench", "left", "--dial", any_server.dial_address, *SHORT)
    assert "list left is left behind: not you" in err


def test_an_interrupt_deletes_the_list(bench, admin, unique, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(load_http2, "drive", interrupted)
    assert bench(unique)[0] == Exit.INTERRUPTED
    assert unique not in lists(admin)


def test_without_the_native_part_it_says_what_to_install(bench, admin, monkeypatch, unique):
    monkeypatch.setitem(sys.modules, "ownerd.load.http2", None)
    monkeypatch.delattr("ownerd.load.http2")
    code, out, err = bench(unique)
    assert (code, out) == (Exit.NOT_BUILT, "")
    assert "libnghttp2" in err and err.count("\n") == 1
    assert unique not in lists(admin)


@pytest.mark.parametrize(
    "wrong",
    [
        ("--mix", "3"),
        ("--mix", "0:0"),
        ("--mix", "a:1"),
        ("--batch", "10001"),
        ("--seconds", 0),
        ("--in-flight", 0),
        ("--records", 0),
        ("--rate", -1),
    ],
)
def test_a_load_that_makes_no_sense_is_a_usage_error(ctl, fake, wrong):
    assert ctl("bench", *wrong)[0] == Exit.USAGE
    assert not fake.requests
