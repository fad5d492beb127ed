"""Groups: calls that are decided and committed together are decided one after the other."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from ownerd.access.table import Access
from ownerd.base.testing import ManualClock
from ownerd.engine.engine import CLAIM, GET_HOLDER, REPORT_ATTEMPT, Engine, Policy
from ownerd.net.aio_bridge import AioBridge
from ownerd.v1 import dial_pb2

START_NS = 1_800_000_000 * 10**9
HELD = Policy(True, None, None, 86_400 * 10**9)
RECORD_COUNT = 64
INVALID_ARGUMENT, NOT_FOUND = 3, 5
GRANTED, DENIED = dial_pb2.CLAIM_DECISION_GRANTED, dial_pb2.CLAIM_DECISION_DENIED

ANYBODY = Access(open=True)
Call = tuple[int, Message]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine with a list of records in the tree, of which B owns those that 3 divides."""
    clock = ManualClock(START_NS)
    with Engine(str(tmp_path), clock, map_bytes=1 << 26, background=False) as engine:
        engine.create_list("list", HELD)
        rows = [(str(number), "AB"[number % 3 == 0], "", None) for number in range(RECORD_COUNT)]
        engine.import_rows("list", rows, 1)
        engine.vacuum()
        yield engine


def together(engine: Engine, calls: Sequence[Call]) -> list[Any]:
    """Have calls decided in one group; return each one's bytes, or its Refused."""
    bridge = AioBridge(engine, ANYBODY, longest_wait_us=60_000_000)
    look = dial_pb2.GetHolderRequest(list_id="list", record_id="0")
    _answers(engine, bridge, [(GET_HOLDER, look)] * len(calls))
    # From now on it expects as many, and lays calls out until they have come.
    before = engine.stats()["groups"]
    answers = _answers(engine, bridge, calls)
    assert engine.stats()["groups"] == before + 1
    return answers


def _answers(engine: Engine, bridge: AioBridge, calls: Sequence[Call]) -> list[Any]:
    futures: list[Future[bytes]] = [Future() for _ in calls]
    for (kind, request), future in zip(calls, futures, strict=True):
        bridge.dial(kind, request.SerializeToString(), future, ANYBODY.anybody(), str)
    engine.upsert_campaign("A", "")  # queued behind them, so they are answered when it is
    bridge.deliver()
    return [future.exception(0) or future.result(0) for future in futures]


def ids(record_id: str, campaign_id: str, list_id: str = "list") -> dict[str, str]:
    """Return what a unary call names."""
    return {"list_id": list_id, "record_id": record_id, "campaign_id": campaign_id}


def test_a_refused_call_in_a_group_does_not_shift_what_the_others_see(engine: Engine) -> None:
    unknown = CLAIM, dial_pb2.ClaimRequest(**ids("1", "A", "no such list"))
    bad_code = REPORT_ATTEMPT, dial_pb2.ReportAttemptRequest(**ids("1", "A"), wrap_up_code="?")
    claims = [
        (CLAIM, dial_pb2.ClaimRequest(**ids(str(number), "A"))) for number in range(RECORD_COUNT)
    ]
    answers = together(engine, [unknown, bad_code, *claims])
    assert [refused.code for refused in answers[:2]] == [NOT_FOUND, INVALID_ARGUMENT]
    decisions = [dial_pb2.ClaimResponse.FromString(answer).decision for answer in answers[2:]]
    assert decisions == [GRANTED if number % 3 else DENIED for number in range(RECORD_COUNT)]


def test_r1_a_record_that_several_calls_of_a_group_want_goes_to_the_first(engine: Engine) -> None:
    """As it was looked up for the group, nobody has it any more when the second call comes."""
    engine.release("list", ["A"], False)
    engine.vacuum()
    calls: list[Call] = []
    for number in range(1, RECORD_COUNT, 3):
        calls += [
            (CLAIM, dial_pb2.ClaimRequest(**ids(str(number), campaign_id)))
            for campaign_id in ("C", "D")
        ]
        calls.append((GET_HOLDER, dial_pb2.GetHolderRequest(list_id="list", record_id=str(number))))
    answers = together(engine, calls)
    for first, second, look in zip(answers[::3], answers[1::3], answers[2::3], strict=True):
        assert dial_pb2.ClaimResponse.FromString(first).decision == GRANTED
        denied = dial_pb2.ClaimResponse.FromString(second)
        assert (denied.decision, denied.holder.campaign_id) == (DENIED, "C")
        holder = dial_pb2.GetHolderResponse.FromString(look).holder
        assert (holder.kind, holder.campaign_id) == (dial_pb2.HOLD_KIND_RESERVED, "C")
    revisions = {dial_pb2.ClaimResponse.FromString(answer).revision for answer in answers[::3]}
    assert len(revisions) == 1


def test_an_answer_that_is_sent_late_names_the_holder_as_it_was_decided(engine: Engine) -> None:
    """It is encoded as it is sent: after a rename, and even after the engine is closed."""
    former = "the name that campaign B had when the call was decided"
    engine.upsert_campaign("B", former)
    bridge = AioBridge(engine, ANYBODY, longest_wait_us=0)
    future: Future[bytes] = Future()
    request = dial_pb2.ClaimRequest(**ids("0", "C"))
    bridge.dial(CLAIM, request.SerializeToString(), future, ANYBODY.anybody(), str)
    engine.upsert_campaign("B", "another")  # queued behind it
    engine.close()
    bridge.deliver()
    denied = dial_pb2.ClaimResponse.FromString(future.result(0))
    assert (denied.decision, denied.holder.campaign_name) == (DENIED, former)
