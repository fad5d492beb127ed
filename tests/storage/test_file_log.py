"""The log as files: what was appended is read again, whatever came between; files come and go."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sanitizer import examples
from segment_log import (
    APPEND_BYTES,
    BLOCK,
    OPTIONS,
    SEGMENT_BYTES,
    STORE_ID,
    Row,
    acquire,
    append,
    create,
    entries,
    fill,
    open_files,
    read_all,
    rows_of,
    segment_file,
    segments,
)

from ownerd.storage.directory import StoreError
from ownerd.storage.testing import SegmentLog, SegmentReader, rows_in

HOUR_NS = 3_600 * 10**9
tables = st.one_of(st.integers(0, 20), st.integers(0, 2**32 - 1))
some_bytes = st.one_of(st.binary(max_size=40), st.binary(min_size=120, max_size=300))
some_rows = st.lists(st.tuples(tables, some_bytes, st.none() | some_bytes), max_size=8)


# --- rows -----------------------------------------------------------------------------------------


@settings(max_examples=examples(60))
@given(groups=st.lists(some_rows, min_size=1, max_size=12))
def test_rows_of_any_table_are_read_as_they_were_appended(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[Row]]
) -> None:
    directory = create(tmp_path_factory.mktemp("log") / "log")
    log = acquire(directory)
    for revision, rows in enumerate(groups, 1):
        assert log.prepare() == "ok"
        assert log.append(rows, revision, -revision) == "ok"
    appended = [(revision, -revision, rows) for revision, rows in enumerate(groups, 1)]
    assert read_all(log) == appended
    log.close()
    assert read_all(acquire(directory)) == appended


@given(data=st.binary(max_size=60), count=st.integers(0, 5))
def test_bytes_that_are_no_rows_are_no_rows(data: bytes, count: int) -> None:
    try:
        rows = rows_in(data, count)
    except ValueError:
        return
    assert len(rows) == count


def test_an_empty_value_is_not_a_row_that_is_gone(tmp_path: Path) -> None:
    log = acquire(create(tmp_path / "log"))
    assert log.append([(3, b"", b""), (3, b"", None)], 1) == "ok"
    assert read_all(log) == [(1, 0, [(3, b"", b""), (3, b"", None)])]


# --- restarts -------------------------------------------------------------------------------------

steps = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 3 * APPEND_BYTES)),
    st.tuples(st.just("append"), st.integers(0, 200)),
    st.tuples(st.sampled_from(["prepare", "step", "crash", "stop", "jump"]), st.just(0)),
    st.tuples(st.just("trim"), st.integers(0, 4)),
)


class Story:
    """A log and what was appended to it; `flushed` is what the records have of it."""

    def __init__(self, directory: Path, begin: int) -> None:
        self.directory = create(directory, begin)
        self.log = acquire(directory, begin)
        self.begin = self.last = self.flushed = begin
        self.appended: list[tuple[int, int, list[Row]]] = []

    def step(self, word: str, number: int) -> None:
        if word == "append":
            self._append(self.last + 1, number)
        elif word == "jump":
            self._append(self.last + 1_000, 10)
        elif word == "prepare":
            assert self.log.prepare() == "ok"
        elif word == "step":
            assert self.log.prepare_step() in ("ok", "more")
        elif word == "trim":
            self.flushed = max(self.flushed, self.last - number)
            assert self.log.trim(self.flushed, 0, keep=False) == "ok"
        else:
            if word == "stop":
                assert self.log.end(0) == "ok"
            self.log.close()
            self.log = acquire(self.directory, self.flushed)

    def _append(self, revision: int, size: int) -> None:
        rows = rows_of(revision, size)
        status = self.log.append(rows, revision, revision)
        if status == "ok":
            self.last = revision
            self.appended.append((revision, revision, rows))
        assert status == "ok" or (status == "full" and not self.log.is_next_ready)

    def check(self) -> None:
        oldest = self.log.oldest
        kept = [entry for entry in self.appended if entry[0] > oldest]
        assert self.begin <= oldest <= self.flushed
        assert self.log.tail[0] == self.log.revision == self.last
        assert read_all(self.log, oldest) == kept
        middle = (oldest + self.last) // 2
        assert read_all(self.log, middle) == [entry for entry in kept if entry[0] > middle]


@settings(max_examples=examples(120))
@given(begin=st.sampled_from([0, 7, 2**44]), given_steps=st.lists(steps, max_size=40))
def test_a_log_is_after_any_steps_and_restarts_what_was_appended(
    tmp_path_factory: pytest.TempPathFactory, begin: int, given_steps: list[tuple[str, int]]
) -> None:
    story = Story(tmp_path_factory.mktemp("log") / "log", begin)
    for word, number in given_steps:
        story.step(word, number)
        story.check()
    story.step("crash", 0)
    story.check()


def test_an_end_is_written_once_and_what_follows_it_is_read(tmp_path: Path) -> None:
    directory = create(tmp_path / "log")
    for revision in range(1, 4):
        log = acquire(directory)
        fill(log, revision, revision)
        assert not log.tail[4]
        assert log.end(5) == "ok" and log.tail[4]
        offset = log.tail[3]
        assert log.end(6) == "ok" and log.tail[3] == offset
        log.close()
        assert acquire(directory).tail == (revision, 5, 1, offset, True)
    assert read_all(acquire(directory)) == entries(1, 3)


def test_a_clean_stop_has_a_block_left_in_every_segment(tmp_path: Path) -> None:
    directory = create(tmp_path / "log")
    log = acquire(directory)
    revision = 0
    while append(log, revision + 1) == "ok":
        revision += 1
    assert log.room == 0 and log.tail[3] == SEGMENT_BYTES - BLOCK
    assert log.end() == "ok"
    log.close()
    log = acquire(directory)
    assert log.end() == "ok"
    assert append(log, revision + 1) == "full"
    assert log.prepare() == "ok"
    assert append(log, revision + 1) == "ok"
    assert log.tail[2] == 2
    log.close()
    assert read_all(acquire(directory)) == entries(1, revision + 1)


def test_nothing_that_was_opened_stays_open(tmp_path: Path) -> None:
    directory = create(tmp_path / "log")
    log = acquire(directory)
    fill(log, 1, 40)
    assert open_files(directory)
    log.trim(40, 0, keep=False)
    log.close()
    assert not open_files(directory)


# --- segments -------------------------------------------------------------------------------------


def test_a_segment_has_its_size_and_zeros_before_its_first_entry(tmp_path: Path) -> None:
    log = acquire(create(tmp_path / "log"))
    assert log.prepare() == "ok"
    for number in (1, 2):
        content = segment_file(tmp_path / "log", number).read_bytes()
        assert len(content) == SEGMENT_BYTES and not any(content[BLOCK:])
        assert segment_file(tmp_path / "log", number).stat().st_blocks * 512 >= SEGMENT_BYTES


def test_an_append_changes_no_size_and_nothing_before_it(tmp_path: Path) -> None:
    log = acquire(create(tmp_path / "log"))
    path = segment_file(tmp_path / "log", 1)
    before = path.read_bytes()
    for revision in range(1, 6):
        offset = log.tail[3]
        assert append(log, revision, 5000) == "ok"
        now = path.read_bytes()
        assert len(now) == SEGMENT_BYTES and offset % BLOCK == 0
        assert now[:offset] == before[:offset] and not any(now[log.tail[3] :])
        before = now
        if log.room < 2 * BLOCK:
            break


def test_without_a_next_segment_a_full_one_takes_no_more_and_loses_nothing(tmp_path: Path) -> None:
    log = acquire(create(tmp_path / "log"))
    last = 0
    while append(log, last + 1) == "ok":
        last += 1
    assert append(log, last + 1) == "full" and log.error == 0
    assert not log.is_next_ready
    assert log.prepare() == "ok" and log.is_next_ready
    assert append(log, last + 1) == "ok"
    assert read_all(log) == entries(1, last + 1)


def test_a_next_segment_is_made_in_steps_and_has_no_number_before_it_is_whole(
    tmp_path: Path,
) -> None:
    directory = create(tmp_path / "log", segment_bytes=3 << 20)
    log = acquire(directory, segment_bytes=3 << 20)
    steps = 0
    while log.prepare_step() == "more":
        steps += 1
        assert segments(directory) == [1]
    assert steps >= 4
    assert segments(directory) == [1, 2]


def test_an_unfinished_segment_is_gone_after_a_restart(tmp_path: Path) -> None:
    directory = create(tmp_path / "log")
    log = acquire(directory)
    fill(log, 1, 20)
    log.trim(20, 0, keep=False)
    fill(log, 21, 21)
    log.close()
    for name in ("next.new", "large.new", "spare.new"):
        (tmp_path / "log" / name).write_bytes(b"half")
    log = acquire(directory, 20)
    assert [name for name in os.listdir(directory) if not name.isdigit()] == []
    assert read_all(log, 20) == entries(21, 21)


@pytest.mark.parametrize("ready", [True, False])
def test_a_large_entry_gets_a_segment_of_its_own_size(tmp_path: Path, ready: bool) -> None:
    directory = create(tmp_path / "log")
    log = acquire(directory)
    assert append(log, 1) == "ok"
    if ready:
        assert log.prepare() == "ok"
    assert append(log, 2, 30 * BLOCK) == "ok"
    assert log.tail[2] == 2 and log.is_next_ready == ready
    assert segment_file(directory, 2).stat().st_size == (1 + 31 + 1) * BLOCK
    assert segments(directory) == ([1, 2, 3] if ready else [1, 2])
    assert append(log, 3) == ("ok" if ready else "full")
    fill(log, 3 + ready, 40)
    expected = [*entries(1, 1), *entries(2, 2, 30 * BLOCK), *entries(3, 40)]
    assert read_all(log) == expected
    log.close()
    assert read_all(acquire(directory)) == expected


def test_a_large_entry_may_be_the_last_before_an_end(tmp_path: Path) -> None:
    directory = create(tmp_path / "log")
    log = acquire(directory)
    assert append(log, 1, 30 * BLOCK) == "ok"
    assert log.end() == "ok"
    log.close()
    assert acquire(directory).tail[0] == 1
    assert acquire(directory).tail[4]


def test_the_largest_append_that_shares_a_segment_does_and_one_byte_more_does_not(
    tmp_path: Path,
) -> None:
    log = acquire(create(tmp_path / "log"))
    overhead = sum(len(key) for _, key, _ in rows_of(1)) + 64 + 8
    for size in range(APPEND_BYTES - overhead - 8, APPEND_BYTES - overhead + 8):
        revision = log.revision + 1
        number = log.tail[2]
        assert log.prepare() == "ok"
        assert append(log, revision, size) == "ok"
        path = segment_file(tmp_path / "log", log.tail[2])
        assert (path.stat().st_size == SEGMENT_BYTES) or log.tail[2] == number + 1
    sizes = {path.stat().st_size for path in (tmp_path / "log").iterdir()}
    assert sizes == {SEGMENT_BYTES, (1 + 5 + 1) * BLOCK}


def test_other_sizes_are_taken_up_by_a_log_that_was_begun_with_others(tmp_path: Path) -> None:
    directory = create(tmp_path / "log")
    log = acquire(directory)
    fill(log, 1, 20)
    log.prepare()
    log.close()
    larger = {"segment_bytes": 4 * SEGMENT_BYTES, "append_bytes": 4 * APPEND_BYTES}
    log = acquire(directory, **larger)
    for revision in range(21, 60):
        log.prepare()
        assert append(log, revision, 3 * APPEND_BYTES) == "ok"
    log.close()
    log = acquire(directory)
    for revision in range(60, 90):
        log.prepare()
        assert append(log, revision, 2 * APPEND_BYTES) == "ok"
    log.close()
    assert [entry[0] for entry in read_all(acquire(directory, **larger))] == [*range(1, 90)]


# --- trimming -------------------------------------------------------------------------------------


def test_a_trim_removes_whole_segments_only_oldest_first(tmp_path: Path) -> None:
    directory = create(tmp_path / "log")
    log = acquire(directory)
    fill(log, 1, 60)
    before = segments(directory)
    firsts = {log.oldest}
    for flushed in range(1, 61):
        assert log.trim(flushed, 0, keep=False) == "ok"
        left = segments(directory)
        assert left == before[-len(left) :]
        firsts.add(log.oldest)
        assert log.oldest <= flushed
        assert read_all(log, log.oldest) == entries(log.oldest + 1, 60)
        assert read_all(log, flushed) == entries(flushed + 1, 60)
    assert len(firsts) > 3
    assert log.tail[0] == 60 and log.tail[2] in segments(directory)
    log.close()
    assert acquire(directory, 60).tail[0] == 60


def test_the_segment_of_the_last_entry_stays_also_when_the_next_one_is_ready(
    tmp_path: Path,
) -> None:
    directory = create(tmp_path / "log")
    log = acquire(directory)
    fill(log, 1, 3)
    assert log.prepare() == "ok"
    assert log.trim(3, 0, keep=False) == "ok"
    assert segments(directory) == [1, 2]


def test_a_segment_is_used_again_and_what_it_held_is_not_read(tmp_path: Path) -> None:
    directory = create(tmp_path / "log")
    log = acquire(directory)
    fill(log, 1, 30)
    inode = segment_file(directory, 1).stat().st_ino
    assert log.trim_step(30, 0, keep=False) == "more"
    assert Path(directory, "spare.new").stat().st_ino == inode
    fill(log, 31, 60)
    used = {segment_file(directory, number).stat().st_ino for number in segments(directory)}
    assert inode in used
    log.close()
    log = acquire(directory, 30)
    assert read_all(log, 30) == entries(31, 60)


def test_segments_are_kept_for_readers_by_bytes_or_by_time(tmp_path: Path) -> None:
    directory = create(tmp_path / "log")
    options = {"keep_bytes": 3 * SEGMENT_BYTES, "keep_ns": HOUR_NS}
    log = acquire(directory, **options)
    for revision in range(1, 61):
        log.prepare()
        assert log.append(rows_of(revision), revision, revision * HOUR_NS // 20) == "ok"
    assert len(segments(directory)) == 6 and log.is_next_ready
    assert log.trim(0, HOUR_NS) == "ok"
    assert len(segments(directory)) == 6
    assert log.trim(60, HOUR_NS) == "ok"
    assert len(segments(directory)) == 3  # bytes
    oldest = log.oldest
    assert log.trim(60, oldest * HOUR_NS // 20 + HOUR_NS) == "ok"
    assert len(segments(directory)) == 3  # its last entry is not an hour old
    assert log.trim(60, 60 * HOUR_NS // 20 + HOUR_NS + 1) == "ok"
    assert len(segments(directory)) == 2


def test_how_old_a_segment_is_outlives_a_restart(tmp_path: Path) -> None:
    directory = create(tmp_path / "log")
    log = acquire(directory)
    for revision in range(1, 61):
        log.prepare()
        assert log.append(rows_of(revision), revision, revision * HOUR_NS // 20) == "ok"
    log.close()
    log = acquire(directory, 60, keep_ns=HOUR_NS)
    assert log.oldest == 0
    assert log.trim(60, 60 * HOUR_NS // 20) == "ok"
    assert 20 <= log.oldest <= 40


def test_what_is_kept_goes_where_space_is_wanted(tmp_path: Path) -> None:
    log = acquire(create(tmp_path / "log"))
    fill(log, 1, 60)
    bytes_before = log.file_bytes
    assert log.trim(60, 0) == "ok"
    assert log.file_bytes == bytes_before
    assert log.trim(60, 0, keep=False) == "ok"
    assert log.file_bytes == bytes_before // 3


# --- opening --------------------------------------------------------------------------------------


def test_a_log_that_was_created_twice_is_one(tmp_path: Path) -> None:
    create(tmp_path / "log", 5)
    directory = create(tmp_path / "log", 5)
    assert acquire(directory, 5).tail[0] == 5


def test_a_log_of_another_store_is_refused(tmp_path: Path) -> None:
    directory = create(tmp_path / "log")
    with pytest.raises(StoreError, match="another store"):
        SegmentLog(directory, STORE_ID + 1, 0, **OPTIONS)


def test_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    with pytest.raises(StoreError, match="no log"):
        acquire(tmp_path / "log")
    with pytest.raises(OSError, match="cannot open"):
        acquire(tmp_path / "none")


def test_records_that_are_ahead_of_the_log_are_refused(tmp_path: Path) -> None:
    directory = create(tmp_path / "log", 3)
    for flushed in (2, 4):
        with pytest.raises(StoreError, match="missing"):
            acquire(directory, flushed)
    log = acquire(directory, 3)
    fill(log, 4, 30)
    log.close()
    assert acquire(directory, 30).tail[0] == 30
    for flushed in (2, 31):
        with pytest.raises(StoreError, match="missing"):
            acquire(directory, flushed)


def test_records_that_need_what_was_trimmed_are_refused(tmp_path: Path) -> None:
    directory = create(tmp_path / "log")
    log = acquire(directory)
    fill(log, 1, 60)
    log.trim(40, 0, keep=False)
    oldest = log.oldest
    log.close()
    assert acquire(directory, oldest).tail[0] == 60
    with pytest.raises(StoreError, match=f"begins after revision {oldest}"):
        acquire(directory, oldest - 1)


def test_a_lost_segment_is_found(tmp_path: Path) -> None:
    directory = create(tmp_path / "log")
    log = acquire(directory)
    fill(log, 1, 60)
    log.close()
    numbers = segments(directory)
    for number in numbers[:-1]:
        path = segment_file(directory, number)
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(StoreError, match="missing"):
            acquire(directory, 0)
        path.write_bytes(content)
    assert read_all(acquire(directory)) == entries(1, 60)


def test_segments_that_changed_names_are_refused(tmp_path: Path) -> None:
    directory = create(tmp_path / "log")
    log = acquire(directory)
    fill(log, 1, 30)
    log.close()
    one, two = (segment_file(directory, number) for number in (1, 2))
    one.rename(tmp_path / "one")
    two.rename(one)
    (tmp_path / "one").rename(two)
    with pytest.raises(StoreError, match="name of another"):
        acquire(directory)


def test_reading_begins_at_any_revision_that_is_kept(tmp_path: Path) -> None:
    log = acquire(create(tmp_path / "log"))
    fill(log, 1, 45)
    log.trim(20, 0, keep=False)
    for after in range(47):
        status = SegmentReader(log, after).status
        expected = "trimmed" if after < log.oldest else "ahead" if after > 45 else "tail"
        assert status == expected
        if status == "tail":
            assert read_all(log, after) == entries(after + 1, 45)
