"""Which right each rpc needs, on what: the one table, and the check of an admin call by it.

A row says which right (any one of several) and what of the request names the lists and campaigns
that the call is about. What names every list or campaign needs the right on every one. A few rows
say that the handler leaves out what the caller may not see, or checks row by row.

Rows of DialService are enforced in the native core (`ownerd.native`), for both of its listeners;
they stand here so that the table is whole. Health and reflection need nothing and have no row.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, NamedTuple

from ownerd.native import RIGHTS, Identity
from ownerd.server.errors import PermissionDenied

DIAL, VIEW, CONFIGURE, CONTROL, ADMIN = (RIGHTS[name] for name in RIGHTS)
_NAMES = {number: name for name, number in RIGHTS.items()}

# What `Identity.allows` takes for "every one" and for "not asked".
EVERY, NOT_ASKED = "", None


# Returns the lists that share the ownership of one, itself included; none for "".
Sharing = Callable[[str], Iterable[str]]


class Scope(Enum):
    """What a call is about, where no single field of the request says so."""

    NONE = "nothing in particular"
    EVERY = "every one"
    NAMED_OR_SEEN = "those in campaign_ids; of others, what the caller may not see is left out"
    BOTH = "the one that gives and the one that receives"
    NAMED_OR_EVERY = "those in campaign_ids, or every one"
    SEEN = "what the caller may not see is left out"
    ONLY_IF_OR_EVERY = "that of only_if_campaign_id, or every one"
    EACH_ROW = "each row's own; every one where rows may end another's hold"


class Rule(NamedTuple):
    """One row: the rights, any of which is enough, and where lists and campaigns are named.

    Without rights nothing is needed but to be known; with `own` so too where the request names no
    principal: it is about the caller then. `shared` returns of a request the list with which every
    other one that shares its ownership (R28) is concerned, too; "" for none.
    """

    rights: tuple[int, ...]
    lists: str | Scope
    campaigns: str | Scope
    shared: Callable[[Any], str] = lambda _: ""
    own: bool = False


def _rule(
    right: int,
    lists: str | Scope,
    campaigns: str | Scope = Scope.NONE,
    shared: Callable[[Any], str] = lambda _: "",
) -> Rule:
    return Rule((right,), lists, campaigns, shared)


def _own(request: Any) -> str:
    return str(request.list_id)


DIAL_RULES: Mapping[str, Rule] = {
    "Claim": _rule(DIAL, "list_id", "campaign_id"),
    "ClaimBatch": _rule(DIAL, "list_id", "campaign_id"),
    "ReportAttempt": _rule(DIAL, "list_id", "campaign_id"),
    "ReportAttemptBatch": _rule(DIAL, "list_id", "campaign_id"),
    # A holder is named in denials too; to look at one record is a supervisor's as well.
    "GetHolder": Rule((DIAL, VIEW), "list_id", Scope.NONE),
    # Without a list: in those in which the caller may dial for the campaign.
    "GiveBack": _rule(DIAL, "list_id", "campaign_id"),
}

ADMIN_RULES: Mapping[str, Rule] = {
    "CreateContactList": _rule(
        CONFIGURE, "list_id", shared=lambda request: str(request.shares_ownership_with)
    ),
    "GetContactList": _rule(VIEW, "list_id"),
    "ListContactLists": _rule(VIEW, Scope.SEEN),
    # These touch what every campaign owns in the list.
    "DeleteContactList": _rule(CONFIGURE, "list_id", Scope.EVERY),
    "UpdateOwnershipPolicy": _rule(CONFIGURE, "list_id", Scope.EVERY, _own),
    "ListOwners": _rule(CONTROL, "list_id", Scope.SEEN),
    "ReleaseOwnership": _rule(CONTROL, "list_id", Scope.NAMED_OR_EVERY, _own),
    "TransferOwnership": _rule(CONTROL, "list_id", Scope.BOTH, _own),
    "ReleaseRecords": _rule(CONTROL, "list_id", Scope.ONLY_IF_OR_EVERY, _own),
    "ListOwnedRecords": _rule(VIEW, "list_id", Scope.NAMED_OR_SEEN),
    "ImportOwnership": _rule(CONFIGURE, "list_id", Scope.EACH_ROW, _own),
    "ExportOwnership": _rule(VIEW, "list_id", Scope.NAMED_OR_SEEN),
    # Lists that are named are checked by the handler.
    "Watch": _rule(VIEW, Scope.SEEN, Scope.SEEN),
    "UpsertCampaign": _rule(CONFIGURE, Scope.NONE, "campaign_id"),
    "ListCampaigns": _rule(VIEW, Scope.NONE, Scope.SEEN),
    "DeleteCampaign": _rule(CONFIGURE, Scope.EVERY, "campaign_id"),
    "SignalCampaign": _rule(
        CONFIGURE,
        "list_id",
        "campaign_id",
        lambda request: str(request.list_id) if request.end_reservations else "",
    ),
    "UpsertWrapUpCode": _rule(CONFIGURE, Scope.EVERY, Scope.EVERY),
    "ListWrapUpCodes": _rule(VIEW, Scope.NONE),
    "DeleteWrapUpCode": _rule(CONFIGURE, Scope.EVERY, Scope.EVERY),
    "ListUnknownWrapUpCodes": _rule(VIEW, Scope.NONE),
    "GetStoreSettings": _rule(CONFIGURE, Scope.EVERY, Scope.EVERY),
    "UpdateStoreSettings": _rule(CONFIGURE, Scope.EVERY, Scope.EVERY),
    "CreatePrincipal": _rule(ADMIN, Scope.NONE),
    "GetPrincipal": _rule(ADMIN, Scope.NONE),
    "ListPrincipals": _rule(ADMIN, Scope.NONE),
    "UpdatePrincipal": _rule(ADMIN, Scope.NONE),
    "DeletePrincipal": _rule(ADMIN, Scope.NONE),
    "RotateToken": _rule(ADMIN, Scope.NONE)._replace(own=True),
    "RevokeTokens": _rule(ADMIN, Scope.NONE),
    "CheckAccess": _rule(ADMIN, Scope.NONE)._replace(own=True),
    "ListAuditEntries": _rule(VIEW, Scope.EVERY, Scope.EVERY),
    "GetServerStatus": _rule(VIEW, Scope.NONE),
    "GetClusterStatus": _rule(VIEW, Scope.NONE),
    "TransferLeadership": _rule(ADMIN, Scope.NONE),
    "RemoveNode": _rule(ADMIN, Scope.NONE),
    # Everything there is, also who may make calls.
    "BackupStore": _rule(ADMIN, Scope.NONE),
    # Of whoever is known.
    "WhoAmI": Rule((), Scope.NONE, Scope.NONE),
    "Diagnose": _rule(VIEW, Scope.NONE),
    "GetDebugInfo": _rule(ADMIN, Scope.NONE),
    "SetLogLevel": _rule(ADMIN, Scope.NONE),
}

# The metrics page is no rpc, and shows no list and no campaign.
METRICS_RULE = _rule(VIEW, Scope.NONE)


def check(method: str, request: Any, identity: Identity, sharing: Sharing) -> None:
    """Check that a caller may make an admin call.

    Args:
        method: the rpc's name.
        request: its request.
        identity: who makes it.
        sharing: returns the lists that share a list's ownership, itself included.

    Raises:
        PermissionDenied: it may not; the message names the right.
    """
    rule = ADMIN_RULES[method]
    if not rule.rights or (rule.own and not request.principal_id):
        return
    lists = dict.fromkeys((_list(rule, request), *sharing(rule.shared(request))))
    for campaign_id in _campaigns(rule, request):
        for list_id in lists:
            require(identity, rule.rights[0], list_id, campaign_id)


def require(identity: Identity, right: int, list_id: str | None, campaign_id: str | None) -> None:
    """Check that a caller has a right on a list and a campaign ("": every one; None: not asked).

    Raises:
        PermissionDenied: it has not; the message names the right.
    """
    if not identity.allows(right, list_id, campaign_id):
        raise PermissionDenied(
            identity.principal_id, name_of(right), described(list_id, campaign_id)
        )


def name_of(right: int) -> str:
    """Return a right's name."""
    return _NAMES[right]


def described(list_id: str | None, campaign_id: str | None) -> str:
    """Return what a right is asked for, in words."""
    parts = []
    if list_id is not None:
        parts.append(f"list {list_id!r}" if list_id else "every list")
    if campaign_id is not None:
        parts.append(f"campaign {campaign_id!r}" if campaign_id else "every campaign")
    return " and ".join(parts)


def _list(rule: Rule, request: Any) -> str | None:
    if isinstance(rule.lists, str):
        # An empty field stands for every list where it may be empty, and is refused elsewhere.
        return str(getattr(request, rule.lists))
    return EVERY if rule.lists is Scope.EVERY else NOT_ASKED


def _campaigns(rule: Rule, request: Any) -> Iterable[str | None]:
    """Return the campaigns to check, at least one."""
    scope = rule.campaigns
    if isinstance(scope, str):
        return [getattr(request, scope)]
    if scope is Scope.EVERY:
        return [EVERY]
    if scope is Scope.ONLY_IF_OR_EVERY:
        return [request.only_if_campaign_id]
    if scope is Scope.BOTH:
        return [request.from_campaign_id, request.to_campaign_id]
    if scope in (Scope.NAMED_OR_EVERY, Scope.NAMED_OR_SEEN) and request.campaign_ids:
        return list(request.campaign_ids)
    return [EVERY] if scope is Scope.NAMED_OR_EVERY else [NOT_ASKED]
