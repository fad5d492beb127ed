"""What a cell holds: an id, a name, a time or nothing, or a fault with its reason.

`Foreign` reads the files of other programs, in which `NULL`, `\\N` and blanks are nothing, and an
id is taken as it stands or not at all: never as another's. `Literal` reads our own exports, in
which every cell is exactly what it says.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import TypeVar

from ownerd import limits
from ownerd.contactfile import instants
from ownerd.contactfile.damage import Evidence, sign_of_damage
from ownerd.contactfile.faults import RowFault
from ownerd.contactfile.header import ACQUIRED, Columns
from ownerd.printable import clean

Value = TypeVar("Value")

NULLS = frozenset({"", "null", "\\n", "(null)", "[null]", "<null>"})
# Words for nothing that might also be a campaign's: it is not for us to choose.
DOUBTFUL_NULLS = frozenset(
    {"none", "nan", "nil", "na", "<na>", "n/a", "#n/a", "nat", "undefined", "-", "--"}
)
_NOTHING = NULLS | DOUBTFUL_NULLS

RECORD, CAMPAIGN, NAME = "record id", "campaign id", "campaign name"
_LIMITS = {
    RECORD: limits.RECORD_ID_BYTES,
    CAMPAIGN: limits.CAMPAIGN_ID_BYTES,
    NAME: limits.CAMPAIGN_NAME_BYTES,
}
_SHOWN = 60
_CACHED = 10_000
# What cannot be seen at an id's ends and makes it another: blanks, and marks of no width.
_INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad"
_LOST = "\ufffd"  # what stands for a character that could not be read
_INVISIBLE_KINDS = ("Cc", "Cf", "Zl", "Zp")
# Of other kinds than CSV has, as they stand around a text.
_QUOTES = ("''", "``", "`'", "\u2018\u2019", "\u201c\u201d", "\u201e\u201c", "\u00ab\u00bb")
ANY_IDS = "if it is meant so, say --any-ids"


@dataclass(frozen=True)
class Reading:
    """How the cells of a file are to be read.

    Attributes:
        columns: what the columns are called.
        encoding: of the text, one of Python's names; None: found.
        zone: of times that name none; None: they are faults.
        trim: cut blanks around ids, rather than refuse them.
        any_ids: take ids too that look damaged by a spreadsheet.
        records_only: look at nothing but the record ids.
        undo: what takes away from a cell what was put into it when it was written; None: nothing.
    """

    columns: Columns = field(default_factory=Columns)
    encoding: str | None = None
    zone: tzinfo | None = None
    trim: bool = False
    any_ids: bool = False
    records_only: bool = False
    undo: Callable[[str], str] | None = None


class Literal:
    """Reads cells that say exactly what they hold."""

    def __init__(self, reading: Reading) -> None:
        self._columns = reading.columns
        self._zone = reading.zone
        self.evidence = Evidence()

    def record_id(self, cell: str) -> str:
        """Return a record id."""
        return _sized(cell, self._columns.record, RECORD)

    def pass_over(self, cell: str) -> None:
        """Take note of the record id of a row that is not imported."""

    def campaign_id(self, cell: str) -> str | None:
        """Return a campaign id; None: nobody."""
        return _sized(cell, self._columns.owner, CAMPAIGN) if cell else None

    def name(self, cell: str) -> str:
        """Return a campaign's name, "" for none."""
        return _sized(cell, self._columns.name, NAME) if cell else ""

    def expiration(self, cell: str) -> int | None:
        """Return an instant in nanoseconds; None: never."""
        return self._instant(cell, self._columns.expiration) if cell else None

    def acquisition(self, cell: str) -> int | None:
        """Return an instant in nanoseconds; None: not told."""
        return self._instant(cell, ACQUIRED) if cell else None

    def _instant(self, text: str, column: str) -> int | None:
        try:
            return instants.parse(text, self._zone)
        except instants.TimeFault as fault:
            hint = "say --time-zone ZONE" if fault.lacks_zone else ""
            raise RowFault(
                f'column "{column}": "{shown(text)}" {fault};'
                f" allowed is {instants.ALLOWED}, or nothing for none",
                hint,
            ) from None


class Foreign(Literal):
    """Reads cells as other programs write them."""

    def __init__(self, reading: Reading) -> None:
        super().__init__(reading)
        self._trim = reading.trim
        self._any_ids = reading.any_ids

    def record_id(self, cell: str) -> str:
        """Return a record id, exactly as it stands."""
        if cell.isalnum() and cell.isascii() and cell.lower() not in _NOTHING:
            found = _sized(cell, self._columns.record, RECORD)
        else:
            found = self._id(cell, self._columns.record, RECORD)
        if found.isdigit() and found.isascii() and not self._any_ids:
            self.evidence.add(found)
        return found

    def pass_over(self, cell: str) -> None:
        """Take note of the record id of a row that is not imported."""
        if cell.isdigit() and cell.isascii():
            self.evidence.compare(cell)

    def campaign_id(self, cell: str) -> str | None:
        """Return a campaign id, exactly as it stands; None: nobody."""
        if _stripped(cell).lower() in NULLS:
            return None
        return self._id(cell, self._columns.owner, CAMPAIGN)

    def name(self, cell: str) -> str:
        """Return a campaign's name without blanks around it, "" for none."""
        stripped = _stripped(cell)
        if stripped.lower() in _NOTHING:
            return ""
        return _sized(stripped, self._columns.name, NAME)

    def expiration(self, cell: str) -> int | None:
        """Return an instant in nanoseconds; None: never."""
        stripped = _stripped(cell)
        return (
            None if stripped.lower() in NULLS else self._instant(stripped, self._columns.expiration)
        )

    def acquisition(self, cell: str) -> int | None:
        """Return an instant in nanoseconds; None: not told."""
        stripped = _stripped(cell)
        return None if stripped.lower() in NULLS else self._instant(stripped, ACQUIRED)

    def _id(self, cell: str, column: str, what: str) -> str:
        stripped = _stripped(cell)
        if stripped.lower() in NULLS:
            raise _empty(column, what, stripped)
        if stripped != cell and not self._trim:
            mark = next((each for each in (cell[0], cell[-1]) if each in _INVISIBLE), "")
            around = f"the invisible mark U+{ord(mark):04X}" if mark else "blanks"
            raise RowFault(
                f'column "{column}": "{shown(cell)}" has {around} around it, which makes it another'
                f" {what}",
                "say --trim to cut that",
            )
        if not self._any_ids:
            _check_meant(stripped, column, what)
        if _LOST in stripped or not stripped.isprintable():  # also where there is a wide blank
            _check_visible(stripped, column, what)
        return _sized(stripped, column, what)


class Remembered(dict[str, Value]):
    """What cells mean, by their text: the same few stand in row after row."""

    def __init__(self, read: Callable[[str], Value]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, cell: str) -> Value:
        if len(self) >= _CACHED:
            self.clear()
        value = self[cell] = self._read(cell)
        return value


def damaged(cell: str, column: str, what: str) -> RowFault:
    """Return what to say of an id that a spreadsheet made `what`."""
    return RowFault(
        f'column "{column}": "{shown(cell)}" looks damaged by a spreadsheet, which made it {what};'
        " export ids as text",
        ANY_IDS,
    )


def shown(text: str) -> str:
    """Return a text as a message quotes it: not too much of it, and on one line."""
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return clean(text)


def _stripped(cell: str) -> str:
    stripped = cell.strip()
    return stripped.strip(_INVISIBLE).strip() if stripped and not stripped.isascii() else stripped


def _check_visible(text: str, column: str, what: str) -> None:
    for character in text:
        if character == _LOST or unicodedata.category(character) in _INVISIBLE_KINDS:
            raise RowFault(
                f'column "{column}": "{shown(text)}" has the character U+{ord(character):04X},'
                f" which no {what} is typed with"
            )


def _check_meant(text: str, column: str, what: str) -> None:
    """Refuse an id that is something else than what it was made from."""
    where = f'column "{column}": "{shown(text)}"'
    if text.lower() in DOUBTFUL_NULLS:
        raise RowFault(
            f"{where} is how some programs write nothing; leave the cell empty, or write NULL",
            ANY_IDS,
        )
    if (damage := sign_of_damage(text)) is not None:
        raise damaged(text, column, damage)
    if len(text) > 1 and text[0] + text[-1] in _QUOTES:
        raise RowFault(f'{where} is in quotes that are none in CSV, which takes only "', ANY_IDS)
    if text.isdecimal() and not text.isascii():
        plain = "".join(str(unicodedata.decimal(each)) for each in text)
        raise RowFault(
            f'{where} has other digits than 0 to 9, so it is another {what} than "{plain}"', ANY_IDS
        )


def _empty(column: str, what: str, cell: str = "") -> RowFault:
    said = f' ("{cell}")' if cell else ""
    return RowFault(f'column "{column}" is empty{said}; a {what} has 1 byte or more')


def _sized(text: str, column: str, what: str) -> str:
    if not text:
        raise _empty(column, what)
    most = _LIMITS[what]
    # No character takes more than four bytes, so most texts need not be encoded to be measured.
    size = len(text) if len(text) * 4 <= most else len(text.encode())
    if size > most:
        raise RowFault(
            f'column "{column}" has {size} bytes, "{shown(text)}"; a {what} has at most {most}'
        )
    return text
