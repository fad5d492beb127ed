"""The tables of the journal's environment: their names on disk and the layout of their rows.

Rows are the machine's own byte order (x86-64 and arm64 Linux are both little-endian); keys that
must sort are big-endian. Numbers of lists and campaigns are never used twice.

It reads and writes none: `table_cursor` reads what is committed, `transaction` reads and writes in
the open transaction.
"""

from libc.string cimport memcpy, memset

TABLE_NAMES[:] = [
    "meta", "lists", "graves", "events", "campaigns", "codes", "audit", "requests", "journal",
    "principals", "holders",
]


cdef void state_read(StateRow *state, Slice value) noexcept nogil:
    """Read a state row of any format; one that knew no incarnations was in its first."""
    memset(state, 0, sizeof(StateRow))
    memcpy(state, value.data, min(value.size, sizeof(StateRow)))
    if state.format == OLD_STATE_FORMAT:
        state.incarnation = state.store_id


cdef bint state_known(const StateRow *state, size_t size) noexcept nogil:
    return (state.format == STATE_FORMAT and size == sizeof(StateRow)) \
        or (state.format == OLD_STATE_FORMAT and size == OLD_STATE_BYTES)
