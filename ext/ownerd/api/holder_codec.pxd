"""Encoding of Holder, which answers of DialService and events of the feed have.

Whoever writes has HOLDER_BYTES for one.
"""

from ownerd.base.bytes cimport Slice
from ownerd.base.protobuf cimport put_number, put_text, put_time
from ownerd.rules.ownership cimport NEVER_NS, Holder

cdef enum:
    HOLDER_BYTES = 640                # a Holder with its longest fields fits


cdef inline char *put_hidden_holder(char *at, const Holder *holder) noexcept nogil:
    """Write a Holder's fields, of one whose campaign the caller is not to know."""
    at = put_number(at, 1, holder.kind)
    return at if holder.until_ns == NEVER_NS else put_time(at, 5, holder.until_ns)


cdef inline char *put_holder(
    char *at, const Holder *holder, Slice id, Slice name, Slice dialer_id
) noexcept nogil:
    """Write a Holder's fields."""
    at = put_number(at, 1, holder.kind)
    at = put_text(at, 2, id)
    at = put_text(at, 3, name)
    at = put_time(at, 4, holder.since_ns)
    if holder.until_ns != NEVER_NS:
        at = put_time(at, 5, holder.until_ns)
    at = put_text(at, 6, dialer_id)
    if holder.last_attempt_ns > 0:
        at = put_time(at, 7, holder.last_attempt_ns)
    if holder.reserved_until_ns != 0:
        at = put_time(at, 8, holder.reserved_until_ns)
    return at
