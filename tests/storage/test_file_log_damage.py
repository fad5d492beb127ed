"""The log as files, damaged: what was answered is there, or the log is refused.

After a crash the last append may be torn, and is cut; nothing else that is missing passes for it.
"""

import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from segment_log import (
    APPEND_BYTES,
    BLOCK,
    HEAD_BYTES,
    SEGMENT_BYTES,
    acquire,
    append,
    create,
    entries,
    fill,
    read_all,
    rows_of,
    segment_file,
    segments,
)

from ownerd.storage.directory import StoreError
from ownerd.storage.testing import SegmentReader

SIZE = 2 * BLOCK  # of the rows: an entry has three blocks, the last of them nearly empty
ROWS_END = HEAD_BYTES + sum(
    1 + 1 + len(key) + (1 if value is None else 2 + len(value))
    for _, key, value in rows_of(1, SIZE)
)
ENTRY_BYTES = 3 * BLOCK
HEADER_BYTES = 72
# Every byte of the head, and some of each region behind it.
BYTES = [
    *range(HEAD_BYTES),
    HEAD_BYTES,
    HEAD_BYTES + 1,
    100,
    BLOCK - 1,
    BLOCK,
    2 * BLOCK - 1,
    2 * BLOCK,
    ROWS_END - 1,
]
PADDING = [ROWS_END, ROWS_END + 1, ENTRY_BYTES - 1]
Spoil = Callable[[bytearray, int], None]


def flip(data: bytearray, place: int) -> None:
    data[place] ^= 1 << place % 8


def zero_block(data: bytearray, place: int) -> None:
    start = place // BLOCK * BLOCK
    data[start : start + BLOCK] = bytes(BLOCK)


def fill_sector(data: bytearray, place: int) -> None:
    start = place // 512 * 512
    data[start : start + 512] = random.Random(place).randbytes(512)


def spoilt(original: Path, directory: Path, number: int, place: int, spoil: Spoil) -> Path:
    """Return a copy of a log in which one segment is spoilt at a place."""
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(original, directory)
    path = segment_file(directory, number)
    data = bytearray(path.read_bytes())
    spoil(data, place)
    path.write_bytes(data)
    return directory


@pytest.fixture(params=["crash", "stop"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, bool]:
    """A log of revisions 1 to 6 in two segments, four and two, and whether it was ended."""
    log = acquire(create(tmp_path / "log"))
    fill(log, 1, 6, SIZE)
    assert log.tail[2:4] == (2, BLOCK + 2 * ENTRY_BYTES)
    if request.param == "stop":
        assert log.end() == "ok"
    log.close()
    return tmp_path / "log", request.param == "stop"


def place_of(revision: int) -> tuple[int, int]:
    """Return segment and offset of a revision's entry in what `written` gives."""
    index = revision - 1
    return 1 + index // 4, BLOCK + index % 4 * ENTRY_BYTES


@pytest.mark.parametrize("revision", range(1, 6))
@pytest.mark.parametrize("spoil", [flip, zero_block, fill_sector])
def test_r18_an_entry_that_others_follow_is_missed_whatever_byte_of_it_is_damaged(
    written: tuple[Path, bool], tmp_path: Path, revision: int, spoil: Spoil
) -> None:
    number, offset = place_of(revision)
    for place in BYTES:
        directory = spoilt(written[0], tmp_path / "copy", number, offset + place, spoil)
        with pytest.raises(StoreError, match="missing"):
            acquire(directory)


@pytest.mark.parametrize("spoil", [flip, zero_block, fill_sector])
def test_r18_a_last_entry_is_missed_after_a_clean_stop_and_cut_after_a_crash(
    written: tuple[Path, bool], tmp_path: Path, spoil: Spoil
) -> None:
    original, is_ended = written
    number, offset = place_of(6)
    for place in BYTES:
        directory = spoilt(original, tmp_path / "copy", number, offset + place, spoil)
        if is_ended:
            with pytest.raises(StoreError, match="missing"):
                acquire(directory)
            continue
        log = acquire(directory)
        assert log.tail == (5, 50, number, offset, False)
        assert read_all(log) == entries(1, 5, SIZE)
        assert not any(segment_file(directory, number).read_bytes()[offset:])
        assert append(log, 6, 10) == "ok"
        log.close()
        assert read_all(acquire(directory)) == [*entries(1, 5, SIZE), *entries(6, 6, 10)]


@pytest.mark.parametrize("revision", range(1, 7))
def test_what_stands_in_the_padding_matters_to_nobody(
    written: tuple[Path, bool], tmp_path: Path, revision: int
) -> None:
    number, offset = place_of(revision)
    for place in PADDING:
        directory = spoilt(written[0], tmp_path / "copy", number, offset + place, flip)
        log = acquire(directory)
        assert read_all(log) == entries(1, 6, SIZE)
        assert append(log, 7, SIZE) == "ok"
        log.close()
        assert read_all(acquire(directory)) == entries(1, 7, SIZE)


def test_a_damaged_end_is_as_none(tmp_path: Path) -> None:
    log = acquire(create(tmp_path / "log"))
    fill(log, 1, 2, SIZE)
    assert log.end() == "ok"
    log.close()
    offset = BLOCK + 2 * ENTRY_BYTES
    for place in range(HEAD_BYTES):
        log = acquire(spoilt(tmp_path / "log", tmp_path / "copy", 1, offset + place, flip))
        assert log.tail == (2, 20, 1, offset, False)
        assert read_all(log) == entries(1, 2, SIZE)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_damaged_header_is_refused_also_of_a_segment_that_is_not_in_use(
    tmp_path: Path, number: int
) -> None:
    log = acquire(create(tmp_path / "log"))
    fill(log, 1, 6, SIZE)
    assert log.prepare() == "ok"
    log.close()
    for place in range(HEADER_BYTES):
        with pytest.raises(StoreError):
            acquire(spoilt(tmp_path / "log", tmp_path / "copy", number, place, flip))
    acquire(spoilt(tmp_path / "log", tmp_path / "copy", number, HEADER_BYTES, flip))


def test_a_truncated_segment_is_refused(written: tuple[Path, bool], tmp_path: Path) -> None:
    for number in (1, 2):
        for size in (0, 50, BLOCK, SEGMENT_BYTES - 1):
            shutil.rmtree(tmp_path / "copy", ignore_errors=True)
            shutil.copytree(written[0], tmp_path / "copy")
            path = segment_file(tmp_path / "copy", number)
            path.write_bytes(path.read_bytes()[:size])
            with pytest.raises(StoreError, match="restored"):
                acquire(tmp_path / "copy")


def test_a_newer_format_is_refused_by_name(written: tuple[Path, bool], tmp_path: Path) -> None:
    def renew(data: bytearray, place: int) -> None:
        struct.pack_into("<I", data, place, 3)

    with pytest.raises(StoreError, match="format"):
        acquire(spoilt(written[0], tmp_path / "copy", 2, 8, renew))


# --- bytes behind the end -------------------------------------------------------------------------


def ended_at(log_directory: Path) -> int:
    """Append two small revisions to a new log with a next segment; return where they end."""
    log = acquire(create(log_directory))
    fill(log, 1, 2)
    assert log.prepare() == "ok"
    offset = log.tail[3]
    log.close()
    return offset


def test_bytes_within_one_append_are_torn_and_those_further_on_are_damage(tmp_path: Path) -> None:
    end = ended_at(tmp_path / "log")
    for place in (end, end + 1, end + BLOCK, end + APPEND_BYTES - 1):
        directory = spoilt(tmp_path / "log", tmp_path / "copy", 1, place, flip)
        assert acquire(directory).tail == (2, 20, 1, end, False)
        assert not any(segment_file(directory, 1).read_bytes()[end:])
    for place in (end + APPEND_BYTES, SEGMENT_BYTES - 1):
        with pytest.raises(StoreError, match="more than one append"):
            acquire(spoilt(tmp_path / "log", tmp_path / "copy", 1, place, flip))


def test_a_first_append_into_the_next_segment_may_be_torn(tmp_path: Path) -> None:
    end = ended_at(tmp_path / "log")
    for place in (BLOCK, BLOCK + 1, BLOCK + APPEND_BYTES - 1):
        directory = spoilt(tmp_path / "log", tmp_path / "copy", 2, place, flip)
        log = acquire(directory)
        assert log.tail == (2, 20, 1, end, False)
        assert not any(segment_file(directory, 2).read_bytes()[BLOCK:])
        fill(log, 3, 30)
        log.close()
        assert read_all(acquire(directory)) == entries(1, 30)
    with pytest.raises(StoreError, match="more than one append"):
        acquire(spoilt(tmp_path / "log", tmp_path / "copy", 2, BLOCK + APPEND_BYTES, flip))


def test_bytes_in_two_segments_are_not_of_one_append(tmp_path: Path) -> None:
    end = ended_at(tmp_path / "log")
    spoilt(tmp_path / "log", tmp_path / "one", 1, end, flip)
    with pytest.raises(StoreError, match="there is more"):
        acquire(spoilt(tmp_path / "one", tmp_path / "both", 2, BLOCK, flip))


def test_a_large_entry_is_never_taken_for_torn(tmp_path: Path) -> None:
    log = acquire(create(tmp_path / "log"))
    fill(log, 1, 2)
    assert append(log, 3, 30 * BLOCK) == "ok"
    log.close()
    for place in (BLOCK, 2 * BLOCK, 30 * BLOCK):
        for spoil in (flip, zero_block):
            with pytest.raises(StoreError, match="missing"):
                acquire(spoilt(tmp_path / "log", tmp_path / "copy", 2, place, spoil))


def test_a_large_entry_of_which_nothing_is_left_is_missed(tmp_path: Path) -> None:
    log = acquire(create(tmp_path / "log"))
    fill(log, 1, 2)
    assert append(log, 3, 30 * BLOCK) == "ok"
    log.close()

    def zero(data: bytearray, place: int) -> None:
        data[place:] = bytes(len(data) - place)

    with pytest.raises(StoreError, match="missing"):
        acquire(spoilt(tmp_path / "log", tmp_path / "copy", 2, BLOCK, zero))


def test_what_a_row_holds_is_never_taken_for_an_entry(tmp_path: Path) -> None:
    """An append is torn whose rows have, on a block of their own, a copy of an entry."""
    log = acquire(create(tmp_path / "log"))
    fill(log, 1, 2)
    end = log.tail[3]
    copy = segment_file(tmp_path / "log", 1).read_bytes()[BLOCK : 2 * BLOCK]
    rows = [(1, b"k", bytes(BLOCK - HEAD_BYTES - 5) + copy)]
    assert log.append(rows, 3) == "ok"
    log.close()
    data = segment_file(tmp_path / "log", 1).read_bytes()
    assert data[end + BLOCK : end + 2 * BLOCK] == copy
    directory = spoilt(tmp_path / "log", tmp_path / "copy", 1, end, zero_block)
    assert acquire(directory).tail == (2, 20, 1, end, False)


def test_a_torn_append_leaves_nothing_that_a_later_one_uncovers(tmp_path: Path) -> None:
    """A long append is torn, a short one made in its place, and the short one is torn too."""
    log = acquire(create(tmp_path / "log"))
    fill(log, 1, 1)
    end = log.tail[3]
    fill(log, 2, 2, 3 * BLOCK - 200)
    log.close()
    directory = spoilt(tmp_path / "log", tmp_path / "copy", 1, end, zero_block)
    log = acquire(directory)
    fill(log, 2, 2)
    log.close()
    assert not any(segment_file(directory, 1).read_bytes()[end + BLOCK :])
    directory = spoilt(directory, tmp_path / "again", 1, end, zero_block)
    assert acquire(directory).tail == (1, 10, 1, end, False)


def test_an_entry_of_another_log_is_none(tmp_path: Path) -> None:
    """Behind the end there is, at its own place, what another log of the same store had there."""
    end = ended_at(tmp_path / "log")
    log = acquire(create(tmp_path / "other"))
    fill(log, 1, 3)
    block = segment_file(tmp_path / "other", 1).read_bytes()[end : end + BLOCK]

    def put(data: bytearray, place: int) -> None:
        data[place : place + BLOCK] = block

    directory = spoilt(tmp_path / "log", tmp_path / "copy", 1, end, put)
    assert acquire(directory).tail == (2, 20, 1, end, False)


def test_segments_of_two_days_do_not_make_one_log(tmp_path: Path) -> None:
    """A log was copied, both went on to the same revisions, and one got a segment of the other."""
    log = acquire(create(tmp_path / "log"))
    fill(log, 1, 10)
    log.close()
    shutil.copytree(tmp_path / "log", tmp_path / "copy")
    for name, size in (("log", 100), ("copy", 200)):
        log = acquire(tmp_path / name)
        fill(log, 11, 20, size)
        log.close()
    shutil.copy(segment_file(tmp_path / "copy", 2), segment_file(tmp_path / "log", 2))
    with pytest.raises(StoreError, match="missing"):
        acquire(tmp_path / "log")
    assert acquire(tmp_path / "copy").revision == 20


def test_one_segment_is_ready_also_after_the_first_append_into_one_was_torn(tmp_path: Path) -> None:
    log = acquire(create(tmp_path / "log"))
    fill(log, 1, 15)
    assert log.prepare() == "ok"
    log.close()
    assert segments(tmp_path / "log") == [1, 2, 3]
    directory = spoilt(tmp_path / "log", tmp_path / "copy", 2, BLOCK, flip)
    log = acquire(directory)
    assert log.revision == 14 and segments(directory) == [1, 2]
    assert append(log, 15, 30 * BLOCK) == "ok"
    fill(log, 16, 40)
    log.close()
    assert acquire(directory).revision == 40


# --- what the records have ------------------------------------------------------------------------


def test_what_only_readers_need_may_be_damaged_and_they_are_told(tmp_path: Path) -> None:
    log = acquire(create(tmp_path / "log"))
    fill(log, 1, 60)
    log.close()
    for place in (5 * BLOCK, 14 * BLOCK):
        log = acquire(spoilt(tmp_path / "log", tmp_path / "copy", 2, place, flip), 50)
        assert log.oldest == 0
        reader = SegmentReader(log, 0)
        last = 0
        while not isinstance(entry := reader.next(), str):
            last = entry[0]
        assert entry == reader.next() == "damaged" and last == 14 + place // BLOCK - 1
        assert read_all(log, 42) == entries(43, 60)
        log.close()


def test_older_segments_whose_first_entry_is_damaged_are_kept_for_nobody(tmp_path: Path) -> None:
    log = acquire(create(tmp_path / "log"))
    fill(log, 1, 60)
    log.close()
    directory = spoilt(tmp_path / "log", tmp_path / "copy", 2, BLOCK, flip)
    log = acquire(directory, 50)
    assert log.oldest == 28
    assert segments(directory)[0] == 3
    assert read_all(log, 28) == entries(29, 60)
    log.close()
    assert acquire(directory, 50).oldest == 28
