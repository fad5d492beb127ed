"""The one rate limiter, as Python has it."""

from ownerd.base.rate_limiter import RateLimiter


def test_a_limiter_lets_a_burst_through_and_then_keeps_its_rate() -> None:
    limiter = RateLimiter(burst=3, interval_s=10.0)
    let_through = []
    for second in range(60):
        if limiter.allows(float(second)):
            limiter.spend(float(second))
            let_through.append(second)
    assert let_through == [0, 1, 2, 10, 20, 30, 40, 50]
    assert not limiter.is_rested(79.0) and limiter.is_rested(80.0)
