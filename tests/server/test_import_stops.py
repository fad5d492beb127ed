"""Imports that stop: before any row is in force, or half-way, and then the caller is told how far.

Also what keeps an import from harming others: the bound on what is spooled, and rate limits.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from guarded_server import LIST, GuardedServer, claims, grants, status
from harness import ServerProcess
from subject import SKIP, Policy
from subject_grpc import GrpcSubject

from ownerd.native import Access, Engine, Refused
from ownerd.native import Policy as EnginePolicy
from ownerd.server import errors
from ownerd.server.admin import imports, spool
from ownerd.server.admin.context import AdminContext, Caller
from ownerd.server.admin.import_stream import ImportStream
from ownerd.server.principals import Principals
from ownerd.server.workers import Workers
from ownerd.v1 import admin_pb2

CHUNK = 5_000
ROWS = 3 * CHUNK
MIB = 1 << 20


class Stopping:
    """An engine whose import stops with an error, from some chunk on."""

    def __init__(self, engine: Engine, error: Exception, good_chunks: int) -> None:
        self._engine = engine
        self._error = error
        self._good_chunks = good_chunks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def import_rows(self, *arguments: Any, **options: Any) -> Any:
        if self._good_chunks == 0:
            raise self._error
        self._good_chunks -= 1
        return self._engine.import_rows(*arguments, **options)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(str(tmp_path / "data"), map_bytes=1 << 28) as engine:
        engine.create_list("list", EnginePolicy(True, None, None, 10**9))
        yield engine


def apply(engine: Any, place: Path, request_id: str = "") -> admin_pb2.ImportOwnershipResponse:
    """Import `ROWS` rows of campaign A, as the service does."""
    access = Access(open=True)
    caller = Caller(access.anybody(), "ipv4:127.0.0.1:1")
    spools = spool.Spools(place, 1 << 30, 0)
    context = AdminContext(engine, spools, 0, cast(Principals, None), cast(Any, None))
    stream = ImportStream(context, caller)
    rows = [
        admin_pb2.OwnershipRow(record_id=str(number), campaign_id="A") for number in range(ROWS)
    ]
    message = admin_pb2.ImportOwnershipRequest(list_id="list", rows=rows, request_id=request_id)
    stream.add([message.SerializeToString()])
    return imports.apply(context, stream, caller)


def owned(engine: Engine) -> int:
    with engine.snapshot("list") as snapshot:
        return int(snapshot.count_owned())


CAUSES = [
    (Refused(8, "the store is full; nothing was changed: ...", 0, "STORE_FULL"), "store is full"),
    (Refused(14, "the server is stopping", 0, "DRAINING"), "is stopping"),
    (Refused(5, "there is no list", 0, "LIST_NOT_FOUND"), "the list was deleted"),
    (Refused(14, "the outcome is unknown", 0, "STORAGE_FAILED"), "storage failed"),
    (errors.SpoolFailed(), "read its rows back"),
    (errors.RequestIdReused("id", "ImportOwnership"), "different ImportOwnership"),
    (MemoryError(), "has logged why"),
]


@pytest.mark.parametrize(("error", "why"), CAUSES, ids=[why for _, why in CAUSES])
@pytest.mark.parametrize("good_chunks", [1, 2])
def test_whatever_stops_an_import_half_way_the_caller_is_told_how_far_it_came(
    engine: Engine, tmp_path: Path, error: Exception, why: str, good_chunks: int
) -> None:
    stopping = Stopping(engine, error, good_chunks)
    with pytest.raises(errors.ImportCutShort) as found:
        apply(stopping, tmp_path)
    told, first = str(found.value), good_chunks * CHUNK + 1
    assert owned(engine) == first - 1
    assert f"cut short at row {first} of {ROWS}" in told and why in told
    assert "nothing" not in told and f"from row {first} on" in told
    unknown = f"of rows {first} to {first + CHUNK - 1} it is not known" in told
    assert unknown == (why in ("storage failed", "has logged why"))
    assert found.value.code is errors.status_of(error, "test").code
    assert found.value.metadata["first_row_not_in_force"] == str(first)
    assert apply(engine, tmp_path).imported_count == ROWS
    assert owned(engine) == ROWS


@pytest.mark.parametrize("error", [cause for cause, _ in CAUSES], ids=[why for _, why in CAUSES])
def test_what_stops_an_import_before_its_first_row_is_told_as_it_is(
    engine: Engine, tmp_path: Path, error: Exception
) -> None:
    with pytest.raises(type(error)) as found:
        apply(Stopping(engine, error, 0), tmp_path)
    assert found.value is error
    assert owned(engine) == 0


def test_r20_an_import_that_was_cut_short_goes_on_under_its_request_id(
    engine: Engine, tmp_path: Path
) -> None:
    with pytest.raises(errors.ImportCutShort):
        apply(Stopping(engine, Refused(8, "full", 0, "STORE_FULL"), 2), tmp_path, "id")
    assert apply(engine, tmp_path, "id").imported_count == ROWS
    revision = engine.revision
    assert apply(engine, tmp_path, "id").imported_count == ROWS
    assert engine.revision == revision


def test_a_conflict_half_way_names_its_row(engine: Engine, tmp_path: Path) -> None:
    """The record was dialed between the check and its chunk."""

    class Dialed(Stopping):
        def import_rows(self, *arguments: Any, **options: Any) -> Any:
            if self._good_chunks == 1:
                row = (str(2 * CHUNK + 7), "B", "", None, None)
                self._engine.import_rows("list", [row], 1)
            self._good_chunks -= 1
            return self._engine.import_rows(*arguments, **options)

    with pytest.raises(errors.ImportCutShort) as found:
        apply(Dialed(engine, MemoryError(), 3), tmp_path)
    assert found.value.code is grpc.StatusCode.FAILED_PRECONDITION
    assert f"row {2 * CHUNK + 8} is for record '{2 * CHUNK + 7}'" in str(found.value)
    assert f"cut short at row {2 * CHUNK + 1}" in str(found.value)


def test_an_import_into_a_store_that_fills_up_says_which_rows_are_in_force(tmp_path: Path) -> None:
    sizes = ("--map-bytes", "8MiB", "--reserve-bytes", "128KiB")
    with ServerProcess(tmp_path / "data", *sizes) as server:
        subject = GrpcSubject(server.dial_stub(), server.admin_stub())
        subject.create_list("list", Policy(True, None))
        messages = [admin_pb2.ImportOwnershipRequest(list_id="list", conflict_strategy=SKIP)]
        for start in range(0, 100_000, 2_500):
            rows = [
                admin_pb2.OwnershipRow(record_id=f"{number:0100}", campaign_id="A")
                for number in range(start, start + 2_500)
            ]
            messages.append(admin_pb2.ImportOwnershipRequest(rows=rows))
        with pytest.raises(grpc.RpcError) as failure:
            subject.admin.ImportOwnership(iter(messages), timeout=120)
        assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        told = failure.value.details()
        assert "nothing" not in told
        first = int(re.findall(r"cut short at row (\d+) of 100000", told)[0])
        assert [owner.owned_count for owner in subject.owners("list")] == [first - 1]


# ---- the spool


def _message(row_count: int, start: int = 0) -> admin_pb2.ImportOwnershipRequest:
    rows = [
        admin_pb2.OwnershipRow(record_id=f"{number:0100}", campaign_id="a")
        for number in range(start, start + row_count)
    ]
    return admin_pb2.ImportOwnershipRequest(list_id=LIST, rows=rows)


def test_the_rows_of_imports_take_no_more_disk_than_they_may(tmp_path: Path) -> None:
    with GuardedServer(tmp_path / "data", "--import-spool-bytes", "1MiB") as server:
        server.open_list(LIST)
        messages = [_message(2_000, start) for start in range(0, 20_000, 2_000)]
        code, told = status(server.root.admin, "ImportOwnership", iter(messages))
        assert code == "RESOURCE_EXHAUSTED" and "import_spool_bytes" in told and "1MiB" in told
        owners = admin_pb2.ListOwnersRequest(list_id=LIST)
        assert server.root.admin("ListOwners", owners).total_owned_count == 0
        for _ in range(3):  # each gives back what it took
            answer = server.root.admin("ImportOwnership", iter([_message(6_000)]))
            assert answer.imported_count == 6_000


def test_spools_share_their_room_and_give_it_back(tmp_path: Path) -> None:
    spools = spool.Spools(tmp_path, 100, 0)
    first, second = spools.open(), spools.open()
    first.append(bytes(40))
    second.append(bytes(40))
    with pytest.raises(errors.SpoolFull):
        second.append(bytes(40))
    first.close()
    first.close()
    second.append(bytes(40))
    second.close()


def test_a_large_spool_leaves_the_store_its_room_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = os.statvfs(tmp_path)
    free_bytes = disk.f_bavail * disk.f_frsize
    reserve_bytes = free_bytes // 2 - 2 * MIB
    monkeypatch.setattr(spool.os, "statvfs", lambda _: disk)  # others write there, too
    kept = spool.Spools(tmp_path, 1 << 40, reserve_bytes).open()
    kept.append(bytes(3 * MIB))
    with pytest.raises(errors.SpoolFull, match="reserve_bytes"):
        kept.append(bytes(5 * MIB))
    kept.close()
    small = spool.Spools(tmp_path, 1 << 40, free_bytes).open()
    small.append(bytes(MIB - 100))
    small.close()


# ---- rate limits


def test_the_rows_of_an_import_count_against_the_rate_limit(tmp_path: Path) -> None:
    with GuardedServer(tmp_path / "data") as server:
        server.open_list(LIST)
        rights = grants(["configure", "dial"])
        caller = server.principal("importer", *rights, records_per_s=100)
        assert claims(caller) == "GRANTED" or claims(caller) == "OK"
        assert caller.admin("ImportOwnership", iter([_message(3_000)])).imported_count == 3_000
        assert claims(caller) == "RESOURCE_EXHAUSTED"
        code, told = status(caller.admin, "ImportOwnership", iter([_message(10, 5_000)]))
        assert code == "RESOURCE_EXHAUSTED" and "rate limit" in told
        owners = admin_pb2.ListOwnersRequest(list_id=LIST)
        assert server.root.admin("ListOwners", owners).total_owned_count == 3_000


class Budget:
    """An identity that has to wait so many times before the next rows."""

    principal_id = "importer"

    def __init__(self, *waits_ms: int) -> None:
        self.waits_ms = list(waits_ms)
        self.paid: list[int] = []

    def pay_rows(self, count: int) -> int:
        wait_ms = self.waits_ms.pop(0) if self.waits_ms else 0
        if not wait_ms:
            self.paid.append(count)
        return wait_ms


class Stream:
    """Takes one message at a time, as many rows as it has bytes."""

    def __init__(self, budget: Budget) -> None:
        self.caller = Caller(cast(Any, budget), "")
        self.row_count = 0

    def add(self, bodies: list[bytes]) -> int:
        count = sum(map(len, bodies))
        self.row_count += count
        return count


def receive(budget: Budget, left_s: float | None = None, *, draining: bool = False) -> None:
    """Receive three parcels."""

    async def bodies() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(imports._PARCEL_BYTES)
            if draining:
                workers.begin_drain()

    async def run() -> None:
        nonlocal workers
        workers = Workers()
        await imports.receive(cast(Any, Stream(budget)), workers, bodies(), lambda: left_s)
        workers.close()

    workers: Workers = cast(Workers, None)
    asyncio.run(run())


def test_an_import_under_way_goes_on_at_the_rate_that_is_allowed() -> None:
    budget = Budget(0, 1, 1, 0, 1, 0)
    receive(budget)
    assert budget.paid == [imports._PARCEL_BYTES] * 3


def test_whoever_is_over_the_limit_begins_no_import() -> None:
    with pytest.raises(errors.RateLimited):
        receive(Budget(1))


def test_an_import_that_cannot_go_on_before_its_deadline_is_refused_at_once() -> None:
    with pytest.raises(errors.RateLimited) as found:
        receive(Budget(0, 10_000), left_s=5.0)
    assert found.value.wait_ms == 10_000


def test_a_server_that_stops_does_not_wait_for_a_rate_limit() -> None:
    with pytest.raises(errors.Draining):
        receive(Budget(0, 60_000), draining=True)
