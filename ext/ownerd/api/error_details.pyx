"""Why a call was refused, for programs: google.rpc.Status with one google.rpc.ErrorInfo, encoded.

The bytes are those that protobuf makes of the same messages, in base64 as gRPC writes the trailer
`grpc-status-details-bin`: without padding. Pure functions; any thread may call them.
"""

from libc.stdint cimport uint32_t
from libc.string cimport strlen

from ownerd.api.reasons cimport reason_name
from ownerd.api.task cimport MESSAGE_BYTES, Task
from ownerd.base.bytes cimport slice_of
from ownerd.base.protobuf cimport put_bytes, put_number

cdef enum:
    INFO_BYTES = 128                  # a reason has at most 63
    ANY_BYTES = 256
    STATUS_BYTES = MESSAGE_BYTES + ANY_BYTES

cdef const char *DOMAIN = "ownerd"
cdef const char *INFO_TYPE = "type.googleapis.com/google.rpc.ErrorInfo"
cdef const char *BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


cdef inline char *put_words(char *at, uint32_t number, const char *text) noexcept nogil:
    return put_bytes(at, number, slice_of(text, strlen(text)))


cdef size_t encode_status(const Task *task, const char *reason, char *status) noexcept nogil:
    """Write Status{code=1, message=2, details=3: Any{type_url=1, value=2: ErrorInfo}}."""
    cdef char info[INFO_BYTES]
    cdef char packed[ANY_BYTES]
    cdef char *end = put_words(put_words(info, 1, reason), 2, DOMAIN)
    end = put_bytes(put_words(packed, 1, INFO_TYPE), 2, slice_of(info, end - info))
    cdef size_t packed_size = end - packed
    end = put_words(put_number(status, 1, task.code), 2, task.message)
    return put_bytes(end, 3, slice_of(packed, packed_size)) - status


cdef size_t encode_base64(const char *data, size_t size, char *text) noexcept nogil:
    """Write base64 without padding; return its size."""
    cdef const unsigned char *at = <const unsigned char *> data
    cdef uint32_t bits = 0
    cdef int waiting = 0              # bits not written yet
    cdef size_t i, written = 0
    for i in range(size):
        bits = bits << 8 | at[i]
        waiting += 8
        while waiting >= 6:
            waiting -= 6
            text[written] = BASE64[bits >> waiting & 63]
            written += 1
    if waiting > 0:
        text[written] = BASE64[bits << (6 - waiting) & 63]
        written += 1
    return written


cdef size_t details_encode(const Task *task, char *trailer) noexcept nogil:
    cdef char status[STATUS_BYTES]
    cdef const char *reason = reason_name(task)
    if reason[0] == 0:
        return 0
    return encode_base64(status, encode_status(task, reason, status), trailer)
