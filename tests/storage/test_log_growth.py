"""The log of a store: its files grow as it is used, are gone on to under load, and go in time."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import poll
from killed import kill

from ownerd.base.testing import ManualClock
from ownerd.engine.engine import CLAIM, CLAIM_BATCH, Engine, Policy
from ownerd.storage.verify import verify
from ownerd.v1 import dial_pb2

START_NS = 1_800_000_000 * 10**9
MINUTE_NS = 60 * 10**9
HOUR_NS = 60 * MINUTE_NS
HELD = Policy(True, None, None, 86_400 * 10**9)
MIB = 1 << 20
BATCH = 10_000
SMALL_COMMITS = 2_000


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands."""
    return ManualClock(START_NS)


@pytest.fixture
def engine(tmp_path: Path, clock: ManualClock) -> Iterator[Engine]:
    """An engine whose maintenance is driven by hand, with a list."""
    with Engine(str(tmp_path), clock, background=False) as engine:
        engine.create_list("list", HELD)
        yield engine


def claim(engine: Engine, record_id: str) -> int:
    """Claim one record; return the decision."""
    request = dial_pb2.ClaimRequest(list_id="list", record_id=record_id, campaign_id="A")
    return dial_pb2.ClaimResponse.FromString(
        engine.dial(CLAIM, request.SerializeToString())
    ).decision


def claim_megabyte(engine: Engine, number: int) -> None:
    """Claim a batch whose entry is about as large; by another number, of other records."""
    ids = [f"{number} {row:060}" for row in range(BATCH)]
    claims = dial_pb2.ClaimBatchRequest(list_id="list", campaign_id="A", record_ids=ids)
    engine.dial(CLAIM_BATCH, claims.SerializeToString())


def segments(store: Path) -> dict[int, int]:
    """Return the sizes of the log's files, by number, in MiB."""
    found = sorted((store / "log").iterdir())
    return {int(path.name): path.stat().st_size // MIB for path in found if path.name.isdigit()}


def faults(store: Path) -> list[object]:
    """Return what `verify` finds wrong."""
    return [row for row in verify(str(store)) if row[2] or row[4]]


def test_each_file_is_twice_as_large_as_the_one_before_up_to_32_mib(
    engine: Engine, tmp_path: Path
) -> None:
    sizes: dict[int, int] = {}
    for number in range(72):
        claim_megabyte(engine, number)
        while engine.maintain():
            pass
        sizes |= segments(tmp_path)
    assert list(sizes) == list(range(1, len(sizes) + 1))
    assert list(sizes.values()) == [1, 2, 4, 8, 16, 32, *([32] * (len(sizes) - 6))]
    assert len(sizes) > 6


def test_a_file_is_kept_for_an_hour_after_it_is_flushed(
    engine: Engine, clock: ManualClock, tmp_path: Path
) -> None:
    for number in range(6):
        claim_megabyte(engine, number)
        engine.maintain()
    assert [*segments(tmp_path)] == [1, 2, 3, 4]
    clock.advance_ns(2 * HOUR_NS)
    while engine.maintain():
        pass
    assert engine.stats()["flushed_revision"] == 0
    assert [*segments(tmp_path)] == [1, 2, 3, 4]  # nothing of it is flushed
    claim(engine, "late")
    engine.vacuum()
    assert [*segments(tmp_path)] == [3, 4]  # the last change is not old
    for number in range(6, 14):
        claim_megabyte(engine, number)
        engine.maintain()
    engine.vacuum()
    kept = [*segments(tmp_path)]
    assert kept == [3, 4, 5]
    clock.advance_ns(HOUR_NS - MINUTE_NS)
    engine.vacuum()
    assert [*segments(tmp_path)] == kept
    clock.advance_ns(2 * MINUTE_NS)
    engine.vacuum()
    assert [*segments(tmp_path)] == [4, 5]
    assert engine.stats()["record_count"] == 14 * BATCH + 1


def test_many_small_commits_are_there_after_a_kill_and_after_a_stop(tmp_path: Path) -> None:
    engine = Engine(str(tmp_path), background=False)
    engine.create_list("list", HELD)
    for number in range(SMALL_COMMITS):
        claim(engine, str(number))
        if number % 100 == 0:
            engine.maintain()
    revision = engine.revision
    # None, unless it took a minute; what came after the last maintenance never is.
    flushed = engine.stats()["flushed_revision"]
    assert flushed < revision == SMALL_COMMITS + 1
    kill(engine, tmp_path)
    assert [*segments(tmp_path)][:3] == [1, 2, 3]
    for how in ("after a kill", "after a stop"):
        assert faults(tmp_path) == []
        with Engine(str(tmp_path), background=False) as engine:
            assert engine.revision == revision, how
            with engine.snapshot("list") as snapshot:
                assert sum(owner[3] for owner in snapshot.owners()) == SMALL_COMMITS
            assert engine.stats()["flushed_revision"] in (flushed, revision)


def test_what_is_answered_while_files_are_gone_on_to_is_in_one_of_them(tmp_path: Path) -> None:
    """Also while the record tree is flushed all the time."""
    granted: list[list[str]] = [[] for _ in range(4)]
    over = threading.Event()
    engine = Engine(str(tmp_path), memtable_bytes=2 * MIB, map_bytes=1 << 30)

    def load(place: int) -> None:
        number = 0
        while not over.is_set():
            record_id = f"{place} {number}"
            if claim(engine, record_id) == dial_pb2.CLAIM_DECISION_GRANTED:
                granted[place].append(record_id)
            number += 1

    engine.create_list("list", HELD)
    loaders = [threading.Thread(target=load, args=(place,)) for place in range(len(granted))]
    for loader in loaders:
        loader.start()
    try:
        for number in range(12):
            claim_megabyte(engine, number)
        poll(lambda: max(segments(tmp_path)) >= 5, "the files to be gone on to", 60)
        poll(lambda: engine.stats()["flushed_revision"] > 0, "a flush", 60)
        poll(lambda: sum(map(len, granted)) > 200, "some grants", 60)
    finally:
        over.set()
        for loader in loaders:
            loader.join(30)
        engine.close()
    assert faults(tmp_path) == []
    with Engine(str(tmp_path), background=False) as engine:
        records = [record_id for each in granted for record_id in each]
        with engine.snapshot("list") as snapshot:
            reserved = sum(owner[3] for owner in snapshot.owners())
        assert reserved == 12 * BATCH + len(records)
