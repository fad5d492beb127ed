"""What the handlers of AdminService work with."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.message import Message

from ownerd.native import Engine
from ownerd.server import alarms
from ownerd.server.admin.changes import Answer, Caller, Change
from ownerd.server.principals import Principals


class Desk(NamedTuple):
    """The engine and the facts about this server that handlers need.

    Attributes:
        engine: the one engine of this process.
        data_dir: where imports are spooled.
        start_ns: server time at which the process began to serve.
        principals: who may make calls.
        policy_lock: held from reading a policy to writing what was made of it.
        more_alarms: those besides the engine's.
    """

    engine: Engine
    data_dir: Path
    start_ns: int
    principals: Principals
    policy_lock: threading.Lock
    more_alarms: alarms.Alarms = alarms.none

    def change(
        self,
        caller: Caller,
        action: str,
        request: Any,
        answer_type: type[Answer],
        fill: Callable[[Answer, Any], None],
    ) -> Change[Answer]:
        """Return the change that `request` asks for."""
        return Change(self.engine, caller, action, request, answer_type, fill)


# A handler of a unary rpc: blocking, run on a worker thread from start to end.
Handler = Callable[[Desk, Any, Caller], Message]
