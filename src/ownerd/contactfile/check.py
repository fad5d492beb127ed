"""A whole contact file, checked before anything is done with it.

First every row is read and refused or kept; then what only all rows together show is known:
records with two owners, and ids that a spreadsheet has damaged. A limit says how many rows may be
refused; beyond it the file is.
"""

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from ownerd.contactfile.faults import FileFault, Refusal
from ownerd.contactfile.reader import Owned, Reader
from ownerd.contactfile.repeats import Contradiction, Repeats
from ownerd.contactfile.values import ANY_IDS, shown


class Check:
    """Checks one file: iterate `rows` to its end, then `finish`; then ask `refusal` of each row.

    Attributes:
        refused_count: rows that are not taken.
        repeated_count: rows that name a record again, for the same owner.
    """

    def __init__(self, reader: Reader, *, now_ns: int, most_refused: int = 0) -> None:
        """Remember what to check.

        Args:
            reader: The file.
            now_ns: Rows that expired before are no repeats of others.
            most_refused: How many rows may be refused; with one more the file is.
        """
        self.refused_count = 0
        self.repeated_count = 0
        self._reader = reader
        self._now_ns = now_ns
        self._most_refused = most_refused
        self._repeats = Repeats()
        self._contradictions: dict[int, Refusal] = {}  # by line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._repeats.close()

    def rows(self) -> Iterator[Owned]:
        """Yield the rows that are not refused at sight.

        Raises:
            FileFault: The file is no contact file, or too many of its rows are refused.
            NoRoom: A temporary file cannot be written.
            OSError: The file cannot be read.
        """
        for row in self._reader:
            if isinstance(row, Refusal):
                self._refuse(row)
                continue
            if row.expire_ns is None or row.expire_ns > self._now_ns:
                self._repeats.add(row.record_id, row.campaign_id, row.line)
            yield row

    def finish(self) -> None:
        """Find what only all rows together show; `refusal` knows it then.

        Raises:
            FileFault: Too many rows are refused.
        """
        found_all = self._repeats.contradictions()
        if not self._most_refused:
            first = min(found_all, key=lambda found: found.other[1], default=None)
            found_all = iter(() if first is None else (first,))
        for found in found_all:
            for line in (found.other[1], found.first[1]):
                if line not in self._contradictions:
                    refusal = Refusal(line, _two_owners(found))
                    self._contradictions[line] = refusal
                    self._refuse(refusal)
        self.repeated_count = self._repeats.same_owner_count
        damaged_count = self._reader.evidence.damaged_count
        if damaged_count > self._most_refused - self.refused_count:
            self._refuse_damaged(damaged_count)
        self.refused_count += damaged_count

    @property
    def has_late_refusals(self) -> bool:
        """Whether some rows that were yielded are refused after all."""
        return bool(self._contradictions) or self._reader.evidence.damaged_count > 0

    def refusal(self, line: int, record_id: str) -> Refusal | None:
        """Return why a row is refused that was not at sight; None: it is not."""
        complaint = self._reader.evidence.complaint(record_id)
        if complaint is not None:
            return Refusal(line, complaint, ANY_IDS)
        return self._contradictions.get(line)

    def refusals(self) -> Iterator[tuple[Refusal, list[str], bool]]:
        """Read the file once more, and yield every refused row in order.

        With its cells, and whether it was not refused at sight.
        """
        again = self._reader.again()
        for row in again:
            if isinstance(row, Refusal):
                yield row, again.cells, False
            elif (found := self.refusal(row.line, row.record_id)) is not None:
                yield found, again.cells, True

    def _refuse(self, refusal: Refusal) -> None:
        self.refused_count += 1
        if self.refused_count <= self._most_refused:
            return
        reason = refusal.reason
        if self._most_refused:
            reason += f"; that is one row more than may be refused ({self._most_refused:,})"
        raise FileFault(reason, refusal.line, refusal.hint)

    def _refuse_damaged(self, count: int) -> None:
        """Read the file again, for the line of the first damaged id."""
        for row in self._reader.again():
            if isinstance(row, Owned):
                complaint = self._reader.evidence.complaint(row.record_id)
                if complaint is not None:
                    more = f" ({count:,} such rows)" if count > 1 else ""
                    raise FileFault(complaint + more, row.line, ANY_IDS)


def _two_owners(found: Contradiction) -> str:
    (one, line), (other, other_line) = found.first, found.other
    return (
        f'record "{shown(found.record_id)}" has two owners: "{shown(one)}" in line {line},'
        f' "{shown(other)}" in line {other_line}'
    )
