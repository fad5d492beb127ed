"""Campaigns: their names, and what stopping, recycling and resetting them does (R16)."""

from collections.abc import Iterator, Mapping
from itertools import islice

from ownerd.errors import InvalidField
from ownerd.native import Outcome
from ownerd.server import rights
from ownerd.server.admin import pages, validate
from ownerd.server.admin.changes import Caller
from ownerd.server.admin.desk import Desk, Handler
from ownerd.v1 import admin_pb2

_STEP_COUNT = 10_000

_SIGNALS = {
    admin_pb2.CAMPAIGN_SIGNAL_STOPPED: "STOPPED",
    admin_pb2.CAMPAIGN_SIGNAL_RECYCLED: "RECYCLED",
    admin_pb2.CAMPAIGN_SIGNAL_RESET: "RESET",
}


def _upsert(
    desk: Desk, request: admin_pb2.UpsertCampaignRequest, caller: Caller
) -> admin_pb2.UpsertCampaignResponse:
    campaign_id = validate.campaign_id(request.campaign_id)
    validate.text("name", request.name, validate.CAMPAIGN_NAME_BYTES, required=False)
    validate.change_fields(request.reason, request.request_id)
    change = desk.change(
        caller, "UpsertCampaign", request, admin_pb2.UpsertCampaignResponse, _fill_upserted
    )
    if (answer := change.first_answer()) is not None:
        return answer
    name = request.name or campaign_id
    return change.make(
        desk.engine.upsert_campaign,
        campaign_id,
        name,
        campaign_ids=[campaign_id],
        detail={"name": name},
        answer=admin_pb2.UpsertCampaignResponse(
            campaign=admin_pb2.Campaign(campaign_id=campaign_id, name=name)
        ),
    )


def _fill_upserted(answer: admin_pb2.UpsertCampaignResponse, outcome: Outcome) -> None:
    answer.revision = outcome.revision


def _list(
    desk: Desk, request: admin_pb2.ListCampaignsRequest, caller: Caller
) -> admin_pb2.ListCampaignsResponse:
    size = validate.page_size(request.page_size)
    found = list(islice(_seen(desk, caller, pages.decode_text(request)), size + 1))
    cursor = found[size - 1][0].encode() if len(found) > size else b""
    return admin_pb2.ListCampaignsResponse(
        campaigns=[
            admin_pb2.Campaign(campaign_id=campaign_id, name=name)
            for campaign_id, name in found[:size]
        ],
        next_page_token=pages.encode(request, cursor),
    )


def _seen(desk: Desk, caller: Caller, after: str) -> Iterator[tuple[str, str]]:
    """Yield the campaigns after an id that the caller may view."""
    while found := desk.engine.campaigns(after, _STEP_COUNT):
        for campaign_id, name in found:
            if caller.identity.allows(rights.VIEW, None, campaign_id):
                yield campaign_id, name
        after = found[-1][0]


def _signal(
    desk: Desk, request: admin_pb2.SignalCampaignRequest, caller: Caller
) -> admin_pb2.SignalCampaignResponse:
    campaign_id = validate.campaign_id(request.campaign_id)
    validate.text("list_id", request.list_id, validate.LIST_ID_BYTES, required=False)
    validate.change_fields(request.reason, request.request_id)
    if request.signal not in _SIGNALS:
        raise InvalidField(
            "signal", request.signal, ", ".join(f"CAMPAIGN_SIGNAL_{s}" for s in _SIGNALS.values())
        )
    change = desk.change(
        caller, "SignalCampaign", request, admin_pb2.SignalCampaignResponse, _fill_signaled
    )
    if (answer := change.first_answer()) is not None:
        return answer
    return change.make(
        desk.engine.signal_campaign,
        campaign_id,
        request.list_id,
        request.signal == admin_pb2.CAMPAIGN_SIGNAL_STOPPED,
        list_id=request.list_id,
        campaign_ids=[campaign_id],
        detail={"signal": _SIGNALS[request.signal]},
        answer=admin_pb2.SignalCampaignResponse(),
    )


def _fill_signaled(answer: admin_pb2.SignalCampaignResponse, outcome: Outcome) -> None:
    answer.revision = outcome.revision


HANDLERS: Mapping[str, Handler] = {
    "UpsertCampaign": _upsert,
    "ListCampaigns": _list,
    "SignalCampaign": _signal,
}
