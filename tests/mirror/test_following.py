"""A mirror's table equals the list's export: by comparison, by the feed, and after any of both."""

import random

import pytest
from mirrored import Mirrored, Story, StorySource


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


@pytest.mark.parametrize("seed", range(6))
def test_random_traffic_with_list_wide_changes(mirrored: Mirrored, seed: int) -> None:
    chance = random.Random(seed)
    story = Story(records=12)
    mirrored.fill(story.record_ids[:10])
    source = StorySource(story)
    for _ in range(8):
        for _ in range(chance.randrange(25)):
            story.something(chance)
        mirrored.run(source, compare=chance.random() < 0.1)
        mirrored.check(story)
