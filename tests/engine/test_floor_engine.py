"""Campaigns that go, lists that share, who ever held, activity: in the engine, over restarts."""

from typing import Any

import pytest
from model import START_NS
from subject import DAY, MINUTE, Policy, Refusal
from subject_engine import EngineSubject, refusals

from ownerd.base.testing import ManualClock
from ownerd.engine import engine as native
from ownerd.storage.verify import verify

OPEN = Policy(True, DAY)


def _share(engine: EngineSubject, list_id: str, shared: str) -> None:
    policy = native.Policy(*OPEN)
    refusals(lambda: engine.engine.create_list(list_id, policy, shared, note=b"test"))


def _delete(engine: EngineSubject, campaign_id: str, *, force: bool = False) -> int:
    outcome = refusals(
        lambda: engine.engine.delete_campaign(campaign_id, force=force, note=b"test")
    )
    return engine.engine.count_released(outcome.entry_id)


def test_r28_lists_share_over_restarts_and_the_last_keeps_the_holds(engine: EngineSubject) -> None:
    engine.create_list("b", OPEN)
    _share(engine, "a", "b")
    _share(engine, "c", "a")
    engine.attempt("b", "1", "A", "Busy")
    engine.reopen()
    assert engine.engine.get_list("a").shares_with == ("b", "c")
    assert engine.claim("c", "1", "B").what == "DENIED"
    engine.delete_list("b")
    engine.reopen()
    assert [info.list_id for info in engine.engine.lists("", 9)] == ["a", "c"]
    assert engine.engine.get_list("a").shares_with == ("c",)
    assert engine.release("c") == 1
    assert engine.claim("a", "1", "B").what == "GRANTED"
    engine.update_policy("a", Policy(True, DAY, None, MINUTE))
    engine.reopen()
    assert engine.policy("c").reservation_ttl_ns == MINUTE
    engine.delete_list("a")
    with pytest.raises(Refusal):
        engine.delete_list("c")
    engine.delete_list("c", force=True)
    engine.vacuum()
    engine.create_list("a", OPEN)
    assert engine.claim("a", "1", "C").what == "GRANTED"


def test_r28_a_release_in_one_name_is_counted_and_folded_under_all(engine: EngineSubject) -> None:
    engine.create_list("a", OPEN)
    _share(engine, "b", "a")
    engine.attempt_batch("a", "A", [(str(i), "Busy") for i in range(10)])
    outcome = engine.engine.release("b", None, False, note=b"test")
    engine.reopen()
    assert engine.engine.pending_counts("a") == engine.engine.pending_counts("b") != []
    assert engine.engine.count_released(outcome.entry_id) == 10
    engine.vacuum()
    assert engine.holder("a", "1") is None


def test_a_deleted_campaign_is_known_anew_and_is_never_another_one(engine: EngineSubject) -> None:
    engine.create_list("L", OPEN)
    engine.upsert_campaign("A", "Spring")
    engine.attempt("L", "1", "A", "Busy")
    engine.attempt("L", "2", "B", "Busy")
    assert _delete(engine, "A", force=True) == 1
    for again in (False, True):
        if again:
            engine.reopen()
        assert engine.campaigns() == {"B": "B"}
        assert engine.engine.stats()["campaign_count"] == 1
        assert engine.holder("L", "2").campaign_id == "B"
        with pytest.raises(Refusal) as refusal:
            engine.signal("A", "STOPPED")
        assert refusal.value.code == "NOT_FOUND"
    engine.attempt("L", "1", "A", "Busy")
    assert engine.holder("L", "1").name == "A"
    engine.reopen()
    engine.vacuum()
    assert [owner[0] for owner in engine.owners("L")] == ["A", "B"]
    engine.close()
    assert [row for row in verify(engine.directory) if row[2] or row[4]] == []


def test_all_lists_are_those_in_which_a_campaign_ever_held(engine: EngineSubject) -> None:
    for name in "abcd":
        engine.create_list(name, OPEN)
    engine.claim("a", "1", "A")
    engine.attempt("b", "1", "A", "Busy")
    engine.attempt("b", "1", "B", "Busy")
    engine.claim("c", "1", "B")
    engine.claim("d", "1", "B")
    engine.claim("d", "1", "A")
    for again in (False, True):
        if again:
            engine.reopen()
        assert engine.engine.lists_held("A") == ["a", "b"]
        assert engine.engine.lists_held("B") == ["c", "d"]
        assert engine.engine.lists_held("nobody") == []
    outcome = engine.engine.release("", ["A"], True, note=b"test")
    assert engine.engine.count_released(outcome.entry_id) == 1
    assert engine.engine.stats()["unsettled_event_count"] == 2
    outcome = engine.engine.release("", ["B"], False, note=b"test")
    assert engine.engine.count_released(outcome.entry_id) == 0
    assert engine.engine.pending_counts() == []


class _Dialed(native.Engine):
    """An engine in which a record is claimed just when it was seen that nothing is held."""

    def count_held(self, campaign_id: str) -> tuple[int, int]:
        found = super().count_held(campaign_id)
        self.dial_now("A")
        return found

    def _is_shared(self, list_id: str) -> bool:
        return True

    def dial_now(self, campaign_id: str) -> None:
        from ownerd.v1 import dial_pb2

        request = dial_pb2.ClaimRequest(list_id="L", record_id="1", campaign_id=campaign_id)
        self.dial(native.CLAIM, request.SerializeToString())


def test_who_dials_meanwhile_is_not_deleted_without_force(tmp_path) -> None:
    clock = ManualClock(START_NS)
    with _Dialed(str(tmp_path / "data"), clock, map_bytes=1 << 30, background=False) as engine:
        engine.create_list("L", native.Policy(*OPEN), note=b"test")
        engine.upsert_campaign("A", "A", note=b"test")
        with pytest.raises(native.Refused) as refused:
            engine.delete_campaign("A", force=False, note=b"test")
        assert refused.value.reason == "CAMPAIGN_HOLDS_RECORDS"
        with pytest.raises(native.Refused) as refused:
            engine.delete_list("L", force=False, note=b"test")
        assert refused.value.reason == "LIVE_OWNERSHIP", "it is no name of several, after all"


class _Unreadable(native.Engine):
    """An engine that has no place for another reader."""

    unreadable = False

    def snapshot(self, list_id: str) -> Any:
        if self.unreadable:
            raise native.Refused(8, "too many reads", reason="TOO_MANY_READS")
        return super().snapshot(list_id)


def test_a_campaign_whose_holds_cannot_be_looked_at_is_not_deleted(tmp_path) -> None:
    clock = ManualClock(START_NS)
    with _Unreadable(str(tmp_path / "data"), clock, map_bytes=1 << 30, background=False) as engine:
        engine.create_list("L", native.Policy(*OPEN), note=b"test")
        rows = [("1", "A", "", None)]
        engine.import_rows("L", rows, 1, note=b"test")
        engine.unreadable = True
        with pytest.raises(native.Refused) as refused:
            engine.delete_campaign("A", force=False, note=b"test")
        assert refused.value.reason == "TOO_MANY_READS"
        assert engine.campaigns("", 10) == [("A", "A")]


def test_r17_a_bounded_number_of_campaigns_is_counted(engine: EngineSubject) -> None:
    engine.create_list("L", OPEN)
    engine.claim("L", "1", "A")
    for i in range(17_000):
        engine.claim("L", "1", f"campaign {i}")
    with engine.engine.snapshot("L") as snapshot:
        counted = {row[0] for row in snapshot.activity()}
    assert 8_000 < len(counted) <= 16_384
    assert "campaign 16999" in counted and "campaign 0" not in counted


def test_r17_the_campaign_that_denies_most_is_told_first(engine: EngineSubject) -> None:
    engine.create_list("L", OPEN)
    for number, owner in enumerate("ABCDEFG"):
        engine.claim("L", str(number), owner)
        for _ in range(1 + number % 4):
            engine.claim("L", str(number), "Z")
    with engine.engine.snapshot("L") as snapshot:
        (_, decisions, _, denied_by, _) = snapshot.activity()[-1]
    assert decisions[2] == 16
    assert denied_by[0] == ("D", 4)


def test_r17_a_reservation_that_lapsed_is_its_campaigns(engine: EngineSubject) -> None:
    engine.create_list("L", Policy(True, DAY, None, MINUTE))
    engine.claim_batch("L", "A", ["1", "2", "3"])
    engine.attempt("L", "3", "A", "Busy")
    engine.advance_ns(2 * MINUTE)
    engine.claim_batch("L", "B", ["1", "2", "3"])
    with engine.engine.snapshot("L") as snapshot:
        lapsed = {row[0]: row[4] for row in snapshot.activity()}
    assert lapsed == {"A": 2, "B": 0}
    assert engine.engine.stats()["lapsed_reservations"] == 2
