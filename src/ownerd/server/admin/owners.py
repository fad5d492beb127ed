"""Owners of a list: who owns how much (R17), and releasing campaigns' ownership (R15)."""

from collections.abc import Iterable, Mapping
from functools import partial

from ownerd.native import Engine, Outcome
from ownerd.server import rights
from ownerd.server.admin import bulk, convert, validate
from ownerd.server.admin.audited_change import Change, audited
from ownerd.server.admin.context import AdminContext, Caller, Handler
from ownerd.v1 import admin_pb2, dial_pb2


def _list(
    context: AdminContext, request: admin_pb2.ListOwnersRequest, caller: Caller
) -> admin_pb2.ListOwnersResponse:
    with context.engine.snapshot(validate.list_id(request.list_id)) as snapshot:
        found = snapshot.owners(_expire_by_ns(request, snapshot.time_ns))
        asked = snapshot.activity()
        revision, time_ns = snapshot.revision, snapshot.time_ns
    twice = _called_twice(context, request.list_id)
    owners = [
        admin_pb2.Owner(
            campaign_id=campaign_id,
            campaign_name=name,
            owned_count=owned,
            reserved_count=reserved,
            earliest_expire_time=convert.optional_time_of(earliest_ns),
            expiring_count=expiring,
        )
        for campaign_id, name, owned, reserved, earliest_ns, expiring in found
        if caller.identity.allows(rights.CONTROL, request.list_id, campaign_id)
    ]
    return admin_pb2.ListOwnersResponse(
        owners=owners,
        total_owned_count=sum(owner.owned_count for owner in owners),
        total_reserved_count=sum(owner.reserved_count for owner in owners),
        total_expiring_count=sum(owner.expiring_count for owner in owners),
        revision=revision,
        time=convert.time_of(time_ns),
        activity=[
            _activity(*row, twice.get(row[0], {}))
            for row in asked
            if caller.identity.allows(rights.CONTROL, request.list_id, row[0])
        ],
    )


def _expire_by_ns(request: admin_pb2.ListOwnersRequest, time_ns: int) -> int:
    """Return the instant up to which expirations are counted; 0 where none are."""
    if not request.HasField("expiring_within"):
        return 0
    return time_ns + convert.length_ns("expiring_within", request.expiring_within, 0)


def _called_twice(context: AdminContext, list_id: str) -> Mapping[str, Mapping[str, int]]:
    """Return by campaign how often it called whom another one held, by that one (R31)."""
    found: dict[str, dict[str, int]] = {}
    names = set(context.sharing(list_id))
    for name, campaign_id, holder_id, count in context.engine.called_twice():
        if name in names:
            by_holder = found.setdefault(campaign_id, {})
            by_holder[holder_id] = by_holder.get(holder_id, 0) + count
    return found


def _activity(
    campaign_id: str,
    decisions: list[int],
    outcomes: list[int],
    denied_by: list[tuple[str, int]],
    lapsed: int,
    called_twice: Mapping[str, int],
) -> admin_pb2.Activity:
    return admin_pb2.Activity(
        campaign_id=campaign_id,
        granted_claim_count=decisions[dial_pb2.CLAIM_DECISION_GRANTED],
        denied_claim_count=decisions[dial_pb2.CLAIM_DECISION_DENIED],
        uncontrolled_claim_count=decisions[dial_pb2.CLAIM_DECISION_UNCONTROLLED],
        denied_by_campaign_id=denied_by[0][0] if denied_by else "",
        lapsed_reservation_count=lapsed,
        rejected_attempt_count=outcomes[dial_pb2.ATTEMPT_OUTCOME_REJECTED],
        ownership_acquired_count=outcomes[dial_pb2.ATTEMPT_OUTCOME_OWNERSHIP_ACQUIRED],
        ownership_renewed_count=outcomes[dial_pb2.ATTEMPT_OUTCOME_OWNERSHIP_RENEWED],
        ownership_kept_count=outcomes[dial_pb2.ATTEMPT_OUTCOME_OWNERSHIP_KEPT],
        reservation_cleared_count=outcomes[dial_pb2.ATTEMPT_OUTCOME_RESERVATION_CLEARED],
        not_controlled_count=outcomes[dial_pb2.ATTEMPT_OUTCOME_NOT_CONTROLLED],
        called_twice=[
            admin_pb2.CalledTwice(campaign_id=holder_id, attempt_count=count)
            for holder_id, count in sorted(called_twice.items(), key=lambda row: (-row[1], row[0]))
        ],
    )


def _fill(engine: Engine, answer: admin_pb2.ReleaseOwnershipResponse, outcome: Outcome) -> None:
    answer.released_count = bulk.counted(engine, outcome)


@audited(admin_pb2.ReleaseOwnershipResponse, _fill)
def _release(
    context: AdminContext,
    request: admin_pb2.ReleaseOwnershipRequest,
    change: Change[admin_pb2.ReleaseOwnershipResponse],
) -> admin_pb2.ReleaseOwnershipResponse:
    list_id = bulk.list_meant(request)
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
            **({"all_lists": True} if request.all_lists else {}),
            "all_campaigns": request.all_campaigns,
            "include_reservations": request.include_reservations,
        },
    )


def _campaigns_to_release(request: admin_pb2.ReleaseOwnershipRequest) -> list[str] | None:
    """Return the campaigns, None for all; exactly one of the two must be asked for."""
    fields = "all_campaigns and campaign_ids"
    validate.exactly_one(fields, request.all_campaigns, bool(request.campaign_ids))
    if request.all_campaigns:
        return None
    return list(dict.fromkeys(validate.campaign_ids(request.campaign_ids)))


def _dry_run(
    context: AdminContext, list_id: str, campaign_ids: list[str] | None
) -> admin_pb2.ReleaseOwnershipResponse:
    """Count what would be released; of all lists, each as of its own revision."""
    engine = context.engine
    validate.known_campaigns(engine, campaign_ids or ())
    answer = admin_pb2.ReleaseOwnershipResponse(revision=engine.revision)
    for snapshot in bulk.snapshots(engine, list_id, partial(_lists_held, engine, campaign_ids)):
        answer.released_count += snapshot.count_owned(campaign_ids)
        answer.revision = snapshot.revision
    return answer


def _lists_held(engine: Engine, campaign_ids: list[str] | None) -> Iterable[str]:
    """Return the lists in which any of some campaigns (None: of all) ever held a record."""
    if campaign_ids is None:
        return engine.lists_held()
    return dict.fromkeys(each for name in campaign_ids for each in engine.lists_held(name))


HANDLERS: Mapping[str, Handler] = {"ListOwners": _list, "ReleaseOwnership": _release}
