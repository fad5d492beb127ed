"""`ownerctl audit`: refusals, exports, and following it over whatever happens to the server."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import grpc
import pytest
from fake_admin import NOW_S, fake_server

from ownerd.ctl.commands import audit_follow
from ownerd.ctl.terminal.exits import Exit
from ownerd.v1 import admin_pb2 as pb


def refuse(fake, **fields):
    return fake.add_entry(
        action="Claim",
        principal="dialer",
        list_id="L",
        campaign_ids=["spring"],
        peer="ipv4:h:9",
        refusal=pb.REFUSAL_PERMISSION_DENIED,
        affected_count=3,
        **fields,
    )


def ids(out):
    return [json.loads(line)["entry_id"] for line in out.splitlines()]


def test_a_refusal_is_told_apart_from_a_change(ctl, fake):
    fake.add_entry(action="ReleaseOwnership", principal="dialer", list_id="L")
    refuse(fake, detail='{"right": "dial"}')
    fake.add_entry(action="Claim", principal="anonymous", refusal=pb.REFUSAL_UNAUTHENTICATED)
    _, out, _ = ctl("audit")
    assert "REFUSED (permission denied): Claim L, spring, by dialer, from ipv4:h:9" in out
    assert "REFUSED (unauthenticated): Claim, by anonymous" in out
    assert out.count("REFUSED") == 2 and '{"right": "dial"}' in out
    entries = json.loads(ctl("audit", "-o", "json")[1])["entries"]
    refusals = [entry["refusal"] for entry in entries]
    assert refusals == ["unauthenticated", "permission_denied", None]
    only = json.loads(ctl("audit", "--refused", "-o", "json", "--limit", 1)[1])["entries"]
    assert [entry["entry_id"] for entry in only] == [3]


def test_jsonl_exports_every_entry_an_object_in_a_line(ctl, fake, monkeypatch):
    monkeypatch.setattr("ownerd.ctl.connect.channel.PAGE_SIZE", 2)
    for number in range(5):
        fake.add_entry(action="UpsertCampaign", principal="admin", reason=f"é\n{number}")
    code, out, err = ctl("audit", "-o", "jsonl", "--limit", 0)
    assert (code, err) == (0, "") and ids(out) == [5, 4, 3, 2, 1]
    assert json.loads(out.splitlines()[0])["reason"] == "é\n4"
    assert ids(ctl("audit", "-o", "jsonl", "--limit", 3)[1]) == [5, 4, 3]
    assert ctl("audit", "-o", "jsonl", "--action", "Claim") == (0, "", "")


def test_entries_are_filtered_by_time_principal_list_and_action(ctl, fake):
    for number in range(6):
        fake.add_entry(
            action=("Claim", "ReleaseRecords")[number % 2], principal="xy"[number // 3], list_id="L"
        )
    fake.lists["L"] = pb.ContactList(list_id="L")
    assert ids(ctl("audit", "-o", "jsonl", "--action", "Claim", "--principal", "y")[1]) == [5]
    since, until = (f"2027-01-15T08:00:0{second}Z" for second in (2, 4))
    assert ids(ctl("audit", "-o", "jsonl", "--since", since, "--until", until)[1]) == [3, 2]
    assert ids(ctl("audit", "-o", "jsonl", "--list", "M")[1]) == []


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("Release", "ReleaseRecords"), ("upsertcampaign", "UpsertCampaign"), ("zzz", "")],
)
def test_an_action_that_none_has_is_an_error_that_says_which_was_meant(ctl, fake, typed, meant):
    code, out, err = ctl("audit", "--action", typed)
    assert (code, out) == (Exit.USAGE, "") and typed in err
    assert f'did you mean "{meant}"' in err if meant else "did you mean" not in err
    assert not fake.requests


def test_details_are_json_in_json_and_text_elsewhere(ctl, fake):
    detail = {"before": {"name": "n1"}, "after": {"name": "n2"}}
    fake.add_entry(action="UpsertCampaign", principal="admin", detail=json.dumps(detail))
    assert json.loads(ctl("audit", "-o", "json")[1])["entries"][0]["detail"] == detail
    assert json.loads(ctl("audit", "-o", "jsonl")[1])["detail"] == detail
    assert json.dumps(detail) in ctl("audit")[1]
    (row,) = csv.DictReader(io.StringIO(ctl("audit", "-o", "csv")[1]))
    assert json.loads(row["detail"]) == detail


# Following


@pytest.fixture
def looks(monkeypatch):
    """Let steps happen between the looks of a follower, who takes no time; then Ctrl-C."""
    steps = []

    def sleep(_):
        if not steps:
            raise KeyboardInterrupt
        steps.pop(0)()

    clock = iter(range(0, 10**9, 400))
    stand_in = SimpleNamespace(sleep=sleep, monotonic=lambda: next(clock))
    monkeypatch.setattr(audit_follow, "time", stand_in)
    return steps


def nothing():
    pass


def test_new_entries_are_shown_once_oldest_first(ctl, fake, looks, monkeypatch):
    monkeypatch.setattr("ownerd.ctl.connect.channel.PAGE_SIZE", 2)
    for _ in range(3):
        fake.add_entry(action="A")
    looks += [
        nothing,
        lambda: [fake.add_entry(action="B") for _ in range(5)],
        nothing,
        lambda: fake.add_entry(action="C"),
        nothing,
    ]
    code, out, err = ctl("audit", "--follow", "-o", "jsonl")
    assert (code, err) == (Exit.INTERRUPTED, "")
    assert ids(out) == list(range(1, 10))


def test_an_audit_that_was_empty_is_followed_from_its_first_entry(ctl, fake, looks):
    looks += [nothing, lambda: fake.add_entry(action="A")]
    assert ids(ctl("audit", "-f", "-o", "jsonl")[1]) == [1]


def test_it_begins_with_the_last_few(ctl, fake, looks):
    for _ in range(5):
        fake.add_entry(action="A")
    looks += [lambda: [fake.add_entry(action="B") for _ in range(4)]]
    assert ids(ctl("audit", "-f", "-o", "jsonl", "--limit", 2)[1]) == [4, 5, 6, 7, 8, 9]


def test_what_is_followed_is_filtered(ctl, fake, looks):
    refuse(fake)
    fake.add_entry(action="A", principal="p")
    looks += [
        lambda: fake.add_entry(action="A", principal="q"),
        lambda: fake.add_entry(action="A", principal="p"),
        lambda: refuse(fake),
    ]
    left = list(looks)
    assert ids(ctl("audit", "-f", "-o", "jsonl", "--principal", "p")[1]) == [2, 4]
    looks += left
    assert ids(ctl("audit", "-f", "-o", "jsonl", "--refused")[1]) == [1, 5, 8]


def test_a_look_at_an_idle_server_costs_one_entry_and_another_only_the_new(ctl, fake, looks):
    for _ in range(200):
        fake.add_entry(action="A")
    looks += [nothing, lambda: fake.add_entry(action="A")]
    ctl("audit", "-f", "-o", "jsonl", "--limit", 1)
    sent = [r for r in fake.requests if isinstance(r, pb.ListAuditEntriesRequest)]
    assert [r.page_size for r in sent] == [1, 1, 1, 1, 1_000]
    assert sent[-1].filter.start_time.seconds == NOW_S + 200


def test_a_time_to_begin_with_stays(ctl, fake, looks):
    fake.add_entry(action="A")
    looks += [lambda: fake.add_entry(action="A"), lambda: fake.add_entry(action="A")]
    out = ctl("audit", "-f", "-o", "jsonl", "--since", "2027-01-15T08:00:03Z")[1]
    assert ids(out) == [3]


@pytest.mark.parametrize("status", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"])
def test_a_server_that_is_away_is_waited_for_and_nothing_is_missed(ctl, fake, looks, status):
    def away():
        fake.add_entry(action="A")
        code = grpc.StatusCode[status]
        fake.fail_next("ListAuditEntries", code, "away", count=4 if status[0] == "U" else 1)

    looks += [away, nothing]
    code, out, err = ctl("audit", "-f", "-o", "jsonl")
    assert code == Exit.INTERRUPTED and ids(out) == [1]
    assert err.count("trying again") == 1 and err.count("answers again") == 1


def test_it_ends_when_the_server_is_away_too_long_or_says_no(ctl, fake, looks):
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
    looks += [lambda: fake.fail_next("ListAuditEntries", exhausted, "x")] * 5
    code, _, err = ctl("audit", "-f")
    assert code == Exit.EXHAUSTED and err.count("trying again") == 1
    denied = grpc.StatusCode.PERMISSION_DENIED
    looks[:] = [lambda: fake.fail_next("ListAuditEntries", denied, "needs view")]
    assert ctl("audit", "-f") == (Exit.PERMISSION, "", "ownerctl: needs view\n")
    looks.clear()
    fake.fail_next("ListAuditEntries", exhausted, "x")
    assert ctl("audit", "-f")[0] == Exit.EXHAUSTED  # not even the first answer


def test_a_failure_half_way_through_a_look_loses_and_doubles_nothing(ctl, fake, looks, monkeypatch):
    monkeypatch.setattr("ownerd.ctl.connect.channel.PAGE_SIZE", 1)
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
    answer = fake.ListAuditEntries

    def fail_on_the_second_page(request, context):
        if request.page_token and not failed:
            failed.append(1)
            context.abort(exhausted, "x")
        return answer(request, context)

    failed = []
    monkeypatch.setattr(fake, "ListAuditEntries", fail_on_the_second_page)
    looks += [lambda: [fake.add_entry(action="A") for _ in range(3)], nothing]
    with fake_server(fake=fake) as again:
        out = ctl("audit", "-f", "-o", "jsonl", "--server", again.address)[1]
    assert failed and ids(out) == [1, 2, 3]


def test_an_entry_that_comes_during_a_look_is_shown_once(ctl, fake, looks, monkeypatch):
    answer = fake.ListAuditEntries

    def add_meanwhile(request, context):
        if request.page_size > 1 and len(fake.entries) == 2:
            fake.add_entry(action="A")
        return answer(request, context)

    monkeypatch.setattr(fake, "ListAuditEntries", add_meanwhile)
    fake.add_entry(action="A")
    looks += [lambda: fake.add_entry(action="A"), nothing, nothing]
    with fake_server(fake=fake) as again:
        out = ctl("audit", "-f", "-o", "jsonl", "--server", again.address)[1]
    assert ids(out) == [1, 2, 3]


def test_another_store_in_its_place_is_followed_from_its_end(ctl, fake, looks):
    def restored():
        del fake.entries[1:]

    for _ in range(3):
        fake.add_entry(action="A")
    looks += [restored, lambda: fake.add_entry(action="B")]
    _code, out, err = ctl("audit", "-f", "-o", "jsonl")
    assert ids(out) == [1, 2, 3, 2] and err.count("another audit") == 1


def test_it_is_shown_as_lines_for_people_and_as_csv(ctl, fake, looks):
    fake.add_entry(action="A", principal="p", reason="why", affected_count=1234)
    looks += [lambda: refuse(fake)]
    _, out, _ = ctl("audit", "-f")
    assert out.splitlines() == [
        "2027-01-15 08:00:01      1,234  A, by p",
        "                                why",
        "2027-01-15 08:00:02          3  REFUSED (permission denied): Claim L, spring, by dialer,"
        " from ipv4:h:9",
    ]
    looks += [lambda: refuse(fake)]
    rows = list(csv.DictReader(io.StringIO(ctl("audit", "-f", "-o", "csv")[1])))
    assert [row["entry_id"] for row in rows] == ["1", "2", "3"]


@pytest.mark.parametrize("options", [["--until", "1h"], ["-o", "json"]])
def test_what_cannot_be_followed_is_a_usage_error(ctl, fake, options):
    assert ctl("audit", "-f", *options)[0] == Exit.USAGE
    assert not fake.requests


def test_a_program_that_follows_sees_entries_at_once_over_a_restart_until_ctrl_c():
    environment = dict(os.environ)
    with fake_server() as fake:
        fake.add_entry(action="A")
        environment["OWNERD_SERVER"] = fake.address
        command = [sys.executable, "-m", "ownerd.ctl", "audit", "-f", "-o", "jsonl"]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert ids(process.stdout.readline()) == [1]
    with process:
        try:
            with fake_server(fake=fake, address=fake.address):
                fake.add_entry(action="B")
                assert ids(process.stdout.readline()) == [2]
                process.send_signal(signal.SIGINT)
                _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == Exit.INTERRUPTED and "Traceback" not in err
