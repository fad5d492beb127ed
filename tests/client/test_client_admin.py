"""The Python client's control plane, `Client` and `AsyncClient` alike, against a fake server."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from types import GeneratorType
from typing import Any

import grpc
import pytest
from fake_server import FakeServer
from stamps import ACQUIRED, EXPIRES, length, stamp

import ownerd.client as client_package
from ownerd.client import Client, OnConflict, OwnershipRow, Policy, Refusal, Right, Signal
from ownerd.v1 import admin_pb2


def test_a_list_is_created_with_its_policy_and_read_back(fake: FakeServer, client: Any) -> None:
    policy = admin_pb2.OwnershipPolicy(
        enabled=True,
        duration=length(timedelta(days=2, hours=3)),
        reservation_ttl=length(timedelta(minutes=5)),
    )
    stored = admin_pb2.ContactList(
        list_id="customers", policy=policy, etag="9", create_time=stamp(ACQUIRED)
    )
    fake.answer("CreateContactList", admin_pb2.CreateContactListResponse(list=stored, revision=9))
    wanted = Policy(True, timedelta(days=2, hours=3), None, timedelta(minutes=5))
    created = client.create_list("customers", wanted, reason="a new season")
    assert (created.policy, created.etag, created.revision) == (wanted, "9", 9)
    assert (created.create_time, created.update_time) == (ACQUIRED, None)
    request = fake.requests["CreateContactList"][0]
    assert (request.policy, request.reason) == (policy, "a new season")


def test_a_list_without_a_policy_is_disabled_and_never_expires(
    fake: FakeServer, client: Any
) -> None:
    client.create_list("customers")
    sent = fake.requests["CreateContactList"][0].policy
    assert sent == admin_pb2.OwnershipPolicy(enabled=False, no_expiration=True)


@pytest.mark.parametrize(
    ("change", "paths", "policy"),
    [
        ({"enabled": True}, ["enabled"], {"enabled": True}),
        ({"enabled": False}, ["enabled"], {}),
        ({"duration": timedelta(hours=1)}, ["expiration"], {"duration": timedelta(hours=1)}),
        ({"duration": None}, ["expiration"], {"no_expiration": True}),
        ({"renewal_window": timedelta(0)}, ["renewal_window"], {"renewal_window": timedelta(0)}),
        ({"renewal_window": None}, ["renewal_window"], {}),
        (
            {"reservation_ttl": timedelta(minutes=1), "enabled": True},
            ["enabled", "reservation_ttl"],
            {"enabled": True, "reservation_ttl": timedelta(minutes=1)},
        ),
    ],
)
def test_a_policy_change_masks_what_is_given(
    fake: FakeServer, client: Any, change: Any, paths: list[str], policy: dict[str, Any]
) -> None:
    client.set_policy("customers", **change, etag="4", reason="why")
    request = fake.requests["UpdateOwnershipPolicy"][0]
    expected = {
        key: length(value) if isinstance(value, timedelta) else value
        for key, value in policy.items()
    }
    assert list(request.update_mask.paths) == paths
    assert request.policy == admin_pb2.OwnershipPolicy(**expected)
    assert (request.etag, request.reason) == ("4", "why")


def test_a_policy_change_of_nothing_is_refused(fake: FakeServer, client: Any) -> None:
    with pytest.raises(ValueError, match="nothing to change"):
        client.set_policy("customers")
    assert not fake.requests


def test_owners_are_read_with_totals(fake: FakeServer, client: Any) -> None:
    owner = admin_pb2.Owner(
        campaign_id="a", owned_count=3, reserved_count=1, earliest_expire_time=stamp(EXPIRES)
    )
    fake.answer(
        "ListOwners",
        admin_pb2.ListOwnersResponse(
            owners=[owner],
            total_owned_count=3,
            total_reserved_count=1,
            revision=8,
            time=stamp(ACQUIRED),
        ),
    )
    found = client.owners("customers")
    assert found.owners[0].campaign_name == "a"
    assert (found.owners[0].owned_count, found.owners[0].earliest_expire_time) == (3, EXPIRES)
    assert (found.total_owned_count, found.revision, found.time) == (3, 8, ACQUIRED)


def test_listings_follow_the_pages_to_the_end(fake: FakeServer, client: Any) -> None:
    def page(request: Any) -> admin_pb2.ListOwnedRecordsResponse:
        number = int(request.page_token or 0)
        return admin_pb2.ListOwnedRecordsResponse(
            records=[{"record_id": str(number), "campaign_id": "a"}],
            next_page_token=str(number + 1) if number < 2 else "",
        )

    fake.answer("ListOwnedRecords", page)
    found = list(client.owned_records("customers", ["a"]))
    assert [record.record_id for record in found] == ["0", "1", "2"]
    assert [list(sent.campaign_ids) for sent in fake.requests["ListOwnedRecords"]] == [["a"]] * 3
    assert list(client.lists()) == []


def test_a_release_names_its_campaigns(fake: FakeServer, client: Any) -> None:
    answer = admin_pb2.ReleaseOwnershipResponse(released_count=12, revision=4)
    fake.answer("ReleaseOwnership", answer)
    released = client.release("customers", "spring", reason="over", dry_run=True)
    assert (released.released_count, released.revision) == (12, 4)
    client.release("customers", all_campaigns=True, include_reservations=True)
    one, everyone = fake.requests["ReleaseOwnership"]
    assert (list(one.campaign_ids), one.all_campaigns, one.dry_run) == (["spring"], False, True)
    assert (list(everyone.campaign_ids), everyone.all_campaigns) == ([], True)
    assert everyone.include_reservations


def test_25000_records_are_released_in_chunks_and_added_up(fake: FakeServer, client: Any) -> None:
    fake.answer(
        "ReleaseRecords",
        lambda request: admin_pb2.ReleaseRecordsResponse(
            released_count=len(request.record_ids), revision=6
        ),
    )
    released = client.release_records("customers", map(str, range(25_000)), reason="moved")
    assert (released.released_count, released.revision) == (25_000, 6)
    ids = [request.request_id for request in fake.requests["ReleaseRecords"]]
    assert len(set(ids)) == 3


def test_campaigns_are_named_and_signalled(fake: FakeServer, client: Any) -> None:
    client.upsert_campaign("spring", "Spring 2026")
    client.signal_campaign("spring", Signal.STOPPED, list_id="customers")
    assert fake.requests["UpsertCampaign"][0].name == "Spring 2026"
    assert fake.requests["SignalCampaign"][0].signal == admin_pb2.CAMPAIGN_SIGNAL_STOPPED


def test_a_list_is_deleted_with_force(fake: FakeServer, client: Any) -> None:
    fake.answer("DeleteContactList", admin_pb2.DeleteContactListResponse(revision=3))
    assert client.delete_list("customers", force=True) == 3
    assert fake.requests["DeleteContactList"][0].force


# Import and export


def test_rows_are_imported_in_one_stream_of_chunks(fake: FakeServer, client: Any) -> None:
    fake.answer("ImportOwnership", admin_pb2.ImportOwnershipResponse(imported_count=2_500))
    rows = (OwnershipRow(str(n), "spring", "Spring", EXPIRES) for n in range(2_500))
    imported = client.import_ownership("customers", rows, on_conflict=OnConflict.SKIP)
    assert imported.imported_count == 2_500
    first, *chunks = fake.requests["ImportOwnership"][0]
    assert (first.list_id, first.conflict_strategy) == ("customers", OnConflict.SKIP)
    assert [len(chunk.rows) for chunk in chunks] == [1_000, 1_000, 500]
    assert chunks[0].rows[0] == admin_pb2.OwnershipRow(
        record_id="0", campaign_id="spring", campaign_name="Spring", expire_time=stamp(EXPIRES)
    )


@pytest.mark.parametrize(
    "option", ["exact", "rename_campaigns", "expire_by_policy", "dry_run", None]
)
def test_what_an_import_does_only_if_told_is_asked_for(
    fake: FakeServer, client: Any, option: str | None
) -> None:
    fake.answer("ImportOwnership", admin_pb2.ImportOwnershipResponse(renamed_campaign_count=2))
    told = {} if option is None else {option: True}
    imported = client.import_ownership("customers", [OwnershipRow("1", "spring")], **told)
    assert imported.renamed_campaign_count == 2
    first, _ = fake.requests["ImportOwnership"][0]
    names = ("exact", "rename_campaigns", "expire_by_policy", "dry_run")
    assert [name for name in names if getattr(first, name)] == list(told)


def test_a_dry_run_that_nothing_is_heard_of_leaves_nothing_in_doubt(
    fake: FakeServer, client: Any
) -> None:
    fake.fail(grpc.StatusCode.INTERNAL, "the wire broke", times=10)
    with pytest.raises(client_package.ClientError) as raised:
        client.import_ownership("customers", [OwnershipRow("1", "spring")], dry_run=True)
    assert "unknown" not in str(raised.value)


def test_an_error_of_the_rows_cancels_the_import_and_is_raised(
    fake: FakeServer, client: Any
) -> None:
    def rows() -> Iterator[OwnershipRow]:
        yield OwnershipRow("1", "spring")
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone"):
        client.import_ownership("customers", rows())


@pytest.mark.parametrize(
    "code",
    [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNKNOWN],
)
def test_an_import_that_nothing_is_heard_of_says_that_its_outcome_is_unknown(
    fake: FakeServer, client: Any, code: grpc.StatusCode
) -> None:
    fake.fail(code, "the wire broke", times=10)
    with pytest.raises(client_package.ClientError, match="the outcome is unknown"):
        client.import_ownership("customers", [OwnershipRow("1", "spring")])


def test_an_import_that_the_server_refused_says_what_the_server_said(
    fake: FakeServer, client: Any
) -> None:
    fake.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
    with pytest.raises(client_package.ClientError) as found:
        client.import_ownership("customers", [OwnershipRow("1", "spring")])
    assert found.value.message == "full"


def test_a_time_without_a_zone_is_refused(client: Any) -> None:
    row = OwnershipRow("1", "spring", expire_time=datetime(2026, 3, 1))
    with pytest.raises(ValueError, match="no time zone"):
        client.import_ownership("customers", [row])


def test_an_export_yields_the_rows_of_all_messages(fake: FakeServer, client: Any) -> None:
    row = admin_pb2.OwnershipRow(record_id="1", campaign_id="a", expire_time=stamp(EXPIRES))
    fake.answer("ExportOwnership", [admin_pb2.ExportOwnershipResponse(rows=[row, row])] * 2)
    assert list(client.export_ownership("customers")) == [OwnershipRow("1", "a", "a", EXPIRES)] * 4
    fake.fail(grpc.StatusCode.NOT_FOUND)
    with pytest.raises(client_package.NotFound):
        list(client.export_ownership("customers"))


def test_an_export_may_be_left_half_way(fake: FakeServer) -> None:
    row = admin_pb2.OwnershipRow(record_id="1", campaign_id="a")
    fake.answer("ExportOwnership", [admin_pb2.ExportOwnershipResponse(rows=[row])] * 100)
    with Client(fake.address) as client:
        rows = client.export_ownership("customers")
        assert isinstance(rows, GeneratorType)
        assert next(rows).record_id == "1"
        rows.close()


def test_what_a_changed_policy_would_shorten_is_counted_and_nothing_changes(
    fake: FakeServer, client: Any
) -> None:
    fake.answer("UpdateOwnershipPolicy", admin_pb2.UpdateOwnershipPolicyResponse(shortened_count=7))
    assert client.count_shortened("L", duration=timedelta(hours=1)) == 7
    (sent,) = fake.requests["UpdateOwnershipPolicy"]
    assert sent.dry_run and list(sent.update_mask.paths) == ["expiration"]


def test_the_audit_comes_in_pages_with_what_is_asked_for(fake: FakeServer, client: Any) -> None:
    entry = admin_pb2.AuditEntry(
        entry_id=2,
        time=stamp(ACQUIRED),
        principal="p",
        action="ReleaseOwnership",
        list_id="L",
        campaign_ids=["a"],
        affected_count=0,
        refusal=2,
    )
    pages = iter(
        [
            admin_pb2.ListAuditEntriesResponse(entries=[entry], next_page_token="more"),
            admin_pb2.ListAuditEntriesResponse(entries=[admin_pb2.AuditEntry(entry_id=1)]),
        ]
    )
    fake.answer("ListAuditEntries", lambda _: next(pages))
    first, second = client.audit_entries(list_id="L", start_time=ACQUIRED, page_size=1)
    assert (first.time, first.affected_count, first.campaign_ids) == (ACQUIRED, 0, ("a",))
    assert (first.refusal, second.refusal) == (Refusal.PERMISSION_DENIED, Refusal.NONE)
    assert second.affected_count is None
    assert [each.page_token for each in fake.requests["ListAuditEntries"]] == ["", "more"]
    wanted = fake.requests["ListAuditEntries"][0].filter
    assert wanted == admin_pb2.AuditFilter(list_id="L", start_time=stamp(ACQUIRED))


def test_campaigns_and_the_status_are_read(fake: FakeServer, client: Any) -> None:
    named = [{"campaign_id": "a", "name": "Spring"}, {"campaign_id": "b"}]
    fake.answer("ListCampaigns", admin_pb2.ListCampaignsResponse(campaigns=named))
    assert [(each.campaign_id, each.name) for each in client.campaigns()] == [
        ("a", "Spring"),
        ("b", "b"),
    ]
    answer = admin_pb2.GetServerStatusResponse(revision=9, alarms=[{"name": "CLOCK_OFF"}])
    fake.answer("GetServerStatus", answer)
    status = client.status()
    assert (status.revision, status.alarms[0].name) == (9, "CLOCK_OFF")


def test_a_client_is_told_who_it_is(fake: FakeServer, client: Any) -> None:
    answer = admin_pb2.WhoAmIResponse(
        principal={"principal_id": "p"}, rights=[2], partial_rights=[4]
    )
    fake.answer("WhoAmI", answer)
    access = client.caller_access("L")
    assert access.principal_id == "p" and access.rights == {Right.VIEW}
    assert access.may(Right.OWNERSHIP_CONTROL) and not access.may(Right.CONFIGURE)
    assert fake.requests["WhoAmI"][0].list_id == "L"
