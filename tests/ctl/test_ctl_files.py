"""ownerctl import and export: CSV files in and out, all or nothing, in bounded memory."""

import csv
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager

import grpc
import pytest
from fake_admin import NOW_S, own
from sanitizer import patient_s
from terminal import UUID4

from ownerd.ctl.terminal import times
from ownerd.ctl.terminal.exits import Exit, exit_of_status
from ownerd.server import errors
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
    assert re.search(r"Left out: no owner in the file +1\n", out)


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


def test_r20_an_import_from_a_pipe_is_sent_again(ctl, fake, contacts, monkeypatch):
    monkeypatch.setattr("ownerd.ctl.commands.import_upload.RETRY_PAUSES_S", (0.0, 0.0))
    fake.fail_next("ImportOwnership", grpc.StatusCode.UNAVAILABLE, "draining", count=5)
    with piped(monkeypatch, HEADER + "1,C1,,\n"):
        assert ctl("import", "L", "-")[0] == 0
    assert list(fake.rows["L"]) == ["1"]


@contextmanager
def piped(monkeypatch, text):
    """Let stdin be a pipe that holds a text and has ended."""
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    with open(reading) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield


@pytest.fixture
def endless(fake):
    """An import from a pipe that does not end; more was read from it than a pipe holds."""
    started = []

    def start(*options):
        command = [sys.executable, "-m", "ownerd.ctl", "--server", fake.address, "import", "L", "-"]
        process = subprocess.Popen(
            [*command, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        process.stdin.write((HEADER + "1,C1,,\n" * 100_000).encode())
        process.stdin.flush()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=patient_s(60))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_an_import_from_a_pipe_that_does_not_end(ctl, fake, endless, number):
    ctl("list", "create", "L")
    process = endless()
    process.send_signal(number)
    assert process.wait(patient_s(60)) == Exit.INTERRUPTED
    assert process.stderr.read() == b"ownerctl: interrupted\n"


def test_a_job_that_is_to_outlive_its_terminal_does(ctl, fake, endless):
    ctl("list", "create", "L")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = endless()
    finally:
        signal.signal(signal.SIGHUP, before)
    process.send_signal(signal.SIGHUP)
    process.stdin.close()
    process.stdin = None
    assert process.wait(patient_s(60)) == 0 and list(fake.rows["L"]) == ["1"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_export_that_a_signal_ends_leaves_no_half_file(ctl, fake, tmp_path, number):
    ctl("list", "create", "L")
    target = tmp_path / "out.csv"
    target.write_text("before")
    command = [sys.executable, "-m", "ownerd.ctl", "--server", fake.address]
    fake.export_stalls = True
    with subprocess.Popen([*command, "export", "L", target], stderr=subprocess.PIPE) as process:
        assert fake.export_began.wait(patient_s(60))
        process.send_signal(number)
        _, told = process.communicate(timeout=patient_s(60))
    assert (process.returncode, told) == (Exit.INTERRUPTED, b"ownerctl: interrupted\n")
    assert target.read_text() == "before" and os.listdir(tmp_path) == ["out.csv"]


def test_the_timeout_ends_an_import_from_a_pipe_that_does_not_end(ctl, fake, endless):
    ctl("list", "create", "L")
    process = endless("--timeout", "3s")
    assert process.wait(patient_s(60)) == Exit.DEADLINE
    assert b"stdin did not end within --timeout; nothing was imported" in process.stderr.read()


def test_an_import_whose_server_dies_after_the_last_row_has_an_unknown_outcome(
    ctl, fake, contacts, monkeypatch
):
    monkeypatch.setattr("ownerd.ctl.commands.import_upload.RETRY_PAUSES_S", ())
    path = contacts(HEADER + "1,C1,,\n")
    fake.import_fails_at_end = True
    fake.fail_next("ImportOwnership", grpc.StatusCode.UNAVAILABLE, "gone")
    fake.failures["ImportOwnership"] *= 5  # the channel tries as often by itself
    code, _, err = ctl("import", "L", path)
    assert code == Exit.UNAVAILABLE and "the outcome is unknown" in err


def test_a_dry_run_says_what_a_file_holds_and_what_the_server_would_do(ctl, fake, contacts):
    text = "1,C1,,\n1,C1,,\n2,,,\n,,,\n3,C2,,2001-01-01T00:00:00Z\n"
    path = contacts(HEADER + text)
    code, out, err = ctl("import", "L", path, "--dry-run", "-o", "json")
    assert (code, err) == (0, "") and not fake.rows["L"]
    sent = fake.last(pb.ImportOwnershipRequest)
    assert sent.dry_run and not sent.request_id
    found = json.loads(out)
    assert found.pop("revision") == fake.revision
    assert found == {
        "list_id": "L",
        "row_count": 3,
        "repeated_count": 1,
        "imported_count": 3,
        "overwritten_count": 0,
        "skipped_count": 0,
        "expired_count": 0,
        "unowned_count": 1,
        "rejected_count": 0,
        "renamed_campaign_count": 0,
        "dry_run": True,
    }


def test_a_dry_run_of_an_import_that_would_be_refused_says_so(ctl, fake, contacts):
    own(fake, "L", 1)
    path = contacts(HEADER + "r00000,C2,,\n")
    code, _, err = ctl("import", "L", path, "--dry-run")
    assert code == 0
    assert "would be refused, for other campaigns hold 1 record of it; see --on-conflict" in err


def test_a_dry_run_whose_server_dies_leaves_nothing_in_doubt(ctl, fake, contacts):
    fake.import_fails_at_end = True
    fake.fail_next("ImportOwnership", grpc.StatusCode.INTERNAL, "")
    code, _, err = ctl("import", "L", contacts(HEADER + "1,C1,,\n"), "--dry-run")
    assert code == Exit.INTERNAL and err.endswith("; nothing was imported\n")


def test_what_an_import_does_only_if_told_is_asked_of_the_server(ctl, fake, contacts):
    path = contacts(HEADER + "1,C1,,\n")
    options = ("--exact", "--rename-campaigns", "--expire-by-policy")
    for given in ((), *((option,) for option in options)):
        assert ctl("import", "L", path, *given)[0] == 0
        sent = fake.last(pb.ImportOwnershipRequest)
        asked = (sent.exact, sent.rename_campaigns, sent.expire_by_policy)
        assert asked == tuple(option in given for option in options) and not sent.dry_run


BAD_ROWS = (
    HEADER
    + "1,C1,,\n2,C1,,tomorrow\n3,C1,\n4,C1,,\n5,C1,,\n4,C2,,\n12345678901234500000,C1,,\n6,C1,x,\n"
)


def test_rows_that_are_wrong_go_to_a_file_and_the_others_are_imported(
    ctl, fake, contacts, tmp_path
):
    rejects = tmp_path / "rejects.csv"
    code, out, err = ctl("import", "L", contacts(BAD_ROWS), "--rejects", rejects, "-o", "json")
    assert (code, err) == (0, "")
    assert sorted(fake.rows["L"]) == ["1", "5", "6"]
    assert json.loads(out)["rejected_count"] == 5
    rows = list(csv.reader(io.StringIO(rejects.read_text())))
    assert rows[0] == ["ownerd_line", "ownerd_reason", *HEADER.strip().split(",")]
    assert [(row[0], row[2:]) for row in rows[1:]] == [
        ("3", ["2", "C1", "", "tomorrow"]),
        ("4", ["3", "C1", ""]),
        ("5", ["4", "C1", "", ""]),
        ("7", ["4", "C2", "", ""]),
        ("8", ["12345678901234500000", "C1", "", ""]),
    ]
    reasons = [row[1] for row in rows[1:]]
    for words, reason in zip(
        ("not a time", "3 cells", "line 7", "line 5", "rounded"), reasons, strict=True
    ):
        assert words in reason


def test_with_more_wrong_rows_than_allowed_nothing_is_imported(ctl, fake, contacts, tmp_path):
    rejects = tmp_path / "rejects.csv"
    for most in range(5):
        options = ("--rejects", rejects, "--max-rejects", most)
        code, _, err = ctl("import", "L", contacts(BAD_ROWS), *options)
        assert code == Exit.INPUT_FILE and err.endswith("nothing was imported\n")
    assert not fake.rows["L"] and not rejects.exists()
    options = ("--rejects", rejects, "--max-rejects", 5)
    assert ctl("import", "L", contacts(BAD_ROWS), *options)[0] == 0


def test_a_file_of_rejects_is_new_when_nothing_is_rejected(ctl, contacts, tmp_path):
    rejects = tmp_path / "rejects.csv"
    rejects.write_text("of yesterday")
    assert ctl("import", "L", contacts(HEADER + "1,C1,,\n"), "--rejects", rejects)[0] == 0
    assert rejects.read_text() == f"ownerd_line,ownerd_reason,{HEADER}"


def test_rejects_that_were_mended_are_imported(ctl, fake, contacts, tmp_path):
    rejects = tmp_path / "rejects.csv"
    ctl("import", "L", contacts(HEADER + "2,C1,,tomorrow\n"), "--rejects", rejects)
    rejects.write_text(rejects.read_text().replace(",tomorrow", ",2099-01-01T00:00:00Z"))
    assert ctl("import", "L", rejects)[0] == 0
    assert list(fake.rows["L"]) == ["2"]


def test_options_that_make_no_sense_are_a_wrong_command_line(ctl, fake, contacts, tmp_path):
    path = contacts(HEADER + "1,C1,,\n")
    for options in (
        ("--max-rejects", 1),
        ("--rejects", path),
        ("--rejects", "-"),
        ("--rejects", tmp_path / "r", "--max-rejects", -1),
        ("--encoding", "klingon"),
        ("--encoding", "base64"),
        ("--time-zone", "Mars/Olympus"),
        ("--time-zone", "../../etc/passwd"),
        ("--time-zone", "UTC", "--assume-utc"),
    ):
        assert ctl("import", "L", path, *options)[0] == Exit.USAGE, options
    assert not fake.rows["L"] and path.read_text().startswith(HEADER)


def test_a_guessed_encoding_is_told(ctl, fake, contacts):
    path = contacts((HEADER + "1,C1,Frühling,\n").encode("cp1252"))
    code, _, err = ctl("import", "L", path)
    assert code == 0 and "read as Windows-1252: byte 0xfc is not UTF-8" in err
    assert fake.rows["L"]["1"].campaign_name == "Frühling"
    assert ctl("import", "L", path, "--encoding", "latin-1")[2] == ""


def test_a_time_without_a_zone_is_of_the_zone_that_is_told(ctl, fake, contacts):
    path = contacts(HEADER + "1,C1,,2027-01-15 03:00:00\n")
    assert ctl("import", "L", path, "--time-zone", "America/New_York")[0] == 0
    assert fake.rows["L"]["1"].expire_time.seconds == NOW_S


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


@pytest.fixture
def told(fake):
    """Have the next import refused with a reason, as a server does."""

    def tell(status: errors.Status) -> None:
        fake.fail_next("ImportOwnership", status.code, status.message)
        fake.trailers = status._trailers()

    return tell


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.FAILED_PRECONDITION]
)
def test_an_import_that_was_cut_short_says_how_far_it_came(ctl, contacts, told, code):
    cause = errors.Status(code, "why", "STORE_FULL")
    told(errors.status_of(errors.ImportCutShort(5_001, 9_000, cause), "ImportOwnership"))
    exit_code, _, err = ctl("import", "L", contacts(HEADER + "1,C1,,\n"))
    assert exit_code == exit_of_status(code)
    assert "cut short at row 5001 of 9000" in err and "rows before row 5001 are in force" in err
    assert err.endswith("(counting the rows that have an owner)\n") and "nothing" not in err


def test_where_an_import_was_cut_short_is_told_by_its_line_too(ctl, contacts, told):
    cause = errors.Status(grpc.StatusCode.RESOURCE_EXHAUSTED, "why", "STORE_FULL")
    told(errors.status_of(errors.ImportCutShort(2, 2, cause), "ImportOwnership"))
    path = contacts(HEADER + "1,C1,,\n\n,,,\n2,C1,,\n")
    _, _, err = ctl("import", "L", path)
    assert "rows before row 2 are in force" in err and f"row 2 is line 5 of {path}" in err


@pytest.mark.parametrize("text", ["the wire broke", ""])
def test_an_import_that_nothing_is_heard_of_says_that_its_outcome_is_unknown(
    ctl, fake, contacts, text
):
    fake.import_fails_at_end = True
    fake.fail_next("ImportOwnership", grpc.StatusCode.INTERNAL, text)
    code, _, err = ctl("import", "L", contacts(HEADER + "1,C1,,\n"))
    assert code == Exit.INTERNAL
    assert "the outcome is unknown" in err and "again whole" in err


def test_an_import_whose_first_try_was_cut_short_says_so_if_the_last_one_changes_nothing(
    ctl, fake, contacts, monkeypatch, told
):
    monkeypatch.setattr("ownerd.ctl.commands.import_upload.RETRY_PAUSES_S", (0.0, 0.0))
    draining = errors.Status(grpc.StatusCode.UNAVAILABLE, "", "DRAINING")
    told(errors.status_of(errors.ImportCutShort(5_001, 9_000, draining), "ImportOwnership"))
    fake.failures["ImportOwnership"] *= 5  # the channel tries as often by itself
    fake.fail_next("ImportOwnership", grpc.StatusCode.PERMISSION_DENIED, "no more")
    code, _, err = ctl("import", "L", contacts(HEADER + "1,C1,,\n"))
    assert code == Exit.PERMISSION
    assert "no more" in err and "cut short at row 5001 of 9000" in err


def test_an_import_that_is_interrupted_once_all_is_sent_says_what_is_not_known(
    ctl, contacts, monkeypatch
):
    def interrupted(call, timeout=None):
        """Ctrl-C comes once the server has taken all."""
        call.__class__.result = result
        call.result(timeout)
        raise KeyboardInterrupt

    call_type = grpc._channel._MultiThreadedRendezvous
    result = call_type.result
    monkeypatch.setattr(call_type, "result", interrupted)
    code, _, err = ctl("import", "L", contacts(HEADER + "1,C1,,\n"))
    assert code == Exit.INTERRUPTED
    assert "interrupted; the outcome is unknown" in err


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


def test_an_export_begins_with_a_byte_order_mark_if_told(ctl, fake, tmp_path):
    ctl("list", "create", "L")
    path = tmp_path / "out.csv"
    ctl("export", "L", path, "--bom")
    assert path.read_bytes() == b"\xef\xbb\xbf" + HEADER.strip().encode() + b",ownerd_acquired\n"
    assert ctl("import", "L", path)[0] == 0


def test_an_export_has_the_columns_that_are_chosen(ctl, fake):
    ctl("list", "create", "L")
    own(fake, "L", 1, "C1")
    _, out, _ = ctl("export", "L", "--columns", "i3_campaignownerid, i3_identity")
    assert out == "i3_campaignownerid,i3_identity\nC1,r00000\n"
    for columns in ("", "phone", "i3_identity,i3_identity"):
        code, _, err = ctl("export", "L", "--columns", columns)
        assert code == Exit.USAGE and "--columns" in err


@pytest.mark.parametrize(
    "options",
    [
        ("-o", "csv"),
        ("-ocsv",),
        ("--output=csv",),
        ("--timeout", "9s"),
        ("--campaign", "C1", "--timeout=9s"),
        ("-", "--timeout", "9s"),
        ("--bom", "-", "-o", "csv"),
    ],
)
def test_options_may_follow_a_list_whose_file_is_not_named(ctl, fake, monkeypatch, options):
    ctl("list", "create", "L")
    own(fake, "L", 1, "C1")
    code, out, err = ctl("export", "L", *options)
    assert (code, err) == (0, "") and "r00000,C1" in out
    monkeypatch.delenv("OWNERD_SERVER")
    code, out, err = ctl("export", "L", "--server", fake.address, *options)
    assert (code, err) == (0, "") and "r00000,C1" in out


def test_an_option_without_its_value_is_a_wrong_command_line(ctl):
    for arguments in (
        ("export", "L", "--server"),
        ("export", "L", "--nosuch"),
        ("import", "L", "-x"),
    ):
        assert ctl(*arguments)[0] == Exit.USAGE


def test_an_export_in_another_form_is_that(ctl, fake):
    ctl("list", "create", "L")
    own(fake, "L", 3, "C1")
    _, out, _ = ctl("export", "L", "-o", "json")
    records = json.loads(out)["records"]
    assert len(records) == 3 and records[0]["i3_campaignownerid"] == "C1"
    assert records[0]["i3_campaignownerexpiration"] is None
    _, out, _ = ctl("export", "L", "-o", "jsonl")
    assert [json.loads(line) for line in out.splitlines()] == records
    assert ctl("export", "L", "-o", "csv")[1].startswith(HEADER.strip())


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


@pytest.mark.parametrize("command", [("import", "L", "in.csv"), ("export", "L")])
@pytest.mark.parametrize(
    "options",
    [
        ("--owner-column", "i3_identity"),
        ("--name-column", "I3_IDENTITY"),
        ("--record-column", "id", "--expiration-column", "ID"),
        ("--record-column", "ownerd_acquired"),
    ],
)
def test_no_two_columns_have_one_name(ctl, fake, command, options):
    code, _, err = ctl(*command, *options)
    assert code == Exit.USAGE and "need names that differ" in err


def test_a_byte_order_mark_is_of_csv(ctl, fake):
    ctl("list", "create", "L")
    for form in ("json", "jsonl"):
        code, out, err = ctl("export", "L", "--bom", "-o", form)
        assert (code, out) == (Exit.USAGE, "") and "--bom is for CSV" in err


def test_rejects_do_not_take_the_place_of_what_stdin_reads(ctl, fake, contacts, monkeypatch):
    path = contacts(HEADER + "1,C1,,\n2,C1,,tomorrow\n")
    before = path.read_bytes()
    with path.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        code, _, err = ctl("import", "L", "-", "--rejects", path)
    assert code == Exit.USAGE and "would overwrite the file that is imported" in err
    assert path.read_bytes() == before


def test_lines_are_named_where_rows_are_at_fault_alone(ctl, fake, contacts):
    fake.fail_next("ImportOwnership", grpc.StatusCode.INVALID_ARGUMENT, "reason: found too much")
    code, _, err = ctl("import", "L", contacts(HEADER + "1,C1,,\n"))
    assert code == Exit.INVALID_ARGUMENT and err.endswith("found too much\n")
