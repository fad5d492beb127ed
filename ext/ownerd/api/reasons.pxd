"""C interface of reasons: why calls are refused, and the one place that says so.

A reason has a gRPC code, a name for programs and a text for people; several may share a name.
"""

from libc.stdint cimport int64_t

from ownerd.api.task cimport Task
from ownerd.base.bytes cimport Slice

cdef enum Reason:
    NO_REASON = 0
    # a request that cannot be right
    MALFORMED_MESSAGE
    FIELD_EMPTY
    FIELD_LENGTH
    FIELD_NOT_UTF8
    BATCH_LENGTH
    CODE_UNKNOWN
    TIME_NOT_VALID
    ATTEMPT_AHEAD
    TTL_NOT_ALLOWED
    # what is named is not there, or there already
    LIST_NOT_FOUND
    LIST_EXISTS
    CAMPAIGN_NOT_FOUND
    CODE_NOT_FOUND
    CODE_EXISTS
    # the state forbids it
    STALE_ETAG
    REQUEST_OF_BEFORE
    LIST_OWNED
    LIST_DIALED
    LIST_UNCOUNTED
    CAMPAIGN_HOLDS
    CAMPAIGN_DIALS
    IMPORT_CONFLICT
    # too much
    STORE_FULL
    QUEUE_FULL
    TOO_MANY_READS
    TOO_MANY_DIALERS
    TOO_MUCH_UNDER_WAY
    RATE_LIMITED
    # not now
    SERVER_STOPPING
    STORAGE_FAILED
    DEADLINE_PASSED
    REQUEST_STALLED
    # not by this caller
    TOKEN_NOT_VALID
    NO_CREDENTIALS
    RIGHT_LACKING
    # not as gRPC asks: grpcio gives no reasons for these, and neither do we
    HEADERS_TOO_LARGE
    MESSAGE_TOO_LARGE
    NOT_POST
    NOT_GRPC
    NO_TRAILERS
    BAD_TIMEOUT
    UNKNOWN_METHOD
    UNKNOWN_SERVICE
    COMPRESSED
    COMPRESSION_UNTOLD
    NO_MESSAGE
    MESSAGE_CUT_OFF
    MORE_MESSAGES
    # not here, in a cluster
    NOT_LEADING
    OUTCOME_UNKNOWN
    REASON_COUNT

# What stands for one placeholder of a text.
cdef struct Value:
    const char *text                  # NULL: it is a number
    size_t size
    bint quoted                       # and cut, if it is long
    int64_t number


cdef Value quoted(Slice text) noexcept nogil
cdef Value words(const char *text) noexcept nogil
cdef Value numeral(int64_t value) noexcept nogil
cdef void refuse(Task *task, Reason reason) noexcept nogil
# `values` are those of the text's placeholders, in order.
cdef void refuse_with(Task *task, Reason reason, const Value *values) noexcept nogil
cdef void refuse_about(Task *task, Reason reason, Slice text) noexcept nogil
# A reason's text with its values, without a NUL, at most `size` bytes; returns how many.
cdef size_t reason_text(
    char *message, size_t size, Reason reason, const Value *values
) noexcept nogil
# The name of the reason that a refused task has; "" where it has none for programs.
cdef const char *reason_name(const Task *task) noexcept nogil
cdef int printable(const char *data, size_t size) noexcept nogil
cdef task_refusal(const Task *task)
