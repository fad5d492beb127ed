"""The one door from Python to the native core: what the server uses of it, under one roof.

Nothing else in this package imports a native module; the load generator (`ownerd.load`), which is
no part of the core, is imported by `ownerctl bench` alone, with what it needs for TLS.
`ListenerLoops` is None where the core was built without nghttp2 and OpenSSL, and with it
`CallBridge`, `Etcd`, `Node` and `Roster`.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ownerd.access.table import PERMISSION, RIGHTS, UNAUTHENTICATED, Access, Identity, peer_host
from ownerd.api.reasons import REASONS
from ownerd.api.task import Refused
from ownerd.base.clock import Clock
from ownerd.base.lmdb import library_version as lmdb_version
from ownerd.base.memory import bytes_in_use, map_large_blocks, trim
from ownerd.base.rate_limiter import RateLimiter
from ownerd.engine.backup import STORE_FORMAT, Backup
from ownerd.engine.engine import (
    CLOCK_ALARM_NS,
    DIAL_METHODS,
    TIME_CLASS_ENDS_NS,
    Engine,
    ListInfo,
    Opening,
    Outcome,
    Policy,
)
from ownerd.engine.feed import Feed
from ownerd.engine.snapshot import Snapshot
from ownerd.net.aio_bridge import AioBridge
from ownerd.storage.catalog import DEFAULT_CODES
from ownerd.storage.compaction import Compacted, compact
from ownerd.storage.directory import StoreError, StoreInUseError, sync_directory
from ownerd.storage.migration import Migrated, check_former, is_former, migrate
from ownerd.storage.restoring import Restoring
from ownerd.storage.verify import verify

ListenerLoops: type["Listener"] | None = None
# Returns the versions of OpenSSL and nghttp2, as they are loaded; None where neither is.
http2_versions: Callable[[], tuple[str, str]] | None = None
with suppress(ImportError):
    from ownerd.net.listener import Listener, library_versions

    ListenerLoops = Listener
    http2_versions = library_versions
if TYPE_CHECKING or ListenerLoops is not None:
    from ownerd.cluster.etcd_client import Etcd
    from ownerd.cluster.log_upkeep import LogUpkeep
    from ownerd.cluster.node import ClusterError, Node, NodeInUseError
    from ownerd.cluster.roster import EtcdUnavailableError, Roster
    from ownerd.net.call_bridge import CallBridge, NativeCall
else:
    CallBridge = NativeCall = Etcd = LogUpkeep = Node = Roster = None
    ClusterError = EtcdUnavailableError = NodeInUseError = RuntimeError

__all__ = [
    "CLOCK_ALARM_NS",
    "DEFAULT_CODES",
    "DIAL_METHODS",
    "PERMISSION",
    "REASONS",
    "RIGHTS",
    "STORE_FORMAT",
    "TIME_CLASS_ENDS_NS",
    "UNAUTHENTICATED",
    "Access",
    "AioBridge",
    "Backup",
    "CallBridge",
    "Clock",
    "ClusterError",
    "Compacted",
    "Engine",
    "Etcd",
    "EtcdUnavailableError",
    "Feed",
    "Identity",
    "ListInfo",
    "ListenerLoops",
    "LogUpkeep",
    "Migrated",
    "NativeCall",
    "Node",
    "NodeInUseError",
    "Opening",
    "Outcome",
    "Policy",
    "RateLimiter",
    "Refused",
    "Restoring",
    "Roster",
    "Snapshot",
    "StoreError",
    "StoreInUseError",
    "bytes_in_use",
    "check_former",
    "compact",
    "http2_versions",
    "is_former",
    "lmdb_version",
    "map_large_blocks",
    "migrate",
    "peer_host",
    "sync_directory",
    "trim",
    "verify",
]
