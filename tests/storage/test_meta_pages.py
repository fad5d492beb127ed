"""LMDB's two meta pages: a flipped bit that takes back a commit is found, and never served."""

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from sanitizer import patient_s

from ownerd.engine.engine import Engine, Policy, StoreError
from ownerd.storage.verify import verify

HELD = Policy(True, None, None, 86_400 * 10**9)
PAGE_BYTES = 4096
# Where a meta page has what, by LMDB's struct MDB_meta.
FREE_FLAGS, FREE_ROOT, MAIN_ROOT, LAST_PAGE, TRANSACTION = 44, 80, 128, 136, 144
MAP_BYTES = 1 << 26


def damage_of(store: Path) -> list[str]:
    """Return what `verify` finds damaged."""
    return [table for table, _, damaged, _, error in verify(str(store)) if damaged or error]


def killed_store(directory: Path, commits: int) -> Path:
    """Return a store as kill -9 leaves it, after so many commits more."""
    engine = Engine(str(directory), map_bytes=MAP_BYTES, background=False)
    engine.create_list("list", HELD)
    engine.import_rows("list", [(str(number), "A", "", None) for number in range(300)], 1)
    engine.vacuum()
    for number in range(commits):
        engine.import_rows("list", [(f"late {number}", "A", "", None)], 1)
        engine.vacuum()
    copy = directory.with_name("killed")
    shutil.copytree(directory, copy)
    engine.close()
    return copy


def transactions(file: Path) -> list[int]:
    """Return the numbers of the last two commits, as the pages lie."""
    data = file.read_bytes()
    return [struct.unpack_from("<Q", data, page * PAGE_BYTES + TRANSACTION)[0] for page in (0, 1)]


def flip(file: Path, page: int, offset: int, bit: int) -> None:
    """Flip one bit; the same call flips it back."""
    place = page * PAGE_BYTES + offset + bit // 8
    with file.open("r+b") as target:
        target.seek(place)
        byte = target.read(1)[0]
        target.seek(place)
        target.write(bytes([byte ^ 1 << bit % 8]))


@pytest.mark.parametrize("commits", range(1, 5))
def test_r18_a_flipped_bit_in_the_number_of_a_commit_is_found(tmp_path: Path, commits: int) -> None:
    """Also where the number becomes the one before its neighbour's, as 10 beside 9 becomes 8."""
    store = killed_store(tmp_path / "store", commits)
    file = store / "records" / "data.mdb"
    assert damage_of(store) == []
    for page in (0, 1):
        for bit in range(5):
            flip(file, page, TRANSACTION, bit)
            assert "records/data.mdb" in damage_of(store), (page, bit, transactions(file))
            with pytest.raises(StoreError, match="damaged"):
                Engine(str(store), map_bytes=MAP_BYTES, background=False)
            flip(file, page, TRANSACTION, bit)
    assert damage_of(store) == []


def test_every_sound_pair_of_numbers_is_taken_for_one(tmp_path: Path) -> None:
    """A new file, and one that was copied compactly, which begins at 1."""
    store, compact = tmp_path / "store", tmp_path / "compact"
    with Engine(str(store), map_bytes=MAP_BYTES, background=False) as engine:
        engine.create_list("list", HELD)
    code = "import lmdb, sys; lmdb.open(sys.argv[1], max_dbs=16).copy(sys.argv[2], compact=True)"
    shutil.copytree(store / "log", compact / "log")
    (compact / "records").mkdir()
    command = [sys.executable, "-c", code, *(str(each / "records") for each in (store, compact))]
    subprocess.run(command, check=True, timeout=patient_s(60))
    assert transactions(compact / "records" / "data.mdb") == [0, 1]
    assert damage_of(compact) == []
    with Engine(str(compact), map_bytes=MAP_BYTES, background=False) as engine:
        assert [found.list_id for found in engine.lists("", 10)] == ["list"]


@pytest.mark.parametrize("offset", [FREE_FLAGS, FREE_ROOT, MAIN_ROOT])
def test_a_flipped_bit_in_where_the_newest_commit_leads_to_is_found(
    tmp_path: Path, offset: int
) -> None:
    """The pages that it gave up are written over by the next commits."""
    store = killed_store(tmp_path / "store", 2)
    file = store / "records" / "data.mdb"
    numbers = transactions(file)
    page = numbers.index(max(numbers))
    for bit in range(6):
        flip(file, page, offset, bit)
        command = [sys.executable, "-m", "ownerd.server", "verify", str(store)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=patient_s(60))
        assert run.returncode in (4, 6), (bit, run)
        flip(file, page, offset, bit)


def test_a_file_that_says_that_it_got_shorter_is_refused(tmp_path: Path) -> None:
    store = killed_store(tmp_path / "store", 2)
    file = store / "records" / "data.mdb"
    numbers = transactions(file)
    page = numbers.index(max(numbers))
    place = page * PAGE_BYTES + LAST_PAGE
    data = bytearray(file.read_bytes())
    struct.pack_into("<Q", data, place, struct.unpack_from("<Q", data, place)[0] // 2)
    file.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        Engine(str(store), map_bytes=MAP_BYTES, background=False)
