"""R32: what an import never does, and what it does only if it is told so."""

import pytest
from scene import Scene, TimedScene
from subject import DAY, HOUR, OVERWRITE, SKIP, Policy, Row, Tally


@pytest.mark.parametrize("strategy", [SKIP, OVERWRITE])
def test_r32_an_older_file_shortens_nothing(timed: TimedScene, strategy: int) -> None:
    hold = timed.open(Policy(duration_ns=3 * DAY)).own("1", "A")
    endless = timed.subject.import_rows(timed.list_id, [Row("2", "A")])
    rows = [Row(record_id, "A", "", timed.now_ns() + HOUR) for record_id in "12"]
    assert timed.subject.import_rows(timed.list_id, rows, strategy) == Tally(2, 0, 0, 0)
    assert timed.holder("1") == hold
    assert timed.held("2").expire_ns is None and endless.imported == 1


def test_r32_an_exact_import_sets_times_as_they_are_in_the_rows(timed: TimedScene) -> None:
    timed.open(Policy(duration_ns=3 * DAY)).own("1", "A")
    timed.own("2", "A")
    acquired_ns, now_ns = timed.held("1").acquire_ns, timed.now_ns()
    end_ns, begin_ns = now_ns + HOUR, now_ns - DAY
    rows = [Row("1", "A", "", end_ns), Row("2", "A", "", end_ns, begin_ns)]
    assert timed.subject.import_rows(timed.list_id, rows, exact=True) == Tally(2, 0, 0, 0)
    first, second = (timed.held(record_id) for record_id in "12")
    assert (first.expire_ns, second.expire_ns) == (end_ns, end_ns)
    assert (first.acquire_ns, second.acquire_ns) == (acquired_ns, begin_ns)


def test_r32_a_record_is_owned_since_its_row_says_but_not_from_later_on(timed: TimedScene) -> None:
    timed.open().reserve("3", "A")
    now_ns = timed.now_ns()
    begins_ns = {"1": now_ns - DAY, "2": now_ns + DAY, "3": now_ns - HOUR, "4": None}
    rows = [Row(record_id, "A", "", None, begin_ns) for record_id, begin_ns in begins_ns.items()]
    timed.subject.import_rows(timed.list_id, rows)
    instant_ns = timed.now_ns()
    found = [timed.held(record_id).acquire_ns for record_id in begins_ns]
    assert found == [now_ns - DAY, instant_ns, now_ns - HOUR, instant_ns]


def test_r32_an_import_leaves_since_when_a_record_is_owned(timed: TimedScene) -> None:
    hold = timed.open().own("1", "A")
    timed.pass_ns(HOUR)
    timed.subject.import_rows(timed.list_id, [Row("1", "A", "", None, timed.now_ns() - 9 * DAY)])
    assert timed.held("1").acquire_ns == hold.acquire_ns


def test_r32_no_dial_ends_by_an_import(scene: Scene) -> None:
    scene.open().own("1", "A")
    scene.reserve("2", "A")
    rows = [Row("1", "A"), Row("2", "A")]
    scene.subject.import_rows(scene.list_id, rows, exact=True)
    dialed = scene.reserve("3", "A")
    assert scene.subject.import_rows(scene.list_id, [Row("3", "B")], OVERWRITE).skipped == 1
    assert scene.holder("3") == dialed
    assert sum(owner.reserved_count for owner in scene.owners()) == 2


def test_r32_rows_without_expiration_end_by_the_policy_if_they_are_to(timed: TimedScene) -> None:
    timed.open(Policy(duration_ns=2 * DAY))
    end_ns = timed.now_ns() + HOUR
    rows = [Row("1", "A"), Row("2", "A", "", end_ns)]
    timed.subject.import_rows(timed.list_id, rows, by_policy=True)
    assert timed.held("1").expire_ns == timed.now_ns() + 2 * DAY
    assert timed.held("2").expire_ns == end_ns
    timed.set(Policy(duration_ns=None))
    timed.subject.import_rows(timed.list_id, [Row("3", "A")], by_policy=True)
    assert timed.held("3").expire_ns is None


def test_r32_a_name_in_a_row_names_who_has_none_and_renames_nobody(scene: Scene) -> None:
    new, named = f"{scene.list_id}-new", f"{scene.list_id}-named"
    scene.open().subject.upsert_campaign(named, "Now")
    rows = [Row("1", new, "First"), Row("2", new, "Second"), Row("3", named, "Before")]
    scene.subject.import_rows(scene.list_id, rows)
    names = scene.subject.campaigns()
    assert (names[new], names[named]) == ("First", "Now")
    scene.subject.import_rows(scene.list_id, rows, rename=True)
    names = scene.subject.campaigns()
    assert (names[new], names[named]) == ("Second", "Before")


def test_r32_a_row_that_is_left_out_names_nobody(scene: Scene) -> None:
    scene.open().own("1", "A")
    campaign = f"{scene.list_id}-late"
    rows = [Row("1", campaign, "Named"), Row("2", campaign, "Named", 1)]
    assert scene.subject.import_rows(scene.list_id, rows, SKIP) == Tally(0, 1, 0, 1)
    assert campaign not in scene.subject.campaigns()
