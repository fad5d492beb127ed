"""gRPC's words in HTTP/2: paths, content types, timeouts, escaped messages.

Pure functions on bytes, after the protocol's description (grpc/grpc, PROTOCOL-HTTP2). Any thread
may call them. Nothing here knows a connection, a stream or a session.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcmp, strlen

from ownerd.api.dial_call cimport (
    CALL_CLAIM, CALL_CLAIM_BATCH, CALL_GET_HOLDER, CALL_GIVE_BACK, CALL_REPORT, CALL_REPORT_BATCH,
    TRACE_PARENT_BYTES,
)
from ownerd.base.bytes cimport same
from ownerd.base.units cimport NS_PER_MS, NS_PER_S, NS_PER_US

cdef enum:
    TIMEOUT_DIGITS = 8

cdef const char *DIAL_PREFIX = "/ownerd.v1.DialService/"
cdef const char *HEALTH_CHECK = "/grpc.health.v1.Health/Check"
cdef const char *HEALTH_WATCH = "/grpc.health.v1.Health/Watch"
cdef const char *GRPC = "application/grpc"
cdef const char *HEX = "0123456789ABCDEF"


cdef int grpc_target(const char *path, size_t size) noexcept nogil:
    """Return the CallKind of a path, or another Target."""
    cdef size_t prefix = strlen(DIAL_PREFIX)
    if size > prefix and memcmp(path, DIAL_PREFIX, prefix) == 0:
        path += prefix
        size -= prefix
        if same(path, size, "Claim"):
            return CALL_CLAIM
        if same(path, size, "ReportAttempt"):
            return CALL_REPORT
        if same(path, size, "ClaimBatch"):
            return CALL_CLAIM_BATCH
        if same(path, size, "ReportAttemptBatch"):
            return CALL_REPORT_BATCH
        if same(path, size, "GetHolder"):
            return CALL_GET_HOLDER
        if same(path, size, "GiveBack"):
            return CALL_GIVE_BACK
    elif same(path, size, HEALTH_CHECK):
        return TARGET_HEALTH_CHECK
    elif same(path, size, HEALTH_WATCH):
        return TARGET_HEALTH_WATCH
    return TARGET_UNKNOWN


cdef const char *grpc_call_name(int target) noexcept nogil:
    """Return the rpc's name of a call kind."""
    if target == CALL_CLAIM:
        return "Claim"
    if target == CALL_CLAIM_BATCH:
        return "ClaimBatch"
    if target == CALL_REPORT:
        return "ReportAttempt"
    if target == CALL_REPORT_BATCH:
        return "ReportAttemptBatch"
    return "GiveBack" if target == CALL_GIVE_BACK else "GetHolder"


cdef bint grpc_is_content_type(const char *content_type, size_t size) noexcept nogil:
    """Tell whether a content type is gRPC's; as grpcio does, whatever the message format."""
    cdef size_t word = strlen(GRPC)
    if size < word or memcmp(content_type, GRPC, word) != 0:
        return False
    return size == word or content_type[word] == c'+' or content_type[word] == c';'


cdef int64_t unit_ns(char unit) noexcept nogil:
    if unit == c'n':
        return 1
    if unit == c'u':
        return NS_PER_US
    if unit == c'm':
        return NS_PER_MS
    if unit == c'S':
        return NS_PER_S
    if unit == c'M':
        return 60 * NS_PER_S
    if unit == c'H':
        return 3_600 * NS_PER_S
    return 0


cdef int64_t grpc_timeout_ns(const char *text, size_t size) noexcept nogil:
    """Read a grpc-timeout: 1 to 8 digits and a unit. Returns nanoseconds, or -1 if it is none.

    The longest one, 99,999,999 hours, is cut to the largest int64.
    """
    cdef int64_t value = 0
    cdef int64_t unit
    cdef size_t i
    if not 2 <= size <= TIMEOUT_DIGITS + 1:
        return -1
    for i in range(size - 1):
        if not c'0' <= text[i] <= c'9':
            return -1
        value = value * 10 + (text[i] - c'0')
    unit = unit_ns(text[size - 1])
    if unit == 0:
        return -1
    if value > (<int64_t> 0x7FFFFFFFFFFFFFFF) // unit:
        return <int64_t> 0x7FFFFFFFFFFFFFFF
    return value * unit


cdef bint are_digits(const char *text, size_t start, size_t end) noexcept nogil:
    """Tell whether a piece is hexadecimal, in small letters, and not all zeros."""
    cdef bint any_set = False
    cdef size_t i
    for i in range(start, end):
        if not (c'0' <= text[i] <= c'9' or c'a' <= text[i] <= c'f'):
            return False
        any_set |= text[i] != c'0'
    return any_set


cdef bint grpc_is_trace_parent(const char *text, size_t size) noexcept nogil:
    """Tell whether that is a `traceparent` (W3C Trace Context) that can be understood.

    A later version may go on behind a further `-`; what is not understood is as if it were not
    there.
    """
    if size < TRACE_PARENT_BYTES or text[2] != c'-' or text[35] != c'-' or text[52] != c'-':
        return False
    if text[0] == c'0' and text[1] == c'0':
        if size != TRACE_PARENT_BYTES:
            return False
    elif not are_digits(text, 0, 2) or text[0] == c'f' and text[1] == c'f' \
            or size > TRACE_PARENT_BYTES and text[TRACE_PARENT_BYTES] != c'-':
        return False
    return are_digits(text, 3, 35) and are_digits(text, 36, 52) \
        and (are_digits(text, 53, 55) or text[53] == c'0' and text[54] == c'0')


cdef size_t grpc_escape(const char *message, char *escaped) noexcept nogil:
    """Write a grpc-message percent-encoded; `escaped` has space for three times its bytes."""
    cdef size_t size = 0
    cdef unsigned char byte
    while message[0] != 0:
        byte = <unsigned char> message[0]
        message += 1
        if 0x20 <= byte <= 0x7E and byte != c'%':
            escaped[size] = <char> byte
            size += 1
        else:
            escaped[size] = c'%'
            escaped[size + 1] = HEX[byte >> 4]
            escaped[size + 2] = HEX[byte & 15]
            size += 3
    return size
