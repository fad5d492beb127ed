"""C interface of dial_call: one call of DialService, between a listener, its codec and the engine.

A call is a task and belongs to whoever made it, as a task does. The engine fills in what it
decided; whoever sends the answer encodes it (dial_encode), on its own thread, and only if the code
is OK.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ownerd.api.task cimport Task
from ownerd.base.bytes cimport Slice
from ownerd.rules.ownership cimport Holder

cdef enum CallKind:                   # order of ownerd.engine.DIAL_METHODS
    CALL_CLAIM = 0
    CALL_CLAIM_BATCH = 1
    CALL_REPORT = 2
    CALL_REPORT_BATCH = 3
    CALL_GET_HOLDER = 4
    CALL_KIND_COUNT = 5

# Typed rather than an enum member, which Cython would pass through a C int.
cdef extern from *:
    """
    #include <cstdint>
    static constexpr uint32_t OWNERD_UNKNOWN_CAMPAIGN = UINT32_MAX;
    """
    const uint32_t UNKNOWN_CAMPAIGN "OWNERD_UNKNOWN_CAMPAIGN"

cdef struct DialItem:
    Slice record_id
    Slice wrap_up_code
    uint8_t answer                    # ClaimDecision or AttemptOutcome
    bint code_unknown                 # the wrap-up code is none that is known (R26)
    Holder holder                     # kind NOBODY unless somebody is to be named
    Slice holder_id                   # set with the holder; in place as long as the engine (core)
    Slice holder_name

cdef struct DialCall:
    Task task                         # first: a Task* of kind TASK_DIAL is a DialCall*
    uint8_t call_kind
    bint hide_holders                 # answer with kind and expiration of a hold only
    Slice list_id
    Slice campaign_id
    uint32_t item_count
    uint32_t item_capacity            # of malloc'd items
    DialItem *items                   # &single for the unary calls, malloc'd for batches
    DialItem single
    uint32_t list_number              # once it is decided
    uint32_t campaign                 # its number, or UNKNOWN_CAMPAIGN
    uint32_t named_count              # items that name a holder
    uint32_t unknown_code_count       # items whose code is unknown
    uint64_t revision                 # the revision it was decided at
    char *answer                      # the encoded response, once dial_encode was called
    size_t answer_size
    char *buffer                      # where the answer goes if it fits; else it is malloc'd
    size_t buffer_bytes


cdef void call_init(DialCall *call, uint8_t call_kind) noexcept nogil
cdef void call_clear(DialCall *call) noexcept nogil
cdef void call_free_items(DialCall *call) noexcept nogil
cdef void call_shrink_answer(DialCall *call) noexcept nogil


cdef inline size_t call_item_bytes(const DialCall *call) noexcept nogil:
    """Return how many bytes a batch's decoded records take; 0 for the unary calls."""
    if call.items == &call.single:
        return 0
    return call.item_capacity * sizeof(DialItem)
