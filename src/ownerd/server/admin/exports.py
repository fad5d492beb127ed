"""Export of a list's ownership: a stream of pages, each read in a snapshot of its own (R17)."""

from ownerd.server.admin import convert, records, validate
from ownerd.server.admin.context import AdminContext, Caller
from ownerd.v1 import admin_pb2

_PAGE_COUNT = 2_000


def page(
    context: AdminContext, request: admin_pb2.ExportOwnershipRequest, caller: Caller, after: bytes
) -> tuple[bytes, bytes]:
    """Return the next message, serialized, and the key to go on from; b"" after the last.

    Blocking. An empty list still gives one message, which says as of when it was empty.
    """
    list_id = validate.list_id(request.list_id)
    found = records.read_page(
        context.engine, caller, list_id, request.campaign_ids, after, _PAGE_COUNT
    )
    message = admin_pb2.ExportOwnershipResponse(
        rows=[
            admin_pb2.OwnershipRow(
                record_id=record_id,
                campaign_id=campaign_id,
                campaign_name=name,
                expire_time=convert.optional_time_of(expire_ns),
                acquire_time=convert.time_of(acquire_ns),
            )
            for record_id, campaign_id, name, acquire_ns, expire_ns in found.rows
        ],
        revision=found.revision,
        time=convert.time_of(found.time_ns),
    )
    return message.SerializeToString(), found.next_key
