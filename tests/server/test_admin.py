"""AdminService over gRPC: paging, etags, masks, dry runs, status: what no rule says."""

import json
import time
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from harness import poll
from subject import DAY, HOUR, MINUTE, SECOND, Policy, Refusal, Row
from subject_engine import timestamp_ns
from subject_grpc import GrpcSubject, call, duration, policy_message, policy_of

from ownerd.v1 import admin_pb2


@pytest.fixture
def subject(dial: Any, admin: Any) -> GrpcSubject:
    """The shared server, spoken to through its stubs."""
    return GrpcSubject(dial, admin)


def _create(subject: GrpcSubject, list_id: str, **policy: Any) -> admin_pb2.ContactList:
    request = admin_pb2.CreateContactListRequest(list_id=list_id, policy=policy or None)
    return call(subject.admin.CreateContactList, request).list


def _get(subject: GrpcSubject, list_id: str) -> admin_pb2.ContactList:
    request = admin_pb2.GetContactListRequest(list_id=list_id)
    return call(subject.admin.GetContactList, request).list


def _update(subject: GrpcSubject, list_id: str, policy: Any, *paths: str, etag: str = "") -> Policy:
    request = admin_pb2.UpdateOwnershipPolicyRequest(
        list_id=list_id, policy=policy, update_mask=FieldMask(paths=paths), etag=etag
    )
    return policy_of(call(subject.admin.UpdateOwnershipPolicy, request).list.policy)


# ---- lists and policies


def test_a_list_is_created_with_the_defaults(subject: GrpcSubject, unique: str) -> None:
    made = _create(subject, unique)
    assert made == _get(subject, unique)
    assert policy_of(made.policy) == Policy(False, None, None, 15 * MINUTE)
    assert made.policy.no_expiration
    assert made.etag and made.create_time == made.update_time
    assert subject.claim(unique, "1", "A").what == "UNCONTROLLED"


def test_a_duration_alone_means_that_ownership_expires(subject: GrpcSubject, unique: str) -> None:
    made = _create(subject, unique, enabled=True, duration=duration(DAY))
    assert policy_of(made.policy) == Policy(True, DAY, None, 15 * MINUTE)


def test_r14_days_and_hours_come_back_as_they_were_set(subject: GrpcSubject, unique: str) -> None:
    wanted = Policy(True, 2 * DAY + 3 * HOUR, 90 * MINUTE, 45 * SECOND)
    request = admin_pb2.CreateContactListRequest(list_id=unique, policy=policy_message(wanted))
    assert policy_of(call(subject.admin.CreateContactList, request).list.policy) == wanted
    assert subject.policy(unique) == wanted


def test_a_mask_changes_what_it_names_and_nothing_else(subject: GrpcSubject, unique: str) -> None:
    start = Policy(True, DAY, HOUR, MINUTE)
    subject.create_list(unique, start)
    every = policy_message(Policy(False, 2 * DAY, 2 * HOUR, 2 * MINUTE))
    seen = start
    for path, field, value in [
        ("enabled", "enabled", False),
        ("duration", "duration_ns", 2 * DAY),
        ("renewal_window", "renewal_window_ns", 2 * HOUR),
        ("reservation_ttl", "reservation_ttl_ns", 2 * MINUTE),
    ]:
        seen = seen._replace(**{field: value})
        assert _update(subject, unique, every, path) == seen
    assert subject.policy(unique) == seen


def test_a_masked_field_that_is_absent_goes_back_to_its_default(
    subject: GrpcSubject, unique: str
) -> None:
    subject.create_list(unique, Policy(True, DAY, HOUR, MINUTE))
    empty = admin_pb2.OwnershipPolicy()
    assert _update(subject, unique, empty, "renewal_window").renewal_window_ns is None
    assert _update(subject, unique, empty, "reservation_ttl").reservation_ttl_ns == 15 * MINUTE
    assert _update(subject, unique, empty, "expiration").duration_ns is None
    assert _update(subject, unique, {"enabled": True, "duration": duration(DAY)}, "*") == Policy(
        True, DAY, None, 15 * MINUTE
    )


def test_without_a_mask_what_is_present_is_changed(subject: GrpcSubject, unique: str) -> None:
    subject.create_list(unique, Policy(True, DAY, HOUR, MINUTE))
    changed = _update(subject, unique, {"enabled": True, "reservation_ttl": duration(SECOND)})
    assert changed == Policy(True, DAY, HOUR, SECOND)
    assert _update(subject, unique, {"duration": duration(HOUR)}) == Policy(
        False, HOUR, HOUR, SECOND
    )
    assert _update(subject, unique, {"no_expiration": True}).duration_ns is None


def test_an_etag_lets_only_the_policy_that_was_read_be_changed(
    subject: GrpcSubject, unique: str
) -> None:
    first = _create(subject, unique, enabled=True).etag
    subject.claim(unique, "1", "A")
    subject.attempt(unique, "1", "A", "Busy")
    assert _get(subject, unique).etag == first, "dialing does not change the policy"
    _update(subject, unique, {"enabled": False}, etag=first)
    second = _get(subject, unique).etag
    assert second != first
    for stale in (first, "nonsense", "0"):
        with pytest.raises(Refusal) as refusal:
            _update(subject, unique, {"enabled": True}, etag=stale)
        assert refusal.value.code == "ABORTED"
        with pytest.raises(Refusal) as refusal:
            request = admin_pb2.DeleteContactListRequest(list_id=unique, force=True, etag=stale)
            call(subject.admin.DeleteContactList, request)
        assert refusal.value.code == "ABORTED"
    assert (_get(subject, unique).etag, subject.policy(unique).enabled) == (second, False)
    request = admin_pb2.DeleteContactListRequest(list_id=unique, force=True, etag=second)
    assert call(subject.admin.DeleteContactList, request).revision == subject.revision()


def test_r12_a_change_shows_the_time_from_which_it_counts(
    subject: GrpcSubject, unique: str
) -> None:
    created_ns = timestamp_ns(_create(subject, unique, enabled=True).create_time)
    subject.attempt(unique, "1", "A", "Busy")
    change_ns = subject.update_policy(unique, Policy(True, DAY))
    shown = _get(subject, unique)
    assert timestamp_ns(shown.create_time) == created_ns < change_ns
    assert timestamp_ns(shown.update_time) == change_ns
    assert subject.owned(unique)[0].expire_ns == change_ns + DAY


# ---- pages


def _pages(method: Any, request: Any, items: str, size: int) -> list[list[Any]]:
    request.page_size = size
    pages = []
    while True:
        answer = call(method, request)
        pages.append(list(getattr(answer, items)))
        if not answer.next_page_token:
            return pages
        request.page_token = answer.next_page_token


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_pages_of_lists_hold_every_list_once(subject: GrpcSubject, unique: str, size: int) -> None:
    wanted = [f"{unique}-{number}" for number in range(7)]
    for list_id in reversed(wanted):
        subject.create_list(list_id)
    request = admin_pb2.ListContactListsRequest()
    pages = _pages(subject.admin.ListContactLists, request, "lists", size)
    ids = [each.list_id for page in pages for each in page]
    assert [list_id for list_id in ids if list_id.startswith(unique)] == wanted
    assert ids == sorted(set(ids), key=str.encode)
    assert all(len(page) <= size for page in pages)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_pages_of_campaigns_and_codes_hold_each_once(
    subject: GrpcSubject, unique: str, size: int
) -> None:
    for number in range(5):
        subject.upsert_campaign(f"{unique}-{number}", f"Name {number}")
    pages = _pages(subject.admin.ListCampaigns, admin_pb2.ListCampaignsRequest(), "campaigns", size)
    found = [(c.campaign_id, c.name) for page in pages for c in page]
    assert [name for name in found if name[0].startswith(unique)] == [
        (f"{unique}-{number}", f"Name {number}") for number in range(5)
    ]
    assert len(found) == len(set(found))
    pages = _pages(subject.admin.ListWrapUpCodes, admin_pb2.ListWrapUpCodesRequest(), "codes", size)
    codes = [code.code for page in pages for code in page]
    assert codes == sorted(set(codes), key=str.encode) and len(codes) >= 23


def test_a_page_is_exact_and_goes_on_after_changes(subject: GrpcSubject, unique: str) -> None:
    subject.create_list(unique, Policy(True, None))
    subject.import_rows(unique, [Row(str(number), "A") for number in range(0, 40, 2)])
    request = admin_pb2.ListOwnedRecordsRequest(list_id=unique, page_size=5)
    first = call(subject.admin.ListOwnedRecords, request)
    assert [r.record_id for r in first.records] == ["0", "2", "4", "6", "8"]
    assert first.revision == subject.revision()
    # Gone: one behind and one before the page's end, and the very record it ended with.
    subject.release_records(unique, ["2", "8", "10"])
    subject.import_rows(unique, [Row("3", "A"), Row("11", "A")])
    request.page_token = first.next_page_token
    request.page_size = 100
    second = call(subject.admin.ListOwnedRecords, request)
    assert [r.record_id for r in second.records] == ["11", *map(str, range(12, 40, 2))]
    assert second.next_page_token == ""


def test_a_page_of_zero_is_a_hundred_and_a_huge_one_is_cut(
    subject: GrpcSubject, unique: str
) -> None:
    subject.create_list(unique, Policy(True, None))
    subject.import_rows(unique, [Row(str(number), "A") for number in range(10_500)])
    for size, count in ((0, 100), (2**31 - 1, 10_000), (10_000, 10_000)):
        request = admin_pb2.ListOwnedRecordsRequest(list_id=unique, page_size=size)
        answer = call(subject.admin.ListOwnedRecords, request)
        assert len(answer.records) == count and answer.next_page_token


def test_pages_of_owned_records_of_some_campaigns(subject: GrpcSubject, unique: str) -> None:
    subject.create_list(unique, Policy(True, None))
    rows = [Row(f"{number:03}-x", "ABC"[number % 3]) for number in range(100)]
    subject.import_rows(unique, rows)
    request = admin_pb2.ListOwnedRecordsRequest(list_id=unique, campaign_ids=["C", "A"])
    pages = _pages(subject.admin.ListOwnedRecords, request, "records", 7)
    found = [(r.record_id, r.campaign_id) for page in pages for r in page]
    assert found == [(row.record_id, row.campaign_id) for row in rows if row.campaign_id != "B"]


# ---- releases


def _release(subject: GrpcSubject, **fields: Any) -> tuple[int, int]:
    request = admin_pb2.ReleaseOwnershipRequest(**fields)
    answer = call(subject.admin.ReleaseOwnership, request)
    return answer.released_count, answer.revision


def test_a_dry_run_counts_and_changes_nothing(subject: GrpcSubject, unique: str) -> None:
    subject.create_list(unique, Policy(True, None))
    subject.import_rows(unique, [Row(str(number), "AAB"[number % 3]) for number in range(30)])
    before = (subject.revision(), subject.owners(unique), _audit(subject, unique))
    dry = {"list_id": unique, "dry_run": True}
    assert _release(subject, all_campaigns=True, **dry)[0] == 30
    assert _release(subject, campaign_ids=["A"], **dry)[0] == 20
    assert _release(subject, campaign_ids=["A", "B", "A"], **dry) == (30, before[0])
    assert (subject.revision(), subject.owners(unique), _audit(subject, unique)) == before
    count, revision = _release(subject, list_id=unique, campaign_ids=["A", "A"])
    assert (count, subject.owners(unique)[0].owned_count) == (20, 10)
    assert revision > before[0]


def _transfer(subject: GrpcSubject, **fields: Any) -> admin_pb2.TransferOwnershipResponse:
    return call(subject.admin.TransferOwnership, admin_pb2.TransferOwnershipRequest(**fields))


def test_r27_a_transfer_counts_and_says_who_why_and_between_whom(
    subject: GrpcSubject, unique: str
) -> None:
    giver, receiver = f"{unique}-old", f"{unique}-new"
    subject.create_list(unique, Policy(True, None))
    subject.import_rows(unique, [Row(str(number), giver) for number in range(3)])
    subject.import_rows(unique, [Row("other", "A")])
    between = {"from_campaign_id": giver, "to_campaign_id": receiver}
    before = (subject.revision(), subject.owners(unique), _audit(subject, unique))
    dry = _transfer(subject, list_id=unique, dry_run=True, **between)
    assert (dry.transferred_count, dry.revision) == (3, before[0])
    assert (subject.revision(), subject.owners(unique), _audit(subject, unique)) == before
    made = _transfer(subject, list_id=unique, reason="rerun", **between)
    assert made.transferred_count == 3 and made.revision > before[0]
    counts = {owner.campaign_id: owner.owned_count for owner in subject.owners(unique)}
    assert counts == {receiver: 3, "A": 1}
    entry = _audit(subject, unique)[0]
    assert (entry.action, entry.reason) == ("TransferOwnership", "rerun")
    assert set(entry.campaign_ids) == {giver, receiver}
    detail = json.loads(entry.detail)
    assert (detail["from_campaign_id"], detail["to_campaign_id"]) == (giver, receiver)
    assert _transfer(subject, list_id=unique, **between).transferred_count == 0


def test_r27_a_transfer_reaches_every_list_if_told_to(subject: GrpcSubject, unique: str) -> None:
    giver, receiver = f"{unique}-old", f"{unique}-new"
    names = [f"{unique}-1", f"{unique}-2", f"{unique}-3"]
    for name in names:
        subject.create_list(name, Policy(True, None))
        subject.import_rows(name, [Row("1", giver), Row("2", giver)])
    between = {"from_campaign_id": giver, "to_campaign_id": receiver}
    assert _transfer(subject, all_lists=True, dry_run=True, **between).transferred_count == 6
    assert _transfer(subject, all_lists=True, **between).transferred_count == 6
    for name in names:
        assert [owner.campaign_id for owner in subject.owners(name)] == [receiver]
    with pytest.raises(Refusal) as refusal:
        _transfer(subject, all_lists=True, list_id=names[0], **between)
    assert refusal.value.code == "INVALID_ARGUMENT" and "exactly one" in refusal.value.message


def _audit(subject: GrpcSubject, list_id: str) -> list[admin_pb2.AuditEntry]:
    request = admin_pb2.ListAuditEntriesRequest(filter={"list_id": list_id})
    return list(call(subject.admin.ListAuditEntries, request).entries)


def test_a_stop_in_all_lists_is_audited_under_each_that_was_there(
    subject: GrpcSubject, unique: str
) -> None:
    _create(subject, unique + "-before")
    call(subject.admin.UpsertCampaign, admin_pb2.UpsertCampaignRequest(campaign_id=unique))
    stop = {"campaign_id": unique, "signal": "CAMPAIGN_SIGNAL_STOPPED", "end_reservations": True}
    call(subject.admin.SignalCampaign, admin_pb2.SignalCampaignRequest(**stop))
    _create(subject, unique + "-after")
    found = [entry for entry in _audit(subject, unique + "-before") if not entry.list_id]
    assert unique in [entry.campaign_ids[0] for entry in found]
    assert [entry.action for entry in _audit(subject, unique + "-after")] == ["CreateContactList"]


# ---- names, codes, status


def test_a_code_takes_what_is_absent_from_its_category(subject: GrpcSubject, unique: str) -> None:
    def upsert(**code: Any) -> tuple[str, bool, bool]:
        request = admin_pb2.UpsertWrapUpCodeRequest(code={"code": unique, **code})
        made = call(subject.admin.UpsertWrapUpCode, request).code
        return made.category, made.counts_as_attempt, made.success

    assert upsert(category="Phone Number Success") == ("Phone Number Success", True, True)
    assert upsert(category="No Lines") == ("No Lines", False, False)
    assert upsert(category="No Lines", counts_as_attempt=True) == ("No Lines", True, False)
    assert upsert(category="Busy", success=True) == ("Busy", True, True)
    assert subject.codes()[unique].category == "Busy"
    subject.delete_code(unique)
    assert unique not in subject.codes()


def test_a_shipped_code_can_be_changed_deleted_and_made_again(subject: GrpcSubject) -> None:
    def upsert(**code: Any) -> admin_pb2.WrapUpCode:
        request = admin_pb2.UpsertWrapUpCodeRequest(code={"code": "Skipped", **code})
        return call(subject.admin.UpsertWrapUpCode, request).code

    assert upsert(counts_as_attempt=True).counts_as_attempt
    subject.delete_code("Skipped")
    assert "Skipped" not in subject.codes()
    again = upsert()
    assert (again.category, again.counts_as_attempt, again.success) == ("Skipped", False, False)


def _vacuumed(subject: GrpcSubject) -> bool:
    """Whether what earlier tests left is vacuumed: no more is dropped of their records."""
    first = subject.status()
    time.sleep(0.1)
    second = subject.status()
    return second.unsettled_event_count == 0 and first.record_count == second.record_count


def test_the_status_tells_what_there_is(subject: GrpcSubject, unique: str) -> None:
    poll(lambda: _vacuumed(subject), "the vacuum to be done", 30)
    before = subject.status()
    subject.create_list(unique, Policy(True, None))
    subject.import_rows(unique, [Row(str(number), unique) for number in range(50)])
    after = subject.status()
    assert after.list_count == before.list_count + 1
    assert after.campaign_count == before.campaign_count + 1
    assert after.record_count == before.record_count + 50
    assert after.revision > before.revision
    assert timestamp_ns(after.time) > timestamp_ns(before.time)
    assert after.uptime.ToNanoseconds() > 0 and after.start_time == before.start_time
    assert 0 < after.store_bytes <= after.map_bytes and after.disk_free_bytes > 0
    assert abs(after.clock_offset.ToNanoseconds()) < SECOND
    assert after.version and after.lmdb_version and not after.alarms


def test_list_owners_says_when_and_at_which_revision(subject: GrpcSubject, unique: str) -> None:
    subject.create_list(unique, Policy(True, None))
    subject.import_rows(unique, [Row("1", "A"), Row("2", "B")])
    subject.claim(unique, "3", "B")
    answer = call(subject.admin.ListOwners, admin_pb2.ListOwnersRequest(list_id=unique))
    assert (answer.total_owned_count, answer.total_reserved_count) == (2, 1)
    assert answer.revision == subject.revision()
    reservation = subject.holder(unique, "3")
    assert reservation is not None and timestamp_ns(answer.time) >= reservation.acquire_ns
