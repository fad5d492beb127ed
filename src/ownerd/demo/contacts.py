"""The contact list of the demo: the record ids of any file of contacts, or a list made up.

All that the demo needs of a contact is its record id, the column `i3_identity`; every other column
is the owner's business and is passed over.
"""

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ownerd.contactfile.faults import FileFault, Refusal
from ownerd.contactfile.reader import Reader
from ownerd.contactfile.values import Reading

ID_COLUMN = "i3_identity"
SAMPLE_CONTACT_COUNT = 10_000

_FIRST_NAMES = (
    "Ada Amir Ana Anton Aya Ben Carla Chen Clara Daniel Dina Elena Emil Eva Farah Felix Grace Hugo "
    "Ines Ivan Jack Jana Joao Julia Kofi Lara Leo Lin Maria Mei Mina Nadia Noah Olga Omar Paul "
    "Priya Rosa Sam Sara Tariq Tess Tom Vera Wei Yusuf Zoe"
).split()
_LAST_NAMES = (
    "Adams Alvarez Bauer Bell Brown Castro Chen Cole Cruz Diaz Evans Fischer Garcia Gray Haddad "
    "Hansen Hill Ito Jensen Jones Kaya Khan Kim Klein Kowalski Lee Lopez Marin Mendez Meyer Moore "
    "Nguyen Novak Okafor Olsen Ortiz Park Patel Perez Petrov Price Reed Rossi Sato Schmidt Silva "
    "Singh Smith Suzuki Tanaka Torres Vargas Wang Weber White Wilson Wong Yilmaz Young Zhang"
).split()
_AREA_CODES = {
    "America/New_York": (
        "201 202 203 207 212 215 216 239 248 267 301 302 304 305 313 315 321 336 352 386 401 404 "
        "407 410 412 413 419 434 440 443 470 475 484 508 513 516 518 540 561 570 585 603 609 610"
    ),
    "America/Chicago": (
        "205 210 214 217 218 224 225 251 256 262 281 309 312 314 316 318 319 320 331 334 337 361 "
        "402 405 409 414 417 430 432 469 479 501 504 507 512"
    ),
    "America/Denver": "303 307 385 406 435 505 575 719 720 801 970",
    "America/Phoenix": "480 520 602 623 928",
    "America/Los_Angeles": (
        "206 209 213 253 310 323 360 408 415 425 503 509 510 530 541 559 562 619 626 650 661 702"
    ),
}


class ContactsError(Exception):
    """A file is no contact list; the message says where, what was found and what to do."""


@dataclass(frozen=True, slots=True)
class ContactList:
    """The record ids of a contact list in the order of the file, and the file's other columns."""

    path: Path
    record_ids: list[str]
    other_columns: list[str]


def read_contacts(path: Path) -> ContactList:
    """Read a file of contacts that has a header with an `i3_identity` column, wherever it stands.

    What it may look like is `ownerd.contactfile`'s to say, as for `ownerctl import`.

    Raises:
        ContactsError: The file cannot be read, is no contact file, has no such column, no rows, or
            a row with a missing, overlong or repeated id. The message names the line.
    """
    try:
        with path.open("rb") as binary:
            reader = Reader(binary, Reading(records_only=True, trim=True))
            line_by_id = _lines(path, reader)
    except OSError as error:
        raise ContactsError(f"cannot read {path}: {error.strerror}") from error
    except FileFault as fault:
        raise ContactsError(_placed(path, fault.line, fault.message)) from fault
    if not line_by_id:
        raise ContactsError(f"{path} has a header and no contacts")
    header = reader.header
    others = [title for index, title in enumerate(header.titles) if index != header.record]
    return ContactList(path, list(line_by_id), others)


def _lines(path: Path, reader: Reader) -> dict[str, int]:
    """Return the record ids of a file, each with its line."""
    line_by_id: dict[str, int] = {}
    for row in reader.record_ids():
        if isinstance(row, Refusal):
            raise ContactsError(_placed(path, row.line, row.reason))
        line, record_id = row
        first_line = line_by_id.setdefault(record_id, line)
        if first_line != line:
            raise ContactsError(
                f"{path} line {line} repeats {ID_COLUMN} {record_id} of line {first_line}; "
                "each contact needs its own"
            )
    return line_by_id


def _placed(path: Path, line: int | None, message: str) -> str:
    return f"{path}: {message}" if line is None else f"{path} line {line}: {message}"


def write_sample(path: Path, seed: int, count: int = SAMPLE_CONTACT_COUNT) -> None:
    """Write a made-up contact list as CSV, the same for the same seed.

    The phone numbers are of the range 555-0100 to 555-0199, which belongs to nobody.
    """
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([ID_COLUMN, "first_name", "last_name", "phone", "zone", "attempts"])
        for record_id, (phone, zone) in zip(
            _sample_ids(draw, count), _sample_phones(draw, count), strict=True
        ):
            names = [draw.choice(_FIRST_NAMES), draw.choice(_LAST_NAMES)]
            writer.writerow([record_id, *names, phone, zone, draw.choice((0, 0, 0, 1, 2))])


def _sample_ids(draw: random.Random, count: int) -> Iterator[int]:
    """Yield rising identities with the gaps that deleted contacts leave."""
    record_id = 100_000
    for _ in range(count):
        record_id += draw.choice((1, 1, 1, 1, 2, 5))
        yield record_id


def _sample_phones(draw: random.Random, count: int) -> Iterator[tuple[str, str]]:
    """Yield numbers with their time zones; they repeat only when the range is used up."""
    numbers = [
        (f"+1{code}55501{line:02}", zone)
        for zone, codes in _AREA_CODES.items()
        for code in codes.split()
        for line in range(100)
    ]
    draw.shuffle(numbers)
    for index in range(count):
        yield numbers[index % len(numbers)]
