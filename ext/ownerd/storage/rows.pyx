"""Rows of the small tables that are committed and not in the record tree yet, in key order.

Each memtable has some: catalog, events with their running counts, principals, audit, requests.
What is read meanwhile is read as of one revision, so a row is kept as earlier commits left it where
somebody may be reading. A deleted row stays as one that is gone, until the tree has it.

Whoever shares it has a lock (`memtables`); it knows no tree and no meaning of a row.
"""

from cython.operator cimport dereference, predecrement, preincrement

from ownerd.base.assertions cimport assert_that

cdef enum:
    ROW_OVERHEAD = 160                # of a row in memory, about: a node, two strings, a version
    TREE_ROW_BYTES = 14               # LMDB's node header and pointer, our checksum
    LARGE_VALUE_BYTES = 1_000         # may lie on pages of its own
    PAGE_BYTES = 4_096


cdef void rows_init(Rows *rows) noexcept nogil:
    rows.bytes = rows.growth_bytes = 0


cdef uint64_t row_bytes(const string &place, const RowVersion *row) noexcept nogil:
    return place.size() + row.value.size() + ROW_OVERHEAD


cdef uint64_t row_growth(const string &place, const RowVersion *row) noexcept nogil:
    cdef uint64_t pages = PAGE_BYTES if row.value.size() > LARGE_VALUE_BYTES else 0
    return place.size() + row.value.size() + TREE_ROW_BYTES + pages


cdef void rows_put(
    Rows *rows, const string &place, const RowVersion *row, bint keep_others
) noexcept nogil:
    cdef Versions *versions = &rows.all[place]
    cdef size_t i
    assert_that(
        versions.empty() or versions.back().revision <= row.revision, "commits come in order"
    )
    if versions.empty():
        rows.growth_bytes += row_growth(place, row)
    elif row.value.size() > versions.back().value.size():
        rows.growth_bytes += row_growth(place, row)   # it may have to go elsewhere
    if not keep_others:
        for i in range(versions.size()):
            rows.bytes -= row_bytes(place, &versions[0][i])
        versions.clear()
    versions.push_back(row[0])
    rows.bytes += row_bytes(place, row)


cdef void rows_forget(Rows *rows, const string &place) noexcept nogil:
    cdef map[string, Versions].iterator at = rows.all.find(place)
    cdef size_t i
    if at == rows.all.end():
        return
    for i in range(dereference(at).second.size()):
        rows.bytes -= row_bytes(place, &dereference(at).second[i])
    rows.all.erase(place)


cdef const RowVersion *as_of(const Versions *versions, uint64_t revision) noexcept nogil:
    cdef size_t i = versions.size()
    while i > 0:
        i -= 1
        if versions[0][i].revision <= revision:
            return &versions[0][i]
    return NULL


cdef const RowVersion *rows_find(
    const Rows *rows, const string &place, uint64_t revision
) noexcept nogil:
    cdef map[string, Versions].iterator at = (<Rows *> rows).all.find(place)
    if at == (<Rows *> rows).all.end():
        return NULL
    return as_of(&dereference(at).second, revision)


cdef const RowVersion *rows_from(
    const Rows *rows, const string &place, uint64_t revision, string *found
) noexcept nogil:
    cdef map[string, Versions].iterator at = (<Rows *> rows).all.lower_bound(place)
    cdef const RowVersion *row
    while at != (<Rows *> rows).all.end() \
            and dereference(at).first.data()[0] == place.data()[0]:
        row = as_of(&dereference(at).second, revision)
        if row != NULL:
            found[0] = dereference(at).first
            return row
        preincrement(at)
    return NULL


cdef const RowVersion *rows_before(
    const Rows *rows, const string &place, uint64_t revision, string *found
) noexcept nogil:
    cdef map[string, Versions].iterator at = (<Rows *> rows).all.lower_bound(place)
    cdef const RowVersion *row
    while at != (<Rows *> rows).all.begin():
        predecrement(at)
        if dereference(at).first.data()[0] != place.data()[0]:
            return NULL
        row = as_of(&dereference(at).second, revision)
        if row != NULL:
            found[0] = dereference(at).first
            return row
    return NULL
