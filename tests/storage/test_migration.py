"""A store of a former format becomes one of today's: all of it, once, whatever interrupts it."""

import fcntl
import os
import random
import resource
import shutil
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from former_store import (
    SESSION,
    STATE,
    TREE_STATE,
    Place,
    change,
    contents,
    migrating,
    read_rows,
    seen,
    text_of,
    write,
)
from subject_engine import EngineSubject

from ownerd.engine.engine import Engine, Opening, StoreError, StoreInUseError
from ownerd.storage.migration import Migrated, check_former, is_former, migrate
from ownerd.storage.verify import verify

S = 10**9
MAP_BYTES = 1 << 30
NOW_NS = 1_750_000_070 * S
LISTS = ["forever", "list", "off"]
RECORDS = [*map(str, range(1, 10)), "name"]
REVISION = 29  # of the store of format 3, and what it is flushed up to
FLUSHED = 16
NO_MARKS = bytes(16 * 4)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of format 3, closed."""
    return write(text_of(3), tmp_path / "store")


def run(store: Path, **options: Any) -> Migrated | None:
    return migrate(str(store), map_bytes=MAP_BYTES, step_rows=4, **options)


def shown(store: Path) -> dict[str, Any]:
    """Open a store, and return all that it shows."""
    subject = EngineSubject(store, NOW_NS)
    try:
        return seen(subject, LISTS, RECORDS)
    finally:
        subject.close()


def damage(store: Path) -> list[tuple[Any, ...]]:
    return [row for row in verify(str(store)) if row[2] or row[4]]


def opened(store: Path) -> tuple[list[str], int]:
    """Open a store; return what it warns of, and the revision of its incarnation's begin."""
    opening = Opening(create=False)
    with Engine(str(store), map_bytes=MAP_BYTES, background=False, opening=opening) as engine:
        return [event for event, _ in opening.found], engine.revision


def names(store: Path) -> set[str]:
    return {path.name for path in store.iterdir()} - {"LOCK"}


def as_format_2(store: Path) -> None:
    """Rewrite what differs in a store of format 2, which knew no sessions."""
    rows = read_rows(text_of(3))
    state, tree = bytearray(rows[STATE][:40]), bytearray(rows[TREE_STATE][:24])
    state[36:40] = tree[16:20] = struct.pack("<I", 2)
    later = (Place("journal", table, b"") for table in ("dialers", "give_backs", "holders"))
    assert not {place.table for place in rows} & {place.table for place in later}
    change(store, {STATE: bytes(state), TREE_STATE: bytes(tree), SESSION: None})


# --- all of it ------------------------------------------------------------------------------------


def test_a_store_of_format_2_begins_its_sessions(store: Path) -> None:
    as_format_2(store)
    migrated = run(store)
    assert migrated is not None and migrated.former_format == 2
    assert (names(store), damage(store)) == ({"log", "records"}, [])
    assert opened(store) == ([], REVISION)
    copy = store.with_name("copy")
    shutil.copytree(store, copy)
    assert opened(copy)[0] == ["new_incarnation"]


def test_it_is_done_once(store: Path) -> None:
    assert is_former(str(store))
    assert run(store) is not None
    before = contents(store)
    assert not is_former(str(store))
    assert run(store) is None
    assert contents(store) == before


def with_marks(store: Path) -> None:
    """Have a store's session name the files that it is in, and no file SESSION."""
    row = bytearray(read_rows(text_of(3))[SESSION])
    row[16:80] = NO_MARKS
    for place, part in ((16, "journal"), (32, "records")):
        row[place : place + 8] = (store / part / "data.mdb").stat().st_ino.to_bytes(8, "little")
    change(store, {SESSION: bytes(row)})
    (store / "SESSION").write_text("as it was")


def copied(store: Path, part: str) -> None:
    """Have a copy in the place of a data file."""
    data = store / part / "data.mdb"
    shutil.copy(data, store / "copy")
    os.replace(store / "copy", data)


def test_a_store_in_its_own_files_goes_on_with_its_revisions(store: Path) -> None:
    with_marks(store)
    run(store)
    assert opened(store) == ([], REVISION)
    assert opened(store) == ([], REVISION)


@pytest.mark.parametrize("part", ["journal", "records"])
def test_a_copy_is_known_after_it_was_migrated(store: Path, part: str) -> None:
    with_marks(store)
    copied(store, part)
    run(store)
    told, revision = opened(store)
    assert told == ["new_incarnation"]
    assert revision >= 2**44
    assert opened(store) == ([], revision)


def test_a_file_of_the_session_before_the_last_one_says_that_it_is_a_copy(store: Path) -> None:
    with_marks(store)
    row = bytearray(read_rows(text_of(3))[SESSION])
    row[8:16] = row[:8]
    row[16:80] = NO_MARKS
    row[48] = 1  # the last stamp was another file; the one before is not known
    change(store, {SESSION: bytes(row)})
    run(store)
    assert opened(store)[0] == ["new_incarnation"]


def test_a_session_that_was_cut_off_goes_on(store: Path) -> None:
    """The records knew of the session before, the journal of the one to come."""
    with_marks(store)
    row = read_rows(text_of(3))[TREE_STATE]
    session = bytearray(read_rows(text_of(3))[SESSION])
    session[:8], session[8:16] = struct.pack("<Q", 77), row[24:32]
    session[16:80] = NO_MARKS
    change(store, {SESSION: bytes(session)})
    run(store)
    assert opened(store) == ([], REVISION)


# --- cut off --------------------------------------------------------------------------------------


def check_cut_off(store: Path, journal: bytes) -> bool:
    """Check what a cut left; return whether the former store is still the one that counts."""
    if (store / "journal").exists():
        assert (store / "journal" / "data.mdb").read_bytes() == journal
    if not (store / "MIGRATING").exists() and not (store / "journal").exists():
        return False  # it was all but its end
    is_whole = b"Step 4" not in (store / "MIGRATING").read_bytes()
    if is_whole:
        assert [row for row in check_former(str(store)) if row[2] or row[4]] == []
    for attempt in (lambda: opened(store), lambda: verify(str(store))):
        with pytest.raises(StoreError, match="ownerd migrate"):
            attempt()
    return is_whole


def test_r18_a_migration_that_is_killed_at_any_step_loses_nothing_and_goes_on(store: Path) -> None:
    whole = store.with_name("whole")
    shutil.copytree(store, whole)
    run(whole)
    expected = shown(whole)
    journal = (store / "journal" / "data.mdb").read_bytes()
    counted = {True: 0, False: 0}
    for passes in range(200):
        cut = store.with_name(f"cut {passes}")
        shutil.copytree(store, cut)
        ended = killed_after(cut, passes)
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        counted[check_cut_off(cut, journal)] += 1
        killed_after(cut, random.randrange(passes + 1))
        if is_former(str(cut)):
            assert run(cut) is not None
        assert (names(cut), damage(cut)) == ({"log", "records"}, [])
        assert shown(cut) == expected
        shutil.rmtree(cut)
    print(counted)
    assert counted[True] > 30 and counted[False] >= 3


def killed_after(store: Path, passes: int) -> int:
    environment = {**os.environ, "OWNERD_FAILPOINT": f"in_migration:{passes}"}
    return migrating(store, MAP_BYTES, env=environment).returncode


def test_what_the_former_version_changes_after_a_cut_is_migrated(store: Path) -> None:
    """It begins again: rows that were copied and went since are not there."""
    template = store
    for passes in range(100):
        store = template.with_name(f"cut {passes}")
        shutil.copytree(template, store)
        killed_after(store, passes)
        if b"Step 3" in (store / "MIGRATING").read_bytes():
            break
    rows = read_rows(text_of(3))
    gone = Place("journal", "audit", (1).to_bytes(8, "big"))
    kept = Place("journal", "audit", (2).to_bytes(8, "big"))
    new = Place("journal", "audit", (99).to_bytes(8, "big"))
    change(store, {gone: None, kept: rows[kept] + b" again", new: rows[kept]})
    run(store)
    subject = EngineSubject(store, NOW_NS)
    entries = subject.engine.audit(2**63 - 1, 99)
    subject.close()
    assert [entry[0] for entry in entries] == [99, *range(16, 1, -1)]
    assert entries[-1][4] == b"test again"


# --- refused, and nothing is changed --------------------------------------------------------------


def altered(place: Place, at: int, value: bytes) -> Callable[[Path], None]:
    """Return a change of some bytes of a row, whose checksum is right."""
    row = bytearray(read_rows(text_of(3))[place])
    row[at : at + len(value)] = value
    return lambda store: change(store, {place: bytes(row)})


def torn(place: Place) -> Callable[[Path], None]:
    """Return a change of a row's checksum."""
    return lambda store: change(store, {place: read_rows(text_of(3))[place]}, torn=True)


def first_of(table: str, part: str = "journal") -> Place:
    return next(place for place in read_rows(text_of(3)) if place[:2] == (part, table))


def row_of_log(revision: int) -> Place:
    return Place("journal", "journal", revision.to_bytes(8, "big"))


def truncate(part: str) -> Callable[[Path], None]:
    def cut(store: Path) -> None:
        data = store / part / "data.mdb"
        os.truncate(data, data.stat().st_size - 4_096)

    return cut


def log_with_entry(store: Path) -> None:
    """Have a log that holds something beside a store of before."""
    other = store.with_name("other")
    with Engine(str(other), map_bytes=MAP_BYTES, background=False) as engine:
        engine.upsert_campaign("A", "A")
    shutil.copytree(other / "log", store / "log")


def with_creating(store: Path) -> None:
    """Have something that says that the store is being made."""
    (store / "CREATING" / "journal").mkdir(parents=True)


def with_leftover(store: Path) -> None:
    """Have a former log of a migration that ended, beside a store of before."""
    shutil.copytree(store / "journal", store / "journal.migrated")


TABLES = ("audit", "campaigns", "codes", "events", "journal", "lists", "principals", "requests")
FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    **{table: (torn(first_of(table)), "damaged") for table in TABLES},
    "record": (torn(first_of("records", "records")), "damaged"),
    "state": (torn(STATE), "checksum"),
    "tree state": (torn(TREE_STATE), "checksum"),
    "session": (torn(SESSION), "checksum"),
    "newer": (altered(STATE, 36, struct.pack("<I", 6)), "has format 6"),
    "older": (altered(STATE, 36, struct.pack("<I", 1)), "has format 1"),
    "tree format": (altered(TREE_STATE, 16, struct.pack("<I", 9)), "has format 9"),
    "other store": (altered(TREE_STATE, 8, b"stranger"), "of two stores"),
    "other day": (altered(TREE_STATE, 24, b"stranger"), "not of one day"),
    "behind": (altered(STATE, 0, struct.pack("<Q", FLUSHED - 1)), "ends at revision 15"),
    "cut": (altered(STATE, 0, struct.pack("<Q", REVISION + 1)), "does not hold revisions"),
    "goes on": (altered(STATE, 0, struct.pack("<Q", REVISION - 1)), "goes on behind"),
    "gap": (lambda store: change(store, {row_of_log(FLUSHED + 3): None}), "damaged"),
    "no begin": (lambda store: change(store, {row_of_log(FLUSHED + 1): None}), "does not hold"),
    "no end": (lambda store: change(store, {row_of_log(REVISION): None}), "does not hold"),
    "part": (altered(row_of_log(FLUSHED + 1), 8, b"\1"), "damaged"),
    "count": (altered(row_of_log(FLUSHED + 1), 4, b"\7"), "damaged"),
    "version": (altered(row_of_log(FLUSHED + 1), 0, b"\3"), "damaged"),
    "strange table": (
        lambda store: change(store, {Place("journal", "novelties", b"key"): b"row"}),
        "novelties",
    ),
    "short journal": (truncate("journal"), "truncated|damaged"),
    "short records": (truncate("records"), "truncated|damaged"),
    "no journal": (lambda store: (store / "journal" / "data.mdb").unlink(), "cannot be read"),
    "no records": (lambda store: shutil.rmtree(store / "records"), "cannot be read"),
    "lost journal": (lambda store: shutil.rmtree(store / "journal"), "half a store"),
    "log": (log_with_entry, "holds changes"),
    "creating": (with_creating, "nothing was deleted"),
    "leftover": (with_leftover, "journal.migrated"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_what_is_wrong_with_a_store_is_found_before_anything_is_changed(
    store: Path, what: str
) -> None:
    fault, said = FAULTS[what]
    fault(store)
    before = contents(store)
    ended = migrating(store)
    assert ended.returncode == 1 and "StoreError" in ended.stderr, ended
    with pytest.raises(StoreError, match=said):
        run(store)
    assert contents(store) == before


def test_a_former_log_of_another_store_is_not_taken_for_what_is_left(store: Path) -> None:
    other = store.with_name("other")
    shutil.copytree(store, other)
    run(store)
    shutil.copytree(other / "journal", store / "journal")
    before = contents(store)
    for marked in (False, True):
        if marked:
            (store / "MIGRATING").touch()
            change(store, {STATE: read_rows(text_of(3))[STATE].replace(b"\x1d", b"\x1c", 1)})
            before = contents(store)
        with pytest.raises(StoreError, match="do not belong together"):
            run(store)
        assert contents(store) == before


def test_a_newer_store_is_refused_by_its_format(store: Path) -> None:
    run(store)
    data = store.with_name("data")
    with Engine(str(data), map_bytes=MAP_BYTES, background=False):
        pass
    change(
        store, {TREE_STATE: struct.pack("<QQqQIIQQQQ", 29, 1, 0, 1, 1, 6, 1, 0, 0, 9) + bytes(8)}
    )
    before = contents(store)
    for attempt in (lambda: run(store), lambda: opened(store)):
        with pytest.raises(StoreError, match="has format 6"):
            attempt()
    assert contents(store) == before


def test_one_that_is_not_there_or_another_one_is_refused(store: Path) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        run(store.with_name("missing"))
    assert not store.with_name("missing").exists()
    before = contents(store)
    with pytest.raises(StoreError, match="it is another store"):
        run(store, store_id=1)
    assert contents(store) == before
    store_id = struct.unpack_from("<Q", read_rows(text_of(3))[STATE], 8)[0]
    assert run(store, store_id=store_id) is not None


@pytest.mark.parametrize("locked", [".", "LOCK", "journal/data.mdb", "records/data.mdb"])
def test_a_store_that_is_in_use_is_refused(store: Path, locked: str) -> None:
    (store / "LOCK").touch()
    before = contents(store)
    fd = os.open(store / locked, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        for attempt in (lambda: run(store), lambda: check_former(str(store))):
            with pytest.raises(StoreInUseError):
                attempt()
    finally:
        os.close(fd)
    assert contents(store) == before
    assert run(store) is not None


# --- no space -------------------------------------------------------------------------------------


@pytest.fixture
def large(store: Path) -> Path:
    """The store with so many entries of the audit that they do not fit into a small map."""
    row = read_rows(text_of(3))[first_of("audit")] + b"x" * 2_000
    change(store, {Place("journal", "audit", n.to_bytes(8, "big")): row for n in range(17, 1_017)})
    return store


def test_a_map_that_is_too_small_is_said_and_nothing_is_lost(large: Path) -> None:
    ended = migrating(large, map_bytes=1 << 20)
    assert ended.returncode == 1 and "set map_bytes higher" in ended.stderr
    assert [row for row in check_former(str(large)) if row[2] or row[4]] == []
    assert run(large) is not None
    assert len(audit(large)) == 1_016


def test_a_disk_that_is_full_is_said_and_nothing_is_lost(large: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    ended = migrating(large, preexec_fn=limit)
    assert ended.returncode == 1 and "no space on the disk" in ended.stderr
    assert [row for row in check_former(str(large)) if row[2] or row[4]] == []
    assert run(large) is not None
    assert len(audit(large)) == 1_016


def audit(store: Path) -> list[tuple[Any, ...]]:
    subject = EngineSubject(store, NOW_NS)
    try:
        return subject.engine.audit(2**63 - 1, 9_999)
    finally:
        subject.close()
