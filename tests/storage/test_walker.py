"""Look-ups on LMDB's own pages find what LMDB finds, where it does, or say that it is not known.

A key that is wrongly taken for absent would be granted twice. So every look-up here is made by LMDB
too, in the same transaction, on trees that change meanwhile; and what is damaged leads to doubt, or
out of no page.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sanitizer import SLOWDOWN, examples
from segment_log import scratch_directory

from ownerd.engine.engine import Engine, Policy
from ownerd.load.engine import drive, fill
from ownerd.load.plan import Plan
from ownerd.storage.testing import RecordRows, RecordsUnfound, walk_pages, walker_proved

Rows = dict[bytes, bytes]

LONGEST_KEY = 511
BIG_VALUE = 3_000  # more than a page takes of one: it has pages of its own

key_bytes = st.sampled_from((0, 1, 97, 127, 128, 255))
keys = st.lists(key_bytes, min_size=1, max_size=12).map(bytes) | st.builds(
    lambda beginning, size: (beginning * LONGEST_KEY)[:size],
    st.lists(key_bytes, min_size=1, max_size=5).map(bytes),
    st.integers(1, LONGEST_KEY),
)
values = (
    st.binary(max_size=4)
    | st.integers(0, 90).map(lambda size: b"v" * size)
    | st.just(b"b" * BIG_VALUE)
)
commits = st.lists(st.tuples(keys, values | st.none()), max_size=40)


def near(key: bytes) -> list[bytes]:
    """Return a key, and others that lie just beside it."""
    beside = [key, key[:-1], key[:-1] + bytes([key[-1] ^ 1]), key[:-1] + bytes([key[-1] ^ 128])]
    return [each for each in [*beside, key + b"\0"] if 0 < len(each) <= LONGEST_KEY]


def assert_same(tree: RecordRows, wanted: list[bytes], rows: Rows, big: set[bytes]) -> None:
    """Look keys up both ways, in the transaction that has begun when the rows were these.

    LMDB leaves a value on pages of its own where a larger one was: those that had one are `big`.
    """
    for key, (sight, at) in zip(wanted, tree.walk(wanted), strict=True):
        found = tree.get(key)
        assert (found is None) == (key not in rows), key
        if sight == "unsure":
            assert key in big, key
        else:
            assert (sight, at) == ("absent" if found is None else "found", found), key


def apply(rows: Rows, big: set[bytes], changes: Sequence[tuple[bytes, bytes | None]]) -> None:
    """Change the model as `RecordRows.commit` changes the tree."""
    for key, value in changes:
        if len(value or b"") >= BIG_VALUE:
            big.add(key)
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value


def random_key(chance: random.Random) -> bytes:
    """Return a record's key as the store has it, now and then another one."""
    if chance.random() < 0.05:
        return chance.randbytes(chance.randint(1, LONGEST_KEY))
    return b"\0\0\0\2\1" + chance.randrange(4_000).to_bytes(8)


def churn(directory: Path, seed: int, rounds: int) -> None:
    """Change a tree commit by commit, and look keys up while older readers still read."""
    chance = random.Random(seed)
    tree = RecordRows(str(directory))
    rows: Rows = {}
    big: set[bytes] = set()
    for _ in range(rounds):
        assert tree.begin() == bool(rows)
        seen = dict(rows)
        changes: list[tuple[bytes, bytes | None]] = []
        for _ in range(chance.choice((1, 30, 400))):
            size = chance.choice((28, 28, 28, 52, 56, BIG_VALUE))
            dies = chance.random() < chance.choice((0.1, 0.7))
            changes.append((random_key(chance), None if dies else chance.randbytes(size)))
        tree.commit(changes)
        apply(rows, big, changes)
        if seen:
            wanted = [key for key, _ in changes] + [random_key(chance) for _ in range(60)]
            assert_same(tree, [each for key in wanted for each in near(key)], seen, big)
        if rows and tree.begin():
            assert_same(tree, [key for key, _ in changes], rows, big)
    tree.close()


def test_the_walker_is_used_on_this_machine() -> None:
    assert walker_proved()


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(commits, min_size=1, max_size=5), st.lists(keys, max_size=10))
def test_a_walk_finds_what_lmdb_finds(
    changes: list[list[tuple[bytes, bytes | None]]], others: list[bytes]
) -> None:
    with scratch_directory() as directory:
        tree = RecordRows(str(directory))
        rows: Rows = {}
        big: set[bytes] = set()
        for commit in changes:
            tree.commit(commit)
            apply(rows, big, commit)
            assert tree.begin() == bool(rows)
            wanted = [*rows, *others, *(key for key, _ in commit)]
            if rows:
                assert_same(tree, [each for key in wanted for each in near(key)], rows, big)
        tree.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_walk_sees_its_transaction_while_the_tree_changes(seed: int) -> None:
    with scratch_directory() as directory:
        churn(directory, seed, 30 // SLOWDOWN)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 140))
def test_many_walks_see_their_transaction_while_the_tree_changes(seed: int) -> None:
    with scratch_directory() as directory:
        churn(directory, seed, 400 // SLOWDOWN)


# --- damaged pages --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pages() -> Iterator[tuple[bytes, tuple[int, int, int], Rows]]:
    """The file of a tree of three levels, its shape (page bytes, root, depth), and its rows."""
    with scratch_directory() as directory:
        tree = RecordRows(str(directory))
        rows: Rows = {b"\0\0\0\2\1%08d" % number: b"%030d" % number for number in range(6_000)}
        rows |= {b"\0\0\0\2\2%0123d" % number: b"x" * 40 for number in range(900)}
        tree.commit(list(rows.items()))
        assert tree.begin()
        shape = tree.shape
        tree.close()
        assert shape[2] == 3
        yield next(directory.rglob("data.mdb")).read_bytes(), shape, rows


def walked(pages: bytes, shape: tuple[int, int, int], wanted: list[bytes]) -> list[str]:
    """Walk pages for keys; what is found must lie within the file. Return what was seen."""
    seen = walk_pages(pages, *shape, wanted)
    for _, at in seen:
        assert at is None or (0 <= at[0] <= at[0] + at[1] <= len(pages)), at
    return [sight for sight, _ in seen]


def test_a_sound_file_is_walked(pages: tuple[bytes, tuple[int, int, int], Rows]) -> None:
    data, shape, rows = pages
    assert set(walked(data, shape, list(rows))) == {"found"}
    for key, (_, at) in zip(rows, walk_pages(data, *shape, list(rows)), strict=True):
        assert at is not None and data[at[0] : sum(at)] == rows[key]


@pytest.mark.parametrize(
    ("at", "value", "size"),
    [
        pytest.param(0, 3, 8, id="another page's number"),
        pytest.param(10, 2, 2, id="a leaf above leaves"),
        pytest.param(10, 1 | 0x10, 2, id="a dirty page"),
        pytest.param(10, 1 | 0x20, 2, id="fixed sizes of values"),
        pytest.param(10, 1 | 0x40, 2, id="a page within a page"),
        pytest.param(10, 4, 2, id="pages of a value"),
        pytest.param(12, 14, 2, id="ends within its head"),
        pytest.param(12, 16, 2, id="no nodes"),
        pytest.param(12, 18, 2, id="one node"),
        pytest.param(12, 4_097, 2, id="more places than a page has"),
        pytest.param(14, 17, 2, id="nodes among the places"),
        pytest.param(14, 4_098, 2, id="nodes behind the page"),
    ],
)
def test_a_page_that_is_not_right_leads_to_doubt(
    pages: tuple[bytes, tuple[int, int, int], Rows], at: int, value: int, size: int
) -> None:
    data, shape, rows = pages
    broken = bytearray(data)
    begin = shape[0] * shape[1] + at
    broken[begin : begin + size] = value.to_bytes(size, "little")
    assert set(walked(bytes(broken), shape, list(rows)[::50])) == {"unsure"}


def leaf_of(data: bytes, shape: tuple[int, int, int], key: bytes) -> tuple[int, int]:
    """Return where the page that has a key begins, and where the node does."""
    ((_, at),) = walk_pages(data, *shape, [key])
    assert at is not None
    page = at[0] - at[0] % shape[0]
    return page, at[0] - len(key) - 8


@pytest.mark.parametrize(
    ("at", "value"),
    [
        pytest.param(0, 0xFFFF, id="a value behind the page"),
        pytest.param(2, 1, id="a value of 64 KiB more"),
        pytest.param(4, 1, id="a value with pages of its own"),
        pytest.param(4, 2, id="a table"),
        pytest.param(4, 4, id="several values"),
        pytest.param(6, 0xFFF0, id="a key behind the page"),
    ],
)
def test_a_node_that_is_not_right_leads_to_doubt(
    pages: tuple[bytes, tuple[int, int, int], Rows], at: int, value: int
) -> None:
    data, shape, rows = pages
    key = list(rows)[777]
    broken = bytearray(data)
    _, node = leaf_of(data, shape, key)
    broken[node + at : node + at + 2] = value.to_bytes(2, "little")
    assert walked(bytes(broken), shape, [key]) == ["unsure"]


def test_a_node_beyond_its_page_leads_to_doubt(
    pages: tuple[bytes, tuple[int, int, int], Rows],
) -> None:
    data, shape, rows = pages
    key = list(rows)[778]
    page, _ = leaf_of(data, shape, key)
    lower = int.from_bytes(data[page + 12 : page + 14], "little")
    for place in (0, 14, shape[0] - 4, 0xFFFE):
        broken = bytearray(data)
        broken[page + 16 : page + lower] = place.to_bytes(2, "little") * ((lower - 16) // 2)
        assert walked(bytes(broken), shape, [key]) == ["unsure"]


def test_a_page_beyond_the_last_one_leads_to_doubt(
    pages: tuple[bytes, tuple[int, int, int], Rows],
) -> None:
    data, shape, rows = pages
    leaf = max(leaf_of(data, shape, key)[0] for key in list(rows)[::20])
    kept = data[:leaf]
    assert "unsure" in walked(kept, shape, list(rows))
    assert "absent" not in walked(kept, shape, list(rows))


@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_pages_hold_nothing_beside_them_is_read(
    pages: tuple[bytes, tuple[int, int, int], Rows], seed: int
) -> None:
    scribble(pages, seed, 150 // SLOWDOWN)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10, 20))
def test_whatever_many_pages_hold_nothing_beside_them_is_read(
    pages: tuple[bytes, tuple[int, int, int], Rows], seed: int
) -> None:
    scribble(pages, seed, 3_000 // SLOWDOWN)


def scribble(pages: tuple[bytes, tuple[int, int, int], Rows], seed: int, count: int) -> None:
    """Walk files with random bytes in heads, places and nodes (best with AddressSanitizer)."""
    data, shape, rows = pages
    chance = random.Random(seed)
    wanted = list(rows)[::31]
    for _ in range(count):
        broken = bytearray(data)
        for _ in range(chance.choice((1, 20, 500))):
            page = chance.randrange(len(data) // shape[0]) * shape[0]
            broken[page + chance.choice((chance.randrange(64), chance.randrange(shape[0])))] = (
                chance.randrange(256)
            )
        walked(bytes(broken), shape, wanted)


# --- in service -----------------------------------------------------------------------------------


def plan_of(**more: int | bool) -> Plan:
    """Return a load of claims in batches on the list."""
    return Plan(
        "l",
        record_count=100_000,
        factor=1,
        shift=0,
        batch_records=1_000,
        campaign_ids=("a",),
        **more,
    )


def test_a_look_up_that_lmdb_does_not_confirm_ends_the_store_before_the_answer(
    tmp_path: Path,
) -> None:
    day_ns = 86_400 * 10**9
    store = tmp_path / "store"
    with Engine(str(store)) as engine:
        engine.create_list("l", Policy(True, day_ns, None, day_ns), note=b"")
        fill(engine, plan_of(in_order=True))
    with Engine(str(store)) as engine, RecordsUnfound():
        revision = engine.revision
        # One look-up in 4,096 is made by LMDB as well, by chance; the load ends with the engine.
        calls = drive(engine, plan_of(), in_flight=1, seconds=60.0, warm_up_s=0.0).calls
        assert "look-up" in str(engine.failed)
        assert engine.revision - revision == calls  # each was a group, the last one had no answer
    assert not (store / "FAILED").exists()
