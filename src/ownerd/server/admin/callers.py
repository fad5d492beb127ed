"""Who the caller is, and what it may do: for programs that show only what will not be refused."""

from collections.abc import Mapping
from typing import cast

from ownerd import limits
from ownerd.native import RIGHTS
from ownerd.server import rights
from ownerd.server.admin import validate
from ownerd.server.admin.context import AdminContext, Caller, Handler
from ownerd.v1 import admin_pb2


def _get(
    context: AdminContext, request: admin_pb2.GetCallerAccessRequest, caller: Caller
) -> admin_pb2.GetCallerAccessResponse:
    validate.text("list_id", request.list_id, limits.LIST_ID_BYTES, required=False)
    # What is done to one of the lists that share ownership is done to each (R28).
    lists = tuple(context.sharing(request.list_id)) or (request.list_id,)
    allows = caller.identity.allows
    whole, part = [], []
    for right in map(int, RIGHTS.values()):
        if all(allows(right, list_id, rights.EVERY) for list_id in lists):
            whole.append(right)
        elif allows(right, request.list_id or rights.NOT_ASKED, rights.NOT_ASKED):
            part.append(right)
    return admin_pb2.GetCallerAccessResponse(
        principal_id=caller.principal,
        rights=cast(list[admin_pb2.Right], whole),
        partial_rights=cast(list[admin_pb2.Right], part),
        hide_holders=caller.identity.hide_holders,
    )


HANDLERS: Mapping[str, Handler] = {"GetCallerAccess": _get}
