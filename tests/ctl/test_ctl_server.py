"""ownerctl against a real server: every command once, and its effect as the server tells it."""

import csv
import io
import json
import os
import pty
import subprocess
import sys

import pytest
from sanitizer import patient_s
from terminal import answer_with

from ownerd.client import Client, OwnershipRow
from ownerd.ctl import cli
from ownerd.ctl.terminal.exits import Exit
from ownerd.v1 import dial_pb2

HEADER = "i3_identity,i3_campaignownerid,i3_campaignownername,i3_campaignownerexpiration\n"


@pytest.fixture
def ctl(any_server, capsys, monkeypatch):
    """Run ownerctl against the server; returns exit code, stdout and stderr."""
    monkeypatch.setenv("OWNERD_SERVER", any_server.admin_address)

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def ask(ctl):
    """Run ownerctl with json output; returns the parsed answer of a command that must succeed."""

    def run(*arguments):
        code, out, err = ctl(*arguments, "-o", "json")
        assert code == 0, err
        return json.loads(out)

    return run


@pytest.fixture
def client(any_server):
    """The Python client of the server."""
    with Client(any_server.dial_address, admin_target=any_server.admin_address) as found:
        yield found


@pytest.fixture
def own(ctl, dial, unique):
    """Make the list `unique`, and campaigns own records of it by real attempts."""
    assert ctl("list", "create", unique, "--enable", "--days", 2)[0] == 0

    def attempt(campaign_id, *record_ids, code="Busy"):
        Attempt = dial_pb2.ReportAttemptBatchRequest.Attempt
        attempts = [Attempt(record_id=str(r), wrap_up_code=code) for r in record_ids]
        dial.ReportAttemptBatch(
            dial_pb2.ReportAttemptBatchRequest(
                list_id=unique, campaign_id=campaign_id, attempts=attempts
            )
        )

    return attempt


def test_r14_a_policy_is_shown_as_it_was_set(ask, ctl, unique):
    made = ask("list", "create", unique, "--days", 2, "--hours", 3)
    assert made["enabled"] is False
    assert (made["duration"], made["renewal_window"]) == ("183600s", None)
    changed = ask("policy", "set", unique, "--enable", "--renewal-window", "1h")
    assert (changed["enabled"], changed["duration"]) == (True, "183600s")
    assert changed["renewal_window"] == "3600s"
    assert ctl("policy", "set", unique, "--disable", "--etag", made["etag"])[0] == Exit.ABORTED
    changed = ask("policy", "set", unique, "--no-expiration", "--default-renewal-window")
    assert (changed["duration"], changed["renewal_window"]) == (None, None)
    assert ask("policy", "show", unique) == ask("list", "show", unique) == changed
    assert changed in ask("list", "ls")["lists"]
    assert ctl("policy", "set", unique, "--duration", "0s")[0] == Exit.INVALID_ARGUMENT
    assert ctl("list", "create", unique)[0] == Exit.ALREADY_EXISTS


def test_r17_owners_and_records_show_who_holds_what(ask, own, ctl, unique, dial):
    first, second = unique + "-a", unique + "-b"
    own(first, 1, 2, 30)
    own(second, "x")
    claim = dial_pb2.ClaimRequest(list_id=unique, record_id="y", campaign_id=second)
    dial.Claim(claim)
    owners = ask("owners", unique)
    counts = [(o["campaign_id"], o["owned_count"], o["reserved_count"]) for o in owners["owners"]]
    assert counts == [(first, 3, 0), (second, 1, 1)]
    assert owners["total_owned_count"] == 4 and owners["total_reserved_count"] == 1
    listed = ask("record", "list", unique, "--campaign", first)["records"]
    assert [record["record_id"] for record in listed] == ["1", "2", "30"]
    assert ask("record", "show", unique, "y")["kind"] == "reserved"
    assert ask("record", "show", unique, "30")["campaign_id"] == first
    assert ask("record", "show", unique, "-30")["kind"] is None
    assert ctl("record", "show", "no-such-list", "1")[0] == Exit.NOT_FOUND


def test_r15_a_release_frees_what_was_shown_and_no_more(ask, own, ctl, unique, monkeypatch):
    first, second = unique + "-a", unique + "-b"
    own(first, *range(1200))
    own(second, *range(1200, 1205))
    assert ask("release", unique, "--all", "--dry-run")["released_count"] == 1205
    answer_with(monkeypatch, "no\n")
    assert ctl("release", unique, "--campaign", first)[0] == Exit.DECLINED
    answer_with(monkeypatch, "y\n")
    code, out, err = ctl("release", unique, "--campaign", first, "--reason", "season over")
    assert (code, out) == (0, f"Released 1,200 records of list {unique}.\n")
    assert first in err and second not in err
    assert ask("owners", unique)["total_owned_count"] == 5
    assert ask("release", unique, "--record", 1200, "--record", 7, "--yes")["released_count"] == 1
    assert ask("release", unique, "--all", "--yes")["released_count"] == 4
    for command in (["release", "--yes"], ["release", "--dry-run"], ["export"], ["record", "ls"]):
        code, out, err = ctl(*command, unique, "--campaign", "no-such")
        assert (code, out) == (Exit.NOT_FOUND, "") and "no-such" in err


def test_r16_a_stop_ends_reservations_only_if_it_is_asked_to_and_no_ownership(
    ask, own, ctl, unique, dial
):
    campaign = unique + "-a"
    own(campaign, 1)
    dial.Claim(dial_pb2.ClaimRequest(list_id=unique, record_id="2", campaign_id=campaign))
    for word in ("recycle", "reset", "stop"):
        assert ask("campaign", word, campaign)["campaign_id"] == campaign
        assert ask("owners", unique)["total_reserved_count"] == 1
    ended = ask("campaign", "stop", campaign, "--list", unique, "--end-reservations", "--yes")
    assert (ended["list_id"], ended["ended_reservation_count"]) == (unique, 1)
    owners = ask("owners", unique)
    assert (owners["total_owned_count"], owners["total_reserved_count"]) == (1, 0)
    assert ctl("campaign", "stop", "no-such-campaign")[0] == Exit.NOT_FOUND


def test_a_campaigns_name_is_shown_with_what_it_owns(ask, own, unique):
    campaign = unique + "-a"
    own(campaign, 1)
    assert ask("campaign", "set", campaign, "--name", "Spring sale")["name"] == "Spring sale"
    assert {"campaign_id": campaign, "name": "Spring sale"} in ask("campaign", "ls")["campaigns"]
    assert ask("owners", unique)["owners"][0]["campaign_name"] == "Spring sale"


def test_a_wrap_up_code_of_ones_own_takes_the_flags_of_its_category(ask, own, ctl, unique):
    assert len([c for c in ask("wrapup", "ls")["codes"] if c["code"] == c["category"]]) == 24
    saved = ask("wrapup", "set", unique, "--category", "No Lines")
    assert saved["counts_as_attempt"] is False and saved["success"] is False
    own(unique + "-a", 1, code=unique)
    assert ask("owners", unique)["total_owned_count"] == 0
    assert ask("wrapup", "set", unique, "--category", "Success")["success"] is True
    assert ask("wrapup", "delete", unique)["code"] == unique
    assert ctl("wrapup", "delete", unique)[0] == Exit.NOT_FOUND
    assert ctl("wrapup", "set", unique, "--category", "None")[0] == Exit.INVALID_ARGUMENT


def test_r21_every_change_is_in_the_audit_log_with_its_reason(ask, own, ctl, unique):
    own(unique + "-a", 1, 2)
    ctl("release", unique, "--all", "--yes", "--reason", "end of season")
    newest, oldest = ask("audit", "--list", unique, "--since", "5m")["entries"]
    assert (newest["action"], newest["affected_count"]) == ("ReleaseOwnership", 2)
    assert newest["reason"] == "end of season" and newest["request_id"]
    assert oldest["action"] == "CreateContactList"
    assert [newest] == ask("audit", "--list", unique, "--action", "ReleaseOwnership")["entries"]
    assert [newest] == ask("audit", "--list", unique, "--limit", 1)["entries"]
    assert "end of season" in ctl("audit", "--list", unique)[1]


def test_the_status_tells_the_version_and_the_sizes(ask, ctl):
    status = ask("status")
    assert status["lmdb_version"] and status["revision"] >= 1 and status["store_bytes"] > 0
    assert "Contact lists" in ctl("status")[1]


def test_a_list_in_use_is_deleted_only_by_force(own, ctl, unique):
    own(unique + "-a", 1)
    assert ctl("list", "delete", unique)[0] == Exit.FAILED_PRECONDITION
    assert ctl("list", "delete", unique, "--force")[0] == Exit.USAGE
    assert ctl("list", "delete", unique, "--force", "--yes")[0] == 0
    assert ctl("list", "show", unique)[0] == Exit.NOT_FOUND


def test_what_is_imported_comes_back_the_same(ask, ctl, unique, tmp_path):
    rows = [
        ("1", "A", "Campaign A", "2099-01-15T08:00:00.123456789Z"),
        ("2", "B", "B", ""),
        ("contact 3", "A", "Campaign A", "2099-01-15T08:00:00Z"),
    ]
    rows = [(r, unique + c, unique + n, e) for r, c, n, e in rows]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    before = tmp_path / "before.csv"
    before.write_text(HEADER + "free,,,\n" + text.getvalue() + "gone,X,X,2001-01-01T00:00:00Z\n")
    ctl("list", "create", unique)
    answer = ask("import", unique, before, "--reason", "migration")
    counts = {key: answer[key] for key in answer if key.endswith("_count")}
    assert counts == {
        "imported_count": 3,
        "overwritten_count": 0,
        "skipped_count": 0,
        "expired_count": 1,
        "rejected_count": 0,
        "unowned_count": 1,
        "renamed_campaign_count": 1,
    }
    chosen = ("--columns", HEADER.strip())
    _, out, _ = ctl("export", unique, *chosen)
    assert out == HEADER + text.getvalue()
    _, out, _ = ctl("export", unique, *chosen, "--campaign", unique + "B")
    assert out == HEADER + f"2,{unique}B,{unique}B,\n"


def test_a_name_that_is_not_there_is_answered_with_one_like_it(ctl, own, unique, tmp_path):
    own(f"{unique}-spring", 1)
    path = tmp_path / "rows.csv"
    path.write_text(HEADER + "1,A,,\n")
    wrong = f"{unique}x"
    for arguments in (("owners", wrong), ("export", wrong), ("import", wrong, path)):
        code, out, err = ctl(*arguments)
        assert (code, out) == (Exit.NOT_FOUND, "")
        assert "there is no contact list" in err and wrong in err
        assert f'did you mean "{unique}"?' in err
    campaigns = ("--campaign", f"{unique}-spring", "--campaign", f"{unique}-sprng")
    code, _, err = ctl("release", unique, *campaigns, "--yes")
    assert code == Exit.NOT_FOUND
    assert f"{unique}-sprng" in err
    assert f'did you mean "{unique}-spring"?' in err


def test_whatever_the_server_takes_as_an_id_comes_back_the_same(ctl, unique, client, tmp_path):
    texts = [
        " 42 ",
        "NULL",
        "1E+5",
        '="7"',
        'a"b',
        "\r",
        "a\nb",
        "\x00",
        "\x1a",
        "(1 row)",
        "007",
        "é\ufeff",
    ]
    rows = [OwnershipRow(text, f"{unique}{text}", text * 2) for text in texts]
    client.create_list(unique)
    client.create_list(f"{unique}-2")
    client.import_ownership(unique, rows)
    path = tmp_path / "all.csv"
    assert ctl("export", unique, path)[0] == ctl("import", f"{unique}-2", path)[0] == 0
    before, after = (
        {
            (row.record_id, row.campaign_id, row.campaign_name)
            for row in client.export_ownership(each)
        }
        for each in (unique, f"{unique}-2")
    )
    assert before == after == {(r.record_id, r.campaign_id, r.campaign_name) for r in rows}


def test_an_import_fails_skips_or_overwrites_what_another_holds(ask, own, ctl, unique, tmp_path):
    holder, other = unique + "-a", unique + "-b"
    own(holder, 1)
    path = tmp_path / "rows.csv"
    path.write_text(HEADER + f"1,{other},,\n2,{other},,\n")
    code, _, err = ctl("import", unique, path)
    assert code == Exit.FAILED_PRECONDITION and holder in err
    assert f"row 1 is line 2 of {path}" in err
    assert ask("owners", unique)["total_owned_count"] == 1
    assert ask("import", unique, path, "--on-conflict", "skip")["skipped_count"] == 1
    assert ask("record", "show", unique, 1)["campaign_id"] == holder
    assert (
        ask("import", unique, path, "--on-conflict", "overwrite", "--yes")["overwritten_count"] == 1
    )
    assert ask("record", "show", unique, 1)["campaign_id"] == other


def test_a_broken_row_at_the_end_of_a_long_file_imports_nothing(ask, ctl, unique, tmp_path):
    ctl("list", "create", unique)
    path = tmp_path / "rows.csv"
    path.write_text(HEADER + "".join(f"{n},{unique},,\n" for n in range(20_000)) + "x,y,,soon\n")
    code, _, err = ctl("import", unique, path)
    assert code == Exit.INPUT_FILE and "line 20002" in err
    assert ask("owners", unique)["total_owned_count"] == 0
    assert [e["action"] for e in ask("audit", "--list", unique)["entries"]] == ["CreateContactList"]


def test_long_work_shows_a_bar_at_a_terminal_only(ctl, any_server, unique, tmp_path):
    ctl("list", "create", unique)
    path = tmp_path / "rows.csv"
    path.write_text(HEADER + "".join(f"{n},{unique},,\n" for n in range(5_000)))
    command = [sys.executable, "-m", "ownerd.ctl", "import", unique, str(path)]
    environment = {**os.environ, "OWNERD_SERVER": any_server.admin_address, "TERM": "xterm"}
    quiet = subprocess.run(command, env=environment, capture_output=True, timeout=patient_s(60))
    assert (quiet.returncode, quiet.stderr) == (0, b"")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = _read_all(ours)
        assert process.wait(patient_s(60)) == 0
    assert b"Sending" in shown


def _read_all(descriptor):
    chunks = []
    try:
        while chunk := os.read(descriptor, 65_536):
            chunks.append(chunk)
    except OSError:  # how a terminal says that its last writer has gone
        pass
    finally:
        os.close(descriptor)
    return b"".join(chunks)
