"""R1 to R6: who may dial a record now."""

import pytest
from scene import Scene, TimedScene
from subject import DAY, MINUTE, MS, SECOND, Attempt, Holder, Policy, Refusal


def test_r1_a_record_has_one_holder_at_a_time(scene: Scene) -> None:
    scene.open()
    decisions = [scene.claim("1", campaign) for campaign in ("A", "B", "C", "A")]
    assert decisions == ["GRANTED", "DENIED", "DENIED", "GRANTED"]
    assert scene.kind("1") == ("RESERVED", "A")


def test_r1_a_hold_in_one_list_says_nothing_about_another_list(scene: Scene) -> None:
    other = Scene(scene.subject, scene.list_id + "-other").open()
    scene.open().own("1", "A")
    other.own("1", "B")
    assert (scene.kind("1"), other.kind("1")) == (("OWNED", "A"), ("OWNED", "B"))


@pytest.mark.parametrize("after_ns", [-MS, -1, 0, 1, MS])
def test_r2_an_ownership_exists_until_just_before_its_expiration(
    timed: TimedScene, after_ns: int
) -> None:
    hold = timed.open().own("1", "A")
    assert hold.expire_ns == hold.acquire_ns + DAY
    timed.pass_until(hold.expire_ns + after_ns)
    alive = after_ns < 0
    assert timed.kind("1") == (("OWNED", "A") if alive else None)
    assert [owner.campaign_id for owner in timed.owners()] == (["A"] if alive else [])
    assert len(timed.owned()) == alive
    assert timed.claim("1", "B") == ("DENIED" if alive else "GRANTED")


@pytest.mark.parametrize("after_ns", [-MS, -1, 0, 1, MS])
def test_r2_a_reservation_exists_until_just_before_its_expiration(
    timed: TimedScene, after_ns: int
) -> None:
    hold = timed.open(Policy(reservation_ttl_ns=90 * SECOND)).reserve("1", "A")
    assert hold.expire_ns == hold.acquire_ns + 90 * SECOND
    timed.pass_until(hold.expire_ns + after_ns)
    alive = after_ns < 0
    assert timed.kind("1") == (("RESERVED", "A") if alive else None)
    assert [owner.reserved_count for owner in timed.owners()] == ([1] if alive else [])
    assert timed.claim("1", "B") == ("DENIED" if alive else "GRANTED")


@pytest.mark.parametrize("after_ns", [-MS, -1, 0])
def test_r2_an_attempt_of_another_campaign_counts_from_the_expiration_on(
    timed: TimedScene, after_ns: int
) -> None:
    hold = timed.open().own("1", "A")
    timed.pass_until(hold.expire_ns + after_ns)
    assert timed.attempt("1", "B") == ("REJECTED" if after_ns < 0 else "OWNERSHIP_ACQUIRED")


def test_r3_a_restart_moves_no_expiration(timed: TimedScene) -> None:
    owned = timed.open().own("1", "A")
    reserved = timed.reserve("2", "B")
    timed.pass_ns(MINUTE)
    timed.subject.reopen()
    assert (timed.holder("1"), timed.holder("2")) == (owned, reserved)


def test_r4_a_claim_is_denied_with_the_owner(scene: Scene) -> None:
    hold = scene.open().own("1", "A")
    before = scene.revision()
    answer = scene.claim_answer("1", "B")
    assert (answer.what, answer.holder) == ("DENIED", hold)
    assert hold.expire_ns == hold.acquire_ns + DAY
    assert (scene.holder("1"), scene.revision()) == (hold, before)


def test_r4_a_claim_is_denied_with_the_campaign_that_dials(scene: Scene) -> None:
    hold = scene.open(Policy(reservation_ttl_ns=7 * SECOND * 60)).reserve("1", "A")
    answer = scene.claim_answer("1", "B")
    assert (answer.what, answer.holder) == ("DENIED", hold)
    end_ns = hold.acquire_ns + 7 * MINUTE
    assert hold == Holder("RESERVED", "A", "A", hold.acquire_ns, end_ns, "", end_ns)


def test_r4_an_ownership_without_end_shows_no_expiration(scene: Scene) -> None:
    scene.open(Policy(duration_ns=None)).own("1", "A")
    answer = scene.claim_answer("1", "B")
    assert answer.holder is not None and answer.holder.expire_ns is None


def test_r5_a_grant_reserves_the_record_for_the_ttl(timed: TimedScene) -> None:
    timed.open(Policy(reservation_ttl_ns=30 * SECOND))
    before = timed.revision()
    answer = timed.claim_answer("1", "A")
    assert (answer.what, answer.holder, answer.revision) == ("GRANTED", None, before + 1)
    start_ns = timed.now_ns()
    end_ns = start_ns + 30 * SECOND
    assert timed.holder("1") == Holder("RESERVED", "A", "A", start_ns, end_ns, "", end_ns)
    assert (answer.reserved_until_ns, answer.reservation_id) == (end_ns, start_ns)


def test_r5_a_repeated_claim_extends_the_reservation(timed: TimedScene) -> None:
    first = timed.open().reserve("1", "A")
    timed.pass_ns(4 * MINUTE)
    again = timed.reserve("1", "A")
    assert again.expire_ns == timed.now_ns() + 5 * MINUTE
    assert again.acquire_ns == first.acquire_ns


def test_r5_a_repeated_claim_never_shortens_the_reservation(timed: TimedScene) -> None:
    first = timed.open(Policy(reservation_ttl_ns=5 * MINUTE)).reserve("1", "A")
    timed.set(Policy(reservation_ttl_ns=SECOND))
    assert timed.reserve("1", "A").expire_ns == first.expire_ns


def test_r5_a_claim_after_the_reservation_ended_starts_a_new_one(timed: TimedScene) -> None:
    timed.open().reserve("1", "A")
    timed.pass_ns(6 * MINUTE)
    assert timed.reserve("1", "A").acquire_ns == timed.now_ns()


def test_r5_an_owner_gets_a_reservation_too(timed: TimedScene) -> None:
    hold = timed.open().own("1", "A")
    answer = timed.claim_answer("1", "A")
    assert answer.what == "GRANTED"
    assert timed.holder("1") == hold._replace(reserved_until_ns=timed.now_ns() + 5 * MINUTE)
    assert [(each.owned_count, each.reserved_count) for each in timed.owners()] == [(1, 1)]


def test_r5_a_release_leaves_the_dial_of_the_owner_alone(scene: Scene) -> None:
    scene.open().own("1", "A")
    assert scene.claim("1", "A") == "GRANTED"
    assert scene.release() == 1
    assert scene.kind("1") == ("RESERVED", "A")
    assert scene.claim("1", "B") == "DENIED"
    assert scene.attempt("1", "A", "Success") == "OWNERSHIP_ACQUIRED"


def test_r5_a_shorter_duration_leaves_the_dial_of_the_owner_alone(timed: TimedScene) -> None:
    timed.open().own("1", "A")
    timed.claim("1", "A")
    timed.set(Policy(duration_ns=SECOND))
    timed.pass_ns(MINUTE)
    assert timed.kind("1") == ("RESERVED", "A")
    assert timed.claim("1", "B") == "DENIED"


def test_r6_a_disabled_list_leaves_dialing_free_and_writes_nothing(scene: Scene) -> None:
    scene.open(Policy(enabled=False))
    before = scene.revision()
    answers = [scene.claim_answer("1", campaign) for campaign in ("A", "B", "A")]
    assert [answer.what for answer in answers] == ["UNCONTROLLED"] * 3
    assert (scene.holder("1"), scene.revision()) == (None, before)


def test_r6_an_owner_in_a_disabled_list_dials_freely_and_others_are_denied(scene: Scene) -> None:
    scene.open().own("1", "A")
    scene.set(Policy(enabled=False))
    assert scene.claim("1", "A") == "UNCONTROLLED"
    assert scene.claim("1", "B") == "DENIED"


def test_r6_a_reservation_outlives_the_switch_to_disabled(scene: Scene) -> None:
    scene.open().reserve("1", "A")
    scene.set(Policy(enabled=False))
    assert scene.claim("1", "B") == "DENIED"
    assert scene.claim("1", "A") == "UNCONTROLLED"


def test_a_batch_of_claims_is_independent_decisions_in_order(scene: Scene) -> None:
    hold = scene.open().own("2", "B")
    answer = scene.subject.claim_batch(scene.list_id, "A", ["1", "2", "3", "2", "1"])
    assert answer.what == ["GRANTED", "DENIED", "GRANTED", "DENIED", "GRANTED"]
    assert answer.holders == {1: hold, 3: hold}
    assert scene.kind("1") == scene.kind("3") == ("RESERVED", "A")


def test_a_batch_names_the_holder_of_each_of_its_many_denials(scene: Scene) -> None:
    scene.open()
    ids = [f"{number:03}" for number in range(150)]
    attempts = [Attempt(record_id, "Busy") for record_id in ids]
    scene.subject.attempt_batch(scene.list_id, "B", attempts[1::5])
    scene.subject.attempt_batch(scene.list_id, "C", attempts[2::5])
    scene.subject.claim_batch(scene.list_id, "C", ids[3::5], "the first line")
    scene.subject.claim_batch(scene.list_id, "B", ids[4::5], "line 2")
    held = {at: scene.holder(each) for at, each in enumerate(ids) if at % 5}
    answer = scene.subject.claim_batch(scene.list_id, "A", ids)
    assert answer.what == ["GRANTED", *["DENIED"] * 4] * 30
    assert answer.holders == held
    assert {hold.dialer_id for hold in answer.holders.values()} == {"", "the first line", "line 2"}


def test_a_batch_of_claims_is_one_commit(scene: Scene) -> None:
    before = scene.open().revision()
    answer = scene.subject.claim_batch(scene.list_id, "A", [str(n) for n in range(50)])
    assert answer.revision == scene.revision() == before + 1


def test_a_claim_on_an_unknown_list_is_refused(scene: Scene) -> None:
    for call in (scene.claim, scene.attempt):
        with pytest.raises(Refusal) as refusal:
            call("1", "A")
        assert refusal.value.code == "NOT_FOUND"
    with pytest.raises(Refusal) as refusal:
        scene.holder("1")
    assert refusal.value.code == "NOT_FOUND"
