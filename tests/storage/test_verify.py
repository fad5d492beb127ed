"""Damage at rest: `ownerd verify` finds it, and the engine never answers from it."""

import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from harness import ServerDidNotStart, ServerProcess
from killed import kill
from sanitizer import patient_s

from ownerd.base.testing import checksum
from ownerd.engine.engine import CLAIM, CLAIM_BATCH, Engine, Policy, Refused, StoreError
from ownerd.storage.verify import verify as verify_here
from ownerd.v1 import dial_pb2

FOREVER = Policy(True, None, None, 300 * 10**9)
RECORD_COUNT = 2_000
CLAIMS = 850  # more than the first two segments of a log hold
PAGE_BYTES = 4096
BLOCK, HEADER_BYTES, HEAD_BYTES = 4096, 72, 64  # of a segment and of an entry
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
    command = [sys.executable, "-m", "ownerd.server", "verify", str(store)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=patient_s(60))
    return run.returncode, run.stdout + run.stderr


def record_key(number: int) -> bytes:
    """Return the key of a record of the first list."""
    return b"\0\0\0\1\1" + (number + 2**63).to_bytes(8, "big")


def flip(store: Path, after: bytes, bit: int) -> None:
    """Flip one bit, counted from the end of the last place where `after` stands in the file."""
    file = store / "records" / "data.mdb"
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
    flip(store, b"Campaign ", 1)
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


@pytest.mark.parametrize("damage", ["bits", "zeros", "truncated"])
def test_a_damaged_page_is_found_or_holds_nothing_of_the_store(store: Path, damage: str) -> None:
    """A page may be free; then the store is sound, and answers as if nothing had happened."""
    sound = answers_of(store)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    file = store / "records" / "data.mdb"
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


# ---- the log


def segments(store: Path) -> list[Path]:
    """Return the log's files, in order."""
    return sorted((store / "log").iterdir())


def leave_killed(engine: Engine, store: Path) -> None:
    """Leave a sound store as a kill does."""
    kill(engine, store)
    assert verify(store)[0] == CLEAN


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A store that ended without a flush, with an entry for each of many claims and a large one."""
    engine = Engine(str(tmp_path), map_bytes=1 << 26, background=False)
    engine.create_list("list", FOREVER)
    for number in range(20):
        engine.dial(CLAIM, claim(str(number)))
    claim_many(engine)
    for number in range(20, 30):
        engine.dial(CLAIM, claim(str(number)))
    leave_killed(engine, tmp_path)
    return tmp_path


def claim_many(engine: Engine) -> None:
    """Have one entry of many blocks written."""
    batch = dial_pb2.ClaimBatchRequest(list_id="list", campaign_id="B")
    batch.record_ids.extend(f"many {number}" for number in range(3_000))
    engine.dial(CLAIM_BATCH, batch.SerializeToString())


def heads(segment: bytes) -> list[int]:
    """Return where entries begin, by their magic, in a segment's order."""
    blocks = range(BLOCK, len(segment), BLOCK)
    magic = segment[BLOCK : BLOCK + 4]
    return [at for at in blocks if segment[at : at + 4] == magic]


def damaged(store: Path) -> list[str]:
    """Return what is damaged."""
    return [name for name, _, count, _, error in verify_here(str(store)) if count or error]


def refused(store: Path, words: str = "log") -> None:
    """Check that damage is found and not served, and that nothing is changed by looking."""
    assert damaged(store)
    before = {path: path.read_bytes() for path in segments(store)}
    with pytest.raises(StoreError, match=words):
        Engine(str(store), map_bytes=1 << 26, background=False)
    assert {path: path.read_bytes() for path in segments(store)} == before


def test_a_store_whose_catalog_is_in_the_log_alone_is_sound(killed: Path) -> None:
    code, shown = verify(killed)
    assert code == CLEAN, shown
    rows = dict(line.split()[:2] for line in shown.splitlines() if len(line.split()) > 1)
    assert (rows["records/lists"], rows["records/campaigns"]) == ("0", "0")
    assert rows["log"] == "32"


def test_records_in_the_log_of_a_list_that_is_in_the_tree_are_sound(store: Path) -> None:
    engine = Engine(str(store), map_bytes=1 << 26, background=False)
    engine.dial(CLAIM, claim("new"))
    leave_killed(engine, store)


def test_an_entry_in_the_log_of_a_list_that_nobody_knows_is_found(killed: Path) -> None:
    """As after a fault of ours: the entry itself is right."""
    file = segments(killed)[0]
    data = bytearray(file.read_bytes())
    entries = heads(data)
    key = data.find(record_key(25), entries[-6])
    assert key > 0
    data[key + 3] = 7
    sealed(data, entries)
    file.write_bytes(data)
    assert verify(killed)[0] == DAMAGED


def sealed(data: bytearray, entries: list[int]) -> None:
    """Give every entry of a segment its checksum, and that of the one before it."""
    (seed,) = struct.unpack_from("<I", data, HEADER_BYTES - 4)
    before = 0
    for at in entries:
        (rows_bytes,) = struct.unpack_from("<Q", data, at + 16)
        struct.pack_into("<I", data, at + 8, before)
        before = checksum(bytes(data[at + 8 : at + HEAD_BYTES + rows_bytes]), seed)
        struct.pack_into("<I", data, at + 4, before)


def test_a_log_with_a_gap_is_refused(killed: Path) -> None:
    file = segments(killed)[0]
    data = bytearray(file.read_bytes())
    at = heads(data)[12]
    data[at : at + BLOCK] = bytes(BLOCK)
    file.write_bytes(data)
    refused(killed)


@pytest.mark.parametrize("block", [0, 4, -1])
@pytest.mark.parametrize("behind", ["another entry", "a clean stop", "nothing"])
def test_a_group_in_the_log_that_lacks_a_part_is_refused_unless_it_may_be_torn(
    tmp_path: Path, block: int, behind: str
) -> None:
    engine = Engine(str(tmp_path), map_bytes=1 << 26, background=False)
    engine.create_list("list", FOREVER)
    engine.dial(CLAIM, claim("before"))
    claim_many(engine)
    if behind == "another entry":
        engine.dial(CLAIM, claim("behind"))
    if behind == "a clean stop":
        engine.close()
    else:
        leave_killed(engine, tmp_path)
    file = segments(tmp_path)[0]
    data = bytearray(file.read_bytes())
    first = heads(data)[3]  # behind the opening, the list and one claim
    (rows_bytes,) = struct.unpack_from("<Q", data, first + 16)
    at = first + block % -(-(HEAD_BYTES + rows_bytes) // BLOCK) * BLOCK
    data[at : at + BLOCK] = bytes(BLOCK)
    file.write_bytes(data)
    if behind != "nothing":
        refused(tmp_path)
        return
    engine = Engine(str(tmp_path), map_bytes=1 << 26, background=False)
    with engine, engine.snapshot("list") as snapshot:
        assert [owner[3] for owner in snapshot.owners()] == [1]
    assert verify(tmp_path)[0] == CLEAN


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A store that ended without a flush, whose log has several segments."""
    engine = Engine(str(tmp_path), map_bytes=1 << 26, background=False)
    engine.create_list("list", FOREVER)
    for number in range(CLAIMS):
        engine.dial(CLAIM, claim(str(number)))
        if number % 40 == 0:
            engine.maintain()
    while list((tmp_path / "log").glob("*.new")):  # that is made now, and goes with an opening
        engine.maintain()
    assert engine.stats()["flushed_revision"] == 0
    leave_killed(engine, tmp_path)
    assert len(segments(tmp_path)) >= 3
    return tmp_path


@pytest.mark.parametrize("missing", [0, 1])
def test_a_log_that_lacks_a_segment_is_refused(long: Path, missing: int) -> None:
    segments(long)[missing].unlink()
    refused(long, "lacks segment|begins")


def test_segments_that_changed_names_are_refused(long: Path) -> None:
    first, second = segments(long)[:2]
    first.rename(long / "log" / "between")
    second.rename(first)
    (long / "log" / "between").rename(second)
    refused(long, "name of another segment")


@pytest.mark.parametrize("damage", ["bits", "zeros", "truncated"])
def test_damage_anywhere_in_a_log_is_found_or_harmless(long: Path, damage: str) -> None:
    """Harmless: behind the end, or the last entry of a server that was killed is lost."""
    sound = answers_of_log(long)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    whole = {path: path.read_bytes() for path in segments(long)}
    found = 0
    for number in range(12):
        chance = random.Random(seed + number)
        for path, content in whole.items():
            path.write_bytes(content)
        rewrite_block(chance.choice([*whole]), damage, chance)
        if not damaged(long):
            assert answers_of_log(long) == sound
            continue
        found += 1
        with pytest.raises(StoreError):
            answers_of_log(long)
    assert found > 0


def test_any_flipped_bit_of_an_entry_or_a_header_is_found(long: Path) -> None:
    """But for those of the last entry, which may be torn."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(40):
        file = chance.choice(segments(long)[:-1])
        whole = file.read_bytes()
        data = bytearray(whole)
        entry = chance.choice([0, *heads(whole)[:-1]])
        (rows_bytes,) = struct.unpack_from("<Q", whole, entry + 16)
        size = HEAD_BYTES + rows_bytes if entry else HEADER_BYTES
        place = chance.randrange(8 * size)
        data[entry + place // 8] ^= 1 << place % 8
        file.write_bytes(data)
        assert damaged(long), (file.name, entry, place)
        file.write_bytes(whole)
    assert damaged(long) == []


def rewrite_block(file: Path, damage: str, chance: random.Random) -> None:
    """Damage some bytes of a segment, or a block of it, but not of the last entry."""
    data = bytearray(file.read_bytes())
    entries = heads(data)
    used = entries[-1] if entries else BLOCK
    if damage == "bits":
        for _ in range(chance.choice((1, 1, 64))):  # where a block has something
            at = chance.randrange(0, used, BLOCK) + chance.randrange(400)
            data[at] ^= 1 << chance.randrange(8)
    elif damage == "zeros":
        start = chance.randrange(used // BLOCK) * BLOCK
        data[start : start + BLOCK] = bytes(BLOCK)
    else:
        data = data[: chance.randrange(len(data))]
    file.write_bytes(data)


def answers_of_log(store: Path) -> list[bytes]:
    """Return what a copy of the store answers, which a look does not change."""
    copy = store.with_name("copy")
    shutil.copytree(store, copy)
    try:
        engine = Engine(str(copy), map_bytes=1 << 26, background=False)
        with engine, engine.snapshot("list") as snapshot:
            holders = snapshot.holders([str(number) for number in range(CLAIMS)])
            return [repr(holders).encode(), repr(engine.codes("", 99)).encode()]
    finally:
        shutil.rmtree(copy)


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
    subprocess.run(command, check=True, timeout=patient_s(60))
