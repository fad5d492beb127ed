"""Tells systemd how the service is: ready, alive, stopping, and a line of status.

The protocol of sd_notify(3): datagrams to the socket that NOTIFY_SOCKET names. Without it nothing
is sent. Nothing here fails: a service that cannot be heard serves all the same.

The event loop's thread.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

_MICROSECONDS = 1_000_000


class Notifier:
    """Whoever started this process and wants to be told, if anybody."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self.watchdog_s = _watchdog_s(environment)

    def tell(self, **states: str | int) -> None:
        """Send states, such as READY=1, as they are named in sd_notify(3)."""
        if not self._address:
            return
        text = "\n".join(f"{name}={value}" for name, value in states.items())
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(text.encode(), self._address)

    def ready(self, status: str) -> None:
        """Say that calls are taken."""
        self.tell(READY=1, STATUS=status)

    def reloading(self) -> None:
        """Say that the settings are read again; `ready` ends it."""
        self.tell(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1_000)

    def stopping(self, status: str) -> None:
        """Say that no new call is taken any more."""
        self.tell(STOPPING=1, STATUS=status)

    async def keep_alive(self, is_well: Callable[[], bool]) -> None:
        """Say again and again that the service lives, as long as it is well, if that is wanted."""
        while self.watchdog_s:
            if is_well():
                self.tell(WATCHDOG=1)
            await asyncio.sleep(self.watchdog_s / 2)


def _watchdog_s(environment: Mapping[str, str]) -> float:
    """Return how often somebody wants to hear of this process; 0: nobody does."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / _MICROSECONDS if text.isdecimal() else 0.0
