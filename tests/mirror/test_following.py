"""A mirror's table equals the list's export: by comparison, by the feed, and after both."""

import itertools
import random

import pytest
import sqlalchemy as sa
from harness import poll
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrored import LIST, Mirrored, Story, StorySource, stamp
from subject import HOUR, SECOND

from ownerd.mirror.faults import ListGone
from ownerd.mirror.status import State
from ownerd.v1 import admin_pb2 as pb

_numbers = itertools.count(1)


def test_a_table_is_in_step_after_a_comparison_and_what_the_feed_brings(mirrored: Mirrored) -> None:
    story = Story()
    mirrored.fill(story.record_ids[:20])
    story.rename("spring", "Spring Renewals")
    for record_id in story.record_ids:
        story.attempt(record_id, "spring")
    status = mirrored.run(StorySource(story))
    mirrored.check(story)
    assert (status.comparison_count, status.mended_count, status.missing_count) == (1, 20, 10)
    story.attempt("3", "summer")
    story.release_records("3", "4", "25")
    story.attempt("3", "summer")
    status = mirrored.run(StorySource(story))
    mirrored.check(story)
    assert (status.comparison_count, status.revision_count, status.record_count) == (0, 2, 4)
    assert (status.written_count, status.missing_count) == (2, 1)


@settings(max_examples=4)
@given(chance=st.randoms(use_true_random=False))
def test_random_traffic_with_list_wide_changes(engine: sa.Engine, chance: random.Random) -> None:
    follow_random_traffic(engine, chance, rounds=5)


@pytest.mark.long
@settings(max_examples=60)
@given(chance=st.randoms(use_true_random=False))
def test_long_random_traffic(engine: sa.Engine, chance: random.Random) -> None:
    follow_random_traffic(engine, chance, rounds=12)


def follow_random_traffic(engine: sa.Engine, chance: random.Random, rounds: int) -> None:
    mirrored = Mirrored(engine, f"random_{next(_numbers)}")
    story = Story(records=24)
    mirrored.fill(story.record_ids[:20])
    source = StorySource(story)
    if chance.random() < 0.7:
        source.between_pages = lambda: [story.something(chance) for _ in range(chance.randrange(4))]
    for _ in range(rounds):
        for _ in range(chance.randrange(25)):
            story.something(chance)
        mirrored.run(source, compare=chance.random() < 0.3)
        mirrored.check(story)


def test_it_follows_as_changes_come(mirrored: Mirrored) -> None:
    story = Story()
    mirrored.fill(story.record_ids)
    chance = random.Random(7)
    with mirrored.running(StorySource(story)):
        poll(lambda: mirrored.status.state is State.IN_STEP, "the comparison")
        for _ in range(5):
            for _ in range(10):
                story.something(chance)
            poll(lambda: mirrored.status.revision == story.revision, "the last revision")
            mirrored.check(story)
    assert mirrored.status.comparison_count == 1
    assert [each for each in mirrored.said if each.startswith("in step")] != []


def test_what_changes_while_pages_are_read_is_not_lost(mirrored: Mirrored) -> None:
    story = Story()
    mirrored.fill(story.record_ids)
    for record_id in story.record_ids:
        story.attempt(record_id, "spring")
    source = StorySource(story)

    def change_the_first_page() -> None:
        source.between_pages = lambda: None
        story.release_records("0")
        story.attempt("0", "summer")
        story.release_records("1")

    source.between_pages = change_the_first_page
    status = mirrored.run(source)
    mirrored.check(story)
    assert status.revision_count == 0  # the comparison has it already


def test_list_wide_changes_while_pages_are_read_are_done_to_each_page_once(
    mirrored: Mirrored,
) -> None:
    story = Story()
    mirrored.fill(story.record_ids)
    for record_id in story.record_ids:
        story.attempt(record_id, "spring" if int(record_id) % 2 else "summer")
    source = StorySource(story)

    def change_all() -> None:
        source.between_pages = lambda: None
        # Done again to what is already summer's by the transfer, the release would end it.
        story.release("summer")
        story.transfer("spring", "summer")

    source.between_pages = change_all
    mirrored.run(source)
    mirrored.check(story)
    assert set(mirrored.alive(story.model.time_ns)) == set(story.record_ids[1::2])


def test_what_is_over_may_stand_and_is_not_touched_by_what_is_list_wide(mirrored: Mirrored) -> None:
    story = Story(duration_ns=10 * SECOND)
    mirrored.fill(story.record_ids)
    story.attempt("1", "spring")
    mirrored.run(StorySource(story))
    story.advance(20 * SECOND)
    story.attempt("2", "spring")
    before = mirrored.rows()["1"]
    story.set_duration(HOUR)
    story.transfer("spring", "summer")
    mirrored.run(StorySource(story))
    mirrored.check(story)
    story.release()
    mirrored.run(StorySource(story))
    mirrored.run(StorySource(story), compare=True)
    assert mirrored.rows()["1"] == before
    assert mirrored.rows()["2"] == (None, None, None)


def test_rows_altered_by_hand_are_mended_by_the_next_comparison(mirrored: Mirrored) -> None:
    story = Story()
    mirrored.fill(story.record_ids)
    for record_id in story.record_ids[:10]:
        story.attempt(record_id, "spring")
    mirrored.run(StorySource(story))
    for change in (
        "i3_campaignownerid = NULL WHERE i3_identity = 1",
        "i3_campaignownername = 'x' WHERE i3_identity = 2",
        "i3_campaignownerexpiration = '1999-01-01 00:00:00' WHERE i3_identity = 3",
        "i3_campaignownerexpiration = NULL WHERE i3_identity = 4",
        "i3_campaignownerid = 'autumn' WHERE i3_identity = 20",
        "i3_campaignownername = 'nobody''s' WHERE i3_identity = 21",
        "i3_campaignownerid = '' WHERE i3_identity = 22",
    ):
        mirrored.sql(f"UPDATE TABLE SET {change}")
    mirrored.sql("DELETE FROM TABLE WHERE i3_identity = 5")
    assert mirrored.run(StorySource(story)).mended_count == 0
    status = mirrored.run(StorySource(story), compare=True)
    mirrored.check(story)
    assert (status.mended_count, status.missing_count) == (7, 1)
    for key in ("20", "21", "22"):
        assert mirrored.rows()[key] == (None, None, None)
    assert mirrored.sql("SELECT count(*) FROM TABLE WHERE note = 'n'")[0][0] == 29


def test_an_instant_that_is_none_is_mended(tmp_path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'c.db'}")
    mirrored = Mirrored(engine, "contacts")
    story = Story()
    mirrored.fill(story.record_ids)
    story.attempt("1", "spring")
    mirrored.run(StorySource(story))
    mirrored.sql("UPDATE TABLE SET i3_campaignownerexpiration = 'soon'")
    mirrored.run(StorySource(story), compare=True)
    mirrored.check(story)
    assert mirrored.rows()["2"] == (None, None, None)


def test_a_deleted_list_leaves_a_table_that_nobody_owns_and_ends_the_mirror(
    mirrored: Mirrored,
) -> None:
    story = Story()
    mirrored.fill(story.record_ids)
    story.attempt("1", "spring")
    mirrored.run(StorySource(story))
    story.model.create_list("another")  # for a revision
    story._list_wide(list_deleted=pb.ListDeletedEvent())
    with pytest.raises(ListGone):
        mirrored.run(StorySource(story))
    assert mirrored.rows()["1"] == (None, None, None)
    assert mirrored.position()[1] == story.revision


@pytest.mark.parametrize(
    "event",
    [
        {"list_created": pb.ListCreatedEvent(shares_ownership_with=["others"])},
        {"time_set_back": pb.TimeSetBackEvent(time=stamp(SECOND))},
        {"transferred": pb.TransferredEvent(time=stamp(SECOND), to_campaign_id="summer")},
    ],
    ids=lambda event: next(iter(event)),
)
def test_what_the_feed_cannot_tell_is_compared(tmp_path, event) -> None:
    mirrored = Mirrored(sa.create_engine(f"sqlite:///{tmp_path / 'c.db'}"), "contacts")
    story = Story()
    mirrored.fill(story.record_ids)
    story.attempt("1", "spring")
    mirrored.run(StorySource(story))
    story.model.transfer(LIST, "spring", "summer")  # of which nothing else tells
    story._list_wide(**event)
    status = mirrored.run(StorySource(story))
    mirrored.check(story)
    assert status.comparison_count == 1
    assert [each for each in mirrored.said if each.startswith("comparing again")] != []


def test_ownership_given_to_a_campaign_that_cannot_be_seen_is_gone(tmp_path) -> None:
    mirrored = Mirrored(sa.create_engine(f"sqlite:///{tmp_path / 'c.db'}"), "contacts")
    story = Story()
    mirrored.fill(story.record_ids)
    story.attempt("1", "spring")
    story.attempt("2", "summer")
    mirrored.run(StorySource(story))
    story.model.release(LIST, ["spring"])
    event = pb.TransferredEvent(time=stamp(story.model.time_ns), from_campaign_id="spring")
    story._list_wide(transferred=event)
    mirrored.run(StorySource(story))
    mirrored.check(story)
    assert set(mirrored.alive(story.model.time_ns)) == {"2"}
