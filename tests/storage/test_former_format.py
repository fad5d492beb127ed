"""A store of format 3 is migrated with all that was in it: who holds what does not change.

`support/store_format_3.txt` has its rows, as they were when it was killed 70 seconds after
START_NS. The record tree has what happened until second 10, the journal all that came after:

    0   list "list" (an hour), "forever" and "off" (not enabled); A is "Spring", B "Autumn"; codes
        "busy" (no attempt, beside Busy) and "Sold"; A gets 1 and 2, B "name", of "list"; A claims 3
    10  import into "forever": 1 for A, 2 for B until 5000, 3 for C ("Winter"), 5 for A until 200,
        who claims it, too
    20  6 of "forever" is B's until 250, who claims it; B claims 4 of "list", C gets 5
    30  2 of "list" is released
    40  C's records of "list" are released
    50  C gets 6 of "list"; the duration becomes two hours
    60  B gets 7 of "list" and claims 4 of "forever"; B is stopped there, and claims 6 again; a
        principal "boss"

`support/store_format_4.txt` has those of a store of format 4, killed at KILLED_4_NS,
and `store_format_4.json` all that it showed then. It was copied at second 20, so that a second
incarnation began, and nothing was flushed since. It has a list that shares its ownership, one that
was deleted, dialers, one of whom gave back, a group that is cut into parts, releases whose records
were not counted yet, a transfer and an import.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from former_store import (
    KILLED_4_NS,
    LISTS_4,
    RECORDS_4,
    contents,
    of_a_copy,
    seen,
    text_of,
    told_again,
    write,
)
from google.protobuf.timestamp_pb2 import Timestamp
from subject_engine import EngineSubject

from ownerd.engine.engine import REPORT_ATTEMPT, Refused
from ownerd.native import RIGHTS
from ownerd.server.principals import Grant, Principal
from ownerd.storage.directory import StoreError
from ownerd.storage.migration import migrate
from ownerd.storage.verify import verify
from ownerd.v1 import dial_pb2

S = 10**9
MAP_BYTES = 1 << 30
START_NS = 1_750_000_000 * S
RECORDS = ("1", "2", "3", "4", "5", "6", "7", "name")
BOSS_MAY = (Grant(RIGHTS["view"], ("list",)),)
Holds = dict[str, tuple[Any, ...]]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The store of format 3, migrated."""
    path = write(text_of(3), tmp_path / "store")
    migrated = migrate(str(path), map_bytes=MAP_BYTES)
    assert migrated is not None
    assert (migrated.former_format, migrated.format, migrated.revision) == (3, 5, 29)
    assert migrated.replayed_count == 13
    return path


def damage(store: Path) -> list[tuple[Any, ...]]:
    return [row for row in verify(str(store)) if row[2] or row[4]]


def second(time_ns: int | None) -> int | None:
    """Return a time as a second after START_NS, to the nearest; None: no end."""
    return None if time_ns is None else round((time_ns - START_NS) / S)


def holds(subject: EngineSubject, list_id: str) -> Holds:
    """Return each held record's kind, campaign, begin, end, last attempt and end of reservation."""
    held = {record_id: subject.holder(list_id, record_id) for record_id in RECORDS}
    return {
        record_id: (
            found.kind,
            found.campaign_id,
            second(found.acquire_ns),
            second(found.expire_ns),
            second(found.last_attempt_ns),
            second(found.reserved_until_ns),
        )
        for record_id, found in held.items()
        if found is not None
    }


def owned(subject: EngineSubject, list_id: str) -> list[str]:
    return [row.record_id for row in subject.owned(list_id)]


AT_70: dict[str, Holds] = {
    "list": {
        "1": ("OWNED", "A", 0, 7250, 0, None),
        "3": ("RESERVED", "A", 0, 300, None, 300),
        "4": ("RESERVED", "B", 20, 320, None, 320),
        "6": ("OWNED", "C", 50, 7250, 50, None),
        "7": ("OWNED", "B", 60, 7260, 60, None),
        "name": ("OWNED", "B", 0, 7250, 0, None),
    },
    "forever": {
        "1": ("OWNED", "A", 10, None, 10, None),
        "2": ("OWNED", "B", 10, 5000, 10, None),
        "3": ("OWNED", "C", 10, None, 10, None),
        "5": ("OWNED", "A", 10, 200, 10, 310),
        "6": ("OWNED", "B", 20, 250, 20, 360),
    },
    "off": {},
}


def test_as_it_is_it_is_refused_and_the_way_on_is_named(tmp_path: Path) -> None:
    path = write(text_of(3), tmp_path / "store")
    before = contents(path)
    for attempt in (lambda: EngineSubject(path, START_NS), lambda: verify(str(path))):
        with pytest.raises(StoreError, match="ownerd migrate --data"):
            attempt()
    assert contents(path) == before


@pytest.mark.parametrize("settled", [False, True])
def test_who_holds_what_is_as_it_was(store: Path, settled: bool) -> None:
    assert damage(store) == []
    subject = EngineSubject(store, START_NS + 70 * S)
    for _ in range(2):
        if settled:
            subject.vacuum()
        assert {list_id: holds(subject, list_id) for list_id in AT_70} == AT_70
        subject.reopen()
    subject.advance_ns(START_NS + 305 * S - subject.now_ns())
    assert owned(subject, "list") == ["1", "6", "7", "name"]
    assert owned(subject, "forever") == ["1", "2", "3"]
    assert holds(subject, "forever")["5"] == ("RESERVED", "A", 10, 310, 10, 310)
    subject.advance_ns(START_NS + 7_255 * S - subject.now_ns())
    assert holds(subject, "list") == {"7": AT_70["list"]["7"]}
    assert set(holds(subject, "forever")) == {"1", "3"}
    subject.close()
    assert damage(store) == []


def test_claims_and_reports_go_on(store: Path) -> None:
    subject = EngineSubject(store, START_NS + 70 * S)
    assert [subject.claim("list", record_id, "A").what for record_id in RECORDS] == [
        *("GRANTED", "GRANTED", "GRANTED", "DENIED", "GRANTED", "DENIED", "DENIED", "DENIED")
    ]
    assert subject.claim("off", "1", "A").what == "UNCONTROLLED"
    assert subject.attempt("list", "3", "A", "Sold").what == "OWNERSHIP_ACQUIRED"
    assert subject.attempt("list", "4", "B", "busy").what == "RESERVATION_CLEARED"
    assert subject.claim("list", "4", "A", dialer_id="north").what == "GRANTED"
    late = dial_pb2.ReportAttemptRequest(
        list_id="list",
        record_id="8",
        campaign_id="B",
        wrap_up_code="Busy",
        attempt_time=Timestamp(seconds=START_NS // S + 65),
    )
    subject.engine.dial(REPORT_ATTEMPT, late.SerializeToString())
    before = {list_id: holds(subject, list_id) for list_id in AT_70}
    subject.engine.close()
    assert damage(store) == []
    again = EngineSubject(store, subject.now_ns())
    assert {list_id: holds(again, list_id) for list_id in AT_70} == before
    found = again.holder("list", "8")
    assert found is not None and second(found.acquire_ns) == 65
    again.close()


def test_what_else_the_store_knows_is_there(store: Path) -> None:
    subject = EngineSubject(store, START_NS + 70 * S)
    engine = subject.engine
    assert engine.campaigns("", 9) == [("A", "Spring"), ("B", "Autumn"), ("C", "Winter")]
    assert [found.list_id for found in engine.lists("", 9)] == ["forever", "list", "off"]
    assert [subject.policy(found).enabled for found in AT_70] == [True, True, False]
    assert subject.policy("list").duration_ns == 7_200 * S
    codes = subject.codes()
    assert len(codes) == 25
    assert (codes["busy"], codes["Sold"]) == (("Busy", False, False), ("Success", True, True))
    ((principal_id, kept),) = engine.principals()
    boss = msgspec.msgpack.decode(kept, type=Principal)
    assert (principal_id, boss.grants, boss.update_ns) == ("boss", BOSS_MAY, START_NS)
    assert told_again(engine, "release") == "OTHER_INCARNATION"  # the fixture is a copy
    assert len(engine.audit(2**63 - 1, 99)) == 16
    assert engine.pending_counts() == [13, 15]
    subject.vacuum()
    assert [row[3] for row in engine.audit(17, 4)] == [0, 2, 0, 1]
    assert engine.stats()["unsettled_event_count"] == 0
    subject.close()


def test_a_campaign_that_holds_something_is_deleted_by_force_alone(store: Path) -> None:
    """The store did not note which campaigns ever held a record of a list."""
    subject = EngineSubject(store, START_NS + 70 * S)
    subject.upsert_campaign("idle", "Idle")
    for campaign_id in ("A", "B", "C"):
        with pytest.raises(Refused, match="holds"):
            subject.engine.delete_campaign(campaign_id, force=False, note=b"test")
    subject.engine.delete_campaign("idle", force=False, note=b"test")
    subject.engine.delete_campaign("C", force=True, note=b"test")
    assert (owned(subject, "list"), owned(subject, "forever")) == (
        ["1", "7", "name"],
        ["1", "2", "5", "6"],
    )
    assert set(subject.campaigns()) == {"A", "B"}
    subject.close()


@pytest.mark.parametrize("step_rows", [1, 4_096])
def test_a_store_of_format_4_shows_what_it_showed(tmp_path: Path, step_rows: int) -> None:
    path = write(text_of(4), tmp_path / "store")
    migrated = migrate(str(path), map_bytes=MAP_BYTES, step_rows=step_rows)
    assert migrated is not None
    assert (migrated.former_format, migrated.revision) == (4, 2**44 + 18)
    assert migrated.replayed_count == 19
    assert damage(path) == []
    expected = of_a_copy(json.loads(text_of(4).with_suffix(".json").read_text()))
    subject = EngineSubject(path, KILLED_4_NS)
    assert json.loads(json.dumps(seen(subject, LISTS_4, RECORDS_4))) == expected
    for entry_id in subject.engine.pending_counts():
        subject.engine.count_released(entry_id)
    assert [row[3] for row in subject.engine.audit(11, 2)] == [2, 2]
    subject.vacuum()
    assert json.loads(json.dumps(seen(subject, LISTS_4, RECORDS_4)))["holds"] == expected["holds"]
    assert subject.claim("list", "4", "B").what == "DENIED"
    subject.close()
    assert damage(path) == []
