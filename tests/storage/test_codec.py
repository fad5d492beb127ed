"""A record's value: what was put in comes out, in as few bytes as it takes; rows of before too."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from ownerd.storage.testing import decode, encode

DAY = 86_400 * 10**9
NOW = 1_800_000_000 * 10**9
OWNED, RESERVED = 1 << 30, 1 << 31

times = st.sampled_from((NOW - 40 * DAY, NOW - DAY - 1, NOW - DAY, NOW - 1, NOW))
ends = st.sampled_from((NOW + 1, NOW + 9 * DAY, 2**63 - 1))
owned = st.just((0, 0)) | st.tuples(times, ends | times)
reserved = st.just((0, 0, 0)) | st.tuples(times, ends | times, st.sampled_from((0, 7, 1 << 31 | 5)))
last = st.sampled_from((0, NOW + 5)) | times


@settings(max_examples=2_000)
@given(st.integers(0, 2**28 - 1), st.integers(0, 2**32 - 1), owned, reserved, last, st.booleans())
def test_what_matters_of_a_record_comes_back(
    campaign: int,
    seq: int,
    owned: tuple[int, int],
    reserved: tuple[int, int, int],
    last: int,
    begin_is_last: bool,
) -> None:
    if begin_is_last:
        last = owned[0]
    value = encode((campaign, seq, *owned, *reserved, last), NOW)
    owns, reserves = owned[1] > NOW, reserved[1] > NOW
    counts = NOW - last <= DAY
    if not (owns or reserves or counts):
        assert value == b""
        return
    found = decode(value)
    assert found is not None
    assert found[:2] == (campaign, seq)
    assert found[2:4] == (owned if owns else (0, 0))
    assert found[4:7] == (reserved if reserves else (0, 0, 0))
    # One that does not count any more may be read as another that does not.
    assert found[7] == last if counts else NOW - found[7] > DAY
    size = 8 + 16 * owns + 16 * reserves + 4 * (reserves and reserved[2] != 0)
    left_out = last == owned[0] if owns else not counts
    assert len(value) in ((size,) if left_out else (size, size + 8))
    assert len(value) <= 52


def test_an_owned_record_takes_24_bytes() -> None:
    assert len(encode((1, 0, NOW, NOW + DAY, 0, 0, 0, NOW), NOW)) == 24
    assert len(encode((1, 0, NOW - 9 * DAY, NOW + DAY, 0, 0, 0, 0), NOW)) == 24


def test_a_free_record_keeps_its_last_attempt_for_a_day() -> None:
    state = (3, 9, 0, 0, 0, 0, 0, NOW)
    value = encode(state, NOW + DAY)
    assert (len(value), decode(value)) == (16, state)
    assert encode(state, NOW + DAY + 1) == b""


def test_rows_of_before_are_read_as_they_are() -> None:
    """Campaign with two flags, event seq, then ownership and reservation."""
    owned_row = struct.pack("=IIqq", 5 | OWNED, 2, NOW, NOW + DAY)
    assert decode(owned_row) == (5, 2, NOW, NOW + DAY, 0, 0, 0, NOW)
    reserved_row = struct.pack("=IIqq", 5 | RESERVED, 2, NOW, NOW + DAY)
    assert decode(reserved_row) == (5, 2, 0, 0, NOW, NOW + DAY, 0, 0)
    both = struct.pack("=IIqqqq", 5 | OWNED | RESERVED, 2, NOW, NOW + DAY, NOW + 1, NOW + 2)
    assert decode(both) == (5, 2, NOW, NOW + DAY, NOW + 1, NOW + 2, 0, NOW)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_state_or_none(value: bytes) -> None:
    state = decode(value)
    assert state is None or len(value) in range(8, 53, 4)
