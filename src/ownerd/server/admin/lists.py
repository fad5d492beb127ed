"""Contact lists: create, read and delete."""

from collections.abc import Iterator, Mapping
from itertools import islice

from ownerd.errors import ListNotFound
from ownerd.native import ListInfo, Outcome
from ownerd.server import rights
from ownerd.server.admin import convert, pages, policies, validate
from ownerd.server.admin.changes import Caller
from ownerd.server.admin.desk import Desk, Handler
from ownerd.v1 import admin_pb2

_STEP_COUNT = 1_000


def _create(
    desk: Desk, request: admin_pb2.CreateContactListRequest, caller: Caller
) -> admin_pb2.CreateContactListResponse:
    list_id = validate.list_id(request.list_id)
    validate.change_fields(request.reason, request.request_id)
    policy = policies.read(request.policy)
    change = desk.change(
        caller, "CreateContactList", request, admin_pb2.CreateContactListResponse, _fill_created
    )
    if (answer := change.first_answer()) is not None:
        return answer
    return change.make(
        desk.engine.create_list,
        list_id,
        policy,
        list_id=list_id,
        detail={"policy": policies.describe(policy)},
        answer=admin_pb2.CreateContactListResponse(
            list=policies.list_message(list_id, policy, 0, 0, 0)
        ),
    )


def _fill_created(answer: admin_pb2.CreateContactListResponse, outcome: Outcome) -> None:
    answer.list.etag = policies.etag_of(outcome.revision)
    answer.list.create_time.CopyFrom(convert.time_of(outcome.time_ns))
    answer.list.update_time.CopyFrom(convert.time_of(outcome.time_ns))
    answer.revision = outcome.revision


def _get(
    desk: Desk, request: admin_pb2.GetContactListRequest, _: Caller
) -> admin_pb2.GetContactListResponse:
    list_id = validate.list_id(request.list_id)
    # Read before the list, so that the list is at least as new as the answer says.
    revision = desk.engine.revision
    info = desk.engine.get_list(list_id)
    if info is None:
        raise ListNotFound(list_id)
    return admin_pb2.GetContactListResponse(
        list=_message(info), revision=max(revision, info.update_revision)
    )


def _list(
    desk: Desk, request: admin_pb2.ListContactListsRequest, caller: Caller
) -> admin_pb2.ListContactListsResponse:
    size = validate.page_size(request.page_size)
    after = pages.decode_text(request)
    found = list(islice(_seen(desk, caller, after), size + 1))
    cursor = found[size - 1].list_id.encode() if len(found) > size else b""
    return admin_pb2.ListContactListsResponse(
        lists=map(_message, found[:size]), next_page_token=pages.encode(request, cursor)
    )


def _seen(desk: Desk, caller: Caller, after: str) -> Iterator[ListInfo]:
    """Yield the lists after an id that the caller may view."""
    while found := desk.engine.lists(after, _STEP_COUNT):
        for info in found:
            if caller.identity.allows(rights.VIEW, info.list_id):
                yield info
        after = found[-1].list_id


def _delete(
    desk: Desk, request: admin_pb2.DeleteContactListRequest, caller: Caller
) -> admin_pb2.DeleteContactListResponse:
    list_id = validate.list_id(request.list_id)
    validate.change_fields(request.reason, request.request_id)
    change = desk.change(
        caller, "DeleteContactList", request, admin_pb2.DeleteContactListResponse, _fill_deleted
    )
    if (answer := change.first_answer()) is not None:
        return answer
    info = desk.engine.get_list(list_id)
    if info is None:
        raise ListNotFound(list_id)
    return change.make(
        desk.engine.delete_list,
        list_id,
        force=request.force,
        expected_revision=policies.expected_revision(request.etag, info),
        list_id=list_id,
        detail={"force": request.force, "policy": policies.describe(info.policy)},
        answer=admin_pb2.DeleteContactListResponse(),
    )


def _fill_deleted(answer: admin_pb2.DeleteContactListResponse, outcome: Outcome) -> None:
    answer.revision = outcome.revision


def _message(info: ListInfo) -> admin_pb2.ContactList:
    return policies.list_message(
        info.list_id, info.policy, info.create_ns, info.update_ns, info.update_revision
    )


HANDLERS: Mapping[str, Handler] = {
    "CreateContactList": _create,
    "GetContactList": _get,
    "ListContactLists": _list,
    "DeleteContactList": _delete,
}
