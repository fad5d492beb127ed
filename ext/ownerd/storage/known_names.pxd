"""C interface of known_names: names of lists, campaigns and dialers, as of a place in the log."""

from libc.stdint cimport uint32_t, uint64_t

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport string, unordered_map, vector
from ownerd.storage.file_log cimport FileLog
from ownerd.storage.log_entry cimport LogRow
from ownerd.storage.log_reader cimport ReadStatus
from ownerd.storage.table_cursor cimport Tables

cdef cppclass KnownCampaign:
    string id
    string name

# One thread's at a time.
cdef cppclass KnownNames:
    unordered_map[uint32_t, vector[string]] lists   # by number; each one's in byte order
    uint64_t list_changes             # how often a name has come or gone
    vector[KnownCampaign] campaigns   # by number
    unordered_map[uint32_t, string] dialers         # by number, where they are asked for
    unordered_map[string, uint32_t] listed          # every list id since, with its last number


# As they were after a revision, out of what is committed and of the log since. READ_TAIL: they are
# known; READ_TRIMMED, READ_DAMAGED, READ_FAILED: the log has it no more, or not as it was written.
# `code` is LMDB's, where a table cannot be read.
cdef ReadStatus names_load(
    KnownNames *names, const Tables *tables, FileLog *log, uint64_t after_revision,
    bint with_dialers, int *code
) noexcept nogil
# What rows of the log say of names, in their order.
cdef void names_take(KnownNames *names, const LogRow *row) noexcept nogil
cdef void names_add_list(KnownNames *names, uint32_t number, Slice list_id) noexcept nogil
cdef void names_drop_list(KnownNames *names, uint32_t number, Slice list_id) noexcept nogil
# NULL: none is known.
cdef const vector[string] *names_of_list(KnownNames *names, uint32_t number) noexcept nogil
cdef const KnownCampaign *named_campaign(KnownNames *names, uint32_t number) noexcept nogil
cdef Slice named_dialer(KnownNames *names, uint32_t number) noexcept nogil
