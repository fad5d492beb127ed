"""What a native load sends: the same records as computed by hand, requests that protobuf reads."""

import itertools
from collections import Counter

import pytest

from ownerd.engine.engine import DIAL_METHODS
from ownerd.load.plan import Plan
from ownerd.v1 import dial_pb2

FACTOR, SHIFT = 0x5DEECE66D1B, 0xB504F333F9D
LIST = "café/" + "L" * 122  # 128 bytes of UTF-8: its length takes two bytes


def parsed(plan, count, **of):
    """Return the first requests of a plan as (rpc, message)."""
    return [
        (DIAL_METHODS[kind], getattr(dial_pb2, f"{DIAL_METHODS[kind]}Request").FromString(body))
        for kind, body in plan.requests(count, **of)
    ]


def test_a_record_has_the_id_that_the_formula_gives():
    plan = Plan(LIST, record_count=10**7, factor=FACTOR, shift=SHIFT)
    for number in (0, 1, 2, 4_711, 10**7 - 1):
        assert plan.record_id(number) == str((number * FACTOR + SHIFT) % (1 << 44))
    assert Plan(LIST, record_count=5).record_id(4) == "4"


@pytest.mark.parametrize("batch_records", [1, 7, 10_000])
@pytest.mark.parametrize(("claims", "attempts"), [(1, 0), (0, 1), (2, 1)])
def test_requests_are_what_protobuf_reads(batch_records, claims, attempts):
    plan = Plan(
        LIST,
        record_count=50,
        factor=FACTOR,
        shift=SHIFT,
        batch_records=batch_records,
        claims=claims,
        attempts=attempts,
        campaign_ids=("c" * 80,),
        wrap_up_code="w" * 64,
    )
    ids = {plan.record_id(number) for number in range(50)}
    for rpc, request in parsed(plan, 20):
        assert rpc.endswith("Batch") == (batch_records > 1)
        assert (request.list_id, request.campaign_id) == (LIST, "c" * 80)
        if rpc == "ClaimBatch":
            found = list(request.record_ids)
        elif rpc == "ReportAttemptBatch":
            found = [attempt.record_id for attempt in request.attempts]
            assert {attempt.wrap_up_code for attempt in request.attempts} == {"w" * 64}
        else:
            found = [request.record_id]
            assert rpc == "Claim" or request.wrap_up_code == "w" * 64
        assert len(found) == batch_records and ids.issuperset(found)


def test_the_mix_is_kept():
    plan = Plan("L", record_count=100, claims=3, attempts=1)
    kinds = Counter(rpc for rpc, _ in parsed(plan, 8_000))
    assert 5_700 < kinds["Claim"] < 6_300 and kinds.total() == 8_000


def test_random_picks_reach_every_record_about_equally_often():
    plan = Plan("L", record_count=100)
    picks = Counter(request.record_id for _, request in parsed(plan, 20_000))
    assert len(picks) == 100 and 120 < min(picks.values()) <= max(picks.values()) < 280


def test_picks_are_the_same_for_the_same_seed_and_thread_only():
    def picks(seed, index):
        plan = Plan("L", record_count=10**6, pick_seed=seed)
        return [body for _, body in plan.requests(50, index=index, of=2)]

    assert picks(1, 0) == picks(1, 0)
    for one, other in itertools.combinations([picks(1, 0), picks(1, 1), picks(2, 0)], 2):
        assert not set(one) & set(other)


def test_in_order_every_record_comes_once_in_key_order_then_again():
    plan = Plan(
        "L",
        record_count=10,
        factor=FACTOR,
        shift=SHIFT,
        in_order=True,
        batch_records=4,
        campaign_ids=("a", "b"),
    )
    requests = [request for _, request in parsed(plan, 5)]
    ids = [int(record_id) for request in requests for record_id in request.record_ids]
    assert ids[:10] == sorted(int(plan.record_id(number)) for number in range(10))
    assert ids[10:] == ids[:10]
    assert [request.campaign_id for request in requests] == ["a", "b", "a", "b", "a"]


def test_in_order_threads_begin_at_even_distances():
    plan = Plan("L", record_count=10, in_order=True)
    first = [parsed(plan, 1, index=index, of=2)[0][1].record_id for index in range(2)]
    assert first == ["0", "5"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"record_count": 0},
        {"record_count": (1 << 44) + 1},
        {"batch_records": 0},
        {"batch_records": 10_001},
        {"factor": 2},
        {"claims": 0},
        {"campaign_ids": ()},
        {"campaign_ids": ("x" * 81,)},
        {"wrap_up_code": ""},
        {"list_id": "x" * 129},
    ],
)
def test_a_plan_that_the_server_would_refuse_is_not_made(wrong):
    with pytest.raises(ValueError):
        Plan(**({"list_id": "L", "record_count": 10} | wrong))
