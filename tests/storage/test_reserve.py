"""A full store: the smallest reserve lets releases through, and each is answered with its count."""

from pathlib import Path

import pytest

from ownerd.engine.engine import REPORT_ATTEMPT_BATCH, Engine, Policy, Refused
from ownerd.v1 import dial_pb2

FOREVER = Policy(True, None, None, 300 * 10**9)
ROWS = 200


def filled(store: Path, map_bytes: int, reserve_bytes: int) -> tuple[Engine, int]:
    """Return an engine that takes no more attempts, and how many records are owned."""
    engine = Engine(str(store), map_bytes=map_bytes, reserve_bytes=reserve_bytes, background=False)
    engine.create_list("list", FOREVER)
    owned = 0
    for size in (ROWS, 1):  # down to the last record that there is room for
        for number in range(10_000):
            request = dial_pb2.ReportAttemptBatchRequest(
                list_id="list", campaign_id=f"c{number % 3}"
            )
            for row in range(size):
                record_id = f"{size} {number} {row} {'p' * 60}"
                request.attempts.add(record_id=record_id, wrap_up_code="Busy")
            try:
                engine.dial(REPORT_ATTEMPT_BATCH, request.SerializeToString())
            except Refused as refusal:
                assert refusal.reason == "STORE_FULL"
                break
            owned += size
    return engine, owned


@pytest.mark.parametrize("reserve_bytes", [64 << 10, 1 << 20])
def test_r15_a_full_store_lets_releases_through_at_the_smallest_reserve(
    tmp_path: Path, reserve_bytes: int
) -> None:
    engine, owned = filled(tmp_path, 16 << 20, reserve_bytes)
    with engine:
        ended = 0
        for campaigns in (["c1"], None):
            outcome = engine.release("list", campaigns, True)
            ended += engine.count_released(outcome.entry_id)
        assert ended == owned
        engine.delete_list("list", force=True)


def test_r15_a_release_whose_count_cannot_be_stored_is_answered_with_it(tmp_path: Path) -> None:
    """Each release takes room; the last one that there is room for leaves none for its count."""
    engine, owned = filled(tmp_path, 2 << 20, 64 << 10)
    ended = released = 0
    with engine:
        for number in range(20_000):
            try:
                outcome = engine.release("list", [f"c{number % 3}"], False, note=b"n" * 2_000)
            except Refused as refusal:
                assert refusal.reason == "STORE_FULL"
                break
            released += 1
            ended += engine.count_released(outcome.entry_id)
        assert released >= 3
        assert ended == owned
