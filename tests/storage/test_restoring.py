"""A restore leaves no store or all of one, wherever it is cut off, and never touches one."""

import io
import os
import shutil
from pathlib import Path

import pytest
from backups import MAP_BYTES, Unpacked, archive, restored, sound
from cut_off import cut_off_after

from ownerd.backupfile import reading
from ownerd.backupfile.layout import BackupDamaged
from ownerd.engine.engine import Engine, Opening, Policy, StoreError, StoreInUseError
from ownerd.storage.restoring import Restoring

HELD = Policy(True, None, None, 86_400 * 10**9)


@pytest.fixture
def backup(tmp_path: Path) -> bytes:
    """Of a store with one list and one campaign."""
    with Engine(str(tmp_path / "source"), map_bytes=MAP_BYTES, background=False) as engine:
        engine.create_list("list", HELD)
        engine.import_rows("list", [("1", "A", "", None)], 1)
        return archive(engine.backup())


def visit(store: Path, **options: bool) -> tuple[list[str], int, int]:
    """Open a store; return what was told, its revision and incarnation."""
    opening = Opening(**options)
    with Engine(str(store), map_bytes=MAP_BYTES, background=False, opening=opening) as engine:
        with engine.snapshot("list") as snapshot:
            assert [row[:2] for row in snapshot.records(b"", 10)[0]] == [("1", "A")]
        return [event for event, _ in opening.found], engine.revision, engine.incarnation


def test_a_restored_store_begins_an_incarnation_and_two_of_one_backup_begin_two(
    tmp_path: Path, backup: bytes
) -> None:
    _, revision, incarnation = visit(tmp_path / "source")
    found = {incarnation}
    for name in ("one", "two"):
        at, begun = restored(backup, tmp_path / name)
        assert at == revision
        assert visit(tmp_path / name) == ([], 2**44, begun)
        assert sorted(os.listdir(tmp_path / name)) == ["LOCK", "SESSION", "log", "records"]
        assert sound(tmp_path / name)
        found.add(begun)
    assert len(found) == 3
    with Engine(str(tmp_path / "one"), map_bytes=MAP_BYTES, background=False) as engine:
        again = archive(engine.backup())
    restored(again, tmp_path / "three")
    assert visit(tmp_path / "three")[1] == 2 * 2**44
    # A copy of a restored one is one more.
    shutil.copytree(tmp_path / "three", tmp_path / "copy")
    assert visit(tmp_path / "copy")[:2] == (["new_incarnation"], 3 * 2**44)


def test_a_restore_that_is_cut_off_at_any_step_leaves_no_store_or_all_of_it(
    tmp_path: Path, backup: bytes
) -> None:
    seen = set()
    for steps in range(200):
        store = tmp_path / f"store {steps}"
        with cut_off_after(steps) as cut:
            restored(backup, store)
        if not cut.has_happened:
            assert seen == {"nothing", "unfinished", "whole"}
            return
        seen.add(go_on(store, backup))
        shutil.rmtree(store)
    raise AssertionError("a store is restored in fewer steps")


def go_on(store: Path, backup: bytes) -> str:
    """Open what a cut left, or restore anew; return what was there."""
    where = "whole"
    if not store.exists() or not set(os.listdir(store)) - {"LOCK"}:
        where = "nothing"
        with pytest.raises(StoreError, match="there is no store"):
            visit(store, create=False)
        restored(backup, store)
    elif (store / "RESTORING").exists():
        where = "unfinished"
        for create in (True, False):
            with pytest.raises(StoreError, match="has not ended, and there is no store"):
                visit(store, create=create)
        restored(backup, store)
    elif (store / "RESTORED").exists():
        with pytest.raises(StoreError, match="had all but ended, and has now"):
            restored(backup, store)
    told, revision, incarnation = visit(store)
    assert (told, revision) == ([], 2**44)
    assert sorted(os.listdir(store)) == ["LOCK", "SESSION", "log", "records"]
    assert sound(store)
    assert visit(store)[2] == incarnation
    return where


def test_a_store_that_is_replaced_is_there_until_the_other_one_is(
    tmp_path: Path, backup: bytes
) -> None:
    was = visit(tmp_path / "source")[2]
    seen = set()
    for steps in range(200):
        store = tmp_path / f"store {steps}"
        store.mkdir()
        for name in ("SESSION", "log", "records"):
            (tmp_path / "source" / name).rename(store / name)
        with cut_off_after(steps) as cut:
            restored(backup, store, replace=True)
        if cut.has_happened and (store / "records").exists():
            begun = visit(store, create=False)[2]
            seen.add("former" if begun == was else "other")
            assert (store / "log").is_dir()
        elif cut.has_happened:
            seen.add("aside" if (store / "REPLACED" / "records").exists() else "placed")
        if cut.has_happened and not any(
            (store / name / "records").exists() for name in ("", "RESTORED")
        ):
            with pytest.raises(StoreError, match=r"has not ended|half a store"):
                visit(store)
        restored(backup, store, replace=True)
        assert visit(store)[2] != was
        assert sorted(os.listdir(store)) == ["LOCK", "SESSION", "log", "records"]
        if not cut.has_happened:
            assert {"former", "aside"} <= seen
            return
        with Engine(str(tmp_path / "source"), map_bytes=MAP_BYTES, background=False) as engine:
            engine.create_list("list", HELD)
            engine.import_rows("list", [("1", "A", "", None)], 1)
        was = visit(tmp_path / "source")[2]
    raise AssertionError("a store is replaced in fewer steps")


def test_a_store_gets_its_place_back_where_the_other_one_fails(
    tmp_path: Path, backup: bytes
) -> None:
    was = visit(tmp_path / "source")[1:]
    with (
        pytest.raises(BackupDamaged),
        Restoring(str(tmp_path / "source"), (), replace=True) as restoring,
    ):
        reading.read(io.BytesIO(backup[:-512]), Unpacked(Path(restoring.place)))
    assert visit(tmp_path / "source")[1:] == was
    assert sorted(os.listdir(tmp_path / "source")) == ["LOCK", "SESSION", "log", "records"]


def test_an_opening_goes_on_with_a_restore_that_was_cut_off_as_it_placed_its_parts(
    tmp_path: Path, backup: bytes
) -> None:
    whole = tmp_path / "whole"
    restored(backup, whole)
    for placed in ((), ("SESSION",), ("SESSION", "log"), ("SESSION", "log", "records")):
        store = tmp_path / f"store {len(placed)}"
        (store / "RESTORED").mkdir(parents=True)
        restored(backup, store / "made")
        for name in ("SESSION", "log", "records"):
            there = store if name in placed else store / "RESTORED"
            (store / "made" / name).rename(there / name)
        shutil.rmtree(store / "made")
        assert visit(store, create=False)[:2] == ([], 2**44)
        assert sorted(os.listdir(store)) == ["LOCK", "SESSION", "log", "records"]


@pytest.mark.parametrize("part", ["log", "records", "journal", "CREATING", "MIGRATING"])
def test_nothing_is_restored_over_a_store_or_a_part_of_one(
    tmp_path: Path, backup: bytes, part: str
) -> None:
    store = tmp_path / "store"
    (store / part).mkdir(parents=True)
    (store / part / "file").write_text("of somebody")
    with pytest.raises(StoreError, match=f"already \\({part}\\); nothing was changed"):
        restored(backup, store)
    assert (store / part / "file").read_text() == "of somebody"
    assert set(os.listdir(store)) == {part, "LOCK"}


def test_other_files_in_the_directory_stay(tmp_path: Path, backup: bytes) -> None:
    (tmp_path / "store" / "lost+found").mkdir(parents=True)
    (tmp_path / "store" / "ownerd.toml").write_text("# of the operator")
    restored(backup, tmp_path / "store")
    assert {"lost+found", "ownerd.toml"} < set(os.listdir(tmp_path / "store"))
    visit(tmp_path / "store")


def test_a_directory_is_restored_into_by_one_at_a_time(tmp_path: Path, backup: bytes) -> None:
    with Restoring(str(tmp_path / "store")):
        with pytest.raises(StoreInUseError):
            restored(backup, tmp_path / "store")
        with pytest.raises(StoreInUseError):
            Engine(str(tmp_path / "store"), map_bytes=MAP_BYTES, background=False)
    assert os.listdir(tmp_path / "store") == ["LOCK"]
    with (
        Engine(str(tmp_path / "served"), map_bytes=MAP_BYTES, background=False),
        pytest.raises(StoreInUseError),
    ):
        restored(backup, tmp_path / "served")
