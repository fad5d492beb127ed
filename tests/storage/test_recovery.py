"""Opening: what the log holds is there again, and what does not belong together is refused."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import poll

from ownerd.engine.engine import CLAIM_BATCH, Engine, Policy, StoreError
from ownerd.storage.verify import verify
from ownerd.v1 import dial_pb2

HELD = Policy(True, None, None, 86_400 * 10**9)
BATCH = 10_000
RECORD_COUNT = 6 * BATCH
SMALL_MEMTABLES = 2 << 20  # two of some 26,000 records
TWO_MEMTABLES = 4 << 20  # all of them, in both


def claim(engine: Engine, campaign_id: str, first: int, count: int = BATCH) -> set[int]:
    """Claim records and return the decisions that were made."""
    request = dial_pb2.ClaimBatchRequest(
        list_id="list",
        campaign_id=campaign_id,
        record_ids=[str(number) for number in range(first, first + count)],
    )
    answer = engine.dial(CLAIM_BATCH, request.SerializeToString())
    return set(dial_pb2.ClaimBatchResponse.FromString(answer).decisions)


def owners(engine: Engine) -> list[tuple[str, int]]:
    """Return the reserved records of each campaign."""
    with engine.snapshot("list") as snapshot:
        return [(owner[0], owner[3]) for owner in snapshot.owners()]


@pytest.fixture
def crashed(tmp_path: Path) -> Iterator[Path]:
    """A store as a kill leaves it: nothing flushed, every claim in the log only."""
    directory, copy = tmp_path / "store", tmp_path / "crashed"
    with Engine(str(directory), background=False) as engine:
        engine.create_list("list", HELD)
        for first in range(0, RECORD_COUNT, BATCH):
            claim(engine, "A", first)
        assert engine.stats()["flushed_revision"] == 0
        shutil.copytree(directory, copy)
        yield copy


@pytest.mark.parametrize("memtable_bytes", [SMALL_MEMTABLES, TWO_MEMTABLES, 64 << 20])
def test_r18_what_only_the_log_holds_is_replayed_whatever_memory_there_is(
    crashed: Path, memtable_bytes: int
) -> None:
    with Engine(str(crashed), memtable_bytes=memtable_bytes, background=False) as engine:
        assert owners(engine) == [("A", RECORD_COUNT)]
        for first in range(0, RECORD_COUNT, BATCH):
            assert claim(engine, "B", first) == {dial_pb2.CLAIM_DECISION_DENIED}
        engine.vacuum()
        assert engine.stats()["record_count"] == RECORD_COUNT
        assert owners(engine) == [("A", RECORD_COUNT)]
    with Engine(str(crashed), background=False) as engine:
        assert engine.stats()["unflushed_record_count"] == 0
        assert owners(engine) == [("A", RECORD_COUNT)]


def test_r18_a_group_larger_than_memory_is_replayed_whole_however_often_the_process_ends(
    tmp_path: Path,
) -> None:
    """It is flushed in steps: the tree then has a part of its revision, and not the rest."""
    long_ids = [f"{number:0100}" for number in range(BATCH)]
    directory, crashed, again = tmp_path / "store", tmp_path / "crashed", tmp_path / "again"
    claims = dial_pb2.ClaimBatchRequest(list_id="list", campaign_id="A", record_ids=long_ids)
    with Engine(str(directory), background=False) as engine:
        engine.create_list("list", HELD)
        engine.dial(CLAIM_BATCH, claims.SerializeToString())
        shutil.copytree(directory, crashed)
    with Engine(
        str(crashed), memtable_bytes=SMALL_MEMTABLES, maintenance_step_ns=0, background=False
    ) as engine:
        assert owners(engine) == [("A", BATCH)]
        assert engine.maintain(vacuum_all=True)
        while engine.stats()["flushed_records"] == 0:
            assert engine.maintain()
        assert engine.stats()["flushed_records"] < BATCH
        assert engine.stats()["flushed_revision"] == 0
        shutil.copytree(crashed, again)
    with Engine(str(again), memtable_bytes=SMALL_MEMTABLES, background=False) as engine:
        assert owners(engine) == [("A", BATCH)]
        claims.campaign_id = "B"
        answer = dial_pb2.ClaimBatchResponse.FromString(
            engine.dial(CLAIM_BATCH, claims.SerializeToString())
        )
        assert set(answer.decisions) == {dial_pb2.CLAIM_DECISION_DENIED}


def test_a_log_that_fits_into_both_memtables_is_not_flushed_before_the_store_is_open(
    crashed: Path,
) -> None:
    with Engine(str(crashed), memtable_bytes=TWO_MEMTABLES, background=False) as engine:
        stats = engine.stats()
        assert stats["flushed_revision"] == 0
        assert stats["unflushed_record_count"] == RECORD_COUNT
        assert owners(engine) == [("A", RECORD_COUNT)]
    assert verify(str(crashed))


def test_what_a_store_was_opened_with_is_flushed_by_itself(crashed: Path) -> None:
    with Engine(str(crashed), memtable_bytes=TWO_MEMTABLES) as engine:
        poll(lambda: engine.stats()["flushed_records"] > 0, "the flush to begin")
        assert owners(engine) == [("A", RECORD_COUNT)]


def test_more_than_memory_holds_is_flushed_on_the_way(tmp_path: Path) -> None:
    with Engine(str(tmp_path), memtable_bytes=SMALL_MEMTABLES, background=False) as engine:
        engine.create_list("list", HELD)
        for first in range(0, RECORD_COUNT, BATCH):
            claim(engine, "A", first)
            assert engine.stats()["unflushed_record_count"] <= 2 * 26_214 + BATCH
        assert engine.stats()["flushed_records"] > 0
        assert owners(engine) == [("A", RECORD_COUNT)]
        assert claim(engine, "B", 0) == {dial_pb2.CLAIM_DECISION_DENIED}


def test_a_record_that_comes_twice_in_one_group_is_decided_in_order(tmp_path: Path) -> None:
    with Engine(str(tmp_path), background=False) as engine:
        engine.create_list("list", HELD)
        claim(engine, "A", 0, 100)
        engine.vacuum()
        request = dial_pb2.ReportAttemptBatchRequest(list_id="list", campaign_id="A")
        for number in range(100):
            for code in ("Busy", "No Lines", "Busy"):
                request.attempts.add(record_id=str(number), wrap_up_code=code)
        answer = engine.dial(3, request.SerializeToString())
        outcomes = dial_pb2.ReportAttemptBatchResponse.FromString(answer).outcomes
        acquired = dial_pb2.ATTEMPT_OUTCOME_OWNERSHIP_ACQUIRED
        kept = dial_pb2.ATTEMPT_OUTCOME_OWNERSHIP_KEPT
        assert list(outcomes) == [acquired, kept, kept] * 100


@pytest.mark.parametrize("part", ["log", "records"])
def test_log_and_records_of_two_stores_are_refused(
    crashed: Path, tmp_path: Path, part: str
) -> None:
    with Engine(str(tmp_path / "other"), background=False) as engine:
        engine.create_list("list", HELD)
    shutil.rmtree(crashed / part)
    shutil.copytree(tmp_path / "other" / part, crashed / part)
    with pytest.raises(StoreError, match="of another store"):
        Engine(str(crashed), background=False)
    assert any("of another store" in (row[4] or "") for row in verify(str(crashed)))


@pytest.mark.parametrize("missing", ["log", "records"])
def test_half_a_store_is_refused_and_left_as_it_is(crashed: Path, missing: str) -> None:
    shutil.rmtree(crashed / missing)
    with pytest.raises(StoreError, match="half a store"):
        Engine(str(crashed), background=False)
    assert not (crashed / missing).exists()


def test_records_ahead_of_the_log_are_refused(tmp_path: Path) -> None:
    directory, copy = tmp_path / "store", tmp_path / "copy"
    with Engine(str(directory), background=False) as engine:
        engine.create_list("list", HELD)
        claim(engine, "A", 0, 10)
        shutil.copytree(directory / "log", copy / "log")
        claim(engine, "A", 10, 10)
        engine.vacuum()
        shutil.copytree(directory / "records", copy / "records")
    with pytest.raises(StoreError, match="the records are at"):
        Engine(str(copy), background=False)


def test_a_clean_stop_leaves_nothing_to_replay(tmp_path: Path) -> None:
    """Also of more revisions than one segment holds."""
    with Engine(str(tmp_path), background=False) as engine:
        engine.create_list("list", HELD)
        for number in range(1_200):
            claim(engine, "A", number, 1)
    rows = {table: rows for table, rows, *_ in verify(str(tmp_path))}
    assert (rows["log"], rows["records/records"]) == (0, 1_200)


def test_the_records_of_a_deleted_list_are_purged_after_a_restart(tmp_path: Path) -> None:
    with Engine(str(tmp_path), background=False) as engine:
        for name in ("list", "other"):
            engine.create_list(name, HELD)
            engine.import_rows(name, [(str(number), "A", "", None) for number in range(100)], 1)
        engine.vacuum()
        engine.delete_list("list", force=True)
    with Engine(str(tmp_path), background=False) as engine:
        engine.vacuum()
        assert engine.stats()["record_count"] == 100
    assert [found for found in verify(str(tmp_path)) if found[2] or found[4]] == []
