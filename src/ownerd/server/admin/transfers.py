"""Giving all ownership of one campaign to another (R27)."""

from collections.abc import Mapping

from ownerd.native import Engine, Outcome, Refused
from ownerd.server.admin import validate
from ownerd.server.admin.audited_change import Change, audited
from ownerd.server.admin.context import AdminContext, Handler
from ownerd.server.errors import InvalidField, ListNotFound, Words
from ownerd.v1 import admin_pb2


def _fill(engine: Engine, answer: admin_pb2.TransferOwnershipResponse, outcome: Outcome) -> None:
    # In force and durable; counting may take a while, and a restart may have cut it off.
    count = outcome.count
    answer.transferred_count = engine.count_released(outcome.entry_id) if count is None else count


@audited(admin_pb2.TransferOwnershipResponse, _fill)
def _transfer(
    context: AdminContext,
    request: admin_pb2.TransferOwnershipRequest,
    change: Change[admin_pb2.TransferOwnershipResponse],
) -> admin_pb2.TransferOwnershipResponse:
    list_id = _list_meant(request)
    giver = validate.campaign_id(request.from_campaign_id, "from_campaign_id")
    receiver = validate.campaign_id(request.to_campaign_id, "to_campaign_id")
    if giver == receiver:
        raise InvalidField("to_campaign_id", receiver, "another campaign than from_campaign_id")
    if request.dry_run:
        return _dry_run(context.engine, list_id, giver)
    return change.make(
        context.engine.transfer,
        list_id,
        giver,
        receiver,
        list_id=list_id,
        campaign_ids=[giver, receiver],
        detail={
            "all_lists": request.all_lists,
            "from_campaign_id": giver,
            "to_campaign_id": receiver,
        },
    )


def _list_meant(request: admin_pb2.TransferOwnershipRequest) -> str:
    """Return the list, "" for all; exactly one of the two must be asked for."""
    if request.all_lists == bool(request.list_id):
        found = Words("both" if request.all_lists else "neither")
        raise InvalidField("list_id and all_lists", found, "exactly one of the two")
    return "" if request.all_lists else validate.list_id(request.list_id)


def _dry_run(engine: Engine, list_id: str, giver: str) -> admin_pb2.TransferOwnershipResponse:
    validate.known_campaigns(engine, [giver])
    if list_id and engine.get_list(list_id) is None:
        raise ListNotFound(list_id)
    answer = admin_pb2.TransferOwnershipResponse(revision=engine.revision)
    for name in [list_id] if list_id else engine.lists_held(giver):
        try:
            with engine.snapshot(name) as snapshot:
                answer.transferred_count += snapshot.count_owned([giver])
                answer.revision = snapshot.revision
        except Refused as refused:
            if list_id or refused.reason != ListNotFound.reason:
                raise
            # Deleted since its name was read.
    return answer


HANDLERS: Mapping[str, Handler] = {"TransferOwnership": _transfer}
