"""R24: reports that come late, or again, and which dial they are about."""

import pytest
from scene import Scene, TimedScene
from subject import DAY, HOUR, MINUTE, SECOND, Policy, Refusal

SHORT = Policy(duration_ns=10 * MINUTE, renewal_window_ns=5 * MINUTE)


def test_r24_a_report_that_comes_again_renews_nothing(timed: TimedScene) -> None:
    timed.open(SHORT)
    ended_ns = timed.now_ns()
    assert timed.attempt("1", "A", attempt_time_ns=ended_ns) == "OWNERSHIP_ACQUIRED"
    hold = timed.held("1")
    timed.pass_ns(6 * MINUTE)
    assert timed.attempt("1", "A", attempt_time_ns=ended_ns) == "OWNERSHIP_KEPT"
    assert timed.holder("1") == hold
    assert timed.attempt("1", "A") == "OWNERSHIP_RENEWED", "without a time it is another one"


def test_r24_it_does_not_own_again_what_was_released(scene: Scene) -> None:
    scene.open()
    ended_ns = scene.claim_answer("1", "A").reservation_id
    scene.attempt("1", "A", attempt_time_ns=ended_ns)
    scene.release()
    assert scene.attempt("1", "A", attempt_time_ns=ended_ns) == "RESERVATION_CLEARED"
    assert scene.holder("1") is None
    assert scene.attempt("1", "A", attempt_time_ns=ended_ns - 1) == "RESERVATION_CLEARED"
    assert scene.attempt("1", "A", attempt_time_ns=ended_ns + 1) == "OWNERSHIP_ACQUIRED"


def test_r24_it_does_not_free_the_dial_that_goes_on(timed: TimedScene) -> None:
    timed.open().claim("1", "A")
    timed.pass_ns(SECOND)
    ended_ns = timed.now_ns()
    assert timed.attempt("1", "A", "No Lines", attempt_time_ns=ended_ns) == "RESERVATION_CLEARED"
    timed.pass_ns(SECOND)
    timed.claim("1", "A")
    assert timed.attempt("1", "A", "No Lines", attempt_time_ns=ended_ns) == "RESERVATION_CLEARED"
    assert timed.claim("1", "B") == "DENIED"


def test_r24_a_report_ends_the_reservation_that_it_names_or_none(scene: Scene) -> None:
    scene.open()
    first = scene.claim_answer("1", "A", "line 1").reservation_id
    assert scene.attempt("1", "A", "No Lines", reservation_id=first) == "RESERVATION_CLEARED"
    assert scene.holder("1") is None
    scene.claim("1", "A", "line 1")
    assert scene.attempt("1", "A", "No Lines", reservation_id=first) == "RESERVATION_CLEARED"
    assert scene.kind("1") == ("RESERVED", "A")


def test_r24_without_an_id_it_ends_that_of_the_dialer_that_it_names(scene: Scene) -> None:
    scene.open().claim("1", "A", "line 1")
    scene.attempt("1", "A", "No Lines", dialer_id="line 2")
    scene.attempt("1", "A", "No Lines")
    assert scene.kind("1") == ("RESERVED", "A"), "an old client's report is about no named dialer"
    scene.attempt("1", "A", "No Lines", dialer_id="line 1")
    assert scene.holder("1") is None


def test_r24_with_a_time_it_need_name_no_dialer(timed: TimedScene) -> None:
    timed.open().claim("1", "A", "line 1")
    begun_ns = timed.now_ns()
    timed.pass_ns(SECOND)
    timed.attempt("1", "A", "No Lines", attempt_time_ns=begun_ns - 1)
    assert timed.kind("1") == ("RESERVED", "A"), "it began after that dial had ended"
    timed.attempt("1", "A", "No Lines", attempt_time_ns=begun_ns)
    assert timed.holder("1") is None


def test_r24_a_late_report_owns_from_the_end_of_the_dial(timed: TimedScene) -> None:
    timed.open()
    ended_ns = timed.now_ns()
    timed.pass_ns(3 * HOUR)
    assert timed.attempt("1", "A", attempt_time_ns=ended_ns) == "OWNERSHIP_ACQUIRED"
    hold = timed.held("1")
    assert (hold.acquire_ns, hold.expire_ns) == (ended_ns, ended_ns + DAY)
    assert hold.last_attempt_ns == ended_ns


@pytest.mark.parametrize(
    ("policy", "late_ns"),
    [(Policy(duration_ns=HOUR), HOUR), (Policy(duration_ns=None), DAY + 1)],
    ids=["over", "a day ago"],
)
def test_r24_one_that_is_too_late_owns_nothing(
    timed: TimedScene, policy: Policy, late_ns: int
) -> None:
    timed.open(policy)
    ended_ns = timed.now_ns()
    timed.pass_ns(late_ns)
    assert timed.attempt("1", "A", attempt_time_ns=ended_ns) == "RESERVATION_CLEARED"
    assert timed.holder("1") is None


def test_r24_a_dial_of_before_the_policy_was_enabled_owns_nothing(timed: TimedScene) -> None:
    timed.open(Policy(enabled=False))
    ended_ns = timed.now_ns()
    timed.pass_ns(SECOND)
    timed.set(Policy())
    assert timed.attempt("1", "A", attempt_time_ns=ended_ns) == "RESERVATION_CLEARED"
    timed.subject.reopen()
    assert timed.attempt("1", "A", attempt_time_ns=ended_ns + 1) == "RESERVATION_CLEARED"
    assert timed.attempt("1", "A", attempt_time_ns=timed.now_ns()) == "OWNERSHIP_ACQUIRED"


def test_r24_an_id_makes_up_for_a_clock_that_is_wrong(timed: TimedScene) -> None:
    timed.open()
    for record_id, age_ns in (("1", HOUR), ("2", -HOUR)):
        granted = timed.claim_answer(record_id, "A")
        timed.pass_ns(SECOND)
        told_ns = timed.now_ns() - age_ns
        told = {"attempt_time_ns": told_ns, "reservation_id": granted.reservation_id}
        assert timed.attempt(record_id, "A", **told) == "OWNERSHIP_ACQUIRED"
        began_ns = timed.held(record_id).acquire_ns
        assert granted.reservation_id <= began_ns <= timed.now_ns()
        assert timed.held(record_id).last_attempt_ns == told_ns


def test_r24_a_clock_that_is_ahead_counts_as_now_and_then_is_refused(timed: TimedScene) -> None:
    timed.open()
    ahead_ns = timed.now_ns() + 10 * SECOND
    assert timed.attempt("1", "A", attempt_time_ns=ahead_ns) == "OWNERSHIP_ACQUIRED"
    assert timed.held("1").acquire_ns == timed.now_ns()
    with pytest.raises(Refusal) as refusal:
        timed.attempt("2", "A", attempt_time_ns=timed.now_ns() + 12 * SECOND)
    assert refusal.value.code == "INVALID_ARGUMENT"
    assert timed.holder("2") is None


def test_r24_the_last_attempt_is_kept_for_a_day_after_the_record_is_free(timed: TimedScene) -> None:
    timed.open(SHORT)
    timed.attempt("1", "A", attempt_time_ns=timed.now_ns())
    ended_ns = timed.held("1").last_attempt_ns or 0
    timed.release()
    timed.pass_ns(HOUR)
    timed.subject.vacuum()
    timed.pass_ns(1)
    timed.subject.reopen()
    assert timed.attempt("1", "B", attempt_time_ns=ended_ns) == "RESERVATION_CLEARED"
    timed.set(Policy(duration_ns=None))
    timed.pass_until(ended_ns + DAY)
    assert timed.attempt("1", "B", attempt_time_ns=ended_ns) == "RESERVATION_CLEARED"
    assert timed.attempt("1", "B", attempt_time_ns=ended_ns + SECOND) == "OWNERSHIP_ACQUIRED"


def test_r24_a_rejected_report_is_an_attempt_too(scene: Scene) -> None:
    scene.open().own("1", "A")
    ended_ns = (scene.held("1").last_attempt_ns or 0) + 1
    assert scene.attempt("1", "B", attempt_time_ns=ended_ns) == "REJECTED"
    assert scene.held("1").last_attempt_ns == ended_ns
    scene.release()
    assert scene.attempt("1", "B", attempt_time_ns=ended_ns) == "RESERVATION_CLEARED"
    assert scene.holder("1") is None
