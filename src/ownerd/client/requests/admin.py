"""The AdminService: the control-plane rpcs that a program needs often.

Rpcs that are not here (wrap-up codes) are in the generated stubs, `ownerd.v1.admin_pb2_grpc`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, cast

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from ownerd.client import values
from ownerd.client.requests.call import (
    ADMIN,
    PAGE_SIZE,
    Call,
    Chunks,
    Page,
    checked_ids,
    chunk_note,
    fresh_request_id,
    id_list,
    members,
    read_length,
    read_time,
    text,
    write_length,
    write_time,
)
from ownerd.client.values import BATCH_LIMIT, Policy, Unchanged
from ownerd.v1 import admin_pb2

ROWS_PER_MESSAGE = 1_000

# The oneof of duration and no_expiration changes as one.
_MASK_PATHS = {"duration": "expiration"}


def _write_policy(policy: Policy) -> admin_pb2.OwnershipPolicy:
    message = admin_pb2.OwnershipPolicy(
        enabled=policy.enabled,
        duration=write_length(policy.duration),
        renewal_window=write_length(policy.renewal_window),
        reservation_ttl=write_length(policy.reservation_ttl),
    )
    if policy.duration is None:
        message.no_expiration = True
    return message


def read_policy(message: Any) -> Policy:
    """Return a policy that the server shows."""
    return Policy(
        enabled=message.enabled,
        duration=read_length(message, "duration"),
        renewal_window=read_length(message, "renewal_window"),
        reservation_ttl=read_length(message, "reservation_ttl"),
    )


def _read_list(message: Any, revision: int | None) -> values.ContactList:
    return values.ContactList(
        list_id=message.list_id,
        policy=read_policy(message.policy),
        etag=message.etag,
        create_time=read_time(message, "create_time"),
        update_time=read_time(message, "update_time"),
        revision=revision,
        shares_ownership_with=tuple(message.shares_ownership_with),
    )


def _read_list_response(response: Any) -> values.ContactList:
    return _read_list(response.list, response.revision)


def create_list(
    list_id: str,
    policy: Policy | None,
    shares_ownership_with: str,
    reason: str,
    request_id: str | None,
) -> Call[values.ContactList]:
    """Build `CreateContactList`; a list that shares its ownership has no policy of its own."""
    if policy is None and not shares_ownership_with:
        policy = Policy()
    request = admin_pb2.CreateContactListRequest(
        list_id=text("list_id", list_id),
        policy=None if policy is None else _write_policy(policy),
        shares_ownership_with=shares_ownership_with,
        reason=reason,
        request_id=fresh_request_id(request_id),
    )
    return Call(ADMIN, "CreateContactList", request, _read_list_response)


def get_list(list_id: str) -> Call[values.ContactList]:
    """Build `GetContactList`."""
    request = admin_pb2.GetContactListRequest(list_id=text("list_id", list_id))
    return Call(ADMIN, "GetContactList", request, _read_list_response)


def lists_page(token: str) -> Call[Page[values.ContactList]]:
    """Build one page of `ListContactLists`."""
    request = admin_pb2.ListContactListsRequest(page_size=PAGE_SIZE, page_token=token)
    return Call(
        ADMIN,
        "ListContactLists",
        request,
        lambda r: Page([_read_list(item, None) for item in r.lists], r.next_page_token),
    )


def delete_list(
    list_id: str, force: bool, etag: str, reason: str, request_id: str | None
) -> Call[int]:
    """Build `DeleteContactList`."""
    request = admin_pb2.DeleteContactListRequest(
        list_id=text("list_id", list_id),
        force=force,
        etag=etag,
        reason=reason,
        request_id=fresh_request_id(request_id),
    )
    return Call(ADMIN, "DeleteContactList", request, lambda response: response.revision)


def set_policy(
    list_id: str,
    enabled: bool | Unchanged,
    lengths: Mapping[str, timedelta | Unchanged | None],
    etag: str,
    reason: str,
    request_id: str | None,
) -> Call[values.ContactList]:
    """Build `UpdateOwnershipPolicy`; `lengths` are the policy's three by their field names.

    Raises ValueError when nothing is to change.
    """
    request = _policy_change(list_id, enabled, lengths)
    request.etag, request.reason = etag, reason
    request.request_id = fresh_request_id(request_id)
    return Call(ADMIN, "UpdateOwnershipPolicy", request, _read_list_response)


def count_shortened(
    list_id: str, enabled: bool | Unchanged, lengths: Mapping[str, timedelta | Unchanged | None]
) -> Call[int]:
    """Build a dry run of `UpdateOwnershipPolicy`; arguments and errors as in `set_policy`."""
    request = _policy_change(list_id, enabled, lengths)
    request.dry_run = True
    return Call(ADMIN, "UpdateOwnershipPolicy", request, lambda r: int(r.shortened_count))


def _policy_change(
    list_id: str, enabled: bool | Unchanged, lengths: Mapping[str, timedelta | Unchanged | None]
) -> admin_pb2.UpdateOwnershipPolicyRequest:
    """Return the change of what is given.

    Raises ValueError when that is nothing: an empty mask would mean "every field present", and
    disable the policy.
    """
    paths, policy = [], admin_pb2.OwnershipPolicy()
    if not isinstance(enabled, Unchanged):
        paths.append("enabled")
        policy.enabled = enabled
    for field, length in lengths.items():
        if isinstance(length, Unchanged):
            continue
        if length is not None:
            getattr(policy, field).CopyFrom(write_length(length))
        # A path whose field is absent is how the default is asked for.
        paths.append(field)
    if "duration" in paths and lengths["duration"] is None:
        policy.no_expiration = True
    if not paths:
        raise ValueError("nothing to change: give at least one part of the policy")
    return admin_pb2.UpdateOwnershipPolicyRequest(
        list_id=text("list_id", list_id),
        policy=policy,
        update_mask=FieldMask(paths=[_MASK_PATHS.get(path, path) for path in paths]),
    )


def owners(list_id: str) -> Call[values.Owners]:
    """Build `ListOwners`."""
    request = admin_pb2.ListOwnersRequest(list_id=text("list_id", list_id))
    return Call(ADMIN, "ListOwners", request, _read_owners)


def _read_owners(response: Any) -> values.Owners:
    return values.Owners(
        owners=tuple(
            values.Owner(
                campaign_id=owner.campaign_id,
                campaign_name=owner.campaign_name or owner.campaign_id,
                owned_count=owner.owned_count,
                reserved_count=owner.reserved_count,
                earliest_expire_time=read_time(owner, "earliest_expire_time"),
            )
            for owner in response.owners
        ),
        total_owned_count=response.total_owned_count,
        total_reserved_count=response.total_reserved_count,
        revision=response.revision,
        time=read_time(response, "time"),
        activity=tuple(map(_read_activity, response.activity)),
    )


def _read_activity(message: Any) -> values.Activity:
    names = [field.name for field in fields(values.Activity) if field.name != "called_twice"]
    return values.Activity(
        **{name: getattr(message, name) for name in names},
        called_twice={each.campaign_id: each.attempt_count for each in message.called_twice},
    )


def _read_released(response: Any) -> values.Released:
    return values.Released(response.released_count, response.revision)


def release(
    list_id: str,
    campaign_ids: str | Iterable[str],
    all_campaigns: bool,
    all_lists: bool,
    include_reservations: bool,
    dry_run: bool,
    reason: str,
    request_id: str | None,
) -> Call[values.Released]:
    """Build `ReleaseOwnership`."""
    request = admin_pb2.ReleaseOwnershipRequest(
        list_id=text("list_id", list_id) if list_id else "",
        all_lists=all_lists,
        all_campaigns=all_campaigns,
        campaign_ids=id_list(campaign_ids),
        include_reservations=include_reservations,
        reason=reason,
        dry_run=dry_run,
        request_id=fresh_request_id(request_id),
    )
    return Call(ADMIN, "ReleaseOwnership", request, _read_released)


def transfer(
    from_campaign_id: str,
    to_campaign_id: str,
    list_id: str,
    all_lists: bool,
    dry_run: bool,
    reason: str,
    request_id: str | None,
) -> Call[values.Transferred]:
    """Build `TransferOwnership`."""
    request = admin_pb2.TransferOwnershipRequest(
        list_id=list_id,
        all_lists=all_lists,
        from_campaign_id=from_campaign_id,
        to_campaign_id=to_campaign_id,
        dry_run=dry_run,
        reason=reason,
        request_id=fresh_request_id(request_id),
    )
    return Call(
        ADMIN,
        "TransferOwnership",
        request,
        lambda r: values.Transferred(r.transferred_count, r.revision),
    )


def release_records(
    list_id: str,
    record_ids: Iterable[str],
    only_if_campaign_id: str,
    include_reservations: bool,
    reason: str,
) -> Chunks[values.Released, values.Released]:
    """Build the `ReleaseRecords` calls for any number of records."""
    ids = checked_ids(record_ids)
    calls = [
        Call(
            ADMIN,
            "ReleaseRecords",
            admin_pb2.ReleaseRecordsRequest(
                list_id=text("list_id", list_id),
                record_ids=ids[start : start + BATCH_LIMIT],
                only_if_campaign_id=only_if_campaign_id,
                include_reservations=include_reservations,
                reason=reason,
                request_id=fresh_request_id(),
            ),
            _read_released_records,
            chunk_note(start),
        )
        for start in range(0, len(ids), BATCH_LIMIT)
    ]
    return Chunks(calls, _join_released)


def _read_released_records(response: Any) -> values.Released:
    return values.Released(response.released_count, response.revision, tuple(response.not_released))


def _join_released(parts: list[values.Released]) -> values.Released:
    return values.Released(
        sum(part.released_count for part in parts),
        parts[-1].revision if parts else 0,
        tuple(record_id for part in parts for record_id in part.not_released),
    )


def owned_records_page(
    list_id: str, campaign_ids: str | Iterable[str], token: str
) -> Call[Page[values.OwnedRecord]]:
    """Build one page of `ListOwnedRecords`."""
    request = admin_pb2.ListOwnedRecordsRequest(
        list_id=text("list_id", list_id),
        campaign_ids=id_list(campaign_ids),
        page_size=PAGE_SIZE,
        page_token=token,
    )
    return Call(
        ADMIN,
        "ListOwnedRecords",
        request,
        lambda r: Page([_read_owned_record(item) for item in r.records], r.next_page_token),
    )


def _read_owned_record(message: Any) -> values.OwnedRecord:
    return values.OwnedRecord(
        record_id=message.record_id,
        campaign_id=message.campaign_id,
        campaign_name=message.campaign_name or message.campaign_id,
        acquire_time=read_time(message, "acquire_time"),
        expire_time=read_time(message, "expire_time"),
    )


def upsert_campaign(campaign_id: str, name: str, reason: str, request_id: str | None) -> Call[int]:
    """Build `UpsertCampaign`."""
    request = admin_pb2.UpsertCampaignRequest(
        campaign_id=text("campaign_id", campaign_id),
        name=name,
        reason=reason,
        request_id=fresh_request_id(request_id),
    )
    return Call(ADMIN, "UpsertCampaign", request, lambda response: response.revision)


def delete_campaign(
    campaign_id: str, force: bool, reason: str, request_id: str | None
) -> Call[values.Released]:
    """Build `DeleteCampaign`."""
    request = admin_pb2.DeleteCampaignRequest(
        campaign_id=campaign_id, force=force, reason=reason, request_id=fresh_request_id(request_id)
    )
    return Call(ADMIN, "DeleteCampaign", request, _read_released)


def unknown_codes() -> Call[list[values.UnknownWrapUpCode]]:
    """Build `ListUnknownWrapUpCodes`."""
    request = admin_pb2.ListUnknownWrapUpCodesRequest()
    return Call(
        ADMIN,
        "ListUnknownWrapUpCodes",
        request,
        lambda response: [
            values.UnknownWrapUpCode(each.code, each.count, read_time(each, "last_time"))
            for each in response.codes
        ],
    )


_unknown_code = members(values.UnknownCode)


def _read_settings(response: Any) -> values.StoreSettings:
    return values.StoreSettings(_unknown_code(response.settings.unknown_wrap_up_code))


def get_settings() -> Call[values.StoreSettings]:
    """Build `GetStoreSettings`."""
    return Call(ADMIN, "GetStoreSettings", admin_pb2.GetStoreSettingsRequest(), _read_settings)


def set_settings(
    unknown_wrap_up_code: values.UnknownCode, reason: str, request_id: str | None
) -> Call[values.StoreSettings]:
    """Build `UpdateStoreSettings`."""
    request = admin_pb2.UpdateStoreSettingsRequest(
        settings=admin_pb2.StoreSettings(
            unknown_wrap_up_code=cast(admin_pb2.UnknownCodeMeaning, unknown_wrap_up_code)
        ),
        update_mask=FieldMask(paths=["unknown_wrap_up_code"]),
        reason=reason,
        request_id=fresh_request_id(request_id),
    )
    return Call(ADMIN, "UpdateStoreSettings", request, _read_settings)


def signal_campaign(
    campaign_id: str,
    signal: values.Signal,
    list_id: str,
    end_reservations: bool,
    reason: str,
    request_id: str | None,
) -> Call[values.Signaled]:
    """Build `SignalCampaign`."""
    request = admin_pb2.SignalCampaignRequest(
        campaign_id=text("campaign_id", campaign_id),
        list_id=text("list_id", list_id),
        signal=cast(admin_pb2.CampaignSignal, signal),
        end_reservations=end_reservations,
        reason=reason,
        request_id=fresh_request_id(request_id),
    )
    return Call(ADMIN, "SignalCampaign", request, _read_signaled)


def _read_signaled(response: Any) -> values.Signaled:
    return values.Signaled(response.ended_reservation_count, response.revision)


OUTCOME_UNKNOWN = (
    "the outcome is unknown: none of the rows are in force, the first ones, or all; send the "
    "import again whole, rows already there are simply set again"
)
# How a call may end of whose outcome nothing is known, and what a server says then.
_UNKNOWN_OUTCOME = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
)
_TELLS_NOTHING = ("", "STORAGE_FAILED", "INTERNAL")


class ImportStream:
    """The requests of one `ImportOwnership`, made from the caller's rows while they are sent.

    gRPC iterates it, in the sync client from a thread of its own, and would replace an exception of
    the caller's rows by a bare status: `row_error` keeps it for the client to raise. A server
    writes nothing before it has seen the end of the rows, and nothing at all in a dry run: `ended`
    says that it may have.
    """

    def __init__(self, first: admin_pb2.ImportOwnershipRequest, rows: Iterable[Any]) -> None:
        self._messages = self._make(first, rows)
        self.row_error: Exception | None = None
        self.ended = False

    def __iter__(self) -> Iterator[admin_pb2.ImportOwnershipRequest]:
        return self

    def __next__(self) -> admin_pb2.ImportOwnershipRequest:
        return next(self._messages)

    def _make(
        self, first: admin_pb2.ImportOwnershipRequest, rows: Iterable[Any]
    ) -> Iterator[admin_pb2.ImportOwnershipRequest]:
        yield first
        try:
            left = iter(rows)
            while chunk := [_write_row(row) for row in islice(left, ROWS_PER_MESSAGE)]:
                yield admin_pb2.ImportOwnershipRequest(rows=chunk)
        except Exception as error:
            self.row_error = error
            raise
        self.ended = not first.dry_run


def import_note(code: grpc.StatusCode, told: str, *, ended: bool) -> str:
    """Return what an error of an import should add to the server's words.

    Args:
        code: how the call ended.
        told: the reason that the server gave; "": it said nothing.
        ended: whether the end of the rows was sent.
    """
    if not ended or code not in _UNKNOWN_OUTCOME or told not in _TELLS_NOTHING:
        return ""
    return OUTCOME_UNKNOWN


def import_ownership(
    list_id: str,
    rows: Iterable[values.OwnershipRow],
    on_conflict: values.OnConflict,
    options: Mapping[str, bool],
    reason: str,
    request_id: str | None,
) -> Call[values.Imported]:
    """Build `ImportOwnership`; the request is an `ImportStream`."""
    first = admin_pb2.ImportOwnershipRequest(
        list_id=text("list_id", list_id),
        conflict_strategy=cast(admin_pb2.ConflictStrategy, on_conflict),
        reason=reason,
        request_id=fresh_request_id(request_id),
        exact=options["exact"],
        rename_campaigns=options["rename_campaigns"],
        expire_by_policy=options["expire_by_policy"],
        dry_run=options["dry_run"],
    )
    return Call(ADMIN, "ImportOwnership", ImportStream(first, rows), _read_imported)


def _write_row(row: values.OwnershipRow) -> admin_pb2.OwnershipRow:
    return admin_pb2.OwnershipRow(
        record_id=text("record_id", row.record_id),
        campaign_id=text("campaign_id", row.campaign_id),
        campaign_name=text("campaign_name", row.campaign_name),
        expire_time=write_time(row.expire_time),
        acquire_time=write_time(row.acquire_time),
    )


def _read_imported(response: Any) -> values.Imported:
    return values.Imported(
        imported_count=response.imported_count,
        skipped_count=response.skipped_count,
        overwritten_count=response.overwritten_count,
        expired_count=response.expired_count,
        revision=response.revision,
        clock_offset=(
            response.clock_offset.ToTimedelta() if response.HasField("clock_offset") else None
        ),
        renamed_campaign_count=response.renamed_campaign_count,
    )


def export_ownership(
    list_id: str, campaign_ids: str | Iterable[str]
) -> Call[list[values.OwnershipRow]]:
    """Build `ExportOwnership`; `read` takes one message of the stream."""
    request = admin_pb2.ExportOwnershipRequest(
        list_id=text("list_id", list_id), campaign_ids=id_list(campaign_ids)
    )
    return Call(ADMIN, "ExportOwnership", request, _read_rows)


def _read_rows(response: Any) -> list[values.OwnershipRow]:
    return [
        values.OwnershipRow(
            record_id=row.record_id,
            campaign_id=row.campaign_id,
            campaign_name=row.campaign_name or row.campaign_id,
            expire_time=read_time(row, "expire_time"),
            acquire_time=read_time(row, "acquire_time"),
        )
        for row in response.rows
    ]


def campaigns_page(token: str) -> Call[Page[values.Campaign]]:
    """Build one page of `ListCampaigns`."""
    request = admin_pb2.ListCampaignsRequest(page_size=PAGE_SIZE, page_token=token)
    return Call(
        ADMIN,
        "ListCampaigns",
        request,
        lambda r: Page(
            [
                values.Campaign(each.campaign_id, each.name or each.campaign_id)
                for each in r.campaigns
            ],
            r.next_page_token,
        ),
    )


_refusal = members(values.Refusal)


def audit_pages(
    list_id: str,
    principal: str,
    action: str,
    start_time: datetime | None,
    end_time: datetime | None,
    page_size: int,
) -> Callable[[str], Call[Page[values.AuditEntry]]]:
    """Return what builds a page of `ListAuditEntries` from its token."""
    wanted = admin_pb2.AuditFilter(
        list_id=list_id,
        principal=principal,
        action=action,
        start_time=write_time(start_time),
        end_time=write_time(end_time),
    )

    def page(token: str) -> Call[Page[values.AuditEntry]]:
        request = admin_pb2.ListAuditEntriesRequest(
            filter=wanted, page_size=page_size, page_token=token
        )
        return Call(
            ADMIN,
            "ListAuditEntries",
            request,
            lambda r: Page([_read_audit_entry(each) for each in r.entries], r.next_page_token),
        )

    return page


def _read_audit_entry(message: Any) -> values.AuditEntry:
    return values.AuditEntry(
        entry_id=message.entry_id,
        time=read_time(message, "time"),
        principal=message.principal,
        peer=message.peer,
        action=message.action,
        list_id=message.list_id,
        campaign_ids=tuple(message.campaign_ids),
        reason=message.reason,
        request_id=message.request_id,
        affected_count=message.affected_count if message.HasField("affected_count") else None,
        revision=message.revision,
        detail=message.detail,
        refusal=_refusal(message.refusal),
        shared_list_ids=tuple(message.shared_list_ids),
    )


def status() -> Call[values.ServerStatus]:
    """Build `GetServerStatus`."""
    return Call(ADMIN, "GetServerStatus", admin_pb2.GetServerStatusRequest(), _read_status)


def _read_status(response: Any) -> values.ServerStatus:
    return values.ServerStatus(
        version=response.version,
        start_time=read_time(response, "start_time"),
        time=read_time(response, "time"),
        clock_offset=read_length(response, "clock_offset"),
        revision=response.revision,
        list_count=response.list_count,
        campaign_count=response.campaign_count,
        record_count=response.record_count,
        store_bytes=response.store_bytes,
        map_bytes=response.map_bytes,
        disk_free_bytes=response.disk_free_bytes,
        alarms=tuple(values.Alarm(each.name, each.message) for each in response.alarms),
        oldest_revision=response.oldest_revision,
        incarnation_id=response.incarnation_id,
    )


_right = members(values.Right)


def caller_access(list_id: str) -> Call[values.CallerAccess]:
    """Build `WhoAmI`."""
    request = admin_pb2.WhoAmIRequest(list_id=list_id)
    return Call(ADMIN, "WhoAmI", request, _read_caller_access)


def _read_caller_access(response: Any) -> values.CallerAccess:
    return values.CallerAccess(
        principal_id=response.principal.principal_id,
        rights=frozenset(map(_right, response.rights)),
        partial_rights=frozenset(map(_right, response.partial_rights)),
        hide_holders=response.principal.hide_holders,
    )
