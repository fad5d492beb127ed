"""Looks many keys of a table up at once, on the pages that LMDB has mapped, without LMDB.

A look-up in a large tree waits for memory at nearly each node that it asks. LMDB makes one after
the other; here some are under way at a time, and of each the next node is fetched while the others
go on. That takes a third of the time.

A key that is wrongly taken for absent would be granted twice, and no checksum would tell. So:

- It reads in a live read transaction, whose pages nobody writes over, and begins at the root that
  this transaction says; never at a meta page, which is written under readers. The caller keeps it
  until what was found is copied.
- Where the map begins is told by two values that LMDB returns, each on a page that has its number.
- A page is looked at before it is used: number, flags, what the depth demands, and that all that is
  read of it lies within it. So is every node. What is not as it should be, and a value with pages
  of its own, is left to LMDB: `SIGHT_UNSURE`.
- Keys compare as LMDB compares them, and a page is searched as LMDB searches it.
- It is for little-endian 64-bit machines and LMDB 0.9's format, and is trusted only after
  `walker_proof` has seen it agree with LMDB. Maps are never resized while a store is open.

It changes nothing, and knows no row.
"""

from libc.stdint cimport uint16_t
from libc.string cimport memcmp, memcpy, strlen

from ownerd.base.bytes cimport slice_of, val_of
from ownerd.base.lmdb cimport MDB_SUCCESS, MDB_envinfo, MDB_stat, lmdb
from ownerd.storage.memtable cimport big_endian, prefetch
from ownerd.storage.page_format cimport (
    BRANCH, FIRST_PAGE, LEAF, META_MAGIC, META_VERSION, MOST_DEPTH, MetaHead, NodeHead, PageHead,
    TableHead, child_of, is_tree_page, node_at, node_count, node_place, page_head, value_bytes,
)

cdef extern from "<unistd.h>" nogil:
    int _SC_PAGESIZE
    long sysconf(int)

cdef enum:
    LANES = 24                        # look-ups that are under way together
    LINE_BYTES = 64
    WORD_BYTES = 8
    HEAD_LINES = 3                    # of a page, that have its head and most places of nodes

# One look-up that is under way.
cdef struct Lane:
    const Sought *sought
    const char *page
    uint64_t number                   # of the page
    int level                         # pages above it
    bint asks                         # a node of the page; else the page was not looked at yet
    uint16_t upper                    # of the page
    uint16_t place                    # of the node
    int index                         # of the node
    int low                           # the nodes between which the key is sought
    int high


# --- the transaction ------------------------------------------------------------------------------

cdef void walker_init(Walker *walker, bint trusted, uint64_t chance) noexcept nogil:
    walker.trusted = trusted
    walker.chance = chance
    walker.map = NULL


cdef bint map_begins(
    Walker *walker, MDB_txn *txn, MDB_dbi table, const char *key, const char **map
) noexcept nogil:
    """Tell where the map begins by a row, which lies on a page that has its number."""
    cdef MDB_val where = val_of(slice_of(key, strlen(key))), value
    cdef PageHead head
    cdef const char *page
    if lmdb.get(txn, table, &where, &value) != MDB_SUCCESS:
        return False
    page = <const char *> (<size_t> value.mv_data & ~(walker.page_bytes - 1))
    head = page_head(page)
    if head.flags != LEAF or not FIRST_PAGE <= head.number <= walker.last_page:
        return False
    map[0] = page - head.number * walker.page_bytes
    return True


cdef bint knows_pages(Walker *walker, MDB_env *env, MDB_txn *txn) noexcept nogil:
    """Ask for the size of a page and the last one; False if they are not this transaction's."""
    cdef MDB_stat stat
    cdef MDB_envinfo info
    if lmdb.env_stat(env, &stat) != MDB_SUCCESS or lmdb.env_info(env, &info) != MDB_SUCCESS:
        return False
    walker.page_bytes = stat.ms_psize
    walker.last_page = info.me_last_pgno
    # A map begins at a page of the system's.
    return info.me_last_txnid == lmdb.txn_id(txn) and walker.page_bytes != 0 \
        and walker.page_bytes & (walker.page_bytes - 1) == 0 \
        and walker.page_bytes <= <size_t> sysconf(_SC_PAGESIZE)


cdef bint knows_root(Walker *walker, MDB_txn *txn, const char *table) noexcept nogil:
    """Read where the table's tree begins; False if it has none that can be walked."""
    cdef MDB_val key = val_of(slice_of(table, strlen(table))), value
    cdef TableHead head
    if lmdb.get(txn, walker.main, &key, &value) != MDB_SUCCESS or value.mv_size != sizeof(head):
        return False
    memcpy(&head, value.mv_data, sizeof(head))
    walker.root, walker.depth = head.root, head.depth
    return head.flags == 0 and head.pad == 0 and 0 < head.depth <= MOST_DEPTH \
        and FIRST_PAGE <= head.root <= walker.last_page


cdef bint is_known_format(const char *map) noexcept nogil:
    """Tell whether page 0 says that the file is of a format that is walked here."""
    cdef MetaHead head
    memcpy(&head, map + sizeof(PageHead), sizeof(head))
    return head.magic == <uint32_t> META_MAGIC and head.version == META_VERSION


cdef bint walker_begin(
    Walker *walker, MDB_env *env, MDB_txn *txn, const char *table, MDB_dbi other,
    const char *other_key
) noexcept nogil:
    cdef const char *map
    cdef const char *again
    if not walker.trusted:
        return False
    if lmdb.dbi_open(txn, NULL, 0, &walker.main) != MDB_SUCCESS \
            or not knows_pages(walker, env, txn) or not knows_root(walker, txn, table) \
            or not map_begins(walker, txn, walker.main, table, &map) \
            or not map_begins(walker, txn, other, other_key, &again) or map != again:
        return False
    if walker.map != map and not is_known_format(map):
        return False
    walker.map = map
    return True


# --- the walk -------------------------------------------------------------------------------------

cdef inline int order_of(uint64_t left, uint64_t right) noexcept nogil:
    return <int> (left > right) - <int> (left < right)


cdef inline int compare(
    const char *left, size_t left_size, const char *right, size_t right_size
) noexcept nogil:
    """Compare keys as LMDB does: by bytes, and the shorter one first."""
    cdef size_t common = min(left_size, right_size), at = 0
    cdef int order = 0
    if common < WORD_BYTES:
        order = memcmp(left, right, common)
    else:
        # Eight bytes as one number; the last ones overlap those before, which are the same.
        while order == 0 and at + WORD_BYTES < common:
            order = order_of(big_endian(left + at, WORD_BYTES), big_endian(right + at, WORD_BYTES))
            at += WORD_BYTES
        if order == 0:
            at = common - WORD_BYTES
            order = order_of(big_endian(left + at, WORD_BYTES), big_endian(right + at, WORD_BYTES))
    return order if order != 0 else order_of(left_size, right_size)


cdef inline bint go_to(const Walker *walker, Lane *lane, uint64_t number) noexcept nogil:
    """Go on with a page, and have its head fetched; False if it cannot be one of a tree."""
    cdef int i
    if not FIRST_PAGE <= number <= walker.last_page:
        return False
    lane.number = number
    lane.page = walker.map + number * walker.page_bytes
    lane.asks = False
    for i in range(HEAD_LINES):
        prefetch(lane.page + i * LINE_BYTES)
    return True


cdef inline void ask(Lane *lane) noexcept nogil:
    """Have the node in the middle of what is left fetched."""
    lane.index = (lane.low + lane.high) >> 1
    lane.place = node_place(lane.page, lane.index)
    prefetch(lane.page + lane.place)
    prefetch(lane.page + lane.place + sizeof(NodeHead) + lane.sought.key_size)


cdef inline bint enter(const Walker *walker, Lane *lane) noexcept nogil:
    """Look at a page that was fetched, and ask for its first node; False if it is not right."""
    cdef PageHead head = page_head(lane.page)
    cdef bint is_leaf = lane.level == walker.depth - 1
    cdef int count
    if not is_tree_page(&head, lane.number, walker.page_bytes) \
            or head.flags != (LEAF if is_leaf else BRANCH):
        return False
    count = node_count(&head)
    if count < (1 if is_leaf else 2):
        return False
    lane.upper = head.upper
    lane.low, lane.high = 0 if is_leaf else 1, count - 1
    lane.asks = True
    ask(lane)
    return True


cdef inline bint descend(const Walker *walker, Lane *lane, uint32_t index) noexcept nogil:
    """Go on below a node of a branch page; False if there is doubt."""
    cdef NodeHead node
    lane.level += 1
    return node_at(
        lane.page, lane.upper, walker.page_bytes, node_place(lane.page, index), &node
    ) and go_to(walker, lane, child_of(&node))


cdef inline Sight see(
    const Walker *walker, const Lane *lane, const NodeHead *node, MDB_val *value
) noexcept nogil:
    """Say where the value of a leaf's node lies."""
    cdef size_t at = lane.place + sizeof(NodeHead) + node.key_bytes
    value.mv_data = <void *> (lane.page + at)
    value.mv_size = value_bytes(node)
    if node.flags != 0 or value.mv_size > walker.page_bytes - at:
        return SIGHT_UNSURE
    return SIGHT_FOUND


cdef inline bint advance(
    const Walker *walker, Lane *lane, Sight *sight, MDB_val *value
) noexcept nogil:
    """Take a step of a look-up; True if it is over, and `sight` says how."""
    cdef NodeHead node
    cdef int order
    sight[0] = SIGHT_UNSURE
    if not lane.asks:
        return not enter(walker, lane)
    if not node_at(lane.page, lane.upper, walker.page_bytes, lane.place, &node):
        return True
    order = compare(
        lane.sought.key, lane.sought.key_size,
        lane.page + lane.place + sizeof(NodeHead), node.key_bytes,
    )
    if order == 0:
        if lane.level < walker.depth - 1:
            return not descend(walker, lane, lane.index)
        sight[0] = see(walker, lane, &node, value)
        return True
    if order < 0:
        lane.high = lane.index - 1
    else:
        lane.low = lane.index + 1
    if lane.low <= lane.high:
        ask(lane)
        return False
    if lane.level < walker.depth - 1:
        return not descend(walker, lane, lane.low - 1)
    sight[0] = SIGHT_ABSENT
    return True


cdef void walker_find(
    const Walker *walker, const Sought *sought, size_t count, OnSeen on_seen, void *context
) noexcept nogil:
    """Look keys up, and tell of each as soon as it is seen."""
    cdef Lane lanes[LANES]
    cdef MDB_val value
    cdef Sight sight
    cdef size_t next = 0
    cdef int used = 0, i
    while used < LANES and next < count:
        begin(walker, &lanes[used], &sought[next])
        used += 1
        next += 1
    while used > 0:
        i = 0
        while i < used:
            if advance(walker, &lanes[i], &sight, &value):
                on_seen(context, lanes[i].sought, sight, &value)
                if next < count:
                    begin(walker, &lanes[i], &sought[next])
                    next += 1
                else:
                    used -= 1
                    lanes[i] = lanes[used]
                    continue
            i += 1


cdef inline void begin(const Walker *walker, Lane *lane, const Sought *sought) noexcept nogil:
    lane.sought = sought
    lane.level = 0
    go_to(walker, lane, walker.root)  # which lies in the file: `knows_root`
