"""ownerctl's lists, policies, campaigns, codes, audit and status: what is sent, what is printed."""

import csv
import io
import json

import pytest
from fake_admin import NOW_S, own
from terminal import UUID4, table_of

from ownerd.ctl.terminal.exits import Exit
from ownerd.v1 import admin_pb2 as pb


def test_a_list_is_created_with_the_policy_that_the_options_say(ctl, fake):
    code, out, err = ctl(
        "list",
        "create",
        "spring",
        "--enable",
        "--days",
        2,
        "--hours",
        3,
        "--reservation-ttl",
        "90s",
        "--renewal-window",
        "0s",
        "--reason",
        "launch",
    )
    assert (code, err) == (0, "")
    request = fake.last(pb.CreateContactListRequest)
    assert request.policy.enabled
    assert request.policy.duration.seconds == 51 * 3600
    assert request.policy.reservation_ttl.seconds == 90
    assert request.policy.HasField("renewal_window")
    assert request.reason == "launch"
    assert UUID4.fullmatch(request.request_id)
    assert "Created list spring." in out
    assert ["Ownership lasts", "2d3h"] in table_of(out)


def test_a_list_created_without_options_leaves_the_policy_to_the_server(ctl, fake):
    assert ctl("list", "create", "spring")[0] == 0
    assert fake.last(pb.CreateContactListRequest).policy == pb.OwnershipPolicy()


@pytest.mark.parametrize(
    ("options", "paths"),
    [
        (["--enable"], ["enabled"]),
        (["--disable"], ["enabled"]),
        (["--duration", "2d3h"], ["duration"]),
        (["--hours", "5"], ["duration"]),
        (["--no-expiration"], ["no_expiration"]),
        (["--renewal-window", "1h"], ["renewal_window"]),
        (["--default-renewal-window"], ["renewal_window"]),
        (["--reservation-ttl", "1m"], ["reservation_ttl"]),
        (["--disable", "--days", "1"], ["enabled", "duration"]),
    ],
)
def test_policy_set_changes_only_what_is_named(ctl, fake, options, paths):
    ctl("list", "create", "L", "--enable", "--days", "7", "--renewal-window", "2h")
    code, _, err = ctl("policy", "set", "L", *options)
    assert (code, err) == (0, "")
    request = fake.last(pb.UpdateOwnershipPolicyRequest)
    assert list(request.update_mask.paths) == paths
    named = {field.name for field, _ in request.policy.ListFields()}
    assert named <= set(paths)


def test_policy_set_without_a_setting_is_a_usage_error(ctl, fake):
    code, _, err = ctl("policy", "set", "L", "--reason", "why")
    assert code == Exit.USAGE
    assert err.startswith("ownerctl: nothing to change")
    assert not fake.requests


@pytest.mark.parametrize(
    "options",
    [
        ["--days", "1", "--duration", "1d"],
        ["--duration", "1d", "--no-expiration"],
        ["--hours", "1", "--no-expiration"],
        ["--renewal-window", "1h", "--default-renewal-window"],
        ["--duration", "1"],
        ["--duration", "1w"],
        ["--days", "-1"],
        ["--days", "many"],
        ["--no-such-option"],
    ],
)
def test_contradicting_or_unreadable_settings_are_usage_errors(ctl, fake, options):
    code, out, err = ctl("policy", "set", "L", *options)
    assert (code, out) == (Exit.USAGE, "")
    assert err.startswith("ownerctl: ") and err.count("\n") == 1
    assert not fake.requests


def test_a_stale_etag_exits_with_its_own_code(ctl):
    ctl("list", "create", "L")
    code, _, err = ctl("policy", "set", "L", "--enable", "--etag", "0")
    assert code == Exit.ABORTED
    assert err == "ownerctl: etag: the list has changed; read it again\n"


def test_lists_are_listed_over_all_pages_in_every_form(ctl, monkeypatch):
    monkeypatch.setattr("ownerd.ctl.connect.channel.PAGE_SIZE", 2)
    for name in "abcde":
        ctl("list", "create", name, "--duration", "36h")
    _, out, _ = ctl("list", "list", "-o", "json")
    lists = json.loads(out)["lists"]
    assert [row["list_id"] for row in lists] == list("abcde")
    assert lists[0] == {
        "list_id": "a",
        "enabled": False,
        "duration": "129600s",
        "renewal_window": None,
        "reservation_ttl": "300s",
        "shares_ownership_with": [],
        "create_time": "2027-01-15T08:00:00Z",
        "update_time": "2027-01-15T08:00:00Z",
        "etag": "1",
    }
    _, out, _ = ctl("list", "ls", "-o", "csv")
    assert [row["list_id"] for row in csv.DictReader(io.StringIO(out))] == list("abcde")
    _, out, _ = ctl("list", "ls")
    assert table_of(out)[1] == ["a", "no", "1d12h", "default", "5m"]


def test_an_empty_result_says_so_and_is_still_valid_json(ctl):
    assert "There are no contact lists" in ctl("list", "ls")[1]
    assert json.loads(ctl("list", "ls", "-o", "json")[1]) == {"lists": []}


def test_deleting_a_list_in_use_needs_force(ctl, fake):
    ctl("list", "create", "L")
    own(fake, "L", 1)
    assert ctl("list", "delete", "L")[0] == Exit.FAILED_PRECONDITION
    assert ctl("list", "delete", "L", "--force", "--yes")[:2] == (0, "Deleted list L.\n")
    assert ctl("list", "show", "L")[0] == Exit.NOT_FOUND


def test_r16_signals_name_the_campaign_and_the_list(ctl, fake):
    ctl("list", "create", "L")
    for word, signal in (("stop", "STOPPED"), ("recycle", "RECYCLED"), ("reset", "RESET")):
        assert ctl("campaign", word, "C1", "--list", "L", "--reason", "r")[0] == 0
        sent = fake.last(pb.SignalCampaignRequest)
        assert sent.signal == pb.CampaignSignal.Value(f"CAMPAIGN_SIGNAL_{signal}")
        assert (sent.campaign_id, sent.list_id, sent.reason) == ("C1", "L", "r")


def test_a_campaign_is_named_and_listed(ctl):
    assert "is named Spring sale" in ctl("campaign", "set", "C1", "--name", "Spring sale")[1]
    assert table_of(ctl("campaign", "list")[1])[1] == ["C1", "Spring sale"]


def test_wrap_up_flags_that_are_not_given_are_left_to_the_category(ctl, fake):
    ctl("wrapup", "set", "Engaged", "--category", "Busy", "--no-success")
    sent = fake.last(pb.UpsertWrapUpCodeRequest).code
    assert not sent.HasField("counts_as_attempt")
    assert sent.HasField("success") and not sent.success
    assert table_of(ctl("wrapup", "list")[1])[1] == ["Engaged", "Busy", "no", "no"]
    assert ctl("wrapup", "delete", "Engaged")[0] == 0


def test_the_audit_log_is_filtered_and_shows_running_counts_as_absent(ctl, fake):
    entry = pb.AuditEntry(
        entry_id=3,
        principal="anonymous",
        action="ReleaseOwnership",
        reason="over",
        detail='{"all_campaigns": true}',
    )
    entry.time.seconds = NOW_S
    fake.entries = [entry]
    _, out, _ = ctl(
        "audit", "--list", "", "--action", "ReleaseOwnership", "--since", "2027-01-01T00:00:00Z"
    )
    assert "ReleaseOwnership" in out and "over" in out
    sent = fake.last(pb.ListAuditEntriesRequest).filter
    assert (
        sent.action == "ReleaseOwnership"
        and sent.start_time.ToJsonString() == "2027-01-01T00:00:00Z"
    )
    assert not sent.HasField("end_time")
    listed = json.loads(ctl("audit", "-o", "json")[1])["entries"][0]
    assert listed["affected_count"] is None and listed["campaign_ids"] == []
    assert ctl("audit", "--since", "2027-01-01T00:00:00")[0] == Exit.USAGE


def test_the_status_shows_sizes_for_people_and_numbers_for_programs(ctl, fake):
    fake.alarms = [pb.Alarm(name="store_full", message="free some disk space")]
    _, out, _ = ctl("status")
    assert ["Records stored", "1,234,567"] in table_of(out)
    assert ["Store", "1.4 GiB"] in table_of(out)
    assert ["Alarms", "store_full"] in table_of(out) and ["free some disk space"] in table_of(out)
    status = json.loads(ctl("status", "-o", "json")[1])
    assert status["store_bytes"] == 1_500_000_000
    assert status["uptime"] == "7500s"
