"""R22, R23, R27: the dialers of a campaign, what they give back, ownership that is given away."""

import pytest
from scene import Scene, TimedScene
from subject import DAY, HOUR, MINUTE, SECOND, Holder, Policy, Refusal


def test_r22_another_dialer_of_the_campaign_is_denied_with_the_one_that_dials(scene: Scene) -> None:
    scene.open()
    granted = scene.claim_answer("1", "A", "line 1")
    denied = scene.claim_answer("1", "A", "line 2")
    until_ns = granted.reserved_until_ns
    assert denied.what == "DENIED"
    assert denied.holder == Holder(
        "RESERVED", "A", "A", granted.reservation_id, until_ns, "line 1", until_ns
    )
    assert scene.claim("1", "A") == "DENIED"
    again = scene.claim_answer("1", "A", "line 1")
    assert (again.what, again.reservation_id) == ("GRANTED", granted.reservation_id)


def test_r22_so_is_one_of_the_owner(scene: Scene) -> None:
    hold = scene.open().own("1", "A")
    until_ns = scene.claim_answer("1", "A", "line 1").reserved_until_ns
    denied = scene.claim_answer("1", "A", "line 2")
    expected = hold._replace(dialer_id="line 1", reserved_until_ns=until_ns)
    assert (denied.what, denied.holder) == ("DENIED", expected)


def test_r22_a_disabled_list_keeps_two_dialers_apart(scene: Scene) -> None:
    scene.open()
    scene.claim("1", "A", "line 1")
    scene.set(Policy(enabled=False))
    assert scene.claim("1", "A", "line 2") == "DENIED"
    assert scene.claim("1", "A", "line 1") == "UNCONTROLLED"


def test_r22_a_dialer_of_the_same_name_of_another_campaign_is_another_one(scene: Scene) -> None:
    scene.open()
    scene.claim("1", "A", "line 1")
    assert scene.claim("1", "B", "line 1") == "DENIED"
    assert scene.attempt("1", "A", "No Lines", dialer_id="line 1") == "RESERVATION_CLEARED"
    scene.claim("1", "B", "line 1")
    scene.subject.give_back("A", "line 1", scene.list_id)
    assert scene.kind("1") == ("RESERVED", "B")


def test_r22_a_named_dialer_takes_over_what_the_campaign_reserved_as_a_whole(
    timed: TimedScene,
) -> None:
    first = timed.open(Policy(reservation_ttl_ns=HOUR)).claim_answer("1", "A")
    timed.pass_ns(MINUTE)
    second = timed.claim_answer("1", "A", "line 1", SECOND)
    assert second.what == "GRANTED"
    assert second.reservation_id == timed.now_ns() != first.reservation_id
    assert second.reserved_until_ns == first.reserved_until_ns, "taking over never shortens"
    assert timed.claim("1", "A") == "DENIED"


def test_r22_a_claim_has_a_length_of_its_own_that_shortens_nothing(timed: TimedScene) -> None:
    timed.open(Policy(reservation_ttl_ns=MINUTE))
    assert timed.claim_answer("1", "A", "", HOUR).reserved_until_ns == timed.now_ns() + HOUR
    until_ns = timed.claim_answer("1", "A", "", 2 * HOUR).reserved_until_ns
    assert until_ns == timed.now_ns() + 2 * HOUR
    assert timed.claim_answer("1", "A", "", SECOND).reserved_until_ns == until_ns


def test_r22_reservations_have_ids_of_their_own(scene: Scene) -> None:
    scene.open()
    ids = scene.subject.claim_batch(scene.list_id, "A", [str(n) for n in range(50)])
    more = [scene.claim_answer(f"x{number}", "A").reservation_id for number in range(5)]
    every = [*ids.reservation_ids, *more]
    assert every == sorted(set(every)) and len(every) == 55


def test_r22_ids_stay_apart_over_a_restart_with_a_clock_that_stands(timed: TimedScene) -> None:
    first = timed.open().claim_answer("1", "A").reservation_id
    timed.subject.reopen()
    assert timed.claim_answer("2", "A").reservation_id > first


def test_r23_a_dialer_gives_back_what_it_has_reserved_and_nothing_else(scene: Scene) -> None:
    scene.open()
    for record_id in ("1", "2", "3"):
        scene.claim(record_id, "A", "node 1")
    owned = scene.own("4", "A")
    scene.claim("4", "A", "node 1")
    scene.claim("5", "A", "node 2")
    scene.claim("6", "A")
    scene.subject.give_back("A", "node 1", scene.list_id)
    assert [scene.kind(record_id) for record_id in "12356"] == [
        None,
        None,
        None,
        ("RESERVED", "A"),
        ("RESERVED", "A"),
    ]
    assert scene.holder("4") == owned
    assert [(each.owned_count, each.reserved_count) for each in scene.owners()] == [(1, 2)]
    assert scene.claim("1", "B") == "GRANTED"
    assert scene.claim("2", "A", "node 1") == "GRANTED"
    assert scene.kind("2") == ("RESERVED", "A")
    scene.subject.give_back("A", "node 1", scene.list_id)
    assert scene.holder("2") is None, "what came between is given back the second time"


def test_r23_without_a_list_it_gives_back_in_all(scene: Scene) -> None:
    other = Scene(scene.subject, scene.list_id + "-other").open()
    scene.open()
    # The lists of other tests are there, too.
    node = scene.list_id
    for each in (scene, other):
        each.claim("1", "A", node)
        each.claim("2", "A", node)
    scene.subject.give_back("A", node, scene.list_id)
    assert (scene.holder("1"), other.kind("1")) == (None, ("RESERVED", "A"))
    scene.subject.give_back("A", node)
    assert (other.holder("1"), other.holder("2")) == (None, None)


def test_r23_a_dialer_that_nobody_knows_gives_nothing_back(scene: Scene) -> None:
    scene.open().claim("1", "A", "node 1")
    scene.subject.give_back("A", "node 2", scene.list_id)
    scene.subject.give_back("B", "node 1", scene.list_id)
    assert scene.kind("1") == ("RESERVED", "A")
    with pytest.raises(Refusal) as refusal:
        scene.subject.give_back("A", "node 1", scene.list_id + "-none")
    assert refusal.value.code == "NOT_FOUND"


def test_r23_what_was_given_back_stays_given_back(timed: TimedScene) -> None:
    timed.open(Policy(reservation_ttl_ns=30 * DAY))
    timed.claim("1", "A", "node 1")
    timed.subject.give_back("A", "node 1")
    timed.claim("2", "A", "node 1")
    for _ in range(3):
        timed.pass_ns(2 * DAY)
        timed.subject.vacuum()
        timed.pass_ns(1)
        timed.subject.reopen()
        timed.pass_ns(1)
        assert (timed.holder("1"), timed.kind("2")) == (None, ("RESERVED", "A"))


def test_r27_a_transfer_gives_all_ownership_as_it_is(scene: Scene) -> None:
    scene.open()
    holds = [scene.own(record_id, "A") for record_id in ("1", "2")]
    other = scene.own("3", "B")
    scene.reserve("4", "A")
    receiver = scene.list_id + "-new"
    assert scene.subject.transfer(scene.list_id, "A", receiver) == 2
    for record_id, hold in zip(("1", "2"), holds, strict=True):
        assert scene.holder(record_id) == hold._replace(campaign_id=receiver, name=receiver)
    assert scene.holder("3") == other
    assert scene.kind("4") == ("RESERVED", "A")
    assert (scene.claim("1", "A"), scene.claim("1", receiver)) == ("DENIED", "GRANTED")
    assert scene.subject.transfer(scene.list_id, "A", receiver) == 0


def test_r27_a_dial_in_progress_keeps_everybody_off(timed: TimedScene) -> None:
    timed.open().own("1", "A")
    until_ns = timed.claim_answer("1", "A", "line 1").reserved_until_ns
    timed.subject.transfer(timed.list_id, "A", "B")
    for campaign in ("A", "B", "C"):
        answer = timed.claim_answer("1", campaign)
        assert answer.what == "DENIED" and answer.holder is not None
        assert (answer.holder.campaign_id, answer.holder.dialer_id) == ("B", "")
        assert answer.holder.reserved_until_ns == until_ns
    assert timed.attempt("1", "A", dialer_id="line 1") == "REJECTED"
    assert timed.claim("1", "B") == "DENIED"
    timed.pass_until(until_ns or 0)
    assert timed.claim("1", "B") == "GRANTED"


def test_r27_an_unknown_giver_is_not_found(scene: Scene) -> None:
    scene.open()
    with pytest.raises(Refusal) as refusal:
        scene.subject.transfer(scene.list_id, scene.list_id + "-none", "A")
    assert refusal.value.code == "NOT_FOUND"
