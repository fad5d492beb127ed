"""Who the caller is, and what it may do: for programs that show only what will not be refused."""

from collections.abc import Mapping
from typing import cast

from ownerd import limits
from ownerd.native import RIGHTS
from ownerd.server import rights
from ownerd.server.admin import principals, validate
from ownerd.server.admin.context import AdminContext, Caller, Handler
from ownerd.v1 import admin_pb2


def _who(
    context: AdminContext, request: admin_pb2.WhoAmIRequest, caller: Caller
) -> admin_pb2.WhoAmIResponse:
    validate.text("list_id", request.list_id, limits.LIST_ID_BYTES, required=False)
    answer = admin_pb2.WhoAmIResponse()
    found = context.principals.get(caller.principal)
    if found is None:
        answer.principal.principal_id = caller.principal
        answer.asks_nobody = context.principals.access.is_open
    else:
        answer.principal.CopyFrom(principals.message(found, context.engine))
        answer.token_id = caller.token_id
    # What is done to one of the lists that share ownership is done to each (R28).
    lists = tuple(context.sharing(request.list_id)) or (request.list_id,)
    allows = caller.identity.allows
    for right in map(int, RIGHTS.values()):
        if all(allows(right, list_id, rights.EVERY) for list_id in lists):
            answer.rights.append(cast(admin_pb2.Right, right))
        elif allows(right, request.list_id or rights.NOT_ASKED, rights.NOT_ASKED):
            answer.partial_rights.append(cast(admin_pb2.Right, right))
    return answer


HANDLERS: Mapping[str, Handler] = {"WhoAmI": _who}
