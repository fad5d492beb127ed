"""CRC-32C: the test values of RFC 3720, and the processor's instruction against bit by bit."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownerd.base.testing import checksum, checksum_by_bits

# Appendix B.4.
VALUES = (
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(reversed(range(32))), 0x113FDB5C),
)


@pytest.mark.parametrize("crc", [checksum, checksum_by_bits])
@pytest.mark.parametrize(("data", "value"), VALUES)
def test_the_values_of_rfc_3720(crc: Callable[[bytes], int], data: bytes, value: int) -> None:
    assert crc(data) == value


@given(st.binary(max_size=64), st.integers(0, 64))
def test_the_instruction_and_bit_by_bit_agree_however_the_bytes_are_cut(
    data: bytes, at: int
) -> None:
    whole = checksum(data)
    assert whole == checksum_by_bits(data)
    assert checksum(data[at:], checksum(data[:at])) == whole
