"""What is exported is read again the same, for any ids and names that the API takes."""

import contextlib
import csv
import io
import tempfile
import tracemalloc
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from model import START_NS
from sanitizer import examples

from ownerd import limits
from ownerd.base.testing import ManualClock
from ownerd.contactfile import instants, repeats
from ownerd.contactfile.check import Check
from ownerd.contactfile.faults import FileFault
from ownerd.contactfile.reader import Owned, Reader
from ownerd.contactfile.values import Reading
from ownerd.ctl.terminal import times
from ownerd.ctl.terminal.csvfile import ColumnOptions, Writer, cell_writers
from ownerd.ctl.terminal.output import unguarded
from ownerd.engine.engine import Engine, Policy
from ownerd.v1 import admin_pb2 as pb

NAMED = ColumnOptions()
READING = Reading()
COLUMNS = list(cell_writers(NAMED))
# What the readers of other people's files look at.
AWKWARD = st.sampled_from(
    [
        "NULL",
        "\\N",
        "nan",
        "42.0",
        "1E+5",
        '="1"',
        "007",
        "\x1a",
        "(1 row)",
        "---",
        "sep=;",
        "",
        '"',
        "\r\n",
    ]
)


def texts(most_bytes: int) -> st.SearchStrategy[str]:
    anything = st.text(st.characters(exclude_categories=["Cs"]))
    troubled = st.text(st.sampled_from('",;\t|\r\n \x00\x1a\ufeff\u2028\x85a0'))
    parts = st.lists(st.one_of(anything, troubled, AWKWARD), max_size=3).map("".join)
    return parts.map(lambda text: text.encode()[:most_bytes].decode(errors="ignore")).filter(len)


instants_ns = st.integers(0, instants.LAST_S * 1_000_000_000)


@st.composite
def rows(draw: st.DrawFn) -> pb.OwnershipRow:
    row = pb.OwnershipRow(
        record_id=draw(texts(limits.RECORD_ID_BYTES)),
        campaign_id=draw(texts(limits.CAMPAIGN_ID_BYTES)),
        campaign_name=draw(texts(limits.CAMPAIGN_NAME_BYTES)),
        acquire_time=times.to_message(draw(instants_ns)),
    )
    if draw(st.booleans()):
        row.expire_time.CopyFrom(times.to_message(draw(instants_ns)))
    return row


def read(data: bytes, reading: Reading = READING) -> list[Owned]:
    with Check(Reader(io.BytesIO(data), reading), now_ns=0) as check:
        found = list(check.rows())
        check.finish()
        assert not any(check.refusal(row.line, row.record_id) for row in found)
    return found


@given(
    st.lists(rows(), max_size=5, unique_by=lambda row: row.record_id),
    st.permutations(COLUMNS),
    st.booleans(),
    st.booleans(),
)
def test_what_was_exported_is_read_again_exactly(
    written: list[pb.OwnershipRow], columns: list[str], has_mark: bool, is_safe: bool
) -> None:
    text = io.StringIO(newline="")
    Writer(text, columns, NAMED, spreadsheet_safe=is_safe).write(written)
    data = text.getvalue().encode("utf-8-sig" if has_mark else "utf-8")
    found = read(data, Reading(undo=unguarded if is_safe else None))
    assert [
        pb.OwnershipRow(
            record_id=row.record_id,
            campaign_id=row.campaign_id,
            campaign_name=row.campaign_name,
            expire_time=None if row.expire_ns is None else times.to_message(row.expire_ns),
            acquire_time=times.to_message(row.acquire_ns),
        )
        for row in found
    ] == written


@contextlib.contextmanager
def empty_store() -> Iterator[Engine]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Engine(folder, ManualClock(START_NS), map_bytes=1 << 26, background=False) as engine,
    ):
        engine.create_list("list", Policy(True, None, None, 1), note=b"test")
        yield engine


def stored(engine: Engine) -> tuple[list[tuple[str, str, str, int, int | None]], Any]:
    """Return the owned records, and the campaigns."""
    with engine.snapshot("list") as snapshot:
        records, _ = snapshot.records(b"", 1_000)
    return records, engine.campaigns("", 1_000)


@settings(max_examples=examples(60))
@given(
    st.lists(
        st.tuples(
            texts(limits.RECORD_ID_BYTES),
            texts(limits.CAMPAIGN_ID_BYTES),
            texts(limits.CAMPAIGN_NAME_BYTES) | st.just(""),
            st.none() | st.integers(START_NS + 1, instants.LAST_S * 1_000_000_000),
            st.integers(0, START_NS),
        ),
        max_size=5,
        unique_by=lambda row: row[0],
    )
)
def test_an_export_makes_the_same_owners_expirations_and_names_of_an_empty_store(
    rows: list[tuple[str, str, str, int | None, int]],
) -> None:
    with empty_store() as store, empty_store() as copy:
        store.import_rows("list", rows, 1, note=b"test")
        text = io.StringIO(newline="")
        Writer(text, COLUMNS, NAMED).write(map(_exported, stored(store)[0]))
        found = read(text.getvalue().encode())
        copied = [
            (row.record_id, row.campaign_id, row.campaign_name, row.expire_ns, row.acquire_ns)
            for row in found
        ]
        copy.import_rows("list", copied, 1, note=b"test")
        assert stored(copy) == stored(store)


def _exported(record: tuple[str, str, str, int, int | None]) -> pb.OwnershipRow:
    record_id, campaign_id, name, acquire_ns, expire_ns = record
    row = pb.OwnershipRow(record_id=record_id, campaign_id=campaign_id, campaign_name=name)
    row.acquire_time.CopyFrom(times.to_message(acquire_ns))
    if expire_ns is not None:
        row.expire_time.CopyFrom(times.to_message(expire_ns))
    return row


def test_a_file_takes_no_memory_of_its_size(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(repeats, "IN_MEMORY", 1 << 12)
    path = tmp_path / "long.csv"
    with path.open("w") as file:
        file.write(",".join(COLUMNS[:4]) + ",notes\n")
        file.writelines(f"{number},C1,A name,,{'x' * 160}\n" for number in range(40_000))
    tracemalloc.start()
    try:
        with path.open("rb") as binary, Check(Reader(binary, Reading()), now_ns=0) as check:
            count = sum(1 for _ in check.rows())
            check.finish()
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 40_000 and peak_bytes < 4 << 20 < path.stat().st_size


def test_two_owners_are_found_among_more_rows_than_are_kept_in_memory(monkeypatch) -> None:
    monkeypatch.setattr(repeats, "IN_MEMORY", 100)
    found = repeats.Repeats()
    for line in range(1_000):
        found.add(str(line), "A", line)
    for line in (1_000, 1_001):
        found.add("7", "A", line)
    found.add("8", "B", 1_002)
    assert list(found.contradictions()) == [("8", ("A", 8), ("B", 1_002))]
    assert found.same_owner_count == 2
    found.close()


IDS = st.text(st.sampled_from("abcXYZ-_/éü"), min_size=1, max_size=12)
FOREIGN = st.text(st.sampled_from("ab12,;\t|\"' \r\n\x1a=é"), max_size=12)


@given(
    st.lists(st.tuples(FOREIGN, IDS, IDS, FOREIGN), max_size=6, unique_by=lambda row: row[1]),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
)
def test_a_table_that_any_program_wrote_is_read_as_it_is_or_refused(
    table: list[tuple[str, str, str, str]], delimiter: str, end: str, quoting: int, encoding: str
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n", quoting=quoting)
    writer.writerow(["notes", *COLUMNS[:2], "more", COLUMNS[3]])
    writer.writerows([*row, ""] for row in table)
    data = _with_line_ends(text.getvalue(), end).encode(encoding)
    try:
        found = read(data)
    except FileFault as fault:
        doubts = ("looks like a row itself", "is how some programs write nothing")
        assert any(doubt in fault.message for doubt in doubts)
    else:
        assert [(row.record_id, row.campaign_id) for row in found] == [row[1:3] for row in table]


def _with_line_ends(text: str, end: str) -> str:
    """Return a text with other ends of its rows; within cells they become so, too."""
    return text if end == "\r\n" else text.replace("\r\n", end)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(st.sampled_from('ab1,;"\n\r\x00\x1a= ü'), max_size=60).map(
            lambda text: (",".join(COLUMNS[:4]) + "\n" + text).encode()
        ),
    )
)
def test_whatever_stands_in_a_file_it_is_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(FileFault):
        read(data)
