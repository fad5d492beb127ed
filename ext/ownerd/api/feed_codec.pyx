"""Encoding of WatchResponse: protobuf bytes of events, appended one by one.

Events come first and the message's own fields behind them, which protobuf reads as well: whether
more of a revision follows is known only at its end.

It knows no numbers of lists or campaigns, and judges nothing.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.api.holder_codec cimport HOLDER_BYTES, put_holder
from ownerd.base.bytes cimport slice_of, text_slice
from ownerd.base.protobuf cimport (
    WIRE_BYTES, put_bytes, put_number, put_text, put_time, put_varint,
)
from ownerd.rules.ownership cimport DEFAULT_WINDOW, NEVER_NS, NOBODY

# Numbers of WatchEvent's fields.
cdef enum:
    EVENT_LIST = 1
    EVENT_RECORD = 2
    EVENT_POLICY = 3
    EVENT_DURATION = 4
    EVENT_RELEASED = 5
    EVENT_TRANSFERRED = 6
    EVENT_RESERVATIONS_ENDED = 7
    EVENT_LIST_CREATED = 8
    EVENT_LIST_DELETED = 9
    EVENT_RENAMED = 10
    EVENT_REJECTED = 11
    EVENT_PROGRESS = 12
    EVENT_TIME_SET_BACK = 13

cdef enum:
    EVENTS = 5                        # the field of WatchResponse
    TAG_BYTES = 16                    # of a tag and a size, at most
    TEXT_BYTES = 300                  # of an id or a name with its tag and size, at most
    POLICY_BYTES = 128
    # The kinds but records and rejected attempts, which have holders too.
    SMALL_BYTES = 4 * TEXT_BYTES + POLICY_BYTES
    LARGE_BYTES = HOLDER_BYTES + 5 * TEXT_BYTES


cdef void add_event(string *message, Slice list_id, uint32_t kind, Slice body) noexcept nogil:
    """Append an event with its list and one kind."""
    cdef char head[2 * TAG_BYTES + TEXT_BYTES]
    cdef char inner[TAG_BYTES + TEXT_BYTES]
    cdef char *end = put_text(inner, EVENT_LIST, list_id)
    end = put_varint(put_varint(end, kind << 3 | WIRE_BYTES), body.size)
    cdef size_t size = end - inner
    end = put_varint(put_varint(head, EVENTS << 3 | WIRE_BYTES), size + body.size)
    message.append(head, end - head)
    message.append(inner, size)
    message.append(body.data, body.size)


cdef void add(
    string *message, Slice list_id, uint32_t kind, const char *body, const char *end
) noexcept nogil:
    add_event(message, list_id, kind, slice_of(body, end - body))


cdef char *put_named(char *at, uint32_t number, const Named *named) noexcept nogil:
    cdef char inner[HOLDER_BYTES]
    cdef char *end
    if named.holder.kind == NOBODY:
        return at
    end = put_holder(inner, &named.holder, named.id, named.name, named.dialer_id)
    return put_bytes(at, number, slice_of(inner, end - inner))


cdef char *put_policy(char *at, uint32_t number, const Policy *policy) noexcept nogil:
    cdef char inner[POLICY_BYTES]
    cdef char *end = put_number(inner, 1, policy.enabled)
    if policy.duration_ns != NEVER_NS:
        end = put_time(end, 2, policy.duration_ns)
    else:
        end = put_number(end, 3, 1)
    if policy.renewal_window_ns != DEFAULT_WINDOW:
        end = put_time(end, 4, policy.renewal_window_ns)
    end = put_time(end, 5, policy.reservation_ttl_ns)
    return put_bytes(at, number, slice_of(inner, end - inner))


cdef void feed_record(
    string *message, Slice list_id, Slice record_id, const Named *holder, bint given_away
) noexcept nogil:
    cdef char body[LARGE_BYTES]
    cdef char *end = put_named(put_text(body, 1, record_id), 2, holder)
    add(message, list_id, EVENT_RECORD, body, put_number(end, 3, given_away))


cdef void feed_policy(string *message, Slice list_id, const Policy *policy) noexcept nogil:
    cdef char body[POLICY_BYTES + TAG_BYTES]
    add(message, list_id, EVENT_POLICY, body, put_policy(body, 1, policy))


cdef void feed_duration(
    string *message, Slice list_id, int64_t time_ns, int64_t duration_ns
) noexcept nogil:
    cdef char body[SMALL_BYTES]
    cdef char *end = put_time(body, 1, time_ns)
    if duration_ns != NEVER_NS:
        end = put_time(end, 2, duration_ns)
    add(message, list_id, EVENT_DURATION, body, end)


cdef void feed_released(
    string *message, Slice list_id, int64_t time_ns, Slice campaign_id, bint include_reservations
) noexcept nogil:
    cdef char body[SMALL_BYTES]
    cdef char *end = put_text(put_time(body, 1, time_ns), 2, campaign_id)
    add(message, list_id, EVENT_RELEASED, body, put_number(end, 3, include_reservations))


cdef void feed_transferred(
    string *message, Slice list_id, int64_t time_ns, Slice from_id, Slice to_id, Slice to_name
) noexcept nogil:
    cdef char body[SMALL_BYTES]
    cdef char *end = put_text(put_time(body, 1, time_ns), 2, from_id)
    end = put_text(put_text(end, 3, to_id), 4, to_name)
    add(message, list_id, EVENT_TRANSFERRED, body, end)


cdef void feed_reservations_ended(
    string *message, Slice list_id, int64_t time_ns, Slice campaign_id, Slice dialer_id
) noexcept nogil:
    cdef char body[SMALL_BYTES]
    cdef char *end = put_text(put_time(body, 1, time_ns), 2, campaign_id)
    add(message, list_id, EVENT_RESERVATIONS_ENDED, body, put_text(end, 3, dialer_id))


cdef void feed_list_created(
    string *message, Slice list_id, const Policy *policy, const vector[string] *names
) noexcept nogil:
    """Append the event; of `names`, those of the list's ownership, the others are told."""
    cdef char head[POLICY_BYTES + TAG_BYTES]
    cdef char each[TEXT_BYTES]
    cdef string body
    cdef string own = string(list_id.data, list_id.size)
    cdef size_t i
    body.append(head, put_policy(head, 1, policy) - head)
    for i in range(names.size()):
        if not (names[0][i] == own):
            body.append(each, put_text(each, 2, text_slice(names[0][i])) - each)
    add_event(message, list_id, EVENT_LIST_CREATED, text_slice(body))


cdef void feed_list_deleted(string *message, Slice list_id) noexcept nogil:
    add_event(message, list_id, EVENT_LIST_DELETED, slice_of("", 0))


cdef void feed_renamed(string *message, Slice campaign_id, Slice name) noexcept nogil:
    cdef char body[SMALL_BYTES]
    cdef char *end = put_text(put_text(body, 1, campaign_id), 2, name)
    add(message, slice_of("", 0), EVENT_RENAMED, body, end)


cdef void feed_rejected(
    string *message, Slice list_id, Slice record_id, const Named *called, const Named *holder,
    int64_t attempt_ns, Slice reported_list_id
) noexcept nogil:
    cdef char body[LARGE_BYTES]
    cdef char *end = put_text(body, 1, record_id)
    end = put_text(put_text(end, 2, called.id), 3, called.name)
    end = put_time(put_named(end, 4, holder), 5, attempt_ns)
    add(message, list_id, EVENT_REJECTED, body, put_text(end, 6, reported_list_id))


cdef void feed_progress(string *message) noexcept nogil:
    add_event(message, slice_of("", 0), EVENT_PROGRESS, slice_of("", 0))


cdef void feed_time_set_back(
    string *message, Slice list_id, int64_t time_ns, int64_t length_ns
) noexcept nogil:
    cdef char body[SMALL_BYTES]
    cdef char *end = put_time(put_time(body, 1, time_ns), 2, length_ns)
    add(message, list_id, EVENT_TIME_SET_BACK, body, end)


cdef void feed_finish(
    string *message, uint64_t revision, bint complete, Slice incarnation_id, int64_t time_ns
) noexcept nogil:
    cdef char fields[SMALL_BYTES]
    cdef char *end = put_number(put_number(fields, 1, revision), 2, complete)
    end = put_time(put_text(end, 3, incarnation_id), 4, time_ns)
    message.append(fields, end - fields)
