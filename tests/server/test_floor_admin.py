"""Campaigns that go, guarded releases, all lists, shared lists, activity, audit, on a server."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from guarded_server import GuardedServer, grants, status
from harness import ServerProcess, listeners
from subject import DAY, Policy, Refusal
from subject_grpc import GrpcSubject, call, duration

from ownerd.v1 import admin_pb2 as pb

OPEN = Policy(True, DAY)


@pytest.fixture
def subject(any_server: ServerProcess, dial: Any, admin: Any) -> GrpcSubject:
    """The shared server, spoken to through its stubs."""
    return GrpcSubject(dial, admin)


def _audit(subject: GrpcSubject, list_id: str = "") -> list[pb.AuditEntry]:
    request = pb.ListAuditEntriesRequest(filter=pb.AuditFilter(list_id=list_id), page_size=20)
    return list(call(subject.admin.ListAuditEntries, request).entries)


def _refused(subject: GrpcSubject, method: str, request: Any) -> str:
    with pytest.raises(Refusal) as refusal:
        call(getattr(subject.admin, method), request)
    return refusal.value.code


# ---- campaigns that go


def test_a_campaign_that_holds_anything_is_deleted_by_force_alone(
    subject: GrpcSubject, unique: str
) -> None:
    one, two, gone = unique + "-1", unique + "-2", unique + "-gone"
    for list_id in (one, two):
        subject.create_list(list_id, OPEN)
    subject.upsert_campaign(gone, "Spring")
    subject.attempt(one, "1", gone, "Busy")
    subject.claim(two, "2", gone)
    request = pb.DeleteCampaignRequest(campaign_id=gone)
    assert _refused(subject, "DeleteCampaign", request) == "FAILED_PRECONDITION"
    would = call(
        subject.admin.DeleteCampaign, pb.DeleteCampaignRequest(campaign_id=gone, dry_run=True)
    )
    assert (would.released_count, would.reserved_count) == (1, 1)
    request.force, request.request_id = True, unique
    answer = call(subject.admin.DeleteCampaign, request)
    assert answer.released_count == 1
    assert call(subject.admin.DeleteCampaign, request) == answer
    assert gone not in subject.campaigns()
    for list_id, record_id in ((one, "1"), (two, "2")):
        assert subject.claim(list_id, record_id, unique + "-other").what == "GRANTED"
    entry = _audit(subject, two)[0]
    assert (entry.action, entry.affected_count) == ("DeleteCampaign", 1)
    assert json.loads(entry.detail)["before"] == {"name": "Spring"}
    assert subject.claim(one, "9", gone).what == "GRANTED"
    assert subject.campaigns()[gone] == gone, "known anew, without its name"


def test_a_campaign_that_holds_nothing_is_deleted(subject: GrpcSubject, unique: str) -> None:
    subject.upsert_campaign(unique, "Spring")
    call(subject.admin.DeleteCampaign, pb.DeleteCampaignRequest(campaign_id=unique))
    assert unique not in subject.campaigns()
    request = pb.DeleteCampaignRequest(campaign_id=unique)
    assert _refused(subject, "DeleteCampaign", request) == "NOT_FOUND"


def test_a_list_with_a_dial_in_progress_is_deleted_by_force_alone(
    subject: GrpcSubject, unique: str
) -> None:
    subject.create_list(unique, OPEN)
    subject.claim(unique, "1", "A")
    request = pb.DeleteContactListRequest(list_id=unique)
    assert _refused(subject, "DeleteContactList", request) == "FAILED_PRECONDITION"
    subject.delete_list(unique, force=True)


# ---- releases


def test_r15_a_release_of_records_can_be_guarded_by_their_owner(
    subject: GrpcSubject, unique: str
) -> None:
    subject.create_list(unique, OPEN)
    for record_id, campaign_id in (("1", "A"), ("2", "B"), ("3", "A")):
        subject.attempt(unique, record_id, campaign_id, "Busy")
    subject.claim(unique, "4", "B")
    request = pb.ReleaseRecordsRequest(
        list_id=unique, record_ids=["2", "1", "4", "5"], only_if_campaign_id="A", dry_run=True
    )
    would = call(subject.admin.ReleaseRecords, request)
    assert (would.released_count, list(would.not_released)) == (1, ["2"])
    request.dry_run, request.request_id = False, unique
    answer = call(subject.admin.ReleaseRecords, request)
    assert (answer.released_count, list(answer.not_released)) == (1, ["2"])
    assert call(subject.admin.ReleaseRecords, request) == answer, "a repeat has its first answer"
    assert subject.claim(unique, "1", "B").what == "GRANTED"
    assert subject.claim(unique, "2", "A").what == "DENIED"
    request = pb.ReleaseRecordsRequest(
        list_id=unique, record_ids=["3"], only_if_campaign_id=unique + "-nobody"
    )
    assert _refused(subject, "ReleaseRecords", request) == "NOT_FOUND"


def test_r15_a_release_of_records_ends_reservations_if_it_is_asked_to(
    subject: GrpcSubject, unique: str
) -> None:
    subject.create_list(unique, OPEN)
    for record_id in ("1", "2"):
        subject.claim(unique, record_id, "A")
    call(subject.admin.ReleaseRecords, pb.ReleaseRecordsRequest(list_id=unique, record_ids=["1"]))
    assert subject.claim(unique, "1", "B").what == "DENIED"
    request = pb.ReleaseRecordsRequest(
        list_id=unique, record_ids=["1"], include_reservations=True, only_if_campaign_id="B"
    )
    subject.upsert_campaign("B", "B")
    call(subject.admin.ReleaseRecords, request)
    assert subject.claim(unique, "1", "B").what == "DENIED", "it was A's"
    request.only_if_campaign_id = "A"
    call(subject.admin.ReleaseRecords, request)
    assert subject.claim(unique, "1", "B").what == "GRANTED"


def test_r15_all_lists_are_released_at_once_and_told_of_once(
    subject: GrpcSubject, unique: str
) -> None:
    lists = [f"{unique}-{i}" for i in range(3)]
    for list_id in lists:
        subject.create_list(list_id, OPEN)
        subject.attempt(list_id, "1", unique, "Busy")
        subject.attempt(list_id, "2", unique + "-other", "Busy")
    request = pb.ReleaseOwnershipRequest(all_lists=True, campaign_ids=[unique], dry_run=True)
    assert call(subject.admin.ReleaseOwnership, request).released_count == 3
    request.dry_run = False
    assert call(subject.admin.ReleaseOwnership, request).released_count == 3
    entries = [_audit(subject, list_id)[0] for list_id in lists]
    assert len({entry.entry_id for entry in entries}) == 1
    assert (entries[0].list_id, entries[0].affected_count) == ("", 3)
    for list_id in lists:
        assert subject.claim(list_id, "1", "B").what == "GRANTED"
        assert subject.claim(list_id, "2", "B").what == "DENIED"
    both = pb.ReleaseOwnershipRequest(all_lists=True, list_id=lists[0], all_campaigns=True)
    assert _refused(subject, "ReleaseOwnership", both) == "INVALID_ARGUMENT"


# ---- lists that share their ownership


def test_r28_a_hold_in_one_is_a_hold_in_each(subject: GrpcSubject, unique: str) -> None:
    one, two, three = (f"{unique}-{i}" for i in range(3))
    subject.create_list(one, OPEN)
    etag = call(subject.admin.GetContactList, pb.GetContactListRequest(list_id=one)).list.etag
    for name, with_whom in ((two, one), (three, two)):
        request = pb.CreateContactListRequest(list_id=name, shares_ownership_with=with_whom)
        made = call(subject.admin.CreateContactList, request).list
        assert made.etag == etag and made.policy.enabled
    shown = call(subject.admin.GetContactList, pb.GetContactListRequest(list_id=two)).list
    assert list(shown.shares_ownership_with) == [one, three]
    subject.attempt(one, "1", "A", "Busy")
    assert subject.claim(three, "1", "B").what == "DENIED"
    subject.update_policy(two, Policy(False, DAY))
    assert not subject.policy(one).enabled
    assert {entry.list_id for entry in _audit(subject, three)} == {two, three}
    subject.delete_list(one)
    assert subject.claim(two, "1", "B").what == "DENIED", "the holds go with the last"
    subject.delete_list(three)
    request = pb.DeleteContactListRequest(list_id=two)
    assert _refused(subject, "DeleteContactList", request) == "FAILED_PRECONDITION"
    subject.delete_list(two, force=True)


def test_r28_what_cannot_be_shared_is_refused(subject: GrpcSubject, unique: str) -> None:
    subject.create_list(unique, OPEN)
    request = pb.CreateContactListRequest(list_id=unique + "-2", shares_ownership_with="none such")
    assert _refused(subject, "CreateContactList", request) == "NOT_FOUND"
    request.shares_ownership_with = unique
    request.policy.enabled = True
    assert _refused(subject, "CreateContactList", request) == "INVALID_ARGUMENT"
    request.ClearField("policy")
    request.list_id = unique
    assert _refused(subject, "CreateContactList", request) == "ALREADY_EXISTS"


def test_r28_groups_count_once_in_what_is_done_to_all_lists(
    subject: GrpcSubject, unique: str
) -> None:
    subject.create_list(unique, OPEN)
    before = call(subject.admin.GetServerStatus, pb.GetServerStatusRequest()).list_count
    request = pb.CreateContactListRequest(list_id=unique + "-2", shares_ownership_with=unique)
    call(subject.admin.CreateContactList, request)
    status_now = call(subject.admin.GetServerStatus, pb.GetServerStatusRequest())
    assert status_now.list_count == before
    subject.attempt(unique, "1", unique, "Busy")
    release = pb.ReleaseOwnershipRequest(all_lists=True, campaign_ids=[unique], dry_run=True)
    assert call(subject.admin.ReleaseOwnership, release).released_count == 1
    release.dry_run = False
    assert call(subject.admin.ReleaseOwnership, release).released_count == 1


@pytest.fixture(scope="module", params=["native", "grpcio"])
def guarded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GuardedServer]:
    """A server that asks who one is, with each kind of listener."""
    if request.param == "native":
        pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")
    directory = tmp_path_factory.mktemp("guarded") / "data"
    with GuardedServer(directory, *listeners(request.param)) as server:
        yield server


def test_r28_a_change_of_one_needs_the_right_on_each(guarded: GuardedServer) -> None:
    guarded.open_list("in-1")
    shared = pb.CreateContactListRequest(list_id="out-1", shares_ownership_with="in-1")
    guarded.root.admin("CreateContactList", shared)
    half = guarded.principal("half", *grants(["configure", "ownership_control", "view"], ["in-*"]))
    both = guarded.principal(
        "both", *grants(["configure", "ownership_control", "view"], ["in-*", "out-*"])
    )
    policy = pb.OwnershipPolicy(enabled=True, duration=duration(DAY))
    asked = {
        "UpdateOwnershipPolicy": pb.UpdateOwnershipPolicyRequest(list_id="in-1", policy=policy),
        "ReleaseOwnership": pb.ReleaseOwnershipRequest(list_id="in-1", all_campaigns=True),
        "ReleaseRecords": pb.ReleaseRecordsRequest(list_id="in-1", record_ids=["1"]),
        "CreateContactList": pb.CreateContactListRequest(
            list_id="in-2", shares_ownership_with="in-1"
        ),
        "ImportOwnership": pb.ImportOwnershipRequest(
            list_id="in-1", rows=[pb.OwnershipRow(record_id="1", campaign_id="A")]
        ),
    }
    for method, request in asked.items():
        for caller, code in ((half, "PERMISSION_DENIED"), (both, "OK")):
            sent = iter([request]) if method == "ImportOwnership" else request
            assert status(caller.admin, method, sent)[0] == code, (method, code)
    seen = half.admin("GetContactList", pb.GetContactListRequest(list_id="in-1")).list
    assert list(seen.shares_ownership_with) == ["in-2"], "a name that it may not view is left out"


def test_r15_all_lists_need_the_right_on_every_list(guarded: GuardedServer) -> None:
    guarded.root.admin("UpsertCampaign", pb.UpsertCampaignRequest(campaign_id="A"))
    some = guarded.principal("some", *grants(["ownership_control"], ["*-1"], ["A"]))
    every = guarded.principal("every", *grants(["ownership_control"], [], ["A"]))
    request = pb.ReleaseOwnershipRequest(all_lists=True, campaign_ids=["A"])
    assert status(some.admin, "ReleaseOwnership", request)[0] == "PERMISSION_DENIED"
    assert status(every.admin, "ReleaseOwnership", request)[0] == "OK"


# ---- numbers


def test_r17_what_campaigns_asked_is_counted_by_list(subject: GrpcSubject, unique: str) -> None:
    other = unique + "-other"
    for list_id in (unique, other):
        subject.create_list(list_id, OPEN)
    a, b, c = (f"{unique}-{name}" for name in "abc")
    subject.claim_batch(unique, a, ["1", "2", "3"])
    subject.claim(unique, "9", b)
    subject.claim_batch(unique, c, ["1", "2", "9"])
    subject.claim(other, "1", c)
    subject.attempt_batch(unique, a, [("1", "Busy"), ("2", "No Lines")])
    subject.attempt(unique, "1", c, "Busy")
    answer = call(subject.admin.ListOwners, pb.ListOwnersRequest(list_id=unique))
    found = {each.campaign_id: each for each in answer.activity}
    assert set(found) == {a, b, c}
    assert found[a].granted_claim_count == 3
    assert (found[a].ownership_acquired_count, found[a].reservation_cleared_count) == (1, 1)
    assert (found[b].granted_claim_count, found[b].denied_by_campaign_id) == (1, "")
    assert (found[c].granted_claim_count, found[c].denied_claim_count) == (0, 3)
    assert (found[c].denied_by_campaign_id, found[c].rejected_attempt_count) == (a, 1)


def test_r17_who_was_only_denied_is_counted_with_what_it_does_once_it_is_known(
    subject: GrpcSubject, unique: str
) -> None:
    subject.create_list(unique, OPEN)
    subject.claim(unique, "1", "A")
    subject.claim(unique, "1", unique)
    subject.claim(unique, "2", unique)
    answer = call(subject.admin.ListOwners, pb.ListOwnersRequest(list_id=unique))
    found = {each.campaign_id: each for each in answer.activity}[unique]
    assert (found.granted_claim_count, found.denied_claim_count) == (1, 1)


def test_r31_whom_two_campaigns_called_is_counted_by_who_held_the_record(
    subject: GrpcSubject, unique: str
) -> None:
    one, two = unique + "-1", unique + "-2"
    subject.create_list(one, OPEN)
    call(
        subject.admin.CreateContactList,
        pb.CreateContactListRequest(list_id=two, shares_ownership_with=one),
    )
    for record_id in ("1", "2"):
        subject.attempt(one, record_id, "A", "Busy")
        subject.attempt(two, record_id, "B", "Busy")
    subject.attempt(one, "1", "B", "No Lines")
    answer = call(subject.admin.ListOwners, pb.ListOwnersRequest(list_id=one))
    found = {each.campaign_id: each for each in answer.activity}["B"]
    assert found.rejected_attempt_count == 3
    assert [(c.campaign_id, c.attempt_count) for c in found.called_twice] == [("A", 2)]


# ---- the audit and the settings


def test_r21_names_and_codes_are_audited_with_what_was_there_before(
    subject: GrpcSubject, unique: str
) -> None:
    for name in ("n1", "n2"):
        subject.upsert_campaign(unique, name)
    code = pb.WrapUpCode(code=unique, category="Busy")
    call(subject.admin.UpsertWrapUpCode, pb.UpsertWrapUpCodeRequest(code=code))
    code.counts_as_attempt = False
    call(subject.admin.UpsertWrapUpCode, pb.UpsertWrapUpCodeRequest(code=code))
    call(subject.admin.DeleteWrapUpCode, pb.DeleteWrapUpCodeRequest(code=unique))
    details = [json.loads(entry.detail) for entry in _audit(subject)[:5]][::-1]
    assert [(d["before"], d["after"]) for d in details[:2]] == [
        (None, {"name": "n1"}),
        ({"name": "n1"}, {"name": "n2"}),
    ]
    counts = [(d["before"] or {}).get("counts_as_attempt") for d in details[2:]]
    assert counts == [None, True, False] and details[4]["after"] is None


def test_r26_the_setting_is_changed_audited_and_shown(server: ServerProcess) -> None:
    subject = GrpcSubject(server.dial_stub(), server.admin_stub())
    subject.create_list("L", OPEN)
    get = pb.GetStoreSettingsRequest()
    assert call(subject.admin.GetStoreSettings, get).settings.unknown_wrap_up_code == 1
    with pytest.raises(Refusal):
        subject.attempt("L", "1", "A", "Sold")
    settings = pb.StoreSettings(unknown_wrap_up_code=pb.UNKNOWN_CODE_MEANING_ATTEMPT)
    call(subject.admin.UpdateStoreSettings, pb.UpdateStoreSettingsRequest(settings=settings))
    assert subject.attempt("L", "1", "A", "Sold").what == "OWNERSHIP_ACQUIRED"
    detail = json.loads(_audit(subject)[0].detail)
    assert detail == {
        "before": {"unknown_wrap_up_code": "refuse"},
        "after": {"unknown_wrap_up_code": "attempt"},
    }
    unknown = call(subject.admin.ListUnknownWrapUpCodes, pb.ListUnknownWrapUpCodesRequest()).codes
    assert [(each.code, each.count) for each in unknown] == [("Sold", 2)]
    bad = pb.UpdateStoreSettingsRequest(settings=pb.StoreSettings(unknown_wrap_up_code=9))
    assert _refused(subject, "UpdateStoreSettings", bad) == "INVALID_ARGUMENT"
