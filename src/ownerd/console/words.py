"""How a person reads what a page says: one language and one time zone, for one request.

`Words` fills the catalogue's texts with values by what they are: a datetime is a time in the
reader's zone, a timedelta a length in words, an int a count, a `Name` an id or name that somebody
chose, which is set apart from the text around it. As HTML everything is escaped; nothing that
somebody chose is ever part of a text. Immutable.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from markupsafe import Markup, escape

from ownerd.console.texts import LANGUAGES, TEXTS
from ownerd.printable import clean

_ENGLISH, _GERMAN = LANGUAGES
_INDEX = {language: index for index, language in enumerate(LANGUAGES)}
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+\-]*(/[A-Za-z0-9_+\-]+){0,2}")
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_UNITS = (("days", 86_400), ("hours", 3_600), ("minutes", 60), ("seconds", 1))
_SHORT = {"days": "d", "hours": "h", "minutes": "min", "seconds": "s"}

# The server's advice names calls of its API: CreateContactList.
_ADVICE = re.compile(r"[;.] [^;.]*\b(?:[A-Z][a-z]+){2,}\b.*", re.DOTALL)


def for_people(message: str) -> str:
    """Return a message of the server without what it advises programs to call."""
    return _ADVICE.sub("", message)


class Name(str):
    """An id or a display name that somebody chose."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Names:
    """Several of them."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Roughly:
    """A length of time of which the two largest units are said."""

    length: timedelta


@dataclass(frozen=True, slots=True)
class Say:
    """A text of the catalogue and what goes into it: what view models speak in."""

    key: str
    arguments: dict[str, Any]


def say(key: str, **arguments: Any) -> Say:
    """Return a text to be said later, in the reader's language."""
    return Say(key, arguments)


def link(path: str, **parameters: str | int | None) -> str:
    """Return the address of a page; parameters that are None are left out."""
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


@lru_cache(maxsize=64)
def zone_of(name: str | None) -> ZoneInfo:
    """Return a time zone by the name that a browser gives it, UTC for what is none."""
    try:
        if name and _ZONE.fullmatch(name):
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    return ZoneInfo("UTC")


def language_of(cookie: str | None, accepted: str) -> str:
    """Return the language to speak: the one chosen, else the first that the browser takes."""
    if cookie in LANGUAGES:
        return cookie
    for part in accepted.split(","):
        language = part.split(";")[0].strip().lower().split("-")[0]
        if language in LANGUAGES:
            return language
    return _ENGLISH


class Words:
    """The catalogue in one language, with times in one zone."""

    def __init__(self, language: str = _ENGLISH, zone: str | None = None) -> None:
        self.language = language
        self.zone = zone_of(zone)
        self._index = _INDEX[language]
        self._is_german = language == _GERMAN

    # ---- texts

    def template(self, key: str, n: Any = None) -> str:
        """Return a text as it stands in the catalogue, the singular where n is 1."""
        singular = TEXTS.get(f"{key}.one") if n == 1 and not isinstance(n, bool) else None
        return (singular or TEXTS[key])[self._index]

    def text(self, key: str, **arguments: Any) -> str:
        """Return a text as plain text."""
        filled = {name: self.plain(value) for name, value in arguments.items()}
        return self.template(key, arguments.get("n")).format(**filled)

    def html(self, key: str, **arguments: Any) -> Markup:
        """Return a text as HTML, with names and times marked as what they are."""
        filled = {name: self.marked(value) for name, value in arguments.items()}
        return escape(self.template(key, arguments.get("n"))).format(**filled)

    def said(self, what: Say) -> Markup:
        """Return what a view model says, as HTML."""
        return self.html(what.key, **what.arguments)

    def said_plain(self, what: Say) -> str:
        """Return what a view model says, as plain text."""
        return self.text(what.key, **what.arguments)

    def plain(self, value: Any) -> str:
        """Return a value as plain text."""
        if isinstance(value, Say):
            return self.said_plain(value)
        if isinstance(value, Names):
            return self._joined(map(clean, value.names))
        if isinstance(value, datetime):
            return self.time(value)
        if isinstance(value, timedelta):
            return self.length(value)
        if isinstance(value, Roughly):
            return self.short_length(value.length)
        if isinstance(value, int) and not isinstance(value, bool):
            return self.count(value)
        return clean(str(value))

    def marked(self, value: Any) -> Markup:
        """Return a value as HTML."""
        if isinstance(value, Markup):
            return value
        if isinstance(value, Say):
            return self.said(value)
        if isinstance(value, Name):
            return self.name(value)
        if isinstance(value, Names):
            return Markup(self._joined(str(self.name(each)) for each in value.names))
        if isinstance(value, datetime):
            return self.moment(value)
        return escape(self.plain(value))

    def name(self, value: str) -> Markup:
        """Return an id or name as HTML: of its own direction, and with nothing invisible in it."""
        return Markup('<bdi class="name">{}</bdi>').format(clean(value))

    def names(self, values: Iterable[str]) -> Markup:
        """Return several of them as HTML."""
        return self.marked(Names(tuple(values)))

    def _joined(self, parts: Iterable[str]) -> str:
        *most, last = [*parts] or [""]
        word = " und " if self._is_german else " and "
        return word.join((", ".join(most), last)) if most else last

    # ---- numbers

    def count(self, value: int) -> str:
        """Return a whole number."""
        return self._separated(f"{value:,}")

    def rate(self, value: float | None) -> str:
        """Return so many a second; a dash where that is not known yet."""
        if value is None:
            return "–"
        digits = 0 if value >= 10 or value == 0 else 1
        return self._separated(f"{value:,.{digits}f}")

    def percent(self, share: float) -> str:
        """Return a share of 1 in percent."""
        if 0 < share < 0.001:
            return self._separated("< 0.1") + (" %" if self._is_german else "%")
        return self._separated(f"{share * 100:.1f}") + (" %" if self._is_german else "%")

    def size(self, size_bytes: int) -> str:
        """Return a size in binary units."""
        value, unit = float(size_bytes), "B"
        for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
            if value < 1024 or unit == "TiB":
                break
            value /= 1024
        return f"{self._separated(f'{value:.0f}' if unit == 'B' else f'{value:.1f}')} {unit}"

    def _separated(self, english: str) -> str:
        return english.translate(_SWAPPED) if self._is_german else english

    # ---- times

    def zone_short(self, at: datetime | None = None) -> str:
        """Return the zone's short name at an instant, such as CET or UTC+03."""
        name = (at or datetime.now(UTC)).astimezone(self.zone).tzname() or "UTC"
        return f"UTC{name}" if name[:1] in "+-" else name

    def time(self, at: datetime | None, *, seconds: bool = True) -> str:
        """Return an instant in the reader's zone, with the zone."""
        if at is None:
            return "–"
        local = at.astimezone(self.zone)
        clock = local.strftime("%H:%M:%S" if seconds else "%H:%M")
        if self._is_german:
            day = local.strftime("%d.%m.%Y")
        else:
            day = f"{local.day} {_MONTHS[local.month - 1]} {local.year}"
        return f"{day}, {clock} {self.zone_short(at)}"

    def moment(self, at: datetime | None, *, seconds: bool = True) -> Markup:
        """Return an instant as HTML."""
        if at is None:
            return Markup("–")
        stamp = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Markup('<time datetime="{}">{}</time>').format(stamp, self.time(at, seconds=seconds))

    def from_now(self, at: datetime | None, now: datetime) -> str:
        """Return how far off an instant is, roughly: the two largest units."""
        if at is None:
            return ""
        away = at - now
        if abs(away) < timedelta(seconds=1):
            return self.text("now")
        key = "in_time" if away > timedelta(0) else "ago"
        return self.text(key, length=self.short_length(abs(away)))

    def length(self, value: timedelta | None) -> str:
        """Return a length of time in words, whole; None is one without end."""
        if value is None:
            return self.text("never")
        parts = [self.text(f"unit.{unit}", n=n) for unit, n in _split(value) if n]
        return " ".join(parts) or self.text("unit.zero")

    def short_length(self, value: timedelta) -> str:
        """Return the two largest units of a length of time."""
        parts = [(unit, n) for unit, n in _split(value)]
        first = next((i for i, (_, n) in enumerate(parts) if n), len(parts) - 1)
        shown = [part for part in parts[first : first + 2] if part[1] or part is parts[first]]
        return " ".join(f"{self.count(n)} {_SHORT[unit]}" for unit, n in shown)


def _split(value: timedelta) -> list[tuple[str, int]]:
    left, parts = int(value.total_seconds()), []
    for unit, seconds in _UNITS:
        n, left = divmod(left, seconds)
        parts.append((unit, n))
    return parts


_SWAPPED = str.maketrans({",": ".", ".": ","})
