"""C interface of rows: rows of the small tables in memory, each as several commits left it."""

from libc.stdint cimport uint64_t

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport map, string, vector
from ownerd.storage.tables cimport Table

# A row as one commit left it, without its checksum.
cdef cppclass RowVersion:
    uint64_t revision
    bint is_gone                      # deleted; the value is empty
    string value

ctypedef vector[RowVersion] Versions  # oldest first, never none

# By place: the table's number, one byte, and the row's key.
cdef cppclass Rows:
    map[string, Versions] all
    uint64_t bytes                    # that they take in memory, about
    uint64_t growth_bytes             # bound on what the tree needs more for them


cdef inline void place_row(string *place, Table table, Slice key) noexcept nogil:
    """Write down where a row is."""
    cdef char first = <char> <int> table
    place.assign(&first, 1)
    place.append(key.data, key.size)


cdef inline Slice placed_key(const string *place) noexcept nogil:
    cdef Slice key
    key.data, key.size = (<string *> place).data() + 1, (<string *> place).size() - 1
    return key


cdef void rows_init(Rows *rows) noexcept nogil
# `keep_others`: somebody may still read the row as it was before.
cdef void rows_put(
    Rows *rows, const string &place, const RowVersion *row, bint keep_others
) noexcept nogil
# As if it had not been put.
cdef void rows_forget(Rows *rows, const string &place) noexcept nogil
# As of a revision; NULL: nothing was put until then. Valid until the next put.
cdef const RowVersion *rows_find(
    const Rows *rows, const string &place, uint64_t revision
) noexcept nogil
# The first row of the same table from `place` on, or the last one before it, that was put or
# deleted until a revision; NULL: none. `found` is its place; the row is valid until the next put.
cdef const RowVersion *rows_from(
    const Rows *rows, const string &place, uint64_t revision, string *found
) noexcept nogil
cdef const RowVersion *rows_before(
    const Rows *rows, const string &place, uint64_t revision, string *found
) noexcept nogil
