"""A new store: made whole or not at all, and never in the place of one that holds something."""

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from cut_off import CutOff, cut_off_after, log_cut_off_after

from ownerd.engine.engine import Engine, Opening, Policy, StoreError
from ownerd.storage.verify import verify

HELD = Policy(True, None, None, 86_400 * 10**9)
ROWS = [(str(number), "A", "", None) for number in range(100)]


def contents(directory: Path) -> dict[str, bytes]:
    """Return every file below a directory but locks, by path."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name not in ("LOCK", "lock.mdb")
    }


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A closed store with a list of owned records."""
    with Engine(str(tmp_path / "store"), background=False) as engine:
        engine.create_list("list", HELD)
        engine.import_rows("list", ROWS, 1)
    return tmp_path / "store"


def mark_as_file(store: Path) -> None:
    """Leave what a version of before left while it made a store."""
    (store / "CREATING").touch()


def mark_as_directory(store: Path) -> None:
    """Leave what is there while a store is made."""
    (store / "CREATING" / "log").mkdir(parents=True)


def mark_as_link(store: Path) -> None:
    """Leave a name that leads nowhere."""
    (store / "CREATING").symlink_to("nowhere")


@pytest.mark.parametrize("mark", [mark_as_file, mark_as_directory, mark_as_link])
@pytest.mark.parametrize("missing", [(), ("log",), ("records",)])
def test_nothing_that_holds_a_record_is_deleted_whatever_says_that_it_is_unfinished(
    store: Path, mark: Callable[[Path], None], missing: tuple[str, ...]
) -> None:
    for name in missing:
        shutil.rmtree(store / name)
    mark(store)
    before = contents(store)
    with pytest.raises(StoreError, match=r"nothing was deleted|half a store"):
        Engine(str(store), background=False)
    assert contents(store) == before


def test_a_store_under_the_mark_of_a_new_one_is_not_deleted(store: Path) -> None:
    (store / "CREATING").mkdir()
    for name in ("log", "records"):
        (store / name).rename(store / "CREATING" / name)
    before = contents(store)
    with pytest.raises(StoreError, match=r"nothing was deleted"):
        Engine(str(store), background=False)
    assert contents(store).items() >= before.items()


def test_an_empty_mark_is_what_a_power_cut_leaves_behind_a_new_store(store: Path) -> None:
    (store / "CREATING").mkdir()
    with Engine(str(store), background=False) as engine:
        assert [found.list_id for found in engine.lists("", 10)] == ["list"]
    assert not (store / "CREATING").exists()


@pytest.mark.parametrize("left", ["nothing", "torn records", "torn log", "half a log"])
def test_a_store_that_was_not_made_to_its_end_is_made_anew(tmp_path: Path, left: str) -> None:
    new = tmp_path / "new"
    creating = new / "CREATING"
    (creating / "records").mkdir(parents=True)
    if left == "torn records":
        (creating / "records" / "data.mdb").write_bytes(b"torn")
    if "log" in left:
        (creating / "log").mkdir()
        name = "next.new" if left == "torn log" else "00000000000000000001"
        (creating / "log" / name).write_bytes(b"OWNERLOG" + bytes(20_000))
    assert_new(new)


@pytest.mark.parametrize("cut_off", [cut_off_after, log_cut_off_after])
def test_a_store_whose_making_was_cut_off_at_any_step_is_made(
    tmp_path: Path, cut_off: Callable[[int], AbstractContextManager[CutOff]]
) -> None:
    """By a power cut; with what is at hand, or anew."""
    for steps in range(60):
        store = tmp_path / str(steps)
        with cut_off(steps) as cut, Engine(str(store), background=False):
            pass
        assert_new(store)
        if not cut.has_happened:
            return
    raise AssertionError("a store is made in fewer steps")


def assert_new(store: Path) -> None:
    """Check that a store is new, sound, and has its first incarnation."""
    opening = Opening()
    with Engine(str(store), background=False, opening=opening) as engine:
        assert engine.lists("", 10) == []
        assert engine.revision == 0
        assert "new_incarnation" not in dict(opening.found)
        engine.create_list("list", HELD)
    assert not (store / "CREATING").exists()
    assert sorted(path.name for path in store.iterdir()) == ["LOCK", "SESSION", "log", "records"]
    assert [row for row in verify(str(store)) if row[2] or row[4]] == []


def test_a_new_store_is_told_of_and_one_that_is_there_is_not(tmp_path: Path) -> None:
    for expected in (["store_created"], []):
        opening = Opening()
        with Engine(str(tmp_path / "store"), background=False, opening=opening):
            assert [event for event, _ in opening.found] == expected


@pytest.mark.parametrize("there", ["no directory", "nothing", "other files"])
def test_no_store_is_made_where_one_must_exist(tmp_path: Path, there: str) -> None:
    directory = tmp_path / "volume"
    if there != "no directory":
        directory.mkdir()
    if there == "other files":
        (directory / "lost+found").mkdir()
    with pytest.raises(StoreError, match=r"none is to be made"):
        Engine(str(directory), background=False, opening=Opening(create=False))
    assert directory.exists() == (there != "no directory")
    assert not directory.exists() or not {"log", "records", "LOCK"} & set(os.listdir(directory))


def test_a_store_of_format_1_is_refused_by_name_and_left_as_it_is(store: Path) -> None:
    """It had its records alone, and neither log nor journal."""
    shutil.rmtree(store / "log")
    before = contents(store)
    for create in (True, False):
        with pytest.raises(StoreError, match=r"half a store.* format 1"):
            Engine(str(store), background=False, opening=Opening(create=create))
    assert contents(store) == before


@pytest.mark.parametrize("file", ["records/data.mdb", "log/00000000000000000001"])
@pytest.mark.parametrize("damage", ["missing", "empty"])
def test_a_data_file_that_is_gone_is_not_begun_anew(store: Path, file: str, damage: str) -> None:
    """LMDB makes a file where it finds none, or an empty one."""
    for path in (store / file).parent.iterdir():
        if path.name != "lock.mdb":
            path.unlink()
    if damage == "empty":
        (store / file).touch()
    with pytest.raises(StoreError, match=r"restore a copy|a copy must be restored"):
        Engine(str(store), background=False)
    assert damage == "empty" or not (store / file).exists()
    assert damage == "missing" or (store / file).stat().st_size == 0


def test_a_store_of_another_id_is_refused_and_the_right_one_served(store: Path) -> None:
    with Engine(str(store), background=False) as engine:
        store_id = engine.store_id
    with pytest.raises(StoreError, match=f"{store_id:016x}"):
        Engine(str(store), background=False, opening=Opening(store_id=store_id ^ 1))
    with Engine(str(store), background=False, opening=Opening(store_id=store_id)) as engine:
        assert engine.store_id == store_id
