"""The log as files on a disk that fails: at each call in turn, and what is there afterwards.

An answered change is there whatever fails. A failed write or sync is the log's last, and is never
tried again; where only a file without a number lacked space, the log goes on.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import poll
from sanitizer import patient_s
from segment_log import (
    BLOCK,
    acquire,
    append,
    create,
    entries,
    fill,
    open_files,
    read_all,
    rows_of,
    scratch_directory,
    segment_file,
    segments,
)

from ownerd.storage.testing import DiskFaults, SegmentLog, SegmentReader

WAIT_S = patient_s(60)
LAST = 30
LARGE = (7, 20)  # revisions that get segments of their own
WAYS = {"eio": (errno.EIO, False), "enospc": (errno.ENOSPC, False), "short": (errno.EIO, True)}


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory in memory where possible, since syncing what fails by design proves nothing."""
    with scratch_directory() as directory:
        yield directory


def size_of(revision: int) -> int:
    return 20 * BLOCK if revision in LARGE else 100 + revision % 3 * BLOCK


def run(log: SegmentLog) -> list[str]:
    """Append as far as the log takes it, with its upkeep between; return what each step said."""
    said = []
    for revision in range(log.revision + 1, LAST + 1):
        said.append(log.prepare())
        said.append(append(log, revision, size_of(revision)))
        if said[-1] != "ok":
            return said
        if revision % 9 == 0:
            said.append(log.trim(revision - 5, 0, keep=False))
    said.append(log.end())
    return said


def check(directory: str, answered: int, flushed: int) -> None:
    """Open a log as after a crash: all that was answered is there, and at most one more."""
    log = acquire(directory, flushed)
    assert log.revision in (answered, answered + 1)
    assert [entry[0] for entry in read_all(log, flushed)] == [*range(flushed + 1, log.revision + 1)]
    for revision, _, rows in read_all(log, flushed):
        assert rows == rows_of(revision, size_of(revision))
    assert [name for name in os.listdir(directory) if not name.isdigit()] == []
    assert "failed" not in run(log) and log.revision == LAST
    log.close()
    assert acquire(directory, LAST).revision == LAST


def calls(scratch: Path) -> int:
    """Return how many calls to the disk a whole run makes."""
    log = acquire(create(scratch / "whole"))
    with DiskFaults(None, 0) as disk:
        assert set(run(log)) == {"ok"}
    return disk.count


@pytest.mark.parametrize("way", WAYS)
def test_r18_a_call_that_fails_loses_nothing_and_ends_the_log_where_it_was_touched(
    scratch: Path, way: str
) -> None:
    code, is_partial = WAYS[way]
    failed = went_on = 0
    for passes in range(calls(scratch)):
        shutil.rmtree(scratch / "log", ignore_errors=True)
        directory = create(scratch / "log")
        log = acquire(directory)
        with DiskFaults(passes, code, partial=is_partial) as disk:
            said = run(log)
            assert disk.has_failed
            answered = log.revision
            if log.error:
                failed += 1
                assert "failed" in said
                before = disk.count
                refused = [append(log, answered + 1), log.end(), log.prepare()]
                refused.append(log.trim(answered, 0, keep=False))
                assert refused == ["failed"] * 4
                assert disk.count == before and log.revision == answered
            else:
                went_on += 1
                assert "full" in said or said[-1] == "ok"
        flushed = log.oldest
        log.close()
        check(directory, answered, flushed)
    assert failed > 20
    # A short write to a file without a number goes on; a disk that is full is waited for.
    assert went_on > 5 or way == "eio"


def test_an_error_is_what_was_found_first(tmp_path: Path) -> None:
    log = acquire(create(tmp_path / "log"))
    with DiskFaults(0, errno.EIO, kinds=["sync"]):
        assert append(log, 1) == "failed"
    with DiskFaults(0, errno.ENOSPC):
        assert append(log, 1) == "failed"
    assert log.error == errno.EIO
    assert append(log, 1) == "failed"
    assert log.revision == 0 and read_all(log) == []


def test_a_full_disk_is_waited_for_by_the_next_segment_and_by_a_large_entry(tmp_path: Path) -> None:
    directory = create(tmp_path / "log")
    log = acquire(directory)
    assert append(log, 1) == append(log, 2) == append(log, 3) == "ok"
    offset = log.tail
    with DiskFaults(0, errno.ENOSPC, goes_on=True, kinds=["write"]):
        assert log.prepare() == "full"
        assert append(log, 4, 30 * BLOCK) == "full"
    assert os.listdir(directory) == [segment_file(directory, 1).name]
    assert log.error == 0 and log.tail == offset
    assert append(log, 4, 30 * BLOCK) == "ok"
    assert log.prepare() == "ok"
    fill(log, 5, 30)
    assert [entry[0] for entry in read_all(log)] == [*range(1, 31)]


def test_the_log_waits_for_descriptors(tmp_path: Path) -> None:
    log = acquire(create(tmp_path / "log"))
    with DiskFaults(0, errno.EMFILE, kinds=["name"]):
        assert log.prepare() == "full"
    with DiskFaults(0, errno.EMFILE, kinds=["name"]):
        assert append(log, 1, 30 * BLOCK) == "full"
    assert log.prepare() == "ok"
    fill(log, 1, 30)


def test_a_log_is_made_whole_or_made_again(tmp_path: Path) -> None:
    with DiskFaults(None, 0) as disk:
        create(tmp_path / "whole")
    for passes in range(disk.count):
        with pytest.raises(OSError), DiskFaults(passes, errno.EIO):
            create(tmp_path / f"log {passes}", 5)
        directory = create(tmp_path / f"log {passes}", 5)
        assert acquire(directory, 5).revision == 5


@pytest.fixture
def torn(tmp_path: Path) -> Path:
    """A log with a torn append, an unfinished segment, and older segments."""
    log = acquire(create(tmp_path / "torn"))
    fill(log, 1, 30, 2 * BLOCK)
    number, offset = log.tail[2:4]
    log.close()
    with segment_file(tmp_path / "torn", number).open("r+b") as file:
        file.seek(offset + BLOCK)
        file.write(b"torn")
    (tmp_path / "torn" / "next.new").write_bytes(b"half")
    return tmp_path / "torn"


@pytest.mark.parametrize("kind", ["read", "write", "sync", "name"])
def test_an_opening_that_fails_leaves_nothing_open_and_the_next_one_finds_all(
    torn: Path, tmp_path: Path, kind: str
) -> None:
    shutil.copytree(torn, tmp_path / "whole")
    with DiskFaults(None, 0, kinds=[kind]) as disk:
        acquire(tmp_path / "whole", 20).close()
    assert disk.count > 0
    for passes in range(disk.count):
        directory = tmp_path / f"log {passes}"
        shutil.copytree(torn, directory)
        with pytest.raises(OSError) as caught, DiskFaults(passes, errno.EIO, kinds=[kind]):
            acquire(directory, 20)
        assert caught.value.errno == errno.EIO
        assert not open_files(directory)
        log = acquire(directory, 20)
        assert open_files(directory)
        assert read_all(log, 20) == entries(21, 30, 2 * BLOCK)


def test_a_reader_that_could_not_read_goes_on_when_it_can(tmp_path: Path) -> None:
    log = acquire(create(tmp_path / "log"))
    fill(log, 1, 40)
    reader = SegmentReader(log)
    with DiskFaults(0, errno.EIO, kinds=["read"]):
        assert reader.next() == "failed"
        first = reader.next()
    assert first == entries(1, 1)[0]
    assert append(log, 41) == "ok"


def test_the_last_entry_is_on_disk_before_an_opening_returns(tmp_path: Path) -> None:
    """After a sync that failed the system may take for written what it only has in memory."""
    directory = create(tmp_path / "log")
    log = acquire(directory)
    fill(log, 1, 3)
    with DiskFaults(0, errno.EIO, kinds=["sync"]):
        assert append(log, 4) == "failed"
    log.close()
    with DiskFaults(None, 0, kinds=["write"]) as writes:
        log = acquire(directory)
    assert log.revision == 4 and writes.count == 1
    log.close()
    with DiskFaults(0, errno.EIO, kinds=["write"]), pytest.raises(OSError):
        acquire(directory)
    with DiskFaults(0, errno.EIO, kinds=["sync"]), pytest.raises(OSError):
        acquire(directory)
    assert acquire(directory).revision == 4


def test_a_name_is_durable_before_an_opening_returns(tmp_path: Path) -> None:
    """The directory could not be synced when a large entry got its name."""
    directory = create(tmp_path / "log")
    log = acquire(directory)
    assert append(log, 1) == "ok"
    with DiskFaults(None, 0, kinds=["sync"]) as disk:
        assert append(log, 2, 20 * BLOCK) == "ok"
    with DiskFaults(disk.count - 1, errno.EIO, kinds=["sync"]):
        assert append(log, 3, 20 * BLOCK) == "failed"
    log.close()
    with DiskFaults(0, errno.EIO, kinds=["sync"]), pytest.raises(OSError):
        acquire(directory)
    assert acquire(directory).revision == 3


def test_a_segment_stays_while_the_first_entry_of_the_next_is_not_on_disk(tmp_path: Path) -> None:
    directory = create(tmp_path / "log")
    log = acquire(directory)
    fill(log, 1, 14)
    assert log.room == 0 and segments(directory) == [1, 2]
    with ThreadPoolExecutor(1) as threads, DiskFaults(None, 0) as disk:  # it lets go first
        disk.hold()
        appending = threads.submit(append, log, 15)
        poll(lambda: disk.is_waited_for, "the append to be synced")
        assert log.trim(14, 0, keep=False) == "ok"
        assert segments(directory) == [1, 2]
        assert SegmentReader(log, 14).next() == "tail"
        disk.let_go()
        assert appending.result(WAIT_S) == "ok"
    assert log.trim(14, 0, keep=False) == "ok"
    assert segments(directory) == [2]
    assert SegmentReader(log, 14).next() == entries(15, 15)[0]
