"""Owned records of a list, page by page (R17), and releasing single records (R15)."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ownerd.native import Engine, Outcome
from ownerd.server import rights
from ownerd.server.admin import convert, page_tokens, validate
from ownerd.server.admin.audited_change import Change, audited
from ownerd.server.admin.context import AdminContext, Caller, Handler
from ownerd.v1 import admin_pb2, dial_pb2

# A page ends early rather than outgrow what clients take: gRPC's default limit is 4 MiB.
PAGE_BYTES = 2 << 20
_STEP_COUNT = 1_000
_DETAIL_IDS = 100

# A row of Snapshot.records: record, campaign, its name, acquired, expiring.
Row = tuple[str, str, str, int, int | None]


class Page(NamedTuple):
    """Rows read in one snapshot; `next_key` is b"" after the last one."""

    rows: list[Row]
    next_key: bytes
    revision: int
    time_ns: int


def read_page(
    engine: Engine,
    caller: Caller,
    list_id: str,
    campaign_ids: Iterable[str],
    after: bytes,
    limit: int,
) -> Page:
    """Return up to `limit` owned records after the key `after`, and about 2 MiB at most.

    The snapshot is closed when this returns, so no store transaction outlives a page. No
    `campaign_ids` means all campaigns that the caller may view.

    Raises:
        InvalidField: a bad campaign id.
        CampaignNotFound: an unknown one; looked up for the first page only.
        Refused: NOT_FOUND for the list.
    """
    named = validate.campaign_ids(campaign_ids)
    wanted = named or _campaigns_seen(engine, caller, list_id)
    rows: list[Row] = []
    size_bytes = 0
    with engine.snapshot(list_id) as snapshot:
        if not after:
            validate.known_campaigns(engine, named)
        while True:
            step = min(limit - len(rows), _STEP_COUNT)
            found, after = snapshot.records(after, step, wanted)
            rows += found
            size_bytes += sum(len(row[0]) + len(row[1]) + len(row[2]) + 40 for row in found)
            if not after or len(rows) >= limit or size_bytes >= PAGE_BYTES:
                return Page(rows, after, snapshot.revision, snapshot.time_ns)


def _campaigns_seen(engine: Engine, caller: Caller, list_id: str) -> list[str] | None:
    """Return the campaigns of a list that the caller may view; None: every one."""
    return caller.campaigns_seen(rights.VIEW, list_id, validate.every_campaign(engine))


def _list(
    context: AdminContext, request: admin_pb2.ListOwnedRecordsRequest, caller: Caller
) -> admin_pb2.ListOwnedRecordsResponse:
    list_id = validate.list_id(request.list_id)
    size = validate.page_size(request.page_size)
    after = page_tokens.decode(request, context.engine.incarnation)
    page = read_page(context.engine, caller, list_id, request.campaign_ids, after, size)
    return admin_pb2.ListOwnedRecordsResponse(
        records=map(_message, page.rows),
        next_page_token=page_tokens.encode(request, page.next_key, context.engine.incarnation),
        revision=page.revision,
        time=convert.time_of(page.time_ns),
    )


def _message(row: Row) -> admin_pb2.OwnedRecord:
    record_id, campaign_id, name, acquire_ns, expire_ns = row
    return admin_pb2.OwnedRecord(
        record_id=record_id,
        campaign_id=campaign_id,
        campaign_name=name,
        acquire_time=convert.time_of(acquire_ns),
        expire_time=convert.optional_time_of(expire_ns),
    )


def _fill(_: Engine, answer: admin_pb2.ReleaseRecordsResponse, outcome: Outcome) -> None:
    answer.released_count = outcome.count or 0


@audited(admin_pb2.ReleaseRecordsResponse, _fill)
def _release(
    context: AdminContext,
    request: admin_pb2.ReleaseRecordsRequest,
    change: Change[admin_pb2.ReleaseRecordsResponse],
) -> admin_pb2.ReleaseRecordsResponse:
    list_id = validate.list_id(request.list_id)
    record_ids = validate.record_ids(request.record_ids)
    only = request.only_if_campaign_id
    if only:
        validate.campaign_id(only, "only_if_campaign_id")
    if request.dry_run:
        return _dry_run(context.engine, list_id, record_ids, only)

    def fill(engine: Engine, answer: admin_pb2.ReleaseRecordsResponse, outcome: Outcome) -> None:
        _fill(engine, answer, outcome)
        left_out = dict.fromkeys(record_ids[index] for index in outcome.left_out)
        answer.not_released.extend(left_out)

    return change.make(
        context.engine.release_records,
        list_id,
        record_ids,
        only,
        request.include_reservations,
        list_id=list_id,
        campaign_ids=[only] if only else (),
        fill=fill,
        # A full batch of long ids would make the audit entry a megabyte.
        detail={
            "record_count": len(record_ids),
            "record_ids": record_ids[:_DETAIL_IDS],
            "include_reservations": request.include_reservations,
        },
    )


def _dry_run(
    engine: Engine, list_id: str, record_ids: Iterable[str], only: str
) -> admin_pb2.ReleaseRecordsResponse:
    if only:
        validate.known_campaigns(engine, [only])
    named = list(dict.fromkeys(record_ids))
    with engine.snapshot(list_id) as snapshot:
        found = zip(named, snapshot.holders(named), strict=True)
        owned = [
            _message((record_id, *holder[1:]))
            for record_id, holder in found
            if holder is not None and holder[0] == dial_pb2.HOLD_KIND_OWNED
        ]
        records = [record for record in owned if only in ("", record.campaign_id)]
        return admin_pb2.ReleaseRecordsResponse(
            released_count=len(records),
            revision=snapshot.revision,
            records=records,
            not_released=[r.record_id for r in owned if only not in ("", r.campaign_id)],
        )


HANDLERS: Mapping[str, Handler] = {"ListOwnedRecords": _list, "ReleaseRecords": _release}
