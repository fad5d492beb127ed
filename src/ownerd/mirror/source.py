"""Where ownership comes from: the server, as a mirror sees it, and a stream that is read ahead.

`Reader` takes from a stream in a thread of its own, so that who waits for a message can do other
things meanwhile. It reads ahead so far and no further: what is not taken holds the stream up.
"""

import queue
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from ownerd.mirror.faults import Away
from ownerd.v1 import admin_pb2 as pb
from ownerd.v1 import dial_pb2

AHEAD_COUNT = 256
SILENCE_S = 30.0  # the feed says something every 5 seconds
JOIN_S = 5.0

Message = TypeVar("Message")


class Owned(NamedTuple):
    """Who owns a record; None as expiration is never."""

    campaign_id: str
    campaign_name: str
    expire_ns: int | None


class Point(NamedTuple):
    """A point of the feed, and the server's time at it."""

    incarnation_id: str
    revision: int
    time_ns: int


class Source(Protocol):
    """A list on a server.

    Every method may raise `Away` where it is worth another try, and so may the streams; `watch`
    raises `CompareAgain` where the feed does not go back so far, or is another one.
    """

    def now(self) -> Point:
        """Return where the feed is now."""

    def watch(self, after: Point) -> Iterable[pb.WatchResponse]:
        """Return what comes after a point."""

    def export(self) -> Iterable[pb.ExportOwnershipResponse]:
        """Return who owns what."""

    def holder(self, record_id: str) -> dial_pb2.Holder | None:
        """Return who holds a record now."""


class Ended(Exception):
    """The stream is over."""


class Reader(Generic[Message]):
    """A stream, read ahead."""

    def __init__(self, stream: Iterable[Message]) -> None:
        self._stream = stream
        self._queue: queue.Queue[Message | BaseException] = queue.Queue(AHEAD_COUNT)
        self._heard_s = time.monotonic()
        self._closed = False
        self._thread = threading.Thread(target=self._read, name="mirror-reader", daemon=True)
        self._thread.start()

    def take(self, timeout_s: float) -> Message | None:
        """Return the next message; None: none came in time.

        Raises:
            Ended: There are no more.
            Away: Nothing was heard for so long that the other end is gone.
            Exception: What the stream ended by.
        """
        try:
            found = self._queue.get(timeout=timeout_s) if timeout_s else self._queue.get_nowait()
        except queue.Empty:
            if time.monotonic() - self._heard_s > SILENCE_S:
                raise Away("nothing is heard from the server") from None
            return None
        if isinstance(found, BaseException):
            self._put(found)  # for who asks again
            raise found
        return found

    def close(self) -> None:
        """End the stream, and the thread."""
        self._closed = True
        cancel: Any = getattr(self._stream, "cancel", None)
        if cancel is not None:
            cancel()
        with suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        self._thread.join(JOIN_S)

    def _read(self) -> None:
        try:
            for message in self._stream:
                self._heard_s = time.monotonic()
                self._put(message)
                if self._closed:
                    return
            self._put(Ended())
        except BaseException as error:
            self._put(error)

    def _put(self, found: Message | BaseException) -> None:
        while not self._closed:
            with suppress(queue.Full):
                self._queue.put(found, timeout=0.1)
                return
