"""LMDB's two meta pages, read without LMDB: whether the newest commit is the one it takes for it.

Each commit writes one of the first two pages of the file, in turn: page 0 if its transaction's
number is even, else page 1. LMDB takes the one with the higher number, and has no checksum for it;
one flipped bit there takes back a commit that was answered. So:

- the two numbers must differ by one, each on the page of its parity (both are 0 in an empty file);
- the newest one's trees must be its own: a commit writes their roots anew, lists under its number
  the pages that it gave up, and never shortens the file;
- what no commit changes is the same in both;
- the tree below the older one must not hold a newer state row (one bit may also turn a number into
  the one before its neighbour's, or a root into an older one). Both trees are whole: LMDB does not
  use pages again that either needs.

One thing looks like damage and is none: when the writing of a meta page fails, LMDB puts the older
number back on it, but not the older roots. Nobody was told the outcome of that commit, the engine
has stopped, and has left DIR/FAILED, beside which this is taken for sound.

What cannot be read below the older one proves nothing: a copy may have been made without it.
It reads a few pages and changes nothing; the environment must not be written meanwhile.
"""

import os
import struct
from typing import NamedTuple

from ownerd.base.bytes cimport slice_of, val_of
from ownerd.base.lmdb cimport MDB_val
from ownerd.storage.codec cimport row_verify

cdef enum:
    SMALLEST_PAGE = 256
    MOST_DEPTH = 32                   # of a tree of LMDB's

_META_BYTES = 152                     # of a page, as far as they are used
_MAGIC = 0xBEEFC0DE
_PAGE_HEAD = struct.Struct("<QHHHH")  # number, pad, flags, lower, upper
_NODE_HEAD = struct.Struct("<HHHH")   # size or page, low and high; flags or page, highest; key size
_BRANCH, _LEAF, _META = 1, 2, 8       # flags of a page
_SUBTREE = 2                          # flag of a node
_ROOT_OF_SUBTREE = 40                 # in its record, which is 48 bytes long
_NO_PAGE = 2**64 - 1
_STATE_TABLE, _STATE_KEY = b"meta", b"state"


class _Unreadable(Exception):
    """A page is not what it should be."""


_UNREADABLE = (_Unreadable, struct.error, ValueError)


class Meta(NamedTuple):
    """What a meta page says."""

    free_root: int
    main_root: int
    last_page: int
    transaction: int
    page_bytes: int
    constants: bytes


def _read_meta(fd, place, number):
    """Return the Meta of the page at `place`, which should be page `number`."""
    data = os.pread(fd, _META_BYTES, place)
    if len(data) < _META_BYTES:
        raise _Unreadable("the file ends within its first two pages")
    flags = _PAGE_HEAD.unpack_from(data, 0)[2]
    magic, version = struct.unpack_from("<II", data, 16)
    (page_bytes,) = struct.unpack_from("<I", data, 40)
    (free_root,) = struct.unpack_from("<Q", data, 80)
    if not flags & _META or magic != _MAGIC or version != 1 or page_bytes < SMALLEST_PAGE:
        raise _Unreadable(f"meta page {number} is none of LMDB's")
    constants = data[16:32] + data[40:46] + data[88:94]
    return Meta(free_root, *struct.unpack_from("<QQQ", data, 128), page_bytes, constants)


def _read_metas(fd):
    """Return both, as they lie."""
    first = _read_meta(fd, 0, 0)
    return first, _read_meta(fd, first.page_bytes, 1)


def _nodes(data):
    """Yield (node's three numbers, key, where its value begins) of a page."""
    _, _, _, lower, _ = _PAGE_HEAD.unpack_from(data, 0)
    for (offset,) in struct.iter_unpack("<H", data[16:lower]):
        low, high, flags, key_bytes = _NODE_HEAD.unpack_from(data, offset)
        key_at = offset + _NODE_HEAD.size
        yield (low, high, flags), data[key_at : key_at + key_bytes], key_at + key_bytes


def _tree_page(fd, number, meta):
    """Return (whether it is a leaf, its bytes) of a page of a tree."""
    if number > meta.last_page:
        raise _Unreadable(f"page {number} lies behind the last one")
    data = os.pread(fd, meta.page_bytes, number * meta.page_bytes)
    found, _, flags, _, _ = _PAGE_HEAD.unpack_from(data, 0)
    if found != number or not flags & (_BRANCH | _LEAF):
        raise _Unreadable(f"page {number} is no page of a tree")
    return bool(flags & _LEAF), data


def _child(numbers):
    return numbers[0] | numbers[1] << 16 | numbers[2] << 32


def _find(fd, number, meta, key):
    """Return (flags, value) of a key in the tree below a page, or None."""
    if number == _NO_PAGE:
        return None
    for _ in range(MOST_DEPTH):
        is_leaf, data = _tree_page(fd, number, meta)
        if is_leaf:
            for (low, high, flags), found, at in _nodes(data):
                if found == key:
                    return flags, data[at : at + (low | high << 16)]
            return None
        for numbers, found, _ in _nodes(data):
            if found > key:           # the first key of a branch page is empty
                break
            number = _child(numbers)
    raise _Unreadable("a tree has no end")


def _last_key(fd, number, meta):
    """Return the last key of the tree below a page."""
    for _ in range(MOST_DEPTH):
        is_leaf, data = _tree_page(fd, number, meta)
        *_, (numbers, key, _) = _nodes(data)
        if is_leaf:
            return key
        number = _child(numbers)
    raise _Unreadable("a tree has no end")


def _state_below(fd, meta):
    """Return the state row below a meta page, without its checksum; None if there is none."""
    cdef MDB_val key = val_of(slice_of(b"state", 5)), value
    cdef bytes row
    table = _find(fd, meta.main_root, meta, _STATE_TABLE)
    if table is None or not table[0] & _SUBTREE:
        return None
    (root,) = struct.unpack_from("<Q", table[1], _ROOT_OF_SUBTREE)
    found = _find(fd, root, meta, _STATE_KEY)
    if found is None:
        return None
    row = found[1]
    value = val_of(slice_of(<const char *> row, len(row)))
    if not row_verify(&key, &value):
        raise _Unreadable("the state row fails its checksum")
    return row[:value.mv_size]


def _readable_state(fd, meta):
    try:
        return _state_below(fd, meta)
    except _UNREADABLE:
        return None


def _is_older(row, other, counted_bytes):
    """Tell whether a state row was written before another one.

    A row begins with its revision; one of `counted_bytes` ends with its commit's number.
    """
    begin = 0
    if len(row) == len(other) == counted_bytes:
        begin = counted_bytes - 8
    return struct.unpack_from("<Q", row, begin) < struct.unpack_from("<Q", other, begin)


def _fault(fd, counted_bytes, failed):
    metas = _read_metas(fd)
    older, newest = sorted(metas, key=lambda meta: meta.transaction)
    numbers = [meta.transaction for meta in metas]
    if numbers != [0, 0] and (
        abs(numbers[0] - numbers[1]) != 1 or numbers[0] % 2 != 0 or numbers[1] % 2 != 1
    ):
        return f"the last two commits of the file are numbered {numbers[0]} and {numbers[1]}"
    if newest.constants != older.constants:
        return "its two heads differ in what never changes"
    if newest.last_page < older.last_page:
        return "the newest commit of the file says that it is shorter than before"
    if newest.free_root != _NO_PAGE \
            and _last_key(fd, newest.free_root, newest) != struct.pack("<Q", newest.transaction):
        return "the newest commit of the file does not lead to the pages that it gave up"
    for root in ("main_root", "free_root"):
        if older.transaction and getattr(newest, root) == getattr(older, root) != _NO_PAGE:
            return "the newest commit of the file leads to what was before it"
    rows = [_readable_state(fd, meta) for meta in (older, newest)]
    if None not in rows and not failed and _is_older(rows[1], rows[0], counted_bytes):
        return "what the file takes for its newest commit is older than the one before it"
    return None


cdef object meta_fault(str path, Py_ssize_t counted_bytes):
    """Say what is wrong with the meta pages of the environment in `path`, or None."""
    fd = os.open(os.path.join(path, "data.mdb"), os.O_RDONLY | os.O_CLOEXEC)
    try:
        failed = os.path.exists(os.path.join(os.path.dirname(path), "FAILED"))
        return _fault(fd, counted_bytes, failed)
    except _UNREADABLE as error:
        return str(error)
    finally:
        os.close(fd)


cdef object newest_meta(int fd):
    try:
        return max(_read_metas(fd), key=lambda meta: meta.transaction)
    except _UNREADABLE:
        return None


cdef bytes newest_state(str path):
    """Return the newest state row of the environment in `path`; None if there is none to read."""
    try:
        fd = os.open(os.path.join(path, "data.mdb"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        meta = newest_meta(fd)
        return None if meta is None else _readable_state(fd, meta)
    finally:
        os.close(fd)
