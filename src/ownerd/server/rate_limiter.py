"""How often something may happen: so many at once, and so many a second.

The same rule as the native core's (`base/rate_limiter`), for Python's own refusals: an instant that
each use moves on and that time catches up with. Not for several threads at a time.
"""


class RateLimiter:
    """Lets `burst` uses through at once, then one in each `interval_s` seconds.

    It reads no clock: every method is given the time, of a clock that never goes back.
    """

    def __init__(self, burst: int, interval_s: float) -> None:
        self._interval_s = interval_s
        self._most_s = (burst - 1) * interval_s
        self._paid_until_s = float("-inf")

    def allows(self, now_s: float) -> bool:
        """Whether one more use is let through."""
        return self._paid_until_s - now_s <= self._most_s

    def spend(self, now_s: float) -> None:
        """Count a use that was let through."""
        self._paid_until_s = max(self._paid_until_s, now_s) + self._interval_s

    def is_rested(self, now_s: float) -> bool:
        """Whether it is as if it had never been used."""
        return self._paid_until_s <= now_s
