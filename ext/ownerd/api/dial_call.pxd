"""C interface of dial_call: one call of DialService, between a listener, its codec and the engine.

A call is a task and belongs to whoever made it, as a task does. The engine fills in what it
decided; whoever sends the answer encodes it (dial_encode), on its own thread, and only if the code
is OK.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from ownerd.api.task cimport Task
from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport string, vector
from ownerd.rules.ownership cimport Holder

# W3C Trace Context, version 00: `00-TRACE-PARENT-FLAGS`, in hexadecimal digits.
cdef enum:
    TRACE_PARENT_BYTES = 55
    TRACE_SAMPLED_AT = 54             # the digit whose lowest bit says that the caller samples it

cdef enum CallKind:                   # order of ownerd.engine.DIAL_METHODS
    CALL_CLAIM = 0
    CALL_CLAIM_BATCH = 1
    CALL_REPORT = 2
    CALL_REPORT_BATCH = 3
    CALL_GET_HOLDER = 4
    CALL_GIVE_BACK = 5
    CALL_KIND_COUNT = 6

ctypedef bint (*NamesMatch)(const vector[string] *patterns, Slice name) noexcept nogil

# Names by patterns, of which one is enough.
cdef cppclass NameFilter:
    vector[string] patterns
    NamesMatch matches

# A Timestamp or a Duration as it was sent.
cdef struct SentTime:
    int64_t seconds
    int32_t nanos
    bint present

# Typed rather than an enum member, which Cython would pass through a C int.
cdef extern from *:
    """
    #include <cstdint>
    static constexpr uint32_t OWNERD_UNKNOWN_CAMPAIGN = UINT32_MAX;
    """
    const uint32_t UNKNOWN_CAMPAIGN "OWNERD_UNKNOWN_CAMPAIGN"

# One record of a call. A batch has thousands, which go from thread to thread: what few of them need
# is kept apart, and flags are bytes.
cdef struct DialItem:
    Slice record_id
    Slice wrap_up_code
    int64_t attempt_time_ns           # when the attempt ended, or NO_TIME
    uint64_t reservation_id           # in: of a report, or 0; out: of a granted claim
    int64_t invalid_value             # what the text of `invalid` says was found
    uint32_t named                    # 1: the first of the call's `named`; 0: nobody is to be named
    uint32_t lapsed_campaign          # whose reservation lapsed
    uint8_t answer                    # ClaimDecision or AttemptOutcome
    uint8_t invalid                   # Reason why the item was not decided, of a batch; or 0
    uint8_t invalid_field             # an ItemField
    # flags:
    uint8_t time_wrong                # the attempt's time is none
    uint8_t code_unknown              # the wrap-up code is none that is known (R26)
    uint8_t called_twice              # rejected: two campaigns called one person (R31)
    uint8_t lapsed                    # a reservation was seen that ended without a report

# A holder that the answer names.
cdef struct NamedHolder:
    Holder holder
    Slice id                          # in place as long as the engine (core), like the next one
    Slice name
    uint32_t dialer_at                # where in `dialers` its dialer is
    uint32_t dialer_size              # 0: none
    bint own                          # the caller's own campaign

cdef struct DialCall:
    Task task                         # first: a Task* of kind TASK_DIAL is a DialCall*
    uint8_t call_kind
    bint hide_holders                 # answer with kind and expiration of a hold only
    bint return_reservation_ids
    Slice list_id
    Slice campaign_id
    Slice dialer_id                   # empty: none is named
    SentTime sent_time                # a claim's TTL; when a report's attempt ended, but of a batch
    int64_t reservation_ttl_ns        # 0: the list's
    int64_t reserved_until_ns         # of a unary claim that was granted; else 0
    NameFilter *filter                # of lists to give back in, or of the caller's own campaigns
    string *dialers                   # of the named holders, one after the other
    uint32_t item_count
    uint32_t item_capacity            # of malloc'd items
    DialItem *items                   # &single for the unary calls, malloc'd for batches
    DialItem single
    uint32_t named_count              # items that name a holder
    uint32_t named_capacity           # of malloc'd ones
    NamedHolder *named                # &single_named for the unary calls, malloc'd for batches
    NamedHolder single_named
    uint32_t list_number              # once it is decided
    uint32_t campaign                 # its number, or UNKNOWN_CAMPAIGN
    uint32_t unknown_code_count       # items whose code is unknown
    uint32_t invalid_count            # items that were not decided
    uint64_t revision                 # the revision it was decided at
    char *answer                      # the encoded response, once dial_encode was called
    size_t answer_size
    char *buffer                      # where the answer goes if it fits; else it is malloc'd
    size_t buffer_bytes
    bint is_traced
    char trace_parent[TRACE_PARENT_BYTES]  # if it is


cdef enum ItemField:
    ITEM_RECORD_ID
    ITEM_WRAP_UP_CODE
    ITEM_ATTEMPT_TIME

cdef inline bint call_is_claim(const DialCall *call) noexcept nogil:
    return call.call_kind == CALL_CLAIM or call.call_kind == CALL_CLAIM_BATCH


cdef inline bint call_is_report(const DialCall *call) noexcept nogil:
    return call.call_kind == CALL_REPORT or call.call_kind == CALL_REPORT_BATCH


cdef inline bint call_is_batch(const DialCall *call) noexcept nogil:
    return call.call_kind == CALL_CLAIM_BATCH or call.call_kind == CALL_REPORT_BATCH


cdef void call_init(DialCall *call, uint8_t call_kind) noexcept nogil
cdef void call_clear(DialCall *call) noexcept nogil
# Append an empty item; NULL past BATCH_RECORDS (the count goes on, for the message).
cdef DialItem *call_add_item(DialCall *call) noexcept nogil
# Where to say whom the item names; all but the dialer is to be filled in, before the next one.
cdef NamedHolder *call_add_named(DialCall *call, DialItem *item) noexcept nogil
cdef void call_name_dialer(DialCall *call, NamedHolder *named, Slice dialer_id) noexcept nogil
cdef void call_free_items(DialCall *call) noexcept nogil
cdef void call_shrink_answer(DialCall *call) noexcept nogil


cdef inline size_t call_item_bytes(const DialCall *call) noexcept nogil:
    """Return how many bytes a batch's decoded records take, if each names a holder; else 0."""
    return call.item_capacity * (sizeof(DialItem) + sizeof(NamedHolder))
