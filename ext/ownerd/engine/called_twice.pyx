"""Counts, by list and pair of campaigns, how often both called one person (R31).

The writer adds, of what is committed; anybody reads. They are counts since the store was opened, in
bounded memory. Ids have no NUL in what separates them, since a length stands before each.
"""

from cython.operator cimport dereference, preincrement
from libc.stdint cimport uint64_t

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport pair, string, vector

ctypedef pair[string, uint64_t] Row


cdef void add_part(string *key, Slice part) noexcept nogil:
    cdef unsigned char size = <unsigned char> part.size   # ids have up to 128 bytes
    key.append(<const char *> &size, 1)
    key.append(part.data, part.size)


cdef void called_twice_add(
    CalledTwice *called, Slice list_id, Slice campaign_id, Slice holder_id
) noexcept nogil:
    cdef string key
    add_part(&key, list_id)
    add_part(&key, campaign_id)
    add_part(&key, holder_id)
    called.guard.lock()
    if called.counts.size() < MOST_PAIRS or called.counts.count(key) != 0:
        called.counts[key] += 1
    else:
        called.others += 1
    called.guard.unlock()


cdef tuple parts_of(bytes key):
    parts = []
    while key:
        size = key[0]
        parts.append(key[1:1 + size].decode())
        key = key[1 + size:]
    return tuple(parts)


cdef list called_twice_rows(CalledTwice *called):
    """Return (list_id, campaign_id, holder_campaign_id, count) of each pair, by these ids.

    ("", "", "", count) stands for those that are not counted apart.
    """
    cdef vector[Row] rows
    cdef uint64_t others
    cdef size_t i
    # No Python object may be made under the lock: that can hand the GIL to another thread, which
    # then waits for the lock with it.
    called.guard.lock()
    others = called.others
    it = called.counts.begin()
    while it != called.counts.end():
        rows.push_back(Row(dereference(it).first, dereference(it).second))
        preincrement(it)
    called.guard.unlock()
    found = [
        (*parts_of(rows[i].first.data()[:rows[i].first.size()]), rows[i].second)
        for i in range(rows.size())
    ]
    if others:
        found.append(("", "", "", others))
    return sorted(found)
