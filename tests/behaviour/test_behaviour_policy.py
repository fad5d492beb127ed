"""R12 to R14: what a change of policy does to ownership that exists."""

import pytest
from scene import Scene, TimedScene
from subject import DAY, HOUR, MINUTE, SECOND, Policy, Refusal


@pytest.mark.parametrize("duration_ns", [SECOND, HOUR, 30 * DAY, None])
def test_r12_every_ownership_expires_at_the_change_plus_the_new_duration(
    scene: Scene, duration_ns: int | None
) -> None:
    scene.open()
    holds = [scene.own(str(number), "AB"[number % 2]) for number in range(6)]
    change_ns = scene.set(Policy(duration_ns=duration_ns))
    end_ns = None if duration_ns is None else change_ns + duration_ns
    owned = scene.owned()
    assert [(o.acquire_ns, o.expire_ns) for o in owned] == [(h.acquire_ns, end_ns) for h in holds]
    assert scene.held("1").expire_ns == end_ns
    assert {owner.earliest_expire_ns for owner in scene.owners()} == {end_ns}


def test_r12_shortening_the_duration_never_frees_a_record_early(timed: TimedScene) -> None:
    timed.open(Policy(duration_ns=10 * DAY)).own("1", "A")
    timed.pass_ns(9 * DAY)
    change_ns = timed.set(Policy(duration_ns=HOUR))
    timed.pass_until(change_ns + HOUR - 1)
    assert timed.claim("1", "B") == "DENIED"
    timed.pass_until(change_ns + HOUR)
    assert timed.claim("1", "B") == "GRANTED"


def test_r12_an_expiration_can_be_given_to_what_had_none(timed: TimedScene) -> None:
    timed.open(Policy(duration_ns=None)).own("1", "A")
    timed.pass_ns(1000 * DAY)
    change_ns = timed.set(Policy(duration_ns=DAY))
    assert timed.held("1").expire_ns == change_ns + DAY


def test_r12_what_had_expired_at_the_change_is_not_revived(timed: TimedScene) -> None:
    hold = timed.open().own("1", "A")
    timed.pass_until(hold.expire_ns)
    timed.set(Policy(duration_ns=None))
    assert timed.holder("1") is None
    assert timed.claim("1", "B") == "GRANTED"


def test_r12_saving_the_same_duration_again_moves_nothing(timed: TimedScene) -> None:
    hold = timed.open().own("1", "A")
    timed.pass_ns(HOUR)
    timed.set(Policy())
    timed.set(Policy(renewal_window_ns=HOUR, reservation_ttl_ns=MINUTE))
    assert timed.holder("1") == hold


def test_r12_saving_no_expiration_again_moves_no_imported_expiration(timed: TimedScene) -> None:
    timed.open(Policy(duration_ns=DAY)).own("1", "A")
    timed.set(Policy(duration_ns=None))
    timed.set(Policy(duration_ns=None, renewal_window_ns=HOUR))
    assert timed.held("1").expire_ns is None


def test_r12_several_changes_apply_in_their_order(timed: TimedScene) -> None:
    timed.open().own("1", "A")
    timed.set(Policy(duration_ns=HOUR))
    timed.pass_ns(HOUR - 1)
    last_ns = timed.set(Policy(duration_ns=2 * DAY))
    timed.pass_ns(DAY)
    assert timed.held("1").expire_ns == last_ns + 2 * DAY


def test_r12_an_ownership_that_ended_between_two_changes_stays_ended(timed: TimedScene) -> None:
    timed.open().own("1", "A")
    change_ns = timed.set(Policy(duration_ns=HOUR))
    timed.pass_until(change_ns + HOUR)
    timed.set(Policy(duration_ns=2 * DAY))
    assert timed.holder("1") is None
    assert timed.owners() == []


def test_r12_a_duration_change_touches_no_reservation(timed: TimedScene) -> None:
    hold = timed.open().reserve("1", "A")
    timed.set(Policy(duration_ns=HOUR))
    assert timed.holder("1") == hold


def test_r12_a_vacuum_in_the_background_changes_nothing_that_shows(timed: TimedScene) -> None:
    timed.open().own("1", "A")
    timed.own("2", "B")
    timed.reserve("3", "B")
    timed.set(Policy(duration_ns=HOUR))
    timed.release("B")
    before = (timed.owners(), timed.owned(), timed.holder("1"), timed.holder("3"))
    timed.subject.vacuum()
    assert (timed.owners(), timed.owned(), timed.holder("1"), timed.holder("3")) == before
    timed.subject.reopen()
    assert (timed.owners(), timed.owned(), timed.holder("1"), timed.holder("3")) == before


def test_r12_changes_of_one_list_leave_another_alone(timed: TimedScene) -> None:
    other = TimedScene(timed.subject, timed.list_id + "-other").open()
    hold = other.own("1", "A")
    timed.open().own("1", "A")
    timed.set(Policy(duration_ns=HOUR))
    timed.release()
    assert other.holder("1") == hold


def test_r13_disabling_keeps_ownership_and_makes_nothing_new(timed: TimedScene) -> None:
    hold = timed.open().own("1", "A")
    timed.pass_ns(HOUR)
    timed.set(Policy(enabled=False))
    assert timed.holder("1") == hold
    assert timed.claim("1", "B") == "DENIED"
    assert timed.claim("2", "B") == "UNCONTROLLED"
    assert timed.attempt("2", "B") == "NOT_CONTROLLED"
    timed.pass_until(hold.expire_ns)
    assert timed.claim("1", "B") == "UNCONTROLLED"


def test_r13_a_duration_change_applies_while_disabled(timed: TimedScene) -> None:
    timed.open().own("1", "A")
    timed.set(Policy(enabled=False))
    timed.pass_ns(HOUR)
    change_ns = timed.set(Policy(enabled=False, duration_ns=2 * DAY))
    assert timed.held("1").expire_ns == change_ns + 2 * DAY


def test_r13_enabling_again_moves_nothing(timed: TimedScene) -> None:
    hold = timed.open().own("1", "A")
    timed.set(Policy(enabled=False))
    timed.pass_ns(HOUR)
    timed.set(Policy())
    assert timed.holder("1") == hold
    assert timed.claim("2", "B") == "GRANTED"


def test_r13_ownership_of_a_disabled_list_can_be_released(scene: Scene) -> None:
    scene.open().own("1", "A")
    scene.set(Policy(enabled=False))
    assert scene.release() == 1
    assert scene.claim("1", "B") == "UNCONTROLLED"


@pytest.mark.parametrize("duration_ns", [SECOND, 36525 * DAY, None])
def test_r14_the_shortest_and_the_longest_duration_work(
    scene: Scene, duration_ns: int | None
) -> None:
    hold = scene.open(Policy(duration_ns=duration_ns)).own("1", "A")
    assert hold.expire_ns == (None if duration_ns is None else hold.acquire_ns + duration_ns)
    assert scene.subject.policy(scene.list_id).duration_ns == duration_ns


def test_the_same_list_cannot_be_created_twice(scene: Scene) -> None:
    scene.open().own("1", "A")
    with pytest.raises(Refusal) as refusal:
        scene.open(Policy(enabled=False))
    assert refusal.value.code == "ALREADY_EXISTS"
    assert scene.kind("1") == ("OWNED", "A")
    assert scene.subject.policy(scene.list_id).enabled


def test_a_list_with_live_ownership_is_deleted_only_by_force(scene: Scene) -> None:
    scene.open().own("1", "A")
    with pytest.raises(Refusal) as refusal:
        scene.subject.delete_list(scene.list_id)
    assert refusal.value.code == "FAILED_PRECONDITION"
    assert scene.kind("1") == ("OWNED", "A")
    scene.subject.delete_list(scene.list_id, force=True)
    with pytest.raises(Refusal) as refusal:
        scene.claim("1", "A")
    assert refusal.value.code == "NOT_FOUND"


def test_a_list_that_only_has_expired_ownership_is_deleted(timed: TimedScene) -> None:
    hold = timed.open().own("1", "A")
    timed.pass_until(hold.expire_ns)
    timed.subject.delete_list(timed.list_id)
    with pytest.raises(Refusal):
        timed.owners()


def test_a_list_created_anew_knows_nothing_of_the_old_one(scene: Scene) -> None:
    scene.open().own("1", "A")
    scene.reserve("2", "A")
    scene.subject.delete_list(scene.list_id, force=True)
    scene.open(Policy(duration_ns=None))
    assert (scene.holder("1"), scene.holder("2")) == (None, None)
    assert (scene.owners(), scene.owned()) == ([], [])
    assert scene.claim("2", "B") == "GRANTED"
