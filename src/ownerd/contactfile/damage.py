"""Ids that a spreadsheet has changed: one such id by itself, and what only many of them show.

A spreadsheet takes an id for a number, a date or a formula, and saves what it made of it. The id is
another record's then, or nobody's, and the record that was meant is not protected.
"""

import re
from dataclasses import dataclass, field

_EXACT_DIGITS = 15  # that a spreadsheet keeps of a number; it makes the others zeros
_MONTHS = (
    "jan feb mar apr may jun jul aug sep oct nov dec mrz mai okt dez janv févr avr juin juil août"
    " sept déc ene abr ago dic"
)
_SIGNS = (
    (re.compile(r"[+-]?\d+([.,]\d+)?[Ee][+-]\d+|[+-]?\d+[.,]\d+[Ee]\d+"), "a rounded number"),
    (re.compile(r"[+-]?\d+[.,]0*"), "a number with a fraction"),
    (re.compile(r"\d{1,3}([,'\u2019\u00a0\u202f]\d{3})+"), "a number with marks between thousands"),
    (re.compile(r"=.*"), "a formula"),
    (re.compile(r"['\u2018\u2019]\d.*"), "a number with the mark of a text"),
    (re.compile(r"#(N/A|NV|NAME|REF|VALUE|WERT|BEZUG|DIV/0|NUM|ZAHL|NULL)[!?]?|#{3,}"), "an error"),
    (
        re.compile(
            rf"\d{{1,2}}[-. ]+({'|'.join(_MONTHS.split())})\.?|"
            rf"({'|'.join(_MONTHS.split())})\.?[- ]\d{{2}}",
            re.IGNORECASE,
        ),
        "a date",
    ),
)


def sign_of_damage(record_id: str) -> str | None:
    """Return what a spreadsheet made of an id, in words; None: nothing that shows."""
    return next((what for sign, what in _SIGNS if sign.fullmatch(record_id)), None)


@dataclass
class Evidence:
    """What the digits of all ids of a file show together.

    Ids of more than 15 digits that all end in zeros from the 16th on were rounded. Where some ids
    begin with zeros, ids of digits that are shorter than all those have lost theirs.
    """

    _padded_width: int | None = None  # of the shortest id that begins with a zero
    _shorter_counts: dict[int, int] = field(default_factory=dict)  # by width, of the others
    _long_count: int = 0
    _exact_count: int = 0  # of long ones that do not end in zeros
    _zero_count: int = 0  # at the ends of the long ones

    def add(self, digits: str) -> None:
        """Take an id that is made of ASCII digits alone into account."""
        self.compare(digits)
        width = len(digits)
        if digits[0] != "0":
            self._shorter_counts[width] = self._shorter_counts.get(width, 0) + 1
        if width > _EXACT_DIGITS:
            self._long_count += 1
            self._zero_count += width - len(digits.rstrip("0"))

    def compare(self, digits: str) -> None:
        """Take the id of a row that is not imported as what others may be compared with."""
        width = len(digits)
        if digits[0] == "0" and width > 1:
            self._padded_width = min(width, self._padded_width or width)
        if width > _EXACT_DIGITS and digits[_EXACT_DIGITS:].strip("0"):
            self._exact_count += 1

    @property
    def damaged_count(self) -> int:
        """How many of the ids are damaged."""
        padded = self._padded_width or 0
        cut = sum(count for width, count in self._shorter_counts.items() if width < padded)
        return cut + (self._long_count if self._long_are_rounded else 0)

    @property
    def _long_are_rounded(self) -> bool:
        # One id in a thousand ends in three zeros by chance.
        return self._long_count > 0 and self._exact_count == 0 and self._zero_count >= 3

    def complaint(self, record_id: str) -> str | None:
        """Return what is wrong with an id, once all of them were added; None: nothing."""
        if not (record_id.isascii() and record_id.isdigit()):
            return None
        if self._long_are_rounded and len(record_id) > _EXACT_DIGITS:
            return (
                f'"{record_id}" looks rounded by a spreadsheet, as do all ids of more than'
                f" {_EXACT_DIGITS} digits here: they end in zeros"
            )
        padded = self._padded_width
        if padded is not None and record_id[0] != "0" and len(record_id) < padded:
            return (
                f'"{record_id}" looks damaged by a spreadsheet, which takes away zeros at the'
                f" beginning: others here have them, and {padded} digits"
            )
        return None
