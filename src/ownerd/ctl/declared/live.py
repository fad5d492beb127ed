"""A server's configuration: read into the form of a file, and changed one thing at a time.

Each change goes with the etag of what it was planned on, where the server keeps one: what somebody
else has changed meanwhile is not overwritten.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from ownerd import durations
from ownerd.ctl.connect.channel import Connection
from ownerd.ctl.declared import form
from ownerd.ctl.declared.form import Fields, Grant
from ownerd.ctl.declared.plan import Change, Found
from ownerd.ctl.terminal.exits import CtlError
from ownerd.v1 import admin_pb2 as pb

MEANINGS = {
    "refuse": pb.UNKNOWN_CODE_MEANING_REFUSE,
    "attempt": pb.UNKNOWN_CODE_MEANING_ATTEMPT,
    "no-attempt": pb.UNKNOWN_CODE_MEANING_NO_ATTEMPT,
}
RIGHTS: dict[str, pb.Right] = {name: getattr(pb, f"RIGHT_{name.upper()}") for name in form.RIGHTS}


# ---- reading


def read(connection: Connection, sections: Collection[str]) -> dict[str, dict[str, Found]]:
    """Return what the server has of some sections, as far as the caller may see it."""
    return {
        section.name: dict(_READ[section.name](connection))
        for section in form.SECTIONS
        if section.name in sections
    }


def as_file(state: Mapping[str, Mapping[str, Found]]) -> dict[str, Any]:
    """Return what the server has as a file would have it."""
    shown: dict[str, Any] = {}
    for section in form.SECTIONS:
        if section.name not in state:
            continue
        things = {
            thing_id: form.spelled_thing(section, _declarable(thing_id, found))
            for thing_id, found in state[section.name].items()
        }
        shown[section.name] = things if section.key_bytes else things.get(form.ONLY, {})
    return shown


def _declarable(thing_id: str, found: Found) -> Fields:
    """Return the fields that a file has: of lists that share, the first has the policy."""
    first = min(found.group, key=str.encode, default=thing_id)
    return found.fields if first == thing_id else {form.SHARES: first}


def _settings(connection: Connection) -> Iterator[tuple[str, Found]]:
    answer = connection.ask(connection.admin.GetStoreSettings, pb.GetStoreSettingsRequest())
    names = {number: name for name, number in MEANINGS.items()}
    meaning = names.get(answer.settings.unknown_wrap_up_code, "refuse")
    yield form.ONLY, Found({"unknown_wrap_up_code": meaning})


def _codes(connection: Connection) -> Iterator[tuple[str, Found]]:
    for page in connection.pages(connection.admin.ListWrapUpCodes, pb.ListWrapUpCodesRequest()):
        for code in page.codes:
            yield (
                code.code,
                Found(
                    {
                        "category": code.category,
                        "counts_as_attempt": code.counts_as_attempt,
                        "success": code.success,
                    }
                ),
            )


def _lists(connection: Connection) -> Iterator[tuple[str, Found]]:
    for page in connection.pages(connection.admin.ListContactLists, pb.ListContactListsRequest()):
        for each in page.lists:
            others = tuple(each.shares_ownership_with)
            group = (each.list_id, *others) if others else ()
            ordered = tuple(sorted(group, key=str.encode))
            yield each.list_id, Found(policy_fields(each.policy), each.etag, ordered)


def policy_fields(policy: pb.OwnershipPolicy) -> dict[str, Any]:
    """Return a policy as the form has it."""

    def length(name: str) -> int | None:
        if not policy.HasField(name):
            return None
        return int(getattr(policy, name).ToNanoseconds())

    return {
        "enabled": policy.enabled,
        **{name: length(name) for name in ("duration", "renewal_window", "reservation_ttl")},
    }


def _campaigns(connection: Connection) -> Iterator[tuple[str, Found]]:
    for page in connection.pages(connection.admin.ListCampaigns, pb.ListCampaignsRequest()):
        for each in page.campaigns:
            yield each.campaign_id, Found({"name": each.name})


def _principals(connection: Connection) -> Iterator[tuple[str, Found]]:
    for page in connection.pages(connection.admin.ListPrincipals, pb.ListPrincipalsRequest()):
        for each in page.principals:
            fields = {
                "grants": tuple(sorted({_grant(grant) for grant in each.grants})),
                "hide_holders": each.hide_holders,
                "certificate_names": tuple(sorted(set(each.certificate_names))),
                "calls_per_s": each.calls_per_s,
                "records_per_s": each.records_per_s,
            }
            yield each.principal_id, Found(fields, each.etag, token_count=len(each.tokens))


def _grant(grant: pb.Grant) -> Grant:
    names = {number: name for name, number in RIGHTS.items()}
    right = names.get(grant.right, f"right {grant.right}")
    return Grant(right, tuple(sorted(set(grant.lists))), tuple(sorted(set(grant.campaigns))))


_READ: Mapping[str, Callable[[Connection], Iterator[tuple[str, Found]]]] = {
    "settings": _settings,
    "wrapup_codes": _codes,
    "lists": _lists,
    "campaigns": _campaigns,
    "principals": _principals,
}


# ---- what a change would end


def ends(connection: Connection, changes: Collection[Change]) -> list[str]:
    """Return what changes would end: holds, and what somebody signs in with or may do."""
    gone = {
        each.thing_id for each in changes if each.section is form.LISTS and each.action == "delete"
    }
    return [
        f"{count:,} {noun if count == 1 else _plural(noun)} of {change.title}"
        for change in changes
        for count, noun in _ended(connection, change, gone)
        if count
    ]


def _plural(noun: str) -> str:
    return "ownerships sooner" if noun == _SOONER else f"{noun}s"


_SOONER = "ownership sooner"


def _ended(connection: Connection, change: Change, gone: Collection[str]) -> list[tuple[int, str]]:
    key = (change.section.name, change.action)
    if key == ("lists", "update") and "duration" in change.after:
        request = _policy_update(change, etag="")
        would = connection.try_out(connection.admin.UpdateOwnershipPolicy, request)
        return [(would.shortened_count, _SOONER)]
    if key == ("lists", "delete"):
        return _of_list(connection, change, gone)
    if key == ("campaigns", "delete"):
        left = pb.DeleteCampaignRequest(campaign_id=change.thing_id, force=True)
        freed = connection.try_out(connection.admin.DeleteCampaign, left)
        return [(freed.released_count, "ownership"), (freed.reserved_count, "reservation")]
    if change.section is form.PRINCIPALS and change.action != "create":
        tokens = change.found.token_count if change.found and change.action == "delete" else 0
        names = (("grants", "grant"), ("certificate_names", "certificate name"))
        taken = [
            (len(set(change.before.get(name, ())) - set(change.after.get(name, ()))), noun)
            for name, noun in names
        ]
        return [*taken, (tokens, "token")]
    return []


def _of_list(
    connection: Connection, change: Change, gone: Collection[str]
) -> list[tuple[int, str]]:
    """Return the holds that end with a list; those of a group go with the last of its lists."""
    group = change.found.group if change.found else ()
    if not group:
        request = pb.DeleteContactListRequest(list_id=change.thing_id, force=True)
        would = connection.try_out(connection.admin.DeleteContactList, request)
        return [(would.owned_count, "ownership"), (would.reserved_count, "reservation")]
    if change.thing_id != group[0] or not set(group) <= set(gone):
        return []
    owners = connection.ask(
        connection.admin.ListOwners, pb.ListOwnersRequest(list_id=change.thing_id)
    )
    return [(owners.total_owned_count, "ownership"), (owners.total_reserved_count, "reservation")]


# ---- changing


def carry_out(
    connection: Connection, change: Change, reason: str, *, with_token: bool = False
) -> str:
    """Make a change; return the token of a principal that was made with one, else "".

    Raises:
        CtlError: the server refused it; the message says where the file declares it.
    """
    try:
        if change.action == "delete":
            return _delete(connection, change, reason)
        return _CHANGE[change.section.name](connection, change, reason, with_token)
    except CtlError as error:
        place = f"{change.place}: " if change.place else ""
        raise CtlError(error.exit_code, f"{place}{change.title}: {error}") from error


def _change_settings(connection: Connection, change: Change, reason: str, _: bool) -> str:
    settings = pb.StoreSettings()
    if meaning := change.after.get("unknown_wrap_up_code"):
        settings.unknown_wrap_up_code = MEANINGS[meaning]
    request = pb.UpdateStoreSettingsRequest(
        settings=settings, update_mask=FieldMask(paths=list(change.after)), reason=reason
    )
    connection.change(connection.admin.UpdateStoreSettings, request)
    return ""


def _change_code(connection: Connection, change: Change, reason: str, _: bool) -> str:
    # A code is written whole: what the file does not name stays as it was.
    fields = {**(change.found.fields if change.found else {}), **change.after}
    code = pb.WrapUpCode(code=change.thing_id, **fields)
    request = pb.UpsertWrapUpCodeRequest(code=code, reason=reason)
    connection.change(connection.admin.UpsertWrapUpCode, request)
    return ""


def _change_list(connection: Connection, change: Change, reason: str, _: bool) -> str:
    if change.action == "update":
        etag = change.found.etag if change.found else ""
        update = _policy_update(change, etag, reason)
        connection.change(connection.admin.UpdateOwnershipPolicy, update)
        return ""
    shares = change.after.get(form.SHARES, "")
    request = pb.CreateContactListRequest(
        list_id=change.thing_id, shares_ownership_with=shares, reason=reason
    )
    if not shares:
        request.policy.CopyFrom(_policy(change.after))
    connection.change(connection.admin.CreateContactList, request)
    return ""


def _policy(fields: Fields) -> pb.OwnershipPolicy:
    policy = pb.OwnershipPolicy()
    for name, value in fields.items():
        if name == "enabled":
            policy.enabled = value
        elif value is not None:
            getattr(policy, name).CopyFrom(durations.to_message(value))
        elif name == "duration":
            policy.no_expiration = True
    return policy


def _policy_update(change: Change, etag: str, reason: str = "") -> pb.UpdateOwnershipPolicyRequest:
    # A window that is masked and absent goes back to its default.
    paths = ["expiration" if name == "duration" else name for name in change.after]
    return pb.UpdateOwnershipPolicyRequest(
        list_id=change.thing_id,
        policy=_policy(change.after),
        update_mask=FieldMask(paths=paths),
        etag=etag,
        reason=reason,
    )


def _change_campaign(connection: Connection, change: Change, reason: str, _: bool) -> str:
    request = pb.UpsertCampaignRequest(
        campaign_id=change.thing_id, name=change.after.get("name", ""), reason=reason
    )
    connection.change(connection.admin.UpsertCampaign, request)
    return ""


def _change_principal(connection: Connection, change: Change, reason: str, with_token: bool) -> str:
    fields = dict(change.after)
    if "grants" in fields:
        fields["grants"] = [
            pb.Grant(right=RIGHTS[each.right], lists=each.lists, campaigns=each.campaigns)
            for each in fields["grants"]
        ]
    principal = pb.Principal(principal_id=change.thing_id, **fields)
    if change.action == "create":
        request = pb.CreatePrincipalRequest(
            principal=principal, no_token=not with_token, reason=reason
        )
        return str(connection.change(connection.admin.CreatePrincipal, request).token)
    update = pb.UpdatePrincipalRequest(
        principal=principal,
        update_mask=FieldMask(paths=list(fields)),
        etag=change.found.etag if change.found else "",
        reason=reason,
    )
    connection.change(connection.admin.UpdatePrincipal, update)
    return ""


_CHANGE: Mapping[str, Callable[[Connection, Change, str, bool], str]] = {
    "settings": _change_settings,
    "wrapup_codes": _change_code,
    "lists": _change_list,
    "campaigns": _change_campaign,
    "principals": _change_principal,
}


def _delete(connection: Connection, change: Change, reason: str) -> str:
    name, admin = change.thing_id, connection.admin
    if change.section is form.LISTS:
        etag = change.found.etag if change.found else ""
        gone = pb.DeleteContactListRequest(list_id=name, force=True, etag=etag, reason=reason)
        connection.change(admin.DeleteContactList, gone)
    elif change.section is form.CAMPAIGNS:
        left = pb.DeleteCampaignRequest(campaign_id=name, force=True, reason=reason)
        connection.change(admin.DeleteCampaign, left)
    elif change.section is form.PRINCIPALS:
        connection.change(
            admin.DeletePrincipal, pb.DeletePrincipalRequest(principal_id=name, reason=reason)
        )
    else:
        code = pb.DeleteWrapUpCodeRequest(code=name, reason=reason)
        connection.change(admin.DeleteWrapUpCode, code)
    return ""
