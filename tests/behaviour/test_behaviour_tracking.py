"""R17: who owns what, under which name, until when; imports, and names that follow."""

import pytest
from model import key_order
from scene import Scene, TimedScene
from subject import (
    DAY,
    FAIL,
    HOUR,
    MINUTE,
    OVERWRITE,
    SECOND,
    SKIP,
    Owned,
    Owner,
    Policy,
    Refusal,
    Row,
    Tally,
)


def test_r17_owners_are_counted_exactly(timed: TimedScene) -> None:
    first = timed.open().own("1", "A")
    timed.pass_ns(SECOND)
    timed.own("2", "A")
    last = timed.own("3", "B")
    timed.reserve("4", "B")
    timed.reserve("5", "C")
    assert timed.owners() == [
        Owner("A", "A", 2, 0, first.expire_ns),
        Owner("B", "B", 1, 1, last.expire_ns),
        Owner("C", "C", 0, 1, None),
    ]


def test_r17_the_earliest_expiration_leaves_out_what_never_expires(timed: TimedScene) -> None:
    timed.open()
    soon_ns = timed.now_ns() + HOUR
    rows = [Row("1", "A"), Row("2", "A", "", soon_ns + 1), Row("3", "A", "", soon_ns)]
    timed.subject.import_rows(timed.list_id, rows)
    assert [owner.earliest_expire_ns for owner in timed.owners()] == [soon_ns]
    timed.pass_until(soon_ns)
    assert [owner.earliest_expire_ns for owner in timed.owners()] == [soon_ns + 1]
    timed.pass_until(soon_ns + 1)
    assert [owner.earliest_expire_ns for owner in timed.owners()] == [None]


def test_r17_owned_records_come_in_key_order_with_the_values_in_force(scene: Scene) -> None:
    ids = [
        "b",
        "10",
        "9",
        "-3",
        "0",
        "a",
        "007",
        "-0",
        str(2**63 - 1),
        str(-(2**63)),
        str(2**63),
        "é",
        "+1",
        " 1",
        "1_0",
    ]
    scene.open()
    holds = {record_id: scene.own(record_id, "A") for record_id in ids}
    assert scene.owned() == [
        Owned(record_id, *holds[record_id][1:5]) for record_id in sorted(ids, key=key_order)
    ]


def test_r17_records_that_are_only_reserved_are_not_owned(scene: Scene) -> None:
    scene.open().reserve("1", "A")
    assert scene.owned() == []
    assert [(o.owned_count, o.reserved_count) for o in scene.owners()] == [(0, 1)]


def test_r17_owned_records_can_be_asked_for_by_campaign(scene: Scene) -> None:
    scene.open()
    for number in range(12):
        scene.own(str(number), "ABC"[number % 3])
    assert [r.record_id for r in scene.owned("A", "C")] == [str(n) for n in range(12) if n % 3 != 1]
    with pytest.raises(Refusal) as refusal:
        scene.owned("A", scene.list_id + "-unknown")
    assert refusal.value.code == "NOT_FOUND"


def test_r17_an_unknown_list_has_no_owners_to_show(scene: Scene) -> None:
    for call in (scene.owners, scene.owned, scene.release):
        with pytest.raises(Refusal) as refusal:
            call()
        assert refusal.value.code == "NOT_FOUND" and scene.list_id in refusal.value.message


def test_r17_names_follow_the_last_upsert(scene: Scene) -> None:
    campaign = scene.list_id + "-campaign"
    scene.open().own("1", campaign)
    assert scene.held("1").name == campaign
    assert scene.subject.campaigns()[campaign] == campaign
    scene.subject.upsert_campaign(campaign, "Spring – sale")
    assert scene.subject.campaigns()[campaign] == "Spring – sale"
    denied = scene.claim_answer("1", "B").holder
    assert denied is not None and denied.name == "Spring – sale"
    shown = [scene.held("1").name, scene.owned()[0].name, scene.owners()[0].name]
    assert shown == ["Spring – sale"] * 3
    scene.subject.upsert_campaign(campaign, "")
    assert scene.owners()[0].name == campaign


def test_r17_a_campaign_can_be_named_before_it_dials(scene: Scene) -> None:
    campaign = scene.list_id + "-campaign"
    scene.subject.upsert_campaign(campaign, "Named first")
    scene.open().own("1", campaign)
    assert scene.held("1").name == "Named first"


def test_a_campaign_that_was_granted_nothing_is_not_registered(scene: Scene) -> None:
    campaign = scene.list_id + "-campaign"
    scene.open().own("1", "A")
    assert scene.claim("1", campaign) == "DENIED"
    scene.set(Policy(enabled=False))
    assert scene.claim("2", campaign) == "UNCONTROLLED"
    assert campaign not in scene.subject.campaigns()


def test_an_import_makes_owners(timed: TimedScene) -> None:
    timed.open()
    end_ns = timed.now_ns() + 3 * DAY
    rows = [Row("1", "A", "Alpha", end_ns), Row("2", "B"), Row("3", "A", "", timed.now_ns())]
    assert timed.subject.import_rows(timed.list_id, rows) == Tally(2, 0, 0, 1)
    now_ns = timed.now_ns()
    assert timed.owned() == [
        Owned("1", "A", "Alpha", now_ns, end_ns),
        Owned("2", "B", "B", now_ns, None),
    ]
    assert timed.claim("1", "B") == "DENIED"


def test_an_import_works_while_the_policy_is_disabled(scene: Scene) -> None:
    scene.open(Policy(enabled=False))
    assert scene.subject.import_rows(scene.list_id, [Row("1", "A")]) == Tally(1, 0, 0, 0)
    assert scene.claim("1", "B") == "DENIED"


@pytest.mark.parametrize("kind", ["owned", "reserved"])
def test_an_import_that_must_not_conflict_changes_nothing_when_it_does(
    scene: Scene, kind: str
) -> None:
    scene.open()
    hold = scene.own("2", "A") if kind == "owned" else scene.reserve("2", "A")
    with pytest.raises(Refusal) as refusal:
        scene.subject.import_rows(scene.list_id, [Row("1", "B"), Row("2", "B")], FAIL)
    assert refusal.value.code == "FAILED_PRECONDITION"
    assert (scene.holder("1"), scene.holder("2")) == (None, hold)


def test_an_import_can_skip_or_overwrite_conflicts(scene: Scene) -> None:
    scene.open()
    holds = [scene.own("1", "A"), scene.reserve("2", "A")]
    rows = [Row("1", "B"), Row("2", "B"), Row("3", "B")]
    assert scene.subject.import_rows(scene.list_id, rows, SKIP) == Tally(1, 2, 0, 0)
    assert [scene.holder("1"), scene.holder("2")] == holds
    rows = [Row("1", "C"), Row("2", "C"), Row("4", "C")]
    assert scene.subject.import_rows(scene.list_id, rows, OVERWRITE) == Tally(1, 1, 1, 0)
    assert [scene.kind(record_id) for record_id in "1234"] == [
        ("OWNED", "C"),
        ("RESERVED", "A"),
        ("OWNED", "B"),
        ("OWNED", "C"),
    ]
    assert scene.attempt("2", "A") == "OWNERSHIP_ACQUIRED"


def test_r32_an_import_ends_no_dial_of_an_owner_either(scene: Scene) -> None:
    scene.open().own("1", "A")
    scene.claim("1", "A")
    assert scene.subject.import_rows(scene.list_id, [Row("1", "B")], OVERWRITE).skipped == 1
    with pytest.raises(Refusal):
        scene.subject.import_rows(scene.list_id, [Row("1", "B")], FAIL)
    assert scene.kind("1") == ("OWNED", "A")


def test_r32_an_import_shortens_no_ownership_unless_it_is_exact(timed: TimedScene) -> None:
    hold = timed.open().own("1", "A")
    rows = [Row("1", "A", "", timed.now_ns() + HOUR)]
    assert timed.subject.import_rows(timed.list_id, rows, SKIP).imported == 1
    assert timed.held("1").expire_ns == hold.expire_ns
    assert timed.subject.import_rows(timed.list_id, rows, SKIP, True).imported == 1
    assert timed.held("1").expire_ns == rows[0].expire_ns
    assert timed.subject.import_rows(timed.list_id, [Row("1", "A")], SKIP).imported == 1
    assert timed.held("1").expire_ns is None


def test_an_import_extends_what_the_campaign_holds(timed: TimedScene) -> None:
    hold = timed.open().own("1", "A")
    timed.reserve("2", "A")
    timed.pass_ns(MINUTE)
    end_ns = timed.now_ns() + 2 * DAY
    rows = [Row("1", "A", "", end_ns), Row("2", "A", "", end_ns)]
    assert timed.subject.import_rows(timed.list_id, rows) == Tally(2, 0, 0, 0)
    assert timed.holder("1") == hold._replace(expire_ns=end_ns)
    assert timed.held("2").expire_ns == end_ns
    assert [owner.reserved_count for owner in timed.owners()] == [1]


def test_imported_ownership_is_renewed_by_the_window_that_was_set(timed: TimedScene) -> None:
    timed.open(Policy(duration_ns=None))
    end_ns = timed.now_ns() + HOUR
    timed.subject.import_rows(timed.list_id, [Row("1", "A", "", end_ns)])
    assert timed.attempt("1", "A") == "OWNERSHIP_KEPT"
    timed.set(Policy(duration_ns=None, renewal_window_ns=2 * HOUR))
    assert timed.held("1").expire_ns == end_ns
    assert timed.attempt("1", "A") == "OWNERSHIP_RENEWED"
    assert timed.held("1").expire_ns is None


def test_an_import_into_an_unknown_list_is_refused(scene: Scene) -> None:
    with pytest.raises(Refusal) as refusal:
        scene.subject.import_rows(scene.list_id, [Row("1", "A")])
    assert refusal.value.code == "NOT_FOUND"
