"""What passes between a listener, wire and the engine: one call of DialService, as C structs.

A call belongs to whoever made it. From `engine_submit` until its `on_answer` runs, only the engine
touches it; everything that its slices point to stays where it is for as long.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from ownerd.base.bytes cimport Slice
from ownerd.rules.ownership cimport Holder

cdef enum StatusCode:                 # gRPC's numbers
    OK = 0
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16

cdef enum:
    MESSAGE_BYTES = 512               # longest error message, with its NUL

cdef enum TaskKind:
    TASK_DIAL = 0
    TASK_COMMAND = 1
    TASK_SNAPSHOT = 2
    TASK_PLAN = 3

ctypedef void (*OnDone)(Task *task) noexcept nogil

# The head of everything that the engine's queue holds.
cdef struct Task:
    Task *next
    OnDone on_done                    # called once, from the writer thread, without the GIL
    void *context                     # the submitter's own
    void *body                        # what the task is, by kind; a dial is its own body
    uint8_t kind
    uint32_t record_count             # what it counts against the queue's bound
    int64_t deadline_ns               # of clock_elapsed; a dial not decided by then is dropped
    int code                          # StatusCode, once done
    char *message                     # malloc'd; NULL unless code is an error
    int64_t retry_ms                  # how long to wait before trying again; 0: not said

cdef enum CallKind:                   # order of ownerd.engine.DIAL_METHODS
    CALL_CLAIM = 0
    CALL_CLAIM_BATCH = 1
    CALL_REPORT = 2
    CALL_REPORT_BATCH = 3
    CALL_GET_HOLDER = 4
    CALL_KIND_COUNT = 5

cdef struct DialItem:
    Slice record_id
    Slice wrap_up_code
    uint8_t answer                    # ClaimDecision or AttemptOutcome
    Holder holder                     # kind NOBODY unless somebody is to be named
    Slice holder_id                   # set with the holder; owned by the engine, valid in on_done
    Slice holder_name

cdef struct DialCall:
    Task task                         # first: a Task* of kind TASK_DIAL is a DialCall*
    uint8_t call_kind
    bint hide_holders                 # answer with kind and expiration of a hold only
    Slice list_id
    Slice campaign_id
    uint32_t item_count
    DialItem *items                   # &single for the unary calls, malloc'd for batches
    DialItem single
    uint64_t revision                 # the revision it was decided at
    char *answer                      # the encoded response, once done with code OK
    size_t answer_size
    char *room                        # where the answer goes if it fits; else it is malloc'd
    size_t buffer_bytes


cdef void task_clear(Task *task) noexcept nogil
cdef char *task_refuse(Task *task, int code) noexcept nogil
cdef void call_init(DialCall *call, uint8_t call_kind) noexcept nogil
cdef void call_clear(DialCall *call) noexcept nogil
cdef int printable(const char *data, size_t size) noexcept nogil
