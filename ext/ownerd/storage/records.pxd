"""C interface of records: one record as the open transaction sees it, and as it writes it."""

from libc.stdint cimport int64_t, uint32_t

from ownerd.base.bytes cimport Slice
from ownerd.rules.ownership cimport Hold
from ownerd.storage.catalog cimport List
from ownerd.storage.codec cimport KEY_BYTES
from ownerd.storage.memtables cimport memtables_prefetch_put
from ownerd.storage.multiget cimport Seen
from ownerd.storage.store cimport Store

# Whose a record was when it was loaded; a span that is over may be told too.
cdef struct HeldBefore:
    uint32_t campaign
    int64_t owned_since_ns
    int64_t owned_until_ns
    int64_t reserved_until_ns

# One record as a decision sees it, and as it is written afterwards.
cdef struct Record:
    size_t key_size
    uint32_t hash
    bint existed                      # something of it was stored
    bint counted                      # by events since it was written: `Store.counted`
    HeldBefore before
    Hold hold
    char key[KEY_BYTES]


cdef inline void record_prefetch(Store *store, const Seen *seen) noexcept nogil:
    """Have the processor fetch what `record_store` needs of a record soon."""
    memtables_prefetch_put(&store.memtables, seen.hash)


# All on the writer thread, in the open transaction, whose error says what went wrong.
# `seen` is what `records_look_up` saw of it; NULL: nothing.
cdef void record_load(
    Store *store, List *lst, Slice record_id, const Seen *seen, Record *record
) noexcept nogil
# What was loaded last, with another hold; at most once for each time that it was loaded.
cdef void record_store(Store *store, List *lst, Record *record, int64_t now_ns) noexcept nogil
# Look up what was added to the store's multiget.
cdef void records_look_up(Store *store) noexcept nogil
