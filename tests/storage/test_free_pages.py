"""Damage in the lists of free pages, which only who writes would read, is found by verify."""

import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from ownerd.engine.engine import CLAIM_BATCH, Engine, Policy
from ownerd.storage.verify import verify
from ownerd.v1 import dial_pb2

FOREVER = Policy(True, None, None, 300 * 10**9)
PAGE_BYTES = 4096


class FreeRecord(NamedTuple):
    """Where a record of free pages lies in a file: its key, and its count and pages."""

    key_at: int
    value_at: int
    pages: tuple[int, ...]


class Heads(NamedTuple):
    """What the newest head of a file leads to."""

    free_root: int
    main_root: int
    last_page: int
    transaction: int


def heads(data: bytes) -> Heads:
    """Read the newest head."""
    found = []
    for start in (0, PAGE_BYTES):
        (free_root,) = struct.unpack_from("<Q", data, start + 80)
        found.append(Heads(free_root, *struct.unpack_from("<QQQ", data, start + 128)))
    return max(found, key=lambda head: head.transaction)


def free_records(data: bytes) -> list[FreeRecord]:
    """Find every record of free pages; the tree has one page."""
    start = heads(data).free_root * PAGE_BYTES
    flags, lower = struct.unpack_from("<HH", data, start + 10)
    assert flags == 2, "a leaf"
    found = []
    for (place,) in struct.iter_unpack("<H", data[start + 16 : start + lower]):
        low, high, node_flags, _ = struct.unpack_from("<HHHH", data, start + place)
        value_at = start + place + 16
        if node_flags == 1:
            value_at = struct.unpack_from("<Q", data, value_at)[0] * PAGE_BYTES + 16
        count, *pages = struct.unpack_from(f"<{(low | high << 16) // 8}Q", data, value_at)
        assert count == len(pages)
        found.append(FreeRecord(start + place + 8, value_at, tuple(pages)))
    return found


def faults(store: Path) -> list[tuple[str, int, str | None]]:
    return [(name, damaged, error) for name, _, damaged, _, error in verify(str(store)) if damaged]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A closed store whose records have free pages of several commits."""
    with Engine(str(tmp_path), map_bytes=1 << 26, background=False) as engine:
        engine.create_list("list", FOREVER)
        for first in range(0, 8_000, 2_000):
            batch = dial_pb2.ClaimBatchRequest(list_id="list", campaign_id="A")
            batch.record_ids.extend(str(first + 37 * number % 4_001) for number in range(2_000))
            engine.dial(CLAIM_BATCH, batch.SerializeToString())
            engine.vacuum()
    assert faults(tmp_path) == []
    return tmp_path


def test_a_sound_store_shows_its_free_pages(store: Path) -> None:
    free = {name: rows for name, rows, *_ in verify(str(store)) if "free" in name}
    records = free_records((store / "records" / "data.mdb").read_bytes())
    assert len(records) > 1
    assert free["records/free pages"] == sum(len(record.pages) for record in records) > 2


def put(data: bytearray, at: int, number: int) -> None:
    data[at : at + 8] = struct.pack("<Q", number)


def largest(data: bytes) -> FreeRecord:
    return max(free_records(data), key=lambda record: len(record.pages))


def exchange(data: bytearray, wanted: set[int]) -> None:
    """Put one of `wanted` in the place of a free page, in its order."""
    for record in free_records(data):
        row = (heads(data).last_page + 1, *record.pages, 1)
        for place in range(1, len(row) - 1):
            between = range(row[place + 1] + 1, row[place - 1])
            number = next((number for number in between if number in wanted - {row[place]}), None)
            if number is not None:
                put(data, record.value_at + 8 * place, number)
                return
    raise AssertionError("no page has a place here")


def free_pages(data: bytes) -> set[int]:
    return {page for record in free_records(data) for page in record.pages}


def has_one_in_use(data: bytearray) -> str:
    exchange(data, set(range(2, heads(data).last_page + 1)) - free_pages(data))
    return "is free and in use"


def has_one_twice(data: bytearray) -> str:
    exchange(data, free_pages(data))
    return "is free twice"


def has_one_behind_the_last(data: bytearray) -> str:
    put(data, largest(data).value_at + 8, heads(data).last_page + 1)
    return "cannot be free"


def has_a_head(data: bytearray) -> str:
    record = largest(data)
    put(data, record.value_at + 8 * len(record.pages), 1)
    return "cannot be free"


def is_out_of_order(data: bytearray) -> str:
    record = largest(data)
    put(data, record.value_at + 8, record.pages[1])
    put(data, record.value_at + 16, record.pages[0])
    return "cannot be free"


def counts_too_many(data: bytearray) -> str:
    record = largest(data)
    put(data, record.value_at, len(record.pages) + 1)
    return "and says"


def counts_too_few(data: bytearray) -> str:
    record = largest(data)
    put(data, record.value_at, len(record.pages) - 1)
    return "and says"


def is_of_a_commit_to_come(data: bytearray) -> str:
    put(data, free_records(data)[0].key_at, heads(data).transaction + 1)
    return "the newest is"


def is_of_a_commit_before_the_one_before(data: bytearray) -> str:
    put(data, free_records(data)[1].key_at, 0)
    return "follow those of"


Damage = Callable[[bytearray], str]


@pytest.mark.parametrize(
    "damage",
    [
        has_one_in_use,
        has_one_twice,
        has_one_behind_the_last,
        has_a_head,
        is_out_of_order,
        counts_too_many,
        counts_too_few,
        is_of_a_commit_to_come,
        is_of_a_commit_before_the_one_before,
    ],
)
def test_a_list_of_free_pages_that_cannot_be_is_found(store: Path, damage: Damage) -> None:
    file = store / "records" / "data.mdb"
    data = bytearray(file.read_bytes())
    words = damage(data)
    file.write_bytes(data)
    found = {name: error for name, _, error in faults(store)}
    assert words in str(found["records/free pages"])


def test_any_flipped_bit_of_a_list_of_free_pages_is_found(store: Path) -> None:
    """Every page is free or in use, so a page that is another one is twice what it is."""
    file = store / "records" / "data.mdb"
    sound = file.read_bytes()
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    places = [
        8 * at + bit
        for record in free_records(sound)
        for at in range(record.value_at, record.value_at + 8 + 8 * len(record.pages))
        for bit in range(8)
    ]
    for place in random.Random(seed).sample(places, min(150, len(places))):
        data = bytearray(sound)
        data[place // 8] ^= 1 << place % 8
        file.write_bytes(data)
        assert [name for name, *_ in faults(store)] == ["records/free pages"], place


def test_a_page_that_two_rows_lead_to_is_found(store: Path) -> None:
    """As after a page in use was given to a second commit."""
    file = store / "records" / "data.mdb"
    data = bytearray(file.read_bytes())
    branch = next(
        number
        for number in range(2, len(data) // PAGE_BYTES)
        if struct.unpack_from("<QHHH", data, number * PAGE_BYTES)[0::2] == (number, 1)
        and number not in free_pages(data)
    )
    start = branch * PAGE_BYTES
    places = struct.unpack_from("<HH", data, start + 16)
    child = data[start + places[0] : start + places[0] + 6]
    data[start + places[1] : start + places[1] + 6] = child
    file.write_bytes(data)
    found = {name: error for name, _, error in faults(store)}
    assert "in use twice" in str(found["records/free pages"])
