"""What is beside the records: it is there after a kill, as after a stop, wherever it was."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import poll
from killed import kill

from ownerd.base.testing import ManualClock
from ownerd.engine.engine import CLAIM, GIVE_BACK, Engine, Policy
from ownerd.storage.verify import verify
from ownerd.v1 import dial_pb2

START_NS = 1_800_000_000 * 10**9
DAY_NS = 86_400 * 10**9
HELD = Policy(True, DAY_NS, None, DAY_NS)
MANY = 200
SMALL_MEMTABLES = 2 << 20


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands."""
    return ManualClock(START_NS)


Opened = Callable[[], Engine]


@pytest.fixture
def opened(tmp_path: Path, clock: ManualClock) -> Iterator[Opened]:
    """Open the store; what is left open is closed."""
    engines: list[Engine] = []

    def opened() -> Engine:
        engine = Engine(
            str(tmp_path), clock, map_bytes=1 << 28, maintenance_step_ns=0, background=False
        )
        engines.append(engine)
        return engine

    yield opened
    for engine in engines:
        engine.close()


def begin(engine: Engine) -> None:
    """Have something of every kind."""
    engine.create_list("list", HELD, note=b"created", request_id="create", memo=b"memo")
    engine.create_list("other", HELD)
    engine.create_list("shared", HELD, "list")
    for number in range(MANY):
        engine.upsert_campaign(f"c{number}", f"name {number}", request_id=f"r{number}")
        engine.put_principal(f"p{number}", b"kept %d" % number)
    engine.upsert_code("Mine", "Busy", True, True)
    engine.import_rows("list", [(str(n), f"c{n % 3}", "", None) for n in range(90)], 1)
    for number in range(40):
        claim(engine, f"new {number}", f"c{number % 3}", f"dialer {number}")


def go_on(engine: Engine) -> None:
    """Change, add and delete some of every kind."""
    engine.delete_list("other", force=True)
    engine.create_list("third", HELD._replace(duration_ns=None))
    engine.update_policy("list", HELD._replace(duration_ns=2 * DAY_NS), note=b"longer")
    for number in range(0, MANY, 7):
        engine.upsert_campaign(f"c{number}", f"renamed {number}", request_id=f"again {number}")
        engine.delete_principal(f"p{number}")
        engine.put_principal(f"p{number + 1}", b"rotated")
    engine.delete_campaign("c150", force=False)
    engine.upsert_code("Mine", "Busy", False, False)
    engine.delete_code("Busy")
    engine.update_settings(2, note=b"settings")
    engine.count_released(engine.release("list", ["c0"], False, request_id="release").entry_id)
    engine.release("list", ["c1"], True)
    engine.transfer("list", "c2", "c5")
    engine.signal_campaign("c5", "list", True)
    give_back = dial_pb2.GiveBackRequest(campaign_id="c0", dialer_id="dialer 3")
    engine.dial(GIVE_BACK, give_back.SerializeToString())
    for number in range(60, 70):
        claim(engine, f"new {number}", "c9", f"dialer {number}")


def claim(engine: Engine, record_id: str, campaign_id: str, dialer_id: str) -> None:
    request = dial_pb2.ClaimRequest(
        list_id="list", record_id=record_id, campaign_id=campaign_id, dialer_id=dialer_id
    )
    engine.dial(CLAIM, request.SerializeToString())


def everything(engine: Engine) -> dict[str, Any]:
    """Return what the store answers of all that it holds."""
    requests = ["create", "release", *(f"r{n}" for n in range(MANY)), "again 7", "never"]
    stats = engine.stats()
    numbers = ("list_count", "campaign_count", "dialer_count", "request_count")
    with engine.snapshot("list") as snapshot:
        records = snapshot.records(b"", 999)[0], sorted(snapshot.owners())
    return {
        "lists": engine.lists("", 99),
        "campaigns": engine.campaigns("", 999),
        "codes": engine.codes("", 999),
        "settings": engine.settings(),
        "principals": engine.principals(),
        "audit": engine.audit(0, 9_999),
        "requests": [engine.request(request_id) for request_id in requests],
        "held": engine.lists_held(),
        "pending": engine.pending_counts(),
        "records": records,
        "numbers": [engine.revision, engine.incarnation, *(stats[name] for name in numbers)],
    }


def flush_nothing(engine: Engine) -> None:
    """Leave all in memory."""


def flush_all(engine: Engine) -> None:
    """Bring all that there is into the tree."""
    engine.vacuum()


def flush_a_part(engine: Engine) -> None:
    """Begin to."""
    flushed = engine.stats()["flushed_revision"]
    assert engine.maintain(vacuum_all=True)
    for _ in range(6):
        assert engine.maintain()
    assert engine.stats()["flushed_revision"] == flushed


@pytest.mark.parametrize("later", [flush_nothing, flush_a_part, flush_all])
@pytest.mark.parametrize("at_first", [flush_nothing, flush_a_part, flush_all])
def test_r18_what_is_beside_the_records_is_there_after_a_kill(
    tmp_path: Path,
    opened: Opened,
    at_first: Callable[[Engine], None],
    later: Callable[[Engine], None],
) -> None:
    engine = opened()
    begin(engine)
    at_first(engine)
    go_on(engine)
    later(engine)
    before = everything(engine)
    for _ in range(2):
        kill(engine, tmp_path)
        assert faults(tmp_path) == []
        engine = opened()
        assert everything(engine) == before
    engine.close()
    assert faults(tmp_path) == []
    engine = opened()
    assert everything(engine) == before
    engine.vacuum()  # also what it deletes by itself stays away
    after = everything(engine)
    kill(engine, tmp_path)
    assert everything(opened()) == after


def faults(store: Path) -> list[Any]:
    """Return what `verify` finds wrong."""
    return [row for row in verify(str(store)) if row[2] or row[4]]


@pytest.mark.parametrize("background", [True, False])
def test_memory_full_of_rows_beside_the_records_is_flushed(
    tmp_path: Path, background: bool
) -> None:
    """By the writer itself where nobody else does, and before a restart has read all of them."""
    count = 600
    engine = Engine(str(tmp_path), memtable_bytes=SMALL_MEMTABLES, background=background)
    for number in range(count):
        request_id = f"request {number}"
        engine.upsert_campaign("A", "", note=b"n" * 6_000, request_id=request_id, memo=b"m" * 900)
    poll(lambda: engine.stats()["flushed_revision"] > 0, "a flush")
    assert_all(engine, count)
    kill_or_close(engine, tmp_path, background)
    with Engine(str(tmp_path), memtable_bytes=SMALL_MEMTABLES, background=False) as engine:
        assert_all(engine, count)
        engine.vacuum()
        assert_all(engine, count)
    assert faults(tmp_path) == []


def kill_or_close(engine: Engine, store: Path, background: bool) -> None:
    """Kill an engine that does nothing by itself; close another."""
    if background:
        engine.close()
    else:
        kill(engine, store)


def assert_all(engine: Engine, count: int) -> None:
    """Check that every change is remembered once."""
    assert engine.stats()["request_count"] == count
    page = engine.audit(0, count + 1)
    assert [entry[0] for entry in page] == list(range(count, 0, -1))
    assert all(len(entry[4]) == 6_000 for entry in page)
    answers = [engine.request(f"request {number}") for number in range(count)]
    assert [answer.revision for answer in answers if answer] == list(range(1, count + 1))


def test_a_log_of_rows_beside_the_records_is_read_within_bounds(tmp_path: Path) -> None:
    """More than fits into small memory was kept by a server with much."""
    count = 600
    engine = Engine(str(tmp_path), background=False)
    for number in range(count):
        request_id = f"request {number}"
        engine.upsert_campaign("A", "", note=b"n" * 6_000, request_id=request_id, memo=b"m" * 900)
    assert engine.stats()["flushed_revision"] == 0
    kill(engine, tmp_path)
    with Engine(str(tmp_path), memtable_bytes=SMALL_MEMTABLES, background=False) as engine:
        assert 0 < engine.stats()["flushed_revision"] < engine.revision
        assert_all(engine, count)
