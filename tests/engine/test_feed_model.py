"""R30: who follows the changes ends up with what the server shows, whatever happens.

The machine of the engine's tests, with readers beside it that began at any revision: each applies
what it gets and is compared with the model after every step.
"""

import shutil
import tempfile
from typing import Any

from follower import Follower
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test
from machine import RECORDS, Comparison
from sanitizer import examples
from subject import Holder, TimedSubject
from subject_engine import EngineSubject

from ownerd.access.table import Access
from ownerd.engine.engine import Opening
from ownerd.engine.feed import Feed
from ownerd.v1 import admin_pb2 as pb

# So small that a few commits fill one.
SEGMENT_BYTES = 32 << 10
READ_BYTES = 1 << 16


class Reader:
    """A feed and who applies what it gives."""

    def __init__(self, engine: Any, follower: Follower, with_reservations: bool) -> None:
        self.follower = follower
        self.with_reservations = with_reservations
        self.revision = follower.revision
        self.feed = begun(engine, self.revision, with_reservations)

    def read(self) -> None:
        """Apply everything up to now."""
        more = True
        while more:
            messages, more = self.feed.read(READ_BYTES)
            assert messages is not None
            for message in messages:
                self.follower.take(pb.WatchResponse.FromString(message))
        self.revision = self.feed.revision


def begun(engine: Any, after: int, with_reservations: bool = False, lists: Any = ()) -> Feed:
    """Return a feed of somebody who may see everything."""
    anybody = Access(open=True).anybody()
    assert anybody is not None
    feed = anybody.follow(engine, lists, with_reservations)
    assert feed.begin(after) is None
    return feed


class FeedComparison(Comparison):
    """The engine, the model, and readers of the changes."""

    def make_subject(self) -> TimedSubject:
        self.directory = tempfile.mkdtemp(prefix="ownerd-test-")
        opening = Opening(log_segment_bytes=SEGMENT_BYTES, log_keep_ns=1 << 62)
        subject = EngineSubject(self.directory, opening=opening)
        self.readers = [
            self._from_nothing(subject, with_reservations) for with_reservations in (False, True)
        ]
        return subject

    def _from_nothing(self, subject: EngineSubject, with_reservations: bool) -> Reader:
        follower = Follower()
        follower.revision = subject.revision()
        return Reader(subject.engine, follower, with_reservations)

    @precondition(lambda self: len(self.readers) < 5)
    @rule()
    def begin_now(self) -> None:
        """Somebody begins with what is exported now; of reservations it knows nothing."""
        subject = self.subject
        assert isinstance(subject, EngineSubject)
        known = {
            list_id: [_row(each) for each in subject.owned(list_id)] for list_id in self.model.lists
        }
        follower = Follower(known)
        follower.revision = subject.revision()
        self.readers.append(Reader(subject.engine, follower, False))

    @rule(which=st.integers(0, 4))
    def resume(self, which: int) -> None:
        """A reader begins again where it was."""
        reader = self.readers[which % len(self.readers)]
        assert isinstance(self.subject, EngineSubject)
        reader.feed = begun(self.subject.engine, reader.revision, reader.with_reservations)

    @rule(which=st.integers(0, 4))
    def begin_anew(self, which: int) -> None:
        """A reader begins with nothing, at the first revision that is kept."""
        subject = self.subject
        assert isinstance(subject, EngineSubject)
        del self.readers[which % len(self.readers)]
        follower = Follower()
        follower.revision = subject.engine.oldest_revision
        self.readers.append(Reader(subject.engine, follower, which % 2 == 0))

    @rule()
    def reopen(self) -> None:
        """The engine is closed and opened; readers go on where they were."""
        super().reopen()
        assert isinstance(self.subject, EngineSubject)
        for reader in self.readers:
            reader.feed = begun(self.subject.engine, reader.revision, reader.with_reservations)

    def teardown(self) -> None:
        assert isinstance(self.subject, EngineSubject)
        self.subject.close()
        shutil.rmtree(self.directory)

    def look_further(self, list_id: str) -> None:
        assert isinstance(self.subject, EngineSubject)
        now_ns = self.subject.time_ns  # that of the last decision, where the clock stands still
        expected = self.model.owned(list_id)
        for reader in self.readers:
            reader.read()
            found = reader.follower.owned(list_id, now_ns)
            assert found == {each.record_id: each for each in expected}
            if reader.with_reservations:
                self.look_at_reservations(reader.follower, list_id, now_ns)

    def look_at_reservations(self, follower: Follower, list_id: str, now_ns: int) -> None:
        for record_id in RECORDS:
            held = self.model.holder(list_id, record_id)
            found = follower.holder(list_id, record_id, now_ns)
            assert _comparable(found, found) == _comparable(held, found)


def _comparable(holder: Holder | None, found: Holder | None) -> Holder | None:
    """Leave out what a reader cannot know: since when, of a reservation beside an ownership."""
    if holder is None or found is None:
        return holder
    begun_ns = 0 if found.acquire_ns == 0 else holder.acquire_ns
    return holder._replace(acquire_ns=begun_ns, last_attempt_ns=None)


def _row(owned: Any) -> pb.OwnershipRow:
    row = pb.OwnershipRow(
        record_id=owned.record_id, campaign_id=owned.campaign_id, campaign_name=owned.name
    )
    row.acquire_time.FromNanoseconds(owned.acquire_ns)
    if owned.expire_ns is not None:
        row.expire_time.FromNanoseconds(owned.expire_ns)
    return row


def test_r30_who_follows_the_changes_knows_what_the_server_shows() -> None:
    run_state_machine_as_test(
        FeedComparison, settings=settings(max_examples=examples(40), stateful_step_count=40)
    )
