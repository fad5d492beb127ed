"""What a terminal, a pipe and a file get of ownerctl: printable, exact, with an ending."""

import csv
import io
import json
import os
import pty
import subprocess
import sys

import grpc
import pytest
from fake_admin import own
from sanitizer import in_front, patient_s, plain_environment

from ownerd.ctl.terminal.exits import Exit
from ownerd.v1 import admin_pb2 as pb

FORMS = ("table", "json", "jsonl", "csv")
HOSTILE = "\x1b]0;PWNED\x07 \x9b31m \u202e\u2028\x85\x00"
SEEN = [["record", "list", "L", "-o", form] for form in FORMS] + [["export", "L", "-"]]


@pytest.fixture
def hostile(ctl, fake):
    """A list with a record whose owner has a name that a terminal would obey."""
    ctl("list", "create", "L")
    row = pb.OwnershipRow(record_id="1\x1b[2J", campaign_id="C\x9b", campaign_name=HOSTILE)
    fake.rows["L"][row.record_id] = row
    return row


def start(fake, *arguments, environment=None, **streams):
    """Start ownerctl as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", "from ownerd.programs import ownerctl; ownerctl()", *arguments],
        env={**os.environ, "OWNERD_SERVER": fake.address, **(environment or {})},
        **streams,
    )


def run(fake, *arguments, **options):
    """Run ownerctl as a process of its own; returns exit code, stdout and stderr."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    process = start(fake, *arguments, stdin=subprocess.DEVNULL, **options)
    out, err = process.communicate(timeout=patient_s(60))
    return process.returncode, out, (err or b"").decode()


def at_terminal(fake, *arguments, environment=None):
    """Run ownerctl at a terminal; returns exit code and what the terminal got."""
    ours, theirs = pty.openpty()
    process = start(fake, *arguments, stdout=theirs, stderr=theirs, environment=environment)
    os.close(theirs)
    got = b""
    while True:
        try:
            more = os.read(ours, 65_536)
        except OSError:  # the other end is closed
            break
        if not more:
            break
        got += more
    os.close(ours)
    return process.wait(patient_s(60)), got.decode()


@pytest.mark.parametrize("words", SEEN, ids=" ".join)
@pytest.mark.usefixtures("hostile")
def test_no_control_character_reaches_a_terminal(fake, words):
    code, got = at_terminal(fake, *words, environment={"TERM": "dumb", "NO_COLOR": "1"})
    assert code == 0 and "PWNED" in got
    assert all(c.isprintable() or c in "\r\n" for c in got)


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_json_is_printable_and_loses_nothing(ctl, hostile, form):
    text = ctl("record", "list", "L", "-o", form)[1]
    assert all(c.isprintable() or c == "\n" for c in text)
    row = json.loads(text)["records"][0] if form == "json" else json.loads(text)
    assert (row["record_id"], row["campaign_name"]) == (hostile.record_id, HOSTILE)


def test_a_file_brings_back_exactly_what_was_written(fake, tmp_path):
    texts = ["a\rb", "\r", "a\r\nb", "a\nb", '"', "a,b", " a ", "\u2028", "é"]
    names = {str(number): f"x{text}y" for number, text in enumerate(texts)}
    fake.lists["L"] = pb.ContactList(list_id="L")
    for record_id, name in names.items():
        row = pb.OwnershipRow(record_id=record_id, campaign_id=f"C{record_id}", campaign_name=name)
        fake.rows["L"][record_id] = row
    path = tmp_path / "rows.csv"
    assert run(fake, "export", "L", str(path))[0] == 0
    code, out, err = run(fake, "export", "L")
    assert (code, err) == (0, "") and out == path.read_bytes()
    fake.rows["L"].clear()
    assert run(fake, "import", "L", str(path))[0] == 0
    assert {key: row.campaign_name for key, row in fake.rows["L"].items()} == names
    for record_id, row in fake.rows["L"].items():
        row.campaign_id = f"C{record_id}"
    out = run(fake, "record", "list", "L", "-o", "csv")[1]
    rows = csv.DictReader(io.StringIO(out.decode(), newline=""))
    assert {row["record_id"]: row["campaign_name"] for row in rows} == names


FORMULAS = ("=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\uff1d1")


def test_a_file_for_spreadsheets_has_no_formula_and_can_be_read_back(fake, tmp_path):
    texts = sorted([*FORMULAS, "'=1", "'", "a=1"])
    fake.lists["L"] = pb.ContactList(list_id="L")
    for text in texts:
        row = pb.OwnershipRow(record_id=text, campaign_id="C", campaign_name=text)
        row.acquire_time.seconds = 1
        fake.rows["L"][text] = row
    path = tmp_path / "rows.csv"
    assert run(fake, "export", "L", str(path), "--spreadsheet-safe")[0] == 0
    listed = run(fake, "record", "list", "L", "-o", "csv", "--spreadsheet-safe")[1].decode()
    for written in (path.read_bytes().decode(), listed):
        rows = list(csv.reader(io.StringIO(written, newline="")))[1:]
        for text, cells in zip(texts, rows, strict=True):
            assert not any(cell.startswith(tuple(each[0] for each in FORMULAS)) for cell in cells)
            assert any(text in cell for cell in cells)
    fake.rows["L"].clear()
    assert run(fake, "import", "L", str(path), "--spreadsheet-safe")[0] == 0
    found = sorted((row.record_id, row.campaign_name) for row in fake.rows["L"].values())
    assert found == [(text, text) for text in texts]


@pytest.mark.parametrize(
    ("words", "encoding"),
    [*((words, "ascii") for words in SEEN), (SEEN[0], "latin-1"), (SEEN[0], "utf-8")],
)
def test_any_name_can_be_shown_whatever_the_terminal_takes(fake, words, encoding):
    fake.lists["L"] = pb.ContactList(list_id="L")
    name = "Gold \u2013 \u6625 \U0001f600 \x96"
    fake.rows["L"]["1"] = pb.OwnershipRow(record_id="1", campaign_id="C", campaign_name=name)
    environment = {"PYTHONIOENCODING": encoding}
    code, out, err = run(fake, *words, environment=environment)
    assert (code, err) == (0, "")
    if words[0] == "export" or words[-1] != "table":  # for programs, which expect UTF-8
        shown = out.decode("utf-8")
        assert "\u2013 \u6625 \U0001f600" in shown
    code, got = at_terminal(fake, *words, environment={**environment, "TERM": "dumb"})
    assert code == 0 and "Gold" in got


@pytest.mark.parametrize("words", SEEN, ids=" ".join)
def test_a_reader_who_has_seen_enough_ends_every_form_alike(fake, words):
    fake.lists["L"] = pb.ContactList(list_id="L")
    own(fake, "L", 4_000)
    if words[0] == "record":
        words = [*words, "--limit", "0"]
    with start(fake, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(patient_s(60)) == Exit.OUTPUT_FILE


@pytest.mark.parametrize(
    "words", [*SEEN, ["campaign", "set", "C1", "--name", "x"], ["release", "L", "--all", "--yes"]]
)
def test_a_closed_stdout_is_an_error_and_nothing_is_done(fake, words):
    fake.lists["L"] = pb.ContactList(list_id="L")
    command = 'exec "$@" >&-'
    run_it = [sys.executable, "-c", "from ownerd.programs import ownerctl; ownerctl()", *words]
    ended = subprocess.run(
        [*in_front("sh", "-c", command, "sh"), *run_it],
        env={**plain_environment(), "OWNERD_SERVER": fake.address},
        stderr=subprocess.PIPE,
        text=True,
        timeout=patient_s(60),
    )
    assert ended.returncode == Exit.OUTPUT_FILE
    assert ended.stderr.startswith("ownerctl: cannot write the output: stdout is closed")
    assert ended.stderr.count("\n") == 1 and not fake.requests


@pytest.mark.parametrize("words", [*SEEN, ["status"]], ids=" ".join)
def test_a_full_disk_or_a_terminal_that_hung_up_ends_every_form_alike(fake, words):
    fake.lists["L"] = pb.ContactList(list_id="L")
    own(fake, "L", 3)
    with open("/dev/full", "w") as full:
        code, _, err = run(fake, *words, stdout=full)
    assert code == Exit.OUTPUT_FILE
    assert err == "ownerctl: cannot write the output: No space left on device\n"
    ours, theirs = pty.openpty()
    os.close(ours)
    process = start(fake, *words, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
    os.close(theirs)
    assert process.wait(patient_s(60)) == Exit.OUTPUT_FILE


def test_a_complaint_that_nobody_can_read_changes_no_exit_code(fake):
    fake.fail_next("ListOwners", grpc.StatusCode.NOT_FOUND, "no such list")
    with open("/dev/full", "w") as full:
        assert run(fake, "owners", "none", stderr=full)[0] == Exit.NOT_FOUND


@pytest.mark.parametrize("columns", [2, 19, 60])
def test_a_narrow_terminal_cuts_no_value_short(fake, columns):
    fake.lists["L"] = pb.ContactList(list_id="L")
    own(fake, "L", 1, "spring")
    fake.reserved_count = 1_234_567
    # Without a number of lines, a dumb terminal has 80 columns.
    environment = {"COLUMNS": str(columns), "LINES": "24", "TERM": "dumb", "NO_COLOR": "1"}
    code, got = at_terminal(fake, "owners", "L", environment=environment)
    assert code == 0
    for whole in ("spring", "1,234,567", "RESERVED", "total"):
        assert whole in got


@pytest.mark.parametrize(
    ("columns", "words"),
    [(1, ["--help"]), (2, ["list", "create", "--help"]), (19, ["record", "ls", "L"])],
)
def test_a_narrow_terminal_is_no_trap(fake, columns, words):
    fake.lists["L"] = pb.ContactList(list_id="L")
    own(fake, "L", 2)
    environment = {"COLUMNS": str(columns), "TERM": "dumb"}
    assert run(fake, *words, environment=environment)[0] == 0
    assert at_terminal(fake, *words, environment=environment)[0] == 0


def test_no_bar_stands_between_rows_that_a_terminal_shows(fake, ctl):
    ctl("list", "create", "L")
    own(fake, "L", 3)
    code, got = at_terminal(fake, "export", "L", environment={"TERM": "xterm"})
    assert code == 0 and "\r\nr00002,C1," in got
    assert "Exporting" not in got and "\x1b" not in got
