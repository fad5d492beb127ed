"""The server's status: what runs, how large, how far behind, what is wrong."""

from collections.abc import Mapping

import ownerd
from ownerd.native import lmdb_version
from ownerd.server.admin import clusters, convert
from ownerd.server.admin.context import AdminContext, Caller, Handler
from ownerd.v1 import admin_pb2

_COPIED = (
    "revision",
    "list_count",
    "campaign_count",
    "record_count",
    "store_bytes",
    "map_bytes",
    "disk_free_bytes",
    "queue_depth",
    "unsettled_event_count",
    "oldest_revision",
)


def _get(
    context: AdminContext, _request: admin_pb2.GetServerStatusRequest, _: Caller
) -> admin_pb2.GetServerStatusResponse:
    stats = context.engine.stats()
    return admin_pb2.GetServerStatusResponse(
        version=ownerd.__version__,
        lmdb_version=".".join(map(str, lmdb_version())),
        dial_listener=context.dial_listener,
        start_time=convert.time_of(context.start_ns),
        uptime=convert.duration_of(stats["time_ns"] - context.start_ns),
        time=convert.time_of(stats["time_ns"]),
        incarnation_id=f"{context.engine.incarnation:016x}",
        clock_offset=convert.duration_of(stats["clock_offset_ns"]),
        alarms=[
            admin_pb2.Alarm(name=name.upper(), message=text)
            for name, text in (*stats["alarms"], *context.more_alarms())
        ],
        cluster=clusters.membership_of(context),
        **{name: stats[name] for name in _COPIED},
    )


HANDLERS: Mapping[str, Handler] = {"GetServerStatus": _get}
