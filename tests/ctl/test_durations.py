"""Durations as people write them: exact both ways, and clear about what is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownerd import durations

HOUR_NS = 3_600 * 10**9
DAY_NS = 24 * HOUR_NS


@pytest.mark.parametrize(
    ("text", "length_ns"),
    [
        ("2d3h", 2 * DAY_NS + 3 * HOUR_NS),
        ("1h30m", HOUR_NS * 3 // 2),
        ("90m", HOUR_NS * 3 // 2),
        ("1.5h", HOUR_NS * 3 // 2),
        (" 2d 3h ", 2 * DAY_NS + 3 * HOUR_NS),
        ("0.1s", 10**8),
        ("1s", 10**9),
        ("250ms", 250 * 10**6),
        ("1us1ns", 1001),
        ("0s", 0),
        ("36525d", 36525 * DAY_NS),
        ("9223372036854775807ns", 2**63 - 1),
    ],
)
def test_a_duration_is_read_exactly(text, length_ns):
    assert durations.parse(text) == length_ns


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "an empty duration"),
        ("   ", "an empty duration"),
        ("2", "2 has no unit"),
        ("2d3", "3 has no unit"),
        ("-2d", "it is negative"),
        ("2x", 'unknown unit "x"'),
        ("2D", 'unknown unit "D"'),
        ("3h2d", "d is out of order"),
        ("2d2d", "d is out of order"),
        ("d", "something else than numbers and units"),
        ("two days", "something else than numbers and units"),
        ("2d,3h", "something else than numbers and units"),
        ("1e3s", 'unknown unit "e"'),
        ("0.1ns", "finer than a nanosecond"),
        ("\u0662d", "something else than numbers and units"),
        ("200000d", "is too long"),
        ("9223372036854775808ns", "is too long"),
    ],
)
def test_a_text_that_is_no_duration_is_told_why(text, complaint):
    with pytest.raises(durations.DurationError) as caught:
        durations.parse(text)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("length_ns", "text"),
    [
        (0, "0s"),
        (2 * DAY_NS + 3 * HOUR_NS, "2d3h"),
        (1_500_000_000, "1s500ms"),
        (-90 * 10**9, "-1m30s"),
        (1, "1ns"),
    ],
)
def test_a_duration_is_written_exactly(length_ns, text):
    assert durations.format(length_ns) == text


@given(st.integers(0, 2**63 - 1))
def test_reading_undoes_writing(length_ns):
    assert durations.parse(durations.format(length_ns)) == length_ns


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_duration_survives_its_protobuf_message(length_ns):
    message = durations.to_message(length_ns)
    assert message.ToNanoseconds() == length_ns
    assert message.seconds * message.nanos >= 0


@pytest.mark.parametrize(
    ("length_ns", "text"),
    [
        (0, "0s"),
        (1, "<1s"),
        (999_999_999, "<1s"),
        (1_999_999_999, "1s"),
        (61 * 10**9, "1m1s"),
        (HOUR_NS + 59 * 10**9, "1h"),
        (DAY_NS + 2 * HOUR_NS + 61 * 10**9, "1d2h"),
        (400 * DAY_NS, "400d"),
        (-61 * 10**9, "-1m1s"),
    ],
)
def test_a_short_duration_has_two_neighbouring_units(length_ns, text):
    assert durations.format_short(length_ns) == text


def test_days_and_hours_add_up():
    assert durations.from_parts(days=2, hours=3) == durations.parse("2d3h")
    assert durations.from_parts(hours=30) == durations.parse("1d6h")
    assert durations.from_parts(days=0) == 0
    assert durations.from_parts() is None


def test_a_negative_part_is_refused():
    with pytest.raises(durations.DurationError, match="-3 hours is negative"):
        durations.from_parts(days=2, hours=-3)
