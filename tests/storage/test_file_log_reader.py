"""Readers of the log as files, beside the one who appends: each entry once, in order, and no other.

What is removed meanwhile is said to be; a reader never holds the writer up.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sanitizer import examples, patient_s
from segment_log import (
    APPEND_BYTES,
    BLOCK,
    Row,
    acquire,
    append,
    create,
    entries,
    fill,
    rows_of,
    scratch_directory,
    segment_file,
    segments,
)

from ownerd.storage.testing import DiskFaults, SegmentLog, SegmentReader

WAIT_S = patient_s(120)


@pytest.fixture
def scratch() -> Iterator[Path]:
    with scratch_directory() as directory:
        yield directory


def size_of(revision: int) -> int:
    return 2 * APPEND_BYTES if revision % 97 == 0 else revision * 37 % (2 * BLOCK)


class Beside:
    """A log that one thread appends to, and another keeps up, until `last` was appended."""

    def __init__(self, log: SegmentLog, last: int, trims: bool) -> None:
        self.log = log
        self.last = last
        self.trims = trims
        self.is_over = threading.Event()

    def append(self) -> None:
        try:
            for revision in range(1, self.last + 1):
                while (status := append(self.log, revision, size_of(revision))) == "full":
                    pass
                assert status == "ok"
        finally:
            self.is_over.set()

    def keep_up(self) -> None:
        while not self.is_over.is_set():
            assert self.log.prepare_step() in ("ok", "more")
            if self.trims:
                flushed = max(0, self.log.revision - 200)
                assert self.log.trim_step(flushed, 0, keep=False) in ("ok", "more")

    def read(self, after: int) -> int:
        """Read from a revision to the end, or to where it was overtaken; return how far."""
        reader = SegmentReader(self.log, after)
        last = after
        if reader.status == "trimmed":
            return last
        while last < self.last:
            found = reader.next()
            if found == "trimmed":
                assert self.trims and self.log.oldest > last
                return last
            if found == "tail":
                assert not self.is_over.is_set() or last < self.log.revision
                continue
            last += 1
            assert found == (last, last * 10, rows_of(last, size_of(last)))
            assert last <= self.log.revision + 1
        return last


@pytest.mark.parametrize("trims", [False, True])
def test_readers_beside_a_writer_see_each_entry_once_and_in_order(
    scratch: Path, trims: bool
) -> None:
    log = acquire(create(scratch / "log"))
    beside = Beside(log, examples(3_000), trims)
    with ThreadPoolExecutor(6) as threads:
        work = [threads.submit(beside.append), threads.submit(beside.keep_up)]
        reading = [threads.submit(beside.read, 0) for _ in range(2)]
        while not beside.is_over.is_set():
            reading.append(threads.submit(beside.read, max(log.oldest, log.revision - 100)))
            reading[-1].result(WAIT_S)
        for done in work:
            done.result(WAIT_S)
        read = [done.result(WAIT_S) for done in reading]
    assert trims or set(read) == {beside.last}
    assert beside.last in read
    assert beside.read(max(0, log.oldest)) == beside.last


def test_a_reader_at_the_end_waits_for_nothing_and_finds_what_comes(scratch: Path) -> None:
    log = acquire(create(scratch / "log"))
    reader = SegmentReader(log)
    found: list[str | tuple[int, int, list[Row]]] = []
    for revision in range(1, 60):
        assert reader.next() == "tail"
        fill(log, revision, revision)
        found.append(reader.next())
    assert found == entries(1, 59)
    assert log.end() == "ok"
    assert reader.next() == "tail"


def test_a_reader_sees_nothing_that_is_not_synced(scratch: Path) -> None:
    log = acquire(create(scratch / "log"))
    fill(log, 1, 2)
    reader = SegmentReader(log, 1)
    assert reader.next() == entries(2, 2)[0]
    with DiskFaults(0, 5, kinds=["sync"]):
        assert append(log, 3) == "failed"
    assert reader.next() == "tail"
    assert SegmentReader(log, 3).status == "ahead"


def test_a_reader_in_a_segment_that_is_removed_reads_it_to_its_end(scratch: Path) -> None:
    directory = create(scratch / "log")
    log = acquire(directory)
    fill(log, 1, 60)
    reader = SegmentReader(log)
    assert reader.next() == entries(1, 1)[0]
    assert log.trim(60, 0, keep=False) == "ok"
    fill(log, 61, 100)
    assert 1 not in segments(directory)
    for revision in range(2, 15):
        assert reader.next() == entries(revision, revision)[0]
    assert reader.next() == reader.next() == "trimmed"
    assert SegmentReader(log, 14).status == "trimmed"


def test_a_segment_that_is_read_is_not_used_again(scratch: Path) -> None:
    directory = create(scratch / "log")
    log = acquire(directory)
    fill(log, 1, 60)
    reader = SegmentReader(log)
    assert log.trim_step(60, 0, keep=False) == "more"
    assert not Path(directory, "spare.new").exists()
    assert log.trim_step(60, 0, keep=False) == "more"
    assert Path(directory, "spare.new").exists()
    assert reader.next() == entries(1, 1)[0]


def test_a_reader_is_told_of_an_entry_that_rots_beside_it(scratch: Path) -> None:
    directory = create(scratch / "log")
    log = acquire(directory)
    fill(log, 1, 40)
    for revision in (3, 14, 20, 40):
        number, place = 1 + (revision - 1) // 14, BLOCK * (1 + (revision - 1) % 14) + 100
        path = segment_file(directory, number)
        data = bytearray(path.read_bytes())
        with path.open("r+b") as file:
            file.seek(place)
            file.write(bytes([data[place] ^ 1]))
        reader = SegmentReader(log)
        for before in range(1, revision):
            assert reader.next() == entries(before, before)[0]
        assert reader.next() == reader.next() == "damaged"
        with path.open("r+b") as file:
            file.seek(place)
            file.write(data[place : place + 1])
        assert reader.next() == entries(revision, revision)[0]
