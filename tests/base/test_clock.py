"""R19: the server's time never steps, never goes back and is slewed gently to the wall clock."""

import itertools
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model import START_NS
from subject import DAY, HOUR, MS, SECOND
from subject_engine import EngineSubject

from ownerd.base import clock
from ownerd.base.testing import ManualClock, simulate


def _readings(step_ns: int, count: int, offset_ns: int) -> list[tuple[int, int]]:
    """Boot time and wall clock advancing together, the wall clock off by `offset_ns`."""
    return [(n * step_ns, START_NS + offset_ns + n * step_ns) for n in range(count)]


def test_r19_without_an_offset_the_time_is_the_wall_clock() -> None:
    readings = _readings(SECOND, 100, 0)
    assert simulate(START_NS, readings) == [wall_ns for _, wall_ns in readings]


@pytest.mark.parametrize("offset_ns", [HOUR, -HOUR])
@pytest.mark.parametrize("step_ns", [100_000, MS, 10 * MS, SECOND, HOUR])
def test_r19_a_clock_step_moves_the_time_by_at_most_a_millisecond_per_second(
    offset_ns: int, step_ns: int
) -> None:
    count = 2000
    times = simulate(START_NS, _readings(step_ns, count, offset_ns))
    passed_ns = (count - 1) * step_ns
    slewed_ns = times[-1] - START_NS - passed_ns
    towards = slewed_ns if offset_ns > 0 else -slewed_ns
    limit_ns = passed_ns // 1000
    # It may be a little late, since it moves in steps of a millisecond, but never too fast.
    assert min(abs(offset_ns), limit_ns) - 2 * max(MS, step_ns) // 1000 <= towards
    assert towards <= min(abs(offset_ns), limit_ns)


def test_r19_the_time_ends_at_the_wall_clock_after_enough_time() -> None:
    readings = _readings(SECOND, 3000, 2 * SECOND)
    assert simulate(START_NS, readings)[-1] == readings[-1][1]
    readings = _readings(SECOND, 3000, -2 * SECOND)
    assert simulate(START_NS, readings)[-1] == readings[-1][1]


@given(
    st.lists(
        st.tuples(st.integers(0, 10 * SECOND), st.integers(-DAY, DAY)), min_size=1, max_size=60
    )
)
def test_r19_the_time_never_goes_back_and_never_steps(changes: list[tuple[int, int]]) -> None:
    boot_ns, wall_ns, readings = 0, START_NS, [(0, START_NS)]
    for passed_ns, step_ns in changes:
        boot_ns, wall_ns = boot_ns + passed_ns, wall_ns + passed_ns + step_ns
        readings.append((boot_ns, wall_ns))
    times = simulate(START_NS, readings)
    for (before, at), (boot_before, boot_at) in zip(
        itertools.pairwise(times), itertools.pairwise(readings), strict=True
    ):
        passed_ns = boot_at[0] - boot_before[0]
        assert at >= before
        # One step of the slew may gather what passed since the last one, less than a millisecond.
        assert abs(at - before - passed_ns) <= (passed_ns + MS) // 1000 + 1


def test_r19_a_running_clock_follows_the_wall_clock() -> None:
    running = clock.Clock()
    before_ns = time.time_ns()
    now_ns = running.now_ns()
    assert abs(now_ns - before_ns) < SECOND
    assert running.now_ns() >= now_ns
    assert abs(running.offset_ns()) < SECOND


def test_a_manual_clock_moves_forward_only_when_told() -> None:
    manual = ManualClock(START_NS)
    assert (manual.now_ns(), manual.now_ns(), manual.offset_ns()) == (START_NS, START_NS, 0)
    manual.advance_ns(5)
    assert manual.now_ns() == START_NS + 5
    with pytest.raises(ValueError, match="-1"):
        manual.advance_ns(-1)
    assert not hasattr(clock.Clock(), "advance_ns")


def test_r19_a_restart_with_the_wall_clock_behind_starts_at_the_highest_stored_time(
    tmp_path: Path,
) -> None:
    first = EngineSubject(tmp_path)
    first.create_list("list")
    first.advance_ns(DAY)
    first.attempt("list", "1", "A", "Busy")
    hold = first.holder("list", "1")
    first.close()
    second = EngineSubject(tmp_path, start_ns=START_NS - 30 * DAY)
    try:
        assert second.now_ns() == START_NS + DAY
        assert second.holder("list", "1") == hold
        assert second.claim("list", "1", "B").what == "DENIED"
    finally:
        second.close()


def test_r19_a_clean_stop_stores_the_time_even_if_nothing_changed_since(tmp_path: Path) -> None:
    for life in range(3):
        subject = EngineSubject(tmp_path)
        try:
            assert subject.now_ns() == START_NS + life * DAY
            subject.advance_ns(DAY)
        finally:
            subject.close()
