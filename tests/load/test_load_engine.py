"""The native load in process: what it counts is what the engine did."""

import pytest
from harness import poll

from ownerd.engine.engine import Engine, Policy, Refused
from ownerd.load.engine import drive, fill
from ownerd.load.plan import Plan

DAY_NS = 86_400 * 10**9
SHORT = {"seconds": 0.3, "warm_up_s": 0.05}


@pytest.fixture
def engine(tmp_path):
    with Engine(str(tmp_path), map_bytes=1 << 28) as engine:
        engine.create_list("L", Policy(True, DAY_NS, DAY_NS, 2 * DAY_NS), note=b"")
        yield engine


@pytest.mark.parametrize("campaigns", [1, 3])
def test_a_fill_sends_every_record_once(engine, campaigns):
    names = tuple(f"c{number}" for number in range(campaigns))
    plan = Plan(
        "L",
        record_count=2_500,
        factor=7,
        shift=3,
        in_order=True,
        batch_records=1_000,
        claims=0,
        attempts=1,
        campaign_ids=names,
    )
    found = fill(engine, plan)
    assert found.outcomes == {"ownership_acquired": 2_500} and not found.errors
    assert engine.stats()["records"] == 2_500 and found.calls == 3
    with engine.snapshot("L") as snapshot:
        owned = {row[0]: row[2] for row in snapshot.owners()}
    assert sum(owned.values()) == 2_500 and set(owned) == set(names)


@pytest.mark.parametrize(
    ("in_flight", "threads", "batch_records"), [(1, 1, 1), (17, 2, 1), (3, 1, 100)]
)
def test_a_closed_load_counts_what_the_engine_decided(engine, in_flight, threads, batch_records):
    plan = Plan("L", record_count=1_000, claims=2, attempts=1, batch_records=batch_records)
    found = drive(engine, plan, in_flight=in_flight, threads=threads, **SHORT)
    stats = engine.stats()
    assert not found.errors and found.latency.count == found.calls > 0
    assert found.records == found.calls * batch_records == sum(found.records_by_second)
    assert found.records == sum(found.decisions.values()) + sum(found.outcomes.values())
    assert found.records <= stats["records"]  # some came in the warm-up or after the end
    assert found.decisions["granted"] <= stats["decisions"]["granted"]
    assert 0 < found.writer_cpu_s <= found.process_cpu_s
    assert found.load_cpu_s <= found.process_cpu_s


def test_campaigns_that_meet_are_denied(engine):
    plan = Plan("L", record_count=10, campaign_ids=("a", "b"))
    assert set(drive(engine, plan, **SHORT).decisions) == {"granted", "denied"}


def test_an_open_load_keeps_its_rate(engine):
    def keeps_it() -> bool:
        found = drive(engine, Plan("L", record_count=1_000), rate_per_s=500, threads=2, **SHORT)
        assert found.calls <= 1.2 * 150
        return found.calls >= 0.8 * 150

    poll(keeps_it, "a run in which its threads were let run when a call was due")


def test_refusals_are_counted_by_status(engine):
    found = drive(engine, Plan("no such list", record_count=10), in_flight=2, **SHORT)
    assert found.calls == 0 and found.errors["NOT_FOUND"] > 0


def test_a_full_queue_is_counted_and_asked_again(tmp_path):
    with Engine(str(tmp_path / "small"), map_bytes=1 << 26, queue_limit=10) as engine:
        engine.create_list("L", Policy(True, DAY_NS, None, DAY_NS), note=b"")
        plan = Plan("L", record_count=100, batch_records=10)
        found = drive(engine, plan, in_flight=4, **SHORT)
    assert found.calls > 0 and set(found.errors) == {"RESOURCE_EXHAUSTED"}


def test_a_drained_engine_ends_the_load(engine):
    engine.begin_drain()
    assert drive(engine, Plan("L", record_count=10), seconds=30.0, warm_up_s=0).calls == 0


def test_a_closed_engine_is_refused(engine):
    engine.close()
    with pytest.raises(Refused):
        drive(engine, Plan("L", record_count=10))


@pytest.mark.parametrize(("in_flight", "threads"), [(1, 2), (1, 0)])
def test_threads_without_a_call_each_are_refused(engine, in_flight, threads):
    with pytest.raises(ValueError):
        drive(engine, Plan("L", record_count=10), in_flight=in_flight, threads=threads)
