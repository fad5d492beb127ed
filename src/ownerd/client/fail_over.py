"""Several addresses of one service: which of them leads, and how a call outlasts a fail-over.

A node that stands by refuses connections on its dial port, and calls on its admin port that ask for
the leader; one that is frozen keeps its connections and answers nothing. So an attempt has a limit
of its own, after which the next address is tried, and the address that answers is kept. No call is
sent here, and nothing waits. Sending a call again is safe (R20).
"""

import random
import time
from collections.abc import Callable

import grpc

from ownerd.client.requests.call import ADMIN

# In the metadata of admin calls: a node that stands by refuses them, and does not answer late.
LEADER_ONLY = ("ownerd-leader-only", "true")
# Half of the lease that a cluster has by default.
ATTEMPT_TIMEOUT_S = 2.5
# A fail-over takes two leases at most; so long a call is sent again, and by default lasts.
_WINDOW_ATTEMPTS = 6
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.4
_GOES_ON = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,  # of the attempt
    grpc.StatusCode.CANCELLED,  # by a server that ends, which has no better word
)


def split(target: str) -> list[str]:
    """Return the addresses in `a:7411,b:7411`; a Unix socket's path is one, whatever is in it."""
    if target.startswith("unix:"):
        return [target]
    return [each for each in (part.strip() for part in target.split(",")) if each] or [target]


def window_s(attempt_timeout_s: float) -> float:
    """Return how long a call is sent again, and by default lasts, with several addresses."""
    return _WINDOW_ATTEMPTS * attempt_timeout_s


class Places:
    """The addresses of a service, and the one that is thought to lead; for any thread."""

    def __init__(self, target: str) -> None:
        self.addresses = split(target)
        self.are_several = len(self.addresses) > 1
        self.closed = False
        self._at = 0

    @property
    def leader(self) -> str:
        """Where the next call goes."""
        return self.addresses[self._at]

    def leave(self, address: str) -> None:
        """Go on to the next address, unless another call has done so."""
        at = self._at
        if self.addresses[at] == address:
            self._at = (at + 1) % len(self.addresses)


class Attempts:
    """The attempts of one call; with one address there is one, which has all the time.

    Args:
        places: where the call may go.
        service: that it is of.
        timeout_s: seconds that the whole call may take; None: no limit.
        attempt_timeout_s: seconds that one attempt may take; None: it is the only one, as for a
            stream, which cannot be sent again once it has begun.
        now: the time in seconds.
    """

    def __init__(
        self,
        places: Places,
        service: str,
        timeout_s: float | None,
        attempt_timeout_s: float | None = ATTEMPT_TIMEOUT_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._places = places
        self._is_admin = service == ADMIN
        self._limit_s = attempt_timeout_s if places.are_several else None
        self._now = now
        self._timeout_s = timeout_s
        self._begin_s = now()
        self._patience_s = window_s(attempt_timeout_s or 0)
        self._count = 0
        self._pause_s = _FIRST_PAUSE_S
        self.address = places.leader

    @property
    def timeout_s(self) -> float | None:
        """Seconds that this attempt may take."""
        if self._limit_s is None:
            return self._timeout_s
        if self._timeout_s is None:
            return self._limit_s
        left_s = self._timeout_s - (self._now() - self._begin_s)
        return max(0.001, min(self._limit_s, left_s))

    @property
    def leader_only(self) -> bool:
        """Whether the call is to say that it wants the leader."""
        return self._is_admin and self._places.are_several

    def pause_after(self, error: grpc.RpcError) -> float | None:
        """Return how long to wait before the next attempt; None: the call has failed."""
        if not self._places.are_several or self._places.closed or error.code() not in _GOES_ON:
            return None
        is_late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        if self._limit_s is None:
            if not is_late:
                self._places.leave(self.address)
            return None
        if is_late and self._is_admin:  # it may take long, at a leader who is well
            self._limit_s *= 2
        self._places.leave(self.address)
        self.address = self._places.leader
        self._count += 1
        pause_s = 0.0
        if self._count % len(self._places.addresses) == 0:
            pause_s = self._pause_s * random.uniform(0.5, 1.0)
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        passed_s = self._now() - self._begin_s + pause_s
        if passed_s >= self._patience_s:
            return None
        return None if self._timeout_s is not None and passed_s >= self._timeout_s else pause_s
