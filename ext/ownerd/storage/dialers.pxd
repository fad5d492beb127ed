"""C interface of dialers: their names as numbers, and what they gave back."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport pair, string, unordered_map, vector
from ownerd.storage.give_backs cimport EVERY_LIST, GiveBack, GiveBacks, SharedGiveBacks
from ownerd.storage.transaction cimport Transaction

cdef enum:
    DIALERS_MOST = 1_000_000          # that are known at one time
    DIALERS_PER_STEP = 1_024          # that are looked at to be forgotten

cdef cppclass Dialer:
    string id
    uint32_t campaign
    int64_t until_ns                  # by then all its reservations have ended; as stored
    bint known                        # else its number is free

cdef struct DialerUndo:
    uint32_t number
    int64_t until_ns

ctypedef pair[uint32_t, vector[GiveBack]] GivenBefore

# Changed on the writer thread only, by the functions below.
cdef cppclass Dialers:
    Transaction *txn                  # which its rows are written in
    vector[Dialer] all                # by number, from 1 on
    unordered_map[string, uint32_t] numbers   # by campaign and id
    uint64_t count                    # of those that are known; other threads read it
    vector[uint32_t] free             # numbers below `all.size()` that nobody has
    SharedGiveBacks given
    bint shared                       # somebody else may read `given`: it is copied, not changed
    size_t looked_at                  # by the last step of forgetting
    # since the mark
    vector[uint32_t] added
    vector[DialerUndo] extended
    vector[GivenBefore] given_before


cdef void dialers_init(Dialers *dialers, Transaction *txn) noexcept nogil
# From what is committed, before the writer thread starts. An LMDB error code, or 0.
cdef int load_dialers(Dialers *dialers) noexcept nogil
# Rolling back puts back what changed in memory since the mark; the rows are the transaction's.
cdef void dialers_mark(Dialers *dialers) noexcept nogil
cdef void dialers_rollback(Dialers *dialers) noexcept nogil

# For an unknown dialer, the number that add_dialer would give; NO_DIALER for an empty id.
cdef uint32_t find_dialer(Dialers *dialers, uint32_t campaign, Slice dialer_id) noexcept nogil
cdef bint dialer_known(const Dialers *dialers, uint32_t number) noexcept nogil
cdef bint dialers_full(const Dialers *dialers) noexcept nogil
# Valid until the dialer is forgotten; empty for a number that nobody has.
cdef Slice dialer_id_of(Dialers *dialers, uint32_t number) noexcept nogil
# In the open transaction; rolled back with it.
cdef void add_dialer(Dialers *dialers, uint32_t campaign, Slice dialer_id) noexcept nogil
# A reservation of the dialer lasts until then.
cdef void dialer_reserves(Dialers *dialers, uint32_t number, int64_t until_ns) noexcept nogil
# Nothing that changed a list happened after `quiet_since_ns`.
cdef void dialer_gives_back(
    Dialers *dialers, uint32_t number, uint32_t list_number, int64_t now_ns, int64_t quiet_since_ns
) noexcept nogil
# A share for another thread.
cdef SharedGiveBacks share_given(Dialers *dialers) noexcept nogil
# Names dialers that are to be forgotten, and deletes their rows in the open transaction; once that
# is committed they are forgotten. False: it was the last step of a round.
cdef bint dialers_over(
    Dialers *dialers, int64_t now_ns, vector[uint32_t] *numbers
) noexcept nogil
cdef void forget_dialers(Dialers *dialers, const vector[uint32_t] *numbers) noexcept nogil
# At an opening that sets the time back to `time_ns`, by a length, in the open transaction.
cdef void set_given_back(Dialers *dialers, int64_t time_ns, int64_t length_ns) noexcept nogil
