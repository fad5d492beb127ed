"""Counts the wrap-up codes that dialers report and nobody knows (R26), by name, in memory.

A bounded number of names is kept: once a table is full it becomes the former one, and what is in
the one before that is forgotten, so the names of which a report came last stay. Counted since the
engine was opened.

The writer counts, any thread looks; they take turns by `guard`.
"""

from libc.stdint cimport uint32_t, uint64_t

from cython.operator cimport dereference, preincrement

from ownerd.base.bytes cimport Slice, text_slice
from ownerd.base.containers cimport vector
from ownerd.rules.ownership cimport Code
from ownerd.storage.catalog cimport find_code_meant

cdef enum:
    TABLE_CODES = 500                 # of each of the two tables


cdef void _count_one(UnknownCodes *codes, const string &name, int64_t now_ns) noexcept nogil:
    cdef UnknownCount *entry
    if codes.recent.count(name) == 0:
        if codes.recent.size() == TABLE_CODES:
            codes.former.swap(codes.recent)
            codes.recent.clear()
        entry = &codes.recent[name]
        entry.count = codes.former[name].count if codes.former.count(name) != 0 else 0
        codes.former.erase(name)
    entry = &codes.recent[name]
    entry.count += 1
    entry.last_ns = now_ns


cdef void unknown_count(
    UnknownCodes *codes, const DialCall *call, int64_t now_ns
) noexcept nogil:
    """Count the unknown codes of a decided or refused call, whose texts are still in place."""
    cdef uint32_t i
    cdef Slice code
    codes.guard.lock()
    for i in range(call.item_count):
        if call.items[i].code_unknown:
            code = call.items[i].wrap_up_code
            _count_one(codes, string(code.data, code.size), now_ns)
    codes.guard.unlock()


cdef void _forget_in(UnknownTable *table, Catalog *catalog) noexcept nogil:
    cdef vector[string] known
    cdef Code code
    cdef size_t i
    it = table.begin()
    while it != table.end():
        if find_code_meant(catalog, text_slice(dereference(it).first), &code):
            known.push_back(dereference(it).first)
        preincrement(it)
    for i in range(known.size()):
        table.erase(known[i])


cdef void unknown_forget(UnknownCodes *codes, Catalog *catalog) noexcept nogil:
    codes.guard.lock()
    _forget_in(&codes.recent, catalog)
    _forget_in(&codes.former, catalog)
    codes.guard.unlock()


cdef uint64_t unknown_name_count(UnknownCodes *codes) noexcept nogil:
    cdef uint64_t count
    codes.guard.lock()
    count = codes.recent.size() + codes.former.size()
    codes.guard.unlock()
    return count


cdef list _rows_of(UnknownTable *table):
    found = []
    it = table.begin()
    while it != table.end():
        name = dereference(it).first
        found.append((
            name.data()[:name.size()].decode(), dereference(it).second.count,
            dereference(it).second.last_ns,
        ))
        preincrement(it)
    return found


cdef list unknown_rows(UnknownCodes *codes):
    """Return (code, count, last_ns), the most frequent first."""
    cdef UnknownTable recent, former
    with nogil:
        codes.guard.lock()
        recent = codes.recent
        former = codes.former
        codes.guard.unlock()
    return sorted(_rows_of(&recent) + _rows_of(&former), key=lambda row: (-row[1], row[0]))
