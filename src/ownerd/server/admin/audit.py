"""The audit (R21): every recorded change, newest first, filtered and paged."""

import json
from collections.abc import Callable, Iterator, Mapping

from ownerd import limits
from ownerd.native import Engine
from ownerd.server.admin import convert, page_tokens, validate
from ownerd.server.admin.context import AdminContext, Caller, Handler
from ownerd.server.errors import InvalidField, Words
from ownerd.v1 import admin_pb2

# A filter that fits little must not make one call read the whole audit: a page may be short, even
# empty, before the last one.
_SCAN_LIMIT = 20_000
_STEP_COUNT = 500
_PAGE_BYTES = 2 << 20

# The changes that are changes of records, so their count means something.
_COUNTED = (
    "ReleaseOwnership",
    "ReleaseRecords",
    "ImportOwnership",
    "DeleteContactList",
    "SignalCampaign",
    "DeleteCampaign",
    "TransferOwnership",
)

# The changes that may be of all lists.
_OF_ALL_LISTS = ("ReleaseOwnership", "SignalCampaign", "DeleteCampaign", "TransferOwnership")

# What Engine.audit returns: id, time, revision, count, note.
Recorded = tuple[int, int, int, int | None, bytes]


def _list(
    context: AdminContext, request: admin_pb2.ListAuditEntriesRequest, _: Caller
) -> admin_pb2.ListAuditEntriesResponse:
    size = validate.page_size(request.page_size)
    fits, start_ns = _compiled(context.engine, request.filter)
    cursor = page_tokens.decode_number(request, context.engine.incarnation)
    answer = admin_pb2.ListAuditEntriesResponse()
    size_bytes = 0
    for scanned, recorded in enumerate(_newest_first(context.engine, cursor, start_ns), start=1):
        entry = entry_of(recorded)
        if fits(entry, recorded[1]):
            answer.entries.append(entry)
            size_bytes += entry.ByteSize()
        if len(answer.entries) == size or size_bytes >= _PAGE_BYTES or scanned == _SCAN_LIMIT:
            # Entry 1 is the oldest there can be.
            if entry.entry_id > 1:
                answer.next_page_token = page_tokens.encode(
                    request, entry.entry_id.to_bytes(8), context.engine.incarnation
                )
            break
    return answer


def _newest_first(engine: Engine, before: int, start_ns: int) -> Iterator[Recorded]:
    """Yield the entries below the id `before` (0: all) that are not older than `start_ns`."""
    while True:
        found = engine.audit(before, _STEP_COUNT)
        for recorded in found:
            if recorded[1] < start_ns:
                return
            yield recorded
        if len(found) < _STEP_COUNT:
            return
        before = found[-1][0]


def _compiled(
    engine: Engine, wanted: admin_pb2.AuditFilter
) -> tuple[Callable[[admin_pb2.AuditEntry, int], bool], int]:
    """Return a test of an entry and its time, and the time before which no entry fits."""
    validate.text("filter.list_id", wanted.list_id, limits.LIST_ID_BYTES, required=False)
    validate.text("filter.principal", wanted.principal, limits.PRINCIPAL_ID_BYTES, required=False)
    validate.text("filter.action", wanted.action, limits.ACTION_BYTES, required=False)
    start_ns, end_ns = 0, convert.LAST_NS
    if wanted.HasField("start_time"):
        start_ns = convert.instant_ns("filter.start_time", wanted.start_time)
    if wanted.HasField("end_time"):
        end_ns = convert.instant_ns("filter.end_time", wanted.end_time)
    if start_ns > end_ns:
        found = Words("a time before start_time")
        raise InvalidField("filter.end_time", found, "start_time or later")
    info = engine.get_list(wanted.list_id) if wanted.list_id else None
    created_ns = info.create_ns if info else 0
    fields = [(name, value) for name in ("principal", "action") if (value := getattr(wanted, name))]

    def fits(entry: admin_pb2.AuditEntry, time_ns: int) -> bool:
        return (
            time_ns < end_ns
            and all(getattr(entry, name) == value for name, value in fields)
            and _is_about(entry, wanted.list_id, existed=time_ns >= created_ns)
        )

    return fits, start_ns


def _is_about(entry: admin_pb2.AuditEntry, list_id: str, *, existed: bool) -> bool:
    """Tell whether an entry is about a list.

    What ended holds in all lists is about each that `existed` then.
    """
    if not list_id or entry.list_id == list_id or list_id in entry.shared_list_ids:
        return True
    if not existed or entry.list_id or entry.action not in _OF_ALL_LISTS:
        return False
    detail = json.loads(entry.detail)
    return bool(detail.get("all_lists") or detail.get("end_reservations"))


def entry_of(recorded: Recorded) -> admin_pb2.AuditEntry:
    """Return an entry as the API has it."""
    entry_id, time_ns, revision, count, note = recorded
    entry = admin_pb2.AuditEntry.FromString(note)
    entry.entry_id = entry_id
    entry.time.CopyFrom(convert.time_of(time_ns))
    entry.revision = revision
    if count is not None and (entry.action in _COUNTED or entry.refusal):
        entry.affected_count = count
    return entry


HANDLERS: Mapping[str, Handler] = {"ListAuditEntries": _list}
