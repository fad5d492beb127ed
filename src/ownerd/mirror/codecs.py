"""How ids and instants stand in the columns of a table.

An expiration is rounded up to what its column keeps, so that no record looks free too early (R3).
Columns without a time zone, and text, are in UTC.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import types
from sqlalchemy.types import TypeEngine

from ownerd.mirror.faults import TableFault

NS_PER_US: Final = 1_000
NS_PER_SECOND: Final = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BIGGEST = 2**63
NUL = "\x00"  # which databases do not take in a text
_TEXT_LENGTH = len("2026-01-31T18:00:00.000000Z")
# What a column of a type keeps, where that is less than the microseconds that Python has: a tenth
# of what SQL Server's DATETIME keeps is no multiple of anything, 10 ms are.
_COARSE_NS = {
    ("mssql", "DATETIME"): 10_000_000,
    ("mssql", "SMALLDATETIME"): 60 * NS_PER_SECOND,
    ("oracle", "DATE"): NS_PER_SECOND,
}
_ONLY_SECONDS = ("mysql", "mariadb")  # unless they are told to keep more


class Unreadable:
    """What stands in the place of an instant and is none."""


UNREADABLE: Final = Unreadable()


@dataclass(frozen=True)
class Keys:
    """Record ids in the key column."""

    type_: TypeEngine[Any]
    is_number: bool
    is_padded: bool = False

    def write(self, record_id: str) -> int | str | None:
        """Return the key of a record; None: no row can have it."""
        if not self.is_number:
            return None if NUL in record_id else record_id
        digits = record_id.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal()) or len(digits) > 19:
            return None
        number = int(record_id)
        if str(number) != record_id or not -_BIGGEST <= number < _BIGGEST:
            return None
        return number

    def read(self, value: Any) -> str:
        """Return the record that a key is of; one that no record can have as it stands."""
        if self.is_number:
            whole = isinstance(value, Decimal | float) and value % 1 == 0
            return str(int(value)) if whole else str(value)
        return _stripped(value) if self.is_padded else str(value)


@dataclass(frozen=True)
class Texts:
    """Ids of campaigns, or their names, in a column."""

    type_: TypeEngine[Any]
    column: str
    length: int | None
    is_name: bool
    is_padded: bool

    def write(self, text: str) -> str:
        """Return what the column is to hold; a name that is too long is cut.

        Raises:
            TableFault: It is an id, which cut would be another's.
        """
        if self.is_name:
            return text.replace(NUL, "")[: self.length]
        if NUL in text:
            raise TableFault(f"the campaign {text!r} has a character that no column takes")
        if self.length is None or len(text) <= self.length:
            return text
        raise TableFault(
            f'column "{self.column}" takes {self.length} characters, too few for the campaign'
            f' "{text}"; make it longer'
        )

    def read(self, value: Any) -> str | None:
        """Return what the column holds."""
        if value is None:
            return None
        return _stripped(value) if self.is_padded else str(value)


@dataclass(frozen=True)
class Instants:
    """Expirations in a column; None is none.

    Attributes:
        type_: of the column.
        precision_ns: what it keeps; everything that is written is a multiple of it.
        form: makes of a moment in UTC what is written.
    """

    type_: TypeEngine[Any]
    precision_ns: int
    form: Callable[[datetime], Any]

    def write(self, time_ns: int | None) -> Any:
        """Return what stands for an instant, rounded up."""
        return None if time_ns is None else self.form(_moment(self.rounded_up(time_ns)))

    def write_floor(self, time_ns: int) -> Any:
        """Return what stands for an instant, rounded down."""
        return self.form(_moment(time_ns - time_ns % self.precision_ns))

    def rounded_up(self, time_ns: int) -> int:
        """Return the instant that is written."""
        return -(-time_ns // self.precision_ns) * self.precision_ns

    def is_exact(self, time_ns: int) -> bool:
        """Say whether it can be told of each expiration that was written which side it was on."""
        return time_ns % self.precision_ns == 0

    def read(self, value: Any) -> int | Unreadable | None:
        """Return the instant that a value of the driver's stands for."""
        if value is None:
            return None
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value.strip())
            except ValueError:
                return UNREADABLE
        if not isinstance(value, datetime):
            return UNREADABLE
        aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return (aware - _EPOCH) // timedelta(microseconds=1) * NS_PER_US


def keys_of(column: str, type_: TypeEngine[Any]) -> Keys:
    """Return how record ids stand in a column.

    Raises:
        TableFault: It is neither of whole numbers nor of text.
    """
    if isinstance(type_, types.Integer) or (isinstance(type_, types.Numeric) and not type_.scale):
        # The widest that there is, whatever the column's: no id is out of a parameter's range.
        return Keys(types.BigInteger(), True)
    if isinstance(type_, types.String):
        return Keys(type_, False, isinstance(type_, types.CHAR | types.NCHAR))
    raise _unfit(column, type_, "whole numbers or text")


def texts_of(column: str, type_: TypeEngine[Any], *, is_name: bool) -> Texts:
    """Return how ids of campaigns, or names, stand in a column.

    Raises:
        TableFault: It is not of text.
    """
    if not isinstance(type_, types.String):
        raise _unfit(column, type_, "text")
    is_padded = isinstance(type_, types.CHAR | types.NCHAR)
    return Texts(type_, column, type_.length, is_name, is_padded)


def instants_of(column: str, type_: TypeEngine[Any], dialect: str) -> Instants:
    """Return how expirations stand in a column of a database of a dialect.

    Raises:
        TableFault: It is neither of date and time nor of text that is long enough.
    """
    if isinstance(type_, types.String):
        if type_.length is not None and type_.length < _TEXT_LENGTH:
            raise _unfit(column, type_, f"date and time, or {_TEXT_LENGTH} characters")
        return Instants(type_, NS_PER_US, _as_text)
    if not isinstance(type_, types.DateTime):
        raise _unfit(column, type_, "date and time")
    name = type_.__visit_name__.upper()
    aware = type_.timezone or name == "DATETIMEOFFSET"
    precision_ns = _precision_ns(dialect, name, type_)
    return Instants(type_, precision_ns, _as_aware if aware else _as_naive)


def _precision_ns(dialect: str, name: str, type_: TypeEngine[Any]) -> int:
    if (dialect, name) in _COARSE_NS:
        return _COARSE_NS[dialect, name]
    kept: int | None = getattr(type_, "precision", None)
    if dialect in _ONLY_SECONDS:
        kept = getattr(type_, "fsp", None) or 0
    digits = 6 if kept is None else kept
    return max(NS_PER_US, int(NS_PER_SECOND / 10**digits))


def _unfit(column: str, type_: TypeEngine[Any], wanted: str) -> TableFault:
    return TableFault(f'column "{column}" is of type {type_!r}; it must be of {wanted}')


def _stripped(value: Any) -> str:
    return str(value).rstrip(" ")


def _moment(time_ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_ns // NS_PER_US)


def _as_naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


def _as_aware(moment: datetime) -> datetime:
    return moment


def _as_text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06}Z"
