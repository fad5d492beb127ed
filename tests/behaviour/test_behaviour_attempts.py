"""R7 to R11: what a reported attempt does to a record, and what wrap-up codes say."""

import pytest
from model import SHIPPED_CODES
from scene import Scene, TimedScene
from subject import DAY, HOUR, MINUTE, MS, Attempt, Code, Holder, Policy, Refusal

VALID = [code for code, meaning in SHIPPED_CODES.items() if meaning.counts]
NOT_VALID = [code for code, meaning in SHIPPED_CODES.items() if not meaning.counts]
FAILED = [code for code in VALID if not SHIPPED_CODES[code].success]
SUCCESSES = [code for code in VALID if SHIPPED_CODES[code].success]
WINDOW_NS = DAY // 10


def spans(hold: Holder) -> tuple[object, ...]:
    """Return whose hold it is, and from when until when."""
    return hold.kind, hold.campaign_id, hold.acquire_ns, hold.expire_ns


def test_r7_an_attempt_on_an_owned_record_is_rejected_with_the_owner(scene: Scene) -> None:
    hold = scene.open().own("1", "A")
    for code in ("No Lines", "Busy", "Success"):
        answer = scene.attempt_answer("1", "B", code)
        assert answer.holder is not None
        assert (answer.what, spans(answer.holder)) == ("REJECTED", spans(hold))
    assert spans(scene.held("1")) == spans(hold)


def test_r7_an_attempt_that_does_not_count_is_rejected_without_a_trace(scene: Scene) -> None:
    hold = scene.open().own("1", "A")
    before = scene.revision()
    assert scene.attempt("1", "B", "No Lines") == "REJECTED"
    assert (scene.holder("1"), scene.revision()) == (hold, before)


def test_r7_an_attempt_on_a_record_that_another_dials_is_rejected(scene: Scene) -> None:
    hold = scene.open().reserve("1", "A")
    answer = scene.attempt_answer("1", "B")
    assert (answer.what, answer.holder) == ("REJECTED", hold)
    assert spans(scene.held("1")) == spans(hold)


def test_r7_a_disabled_list_still_rejects(scene: Scene) -> None:
    scene.open().own("1", "A")
    scene.set(Policy(enabled=False))
    assert scene.attempt("1", "B") == "REJECTED"


@pytest.mark.parametrize("code", NOT_VALID)
def test_r8_an_attempt_that_does_not_count_clears_the_reservation(scene: Scene, code: str) -> None:
    scene.open().reserve("1", "A")
    answer = scene.attempt_answer("1", "A", code)
    assert (answer.what, answer.holder) == ("RESERVATION_CLEARED", None)
    assert scene.holder("1") is None
    assert scene.claim("1", "B") == "GRANTED"


def test_r8_it_is_cleared_whether_or_not_there_was_a_reservation(scene: Scene) -> None:
    before = scene.open().revision()
    assert scene.attempt("1", "A", "No Lines") == "RESERVATION_CLEARED"
    assert (scene.holder("1"), scene.revision()) == (None, before)


def test_r8_an_attempt_that_does_not_count_keeps_the_ownership(timed: TimedScene) -> None:
    hold = timed.open().own("1", "A")
    timed.pass_until(hold.expire_ns - MINUTE)
    assert timed.claim("1", "A") == "GRANTED"
    assert timed.attempt("1", "A", "No Lines") == "OWNERSHIP_KEPT"
    assert timed.holder("1") == hold
    assert [owner.reserved_count for owner in timed.owners()] == [0]


@pytest.mark.parametrize("code", VALID)
def test_r9_a_valid_attempt_acquires_the_record(scene: Scene, code: str) -> None:
    scene.open().reserve("1", "A")
    answer = scene.attempt_answer("1", "A", code)
    assert (answer.what, answer.holder) == ("OWNERSHIP_ACQUIRED", None)
    hold = scene.held("1")
    assert hold == Holder(
        "OWNED", "A", "A", hold.acquire_ns, hold.acquire_ns + DAY, last_attempt_ns=hold.acquire_ns
    )
    assert [owner.reserved_count for owner in scene.owners()] == [0]


def test_r9_the_ownership_starts_at_the_attempt(timed: TimedScene) -> None:
    timed.open().reserve("1", "A")
    timed.pass_ns(3 * MINUTE)
    assert timed.attempt("1", "A") == "OWNERSHIP_ACQUIRED"
    now_ns = timed.now_ns()
    assert spans(timed.held("1")) == ("OWNED", "A", now_ns, now_ns + DAY)


def test_r9_no_claim_is_required_beforehand(scene: Scene) -> None:
    assert scene.open().attempt("1", "A") == "OWNERSHIP_ACQUIRED"
    assert scene.kind("1") == ("OWNED", "A")


def test_r9_without_expiration_the_ownership_has_no_end(timed: TimedScene) -> None:
    timed.open(Policy(duration_ns=None)).own("1", "A")
    timed.pass_ns(36525 * DAY)
    assert timed.held("1").expire_ns is None


def test_r9_an_attempt_after_the_reservation_lapsed_acquires_if_nobody_else_holds(
    timed: TimedScene,
) -> None:
    timed.open().reserve("1", "A")
    timed.pass_ns(5 * MINUTE)
    assert timed.attempt("1", "A") == "OWNERSHIP_ACQUIRED"


@pytest.mark.parametrize("left_ns", [WINDOW_NS - MS, WINDOW_NS - 1, WINDOW_NS, WINDOW_NS + 1])
def test_r10_an_owner_is_renewed_inside_the_default_window_only(
    timed: TimedScene, left_ns: int
) -> None:
    hold = timed.open().own("1", "A")
    timed.pass_until(hold.expire_ns - left_ns)
    renewed = left_ns <= WINDOW_NS
    assert timed.attempt("1", "A") == ("OWNERSHIP_RENEWED" if renewed else "OWNERSHIP_KEPT")
    end_ns = timed.now_ns() + DAY if renewed else hold.expire_ns
    assert spans(timed.held("1")) == spans(hold._replace(expire_ns=end_ns))


def test_r10_an_attempt_at_the_expiration_acquires_anew(timed: TimedScene) -> None:
    hold = timed.open().own("1", "A")
    timed.pass_until(hold.expire_ns)
    assert timed.attempt("1", "A") == "OWNERSHIP_ACQUIRED"
    assert timed.held("1").acquire_ns == timed.now_ns()


@pytest.mark.parametrize("code", SUCCESSES)
def test_r10_a_success_never_renews(timed: TimedScene, code: str) -> None:
    hold = timed.open().own("1", "A")
    timed.pass_until(hold.expire_ns - 1)
    assert timed.attempt("1", "A", code) == "OWNERSHIP_KEPT"
    assert spans(timed.held("1")) == spans(hold)


@pytest.mark.parametrize("code", FAILED)
def test_r10_every_valid_attempt_that_is_no_success_renews(timed: TimedScene, code: str) -> None:
    hold = timed.open().own("1", "A")
    timed.pass_until(hold.expire_ns - 1)
    assert timed.attempt("1", "A", code) == "OWNERSHIP_RENEWED"


@pytest.mark.parametrize("code", NOT_VALID)
def test_r10_an_attempt_that_does_not_count_never_renews(timed: TimedScene, code: str) -> None:
    hold = timed.open().own("1", "A")
    timed.pass_until(hold.expire_ns - 1)
    assert timed.attempt("1", "A", code) == "OWNERSHIP_KEPT"


def test_r10_the_renewal_takes_the_current_duration_and_the_window_in_force(
    timed: TimedScene,
) -> None:
    timed.open(Policy(duration_ns=DAY, renewal_window_ns=HOUR)).own("1", "A")
    change_ns = timed.set(Policy(duration_ns=2 * DAY, renewal_window_ns=2 * HOUR))
    timed.pass_until(change_ns + 2 * DAY - 2 * HOUR)
    assert timed.attempt("1", "A") == "OWNERSHIP_RENEWED"
    assert timed.held("1").expire_ns == timed.now_ns() + 2 * DAY


def test_r10_a_window_of_zero_never_renews(timed: TimedScene) -> None:
    hold = timed.open(Policy(renewal_window_ns=0)).own("1", "A")
    timed.pass_until(hold.expire_ns - 1)
    assert timed.attempt("1", "A") == "OWNERSHIP_KEPT"


def test_r10_a_window_longer_than_the_duration_renews_always_and_never_shortens(
    timed: TimedScene,
) -> None:
    hold = timed.open(Policy(duration_ns=HOUR, renewal_window_ns=DAY)).own("1", "A")
    timed.pass_ns(1)
    assert timed.attempt("1", "A") == "OWNERSHIP_RENEWED"
    assert timed.held("1").expire_ns == hold.expire_ns + 1


def test_r10_an_ownership_without_end_is_kept(scene: Scene) -> None:
    scene.open(Policy(duration_ns=None, renewal_window_ns=DAY)).own("1", "A")
    assert scene.attempt("1", "A") == "OWNERSHIP_KEPT"
    assert scene.held("1").expire_ns is None


def test_r10_every_attempt_of_the_owner_ends_its_reservation(timed: TimedScene) -> None:
    hold = timed.open(Policy(renewal_window_ns=0)).own("1", "A")
    timed.pass_until(hold.expire_ns - MINUTE)
    timed.claim("1", "A")
    assert [owner.reserved_count for owner in timed.owners()] == [1]
    assert timed.attempt("1", "A") == "OWNERSHIP_KEPT"
    assert [owner.reserved_count for owner in timed.owners()] == [0]


@pytest.mark.parametrize("code", ["Busy", "Success", "No Lines"])
def test_r11_a_disabled_list_acquires_nothing(scene: Scene, code: str) -> None:
    before = scene.open(Policy(enabled=False)).revision()
    answer = scene.attempt_answer("1", "A", code)
    assert (answer.what, answer.holder) == ("NOT_CONTROLLED", None)
    assert (scene.holder("1"), scene.revision()) == (None, before)


@pytest.mark.parametrize("code", ["Busy", "Success", "No Lines"])
def test_r11_a_disabled_list_ends_the_campaigns_own_reservation(scene: Scene, code: str) -> None:
    scene.open().reserve("1", "A")
    scene.set(Policy(enabled=False))
    assert scene.attempt("1", "A", code) == "NOT_CONTROLLED"
    assert scene.holder("1") is None


@pytest.mark.parametrize("code", ["Busy", "Success", "No Lines"])
def test_r11_a_disabled_list_keeps_ownership_and_never_renews(timed: TimedScene, code: str) -> None:
    hold = timed.open().own("1", "A")
    timed.set(Policy(enabled=False))
    timed.pass_until(hold.expire_ns - 1)
    assert timed.attempt("1", "A", code) == "OWNERSHIP_KEPT"
    assert timed.holder("1") == hold


def test_a_batch_of_attempts_is_independent_outcomes_in_order(scene: Scene) -> None:
    hold = scene.open().own("2", "B")
    answer = scene.subject.attempt_batch(
        scene.list_id,
        "A",
        [("1", "Busy"), ("2", "Busy"), ("3", "No Lines"), ("1", "Success"), ("2", "Busy")],
    )
    assert answer.what == [
        "OWNERSHIP_ACQUIRED",
        "REJECTED",
        "RESERVATION_CLEARED",
        "OWNERSHIP_KEPT",
        "REJECTED",
    ]
    assert {index: spans(each) for index, each in answer.holders.items()} == {
        1: spans(hold),
        4: spans(hold),
    }
    assert answer.revision == scene.revision()


def test_an_unknown_code_is_refused_by_name_and_changes_nothing(scene: Scene) -> None:
    hold = scene.open().reserve("1", "A")
    before = scene.revision()
    with pytest.raises(Refusal) as refusal:
        scene.attempt("1", "A", "Nonsense")
    assert refusal.value.code == "INVALID_ARGUMENT" and "Nonsense" in refusal.value.message
    assert (scene.holder("1"), scene.revision()) == (hold, before)


def test_r25_an_unknown_code_in_a_batch_is_answered_by_itself(scene: Scene) -> None:
    hold = scene.open().reserve("1", "A")
    attempts = [Attempt("2", "Busy"), Attempt("1", "Nonsense"), Attempt("", "Busy")]
    answer = scene.subject.attempt_batch(scene.list_id, "A", [*attempts, Attempt("3", "Busy")])
    assert answer.what == ["OWNERSHIP_ACQUIRED", "INVALID", "INVALID", "OWNERSHIP_ACQUIRED"]
    assert scene.holder("1") == hold


def test_r25_a_bad_id_in_a_batch_of_claims_is_answered_by_itself(scene: Scene) -> None:
    scene.open()
    answer = scene.subject.claim_batch(scene.list_id, "A", ["1", "", "x" * 129, "2"])
    assert answer.what == ["GRANTED", "INVALID", "INVALID", "GRANTED"]
    assert [bool(number) for number in answer.reservation_ids] == [True, False, False, True]


def test_the_shipped_codes_are_there(scene: Scene) -> None:
    codes = scene.subject.codes()
    assert {code: codes.get(code) for code in SHIPPED_CODES} == SHIPPED_CODES


def test_a_code_of_ones_own_decides_as_it_was_defined(scene: Scene) -> None:
    code = scene.list_id + "-code"
    scene.open().subject.upsert_code(code, Code("Busy", False, False))
    assert scene.subject.codes()[code] == Code("Busy", False, False)
    assert scene.attempt("1", "A", code) == "RESERVATION_CLEARED"
    scene.subject.upsert_code(code, Code("Success", True, True))
    assert scene.attempt("1", "A", code) == "OWNERSHIP_ACQUIRED"
    scene.subject.delete_code(code)
    with pytest.raises(Refusal) as refusal:
        scene.attempt("1", "A", code)
    assert refusal.value.code == "INVALID_ARGUMENT"
