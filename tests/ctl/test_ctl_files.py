"""ownerctl import and export: CSV files in and out, all or nothing, in bounded memory."""

import csv
import io
import os
import stat

import grpc
import pytest
from fake_admin import NOW_S, own
from terminal import UUID4

from ownerd.ctl.terminal import times
from ownerd.ctl.terminal.exits import Exit
from ownerd.v1 import admin_pb2 as pb

HEADER = "i3_identity,i3_campaignownerid,i3_campaignownername,i3_campaignownerexpiration\n"


@pytest.fixture
def contacts(ctl, tmp_path):
    """A list L on the server, and a writer of contacts.csv."""
    assert ctl("list", "create", "L")[0] == 0

    def write(text):
        path = tmp_path / "contacts.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_owned_rows_are_imported_and_the_others_counted(ctl, fake, contacts):
    path = contacts(
        HEADER
        + "1,C1,Spring,2027-01-15T08:00:00Z\n2,,,\n3,C2,,\n\n4,C1,,2027-01-15T10:00:00+02:00\n"
    )
    code, out, err = ctl("import", "L", path, "--on-conflict", "skip", "--reason", "move")
    assert (code, err) == (0, "")
    rows = fake.rows["L"]
    assert list(rows) == ["1", "3", "4"]
    assert rows["1"].campaign_name == "Spring"
    assert rows["1"].expire_time.seconds == rows["4"].expire_time.seconds == NOW_S
    assert not rows["3"].HasField("expire_time")
    sent = fake.last(pb.ImportOwnershipRequest)
    assert sent.conflict_strategy == pb.CONFLICT_STRATEGY_SKIP and sent.reason == "move"
    assert UUID4.fullmatch(sent.request_id)
    assert "Left out: no owner in the file      1" in out


def test_columns_have_any_name_and_order_and_others_may_stand_beside(ctl, fake, contacts):
    path = contacts("\ufeffUntil,Phone,Owner,Contact\r\n2027-01-15 08:00:00,555,C1,A-1\r\n")
    code, _, err = ctl(
        "import",
        "L",
        path,
        "--record-column",
        "Contact",
        "--owner-column",
        "Owner",
        "--expiration-column",
        "Until",
        "--assume-utc",
    )
    assert (code, err) == (0, "")
    assert fake.rows["L"]["A-1"].expire_time.seconds == NOW_S


def test_a_long_file_goes_in_messages_of_a_thousand_rows(ctl, fake, contacts):
    path = contacts(HEADER + "".join(f"{n},C1,,\n" for n in range(2500)))
    assert ctl("import", "L", path)[0] == 0
    sent = [r for r in fake.requests if isinstance(r, pb.ImportOwnershipRequest)]
    assert [len(message.rows) for message in sent] == [1000, 1000, 500]
    assert [message.list_id for message in sent] == ["L", "", ""]


@pytest.mark.parametrize("text", [HEADER, HEADER + "1,,,\n"])
def test_a_file_without_owned_rows_imports_nothing_well(ctl, contacts, text):
    assert ctl("import", "L", contacts(text))[0] == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: the file is empty"),
        ("a,b\n", 'line 1: no column "i3_identity"; found: a, b; name yours with --record-column'),
        ("i3_identity,i3_campaignownerid\n", 'no column "i3_campaignownerexpiration"'),
        ("i3_identity,i3_identity\n", 'column "i3_identity" is there twice'),
        (HEADER + "1,C1,,\n2,C1,\n", "line 3: 3 cells, but the header has 4"),
        (HEADER + '1,C1,"a\nb",\n,C1,,\n', 'line 4: column "i3_identity" is empty'),
        (HEADER + f"1,{'c' * 81},,\n", 'line 2: column "i3_campaignownerid" has 81 bytes'),
        (HEADER + f"{'é' * 65},C,,\n", 'column "i3_identity" has 130 bytes'),
        (HEADER + f"1,C,{'n' * 257},\n", 'column "i3_campaignownername" has 257 bytes'),
        (HEADER + "1,C1,,soon\n", '"soon" is not a time; allowed is RFC 3339'),
        (HEADER + "1,C1,,2027-01-15T08:00:00\n", "has no time zone; allowed is RFC 3339"),
        (HEADER + "1,C1,,2027-02-30T08:00:00Z\n", "is no such time in the calendar"),
        (HEADER + '1,C1,"x,\n', "line 2: the quote that opens in this line is not closed"),
        (HEADER.encode() + b"1,C1,,\n2,C1,\x81,\n", "line 3: byte 0x81 is not Windows-1252"),
        (HEADER + "1,C1,,\n1,C2,,\n", 'has two owners: "C1" in line 2, "C2" in line 3'),
        (HEADER + "012,C1,,\n13,C1,,\n", "a spreadsheet, which takes away zeros"),
    ],
)
def test_a_broken_file_names_line_and_column_and_imports_nothing(
    ctl, fake, contacts, text, complaint
):
    path = contacts(text)
    code, out, err = ctl("import", "L", path)
    assert (code, out) == (Exit.INPUT_FILE, "")
    assert err.startswith(f"ownerctl: {path} line ") and err.count("\n") == 1
    assert complaint in err and err.endswith("nothing was imported\n")
    assert not fake.rows["L"]


def test_a_row_that_breaks_after_much_was_sent_imports_nothing(ctl, fake, contacts):
    path = contacts(HEADER + "".join(f"{n},C1,,\n" for n in range(5000)) + "x,C1\n")
    code, _, err = ctl("import", "L", path)
    assert code == Exit.INPUT_FILE and "line 5002" in err
    assert not fake.rows["L"] and fake.revision == 1


def test_a_missing_file_is_an_input_error(ctl, fake, tmp_path):
    code, _, err = ctl("import", "L", tmp_path / "none.csv")
    assert code == Exit.INPUT_FILE and "No such file" in err
    assert ctl("import", "L", tmp_path)[0] == Exit.INPUT_FILE
    assert not fake.requests


def test_an_import_may_come_from_stdin(ctl, fake, contacts, monkeypatch):
    reading, writing = os.pipe()
    os.write(writing, (HEADER + "1,C1,,\n").encode())
    os.close(writing)
    with open(reading) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert ctl("import", "L", "-")[0] == 0
    assert list(fake.rows["L"]) == ["1"]


def test_r20_an_import_is_sent_again_under_its_request_id(ctl, fake, contacts, monkeypatch):
    monkeypatch.setattr("ownerd.ctl.commands.import_upload.RETRY_PAUSES_S", (0.0, 0.0))
    fake.fail_next("ImportOwnership", grpc.StatusCode.UNAVAILABLE, "draining", count=5)
    assert ctl("import", "L", contacts(HEADER + "1,C1,,\n"))[0] == 0
    sent = [r for r in fake.requests if isinstance(r, pb.ImportOwnershipRequest)]
    assert len(sent) == 6 and len({message.request_id for message in sent}) == 1


def test_the_server_refusing_an_import_is_quoted(ctl, fake, contacts):
    fake.fail_next("ImportOwnership", grpc.StatusCode.FAILED_PRECONDITION, "row 1: C2 holds it")
    code, _, err = ctl("import", "L", contacts(HEADER + "1,C1,,\n"))
    assert code == Exit.FAILED_PRECONDITION
    assert err == "ownerctl: row 1: C2 holds it (counting the rows that have an owner)\n"
    assert ctl("import", "no-list", contacts(HEADER + "1,C1,,\n"))[0] == Exit.NOT_FOUND


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2027-01-15T08:00:00Z", "2027-01-15T08:00:00Z"),
        ("2027-01-15 08:00:00z", "2027-01-15T08:00:00Z"),
        ("2027-01-15T08:00:00.5+00:00", "2027-01-15T08:00:00.500Z"),
        ("2027-01-15T00:00:00.123456789-08:00", "2027-01-15T08:00:00.123456789Z"),
        ("1969-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.999999999Z"),
    ],
)
def test_a_time_is_read_exactly_and_written_in_utc(text, written):
    assert times.rfc3339(times.parse(text)) == written


def test_an_export_holds_every_owned_record_with_times_in_utc(ctl, fake, tmp_path):
    ctl("list", "create", "L")
    own(fake, "L", 1, "C1", expire_s=NOW_S)
    own(fake, "L", 4, "C2")
    path = tmp_path / "out.csv"
    code, out, err = ctl("export", "L", path)
    assert (code, out, err) == (0, f"Exported 5 owned records of list L to {path}.\n", "")
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert rows[0] == {
        "i3_identity": "r00000",
        "i3_campaignownerid": "C1",
        "i3_campaignownername": "Campaign C1",
        "i3_campaignownerexpiration": "2027-01-15T08:00:00Z",
        "ownerd_acquired": "2027-01-15T07:59:00Z",
    }
    assert [row["i3_campaignownerexpiration"] for row in rows[1:]] == [""] * 4


def test_an_export_goes_to_stdout_with_chosen_columns_and_campaigns(ctl, fake):
    ctl("list", "create", "L")
    own(fake, "L", 1, "C1")
    own(fake, "L", 1, "C,2")
    options = ["--record-column", "id", "--owner-column", "who", "--name-column", ""]
    _, out, _ = ctl("export", "L", "--campaign", "C,2", *options, "--expiration-column", "until")
    assert out == 'id,who,until,ownerd_acquired\nr00001,"C,2",,2027-01-15T07:59:00Z\n'


def test_what_was_exported_is_imported_the_same(ctl, fake, tmp_path):
    ctl("list", "create", "L")
    ctl("list", "create", "M")
    own(fake, "L", 3, 'C"1\n,', expire_s=NOW_S)
    path = tmp_path / "out.csv"
    assert ctl("export", "L", path)[0] == ctl("import", "M", path)[0] == 0
    assert fake.rows["M"] == fake.rows["L"]


@pytest.mark.parametrize("before", [None, "what was there"])
def test_an_export_that_fails_leaves_the_file_as_it_was(ctl, fake, tmp_path, before):
    ctl("list", "create", "L")
    own(fake, "L", 9)
    path = tmp_path / "out.csv"
    if before:
        path.write_text(before)

    fake.export_breaks = True
    code, _, err = ctl("export", "L", path)
    assert (code, err) == (Exit.EXHAUSTED, "ownerctl: broke off\n")
    assert (path.read_text() if path.exists() else None) == before
    assert list(tmp_path.iterdir()) == ([path] if before else [])


def test_an_export_keeps_the_permissions_of_the_file_it_replaces(ctl, tmp_path):
    ctl("list", "create", "L")
    path = tmp_path / "out.csv"
    path.touch()
    path.chmod(0o640)
    assert ctl("export", "L", path)[0] == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_an_export_of_an_unknown_list_prints_no_header(ctl):
    assert ctl("export", "none")[:2] == (Exit.NOT_FOUND, "")


def test_an_output_that_cannot_be_written_has_its_own_exit_code(ctl, tmp_path):
    ctl("list", "create", "L")
    code, _, err = ctl("export", "L", tmp_path / "no" / "out.csv")
    assert code == Exit.OUTPUT_FILE and "No such file or directory" in err
    assert ctl("export", "L", os.devnull)[0] == 0
