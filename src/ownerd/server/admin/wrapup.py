"""Wrap-up codes: what each means for ownership, and the categories that new ones fall in."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ownerd.native import DEFAULT_CODES
from ownerd.server.admin import convert, page_tokens, validate
from ownerd.server.admin.audited_change import Change, audited
from ownerd.server.admin.context import AdminContext, Caller, Handler
from ownerd.server.errors import InvalidField, Words
from ownerd.v1 import admin_pb2


class Meaning(NamedTuple):
    """What an attempt that ends with a code is."""

    counts_as_attempt: bool
    success: bool


# The codes as shipped are the categories, whatever becomes of the codes.
CATEGORIES: Mapping[str, Meaning] = {
    code: Meaning(counts, success) for code, counts, success in DEFAULT_CODES
}


@audited(admin_pb2.UpsertWrapUpCodeResponse)
def _upsert(
    context: AdminContext,
    request: admin_pb2.UpsertWrapUpCodeRequest,
    change: Change[admin_pb2.UpsertWrapUpCodeResponse],
) -> admin_pb2.UpsertWrapUpCodeResponse:
    if not request.HasField("code"):
        raise InvalidField("code", Words("none"), "the whole wrap-up code")
    code = _completed(request.code)
    kept = (code.category, code.counts_as_attempt, code.success)
    with context.change_lock:
        before = context.engine.code(code.code)
        return change.make(
            context.engine.upsert_code,
            code.code,
            *kept,
            detail={"code": code.code, "before": _described(before), "after": _described(kept)},
            answer=admin_pb2.UpsertWrapUpCodeResponse(code=code),
        )


def _described(kept: tuple[str, bool, bool] | None) -> dict[str, Any] | None:
    """Return what a code means as the audit's detail shows it; None where there is none."""
    if kept is None:
        return None
    return dict(zip(("category", "counts_as_attempt", "success"), kept, strict=True))


def _completed(code: admin_pb2.WrapUpCode) -> admin_pb2.WrapUpCode:
    """Return the code with category and flags filled in.

    Raises:
        InvalidField: an unknown category, or a success that does not count as an attempt.
    """
    validate.new_code(code.code, "code.code")
    category = code.category or code.code
    if category not in CATEGORIES:
        allowed = f"one of {', '.join(CATEGORIES)}"
        if not code.category:
            allowed += "; it may be left empty only where the code itself is one of them"
        raise InvalidField("code.category", code.category, allowed)
    shipped = CATEGORIES[category]
    counts = shipped.counts_as_attempt
    if code.HasField("counts_as_attempt"):
        counts = code.counts_as_attempt
    success = code.success if code.HasField("success") else shipped.success
    if success and not counts:
        raise InvalidField(
            "code.success", Words("true with counts_as_attempt false"), "true only with both true"
        )
    return _message(code.code, category, counts, success)


def _list(
    context: AdminContext, request: admin_pb2.ListWrapUpCodesRequest, _: Caller
) -> admin_pb2.ListWrapUpCodesResponse:
    size = validate.page_size(request.page_size)
    found = context.engine.codes(
        page_tokens.decode_text(request, context.engine.incarnation), size + 1
    )
    cursor = found[size - 1][0].encode() if len(found) > size else b""
    return admin_pb2.ListWrapUpCodesResponse(
        codes=[_message(*code) for code in found[:size]],
        next_page_token=page_tokens.encode(request, cursor, context.engine.incarnation),
    )


@audited(admin_pb2.DeleteWrapUpCodeResponse)
def _delete(
    context: AdminContext,
    request: admin_pb2.DeleteWrapUpCodeRequest,
    change: Change[admin_pb2.DeleteWrapUpCodeResponse],
) -> admin_pb2.DeleteWrapUpCodeResponse:
    code = validate.code(request.code)
    with context.change_lock:
        before = _described(context.engine.code(code))
        return change.make(
            context.engine.delete_code, code, detail={"code": code, "before": before, "after": None}
        )


def _list_unknown(
    context: AdminContext, _request: admin_pb2.ListUnknownWrapUpCodesRequest, _: Caller
) -> admin_pb2.ListUnknownWrapUpCodesResponse:
    return admin_pb2.ListUnknownWrapUpCodesResponse(
        codes=[
            admin_pb2.UnknownWrapUpCode(code=code, count=count, last_time=convert.time_of(last_ns))
            for code, count, last_ns in context.engine.unknown_codes()
        ]
    )


def _message(code: str, category: str, counts: bool, success: bool) -> admin_pb2.WrapUpCode:
    return admin_pb2.WrapUpCode(
        code=code, category=category, counts_as_attempt=counts, success=success
    )


HANDLERS: Mapping[str, Handler] = {
    "UpsertWrapUpCode": _upsert,
    "ListWrapUpCodes": _list,
    "DeleteWrapUpCode": _delete,
    "ListUnknownWrapUpCodes": _list_unknown,
}
