"""Whose files are opened: a copy begins a new incarnation, a restart never does."""

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from cut_off import CutOff, cut_off_after, log_cut_off_after
from killed import contents, data_files, kill, put_back

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
    (moved / "records" / "lock.mdb").unlink()
    assert visit(moved)[::2] == ([], incarnation)


def test_a_restart_after_a_kill_begins_none(store: Path) -> None:
    """The files stay; only what a clean stop would have written is missing."""
    engine = Engine(str(store), map_bytes=MAP_BYTES, background=False)
    engine.upsert_campaign("late", "")
    kill(engine, store)
    assert visit(store)[0] == []
    assert campaigns(store) == ["first", "late"]


def put_back_whole(store: Path, backup: Path) -> None:
    """Restore the directory in the place of the one that is there."""
    shutil.rmtree(store)
    shutil.copytree(backup, store)


def put_back_files(store: Path, backup: Path) -> None:
    """Write log and records into those that are there, as `cp` does."""
    put_back(store, contents(backup))


def put_back_every_file(store: Path, backup: Path) -> None:
    """Write every file of the backup into those that are there, the marks too."""
    for path in backup.rglob("*"):
        if path.is_file():
            (store / path.relative_to(backup)).write_bytes(path.read_bytes())


def put_back_in_exchange(store: Path, backup: Path) -> None:
    """Put files in the place of those that are there, as `rsync` does."""
    for path in data_files(backup):
        shutil.copy2(path, store / "new")
        os.replace(store / "new", store / path.relative_to(backup))


@pytest.mark.parametrize(
    "restore", [put_back_whole, put_back_files, put_back_every_file, put_back_in_exchange]
)
def test_a_restored_copy_begins_a_new_incarnation_and_says_so(
    store: Path, restore: Callable[[Path, Path], None]
) -> None:
    backup = store.with_name("backup")
    shutil.copytree(store, backup)
    _, _, incarnation = visit(store, "later")
    restore(store, backup)
    told, revision, found = visit(store, "anew")
    assert told == ["new_incarnation"]
    assert revision == SPAN
    assert found != incarnation
    assert [row for row in verify(str(store)) if row[2] or row[4]] == []
    assert visit(store) == ([], SPAN + 1, found)
    assert campaigns(store) == ["anew", "first"]


def test_a_copy_of_a_copy_begins_another_one_also_with_changes_not_yet_flushed(store: Path) -> None:
    """What only the log holds is replayed over the begin of one incarnation, or of several."""
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


@pytest.mark.parametrize(
    ("part", "why"),
    [("records", "not of one day"), ("log", "ends at revision 2, the records are at 3")],
)
def test_half_a_restore_is_refused(store: Path, part: str, why: str) -> None:
    backup = contents(store)
    visit(store, "later")
    put_back(store, {name: data for name, data in backup.items() if name.startswith(part)})
    with pytest.raises(StoreError, match=why):
        Engine(str(store), map_bytes=MAP_BYTES, background=False)
    assert any(why in (row[4] or "") for row in verify(str(store)))


@pytest.mark.parametrize("part", ["records", "log"])
def test_half_a_restore_is_refused_also_where_nothing_was_flushed_since(
    store: Path, part: str
) -> None:
    """What the log alone had would be gone, and the records cannot tell."""
    backup = contents(store)
    engine = Engine(str(store), map_bytes=MAP_BYTES, background=False)
    engine.upsert_campaign("later", "")
    assert engine.stats()["flushed_revision"] < engine.revision
    kill(engine, store)
    put_back(store, {name: data for name, data in backup.items() if name.startswith(part)})
    with pytest.raises(StoreError, match="not of one day"):
        Engine(str(store), map_bytes=MAP_BYTES, background=False)
    assert any("not of one day" in (row[4] or "") for row in verify(str(store)))


# ---- an opening that was cut off

CutOffs = Callable[[int], AbstractContextManager[CutOff]]


@pytest.mark.parametrize("cut_off", [cut_off_after, log_cut_off_after])
def test_a_session_that_was_cut_off_at_any_step_is_no_copy(store: Path, cut_off: CutOffs) -> None:
    """Whether or not it was a kill that ended the one before."""
    incarnation = visit(store)[2]
    engine = Engine(str(store), map_bytes=MAP_BYTES, background=False)
    engine.upsert_campaign("late", "")
    kill(engine, store)
    for steps in range(60):
        with cut_off(steps) as cut:
            kill(Engine(str(store), map_bytes=MAP_BYTES, background=False), store)
        assert [row for row in verify(str(store)) if row[2] or row[4]] == []
        if not cut.has_happened:
            break
    assert visit(store)[::2] == ([], incarnation)
    assert campaigns(store) == ["first", "late"]
    assert sorted(path.name for path in store.iterdir()) == ["LOCK", "SESSION", "log", "records"]


@pytest.mark.parametrize("cut_off", [cut_off_after, log_cut_off_after])
@pytest.mark.parametrize("flushed", [True, False])
def test_an_incarnation_that_was_cut_off_at_any_step_is_begun_and_told_of(
    store: Path, cut_off: CutOffs, flushed: bool
) -> None:
    """Also where its first revision is in the log, and no mark says so: then another one begins."""
    incarnations = {visit(store)[2]}
    with Engine(str(store), map_bytes=MAP_BYTES, background=False) as engine:
        engine.upsert_campaign("late", "")
        shutil.copytree(store, store.with_name("source"))
    source = store if flushed else store.with_name("source")
    for steps in range(60):
        copy = store.with_name(f"copy {steps}")
        shutil.copytree(source, copy)
        with cut_off(steps) as cut, Engine(str(copy), map_bytes=MAP_BYTES, background=False):
            pass
        if not cut.has_happened:
            return
        assert [row for row in verify(str(copy)) if row[2] or row[4]] == []
        told, revision, incarnation = visit(copy, "anew")
        assert revision in (SPAN, 2 * SPAN)
        assert told in (["new_incarnation"], [])
        assert incarnation not in incarnations
        incarnations.add(incarnation)
        assert campaigns(copy) == ["anew", "first", "late"]
        assert visit(copy)[::2] == ([], incarnation)
        shutil.rmtree(copy)
    raise AssertionError("a store is opened in fewer steps")


def test_a_store_that_was_never_opened_is_no_copy(tmp_path: Path) -> None:
    """It was made, and the power was cut before it left its first marks."""
    store = tmp_path / "store"
    for steps in range(60):
        shutil.rmtree(store, ignore_errors=True)
        with cut_off_after(steps), Engine(str(store), map_bytes=MAP_BYTES, background=False):
            pass
        if (store / "records").exists():
            break
    assert not (store / "SESSION").exists()
    moved = tmp_path / "moved"
    shutil.copytree(store, moved)
    told, revision, _ = visit(moved)
    assert (told, revision) == ([], 0)
    copy = tmp_path / "copy"
    shutil.copytree(moved, copy)
    assert visit(copy)[0] == ["new_incarnation"]
