"""What one looks at when something is wrong: checks, files for debugging, and the log's level."""

from collections.abc import Mapping
from typing import get_args, get_type_hints

import structlog

from ownerd.server import logs
from ownerd.server.admin.context import AdminContext, Caller, Handler
from ownerd.server.config import Settings
from ownerd.server.errors import InvalidField
from ownerd.v1 import admin_pb2

LEVELS: tuple[str, ...] = get_args(get_type_hints(Settings)["log_level"])

log = structlog.get_logger("ownerd.server")


def _diagnose(
    context: AdminContext, _: admin_pb2.DiagnoseRequest, caller: Caller
) -> admin_pb2.DiagnoseResponse:
    found = context.workings.checks(context.more_alarms()) if context.workings else []
    statuses = {
        "ok": admin_pb2.CHECK_STATUS_OK,
        "warning": admin_pb2.CHECK_STATUS_WARNING,
        "failure": admin_pb2.CHECK_STATUS_FAILURE,
    }
    return admin_pb2.DiagnoseResponse(
        checks=[
            admin_pb2.Check(
                name=each.name, status=statuses[each.status], found=each.found, advice=each.advice
            )
            for each in found
        ]
    )


def _debug(
    context: AdminContext, _: admin_pb2.GetDebugInfoRequest, caller: Caller
) -> admin_pb2.GetDebugInfoResponse:
    log.info("debug_info_given", principal=caller.principal, peer=caller.peer)
    files = context.workings.files() if context.workings else {}
    return admin_pb2.GetDebugInfoResponse(
        files=[
            admin_pb2.DebugFile(name=name, content=text.encode(errors="replace"))
            for name, text in files.items()
        ]
    )


def _set_level(
    context: AdminContext, request: admin_pb2.SetLogLevelRequest, caller: Caller
) -> admin_pb2.SetLogLevelResponse:
    former = logs.level()
    if not request.level:
        return admin_pb2.SetLogLevelResponse(level=former, former_level=former)
    if request.level not in LEVELS:
        raise InvalidField("level", request.level, ", ".join(LEVELS))
    logs.set_level(request.level)
    log.warning(
        "log_level_set",
        principal=caller.principal,
        peer=caller.peer,
        log_level=request.level,
        former=former,
    )
    return admin_pb2.SetLogLevelResponse(level=request.level, former_level=former)


HANDLERS: Mapping[str, Handler] = {
    "Diagnose": _diagnose,
    "GetDebugInfo": _debug,
    "SetLogLevel": _set_level,
}
