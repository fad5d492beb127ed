"""Damage at rest: `ownerd verify` finds it, and the engine never answers from it."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from harness import ServerDidNotStart, ServerProcess

from ownerd.engine.engine import CLAIM, CLAIM_BATCH, Engine, Policy, Refused, StoreError
from ownerd.v1 import dial_pb2

FOREVER = Policy(True, None, None, 300 * 10**9)
RECORD_COUNT = 2_000
PAGE_BYTES = 4096
CLEAN, IN_USE, UNUSABLE, DAMAGED = 0, 3, 4, 6


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A closed store with a list of owned records."""
    with Engine(str(tmp_path), map_bytes=1 << 26, background=False) as engine:
        engine.create_list("list", FOREVER)
        rows = [(str(number), "A", "Campaign A", None) for number in range(RECORD_COUNT)]
        engine.import_rows("list", rows, 1)
    return tmp_path


def verify(store: Path) -> tuple[int, str]:
    """Run `ownerd verify` and return its exit code and all that it printed."""
    command = [sys.executable, "-m", "ownerd.server.cli", "verify", str(store)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return run.returncode, run.stdout + run.stderr


def record_key(number: int) -> bytes:
    """Return the key of a record of the first list."""
    return b"\0\0\0\1\1" + (number + 2**63).to_bytes(8, "big")


def flip(store: Path, after: bytes, bit: int, environment: str = "records") -> None:
    """Flip one bit, counted from the end of the last place where `after` stands in the file."""
    file = store / environment / "data.mdb"
    data = bytearray(file.read_bytes())
    place = data.rfind(after) + len(after)
    assert place > len(after)
    data[place + bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)


def claim(record_id: str) -> bytes:
    """Return a claim of campaign B."""
    request = dial_pb2.ClaimRequest(list_id="list", record_id=record_id, campaign_id="B")
    return request.SerializeToString()


def test_a_sound_store_passes_and_shows_its_tables(store: Path) -> None:
    code, shown = verify(store)
    assert code == CLEAN, shown
    assert f"{RECORD_COUNT:,}" in shown


@pytest.mark.parametrize("bit", [0, 37, 77, 150])
def test_a_flipped_bit_in_a_record_is_found(store: Path, bit: int) -> None:
    flip(store, record_key(1_234), bit)
    code, shown = verify(store)
    assert (code, record_key(1_234).hex() in shown) == (DAMAGED, True), shown


def test_rows_that_changed_places_are_found(store: Path) -> None:
    """Each is whole by itself: the checksum says which key a value belongs to."""
    swap_rows(store / "records", "records", record_key(7), record_key(8))
    code, shown = verify(store)
    assert (code, record_key(7).hex() in shown) == (DAMAGED, True), shown
    engine = Engine(str(store), map_bytes=1 << 26, background=False)
    with engine, pytest.raises(Refused):
        engine.dial(CLAIM, claim("7"))


def test_a_flipped_bit_in_the_catalog_is_found_and_not_served(store: Path) -> None:
    flip(store, b"Campaign ", 1, "journal")
    assert verify(store)[0] == DAMAGED
    with pytest.raises(StoreError, match="checksum"):
        Engine(str(store), map_bytes=1 << 26, background=False)


def test_a_truncated_file_is_refused_before_it_is_read(store: Path) -> None:
    file = store / "records" / "data.mdb"
    file.write_bytes(file.read_bytes()[:40_960])
    assert verify(store)[0] == UNUSABLE
    with pytest.raises(StoreError, match="truncated"):
        Engine(str(store), map_bytes=1 << 26, background=False)


def test_a_store_in_use_or_not_there_is_not_read(store: Path) -> None:
    with Engine(str(store), map_bytes=1 << 26, background=False):
        assert verify(store)[0] == IN_USE
    code, shown = verify(store / "elsewhere")
    assert (code, "no store" in shown) == (UNUSABLE, True), shown


def test_nobody_is_answered_from_a_damaged_record(store: Path) -> None:
    flip(store, record_key(7), 40)
    with Engine(str(store), map_bytes=1 << 26, background=False) as engine:
        with engine.snapshot("list") as snapshot:
            with pytest.raises(StoreError, match="damaged"):
                snapshot.owners()
            with pytest.raises(StoreError, match="damaged"):
                snapshot.records(b"", 100)
            with pytest.raises(StoreError, match="damaged"):
                snapshot.holders(["7"])
        engine.dial(CLAIM, claim("8"))
        with pytest.raises(Refused) as caught:
            engine.dial(CLAIM, claim("7"))
        assert caught.value.code == 14  # UNAVAILABLE
        assert engine.failed is not None
        assert "checksum" in engine.failed


# ---- each file, each kind of damage: found, and never served


def rewrite(file: Path, damage: str, chance: random.Random) -> None:
    """Damage a page in the middle of a file, past LMDB's two heads."""
    data = bytearray(file.read_bytes())
    used = len(data.rstrip(b"\0")) // PAGE_BYTES
    start = chance.randrange(2, used) * PAGE_BYTES
    if damage == "bits":
        for _ in range(64):
            data[start + chance.randrange(PAGE_BYTES)] ^= 1 << chance.randrange(8)
    elif damage == "zeros":
        data[start : start + PAGE_BYTES] = bytes(PAGE_BYTES)
    else:
        data = data[:start]
    file.write_bytes(data)


def answers_of(store: Path) -> list[bytes]:
    """Return what every record and the catalog answer; raise if the store is found damaged."""
    with Engine(str(store), map_bytes=1 << 26, background=False) as engine:
        with engine.snapshot("list") as snapshot:
            owned, _ = snapshot.records(b"", 10 * RECORD_COUNT)
            holders = snapshot.holders([str(number) for number in range(RECORD_COUNT)])
        return [repr(owned).encode(), repr(holders).encode(), repr(engine.codes("", 99)).encode()]


@pytest.mark.parametrize("environment", ["journal", "records"])
@pytest.mark.parametrize("damage", ["bits", "zeros", "truncated"])
def test_a_damaged_page_is_found_or_holds_nothing_of_the_store(
    store: Path, environment: str, damage: str
) -> None:
    """A page may be free; then the store is sound, and answers as if nothing had happened."""
    sound = answers_of(store)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    file = store / environment / "data.mdb"
    whole = file.read_bytes()
    found = 0
    for number in range(8):
        file.write_bytes(whole)
        rewrite(file, damage, random.Random(seed + number))
        code, shown = verify(store)
        found += code != CLEAN
        if code == CLEAN:
            assert answers_of(store) == sound, shown
        whole = whole if code != CLEAN else file.read_bytes()
    assert found > 0 or damage != "truncated"


def test_a_damaged_store_is_not_served(store: Path) -> None:
    flip(store, record_key(1_234), 37)
    with pytest.raises(ServerDidNotStart) as failure:
        ServerProcess(store).start()
    assert failure.value.exit_code == DAMAGED
    assert "restore a copy" in failure.value.log_text
    with ServerProcess(store, "--no-verify-at-start") as server:
        assert server.stop() == 0


def killed(engine: Engine, store: Path) -> None:
    """Close an engine, then leave its files as a kill would have left them."""
    files = {name: (store / name / "data.mdb").read_bytes() for name in ("journal", "records")}
    engine.close()
    for name, content in files.items():
        (store / name / "data.mdb").write_bytes(content)
    assert verify(store)[0] == CLEAN


def test_a_journal_with_a_gap_is_refused(tmp_path: Path) -> None:
    engine = Engine(str(tmp_path), map_bytes=1 << 26, background=False)
    engine.create_list("list", FOREVER)
    for number in range(20):
        engine.dial(CLAIM, claim(str(number)))
    killed(engine, tmp_path)
    edit(tmp_path / "journal", "journal", "txn.delete(keys[0])", (12).to_bytes(8, "big"))
    assert verify(tmp_path)[0] == DAMAGED
    with pytest.raises(StoreError, match="journal"):
        Engine(str(tmp_path), map_bytes=1 << 26, background=False)


@pytest.mark.parametrize(("part", "last"), [(0, True), (4, True), (-1, True), (-1, False)])
def test_a_group_in_the_journal_that_lacks_a_part_is_refused(
    tmp_path: Path, part: int, last: bool
) -> None:
    engine = Engine(str(tmp_path), map_bytes=1 << 26, background=False)
    engine.create_list("list", FOREVER)
    batch = dial_pb2.ClaimBatchRequest(list_id="list", campaign_id="B")
    batch.record_ids.extend(str(number) for number in range(3_000))
    engine.dial(CLAIM_BATCH, batch.SerializeToString())
    group = engine.revision.to_bytes(8, "big")
    if not last:
        engine.dial(CLAIM, claim("new"))
    killed(engine, tmp_path)
    # A record has 13 bytes of key, 24 of value and 2 of sizes; parts end behind 16,000 bytes.
    parts = -(-3_000 // -(-16_000 // 39))
    number = part % parts
    key = group + (number.to_bytes(2, "big") if number else b"")
    edit(tmp_path / "journal", "journal", "txn.delete(keys[0])", key)
    assert verify(tmp_path)[0] == DAMAGED
    with pytest.raises(StoreError, match="journal"):
        Engine(str(tmp_path), map_bytes=1 << 26, background=False)


def swap_rows(path: Path, table: str, *keys: bytes) -> None:
    """Exchange the values of two rows behind the store's back."""
    edit(path, table, "a, b = map(txn.get, keys); txn.put(keys[0], b), txn.put(keys[1], a)", *keys)


def edit(path: Path, table: str, change: str, *keys: bytes) -> None:
    """Change rows behind the store's back, in a process of its own."""
    code = (
        "import lmdb, sys; env = lmdb.open(sys.argv[1], max_dbs=16); "
        "db = env.open_db(sys.argv[2].encode(), create=False); "
        "keys = [bytes.fromhex(key) for key in sys.argv[3:]]; txn = env.begin(db, write=True); "
        "assert all(txn.get(key) is not None for key in keys); "
        f"{change}; txn.commit()"
    )
    command = [sys.executable, "-c", code, str(path), table, *(key.hex() for key in keys)]
    subprocess.run(command, check=True, timeout=60)
