"""The one door from Python to the native core: what the server uses of it, under one roof.

Nothing else in this package imports a native module; the load generator (`ownerd.load`), which is
no part of the core, is imported by `ownerctl bench` alone. `ListenerLoops` is None where the core
was built without nghttp2 and OpenSSL.
"""

from contextlib import suppress

from ownerd.access.table import PERMISSION, RIGHTS, UNAUTHENTICATED, Access, Identity, peer_host
from ownerd.api.reasons import REASONS
from ownerd.api.task import Refused
from ownerd.base.lmdb import library_version as lmdb_version
from ownerd.base.rate_limiter import RateLimiter
from ownerd.engine.engine import DIAL_METHODS, Engine, ListInfo, Outcome, Policy
from ownerd.net.aio_bridge import AioBridge
from ownerd.storage.catalog import DEFAULT_CODES
from ownerd.storage.directory import StoreError, StoreInUseError, sync_directory
from ownerd.storage.verify import verify

ListenerLoops: type["Listener"] | None = None
with suppress(ImportError):
    from ownerd.net.listener import Listener

    ListenerLoops = Listener

__all__ = [
    "DEFAULT_CODES",
    "DIAL_METHODS",
    "PERMISSION",
    "REASONS",
    "RIGHTS",
    "UNAUTHENTICATED",
    "Access",
    "AioBridge",
    "Engine",
    "Identity",
    "ListInfo",
    "ListenerLoops",
    "Outcome",
    "Policy",
    "RateLimiter",
    "Refused",
    "StoreError",
    "StoreInUseError",
    "lmdb_version",
    "peer_host",
    "sync_directory",
    "verify",
]
