"""C interface of dial_codec: the messages of DialService to and from bytes."""

from libc.stdint cimport int64_t, uint32_t

from ownerd.api.dial_call cimport DialCall, DialItem, ItemField
from ownerd.api.reasons cimport Reason
from ownerd.base.bytes cimport Slice

cdef bint dial_decode(DialCall *call, const char *body, size_t size) noexcept nogil
# What was found is a number of its text.
cdef void item_refuse(
    DialCall *call, DialItem *item, Reason reason, ItemField field, int64_t found
) noexcept nogil
cdef void dial_encode(DialCall *call) noexcept nogil
cdef bint read_text_field(
    const char *body, size_t size, uint32_t number, Slice *text
) noexcept nogil
cdef bint utf8_valid(const unsigned char *text, size_t size) noexcept nogil
