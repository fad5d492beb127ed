"""Records that a file names more than once: for the same owner, or for several.

Rows are kept by a hash of their record, in memory while they are few, then in a temporary file, so
that the check takes memory for a small part of them at a time.
"""

import marshal
import tempfile
from array import array
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from ownerd.contactfile.faults import NoRoom

PARTS = 256
IN_MEMORY = 1 << 16  # rows

Entry = tuple[str, str, int, int | None]  # record, campaign, line, expiring


class Contradiction(NamedTuple):
    """Two rows that give one record to two campaigns; each is a campaign and its line."""

    record_id: str
    first: tuple[str, int]
    other: tuple[str, int]


class Repeats:
    """Takes rows, and finds the repeats among them when all are there. `close` drops them."""

    def __init__(self) -> None:
        self.same_owner_count = 0  # of rows that say no more than an earlier one
        self._parts: list[list[Entry]] = [[] for _ in range(PARTS)]
        self._count = 0
        self._file: BinaryIO | None = None
        self._pieces: list[list[int]] = [[] for _ in range(PARTS)]  # where they begin in the file

    def add(
        self, record_id: str, campaign_id: str, line: int, expire_ns: int | None = None
    ) -> None:
        """Take a row; `expire_ns` None: it does not expire.

        Raises:
            NoRoom: A temporary file cannot be written.
        """
        self._parts[hash(record_id) % PARTS].append((record_id, campaign_id, line, expire_ns))
        self._count += 1
        if self._count == IN_MEMORY:
            try:
                self._spill()
            except OSError as error:
                raise NoRoom(error.strerror) from error

    def contradictions(self) -> Iterator[Contradiction]:
        """Yield every row that names another owner than an earlier row of its record does."""
        for number in range(PARTS):
            first: dict[str, tuple[str, int]] = {}
            for record_id, campaign_id, line, _ in self._part(number):
                known = first.setdefault(record_id, (campaign_id, line))
                if known[1] == line:
                    continue
                if known[0] == campaign_id:
                    self.same_owner_count += 1
                else:
                    yield Contradiction(record_id, known, (campaign_id, line))

    def merged(self) -> "array[int]":
        """Return the lines of rows that another stands for, in order: it ends no sooner."""
        found = array("Q")
        for number in range(PARTS):
            standing: dict[str, tuple[int, int | None]] = {}
            for record_id, _, line, expire_ns in self._part(number):
                one, other = standing.get(record_id), (line, expire_ns)
                if one is not None and not _ends_later(other, one):
                    one, other = other, one
                if one is not None:
                    found.append(one[0])
                standing[record_id] = other
        return array("Q", sorted(found))

    def close(self) -> None:
        """Drop what was kept."""
        if self._file is not None:
            self._file.close()

    def _part(self, number: int) -> Iterator[Entry]:
        for position in self._pieces[number]:
            assert self._file is not None
            self._file.seek(position)
            yield from marshal.load(self._file)
        yield from self._parts[number]

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
        for part, pieces in zip(self._parts, self._pieces, strict=True):
            pieces.append(self._file.tell())
            marshal.dump(part, self._file)
            part.clear()
        self._count = 0


def _ends_later(one: tuple[int, int | None], other: tuple[int, int | None]) -> bool:
    return other[1] is not None and (one[1] is None or one[1] > other[1])
