"""R15 and R16: what a release ends, and what a campaign's recycle, reset and stop do not."""

import pytest
from scene import Scene, TimedScene
from subject import DAY, MINUTE, Policy, Refusal


def _three_campaigns(scene: Scene) -> None:
    scene.open()
    for number, campaign in enumerate("ABCABC"):
        scene.own(str(number), campaign)
    scene.reserve("dialing-A", "A")
    scene.reserve("dialing-B", "B")


def test_r15_releasing_all_ends_every_ownership_and_counts_it(scene: Scene) -> None:
    _three_campaigns(scene)
    assert scene.release() == 6
    assert scene.owned() == []
    assert [scene.claim(str(number), "D") for number in range(6)] == ["GRANTED"] * 6


def test_r15_releasing_some_campaigns_leaves_the_others(scene: Scene) -> None:
    _three_campaigns(scene)
    assert scene.release("A", "C") == 4
    assert [record.campaign_id for record in scene.owned()] == ["B", "B"]
    assert scene.claim("0", "B") == "GRANTED"
    assert scene.claim("1", "A") == "DENIED"


def test_r15_reservations_of_dials_in_progress_stay(scene: Scene) -> None:
    _three_campaigns(scene)
    scene.release()
    assert scene.kind("dialing-A") == ("RESERVED", "A")
    assert scene.claim("dialing-A", "B") == "DENIED"


def test_r15_reservations_end_too_when_asked(scene: Scene) -> None:
    _three_campaigns(scene)
    assert scene.release("A", reservations=True) == 2
    assert scene.holder("dialing-A") is None
    assert scene.kind("dialing-B") == ("RESERVED", "B")
    assert scene.release(reservations=True) == 4
    assert scene.owners() == []


def test_r15_the_reservation_of_an_owner_outlives_the_release_of_its_ownership(
    timed: TimedScene,
) -> None:
    hold = timed.open().own("1", "A")
    timed.pass_until(hold.expire_ns - MINUTE)
    timed.claim("1", "A")
    assert timed.release("A") == 1
    assert timed.kind("1") == ("RESERVED", "A")
    assert timed.claim("1", "B") == "DENIED"
    assert timed.attempt("1", "A") == "OWNERSHIP_ACQUIRED"


def test_r15_a_repeated_release_finds_nothing_more(scene: Scene) -> None:
    _three_campaigns(scene)
    assert [scene.release("A"), scene.release("A"), scene.release()] == [2, 0, 4]


def test_r15_expired_ownership_is_not_counted(timed: TimedScene) -> None:
    first = timed.open().own("1", "A")
    timed.pass_ns(MINUTE)
    timed.own("2", "A")
    timed.pass_until(first.expire_ns)
    assert timed.release() == 1


def test_r15_what_is_acquired_after_a_release_stays(scene: Scene) -> None:
    scene.open().own("1", "A")
    scene.release()
    scene.own("1", "B")
    scene.own("2", "A")
    assert [record.campaign_id for record in scene.owned()] == ["B", "A"]


def test_r15_a_release_before_a_duration_change_is_not_undone_by_it(timed: TimedScene) -> None:
    timed.open().own("1", "A")
    timed.own("2", "B")
    timed.release("A")
    timed.set(Policy(duration_ns=None))
    assert [(record.record_id, record.expire_ns) for record in timed.owned()] == [("2", None)]


def test_r15_a_count_is_what_the_release_itself_ended(timed: TimedScene) -> None:
    timed.open().own("1", "A")
    timed.own("2", "B")
    timed.set(Policy(duration_ns=DAY // 2))
    assert timed.release("B") == 1
    timed.pass_ns(DAY // 2 - 1)
    assert timed.release() == 1
    timed.own("2", "B")
    timed.subject.vacuum()
    assert timed.release() == 1


def test_r15_single_records_are_released_by_id(scene: Scene) -> None:
    _three_campaigns(scene)
    ids = ["0", "4", "nobody", "dialing-A", "0"]
    assert scene.subject.release_records(scene.list_id, ids) == 2
    assert [record.record_id for record in scene.owned()] == ["1", "2", "3", "5"]
    assert scene.kind("dialing-A") == ("RESERVED", "A")
    assert scene.claim("0", "B") == "GRANTED"


def test_r15_releasing_an_unknown_campaign_names_it_and_changes_nothing(scene: Scene) -> None:
    _three_campaigns(scene)
    unknown = scene.list_id + "-unknown"
    before = scene.revision()
    with pytest.raises(Refusal) as refusal:
        scene.release("A", unknown)
    assert refusal.value.code == "NOT_FOUND" and unknown in refusal.value.message
    assert (len(scene.owned()), scene.revision()) == (6, before)


@pytest.mark.parametrize("what", ["STOPPED", "RECYCLED", "RESET"])
def test_r16_stop_recycle_and_reset_change_nothing(scene: Scene, what: str) -> None:
    _three_campaigns(scene)
    before = (scene.owned(), scene.owners(), scene.holder("dialing-A"))
    assert scene.subject.signal("A", what, scene.list_id) == 0
    assert scene.subject.signal("A", what) == 0
    assert (scene.owned(), scene.owners(), scene.holder("dialing-A")) == before


@pytest.mark.parametrize("everywhere", [False, True])
def test_r16_a_stop_that_is_asked_to_ends_the_reservations_and_no_ownership(
    scene: Scene, everywhere: bool
) -> None:
    _three_campaigns(scene)
    owned = scene.owned()
    where = "" if everywhere else scene.list_id
    ended = scene.subject.signal("A", "STOPPED", where, True)
    assert ended >= 1 if everywhere else ended == 1  # others' tests dial on the same server
    assert scene.holder("dialing-A") is None
    assert scene.kind("dialing-B") == ("RESERVED", "B")
    assert scene.owned() == owned
    assert [owner.reserved_count for owner in scene.owners()] == [0, 1, 0]
    assert scene.claim("dialing-A", "B") == "GRANTED"


def test_r16_a_stop_in_one_list_leaves_the_reservations_of_another(scene: Scene) -> None:
    other = Scene(scene.subject, scene.list_id + "-other").open()
    other.reserve("1", "A")
    scene.open().reserve("1", "A")
    assert scene.subject.signal("A", "STOPPED", scene.list_id, True) == 1
    assert (scene.kind("1"), other.kind("1")) == (None, ("RESERVED", "A"))
    assert scene.subject.signal("A", "STOPPED", "", True) >= 1
    assert other.kind("1") is None


def test_r16_a_stop_counts_what_it_ends_in_all_lists_and_nothing_twice(scene: Scene) -> None:
    other = Scene(scene.subject, scene.list_id + "-other").open()
    campaign = scene.list_id
    scene.open().own("owned", campaign)
    for record in ("1", "2", "3"):
        scene.reserve(record, campaign)
        other.reserve(record, campaign)
    scene.attempt("3", campaign)
    assert scene.subject.signal(campaign, "STOPPED", "", True) == 5
    assert scene.subject.signal(campaign, "STOPPED", "", True) == 0
    other.reserve("1", campaign)
    assert scene.subject.signal(campaign, "STOPPED", "", True) == 1


def test_r16_a_call_in_progress_finishes_after_its_campaigns_stop(scene: Scene) -> None:
    scene.open().reserve("1", "A")
    scene.subject.signal("A", "STOPPED", scene.list_id)
    assert scene.claim("1", "B") == "DENIED"
    assert scene.attempt("1", "A") == "OWNERSHIP_ACQUIRED"


def test_r16_a_campaign_dials_on_after_its_stop(scene: Scene) -> None:
    scene.open().reserve("1", "A")
    scene.subject.signal("A", "STOPPED", scene.list_id, True)
    assert scene.reserve("1", "A").kind == "RESERVED"
    assert scene.claim("1", "B") == "DENIED"


def test_r16_an_unknown_campaign_or_list_is_refused(scene: Scene) -> None:
    scene.open().own("1", "A")
    for campaign, list_id in ((scene.list_id + "-no", scene.list_id), ("A", scene.list_id + "-no")):
        with pytest.raises(Refusal) as refusal:
            scene.subject.signal(campaign, "STOPPED", list_id)
        assert refusal.value.code == "NOT_FOUND"
