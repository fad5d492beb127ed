"""What is wrong with the server itself, besides what the engine says of the store.

Alarms are up until what raised them takes them down; `GetServerStatus` and the metrics page show
them. Any thread may do anything here.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

# Name (lower_snake, as the engine's) and what was found and what to do.
Alarm = tuple[str, str]
Alarms = Callable[[], Sequence[Alarm]]

_LOOK_EVERY_S = 1.0

log = structlog.get_logger("ownerd.server")


# Every alarm that there can be: each is a series on the metrics page, up or not.
NAMES = (
    "attempts_ahead",
    "calls_stalled",
    "clock_off",
    "connections_full",
    "disk_full",
    "etcd_filling",
    "etcd_full",
    "lock_missing",
    "map_full",
    "no_leader",
    "node_absent",
    "node_clocks_differ",
    "node_lags",
    "reload_failed",
    "single_copy",
    "storage_failed",
    "strangers_crowding",
    "tls_certificate_expires",
    "tls_reload_failed",
)


class AlarmBoard:
    """The alarms that are up, by name."""

    def __init__(self) -> None:
        self._up: dict[str, str] = {}

    def set(self, name: str, message: str | None) -> None:
        """Raise an alarm, or with None take it down; without effect if it is so already.

        Raises:
            ValueError: it is none of NAMES.
        """
        if name not in NAMES:
            raise ValueError(f"{name!r} is not among the names of alarms")
        if message is None:
            self._up.pop(name, None)
        else:
            self._up[name] = message

    def up(self) -> Sequence[Alarm]:
        """Return the alarms that are up."""
        return list(self._up.items())


class AlarmLog:
    """Writes a line of the log whenever an alarm goes up or down."""

    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms
        self._told: set[str] = set()

    async def watch(self) -> None:
        """Look every second; ends when it is cancelled."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_EVERY_S)

    def look(self) -> None:
        """Tell what has changed since the last look."""
        up = dict(self._alarms())
        for name in sorted(up.keys() - self._told):
            log.warning("alarm_raised", alarm=name.upper(), message=up[name])
        for name in sorted(self._told - up.keys()):
            log.info("alarm_ended", alarm=name.upper())
        self._told = set(up)


def none() -> Sequence[Alarm]:
    """Say that nothing is wrong."""
    return ()
