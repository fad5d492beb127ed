"""Settings that are part of the store, since decisions need them."""

from collections.abc import Mapping
from typing import cast

from ownerd.server.admin import validate
from ownerd.server.admin.audited_change import Change, audited
from ownerd.server.admin.context import AdminContext, Caller, Handler
from ownerd.server.errors import InvalidField, Words
from ownerd.v1 import admin_pb2

_PATHS = ("unknown_wrap_up_code", "*")

# What the tools and the audit call them.
MEANINGS: Mapping[int, str] = {
    admin_pb2.UNKNOWN_CODE_MEANING_REFUSE: "refuse",
    admin_pb2.UNKNOWN_CODE_MEANING_ATTEMPT: "attempt",
    admin_pb2.UNKNOWN_CODE_MEANING_NO_ATTEMPT: "no_attempt",
}


def _get(
    context: AdminContext, _request: admin_pb2.GetStoreSettingsRequest, _: Caller
) -> admin_pb2.GetStoreSettingsResponse:
    return admin_pb2.GetStoreSettingsResponse(settings=_message(context.engine.settings()))


@audited(admin_pb2.UpdateStoreSettingsResponse)
def _update(
    context: AdminContext,
    request: admin_pb2.UpdateStoreSettingsRequest,
    change: Change[admin_pb2.UpdateStoreSettingsResponse],
) -> admin_pb2.UpdateStoreSettingsResponse:
    wanted = _wanted(request)
    with context.change_lock:
        before = context.engine.settings()
        meaning = before if wanted is None else wanted
        return change.make(
            context.engine.update_settings,
            meaning,
            detail={"before": _described(before), "after": _described(meaning)},
            answer=admin_pb2.UpdateStoreSettingsResponse(settings=_message(meaning)),
        )


def _wanted(request: admin_pb2.UpdateStoreSettingsRequest) -> int | None:
    """Return the meaning of unknown codes to set; None: it stays as it is.

    Raises:
        InvalidField: no settings, an unknown path or an unknown value.
    """
    if not request.HasField("settings"):
        raise InvalidField("settings", Words("none"), "the settings' new values")
    for path in request.update_mask.paths:
        validate.one_of("update_mask", path, _PATHS)
    value = request.settings.unknown_wrap_up_code
    if not value:
        masked = bool(request.update_mask.paths)
        return admin_pb2.UNKNOWN_CODE_MEANING_REFUSE if masked else None
    if value not in MEANINGS:
        allowed = ", ".join(f"UNKNOWN_CODE_MEANING_{name.upper()}" for name in MEANINGS.values())
        raise InvalidField("settings.unknown_wrap_up_code", value, allowed)
    return value


def _message(meaning: int) -> admin_pb2.StoreSettings:
    return admin_pb2.StoreSettings(unknown_wrap_up_code=cast(admin_pb2.UnknownCodeMeaning, meaning))


def _described(meaning: int) -> dict[str, str]:
    return {"unknown_wrap_up_code": MEANINGS[meaning]}


HANDLERS: Mapping[str, Handler] = {"GetStoreSettings": _get, "UpdateStoreSettings": _update}
