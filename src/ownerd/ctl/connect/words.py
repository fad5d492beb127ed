"""The server's words as those of ownerctl: commands in the place of rpcs, and what was meant.

A server speaks to programs. For a person each rpc that a message names is the command that makes
it; and an id that does not exist is most often one that was mistyped.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple, Protocol

# Every rpc of AdminService and DialService that has a command; the others no message names.
COMMANDS = {
    "CreateContactList": "list create",
    "GetContactList": "policy show",
    "ListContactLists": "list ls",
    "DeleteContactList": "list delete",
    "UpdateOwnershipPolicy": "policy set",
    "ListOwners": "owners",
    "ReleaseOwnership": "release",
    "ReleaseRecords": "release --record",
    "TransferOwnership": "transfer",
    "GiveBack": "give-back",
    "ListOwnedRecords": "record ls",
    "GetHolder": "record show",
    "ImportOwnership": "import",
    "ExportOwnership": "export",
    "UpsertCampaign": "campaign set",
    "ListCampaigns": "campaign ls",
    "DeleteCampaign": "campaign delete",
    "SignalCampaign": "campaign stop",
    "UpsertWrapUpCode": "wrapup set",
    "ListWrapUpCodes": "wrapup ls",
    "DeleteWrapUpCode": "wrapup delete",
    "ListUnknownWrapUpCodes": "wrapup unknown",
    "GetStoreSettings": "settings show",
    "UpdateStoreSettings": "settings set",
    "CreatePrincipal": "principal create",
    "GetPrincipal": "principal show",
    "ListPrincipals": "principal ls",
    "UpdatePrincipal": "principal set",
    "DeletePrincipal": "principal delete",
    "RotateToken": "principal rotate",
    "RevokeTokens": "principal revoke",
    "CheckAccess": "principal can",
    "ListAuditEntries": "audit",
    "GetServerStatus": "status",
    "GetClusterStatus": "cluster status",
    "TransferLeadership": "cluster transfer",
    "RemoveNode": "cluster remove",
    "BackupStore": "backup",
    "Watch": "watch",
    "WhoAmI": "whoami",
    "Diagnose": "doctor",
    "GetDebugInfo": "debug",
    "SetLogLevel": "log-level",
}
_RPC = re.compile(rf"\b({'|'.join(COMMANDS)})\b")

# Where mistyped ids are looked for; more would take longer than it helps.
_MOST_IDS = 10_000


class Known(NamedTuple):
    """How the ids that exist are asked for."""

    rpc: str
    items: str
    field: str


# By the reason of an error: where the ids that exist are.
LOOKUPS = {
    "LIST_NOT_FOUND": Known("ListContactLists", "lists", "list_id"),
    "CAMPAIGN_NOT_FOUND": Known("ListCampaigns", "campaigns", "campaign_id"),
    "PRINCIPAL_NOT_FOUND": Known("ListPrincipals", "principals", "principal_id"),
    "WRAP_UP_CODE_NOT_FOUND": Known("ListWrapUpCodes", "codes", "code"),
}


def in_commands(text: str) -> str:
    """Return a message of the server with commands in the place of rpcs."""
    return _RPC.sub(lambda found: f"`ownerctl {COMMANDS[found[0]]}`", text)


class Ask(Protocol):
    """Yields the ids that exist, page by page, as they are asked for."""

    def __call__(self, known: Known) -> Iterator[str]: ...


def meant(reason: str, request: object, ask: Ask) -> str:
    """Return `did you mean ...?` for an id that does not exist; "" where none is like it.

    Args:
        reason: the error's.
        request: what it was the answer to.
        ask: yields the ids that exist, of which that in the request is none.
    """
    known = LOOKUPS.get(reason)
    typed = _typed(request, known.field) if known is not None else []
    if known is None or not typed:
        return ""
    existing = set(islice(ask(known), _MOST_IDS))
    found = (like(each, existing) for each in typed if each not in existing)
    nearest = next(filter(None, found), "")
    return f'did you mean "{nearest}"?' if nearest else ""


def _typed(request: object, field: str) -> list[str]:
    """Return what a request names: one id, several, or one in the thing that it is about."""
    several = list(getattr(request, f"{field}s", ()))
    one = getattr(request, field, "") or getattr(getattr(request, "principal", None), field, "")
    return [each for each in (one, *several) if isinstance(each, str) and each]


def like(typed: str, names: Iterable[str]) -> str:
    """Return the name that is most like what was typed; "" where none is like it."""
    by_folded = {name.casefold(): name for name in names}
    found = difflib.get_close_matches(typed.casefold(), by_folded, n=1)
    return by_folded[found[0]] if found else ""
