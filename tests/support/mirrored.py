"""A list whose changes make a feed, without a server: the plain-Python model, and what it tells.

`Story` does to a model what dialers and administrators do, and keeps what a feed would have of it.
`StorySource` is that as a mirror sees it: pages of an export, between which more may happen, the
feed from a revision on, and the holder of a record.
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from google.protobuf.timestamp_pb2 import Timestamp
from model import NEVER, Model
from subject import FAIL, HOUR, OVERWRITE, SECOND, Policy, Row

from ownerd.mirror.database import Database
from ownerd.mirror.faults import Away, CompareAgain
from ownerd.mirror.mirror import Mirror
from ownerd.mirror.position import Lease
from ownerd.mirror.source import Owned, Point
from ownerd.mirror.status import Status, Teller
from ownerd.mirror.table import Names, Table, find_table
from ownerd.v1 import admin_pb2 as pb
from ownerd.v1 import dial_pb2

LIST = "customers"
INCARNATION = "00000000000000aa"
CAMPAIGNS = ("spring", "summer", "autumn")
PAGE_COUNT = 7


def stamp(time_ns: int) -> Timestamp:
    return Timestamp(seconds=time_ns // SECOND, nanos=time_ns % SECOND)


Change = TypeVar("Change", bound=Callable[..., None])


def _at_once(change: Change) -> Change:
    """Have a story's readers in other threads find all of a change and its events, or nothing."""

    @wraps(change)
    def hold(self: "Story", *args: Any, **kwargs: Any) -> None:
        with self.changed:
            change(self, *args, **kwargs)

    return cast(Change, hold)


class Story:
    """A model with one list, and its feed so far; revisions begin at 1, which made the list."""

    def __init__(self, records: int = 30, duration_ns: int | None = HOUR) -> None:
        self.model = Model()
        self.model.create_list(LIST, Policy(duration_ns=duration_ns))
        self.record_ids = [str(number) for number in range(records)]
        self.feed: list[pb.WatchResponse] = []
        self.incarnation_id = INCARNATION
        self.oldest = 0
        self.is_down = False
        self.changed = threading.Condition()

    @property
    def revision(self) -> int:
        return self.model.revision()

    # ---- what happens

    def _spans(self) -> dict[str, Owned | None]:
        found: dict[str, Owned | None] = {}
        for record_id, record in self.model.lists[LIST].records.items():
            span = record.ownership
            if span is not None and self.model.time_ns < span.end_ns:
                end_ns = None if span.end_ns == NEVER else span.end_ns
                name = self.model.names[record.campaign_id]
                found[record_id] = Owned(record.campaign_id, name, end_ns)
        return found

    @contextmanager
    def _records_change(self) -> Iterator[None]:
        """Tell of each record that the block changes."""
        before, names, revision = self._spans(), dict(self.model.names), self.revision
        yield
        events = [
            pb.WatchEvent(
                list_id=LIST, record=pb.RecordEvent(record_id=each, holder=self._holder(each))
            )
            for each in {**before, **self._spans()}
            if self._without_names(before.get(each)) != self._without_names(self._spans().get(each))
        ]
        renamed = [
            (each, name) for each, name in self.model.names.items() if names.get(each, each) != name
        ]
        self._tell(
            [
                pb.WatchEvent(
                    campaign_renamed=pb.CampaignRenamedEvent(campaign_id=each, campaign_name=name)
                )
                for each, name in renamed
            ]
            + events,
            revision,
        )

    @staticmethod
    def _without_names(owned: Owned | None) -> Any:
        return None if owned is None else (owned.campaign_id, owned.expire_ns)

    def _holder(self, record_id: str) -> dial_pb2.Holder | None:
        record = self.model.lists[LIST].records.get(record_id)
        if record is None or record.ownership is None:
            return None
        end_ns = record.ownership.end_ns
        if self.model.time_ns >= end_ns:
            return None
        return dial_pb2.Holder(
            kind=dial_pb2.HOLD_KIND_OWNED,
            campaign_id=record.campaign_id,
            campaign_name=self.model.names[record.campaign_id],
            acquire_time=stamp(record.ownership.start_ns),
            expire_time=None if end_ns == NEVER else stamp(end_ns),
        )

    def _tell(self, events: list[pb.WatchEvent], revision_before: int) -> None:
        if self.revision == revision_before:
            return
        cut = len(events) // 2  # in two messages
        parts = [events[:cut], events[cut:]] if cut else [events]
        with self.changed:
            for number, part in enumerate(parts):
                message = pb.WatchResponse(
                    revision=self.revision,
                    complete=number == len(parts) - 1,
                    incarnation_id=self.incarnation_id,
                    time=stamp(self.model.time_ns),
                    events=part,
                )
                self.feed.append(message)
            self.changed.notify_all()

    def _list_wide(self, **kind: Any) -> None:
        self._tell([pb.WatchEvent(list_id=LIST, **kind)], -1)

    @_at_once
    def attempt(self, record_id: str, campaign_id: str, code: str = "Busy") -> None:
        with self._records_change():
            self.model.attempt(LIST, record_id, campaign_id, code)

    @_at_once
    def release_records(self, *record_ids: str) -> None:
        with self._records_change():
            self.model.release_records(LIST, list(record_ids))

    @_at_once
    def load(self, rows: list[Row], strategy: int = FAIL, **how: bool) -> None:
        with self._records_change():
            self.model.import_rows(LIST, rows, strategy, **how)

    @_at_once
    def release(self, *campaign_ids: str) -> None:
        known = [each for each in campaign_ids if each in self.model.names]
        if campaign_ids and not known:
            return
        self.model.release(LIST, known or None)
        for each in known or [""]:
            event = pb.ReleasedEvent(time=stamp(self.model.time_ns), campaign_id=each)
            self._list_wide(released=event)

    @_at_once
    def transfer(self, from_id: str, to_id: str) -> None:
        if from_id in self.model.names and from_id != to_id:
            self.model.transfer(LIST, from_id, to_id)
            self._list_wide(
                transferred=pb.TransferredEvent(
                    time=stamp(self.model.time_ns),
                    from_campaign_id=from_id,
                    to_campaign_id=to_id,
                    to_campaign_name=self.model.names[to_id],
                )
            )

    @_at_once
    def set_duration(self, duration_ns: int | None) -> None:
        before = self.model.policy(LIST)
        self.model.update_policy(LIST, before._replace(duration_ns=duration_ns))
        if duration_ns == before.duration_ns:
            return self._tell([], -1)
        event = pb.DurationChangedEvent(time=stamp(self.model.time_ns))
        if duration_ns is not None:
            event.duration.FromNanoseconds(duration_ns)
        self._list_wide(duration_changed=event)

    @_at_once
    def rename(self, campaign_id: str, name: str) -> None:
        with self._records_change():
            self.model.upsert_campaign(campaign_id, name)

    def advance(self, delta_ns: int) -> None:
        self.model.advance_ns(delta_ns)

    def something(self, chance: random.Random) -> None:
        """Do one of all that, at random; mostly attempts."""
        record_id = chance.choice(self.record_ids)
        campaign_id = chance.choice(CAMPAIGNS)
        other = chance.choice(CAMPAIGNS)
        what = chance.randrange(22)
        self.advance(chance.choice((1, 1_000, SECOND, 7 * SECOND, 300 * SECOND)))
        if what == 0:
            self.release()
        elif what == 1:
            self.release(campaign_id)
        elif what <= 3:
            self.transfer(campaign_id, other)
        elif what <= 5:
            self.set_duration(chance.choice((None, 10 * SECOND, HOUR, 3 * HOUR)))
        elif what == 6:
            self.rename(campaign_id, chance.choice(("Spring", "Summer sale", campaign_id)))
        elif what == 7:
            self.release_records(record_id, chance.choice(self.record_ids))
        elif what == 8:
            end_ns = chance.choice((None, self.model.time_ns + 60 * SECOND))
            rows = [Row(each, campaign_id, "Imported", end_ns) for each in self.record_ids[:5]]
            self.load(rows, OVERWRITE, exact=chance.random() < 0.5, rename=chance.random() < 0.2)
        else:
            self.attempt(record_id, campaign_id, chance.choice(("Busy", "Success", "Fax")))


class StorySource:
    """A story as a mirror's `Source`."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.between_pages: Callable[[], object] = lambda: None
        self.asked: list[str] = []  # whose holder was asked for

    def _check(self) -> None:
        if self.story.is_down:
            raise Away("the story is down")

    def now(self) -> Point:
        self._check()
        story = self.story
        with story.changed:
            return Point(story.incarnation_id, story.revision, story.model.time_ns)

    def watch(self, after: Point) -> "Feed":
        self._check()
        story = self.story
        if after.revision < story.oldest or after.incarnation_id != story.incarnation_id:
            raise CompareAgain("the position is no longer kept")
        return Feed(self, after.revision)

    def export(self) -> Iterator[pb.ExportOwnershipResponse]:
        self._check()
        after = -1
        while True:
            self._check()
            with self.story.changed:
                left = [row for row in self.story.model.owned(LIST) if int(row.record_id) > after]
                revision, time_ns = self.story.revision, self.story.model.time_ns
            page = left[:PAGE_COUNT]
            yield pb.ExportOwnershipResponse(
                rows=[
                    pb.OwnershipRow(
                        record_id=row.record_id,
                        campaign_id=row.campaign_id,
                        campaign_name=row.name,
                        expire_time=None if row.expire_ns is None else stamp(row.expire_ns),
                    )
                    for row in page
                ],
                revision=revision,
                time=stamp(time_ns),
            )
            if len(left) <= PAGE_COUNT:
                return
            after = int(page[-1].record_id)
            self.between_pages()

    def holder(self, record_id: str) -> dial_pb2.Holder | None:
        self._check()
        self.asked.append(record_id)
        with self.story.changed:
            return self.story._holder(record_id)


class Feed:
    """The feed of a story, until it is cancelled; ends by Away where the story goes down."""

    def __init__(self, source: StorySource, after: int) -> None:
        self._source = source
        self._story = source.story
        self._after = after
        self._cancelled = False

    def cancel(self) -> None:
        with self._story.changed:
            self._cancelled = True
            self._story.changed.notify_all()

    def __iter__(self) -> Iterator[pb.WatchResponse]:
        place, told = 0, self._after
        while True:
            with self._story.changed:
                self._source._check()
                new = self._story.feed[place:]
                place += len(new)
                progress = self._progress()
            yield from (message for message in new if message.revision > self._after)
            if progress.revision > told:
                told = progress.revision
                yield progress
            with self._story.changed:
                if self._cancelled:
                    return
                if len(self._story.feed) == place:
                    self._story.changed.wait(0.2)

    def _progress(self) -> pb.WatchResponse:
        story = self._story
        return pb.WatchResponse(
            revision=story.revision,
            complete=True,
            incarnation_id=story.incarnation_id,
            time=stamp(story.model.time_ns),
            events=[pb.WatchEvent(progress=pb.ProgressEvent())],
        )


class Killed(BaseException):
    """Stands for the end of the mirror's process."""


class Stopped(BaseException):
    """Ends a mirror as Ctrl-C does."""


class Mirrored:
    """A table of a database, and mirrors of a story into it."""

    def __init__(
        self,
        engine: sa.Engine,
        name: str,
        *,
        key: str = "BIGINT PRIMARY KEY",
        owner: str = "VARCHAR(80)",
        expiration: str = "TIMESTAMP",
    ) -> None:
        self.engine = engine
        self.name = name
        self.said: list[str] = []
        self.status = Status()
        with engine.begin() as connection:
            connection.exec_driver_sql(
                f'CREATE TABLE "{name}" (I3_Identity {key}, note VARCHAR(20),'
                f" I3_CampaignOwnerID {owner}, i3_campaignownername VARCHAR(80),"
                f" i3_campaignownerexpiration {expiration})"
            )

    def fill(self, keys: Sequence[str]) -> None:
        """Insert rows that nobody owns."""
        statement = sa.text(f"INSERT INTO \"{self.name}\" (I3_Identity, note) VALUES (:key, 'n')")
        numbers = self.table.keys.is_number
        with self.engine.begin() as connection:
            connection.execute(statement, [{"key": int(key) if numbers else key} for key in keys])

    def sql(self, statement: str) -> list[Any]:
        with self.engine.begin() as connection:
            found = connection.exec_driver_sql(statement.replace("TABLE", f'"{self.name}"'))
            return list(found.all()) if found.returns_rows else []

    @property
    def table(self) -> Table:
        with self.engine.connect() as connection:
            return find_table(connection, Names(self.name))

    def run(
        self,
        source: Any,
        *,
        compare: bool = False,
        once: bool = True,
        list_id: str = LIST,
        tick: Callable[[Status], object] = lambda status: None,
        beat_s: float = 0.1,
        dead_after_s: float = 0.6,
    ) -> Status:
        """Run a mirror to its end, and return its status."""
        teller = Teller(Status(), self.said.append, tick)
        self.status = teller.status
        database = Database(self.engine, self.said.append)
        lease = Lease(database, self.table, beat_s=beat_s, dead_after_s=dead_after_s)
        position = lease.take(self.said.append)
        try:
            mirror = Mirror(source, database, self.table, lease, teller, list_id)
            mirror.run(position, compare=compare, once=once)
        except Killed:  # does nothing any more
            lease._stopped.set()
            raise
        except BaseException:
            lease.release()
            raise
        lease.release()
        return teller.status

    @contextmanager
    def running(self, source: Any, **how: Any) -> Iterator["Mirrored"]:
        """Run a mirror in a thread of its own until the block ends, then stop it."""
        ended: list[BaseException] = []
        stop = threading.Event()

        def tick(status: Status) -> None:
            if stop.is_set():
                raise Stopped

        def run() -> None:
            try:
                self.run(source, once=False, tick=tick, **how)
            except Stopped:
                pass
            except BaseException as error:
                ended.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join(30)
            assert not thread.is_alive()
        if ended:
            raise ended[0]

    def unlock(self) -> None:
        """Free the row of a mirror that was killed, which a next one else waits for."""
        with self.engine.begin() as connection:
            if sa.inspect(connection).has_table("ownerd_mirror"):
                connection.execute(sa.text("UPDATE ownerd_mirror SET holder = NULL"))

    def position(self) -> tuple[Any, ...]:
        """The table's row: incarnation and revision."""
        with self.engine.begin() as connection:
            statement = sa.text(
                "SELECT incarnation_id, revision FROM ownerd_mirror WHERE mirrored = :name"
            )
            return tuple(connection.execute(statement, {"name": self.name}).one())

    def rows(self) -> dict[str, tuple[Any, ...]]:
        """Every row by its key, the expiration as the driver has it."""
        found = self.sql(
            "SELECT I3_Identity, I3_CampaignOwnerID, i3_campaignownername,"
            " i3_campaignownerexpiration FROM TABLE"
        )
        return {str(row[0]): tuple(row[1:]) for row in found}

    def alive(self, time_ns: int) -> dict[str, Owned]:
        """Who owns what by the table, expirations rounded up as the column has them."""
        table = self.table
        found = {}
        for key, (owner, name, expiration) in self.rows().items():
            expire_ns = table.expirations.read(expiration)
            if owner is not None and (expire_ns is None or expire_ns > time_ns):
                found[key] = Owned(owner, name, expire_ns)
        return found

    def check(self, story: Story) -> None:
        """Check that the table says what the story's export does, of what is not just ending."""
        expirations = self.table.expirations
        time_ns = story.model.time_ns
        there = self.rows()
        wanted = {
            row.record_id: Owned(
                row.campaign_id,
                row.name,
                None if row.expire_ns is None else expirations.rounded_up(row.expire_ns),
            )
            for row in story.model.owned(LIST)
            if row.record_id in there
        }
        found = self.alive(time_ns)
        ending_ns = expirations.rounded_up(time_ns)
        for record_id in list(found):
            if found[record_id].expire_ns == ending_ns and record_id not in wanted:
                del found[record_id]
        assert found == wanted
