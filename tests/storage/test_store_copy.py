"""A copy of a store that is being written: exact at one revision, whatever goes on meanwhile."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from backups import MAP_BYTES, archive, restored, sound
from load import JOIN_S
from model import START_NS
from sanitizer import examples, patient_s

from ownerd.base.testing import ManualClock
from ownerd.engine.engine import CLAIM_BATCH, Engine, Policy, Refused
from ownerd.v1 import dial_pb2

DAY_NS = 86_400 * 10**9
HELD = Policy(True, None, None, DAY_NS)
CAMPAIGNS = ("A", "B")
Owned = dict[str, str]


class Owners:
    """A client that alone changes who owns what in a list, and knows it at every revision."""

    def __init__(self, engine: Engine, list_id: str, seed: int) -> None:
        self.engine = engine
        self.list_id = list_id
        self.chance = random.Random(seed)
        self.owned: Owned | None = None
        self.history: list[tuple[int, Owned | None]] = [(0, None)]

    def run(self, stopping: threading.Event) -> None:
        """Change something until told to stop."""
        while not stopping.is_set():
            self.step()

    def step(self) -> None:
        """Make one change, and note what it left."""
        if self.owned is None:
            outcome = self.engine.create_list(self.list_id, HELD)
            self.owned = {}
        else:
            kinds = (self.take, self.give_up, self.release, self.transfer, self.delete)
            outcome = self.chance.choices(kinds, (60, 20, 3, 3, 1))[0](self.owned)
        kept = None if self.owned is None else dict(self.owned)
        self.history.append((outcome.revision, kept))

    def take(self, owned: Owned):
        ids = [str(self.chance.randrange(4_000)) for _ in range(200)]
        rows = {each: self.chance.choice(CAMPAIGNS) for each in ids}
        owned.update(rows)
        sent = [(record, campaign, "", None) for record, campaign in rows.items()]
        return self.engine.import_rows(self.list_id, sent, 3)

    def give_up(self, owned: Owned):
        ids = self.chance.sample(sorted(owned), min(20, len(owned))) or ["none"]
        for each in ids:
            owned.pop(each, None)
        return self.engine.release_records(self.list_id, ids)

    def release(self, owned: Owned):
        campaign = self.chance.choice(CAMPAIGNS)
        self.engine.upsert_campaign(campaign, "")
        for each in [each for each, owner in owned.items() if owner == campaign]:
            del owned[each]
        return self.engine.release(self.list_id, [campaign], False)

    def transfer(self, owned: Owned):
        self.engine.upsert_campaign("A", "")
        owned.update({each: "B" for each, owner in owned.items() if owner == "A"})
        return self.engine.transfer(self.list_id, "A", "B")

    def delete(self, owned: Owned):
        self.owned = None
        return self.engine.delete_list(self.list_id, force=True)

    def at(self, revision: int) -> Owned | None:
        """Return who owned what as of a revision; None: there was no such list."""
        return max(
            (each for each in self.history if each[0] <= revision), key=lambda each: each[0]
        )[1]


class Dials:
    """A client that claims one record after the other, many at once."""

    def __init__(self, engine: Engine, list_id: str) -> None:
        self.engine = engine
        self.list_id = list_id
        self.history: list[tuple[int, int]] = [(0, 0)]
        self.count = 0
        engine.create_list(list_id, HELD)

    def run(self, stopping: threading.Event) -> None:
        """Claim until told to stop."""
        while not stopping.is_set():
            ids = [str(self.count + i) for i in range(50)]
            request = dial_pb2.ClaimBatchRequest(
                list_id=self.list_id, campaign_id="C", record_ids=ids
            )
            answer = self.engine.dial(CLAIM_BATCH, request.SerializeToString())
            self.count += len(ids)
            self.history.append(
                (dial_pb2.ClaimBatchResponse.FromString(answer).revision, self.count)
            )

    def at(self, revision: int) -> int:
        """Return how many were claimed as of a revision."""
        return max(count for at, count in self.history if at <= revision)


def owned_in(engine: Engine, list_id: str) -> Owned | None:
    """Return who owns what; None: there is no such list."""
    try:
        with engine.snapshot(list_id) as snapshot:
            return {record: campaign for record, campaign, *_ in snapshot.records(b"", 10**6)[0]}
    except Refused as error:
        assert error.reason == "LIST_NOT_FOUND"
        return None


@contextmanager
def at_work(*clients: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run clients, each on a thread, while the block lasts."""
    stopping = threading.Event()
    failures: list[BaseException] = []

    def run(client: Callable[[threading.Event], None]) -> None:
        try:
            client(stopping)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join(JOIN_S)
            assert not thread.is_alive()
    assert failures == []


def back_up_under_load(tmp_path: Path, count: int) -> None:
    """Make backups of a store under load, restore them, and compare each with what is known."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    made: list[tuple[int, bytes]] = []
    incarnations: set[int] = set()
    # Small memtables and a vacuum all the time: of flush, vacuum, trim and a new segment of the log
    # some step is always under way.
    engine = Engine(
        str(tmp_path / "data"), map_bytes=MAP_BYTES, memtable_bytes=1 << 20, vacuum_interval_s=0.05
    )
    with closing(engine):
        owners = [Owners(engine, f"list {i}", seed + i) for i in range(2)]
        dials = Dials(engine, "dialed")
        with at_work(dials.run, *(client.run for client in owners)):
            chance = random.Random(seed)
            end_s = time.monotonic() + patient_s(120)
            while len(made) < count or not engine.stats()["flushed_records"]:
                assert time.monotonic() < end_s, f"nothing is flushed, seed {seed}"
                backup = engine.backup()
                threading.Event().wait(chance.choice((0, 0.02, 0.1)))
                made.append((backup.revision, archive(backup, chance.choice((4096, 1 << 20)))))
    for number, (revision, data) in enumerate(made):
        store = tmp_path / f"restored {number}"
        found, incarnation = restored(data, store)
        assert found == revision
        incarnations.add(incarnation)
        assert sound(store)
        with Engine(str(store), map_bytes=MAP_BYTES, background=False) as engine:
            for client in owners:
                assert owned_in(engine, client.list_id) == client.at(revision), f"seed {seed}"
            with engine.snapshot("dialed") as snapshot:
                reserved = sum(row[3] for row in snapshot.owners())
            assert reserved == dials.at(revision), f"seed {seed}"
    assert len(incarnations) == len(made)


def test_backups_under_load_are_what_was_there_at_their_revision(tmp_path: Path) -> None:
    back_up_under_load(tmp_path, examples(20))


def fill(engine: Engine, number: int, parts: int, rows_per_part: int, id_bytes: int) -> None:
    """Append more than a few segments of a log take."""
    for part in range(parts):
        ids = [f"{number}-{part}-{i}".zfill(id_bytes) for i in range(rows_per_part)]
        engine.import_rows("list", [(each, "A", "", None) for each in ids], 3)


def read_after_trim(tmp_path: Path, parts: int, rows_per_part: int, id_bytes: int) -> None:
    """Read a copy once the segments that it needs have gone from the directory."""
    clock = ManualClock(START_NS)
    store = tmp_path / "data"
    with Engine(
        str(store), clock, map_bytes=MAP_BYTES, memtable_bytes=1 << 26, background=False
    ) as engine:
        engine.create_list("list", HELD)
        fill(engine, 1, parts, rows_per_part, id_bytes)
        backup = engine.backup()
        revision, count = backup.revision, len(backup.files)
        needed = {name.removeprefix("log/") for name, _, _ in backup.files[:-1]}
        assert count > 2
        for number in range(2, 6):
            clock.advance_ns(DAY_NS)
            fill(engine, number, parts, rows_per_part, id_bytes)
            engine.vacuum()
            clock.advance_ns(DAY_NS)
            engine.vacuum()
        assert not needed & {path.name for path in (store / "log").iterdir()}
        data = archive(backup)
        with engine.backup() as later:
            assert later.revision > revision
    assert restored(data, tmp_path / "restored")[0] == revision
    assert sound(tmp_path / "restored")
    with Engine(str(tmp_path / "restored"), map_bytes=MAP_BYTES, background=False) as engine:
        owned = owned_in(engine, "list")
    assert owned is not None and len(owned) == parts * rows_per_part


def test_a_copy_is_read_also_once_the_log_that_it_needs_was_trimmed(tmp_path: Path) -> None:
    read_after_trim(tmp_path, 40, 1_000, 8)


@pytest.mark.long
def test_a_copy_is_read_also_once_segments_of_the_log_were_used_again(tmp_path: Path) -> None:
    """Only those of the largest size are."""
    read_after_trim(tmp_path, 60, 10_000, 100)


def test_a_copy_has_no_room_to_grow_after_its_revision(tmp_path: Path) -> None:
    """What is appended to the last segment later is not in it."""
    with Engine(str(tmp_path / "data"), map_bytes=MAP_BYTES, background=False) as engine:
        engine.create_list("list", HELD)
        backup = engine.backup()
        engine.create_list("later", HELD)
        data = archive(backup)
    assert restored(data, tmp_path / "restored")[0] == 1
    with Engine(str(tmp_path / "restored"), map_bytes=MAP_BYTES, background=False) as engine:
        assert [info.list_id for info in engine.lists("", 10)] == ["list"]


def test_a_copy_whose_log_is_full_to_its_last_block_is_opened(tmp_path: Path) -> None:
    """The next segment, which was made before it was wanted, is no part of it."""
    blocks_left = 0
    with Engine(str(tmp_path / "data"), map_bytes=MAP_BYTES, background=False) as engine:
        engine.create_list("list", HELD)
        while blocks_left != 1:
            engine.import_rows("list", [("1", "A", "", None)], 3)
            with engine.backup() as backup:
                _, used, whole = backup.files[-2]
                blocks_left = (whole - used) // 4_096
                if blocks_left == 1:
                    data = archive(backup)
    restored(data, tmp_path / "restored")
    with Engine(str(tmp_path / "restored"), map_bytes=MAP_BYTES, background=False) as engine:
        assert owned_in(engine, "list") == {"1": "A"}


def test_a_copy_of_a_store_that_was_never_written_to(tmp_path: Path) -> None:
    with Engine(str(tmp_path / "data"), map_bytes=MAP_BYTES, background=False) as engine:
        data = archive(engine.backup())
    assert restored(data, tmp_path / "restored")[0] == 0
    with Engine(str(tmp_path / "restored"), map_bytes=MAP_BYTES, background=False) as engine:
        assert engine.lists("", 10) == []


def test_a_closed_copy_is_not_read_and_holds_nothing(tmp_path: Path) -> None:
    engine = Engine(str(tmp_path / "data"), map_bytes=MAP_BYTES, background=False)
    with engine.backup() as backup:
        index = len(backup.files) - 1
        assert backup.read(index, 0, 100) and backup.read(index, 10**12, 100) == b""
        with pytest.raises(ValueError, match="no such file"):
            backup.read(index + 1, 0, 100)
    backup.close()
    with pytest.raises(ValueError, match="closed"):
        backup.read(index, 0, 100)
    for _ in range(1_000):  # more than there are readers
        engine.backup().close()
    left = engine.backup()
    engine.close(timeout_s=0.05)
    left.close()
    engine.close()
    with pytest.raises(Refused, match="stop"):
        engine.backup()


def test_more_copies_than_there_are_readers_are_refused(tmp_path: Path) -> None:
    with Engine(str(tmp_path / "data"), map_bytes=MAP_BYTES, background=False) as engine:
        held = []
        with pytest.raises(Refused) as refusal:
            while len(held) < 500:
                held.append(engine.backup())
        assert refusal.value.reason == "TOO_MANY_READS"
        del held[0]
        held.append(engine.backup())
        held.clear()


@pytest.mark.long
def test_hundreds_of_backups_under_load_are_what_was_there_at_their_revision(
    tmp_path: Path,
) -> None:
    for number in range(15):
        (tmp_path / str(number)).mkdir()
        back_up_under_load(tmp_path / str(number), 20)
