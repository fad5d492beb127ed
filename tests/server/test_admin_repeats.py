"""R20 and R21: repeated changes, and what the audit remembers of every change."""

import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from harness import ServerProcess
from load import Threads
from subject import DAY, OVERWRITE, SKIP, Policy, Refusal, Row
from subject_engine import timestamp_ns
from subject_grpc import GrpcSubject, call, import_messages

from ownerd.native import Engine
from ownerd.v1 import admin_pb2

Send = Callable[[GrpcSubject, Any], Any]


def _subject(server: ServerProcess) -> GrpcSubject:
    return GrpcSubject(server.dial_stub(), server.admin_stub())


@pytest.fixture
def subject(dial: Any, admin: Any) -> GrpcSubject:
    """The shared server, spoken to through its stubs."""
    return GrpcSubject(dial, admin)


def _prepare(subject: GrpcSubject, name: str) -> None:
    """A list with owners, and things for every change to work on."""
    subject.create_list(name, Policy(True, DAY))
    subject.import_rows(name, [Row(str(number), "AB"[number % 2]) for number in range(10)])
    subject.claim(name, "dialing", "A")
    subject.create_list(f"{name}-doomed")
    subject.upsert_campaign(f"{name}-campaign", "Before")


def _changes(name: str) -> list[tuple[str, Any, Any]]:
    """One request of every changing rpc, and another request for the same rpc."""
    return [
        (
            "CreateContactList",
            admin_pb2.CreateContactListRequest(list_id=f"{name}-new"),
            admin_pb2.CreateContactListRequest(list_id=f"{name}-newer"),
        ),
        (
            "UpdateOwnershipPolicy",
            admin_pb2.UpdateOwnershipPolicyRequest(list_id=name, policy={"no_expiration": True}),
            admin_pb2.UpdateOwnershipPolicyRequest(list_id=name, policy={"enabled": True}),
        ),
        (
            "ReleaseRecords",
            admin_pb2.ReleaseRecordsRequest(list_id=name, record_ids=["0", "1"]),
            admin_pb2.ReleaseRecordsRequest(list_id=name, record_ids=["0"]),
        ),
        (
            "ReleaseOwnership",
            admin_pb2.ReleaseOwnershipRequest(list_id=name, campaign_ids=["A"]),
            admin_pb2.ReleaseOwnershipRequest(list_id=name, all_campaigns=True),
        ),
        (
            "TransferOwnership",
            admin_pb2.TransferOwnershipRequest(
                list_id=name, from_campaign_id="B", to_campaign_id=f"{name}-campaign"
            ),
            admin_pb2.TransferOwnershipRequest(
                list_id=name, from_campaign_id="B", to_campaign_id="A"
            ),
        ),
        (
            "UpsertCampaign",
            admin_pb2.UpsertCampaignRequest(campaign_id=f"{name}-campaign", name="After"),
            admin_pb2.UpsertCampaignRequest(campaign_id=f"{name}-campaign", name="Never"),
        ),
        (
            "SignalCampaign",
            admin_pb2.SignalCampaignRequest(campaign_id="A", list_id=name, signal=1),
            admin_pb2.SignalCampaignRequest(campaign_id="A", list_id=name, signal=2),
        ),
        (
            "UpsertWrapUpCode",
            admin_pb2.UpsertWrapUpCodeRequest(code={"code": f"{name}-code", "category": "Busy"}),
            admin_pb2.UpsertWrapUpCodeRequest(code={"code": f"{name}-code", "category": "Fax"}),
        ),
        (
            "DeleteWrapUpCode",
            admin_pb2.DeleteWrapUpCodeRequest(code=f"{name}-code"),
            admin_pb2.DeleteWrapUpCodeRequest(code="Busy"),
        ),
        (
            "DeleteContactList",
            admin_pb2.DeleteContactListRequest(list_id=f"{name}-doomed"),
            admin_pb2.DeleteContactListRequest(list_id=name, force=True),
        ),
    ]


def _another_rpc(method: str) -> tuple[str, Any]:
    if method == "UpsertCampaign":
        return "DeleteWrapUpCode", admin_pb2.DeleteWrapUpCodeRequest(code="Busy")
    return "UpsertCampaign", admin_pb2.UpsertCampaignRequest(campaign_id="A", name="Other")


def _send(subject: GrpcSubject, method: str, request: Any, request_id: str) -> Any:
    request.request_id = request_id
    return call(getattr(subject.admin, method), request)


def _entries(subject: GrpcSubject, **filters: Any) -> list[admin_pb2.AuditEntry]:
    request = admin_pb2.ListAuditEntriesRequest(filter=filters, page_size=1000)
    return list(call(subject.admin.ListAuditEntries, request).entries)


def test_r20_a_repeated_change_gets_the_first_answer_and_does_nothing(
    subject: GrpcSubject, unique: str
) -> None:
    _prepare(subject, unique)
    for method, request, _ in _changes(unique):
        first = _send(subject, method, request, f"{unique}-{method}")
        before = (subject.revision(), subject.owners(unique), _entries(subject))
        assert _send(subject, method, request, f"{unique}-{method}") == first
        assert (subject.revision(), subject.owners(unique), _entries(subject)) == before


def test_r20_a_repeat_after_a_restart_or_a_kill_gets_the_first_answer(
    server: ServerProcess,
) -> None:
    _prepare(_subject(server), "list")
    sent = [
        (method, request, _send(_subject(server), method, request, method))
        for method, request, _ in _changes("list")
    ]
    for end in (server.stop, server.kill):
        end()
        subject = _subject(server.start())
        before = (subject.revision(), subject.owners("list"), _entries(subject))
        for method, request, first in sent:
            assert _send(subject, method, request, method) == first
        assert (subject.revision(), subject.owners("list"), _entries(subject)) == before


def test_r20_a_repeat_gets_its_answer_even_where_the_change_is_no_longer_possible(
    subject: GrpcSubject, unique: str
) -> None:
    create = admin_pb2.CreateContactListRequest(list_id=unique)
    update = admin_pb2.UpdateOwnershipPolicyRequest(list_id=unique, policy={"enabled": True})
    first = _send(subject, "CreateContactList", create, f"{unique}-1")
    second = _send(subject, "UpdateOwnershipPolicy", update, f"{unique}-2")
    subject.delete_list(unique)
    assert _send(subject, "CreateContactList", create, f"{unique}-1") == first
    assert _send(subject, "UpdateOwnershipPolicy", update, f"{unique}-2") == second
    with pytest.raises(Refusal):
        subject.policy(unique)


def test_r20_an_id_that_another_request_used_is_refused(subject: GrpcSubject, unique: str) -> None:
    _prepare(subject, unique)
    for method, request, other in _changes(unique):
        _send(subject, method, request, f"{unique}-{method}")
        before = subject.revision()
        with pytest.raises(Refusal) as refusal:
            _send(subject, method, other, f"{unique}-{method}")
        assert refusal.value.code == "INVALID_ARGUMENT"
        assert "request_id" in refusal.value.message
        with pytest.raises(Refusal) as refusal:
            _send(subject, *_another_rpc(method), f"{unique}-{method}")
        assert refusal.value.code == "INVALID_ARGUMENT"
        assert subject.revision() == before


def test_r20_a_refused_change_leaves_its_id_free(subject: GrpcSubject, unique: str) -> None:
    update = admin_pb2.UpdateOwnershipPolicyRequest(list_id=unique, policy={"enabled": True})
    with pytest.raises(Refusal):
        _send(subject, "UpdateOwnershipPolicy", update, unique)
    subject.create_list(unique)
    assert _send(subject, "UpdateOwnershipPolicy", update, unique).list.policy.enabled


def test_r20_the_same_change_sent_at_once_from_many_places_is_made_once(
    subject: GrpcSubject, unique: str
) -> None:
    _prepare(subject, unique)
    answers: list[Any] = []

    def send(_: threading.Event) -> None:
        request = admin_pb2.ReleaseOwnershipRequest(list_id=unique, all_campaigns=True)
        answers.append(_send(subject, "ReleaseOwnership", request, unique))

    with Threads(*[send] * 8) as threads:
        threads.join()
    assert [answer == answers[0] for answer in answers] == [True] * 8
    assert answers[0].released_count == 10
    assert len(_entries(subject, list_id=unique, action="ReleaseOwnership")) == 1


def test_r20_a_repeated_import_gets_the_first_answer_however_it_is_cut(
    subject: GrpcSubject, unique: str
) -> None:
    _prepare(subject, unique)
    rows = [Row(str(number), "C", "", None) for number in range(5, 12_000)]
    rows.append(Row("late", "C", "", 1))

    def send(chunk_rows: int, sent: list[Row], request_id: str) -> Any:
        messages = import_messages(unique, sent, SKIP, chunk_rows, request_id=request_id)
        return call(subject.admin.ImportOwnership, iter(messages))

    first = send(1_000, rows, unique)
    assert (first.imported_count, first.skipped_count, first.expired_count) == (11_990, 5, 1)
    before = (subject.revision(), subject.owners(unique), _entries(subject))
    assert send(1_000, rows, unique) == send(77, rows, unique) == first
    assert (subject.revision(), subject.owners(unique), _entries(subject)) == before
    with pytest.raises(Refusal) as refusal:
        send(1_000, rows[:-1], unique)
    assert refusal.value.code == "INVALID_ARGUMENT" and "request_id" in refusal.value.message


def test_r20_a_request_that_an_earlier_version_answered_is_still_recognised(tmp_path: Path) -> None:
    """Its id was kept without the caller, who is in the digest."""
    request = admin_pb2.UpsertCampaignRequest(campaign_id="A", name="One", request_id="id")
    asked = sha256(request.SerializeToString(deterministic=True)).digest()
    digest = sha256(sha256(b"anonymous").digest() + asked).digest()
    data = tmp_path / "data"
    with Engine(str(data)) as engine:
        memo = b"UpsertCampaign\0" + digest
        revision = engine.upsert_campaign("A", "One", request_id="id", memo=memo).revision
    with ServerProcess(data) as server:
        admin = server.admin_stub()
        assert admin.UpsertCampaign(request, timeout=10).revision == revision
        request.name = "Two"  # whoever asked that, it was not this caller
        assert admin.UpsertCampaign(request, timeout=10).revision == revision + 1
        assert admin.UpsertCampaign(request, timeout=10).revision == revision + 1


def test_r20_a_claim_and_a_report_may_be_sent_again(subject: GrpcSubject, unique: str) -> None:
    subject.create_list(unique, Policy(True, DAY, 0))
    for _ in range(3):
        assert subject.claim(unique, "1", "A").what == "GRANTED"
    assert subject.attempt(unique, "1", "A", "Busy").what == "OWNERSHIP_ACQUIRED"
    hold = subject.holder(unique, "1")
    assert hold is not None
    for _ in range(3):
        assert subject.claim(unique, "1", "A").what == "GRANTED"
        assert subject.attempt(unique, "1", "A", "Busy").what == "OWNERSHIP_KEPT"
    again = subject.holder(unique, "1")
    assert again is not None and again[:5] == hold[:5]


# ---- the audit


def test_r21_every_change_is_recorded_with_who_when_what_why_and_how_many(
    subject: GrpcSubject, unique: str
) -> None:
    _prepare(subject, unique)
    affected = {"ReleaseRecords": 2, "ReleaseOwnership": 4}
    for method, request, _ in _changes(unique):
        request.reason = f"because of {method} – ümlaut"
        answer = _send(subject, method, request, f"{unique}-{method}")
        entry = _entries(subject)[0]
        assert (entry.action, entry.reason) == (method, request.reason)
        assert entry.request_id == request.request_id
        assert entry.revision == answer.revision
        assert entry.list_id == getattr(request, "list_id", "")
        assert (entry.principal, entry.peer[:5]) == ("anonymous", "ipv4:")
        assert timestamp_ns(entry.time) <= timestamp_ns(subject.status().time)
        assert entry.detail.startswith("{")
        if method in affected:
            assert entry.affected_count == affected[method]


def test_r21_what_was_refused_or_only_read_is_not_recorded(
    subject: GrpcSubject, unique: str
) -> None:
    before = _entries(subject)
    with pytest.raises(Refusal):
        subject.update_policy(unique, Policy())
    subject.campaigns()
    subject.codes()
    assert _entries(subject) == before


def test_r21_entries_are_filtered_and_paged_newest_first(subject: GrpcSubject, unique: str) -> None:
    subject.create_list(unique)
    times = [subject.update_policy(unique, Policy(number % 2 == 0)) for number in range(12)]
    entries = _entries(subject, list_id=unique, action="UpdateOwnershipPolicy")
    assert [timestamp_ns(entry.time) for entry in entries] == times[::-1]
    ids = [entry.entry_id for entry in entries]
    assert ids == sorted(ids, reverse=True)
    request = admin_pb2.ListAuditEntriesRequest(
        filter={"list_id": unique, "action": "UpdateOwnershipPolicy"}, page_size=5
    )
    paged = []
    while True:
        answer = call(subject.admin.ListAuditEntries, request)
        paged.extend(answer.entries)
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert paged == entries
    since = {"list_id": unique, "start_time": entries[3].time, "end_time": entries[1].time}
    assert [entry.entry_id for entry in _entries(subject, **since)] == ids[2:4]
    assert _entries(subject, list_id=unique, principal="nobody") == []


def test_r21_entries_outlive_their_list_and_a_restart(server: ServerProcess) -> None:
    subject = _subject(server)
    _prepare(subject, "list")
    subject.release("list")
    subject.import_rows("list", [Row("1", "C")], OVERWRITE)
    subject.delete_list("list", force=True)
    before = _entries(subject, list_id="list")
    assert [entry.action for entry in before] == [
        "DeleteContactList",
        "ImportOwnership",
        "ReleaseOwnership",
        "ImportOwnership",
        "CreateContactList",
    ]
    assert [entry.affected_count for entry in before[1:4]] == [1, 10, 10]
    server.kill()
    assert _entries(_subject(server.start()), list_id="list") == before
