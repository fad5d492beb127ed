"""A copy of a store that is being written: exact at one revision, whatever goes on meanwhile."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from backups import MAP_BYTES, archive, restored
from load import JOIN_S
from sanitizer import examples

from ownerd.engine.engine import CLAIM_BATCH, Engine, Policy, Refused
from ownerd.storage.verify import verify
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


def sound(store: Path) -> bool:
    return all(not row[2] and not row[4] for row in verify(str(store)))


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
            for _ in range(count):
                backup = engine.backup()
                threading.Event().wait(chance.choice((0, 0.02, 0.1)))
                made.append((backup.revision, archive(backup, chance.choice((4096, 1 << 20)))))
        flushed = engine.stats()["flushed_records"]
    assert flushed > 0
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
    assert len(incarnations) == count


def test_backups_under_load_are_what_was_there_at_their_revision(tmp_path: Path) -> None:
    back_up_under_load(tmp_path, examples(20))


@pytest.mark.long
def test_hundreds_of_backups_under_load_are_what_was_there_at_their_revision(
    tmp_path: Path,
) -> None:
    for number in range(15):
        (tmp_path / str(number)).mkdir()
        back_up_under_load(tmp_path / str(number), 20)
