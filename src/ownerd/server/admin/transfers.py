"""Giving all ownership of one campaign to another (R27)."""

from collections.abc import Mapping
from functools import partial

from ownerd.native import Engine, Outcome
from ownerd.server.admin import bulk, validate
from ownerd.server.admin.audited_change import Change, audited
from ownerd.server.admin.context import AdminContext, Handler
from ownerd.server.errors import InvalidField
from ownerd.v1 import admin_pb2


def _fill(engine: Engine, answer: admin_pb2.TransferOwnershipResponse, outcome: Outcome) -> None:
    answer.transferred_count = bulk.counted(engine, outcome)


@audited(admin_pb2.TransferOwnershipResponse, _fill)
def _transfer(
    context: AdminContext,
    request: admin_pb2.TransferOwnershipRequest,
    change: Change[admin_pb2.TransferOwnershipResponse],
) -> admin_pb2.TransferOwnershipResponse:
    list_id = bulk.list_meant(request)
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


def _dry_run(engine: Engine, list_id: str, giver: str) -> admin_pb2.TransferOwnershipResponse:
    validate.known_campaigns(engine, [giver])
    answer = admin_pb2.TransferOwnershipResponse(revision=engine.revision)
    for snapshot in bulk.snapshots(engine, list_id, partial(engine.lists_held, giver)):
        answer.transferred_count += snapshot.count_owned([giver])
        answer.revision = snapshot.revision
    return answer


HANDLERS: Mapping[str, Handler] = {"TransferOwnership": _transfer}
