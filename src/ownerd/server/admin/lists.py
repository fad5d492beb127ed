"""Contact lists: create, read and delete."""

from collections.abc import Iterator, Mapping
from itertools import islice

from ownerd.native import Engine, ListInfo, Outcome
from ownerd.server import rights
from ownerd.server.admin import convert, page_tokens, policies, validate
from ownerd.server.admin.audited_change import Change, audited
from ownerd.server.admin.context import AdminContext, Caller, Handler
from ownerd.server.errors import ListNotFound
from ownerd.v1 import admin_pb2

_STEP_COUNT = 1_000


def _fill_created(
    engine: Engine, answer: admin_pb2.CreateContactListResponse, outcome: Outcome
) -> None:
    answer.list.etag = policies.etag_of(outcome.revision, engine.incarnation)
    answer.list.create_time.CopyFrom(convert.time_of(outcome.time_ns))
    answer.list.update_time.CopyFrom(convert.time_of(outcome.time_ns))


@audited(admin_pb2.CreateContactListResponse, _fill_created)
def _create(
    context: AdminContext,
    request: admin_pb2.CreateContactListRequest,
    change: Change[admin_pb2.CreateContactListResponse],
) -> admin_pb2.CreateContactListResponse:
    list_id = validate.list_id(request.list_id)
    policy = policies.read(request.policy)
    return change.make(
        context.engine.create_list,
        list_id,
        policy,
        list_id=list_id,
        detail={"policy": policies.describe(policy)},
        answer=admin_pb2.CreateContactListResponse(
            list=policies.list_message(list_id, policy, 0, 0, "")
        ),
    )


def _get(
    context: AdminContext, request: admin_pb2.GetContactListRequest, _: Caller
) -> admin_pb2.GetContactListResponse:
    list_id = validate.list_id(request.list_id)
    # Read before the list, so that the list is at least as new as the answer says.
    revision = context.engine.revision
    info = context.engine.get_list(list_id)
    if info is None:
        raise ListNotFound(list_id)
    return admin_pb2.GetContactListResponse(
        list=_message(info, context.engine), revision=max(revision, info.update_revision)
    )


def _list(
    context: AdminContext, request: admin_pb2.ListContactListsRequest, caller: Caller
) -> admin_pb2.ListContactListsResponse:
    size = validate.page_size(request.page_size)
    after = page_tokens.decode_text(request, context.engine.incarnation)
    found = list(islice(_seen(context, caller, after), size + 1))
    cursor = found[size - 1].list_id.encode() if len(found) > size else b""
    return admin_pb2.ListContactListsResponse(
        lists=[_message(info, context.engine) for info in found[:size]],
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
        return _dry_run(context.engine, list_id)
    return change.make(
        context.engine.delete_list,
        list_id,
        force=request.force,
        expected_revision=expected_revision,
        list_id=list_id,
        detail={"force": request.force, "policy": policies.describe(info.policy)},
    )


def _dry_run(engine: Engine, list_id: str) -> admin_pb2.DeleteContactListResponse:
    with engine.snapshot(list_id) as snapshot:
        owners = snapshot.owners()
        return admin_pb2.DeleteContactListResponse(
            revision=snapshot.revision,
            owned_count=sum(owned for _, _, owned, _, _ in owners),
            reserved_count=sum(reserved for _, _, _, reserved, _ in owners),
        )


def _message(info: ListInfo, engine: Engine) -> admin_pb2.ContactList:
    return policies.list_message(
        info.list_id,
        info.policy,
        info.create_ns,
        info.update_ns,
        policies.etag_of(info.update_revision, engine.incarnation),
    )


HANDLERS: Mapping[str, Handler] = {
    "CreateContactList": _create,
    "GetContactList": _get,
    "ListContactLists": _list,
    "DeleteContactList": _delete,
}
