"""Principals: who may make calls, their rights and their tokens.

A token is in the answer to the call that made it and nowhere else: not in the audit, not in what is
remembered for a repeat of the call.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

from ownerd import limits
from ownerd.native import RIGHTS, Engine
from ownerd.server import rights
from ownerd.server.admin import convert, page_tokens, validate
from ownerd.server.admin.audited_change import Answer, Change, audited
from ownerd.server.admin.context import AdminContext, Caller, Handler
from ownerd.server.errors import (
    InvalidField,
    PermissionDenied,
    PrincipalExists,
    PrincipalNotFound,
    StalePrincipal,
    Words,
)
from ownerd.server.principals import (
    ANONYMOUS,
    ITSELF,
    Grant,
    Principal,
    Token,
    changed_at,
    new_token,
    with_token,
)
from ownerd.v1 import admin_pb2

_GRANT_COUNT = 100
_PATTERN_COUNT = 100
_NAME_COUNT = 20
_NAME_KINDS = ("DNS:", "URI:", "email:", "IP:")
_TOKEN_ID_BYTES = 16

# Names in an update mask, and the fields of Principal that each sets.
_PATHS: Mapping[str, str] = {
    "grants": "grants",
    "hide_holders": "hide_holders",
    "certificate_names": "names",
    "calls_per_s": "calls_per_s",
    "records_per_s": "records_per_s",
}


# ---- what a request says


def read(message: admin_pb2.Principal) -> Principal:
    """Return the principal that a message describes, without tokens.

    Raises:
        InvalidField: a field outside its limits.
    """
    principal_id = _id(message.principal_id, "principal.principal_id")
    return Principal(
        principal_id,
        grants=_read_grants(message.grants),
        hide_holders=message.hide_holders,
        names=_read_names(message.certificate_names),
        calls_per_s=_read_rate("calls_per_s", message.calls_per_s),
        records_per_s=_read_rate("records_per_s", message.records_per_s),
    )


def _id(value: str, field: str = "principal_id") -> str:
    validate.text(field, value, limits.PRINCIPAL_ID_BYTES)
    if value in (ANONYMOUS, ITSELF) or not value.isprintable():
        allowed = f"printable characters, and neither {ANONYMOUS!r} nor {ITSELF!r}"
        raise InvalidField(field, value, allowed)
    return value


def _read_grants(messages: Iterable[admin_pb2.Grant]) -> tuple[Grant, ...]:
    grants = tuple(_read_grant(f"principal.grants[{i}]", each) for i, each in enumerate(messages))
    if len(grants) > _GRANT_COUNT:
        raise InvalidField("principal.grants", Words(f"{len(grants)}"), f"up to {_GRANT_COUNT}")
    return grants


def _read_grant(field: str, message: admin_pb2.Grant) -> Grant:
    _read_right(f"{field}.right", message.right)
    lists = _read_patterns(f"{field}.lists", message.lists, limits.LIST_ID_BYTES)
    campaigns = _read_patterns(f"{field}.campaigns", message.campaigns, limits.CAMPAIGN_ID_BYTES)
    if message.right == rights.ADMIN and (lists or campaigns):
        raise InvalidField(
            field, Words("patterns for the right admin"), "none: it is for every list and campaign"
        )
    return Grant(message.right, lists, campaigns)


def _read_right(field: str, right: int) -> int:
    if right not in RIGHTS.values():
        allowed = ", ".join(f"RIGHT_{name.upper()}" for name in RIGHTS)
        raise InvalidField(field, right, allowed)
    return right


def _read_patterns(field: str, patterns: Iterable[str], longest: int) -> tuple[str, ...]:
    found = tuple(patterns)
    if len(found) > _PATTERN_COUNT:
        raise InvalidField(field, Words(f"{len(found)} patterns"), f"up to {_PATTERN_COUNT}")
    for index, pattern in enumerate(found):
        validate.text(f"{field}[{index}]", pattern, longest)
    return found


def _read_names(names: Iterable[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(names))
    if len(found) > _NAME_COUNT:
        raise InvalidField(
            "principal.certificate_names", Words(f"{len(found)} names"), f"up to {_NAME_COUNT}"
        )
    for index, name in enumerate(found):
        field = f"principal.certificate_names[{index}]"
        validate.text(field, name, limits.CERTIFICATE_NAME_BYTES)
        if not name.isprintable() or not any(
            name.startswith(kind) and name != kind for kind in _NAME_KINDS
        ):
            allowed = f"a name that begins with one of {', '.join(_NAME_KINDS)}"
            raise InvalidField(field, name, allowed)
    return found


def _read_rate(field: str, value: int) -> int:
    if not 0 <= value <= limits.RATE_PER_S:
        raise InvalidField(f"principal.{field}", value, f"0 (no limit) to {limits.RATE_PER_S:,}")
    return value


def _read_ttl(request: Any) -> int | None:
    if not request.HasField("token_ttl"):
        return None
    return convert.length_ns("token_ttl", request.token_ttl, convert.SECOND_NS)


# ---- what an answer says


def message(principal: Principal, engine: Engine) -> admin_pb2.Principal:
    """Return a principal's message; of its tokens those that are valid now."""
    return admin_pb2.Principal(
        principal_id=principal.principal_id,
        grants=[
            admin_pb2.Grant(
                right=cast(admin_pb2.Right, grant.right),
                lists=grant.lists,
                campaigns=grant.campaigns,
            )
            for grant in principal.grants
        ],
        hide_holders=principal.hide_holders,
        certificate_names=principal.names,
        calls_per_s=principal.calls_per_s,
        records_per_s=principal.records_per_s,
        tokens=map(_token_message, principal.valid_tokens(engine.time_ns)),
        etag=_etag(principal, engine),
        create_time=convert.time_of(principal.create_ns),
        update_time=convert.time_of(principal.update_ns),
    )


def _etag(principal: Principal, engine: Engine) -> str:
    return f"{principal.version}-{engine.incarnation:016x}"


def _token_message(token: Token) -> admin_pb2.Token:
    return admin_pb2.Token(
        token_id=token.token_id,
        create_time=convert.time_of(token.create_ns),
        expire_time=convert.optional_time_of(token.expire_ns),
    )


def _described(principal: Principal) -> dict[str, Any]:
    """Return a principal as the audit's detail shows it."""
    return {
        "principal_id": principal.principal_id,
        "grants": [
            {
                "right": rights.name_of(grant.right),
                "lists": grant.lists,
                "campaigns": grant.campaigns,
            }
            for grant in principal.grants
        ],
        "hide_holders": principal.hide_holders,
        "certificate_names": principal.names,
        "calls_per_s": principal.calls_per_s,
        "records_per_s": principal.records_per_s,
        "token_ids": [token.token_id for token in principal.tokens],
    }


# ---- the rpcs


def _known(context: AdminContext, principal_id: str) -> Principal:
    found = context.principals.get(_id(principal_id))
    if found is None:
        raise PrincipalNotFound(principal_id)
    return found


def _write(
    context: AdminContext,
    change: Change[Answer],
    principal: Principal,
    before: Principal | None,
    answer: Answer,
    detail: Mapping[str, Any],
) -> Answer:
    """Check and write a principal; return the filled answer. `detail` is for the audit."""
    context.principals.check(principal, before)
    shown: Any = answer  # the answer to every one of these changes has the principal
    shown.principal.CopyFrom(message(principal, context.engine))
    return context.principals.write(principal, change.make, detail=detail, answer=answer)


@audited(admin_pb2.CreatePrincipalResponse)
def _create(
    context: AdminContext,
    request: admin_pb2.CreatePrincipalRequest,
    change: Change[admin_pb2.CreatePrincipalResponse],
) -> admin_pb2.CreatePrincipalResponse:
    draft = read(request.principal)
    ttl_ns = _read_ttl(request)
    with context.principals.changing():
        if (answer := change.first_answer()) is not None:
            return answer
        if context.principals.get(draft.principal_id) is not None:
            raise PrincipalExists(draft.principal_id)
        now_ns = context.engine.time_ns
        principal = msgspec.structs.replace(draft, create_ns=now_ns, update_ns=now_ns)
        token = "" if request.no_token else new_token()
        if token:
            principal = with_token(principal, token, now_ns, _end(now_ns, ttl_ns))
        answer = _write(
            context,
            change,
            principal,
            None,
            admin_pb2.CreatePrincipalResponse(),
            {"principal": _described(principal)},
        )
    answer.token = token
    return answer


def _end(now_ns: int, ttl_ns: int | None) -> int | None:
    return None if ttl_ns is None else now_ns + ttl_ns


def _get(
    context: AdminContext, request: admin_pb2.GetPrincipalRequest, _: Caller
) -> admin_pb2.GetPrincipalResponse:
    found = _known(context, request.principal_id)
    return admin_pb2.GetPrincipalResponse(principal=message(found, context.engine))


def _list(
    context: AdminContext, request: admin_pb2.ListPrincipalsRequest, _: Caller
) -> admin_pb2.ListPrincipalsResponse:
    size = validate.page_size(request.page_size)
    found = context.principals.page(
        page_tokens.decode_text(request, context.engine.incarnation), size + 1
    )
    cursor = found[size - 1].principal_id.encode() if len(found) > size else b""
    return admin_pb2.ListPrincipalsResponse(
        principals=[message(each, context.engine) for each in found[:size]],
        next_page_token=page_tokens.encode(request, cursor, context.engine.incarnation),
    )


@audited(admin_pb2.UpdatePrincipalResponse)
def _update(
    context: AdminContext,
    request: admin_pb2.UpdatePrincipalRequest,
    change: Change[admin_pb2.UpdatePrincipalResponse],
) -> admin_pb2.UpdatePrincipalResponse:
    draft = read(request.principal)
    paths = list(request.update_mask.paths)
    for path in paths:
        if path not in _PATHS and paths != ["*"]:
            raise InvalidField("update_mask", path, f"{', '.join(_PATHS)}, or * alone for all")
    fields = _PATHS.values() if paths in ([], ["*"]) else [_PATHS[path] for path in paths]
    with context.principals.changing():
        if (answer := change.first_answer()) is not None:
            return answer
        before = _known(context, draft.principal_id)
        if request.etag and request.etag != (current := _etag(before, context.engine)):
            raise StalePrincipal(request.etag, current)
        principal = changed_at(
            before, context.engine.time_ns, **{name: getattr(draft, name) for name in fields}
        )
        return _write(
            context,
            change,
            principal,
            before,
            admin_pb2.UpdatePrincipalResponse(),
            {"before": _described(before), "after": _described(principal)},
        )


@audited(admin_pb2.DeletePrincipalResponse)
def _delete(
    context: AdminContext,
    request: admin_pb2.DeletePrincipalRequest,
    change: Change[admin_pb2.DeletePrincipalResponse],
) -> admin_pb2.DeletePrincipalResponse:
    _id(request.principal_id)
    with context.principals.changing():
        if (answer := change.first_answer()) is not None:
            return answer
        before = _known(context, request.principal_id)
        context.principals.check(None, before)
        return context.principals.delete(
            before.principal_id, change.make, detail={"principal": _described(before)}
        )


@audited(admin_pb2.RotateTokenResponse)
def _rotate(
    context: AdminContext,
    request: admin_pb2.RotateTokenRequest,
    change: Change[admin_pb2.RotateTokenResponse],
) -> admin_pb2.RotateTokenResponse:
    principal_id = request.principal_id or change.caller.principal
    _id(principal_id)
    ttl_ns = _read_ttl(request)
    with context.principals.changing():
        if (answer := change.first_answer()) is not None:
            return answer
        before = _known(context, principal_id)
        if not request.principal_id:
            ttl_ns = _own_ttl(before, change.caller, ttl_ns)
        token, now_ns = new_token(), context.engine.time_ns
        principal = with_token(before, token, now_ns, _end(now_ns, ttl_ns))
        answer = _write(
            context,
            change,
            principal,
            before,
            admin_pb2.RotateTokenResponse(),
            {
                "principal_id": before.principal_id,
                "token_id": principal.tokens[-1].token_id,
                "ended_token_ids": _ended(before, principal, now_ns),
            },
        )
    answer.token = token
    return answer


def _own_ttl(principal: Principal, caller: Caller, wanted_ns: int | None) -> int | None:
    """Return how long a token is valid that somebody makes for themselves.

    No longer than the one that they have: else whoever finds a token that is to end keeps it.

    Raises:
        PermissionDenied: they do not ask with a token, but a certificate.
        InvalidField: they ask for longer.
    """
    used = next((each for each in principal.tokens if each.token_id == caller.token_id), None)
    if used is None:
        raise PermissionDenied(caller.principal, rights.name_of(rights.ADMIN), "")
    if used.expire_ns is None:
        return wanted_ns
    most_ns = used.expire_ns - used.create_ns
    if wanted_ns is not None and wanted_ns > most_ns:
        allowed = f"up to {most_ns / convert.SECOND_NS:g}s, as the token that asks was made for"
        raise InvalidField("token_ttl", Words(f"{wanted_ns / convert.SECOND_NS:g}s"), allowed)
    return most_ns if wanted_ns is None else wanted_ns


def _ended(before: Principal, after: Principal, now_ns: int) -> list[str]:
    """Return the ids of the tokens that were valid and are gone."""
    return [each.token_id for each in before.valid_tokens(now_ns) if each not in after.tokens]


@audited(admin_pb2.RevokeTokensResponse)
def _revoke(
    context: AdminContext,
    request: admin_pb2.RevokeTokensRequest,
    change: Change[admin_pb2.RevokeTokensResponse],
) -> admin_pb2.RevokeTokensResponse:
    _id(request.principal_id)
    wanted = _tokens_to_revoke(request)
    with context.principals.changing():
        if (answer := change.first_answer()) is not None:
            return answer
        before, now_ns = _known(context, request.principal_id), context.engine.time_ns
        kept = tuple(
            each
            for each in before.valid_tokens(now_ns)
            if wanted is not None and each.token_id not in wanted
        )
        principal = changed_at(before, now_ns, tokens=kept)
        ended = _ended(before, principal, now_ns)
        return _write(
            context,
            change,
            principal,
            before,
            admin_pb2.RevokeTokensResponse(revoked_count=len(ended)),
            {"principal_id": before.principal_id, "ended_token_ids": ended},
        )


def _tokens_to_revoke(request: admin_pb2.RevokeTokensRequest) -> set[str] | None:
    """Return the tokens, None for all; exactly one of the two must be asked for."""
    validate.exactly_one("all_tokens and token_ids", request.all_tokens, bool(request.token_ids))
    for index, token_id in enumerate(request.token_ids):
        field = f"token_ids[{index}]"
        if len(token_id) != _TOKEN_ID_BYTES or not set(token_id) <= set("0123456789abcdef"):
            # Whoever gives the token itself by mistake must not find it in an error or a log.
            found = Words(f"{len(token_id)} characters")
            raise InvalidField(field, found, f"{_TOKEN_ID_BYTES} hexadecimal digits")
    return None if request.all_tokens else set(request.token_ids)


def _check(
    context: AdminContext, request: admin_pb2.CheckAccessRequest, caller: Caller
) -> admin_pb2.CheckAccessResponse:
    right = _read_right("right", request.right)
    validate.text("list_id", request.list_id, limits.LIST_ID_BYTES, required=False)
    validate.text("campaign_id", request.campaign_id, limits.CAMPAIGN_ID_BYTES, required=False)
    if not request.principal_id and caller.principal == ANONYMOUS:
        return admin_pb2.CheckAccessResponse(
            allowed=True, explanation="this server asks nobody, and lets everybody do everything"
        )
    principal = _known(context, request.principal_id or caller.principal)
    where = rights.described(request.list_id, request.campaign_id)
    allowed = context.principals.allows(principal, right, request.list_id, request.campaign_id)
    words = f"has the right {rights.name_of(right)} on {where}"
    if not allowed:
        words = f"lacks the right {rights.name_of(right)} on {where}"
    elif not principal.names and not principal.valid_tokens(context.engine.time_ns):
        words += ", but nothing to sign in with: it has no valid token and no certificate"
    return admin_pb2.CheckAccessResponse(
        allowed=allowed, explanation=f"{principal.principal_id!r} {words}"
    )


HANDLERS: Mapping[str, Handler] = {
    "CreatePrincipal": _create,
    "GetPrincipal": _get,
    "ListPrincipals": _list,
    "UpdatePrincipal": _update,
    "DeletePrincipal": _delete,
    "RotateToken": _rotate,
    "RevokeTokens": _revoke,
    "CheckAccess": _check,
}
