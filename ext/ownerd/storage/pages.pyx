"""Walks every page of an environment without LMDB: which are in use, which are free.

LMDB has a tree of free pages, by the transaction that gave them up, and takes it at its word: a
page that is there and in use is written over by a later commit, one that is there twice is used
twice. Nobody who reads sees that before it happens. So:

- a record's key is a transaction, up to the newest, each later than the one before it;
- its value is a count and as many pages, each lower than the one before it, none of them a head or
  behind the last page; a record whose pages were used again may be left, all zero;
- no page is free twice, in use twice, or both.

A page that is neither is none: it is lost to the file, not to the store. A page in use is one that
a root leads to, the free tree's too, with the pages behind a value that needs some of its own.

Every number read is looked at before it is followed. Memory: two bits for each page of the file,
and the record that is read. It reads what LMDB would read, and changes nothing.
"""

import os

from libc.errno cimport errno
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy
from posix.types cimport off_t
from posix.unistd cimport pread

from ownerd.base.containers cimport vector
from ownerd.storage.meta_pages cimport newest_meta
from ownerd.storage.page_format cimport (
    BIG, BRANCH, FIRST_PAGE, MOST_DEPTH, OVERFLOW, SUBTREE, NodeHead, PageHead, TableHead,
    child_of, is_tree_page, node_at, node_count, node_place, page_head, value_bytes,
)

cdef uint64_t NO_PAGE = 0xFFFFFFFFFFFFFFFF

cdef enum TreeKind:
    FREE_TREE                         # of records of free pages
    MAIN_TREE                         # of tables
    TABLE_TREE                        # of rows

cdef class Walk:
    """What was found so far. Bits are by page."""

    cdef int fd
    cdef size_t page_bytes
    cdef uint64_t last_page
    cdef uint64_t transaction
    cdef vector[uint64_t] used
    cdef vector[uint64_t] free
    cdef uint64_t free_count
    cdef uint64_t record              # the last one's key
    cdef uint64_t fault_count
    cdef object first_fault


cdef note(Walk walk, str fault):
    walk.fault_count += 1
    if walk.first_fault is None:
        walk.first_fault = fault


cdef bint mark(vector[uint64_t] *bits, uint64_t number) noexcept nogil:
    """Set a page's bit; tell whether it was set."""
    cdef uint64_t bit = <uint64_t> 1 << (number % 64)
    cdef bint was_set = bits[0][number // 64] & bit != 0
    bits[0][number // 64] = bits[0][number // 64] | bit
    return was_set


cdef bint is_page(Walk walk, uint64_t number) noexcept:
    return FIRST_PAGE <= number <= walk.last_page


cdef bint read_at(Walk walk, uint64_t place, void *into, size_t size) except -1:
    """Read bytes of the file; False, and a fault, if it ends before them."""
    cdef ssize_t found = pread(walk.fd, into, size, <off_t> place)
    if found < 0:
        raise OSError(errno, os.strerror(errno))
    if <size_t> found < size:
        note(walk, "the file ends before its last page")
    return <size_t> found == size


cdef bint use_pages(Walk walk, uint64_t number, uint64_t count) except -1:
    """Note that pages are in use; False, and a fault, unless they may be."""
    cdef uint64_t i
    if not is_page(walk, number) or count > walk.last_page + 1 - number:
        note(walk, f"page {number} is in use, and the last one is {walk.last_page}")
        return False
    for i in range(count):
        if mark(&walk.used, number + i):
            note(walk, f"page {number + i} is in use twice")
            return False
    return True


# --- trees ----------------------------------------------------------------------------------------

cdef int walk_tree(Walk walk, TreeKind kind, uint64_t number, int depth) except -1:
    """Walk what is below a page."""
    cdef vector[char] page
    cdef PageHead head
    cdef uint32_t i
    if not use_pages(walk, number, 1):
        return 0
    page.resize(walk.page_bytes)
    if not read_at(walk, number * walk.page_bytes, &page[0], walk.page_bytes):
        return 0
    head = page_head(&page[0])
    if not is_tree_page(&head, number, walk.page_bytes) or depth == MOST_DEPTH:
        note(walk, f"page {number} is no page of a tree")
        return 0
    for i in range(node_count(&head)):
        if not walk_node(walk, kind, &page[0], &head, node_place(&page[0], i), depth):
            note(walk, f"page {number} of a tree is damaged")
            return 0
    return 0


cdef bint walk_node(
    Walk walk, TreeKind kind, const char *page, const PageHead *head, size_t place, int depth
) except -1:
    """Walk what a node leads to; False if it does not lie within its page."""
    cdef NodeHead node
    cdef size_t value_at, size
    if not node_at(page, head.upper, walk.page_bytes, place, &node):
        return False
    value_at = place + sizeof(NodeHead) + node.key_bytes
    if head.flags == BRANCH:
        walk_tree(walk, kind, child_of(&node), depth + 1)
        return True
    size = value_bytes(&node)
    if value_at + (8 if node.flags & BIG else size) > walk.page_bytes:
        return False
    if kind == FREE_TREE:
        return walk_record(walk, &node, page + value_at - node.key_bytes, page + value_at, size)
    return walk_row(walk, kind, &node, page + value_at, size)


cdef bint walk_row(
    Walk walk, TreeKind kind, const NodeHead *node, const char *value, size_t size
) except -1:
    """Walk the pages of a large value, or of a table; False if a row cannot be this."""
    cdef TableHead table
    cdef uint64_t first
    if kind == TABLE_TREE:
        return node.flags == 0 or (node.flags == BIG and use_value(walk, value, size, &first))
    if node.flags != SUBTREE or size != sizeof(table):
        return False
    memcpy(&table, value, sizeof(table))
    if table.root != NO_PAGE:
        walk_tree(walk, TABLE_TREE, table.root, 0)
    return True


cdef bint use_value(Walk walk, const char *value, size_t size, uint64_t *first) except -1:
    """Note the pages of a value's own, and set the first; False if they are not its."""
    cdef PageHead head
    cdef uint64_t count
    memcpy(first, value, sizeof(first[0]))
    if not is_page(walk, first[0]) \
            or not read_at(walk, first[0] * walk.page_bytes, &head, sizeof(head)):
        return False
    count = head.lower | <uint64_t> head.upper << 16
    if head.number != first[0] or not head.flags & OVERFLOW \
            or count * walk.page_bytes < size + sizeof(head):
        return False
    return use_pages(walk, first[0], count)


# --- free pages -----------------------------------------------------------------------------------

cdef bint walk_record(
    Walk walk, const NodeHead *node, const char *key, const char *value, size_t size
) except -1:
    """Note the free pages of a record; False if it is none."""
    cdef vector[uint64_t] row
    cdef uint64_t transaction, first
    if node.key_bytes != sizeof(transaction) or size == 0 or size % sizeof(uint64_t) != 0:
        return False
    memcpy(&transaction, key, sizeof(transaction))
    if not walk.record < transaction <= walk.transaction:
        note(walk, f"the free pages of commit {transaction} follow those of {walk.record}, the "
                   f"newest is {walk.transaction}")
    walk.record = transaction
    if node.flags == BIG and not use_value(walk, value, size, &first):
        return False
    row.resize(size // sizeof(uint64_t))
    if node.flags == BIG:
        if not read_at(walk, first * walk.page_bytes + sizeof(PageHead), &row[0], size):
            return True
    elif node.flags == 0:
        memcpy(&row[0], value, size)
    else:
        return False
    free_pages(walk, transaction, &row)
    return True


cdef int free_pages(Walk walk, uint64_t transaction, const vector[uint64_t] *row) except -1:
    """Note the pages of a record: how many, then each."""
    cdef uint64_t before = walk.last_page + 1
    cdef uint64_t number
    cdef size_t i
    if row[0][0] != row.size() - 1 and row[0][0] != 0:
        note(walk, f"commit {transaction} gave up {row.size() - 1} pages and says {row[0][0]}")
    for i in range(1, row.size()):
        number = row[0][i]
        if row[0][0] == 0 and number == 0:
            continue
        if not FIRST_PAGE <= number < before:
            note(walk, f"page {number} cannot be free where commit {transaction} says so")
            return 0
        if mark(&walk.free, number):
            note(walk, f"page {number} is free twice")
        walk.free_count += 1
        before = number
    return 0


cdef int compare(Walk walk) except -1:
    """Note the pages that are both free and in use."""
    cdef uint64_t number
    cdef size_t word
    for word in range(walk.used.size()):
        if walk.used[word] & walk.free[word] == 0:
            continue
        for number in range(64 * <uint64_t> word, 64 * <uint64_t> word + 64):
            if walk.used[word] & walk.free[word] & <uint64_t> 1 << (number % 64):
                note(walk, f"page {number} is free and in use")
    return 0


cdef tuple page_faults(str path):
    """Walk both trees of the newest commit.

    Raises:
        OSError: the file cannot be read.
    """
    cdef Walk walk = Walk()
    walk.fd = os.open(os.path.join(path, "data.mdb"), os.O_RDONLY | os.O_CLOEXEC)
    try:
        meta = newest_meta(walk.fd)
        if meta is None:
            return 0, 1, "its heads cannot be read"
        walk.page_bytes, walk.last_page = meta.page_bytes, meta.last_page
        walk.transaction = meta.transaction
        if walk.last_page >= os.fstat(walk.fd).st_size // walk.page_bytes:
            return 0, 1, "the file ends before its last page"
        walk.used.resize(walk.last_page // 64 + 1)
        walk.free.resize(walk.last_page // 64 + 1)
        for kind, root in ((FREE_TREE, meta.free_root), (MAIN_TREE, meta.main_root)):
            if root != NO_PAGE:
                walk_tree(walk, kind, root, 0)
        compare(walk)
    finally:
        os.close(walk.fd)
    return walk.free_count, walk.fault_count, walk.first_fault
