"""Owners of a list: who owns how much (R17), and releasing campaigns' ownership (R15)."""

from collections.abc import Mapping

from ownerd.native import Engine, Outcome
from ownerd.server import rights
from ownerd.server.admin import convert, validate
from ownerd.server.admin.audited_change import Change, audited
from ownerd.server.admin.context import AdminContext, Caller, Handler
from ownerd.server.errors import InvalidField, Words
from ownerd.v1 import admin_pb2


def _list(
    context: AdminContext, request: admin_pb2.ListOwnersRequest, caller: Caller
) -> admin_pb2.ListOwnersResponse:
    with context.engine.snapshot(validate.list_id(request.list_id)) as snapshot:
        found = snapshot.owners()
        revision, time_ns = snapshot.revision, snapshot.time_ns
    owners = [
        admin_pb2.Owner(
            campaign_id=campaign_id,
            campaign_name=name,
            owned_count=owned,
            reserved_count=reserved,
            earliest_expire_time=convert.optional_time_of(earliest_ns),
        )
        for campaign_id, name, owned, reserved, earliest_ns in found
        if caller.identity.allows(rights.CONTROL, request.list_id, campaign_id)
    ]
    return admin_pb2.ListOwnersResponse(
        owners=owners,
        total_owned_count=sum(owner.owned_count for owner in owners),
        total_reserved_count=sum(owner.reserved_count for owner in owners),
        revision=revision,
        time=convert.time_of(time_ns),
    )


def _fill(engine: Engine, answer: admin_pb2.ReleaseOwnershipResponse, outcome: Outcome) -> None:
    # The release is in force and durable; counting may take a while, and may have been cut off by a
    # restart since the first call with this request id.
    count = outcome.count
    answer.released_count = engine.count_released(outcome.entry_id) if count is None else count


@audited(admin_pb2.ReleaseOwnershipResponse, _fill)
def _release(
    context: AdminContext,
    request: admin_pb2.ReleaseOwnershipRequest,
    change: Change[admin_pb2.ReleaseOwnershipResponse],
) -> admin_pb2.ReleaseOwnershipResponse:
    list_id = validate.list_id(request.list_id)
    campaign_ids = _campaigns_to_release(request)
    if request.dry_run:
        return _dry_run(context, list_id, campaign_ids)
    return change.make(
        context.engine.release,
        list_id,
        campaign_ids,
        request.include_reservations,
        list_id=list_id,
        campaign_ids=campaign_ids or (),
        detail={
            "all_campaigns": request.all_campaigns,
            "include_reservations": request.include_reservations,
        },
    )


def _campaigns_to_release(request: admin_pb2.ReleaseOwnershipRequest) -> list[str] | None:
    """Return the campaigns, None for all; exactly one of the two must be asked for."""
    if request.all_campaigns == bool(request.campaign_ids):
        found = Words("both" if request.all_campaigns else "neither")
        raise InvalidField("all_campaigns and campaign_ids", found, "exactly one of the two")
    if request.all_campaigns:
        return None
    return list(dict.fromkeys(validate.campaign_ids(request.campaign_ids)))


def _dry_run(
    context: AdminContext, list_id: str, campaign_ids: list[str] | None
) -> admin_pb2.ReleaseOwnershipResponse:
    validate.known_campaigns(context.engine, campaign_ids or ())
    with context.engine.snapshot(list_id) as snapshot:
        return admin_pb2.ReleaseOwnershipResponse(
            released_count=snapshot.count_owned(campaign_ids), revision=snapshot.revision
        )


HANDLERS: Mapping[str, Handler] = {"ListOwners": _list, "ReleaseOwnership": _release}
