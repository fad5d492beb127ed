"""What maintenance does, and what it leaves alone: bounded, however many lists and events."""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import poll

from ownerd.base.testing import ManualClock
from ownerd.engine.engine import Engine, Policy

START_NS = 1_800_000_000 * 10**9
SECOND_NS = 10**9
HELD = Policy(True, None, None, 300 * SECOND_NS)
LISTS = 300


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands."""
    return ManualClock(START_NS)


@pytest.fixture
def engine(tmp_path: Path, clock: ManualClock) -> Iterator[Engine]:
    """An engine whose maintenance is driven by hand."""
    with Engine(str(tmp_path), clock, map_bytes=1 << 28, background=False) as engine:
        yield engine


def fill(engine: Engine, list_id: str, count: int, end_ns: int | None = None) -> None:
    engine.create_list(list_id, HELD)
    engine.import_rows(list_id, [(str(number), "A", "", end_ns) for number in range(count)], 1)


def round_steps(engine: Engine) -> int:
    """Make a whole round; return its steps."""
    steps = 1
    more = engine.maintain(vacuum_all=True)
    while more:
        steps += 1
        more = engine.maintain()
    return steps


def files(directory: Path) -> list[tuple[str, bytes]]:
    return [
        (path.name, hashlib.sha256(path.read_bytes()).digest())
        for path in (directory / "records" / "data.mdb", *sorted((directory / "log").iterdir()))
    ]


def test_a_round_writes_nothing_and_takes_no_step_for_lists_where_nothing_is_over(
    engine: Engine, tmp_path: Path
) -> None:
    for number in range(LISTS):
        fill(engine, f"list-{number}", 2)
    engine.vacuum()
    before = files(tmp_path)
    assert round_steps(engine) < 10
    assert files(tmp_path) == before


def test_many_lists_are_vacuumed_by_a_few_commits(engine: Engine, clock: ManualClock) -> None:
    for number in range(LISTS):
        fill(engine, f"list-{number}", 2, START_NS + SECOND_NS)
    engine.vacuum()
    clock.advance_ns(SECOND_NS)
    assert round_steps(engine) < LISTS // 10
    assert engine.stats()["record_count"] == 0
    for number in range(LISTS):
        engine.update_policy(f"list-{number}", HELD._replace(duration_ns=10**12))
    assert engine.stats()["unsettled_event_count"] == LISTS
    assert round_steps(engine) < LISTS // 10
    assert engine.stats()["unsettled_event_count"] == 0


def test_lists_of_which_nothing_is_known_yet_are_looked_through_once_after_a_start(
    tmp_path: Path, clock: ManualClock
) -> None:
    with Engine(str(tmp_path), clock, map_bytes=1 << 28, background=False) as engine:
        fill(engine, "short", 10, START_NS + SECOND_NS)
        fill(engine, "long", 10)
    clock.advance_ns(SECOND_NS)
    with Engine(str(tmp_path), clock, map_bytes=1 << 28, background=False) as engine:
        engine.vacuum()
        assert engine.stats()["record_count"] == 10
        assert engine.stats()["vacuumed_records"] == 10
        assert round_steps(engine) < 10
        assert engine.stats()["vacuumed_records"] == 10


def test_r15_a_release_that_is_always_uncounted_does_not_keep_the_others_from_the_vacuum(
    engine: Engine,
) -> None:
    """Somebody releases all the time: there is always an event that cannot be folded yet."""
    fill(engine, "list", 100)
    engine.upsert_campaign("idle", "")
    newest = engine.release("list", ["idle"], False).entry_id
    most = 0
    for _ in range(300):
        before, newest = newest, engine.release("list", ["idle"], False).entry_id
        engine.count_released(before)
        newest = engine.release("list", ["idle"], False).entry_id
        engine.maintain()
        most = max(most, engine.stats()["unsettled_event_count"])
    assert most < 50


def test_r15_one_scan_counts_every_release_of_a_list(engine: Engine) -> None:
    engine.create_list("list", HELD)
    rows = [(str(number), f"C{number % 400}", "", None) for number in range(800)]
    engine.import_rows("list", rows, 1)
    entries = [engine.release("list", [f"C{number}"], False).entry_id for number in range(400)]
    assert engine.pending_counts() == entries
    assert engine.count_released(entries[7]) == 2
    assert engine.pending_counts() == []
    assert [engine.count_released(entry) for entry in entries] == [2] * 400


def test_more_events_than_one_commit_takes_are_cut_by_several(
    tmp_path: Path, clock: ManualClock
) -> None:
    """And where that stops half-way, a restart goes on."""
    with Engine(str(tmp_path), clock, map_bytes=1 << 28, background=False) as engine:
        fill(engine, "list", 100)
        engine.upsert_campaign("idle", "")
        entry_id = engine.release("list", ["A"], False).entry_id
        for _ in range(3_000):
            engine.release("list", ["idle"], False)
        engine.import_rows("list", [("1", "B", "", None)], 1)
        while (events := engine.stats()["unsettled_event_count"]) == 3_001:
            assert engine.maintain()
        assert 0 < events < 3_001
    with Engine(str(tmp_path), clock, map_bytes=1 << 28, background=False) as engine:
        assert engine.stats()["unsettled_event_count"] == events
        engine.vacuum()
        assert engine.stats()["unsettled_event_count"] == 0
        assert engine.count_released(entry_id) == 100
        with engine.snapshot("list") as snapshot:
            assert [row[:2] for row in snapshot.records(b"", 10)[0]] == [("1", "B")]


def test_steps_go_on_while_somebody_always_reads(tmp_path: Path) -> None:
    with Engine(str(tmp_path), map_bytes=1 << 28, maintenance_step_ns=0) as engine:
        fill(engine, "list", 5_000)
        over = threading.Event()

        def read() -> None:
            """Take the next snapshot before the last one is closed."""
            last = engine.snapshot("list")
            while not over.is_set():
                following = engine.snapshot("list")
                last.close()
                last = following
            last.close()

        reader = threading.Thread(target=read)
        reader.start()
        try:
            engine.update_policy("list", HELD._replace(duration_ns=10**12))
            poll(lambda: engine.stats()["unsettled_event_count"] == 0, "the vacuum", 60)
        finally:
            over.set()
            reader.join(10)


def test_r20_old_request_ids_are_found_among_many_young_ones(
    engine: Engine, clock: ManualClock
) -> None:
    """A step looks at so many, and the next one goes on from there."""
    for number in range(0, 3_000, 500):
        engine.upsert_campaign("A", "", request_id=f"{number:05} old")
    clock.advance_ns(86_400 * SECOND_NS)
    for number in range(3_000):
        engine.upsert_campaign("A", "", request_id=f"{number:05} young")
    steps = round_steps(engine)
    assert engine.stats()["request_count"] == 3_000
    assert steps >= 4
