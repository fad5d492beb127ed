"""The principals of the AdminService: who may make calls, their rights and tokens."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, cast

from google.protobuf.field_mask_pb2 import FieldMask

from ownerd.client import values
from ownerd.client.requests.call import (
    ADMIN,
    PAGE_SIZE,
    Call,
    Page,
    fresh_request_id,
    id_list,
    members,
    read_time,
    text,
    write_length,
)
from ownerd.client.values import Grant, Right, Unchanged
from ownerd.v1 import admin_pb2

_right = members(Right)


def _write_grants(grants: Iterable[Grant]) -> list[admin_pb2.Grant]:
    return [
        admin_pb2.Grant(
            right=cast(admin_pb2.Right, grant.right),
            lists=id_list(grant.lists),
            campaigns=id_list(grant.campaigns),
        )
        for grant in grants
    ]


def _write_principal(principal_id: str, fields: Mapping[str, Any]) -> admin_pb2.Principal:
    written = dict(fields)
    if "grants" in written:
        written["grants"] = _write_grants(written["grants"])
    if "certificate_names" in written:
        written["certificate_names"] = id_list(written["certificate_names"])
    return admin_pb2.Principal(principal_id=principal_id, **written)


def _read_principal(message: Any) -> values.Principal:
    return values.Principal(
        principal_id=message.principal_id,
        grants=tuple(
            Grant(_right(grant.right), tuple(grant.lists), tuple(grant.campaigns))
            for grant in message.grants
        ),
        hide_holders=message.hide_holders,
        certificate_names=tuple(message.certificate_names),
        calls_per_s=message.calls_per_s,
        records_per_s=message.records_per_s,
        tokens=tuple(
            values.Token(
                token_id=token.token_id,
                create_time=read_time(token, "create_time"),
                expire_time=read_time(token, "expire_time"),
            )
            for token in message.tokens
        ),
        etag=message.etag,
        create_time=read_time(message, "create_time"),
        update_time=read_time(message, "update_time"),
    )


def _read_principal_response(response: Any) -> values.Principal:
    return _read_principal(response.principal)


def _read_issued(response: Any) -> values.Issued:
    return values.Issued(_read_principal(response.principal), response.token, response.revision)


def create_principal(
    principal_id: str,
    grants: Iterable[Grant],
    settings: Mapping[str, Any],
    no_token: bool,
    token_ttl: timedelta | None,
    reason: str,
    request_id: str | None,
) -> Call[values.Issued]:
    """Build `CreatePrincipal`; `settings` are the other fields of the principal by their names."""
    request = admin_pb2.CreatePrincipalRequest(
        principal=_write_principal(principal_id, {"grants": grants, **settings}),
        no_token=no_token,
        token_ttl=write_length(token_ttl),
        reason=reason,
        request_id=fresh_request_id(request_id),
    )
    return Call(ADMIN, "CreatePrincipal", request, _read_issued)


def get_principal(principal_id: str) -> Call[values.Principal]:
    """Build `GetPrincipal`."""
    request = admin_pb2.GetPrincipalRequest(principal_id=principal_id)
    return Call(ADMIN, "GetPrincipal", request, _read_principal_response)


def principals_page(token: str) -> Call[Page[values.Principal]]:
    """Build one page of `ListPrincipals`."""
    request = admin_pb2.ListPrincipalsRequest(page_size=PAGE_SIZE, page_token=token)
    return Call(
        ADMIN,
        "ListPrincipals",
        request,
        lambda r: Page([_read_principal(item) for item in r.principals], r.next_page_token),
    )


def set_principal(
    principal_id: str, settings: Mapping[str, Any], etag: str, reason: str, request_id: str | None
) -> Call[values.Principal]:
    """Build `UpdatePrincipal`; `settings` are fields of the principal by their names.

    Raises ValueError when nothing is to change: an empty mask would mean all of them.
    """
    given = {name: value for name, value in settings.items() if not isinstance(value, Unchanged)}
    if not given:
        raise ValueError("nothing to change: give at least one part of the principal")
    request = admin_pb2.UpdatePrincipalRequest(
        principal=_write_principal(principal_id, given),
        update_mask=FieldMask(paths=list(given)),
        etag=etag,
        reason=reason,
        request_id=fresh_request_id(request_id),
    )
    return Call(ADMIN, "UpdatePrincipal", request, _read_principal_response)


def delete_principal(principal_id: str, reason: str, request_id: str | None) -> Call[int]:
    """Build `DeletePrincipal`."""
    request = admin_pb2.DeletePrincipalRequest(
        principal_id=principal_id, reason=reason, request_id=fresh_request_id(request_id)
    )
    return Call(ADMIN, "DeletePrincipal", request, lambda response: response.revision)


def rotate_token(
    principal_id: str, token_ttl: timedelta | None, reason: str, request_id: str | None
) -> Call[values.Issued]:
    """Build `RotateToken`."""
    request = admin_pb2.RotateTokenRequest(
        principal_id=principal_id,
        token_ttl=write_length(token_ttl),
        reason=reason,
        request_id=fresh_request_id(request_id),
    )
    return Call(ADMIN, "RotateToken", request, _read_issued)


def revoke_tokens(
    principal_id: str,
    token_ids: Iterable[str],
    all_tokens: bool,
    reason: str,
    request_id: str | None,
) -> Call[int]:
    """Build `RevokeTokens`."""
    request = admin_pb2.RevokeTokensRequest(
        principal_id=principal_id,
        all_tokens=all_tokens,
        token_ids=id_list(token_ids),
        reason=reason,
        request_id=fresh_request_id(request_id),
    )
    return Call(ADMIN, "RevokeTokens", request, lambda response: response.revoked_count)


def check_access(
    principal_id: str, right: Right, list_id: str, campaign_id: str
) -> Call[values.Access]:
    """Build `CheckAccess`."""
    request = admin_pb2.CheckAccessRequest(
        principal_id=principal_id,
        right=cast(admin_pb2.Right, right),
        list_id=text("list_id", list_id),
        campaign_id=text("campaign_id", campaign_id),
    )
    return Call(ADMIN, "CheckAccess", request, lambda r: values.Access(r.allowed, r.explanation))
