"""Whose files are opened: a copy begins a new incarnation, a restart never does."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ownerd.engine.engine import Engine, Opening, Policy, StoreError
from ownerd.storage.verify import verify

HELD = Policy(True, None, None, 86_400 * 10**9)
SPAN = 2**44  # of the revisions of an incarnation
MAP_BYTES = 1 << 26


def visit(store: Path, campaign_id: str = "") -> tuple[list[str], int, int]:
    """Open a store and change something in it; return what was told, revision and incarnation."""
    opening = Opening()
    with Engine(str(store), map_bytes=MAP_BYTES, background=False, opening=opening) as engine:
        revision = engine.revision
        if campaign_id:
            engine.upsert_campaign(campaign_id, "")
        return [event for event, _ in opening.found], revision, engine.incarnation


def campaigns(store: Path) -> list[str]:
    """Return what campaigns a store knows."""
    with Engine(str(store), map_bytes=MAP_BYTES, background=False) as engine:
        return [campaign_id for campaign_id, *_ in engine.campaigns("", 100)]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A closed store."""
    with Engine(str(tmp_path / "store"), map_bytes=MAP_BYTES, background=False) as engine:
        engine.create_list("list", HELD)
        engine.upsert_campaign("first", "")
    return tmp_path / "store"


def test_a_restart_never_begins_an_incarnation(store: Path) -> None:
    _, _, incarnation = visit(store)
    for number in range(4):
        told, revision, found = visit(store, f"campaign {number}")
        assert (told, found) == ([], incarnation)
        assert revision < SPAN
    moved = store.with_name("moved")
    store.rename(moved)
    assert visit(moved)[0] == []
    verify(str(moved))
    (moved / "LOCK").unlink()
    for part in ("journal", "records"):
        (moved / part / "lock.mdb").unlink()
    assert visit(moved)[::2] == ([], incarnation)


def test_a_restart_after_a_kill_begins_none(store: Path) -> None:
    """The files stay; only what a clean stop would have written is missing."""
    engine = Engine(str(store), map_bytes=MAP_BYTES, background=False)
    engine.upsert_campaign("late", "")
    files = [store / part / "data.mdb" for part in ("journal", "records")]
    killed = [file.read_bytes() for file in files]
    engine.close()
    for file, data in zip(files, killed, strict=True):
        file.write_bytes(data)
    assert visit(store)[0] == []
    assert campaigns(store) == ["first", "late"]


def put_back_whole(store: Path, backup: Path) -> None:
    """Restore the directory in the place of the one that is there."""
    shutil.rmtree(store)
    shutil.copytree(backup, store)


def put_back_files(store: Path, backup: Path) -> None:
    """Write both data files into those that are there, as `cp` does."""
    for part in ("journal", "records"):
        (store / part / "data.mdb").write_bytes((backup / part / "data.mdb").read_bytes())


def put_back_every_file(store: Path, backup: Path) -> None:
    """Write every file of the backup into those that are there, the marks too."""
    for path in backup.rglob("*"):
        if path.is_file():
            (store / path.relative_to(backup)).write_bytes(path.read_bytes())


def put_back_in_exchange(store: Path, backup: Path) -> None:
    """Put files in the place of those that are there, as `rsync` does."""
    for part in ("journal", "records"):
        shutil.copy2(backup / part / "data.mdb", store / part / "new")
        os.replace(store / part / "new", store / part / "data.mdb")


@pytest.mark.parametrize(
    "put_back", [put_back_whole, put_back_files, put_back_every_file, put_back_in_exchange]
)
def test_a_restored_copy_begins_a_new_incarnation_and_says_so(
    store: Path, put_back: Callable[[Path, Path], None]
) -> None:
    backup = store.with_name("backup")
    shutil.copytree(store, backup)
    _, _, incarnation = visit(store, "later")
    put_back(store, backup)
    told, revision, found = visit(store, "anew")
    assert told == ["new_incarnation"]
    assert revision == SPAN
    assert found != incarnation
    assert [row for row in verify(str(store)) if row[2] or row[4]] == []
    assert visit(store) == ([], SPAN + 1, found)
    assert campaigns(store) == ["anew", "first"]


def test_a_copy_of_a_copy_begins_another_one_also_with_changes_not_yet_flushed(store: Path) -> None:
    """What only the journal holds is replayed over the begin of one incarnation, or of several."""
    incarnations = {visit(store)[2]}
    for number in range(1, 5):
        copy = store.with_name(f"copy {number}")
        with Engine(str(store), map_bytes=MAP_BYTES, background=False) as engine:
            engine.import_rows("list", [(f"row {number}", "A", "", None)], 1)
            assert engine.stats()["flushed_revision"] < engine.revision
            shutil.copytree(store, copy)
        assert [row for row in verify(str(copy)) if row[2] or row[4]] == []
        with Engine(str(copy), map_bytes=MAP_BYTES, background=False) as engine:
            assert engine.revision == number * SPAN
            incarnations.add(engine.incarnation)
            with engine.snapshot("list") as snapshot:
                assert len(snapshot.records(b"", 100)[0]) == number
            shutil.copytree(copy, copy.with_name(f"killed {number}"))
        store = copy
    assert len(incarnations) == 5
    # The last copy was killed right after it began: all that is replayed lies before.
    killed = store.with_name("killed 4")
    assert [row for row in verify(str(killed)) if row[2] or row[4]] == []
    with Engine(str(killed), map_bytes=MAP_BYTES, background=False) as engine:
        assert engine.revision == 5 * SPAN
        with engine.snapshot("list") as snapshot:
            assert len(snapshot.records(b"", 100)[0]) == 4
        engine.vacuum()
        assert engine.stats()["flushed_revision"] == engine.revision


@pytest.mark.parametrize("part", ["journal", "records"])
def test_half_a_restore_is_refused(store: Path, part: str) -> None:
    backup = store.with_name("backup")
    shutil.copytree(store, backup)
    visit(store)
    shutil.copy(backup / part / "data.mdb", store / part / "data.mdb")
    with pytest.raises(StoreError, match="not of one day"):
        Engine(str(store), map_bytes=MAP_BYTES, background=False)
    assert any("not of one day" in (row[4] or "") for row in verify(str(store)))


def test_a_session_that_was_cut_off_at_any_step_is_no_copy(store: Path) -> None:
    """The file SESSION may still be the one before, or be missing if there was none."""
    visit(store)
    (store / "SESSION.new").write_text("left by a power cut")
    assert visit(store)[0] == []
    assert sorted(path.name for path in store.iterdir()) == [
        "LOCK",
        "SESSION",
        "journal",
        "records",
    ]


def as_written_before(store: Path) -> None:
    """Rewrite the rows of a closed store that know of sessions, as the version before wrote them.

    A row ends with the CRC-32C of its key and value.
    """
    code = (
        "import lmdb, struct, sys\n"
        "from ownerd.base.testing import checksum\n"
        "for part, size, at in (('journal', 40, 36), ('records', 24, 16)):\n"
        "    env = lmdb.open(f'{sys.argv[1]}/{part}', max_dbs=16)\n"
        "    table = env.open_db(b'meta', create=False)\n"
        "    with env.begin(table, write=True) as txn:\n"
        "        row = bytearray(txn.get(b'state')[:size])\n"
        "        row[at : at + 4] = struct.pack('<I', 2)\n"
        "        crc = checksum(b'state' + row)\n"
        "        txn.put(b'state', bytes(row) + struct.pack('<I', crc))\n"
        "        txn.delete(b'session')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(store)], check=True, timeout=60)
    (store / "SESSION").unlink()


def test_a_store_of_the_version_before_is_opened_as_it_is(store: Path) -> None:
    revision = visit(store)[1]
    as_written_before(store)
    assert [row for row in verify(str(store)) if row[2] or row[4]] == []
    told, found, incarnation = visit(store)
    assert (told, found) == ([], revision)
    assert [row for row in verify(str(store)) if row[2] or row[4]] == []
    assert visit(store, "new") == ([], revision, incarnation)
    assert campaigns(store) == ["first", "new"]
    backup = store.with_name("backup")
    shutil.copytree(store, backup)
    assert visit(backup)[0] == ["new_incarnation"]
