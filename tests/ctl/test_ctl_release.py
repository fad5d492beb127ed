"""ownerctl shows who owns what, and releases it only after a yes."""

import io
import json

import pytest
from fake_admin import NOW_S, own
from terminal import UUID4, answer_with, table_of

from ownerd.ctl.terminal.exits import Exit
from ownerd.v1 import admin_pb2 as pb


def test_owners_are_shown_with_counts_expirations_and_totals(ctl, fake):
    ctl("list", "create", "L")
    own(fake, "L", 1234, "C1")
    own(fake, "L", 2, "C2", expire_s=NOW_S + 2 * 86_400)
    fake.reserved_count = 3
    _, out, _ = ctl("owners", "L")
    assert table_of(out)[1:] == [
        ["C1", "Campaign C1", "1,234", "99.8%", "0", "0", *"0000", "never"],
        ["C2", "Campaign C2", "2", "0.2%", "0", "0", *"0000", "in 2d"],
        ["reserver", "R", "0", "3", "0", *"0000"],
        ["total", "1,236", "3", "0"],
    ]
    answer = json.loads(ctl("owners", "L", "-o", "json")[1])
    assert answer["total_owned_count"] == 1236
    assert answer["owners"][0]["earliest_expire_time"] is None
    assert answer["owners"][1]["earliest_expire_time"] == "2027-01-17T08:00:00Z"


def test_owned_records_stop_at_the_limit_and_say_so(ctl, fake):
    ctl("list", "create", "L")
    own(fake, "L", 5)
    _, out, err = ctl("record", "list", "L", "--limit", 3)
    assert len(out.splitlines()) == 4
    assert "first 3" in err
    _, out, err = ctl("record", "list", "L", "--limit", 5)
    assert len(out.splitlines()) == 6 and not err
    assert json.loads(ctl("record", "list", "L", "--limit", 4, "-o", "json")[1])["more"] is True
    every = json.loads(ctl("record", "list", "L", "--limit", 0, "-o", "json")[1])
    assert len(every["records"]) == 5


def test_a_record_shows_its_holder_or_that_there_is_none(ctl, fake):
    ctl("list", "create", "L")
    own(fake, "L", 1)
    _, out, _ = ctl("record", "show", "L", "r00000")
    assert ["Hold", "owned"] in table_of(out) and ["Expires (UTC)", "never"] in table_of(out)
    assert ctl("record", "show", "L", "-7")[1] == "No campaign holds record -7 of list L.\n"
    nobody = json.loads(ctl("record", "show", "L", "x", "-o", "json")[1])
    assert nobody["kind"] is None and nobody["campaign_id"] is None


def test_r15_release_shows_what_it_would_release_and_asks(ctl, fake, monkeypatch):
    ctl("list", "create", "L")
    own(fake, "L", 3, "C1")
    own(fake, "L", 2, "C2")
    answer_with(monkeypatch, "y\n")
    code, out, err = ctl("release", "L", "--campaign", "C1", "--reason", "over")
    assert code == 0
    assert "Campaign C1" in err and "Campaign C2" not in err
    assert "Release 3 records of list L? [y/N]" in err
    assert out == "Released 3 records of list L.\n"
    sent = fake.last(pb.ReleaseOwnershipRequest)
    assert (sent.reason, sent.dry_run, list(sent.campaign_ids)) == ("over", False, ["C1"])
    assert UUID4.fullmatch(sent.request_id)
    assert len(fake.rows["L"]) == 2


@pytest.mark.parametrize("line", ["n\n", "\n", "", "yes please\n"])
def test_anything_but_yes_releases_nothing(ctl, fake, monkeypatch, line):
    ctl("list", "create", "L")
    own(fake, "L", 3)
    answer_with(monkeypatch, line)
    code, out, err = ctl("release", "L", "--all")
    assert (code, out) == (Exit.DECLINED, "")
    assert err.endswith("ownerctl: nothing was changed\n")
    assert len(fake.rows["L"]) == 3


def test_release_without_a_terminal_needs_yes(ctl, fake, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    ctl("list", "create", "L")
    own(fake, "L", 3)
    code, _, err = ctl("release", "L", "--all")
    assert code == Exit.USAGE and "--yes" in err
    assert len(fake.rows["L"]) == 3
    assert ctl("release", "L", "--all", "--yes")[0] == 0
    assert not fake.rows["L"]
    assert sum(isinstance(r, pb.ListOwnersRequest) for r in fake.requests) == 0


def test_a_dry_run_releases_nothing_and_does_not_ask(ctl, fake):
    ctl("list", "create", "L")
    own(fake, "L", 3)
    _, out, _ = ctl("release", "L", "--all", "--dry-run", "-o", "json")
    assert json.loads(out)["released_count"] == 3 and json.loads(out)["dry_run"] is True
    _, out, _ = ctl("release", "L", "--record", "r00001", "--record", "none", "--dry-run")
    assert out == "Would release 1 record of list L.\n"
    assert len(fake.rows["L"]) == 3


def test_single_records_are_released_by_id(ctl, fake, monkeypatch):
    ctl("list", "create", "L")
    own(fake, "L", 3)
    answer_with(monkeypatch, "yes\n")
    code, out, err = ctl("release", "L", "--record", "r00000", "--record", "r00002")
    assert (code, out) == (0, "Released 2 records of list L.\n")
    assert "r00000" in err and "r00001" not in err
    assert list(fake.rows["L"]) == ["r00001"]


def test_releasing_nothing_does_not_ask(ctl, monkeypatch):
    ctl("list", "create", "L")
    answer_with(monkeypatch, "")
    assert ctl("release", "L", "--all")[:2] == (0, "Nothing to release in list L.\n")
    assert ctl("release", "L", "--record", "x")[0] == 0


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--all", "--campaign", "C1"],
        ["--all", "--record", "r"],
        ["--record", "r", "--campaign", "C1", "--campaign", "C2"],
        ["--record", "r", "--record-file", "f"],
        ["--all", "--all-lists"],
    ],
)
def test_release_needs_exactly_one_choice_of_what(ctl, fake, options):
    assert ctl("release", "L", *options, "--yes")[0] == Exit.USAGE
    assert not fake.requests


def test_a_file_of_records_is_released_in_calls_of_a_batch(ctl, fake, tmp_path, monkeypatch):
    monkeypatch.setattr("ownerd.limits.BATCH_RECORDS", 3)
    ctl("list", "create", "L")
    own(fake, "L", 10)
    path = tmp_path / "ids.txt"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(str(i).encode() for i in range(8)) + b"\n\n")
    code, out, _ = ctl("release", "L", "--record-file", path, "--yes", "-o", "json")
    assert code == 0 and json.loads(out)["not_released"] == []
    sent = [list(r.record_ids) for r in fake.requests if isinstance(r, pb.ReleaseRecordsRequest)]
    assert sent == [["0", "1", "2"], ["3", "4", "5"], ["6", "7"]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"1\n 2\n", "line 2: blanks"),
        (b"1\n\xff\n", "line 2: not UTF-8"),
        (b"\n\n", "no record ids"),
        (b"1\n" + b"x" * 129, "line 2: 129 bytes"),
    ],
)
def test_a_file_is_checked_whole_before_anything_is_released(ctl, fake, tmp_path, content, said):
    path = tmp_path / "ids.txt"
    path.write_bytes(content)
    code, _, err = ctl("release", "L", "--record-file", path, "--yes")
    assert code == Exit.INPUT_FILE and said in err
    assert not fake.requests


def test_repeated_records_are_all_sent_whatever_their_number(ctl, fake):
    ctl("list", "create", "L")
    own(fake, "L", 600)
    options = [x for i in range(600) for x in ("--record", str(i))]
    assert ctl("release", "L", *options, "--campaign", "C1", "--yes")[0] == 0
    sent = fake.last(pb.ReleaseRecordsRequest)
    assert list(sent.record_ids) == [str(i) for i in range(600)]
    assert sent.only_if_campaign_id == "C1"
    assert ctl("release", "L", "--record", "7", "--yes")[0] == 0
    assert list(fake.last(pb.ReleaseRecordsRequest).record_ids) == ["7"]


def test_top_shows_each_list_once_where_nobody_looks_on(ctl, fake):
    ctl("list", "create", "L")
    own(fake, "L", 3, "C1")
    code, out, _ = ctl("top", "-o", "json")
    (row,) = json.loads(out)["campaigns"]
    assert code == 0
    assert (row["list_id"], row["campaign_id"], row["owned_count"]) == ("L", "C1", 3)
    assert row["claims_per_s"] is None
    assert (
        len(ctl("top", "L", "--looks", 2, "--interval", "1s", "-o", "jsonl")[1].splitlines()) == 2
    )
