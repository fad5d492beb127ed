"""Contact lists: create, read and delete."""

from collections.abc import Iterator, Mapping
from itertools import islice

from ownerd.native import Engine, ListInfo, Outcome
from ownerd.server import rights
from ownerd.server.admin import convert, page_tokens, policies, validate
from ownerd.server.admin.audited_change import Change, audited
from ownerd.server.admin.context import AdminContext, Caller, Handler
from ownerd.server.errors import InvalidField, ListNotFound, Words
from ownerd.v1 import admin_pb2

_STEP_COUNT = 1_000
_MOST_SHARED = 1_000


def _fill_created(
    engine: Engine, answer: admin_pb2.CreateContactListResponse, outcome: Outcome
) -> None:
    # A list that shares its ownership has the etag that was there.
    if not answer.list.etag:
        answer.list.etag = policies.etag_of(outcome.revision, engine.incarnation)
        answer.list.update_time.CopyFrom(convert.time_of(outcome.time_ns))
    answer.list.create_time.CopyFrom(convert.time_of(outcome.time_ns))


@audited(admin_pb2.CreateContactListResponse, _fill_created)
def _create(
    context: AdminContext,
    request: admin_pb2.CreateContactListRequest,
    change: Change[admin_pb2.CreateContactListResponse],
) -> admin_pb2.CreateContactListResponse:
    list_id = validate.list_id(request.list_id)
    if request.shares_ownership_with:
        return _create_shared(context, request, change)
    policy = policies.read(request.policy)
    return change.make(
        context.engine.create_list,
        list_id,
        policy,
        list_id=list_id,
        detail={"before": None, "after": {"policy": policies.describe(policy)}},
        answer=admin_pb2.CreateContactListResponse(
            list=policies.list_message(list_id, policy, 0, 0, "")
        ),
    )


def _create_shared(
    context: AdminContext,
    request: admin_pb2.CreateContactListRequest,
    change: Change[admin_pb2.CreateContactListResponse],
) -> admin_pb2.CreateContactListResponse:
    """Make one more name of a list, whose holds and policy the new one shares (R28)."""
    shared_id = validate.list_id(request.shares_ownership_with, "shares_ownership_with")
    if request.HasField("policy"):
        allowed = "none with shares_ownership_with: the policy is that of the shared list"
        raise InvalidField("policy", Words("a policy"), allowed)
    with context.change_lock:
        if (answer := change.first_answer()) is not None:
            return answer
        info = context.engine.get_list(shared_id)
        if info is None:
            raise ListNotFound(shared_id)
        group = (shared_id, *info.shares_with)
        if len(group) >= _MOST_SHARED:
            found = Words(f"a list that {len(group):,} share")
            raise InvalidField("shares_ownership_with", found, f"up to {_MOST_SHARED:,} in all")
        return change.make(
            context.engine.create_list,
            request.list_id,
            info.policy,
            shared_id,
            list_id=request.list_id,
            shared_list_ids=group,
            detail={"before": None, "after": {"shares_ownership_with": shared_id}},
            answer=admin_pb2.CreateContactListResponse(
                list=_message(info._replace(list_id=request.list_id, shares_with=group), context)
            ),
        )


def _get(
    context: AdminContext, request: admin_pb2.GetContactListRequest, caller: Caller
) -> admin_pb2.GetContactListResponse:
    list_id = validate.list_id(request.list_id)
    # Read before the list, so that the list is at least as new as the answer says.
    revision = context.engine.revision
    info = context.engine.get_list(list_id)
    if info is None:
        raise ListNotFound(list_id)
    return admin_pb2.GetContactListResponse(
        list=_message(info, context, caller), revision=max(revision, info.update_revision)
    )


def _list(
    context: AdminContext, request: admin_pb2.ListContactListsRequest, caller: Caller
) -> admin_pb2.ListContactListsResponse:
    size = validate.page_size(request.page_size)
    after = page_tokens.decode_text(request, context.engine.incarnation)
    found = list(islice(_seen(context, caller, after), size + 1))
    cursor = found[size - 1].list_id.encode() if len(found) > size else b""
    return admin_pb2.ListContactListsResponse(
        lists=[_message(info, context, caller) for info in found[:size]],
        next_page_token=page_tokens.encode(request, cursor, context.engine.incarnation),
    )


def _seen(context: AdminContext, caller: Caller, after: str) -> Iterator[ListInfo]:
    """Yield the lists after an id that the caller may view."""
    while found := context.engine.lists(after, _STEP_COUNT):
        for info in found:
            if caller.identity.allows(rights.VIEW, info.list_id):
                yield info
        after = found[-1].list_id


@audited(admin_pb2.DeleteContactListResponse)
def _delete(
    context: AdminContext,
    request: admin_pb2.DeleteContactListRequest,
    change: Change[admin_pb2.DeleteContactListResponse],
) -> admin_pb2.DeleteContactListResponse:
    list_id = validate.list_id(request.list_id)
    if (answer := change.first_answer()) is not None:
        return answer
    info = context.engine.get_list(list_id)
    if info is None:
        raise ListNotFound(list_id)
    expected_revision = policies.expected_revision(request.etag, info, context.engine.incarnation)
    if request.dry_run:
        return _dry_run(context.engine, info)
    return change.make(
        context.engine.delete_list,
        list_id,
        force=request.force,
        expected_revision=expected_revision,
        list_id=list_id,
        detail={
            "before": {"policy": policies.describe(info.policy)},
            "after": None,
            "force": request.force,
        },
    )


def _dry_run(engine: Engine, info: ListInfo) -> admin_pb2.DeleteContactListResponse:
    if info.shares_with:  # only its name would go
        return admin_pb2.DeleteContactListResponse(revision=engine.revision)
    with engine.snapshot(info.list_id) as snapshot:
        owners = snapshot.owners()
        return admin_pb2.DeleteContactListResponse(
            revision=snapshot.revision,
            owned_count=sum(owned for _, _, owned, *_ in owners),
            reserved_count=sum(reserved for _, _, _, reserved, *_ in owners),
        )


def _message(
    info: ListInfo, context: AdminContext, caller: Caller | None = None
) -> admin_pb2.ContactList:
    """Return the message of a list; to a caller, without names that it may not view."""
    seen = [
        name
        for name in sorted(info.shares_with)
        if caller is None or caller.identity.allows(rights.VIEW, name)
    ]
    return policies.list_message(
        info.list_id,
        info.policy,
        info.create_ns,
        info.update_ns,
        policies.etag_of(info.update_revision, context.engine.incarnation),
        seen,
    )


HANDLERS: Mapping[str, Handler] = {
    "CreateContactList": _create,
    "GetContactList": _get,
    "ListContactLists": _list,
    "DeleteContactList": _delete,
}
