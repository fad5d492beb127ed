"""What somebody may have meant who named a list or campaign that is not there.

Asks the server what there is, once, after a call that failed; where it does not tell, there is
nothing to suggest.
"""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import grpc

from ownerd.client.errors import error_info
from ownerd.client.requests.call import PAGE_SIZE
from ownerd.v1 import admin_pb2 as pb

if TYPE_CHECKING:
    from ownerd.ctl.connect.channel import Connection

TIMEOUT_S = 2.0
PAGES = 10  # with more names, what is like one is no help


def complaint(connection: "Connection", error: grpc.RpcError, request: Any) -> str:
    """Return what to say of a name in a request that is not there, "" where none is to blame."""
    reason, admin = error_info(error).reason, connection.admin
    if reason == "LIST_NOT_FOUND":
        lists = _items(connection, admin.ListContactLists, pb.ListContactListsRequest(), "lists")
        return _complaint("contact list", [request.list_id], {item.list_id for item in lists})
    if reason == "CAMPAIGN_NOT_FOUND":
        named = [*getattr(request, "campaign_ids", ()), getattr(request, "campaign_id", "")]
        campaigns = _items(connection, admin.ListCampaigns, pb.ListCampaignsRequest(), "campaigns")
        return _complaint("campaign", named, {item.campaign_id for item in campaigns})
    return ""


def _complaint(noun: str, named: Iterable[str], known: set[str]) -> str:
    name = next((each for each in named if each and each not in known), "")
    if not name:
        return ""
    by_folded = {each.casefold(): each for each in known}
    close = get_close_matches(name.casefold(), by_folded, n=3)
    meant = " or ".join(f'"{by_folded[each]}"' for each in close)
    shown = f"`ownerctl {noun.split()[-1]} list` shows those that there are"
    return f'there is no {noun} "{name}"; ' + (f"did you mean {meant}?" if close else shown)


def _items(connection: "Connection", rpc: Any, request: Any, items: str) -> Iterator[Any]:
    request.page_size = PAGE_SIZE
    for _ in range(PAGES):
        try:
            answer = rpc(request, timeout=TIMEOUT_S, metadata=connection.metadata())
        except grpc.RpcError:  # that the caller may not see them is one reason
            return
        yield from getattr(answer, items)
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token
