"""A mirror that is killed, locked out or cut off loses nothing: its table equals the export."""

import random
import sqlite3
import threading

import postgres
import pytest
import sqlalchemy as sa
from harness import poll
from mirrored import CAMPAIGNS, Killed, Mirrored, Story, StorySource

from ownerd.mirror import position
from ownerd.mirror.database import Database
from ownerd.mirror.faults import Away, InUse, MirrorFault
from ownerd.mirror.position import Lease
from ownerd.mirror.status import State


@pytest.fixture
def kill(engine):
    """Have the mirror of this thread end at its nth statement from now on, counted with commits."""
    me = threading.current_thread()
    left = [0]

    def count(*_: object) -> None:
        if threading.current_thread() is me and left[0]:
            left[0] -= 1
            if left[0] == 0:
                raise Killed

    sa.event.listen(engine, "before_cursor_execute", count)
    sa.event.listen(engine, "commit", count)

    def kill_at(number: int) -> None:
        left[0] = number

    return kill_at


def follow_with_kills(mirrored: Mirrored, kill, seed: int, rounds: int) -> int:
    chance = random.Random(seed)
    story = Story(records=24)
    mirrored.fill(story.record_ids[:20])
    source = StorySource(story)
    source.between_pages = lambda: [story.something(chance) for _ in range(chance.randrange(3))]
    killed = 0
    for _ in range(rounds):
        for _ in range(chance.randrange(30)):
            story.something(chance)
        try:
            kill(chance.randrange(1, 30))
            mirrored.run(source, compare=chance.random() < 0.2)
        except Killed:
            killed += 1
            kill(0)
            mirrored.unlock()
        else:
            kill(0)
            mirrored.check(story)
    mirrored.run(source)
    mirrored.check(story)
    return killed


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_any_statement_it_goes_on_where_the_table_is(
    mirrored: Mirrored, kill, seed: int
) -> None:
    mirrored.run(StorySource(Story()))
    assert follow_with_kills(mirrored, kill, seed, 10) > 0


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 110))
def test_long_killed_at_any_statement(mirrored: Mirrored, kill, seed: int) -> None:
    mirrored.run(StorySource(Story()))
    assert follow_with_kills(mirrored, kill, seed, 40) > 0


@pytest.mark.parametrize("after", [False, True], ids=["before-the-commit", "after-the-commit"])
def test_a_transaction_whose_commit_broke_off_is_in_the_table_once(
    tmp_path, monkeypatch, after: bool
) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'c.db'}")
    mirrored = Mirrored(engine, "contacts")
    story = Story()
    mirrored.fill(story.record_ids)
    for record_id in story.record_ids:
        story.attempt(record_id, CAMPAIGNS[int(record_id) % 2])
    commit = engine.dialect.do_commit
    broken = threading.Event()
    me = threading.get_ident

    def break_off(connection: object) -> None:
        if mirrored.status.state is not State.IN_STEP or broken.is_set() or me() != mirror[0]:
            return commit(connection)
        broken.set()
        if after:
            commit(connection)
        raise sqlite3.OperationalError("connection lost")

    mirror = [0]
    monkeypatch.setattr(engine.dialect, "do_commit", break_off)
    source = StorySource(story)
    watch = source.watch

    def watched(*arguments):
        mirror[0] = me()
        return watch(*arguments)

    source.watch = watched
    with mirrored.running(source, beat_s=60):
        poll(lambda: mirrored.status.state is State.IN_STEP, "the comparison")
        # Done twice, it would end what it gave.
        with story.changed:
            story.release("spring")
            story.transfer("summer", "spring")
        poll(lambda: mirrored.status.revision == story.revision, "the last revision")
    assert broken.is_set()
    mirrored.check(story)
    assert len(mirrored.alive(story.model.time_ns)) == 15
    assert any("the database is there again" in each for each in mirrored.said)


def test_a_second_mirror_of_the_table_is_refused_while_the_first_lives(mirrored: Mirrored) -> None:
    story = Story()
    mirrored.fill(story.record_ids)
    with mirrored.running(StorySource(story)):
        poll(lambda: mirrored.status.state is State.IN_STEP, "the comparison")
        second = Lease(Database(mirrored.engine, print), mirrored.table, dead_after_s=20)
        with pytest.raises(InUse, match="one table has one mirror"):
            second.take(print)
        story.attempt("1", "spring")
        poll(lambda: mirrored.status.revision == story.revision, "the last revision")
    mirrored.check(story)


def test_two_that_begin_at_once_are_one(mirrored: Mirrored) -> None:
    begin = threading.Barrier(2)
    outcomes: list[object] = []

    def take() -> None:
        lease = Lease(
            Database(mirrored.engine, print), mirrored.table, beat_s=0.05, dead_after_s=20
        )
        begin.wait(10)
        try:
            lease.take(print)
            outcomes.append("taken")
            refused.wait(20)
        except InUse:
            outcomes.append("refused")
            refused.set()
        finally:
            lease.release()

    refused = threading.Event()
    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(map(str, outcomes)) == ["refused", "taken"]


def test_a_dead_mirrors_table_is_taken_and_the_dead_one_can_write_no_more(
    mirrored: Mirrored,
) -> None:
    story = Story()
    mirrored.fill(story.record_ids)
    story.attempt("1", "spring")
    dead = Lease(Database(mirrored.engine, print), mirrored.table, beat_s=3600)
    dead.take(print)
    mirrored.run(StorySource(story), dead_after_s=0.3)
    mirrored.check(story)
    assert any("looking whether it lives" in each for each in mirrored.said)
    with pytest.raises(InUse, match="taken over"), mirrored.engine.begin() as connection:
        dead.advance(connection, story.revision, story.revision + 1)
    with pytest.raises(InUse, match="taken over"), mirrored.engine.begin() as connection:
        dead.hold(connection)
    dead._stopped.set()


def test_a_table_is_not_taken_for_another_list_unless_that_is_said(mirrored: Mirrored) -> None:
    story = Story()
    mirrored.fill(story.record_ids)
    mirrored.run(StorySource(story))
    with pytest.raises(MirrorFault, match="--compare"):
        mirrored.run(StorySource(story), list_id="others")
    mirrored.run(StorySource(story), list_id="others", compare=True)
    with pytest.raises(MirrorFault):
        mirrored.run(StorySource(story))


@pytest.mark.parametrize("how", ["not kept", "another incarnation"])
def test_where_the_feed_does_not_go_on_it_compares_again_and_says_so(
    mirrored: Mirrored, how: str
) -> None:
    story = Story()
    mirrored.fill(story.record_ids)
    story.attempt("1", "spring")
    mirrored.run(StorySource(story))
    story.attempt("2", "spring")
    story.release_records("1")
    story.feed.clear()
    if how == "not kept":
        story.oldest = story.revision
    else:
        story.incarnation_id = "00000000000000bb"
    status = mirrored.run(StorySource(story))
    mirrored.check(story)
    assert status.comparison_count == 1
    assert any(each.startswith("comparing again") for each in mirrored.said)
    assert mirrored.position() == (story.incarnation_id, story.revision)


def test_a_server_that_is_away_is_waited_for(mirrored: Mirrored, monkeypatch) -> None:
    monkeypatch.setattr("ownerd.mirror.mirror.PAUSE_S", 0.05)
    story = Story()
    mirrored.fill(story.record_ids)
    with mirrored.running(StorySource(story)):
        poll(lambda: mirrored.status.state is State.IN_STEP, "the comparison")
        story.is_down = True
        poll(lambda: mirrored.status.state is State.WAITING, "that it waits")
        story.attempt("1", "spring")
        story.is_down = False
        poll(lambda: mirrored.status.revision == story.revision, "the last revision")
    mirrored.check(story)
    assert mirrored.status.comparison_count == 1
    assert any("answers again" in each for each in mirrored.said)


def test_a_server_that_is_away_at_the_begin_is_told_at_once(mirrored: Mirrored) -> None:
    story = Story()
    story.is_down = True
    with pytest.raises(Away):
        mirrored.run(StorySource(story), once=False)


def test_a_database_that_is_stopped_is_waited_for(postgresql: postgres.Postgres) -> None:
    engine = sa.create_engine(postgresql.url)
    mirrored = Mirrored(engine, "stopped_and_started")
    story = Story()
    mirrored.fill(story.record_ids)
    chance = random.Random(1)
    with mirrored.running(StorySource(story), dead_after_s=position.DEAD_AFTER_S):
        poll(lambda: mirrored.status.state is State.IN_STEP, "the comparison")
        postgresql.stop()
        try:
            for _ in range(20):
                story.something(chance)
            poll(lambda: any("waiting" in each for each in mirrored.said), "that it waits")
        finally:
            postgresql.start()
        poll(lambda: mirrored.status.revision == story.revision, "the last revision")
    mirrored.check(story)
    assert mirrored.status.comparison_count == 1
    engine.dispose()
