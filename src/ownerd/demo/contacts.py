"""The contact list of the demo: reading any CSV file of contacts, and making one up.

Owns: what counts as a readable contact list. All that the demo needs of a contact is its record id,
the column `i3_identity`; every other column is the owner's business and is passed over.
"""

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ownerd import limits

ID_COLUMN = "i3_identity"
SAMPLE_CONTACT_COUNT = 10_000
_DELIMITERS = ",;\t|"

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
    """Read a CSV file that has a header with an `i3_identity` column, wherever it stands.

    Comma, semicolon, tab and | separate fields; quoted fields, a byte order mark, blank lines and
    any other columns are fine. The name of the column may differ in case.

    Raises:
        ContactsError: The file cannot be read, is no UTF-8 CSV file, has no such column, no rows,
            or a row with a missing, overlong or repeated id. The message names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = _find_delimiter(path, file)
            file.seek(0)
            return _read_rows(path, csv.reader(file, delimiter=delimiter, strict=True))
    except OSError as error:
        raise ContactsError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ContactsError(f"{path} is not UTF-8 text; save it as CSV in UTF-8") from error


def _find_delimiter(path: Path, file: TextIO) -> str:
    """Return the delimiter under which the header has the id column."""
    for delimiter in _DELIMITERS:
        file.seek(0)
        try:
            names = next(csv.reader(file, delimiter=delimiter), [])
        except csv.Error as error:
            raise ContactsError(f"{path} is not a CSV file: {error}") from error
        if ID_COLUMN in map(_normalized, names):
            return delimiter
    file.seek(0)
    header_line = file.readline().strip()
    if not header_line:
        raise ContactsError(f"{path} has no header in line 1; name the columns there")
    if not header_line.replace("\t", " ").isprintable():
        raise ContactsError(f"{path} is not a CSV file: it has control characters in line 1")
    raise ContactsError(
        f"{path} has no column {ID_COLUMN}; its header is: {header_line[:80]}; "
        f"name the column with the record ids {ID_COLUMN}"
    )


def _normalized(column_name: str) -> str:
    return column_name.strip().lower()


def _read_rows(path: Path, reader: Any) -> ContactList:
    line_by_id: dict[str, int] = {}
    try:
        header = next(reader)
        position = [*map(_normalized, header)].index(ID_COLUMN)
        for row in reader:
            if row:
                record_id = _id_in(row, header, position, f"{path} line {reader.line_num}")
                _remember(line_by_id, record_id, path, reader.line_num)
    except csv.Error as error:
        raise ContactsError(f"{path} line {reader.line_num} is not CSV: {error}") from error
    if not line_by_id:
        raise ContactsError(f"{path} has a header and no contacts")
    others = [name for index, name in enumerate(header) if index != position]
    return ContactList(path, list(line_by_id), others)


def _id_in(row: list[str], header: list[str], position: int, where: str) -> str:
    if len(row) != len(header):
        # Usually an unquoted separator, after which every field, perhaps the id, is shifted.
        raise ContactsError(
            f"{where} has {len(row)} fields, the header has {len(header)}; "
            "quote fields that contain the separator"
        )
    record_id = row[position].strip()
    if not record_id:
        raise ContactsError(f"{where} has an empty {ID_COLUMN}; every contact needs one")
    size_bytes = len(record_id.encode())
    if size_bytes > limits.RECORD_ID_BYTES:
        raise ContactsError(
            f"{where} has an {ID_COLUMN} of {size_bytes} bytes; "
            f"up to {limits.RECORD_ID_BYTES} are allowed"
        )
    return record_id


def _remember(line_by_id: dict[str, int], record_id: str, path: Path, line: int) -> None:
    first_line = line_by_id.setdefault(record_id, line)
    if first_line != line:
        raise ContactsError(
            f"{path} line {line} repeats {ID_COLUMN} {record_id} of line {first_line}; "
            "each contact needs its own"
        )


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
