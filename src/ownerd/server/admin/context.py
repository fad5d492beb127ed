"""What the handlers of AdminService work with."""

import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from google.protobuf.message import Message

from ownerd.native import Engine, Identity
from ownerd.server import alarms, rights
from ownerd.server.admin.spool import Spools
from ownerd.server.cluster_watch import Cluster
from ownerd.server.principals import Principals
from ownerd.server.workings import Workings


class AdminContext(NamedTuple):
    """The engine and the facts about this server that handlers need.

    Attributes:
        engine: the one engine of this process.
        spools: where imports are kept until they are all there.
        start_ns: server time at which the process began to serve.
        principals: who may make calls.
        change_lock: held from reading what a change is made on to writing what was made of it.
        more_alarms: those besides the engine's.
        dial_listener: what serves the dial addresses, native or grpcio.
        backup_limit_s: how long a backup may take.
        workings: what is looked at when something is wrong; None where nobody can look.
        cluster: the one that this server is a node of; None: it is alone.
    """

    engine: Engine
    spools: Spools
    start_ns: int
    principals: Principals
    change_lock: threading.Lock
    more_alarms: alarms.Alarms = alarms.none
    dial_listener: str = "native"
    backup_limit_s: float = 3_600.0
    workings: Workings | None = None
    cluster: Cluster | None = None

    def sharing(self, list_id: str) -> Iterable[str]:
        """Return the lists that share a list's ownership (R28), itself included; none for ""."""
        info = self.engine.get_list(list_id) if list_id else None
        return () if info is None else (list_id, *info.shares_with)


class Caller(NamedTuple):
    """Who makes a call, where from, and with which token; "" for none."""

    identity: Identity
    peer: str
    token_id: str = ""

    @property
    def principal(self) -> str:
        """Who, as the audit names them."""
        return self.identity.principal_id

    def may_see(self, list_id: str, campaign_id: str) -> bool:
        """Return whether it may be told that a campaign holds a record of a list."""
        if self.identity.hide_holders:
            return False
        return self.identity.allows(rights.VIEW, list_id, campaign_id)

    def campaigns_seen(self, right: int, list_id: str, known: Iterable[str]) -> list[str] | None:
        """Return the campaigns of a list that a right covers; None: every one."""
        if self.identity.allows(right, list_id, rights.EVERY):
            return None
        return [each for each in known if self.identity.allows(right, list_id, each)]


# A handler of a unary rpc: blocking, run on a worker thread from start to end.
Handler = Callable[[AdminContext, Any, Caller], Message]
