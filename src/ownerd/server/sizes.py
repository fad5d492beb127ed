"""Sizes in bytes as operators write them: `1048576`, `64MiB`, `256 GiB`."""

import re

ALLOWED = "a whole number of bytes, or one with KiB, MiB, GiB or TiB such as 64GiB"

_UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
_FORM = re.compile(r"([0-9]+)\s*([A-Za-z]*)", re.ASCII)


def parse(text: str) -> int:
    """Return the number of bytes that `text` spells.

    Raises:
        ValueError: it is no allowed form; units of 1,000 are left out because they are mistaken.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None or match[2].upper() not in _UNITS:
        raise ValueError(ALLOWED)
    return int(match[1]) * _UNITS[match[2].upper()]


def spell(size_bytes: int) -> str:
    """Return `size_bytes` with the largest unit that divides it."""
    for unit, factor in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return str(size_bytes)
