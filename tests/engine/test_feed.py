"""R30: what a feed shows and what it does not: only what was answered, only what is kept."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from subject import DAY, HOUR, Policy
from subject_engine import EngineSubject

from ownerd.access.table import Access
from ownerd.engine.engine import Opening
from ownerd.engine.feed import Feed
from ownerd.v1 import admin_pb2 as pb

LIST = "L"
SEGMENT_BYTES = 32 << 10
READ_BYTES = 1 << 16


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[EngineSubject]:
    """An engine whose log has small files, of which it keeps few."""
    opening = Opening(log_segment_bytes=SEGMENT_BYTES, log_keep_bytes=4 * SEGMENT_BYTES)
    subject = EngineSubject(tmp_path / "data", opening=opening)
    subject.create_list(LIST, Policy(True, DAY, None, HOUR))
    yield subject
    subject.close()


def feed_of(subject: EngineSubject) -> Feed:
    anybody = Access(open=True).anybody()
    assert anybody is not None
    return anybody.follow(subject.engine, (), False)


def revisions(messages: list[bytes] | None) -> list[int]:
    assert messages is not None
    return [pb.WatchResponse.FromString(each).revision for each in messages]


def test_r30_nothing_above_the_answered_revision_is_shown(subject: EngineSubject) -> None:
    feed = feed_of(subject)
    begin = subject.revision()
    assert feed.begin(begin) is None
    for record in ("1", "2", "3"):
        subject.attempt(LIST, record, "A", "Busy")
    assert revisions(feed.read(READ_BYTES, newest=begin)[0]) == []
    assert feed.revision == begin
    assert revisions(feed.read(READ_BYTES, newest=begin + 1)[0]) == [begin + 1]
    assert revisions(feed.read(READ_BYTES)[0]) == [begin + 2, begin + 3]
    assert feed.revision == subject.revision()


def test_r30_a_reader_of_what_is_not_kept_any_more_is_told_so(subject: EngineSubject) -> None:
    slow, begin = feed_of(subject), subject.revision()
    assert slow.begin(begin) is None
    for record in range(80):
        subject.attempt(LIST, str(record), "A", "Busy")
        if record % 8 == 7:
            subject.vacuum()
    oldest = subject.engine.oldest_revision
    assert begin < oldest <= subject.revision()
    assert feed_of(subject).begin(begin) == "trimmed"
    assert feed_of(subject).begin(subject.revision() + 1) == "ahead"
    shown: list[int] = []
    while (answer := slow.read(READ_BYTES))[0] is not None:
        shown += revisions(answer[0])
        assert answer[1], "it does not come to the end without a gap"
    assert shown == list(range(begin + 1, begin + 1 + len(shown))), "and until then no gap"
    feed = feed_of(subject)
    assert feed.begin(oldest) is None
    assert revisions(feed.read(READ_BYTES)[0])[-1] == subject.revision()


def test_a_large_revision_is_several_messages_of_which_the_last_is_complete(
    subject: EngineSubject,
) -> None:
    feed = feed_of(subject)
    feed.begin(subject.revision())
    attempts = [(f"{record:0128}", "Busy") for record in range(3_000)]
    subject.attempt_batch(LIST, "A", attempts)
    messages, _ = feed.read(1)
    assert messages is not None
    parsed = [pb.WatchResponse.FromString(each) for each in messages]
    assert len(parsed) > 1 and [each.complete for each in parsed[:-1]] == [False] * (
        len(parsed) - 1
    )
    assert parsed[-1].complete and {each.revision for each in parsed} == {subject.revision()}
    ids = [event.record.record_id for each in parsed for event in each.events]
    assert sorted(ids) == sorted(record_id for record_id, _ in attempts)


def test_what_a_claim_of_a_free_record_changes_is_no_change_of_ownership(
    subject: EngineSubject,
) -> None:
    feed = feed_of(subject)
    feed.begin(subject.revision())
    subject.claim(LIST, "1", "A")
    subject.attempt(LIST, "1", "A", "No Lines")
    messages, more = feed.read(READ_BYTES)
    assert (messages, more) == ([], False) and feed.revision == subject.revision()
