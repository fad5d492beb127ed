"""The small tables read in key order: what memory and tree have of them is one table, as it was."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sanitizer import examples
from segment_log import scratch_directory

from ownerd.storage.testing import SmallTables, SmallTablesCursor

AUDIT, REQUESTS, HOLDERS = 6, 7, 12
TABLES = (AUDIT, REQUESTS, HOLDERS)

tables = st.sampled_from(TABLES)
keys = st.lists(st.sampled_from((0, 1, 97, 254)), min_size=1, max_size=3).map(bytes)
values = st.none() | st.binary(max_size=8) | st.just(b"x" * 1_200)
moves = st.tuples(st.sampled_from(("next", "next", "previous", "last", "seek")), keys)
steps = st.one_of(
    st.tuples(st.just("commit"), st.lists(st.tuples(tables, keys, values), max_size=6)),
    st.tuples(st.just("commit"), st.lists(st.tuples(tables, keys, st.none()), max_size=6)),
    st.tuples(st.sampled_from(("rotate", "drop")), st.just(0)),
    st.tuples(st.just("flush"), st.integers(1, 5)),
    st.tuples(st.just("tend"), st.sampled_from((0, 1000))),
    st.tuples(st.just("open"), tables),
    st.tuples(st.just("close"), st.integers(0, 9)),
    st.tuples(
        st.just("move"), st.tuples(st.integers(0, 9), st.lists(moves, min_size=3, max_size=12))
    ),
)


class Reader:
    """A cursor and the rows that it must show, whatever is changed meanwhile."""

    def __init__(
        self, small: SmallTables, table: int, model: dict[int, dict[bytes, bytes]]
    ) -> None:
        self.cursor = SmallTablesCursor(small, table)
        self.rows = sorted(model[table].items())
        self.counts = {each: len(model[each]) for each in TABLES}
        self.key: bytes | None = None

    def move(self, how: str, key: bytes) -> None:
        """Move as told; what has no place to go on from begins anew."""
        if how == "seek" or (how == "previous" and self.key is None):
            found, expected = self.cursor.seek(key), self._first(key)
        elif how == "last":
            found, expected = self.cursor.last(), self.rows[-1] if self.rows else None
        elif how == "next" and self.key is not None:
            found, expected = self.cursor.next(), self._first(self.key + b"\0")
        elif how == "next":
            found, expected = self.cursor.seek(b""), self._first(b"")
        else:
            before = [row for row in self.rows if row[0] < (self.key or b"")]
            found, expected = self.cursor.previous(), before[-1] if before else None
        assert found == expected, (how, key)
        self.key = None if found is None else found[0]

    def _first(self, key: bytes) -> tuple[bytes, bytes] | None:
        return next((row for row in self.rows if row[0] >= key), None)

    def check(self) -> None:
        """Read all, both ways, and count."""
        forward, row = [], self.cursor.seek(b"")
        while row is not None:
            forward.append(row)
            row = self.cursor.next()
        assert forward == self.rows
        backward, row = [], self.cursor.last()
        while row is not None:
            backward.append(row)
            row = self.cursor.previous()
        assert backward == self.rows[::-1]
        assert {table: self.cursor.count(table) for table in TABLES} == self.counts
        self.key = None


class Story:
    """Small tables, what they must hold, and who reads them."""

    def __init__(self, directory: Path) -> None:
        self.small = SmallTables(str(directory))
        self.model: dict[int, dict[bytes, bytes]] = {table: {} for table in TABLES}
        self.readers: list[Reader] = []

    def step(self, word: str, what: Any) -> None:
        if word == "commit":
            self.small.commit(what)
            for table, key, value in what:
                if value is None:
                    self.model[table].pop(key, None)
                else:
                    self.model[table][key] = value
        elif word == "rotate":
            self.small.rotate()
        elif word == "flush":
            self.small.flush_step(what)
        elif word == "drop":
            self.small.drop_flushed()
        elif word == "tend":
            self.small.tend(what)
        elif word == "open":
            self.readers.append(Reader(self.small, what, self.model))
        elif self.readers and word == "close":
            reader = self.readers.pop(what % len(self.readers))
            reader.check()
            reader.cursor.close()
        elif self.readers:
            for how, key in what[1]:
                self.readers[what[0] % len(self.readers)].move(how, key)

    def end(self) -> None:
        """Check all that read still, and whoever begins now."""
        self.readers += [Reader(self.small, table, self.model) for table in TABLES]
        for reader in self.readers:
            reader.check()
            reader.cursor.close()
        self.small.close()


@settings(max_examples=examples(400))
@given(given_steps=st.lists(steps, max_size=40))
def test_rows_are_those_of_a_dict_as_they_were_when_the_cursor_was_opened(
    given_steps: list[tuple[str, Any]],
) -> None:
    with scratch_directory() as directory:
        story = Story(directory)
        try:
            for word, what in given_steps:
                story.step(word, what)
        finally:
            story.end()


@pytest.mark.parametrize("where", ["memory", "both memtables", "a part of the tree", "tree"])
def test_a_row_is_found_and_counted_once_wherever_it_is(tmp_path: Path, where: str) -> None:
    """A change of it, and its deletion, count for what is below."""
    story = Story(tmp_path)
    rows: list[tuple[int, bytes, bytes | None]] = [(AUDIT, bytes([n]), b"old") for n in range(1, 9)]
    story.step("commit", rows)
    if where != "memory":
        story.step("rotate", 0)
    if where == "a part of the tree":
        story.step("flush", 3)
    if where == "tree":
        story.step("flush", 100)
        story.step("drop", 0)
    story.step("commit", [(AUDIT, b"\3", b"new"), (AUDIT, b"\5", None), (AUDIT, b"\x10", None)])
    story.step("commit", [(REQUESTS, b"\3", b"another table"), (AUDIT, b"\x11", b"more")])
    story.end()


def test_a_cursor_goes_back_and_forth(tmp_path: Path) -> None:
    """Also where the tree has no row before the one that memory has."""
    story = Story(tmp_path)
    story.step("commit", [(AUDIT, b"b", b"tree")])
    story.step("rotate", 0)
    story.step("flush", 9)
    story.step("drop", 0)
    story.step("commit", [(AUDIT, b"a", b"memory")])
    story.step("open", AUDIT)
    ways = ["next", "next", "previous", "next", "last", "previous", "next"]
    story.step("move", (0, [(how, b"") for how in ways]))
    story.end()


def test_a_memtable_is_made_and_given_back_beside_the_writer(tmp_path: Path) -> None:
    """Not before it is needed, and never a third one."""
    story = Story(tmp_path)
    story.step("commit", [(AUDIT, b"a", b"first")])
    small = story.small
    assert small.tend(499) == (False, False)
    assert small.tend(500) == (False, False)
    assert small.tend(1000) == (True, False)
    story.step("rotate", 0)
    assert small.tend(1000) == (False, False)
    assert small.tend(1000) == (False, False)  # one is immutable
    story.step("flush", 9)
    story.step("drop", 0)
    assert small.tend(0) == (False, True)
    assert small.tend(0) == (False, False)
    # Where maintenance is behind, the writer does it.
    story.step("commit", [(AUDIT, b"b", b"second")])
    story.step("rotate", 0)
    story.step("flush", 9)
    story.step("drop", 0)
    story.step("commit", [(AUDIT, b"a", None)])
    story.step("rotate", 0)
    assert small.tend(0) == (False, False)
    story.end()
