"""Campaigns: their names, and the signals that they were stopped, recycled or reset (R16)."""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice

from ownerd import limits
from ownerd.native import Engine, Outcome
from ownerd.server import rights
from ownerd.server.admin import bulk, page_tokens, validate
from ownerd.server.admin.audited_change import Change, audited
from ownerd.server.admin.context import AdminContext, Caller, Handler
from ownerd.server.errors import InvalidField, Words
from ownerd.v1 import admin_pb2

_STEP_COUNT = 10_000

_SIGNALS = {
    admin_pb2.CAMPAIGN_SIGNAL_STOPPED: "STOPPED",
    admin_pb2.CAMPAIGN_SIGNAL_RECYCLED: "RECYCLED",
    admin_pb2.CAMPAIGN_SIGNAL_RESET: "RESET",
}


@audited(admin_pb2.UpsertCampaignResponse)
def _upsert(
    context: AdminContext,
    request: admin_pb2.UpsertCampaignRequest,
    change: Change[admin_pb2.UpsertCampaignResponse],
) -> admin_pb2.UpsertCampaignResponse:
    campaign_id = validate.campaign_id(request.campaign_id)
    validate.text("name", request.name, limits.CAMPAIGN_NAME_BYTES, required=False)
    name = request.name or campaign_id
    with context.change_lock:
        before = context.engine.campaign_name(campaign_id)
        return change.make(
            context.engine.upsert_campaign,
            campaign_id,
            name,
            campaign_ids=[campaign_id],
            detail={"before": _described(before), "after": _described(name)},
            answer=admin_pb2.UpsertCampaignResponse(
                campaign=admin_pb2.Campaign(campaign_id=campaign_id, name=name)
            ),
        )


def _described(name: str | None) -> dict[str, str] | None:
    """Return a campaign as the audit's detail shows it; None where there is none."""
    return None if name is None else {"name": name}


def _list(
    context: AdminContext, request: admin_pb2.ListCampaignsRequest, caller: Caller
) -> admin_pb2.ListCampaignsResponse:
    size = validate.page_size(request.page_size)
    found = list(
        islice(
            _seen(context, caller, page_tokens.decode_text(request, context.engine.incarnation)),
            size + 1,
        )
    )
    cursor = found[size - 1][0].encode() if len(found) > size else b""
    return admin_pb2.ListCampaignsResponse(
        campaigns=[
            admin_pb2.Campaign(campaign_id=campaign_id, name=name)
            for campaign_id, name in found[:size]
        ],
        next_page_token=page_tokens.encode(request, cursor, context.engine.incarnation),
    )


def _seen(context: AdminContext, caller: Caller, after: str) -> Iterator[tuple[str, str]]:
    """Yield the campaigns after an id that the caller may view."""
    while found := context.engine.campaigns(after, _STEP_COUNT):
        for campaign_id, name in found:
            if caller.identity.allows(rights.VIEW, None, campaign_id):
                yield campaign_id, name
        after = found[-1][0]


def _fill_deleted(
    engine: Engine, answer: admin_pb2.DeleteCampaignResponse, outcome: Outcome
) -> None:
    answer.released_count = bulk.counted(engine, outcome)


@audited(admin_pb2.DeleteCampaignResponse, _fill_deleted)
def _delete(
    context: AdminContext,
    request: admin_pb2.DeleteCampaignRequest,
    change: Change[admin_pb2.DeleteCampaignResponse],
) -> admin_pb2.DeleteCampaignResponse:
    campaign_id = validate.campaign_id(request.campaign_id)
    if request.dry_run:
        return _dry_delete(context.engine, campaign_id)
    with context.change_lock:
        before = _described(context.engine.campaign_name(campaign_id))
        return change.make(
            context.engine.delete_campaign,
            campaign_id,
            force=request.force,
            campaign_ids=[campaign_id],
            detail={
                "before": before,
                "after": None,
                **({"force": True, "all_lists": True} if request.force else {}),
            },
        )


def _dry_delete(engine: Engine, campaign_id: str) -> admin_pb2.DeleteCampaignResponse:
    validate.known_campaigns(engine, [campaign_id])
    revision = engine.revision
    owned, reserved = engine.count_held(campaign_id)
    return admin_pb2.DeleteCampaignResponse(
        revision=revision, released_count=owned, reserved_count=reserved
    )


def _fill(engine: Engine, answer: admin_pb2.SignalCampaignResponse, outcome: Outcome) -> None:
    answer.ended_reservation_count = bulk.counted(engine, outcome)


@audited(admin_pb2.SignalCampaignResponse, _fill)
def _signal(
    context: AdminContext,
    request: admin_pb2.SignalCampaignRequest,
    change: Change[admin_pb2.SignalCampaignResponse],
) -> admin_pb2.SignalCampaignResponse:
    campaign_id = validate.campaign_id(request.campaign_id)
    validate.text("list_id", request.list_id, limits.LIST_ID_BYTES, required=False)
    if request.signal not in _SIGNALS:
        raise InvalidField(
            "signal", request.signal, ", ".join(f"CAMPAIGN_SIGNAL_{s}" for s in _SIGNALS.values())
        )
    ends = request.end_reservations
    if ends and request.signal != admin_pb2.CAMPAIGN_SIGNAL_STOPPED:
        raise InvalidField("end_reservations", Words("true"), "true with CAMPAIGN_SIGNAL_STOPPED")
    if request.dry_run:
        return _dry_run(context.engine, request)
    return change.make(
        context.engine.signal_campaign,
        campaign_id,
        request.list_id,
        ends,
        list_id=request.list_id,
        campaign_ids=[campaign_id],
        detail={"signal": _SIGNALS[request.signal], **({"end_reservations": True} if ends else {})},
    )


def _dry_run(
    engine: Engine, request: admin_pb2.SignalCampaignRequest
) -> admin_pb2.SignalCampaignResponse:
    """Count, list by list, what a stop would end; each list as of its own revision."""
    campaign_id = request.campaign_id
    validate.known_campaigns(engine, [campaign_id])
    answer = admin_pb2.SignalCampaignResponse(revision=engine.revision)
    if not request.end_reservations:
        return answer
    lists_held = partial(engine.lists_held, campaign_id)
    for snapshot in bulk.snapshots(engine, request.list_id, lists_held):
        answer.revision = snapshot.revision
        answer.ended_reservation_count += sum(
            reserved for each, _, _, reserved, _, _ in snapshot.owners() if each == campaign_id
        )
    return answer


HANDLERS: Mapping[str, Handler] = {
    "UpsertCampaign": _upsert,
    "ListCampaigns": _list,
    "DeleteCampaign": _delete,
    "SignalCampaign": _signal,
}
