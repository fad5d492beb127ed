"""The messages of etcd's public API (v3), as far as the log needs them, on protobuf's wire format.

Field numbers are those of etcd's rpc.proto and kv.proto, which are for good. Fields that are not
known are passed over; what is no message of its kind is told, never guessed at.

It knows no connection and nothing of the log. Any thread.
"""

from libc.string cimport memset

from ownerd.base.bytes cimport empty_slice, slice_of, text_slice
from ownerd.base.protobuf cimport (
    WIRE_BYTES, WIRE_FIXED32, WIRE_FIXED64, WIRE_VARINT, put_varint, read_varint,
)

cdef enum:
    ALARM_NOSPACE = 1
    VARINT_BYTES = 10
    # of a RequestOp and a ResponseOp
    OP_RANGE = 1
    OP_PUT = 2
    OP_DELETE = 3


# --- writing --------------------------------------------------------------------------------------

cdef void add_varint(string *message, uint64_t value) noexcept nogil:
    cdef char text[VARINT_BYTES]
    message.append(text, put_varint(text, value) - text)


cdef void add_number(string *message, uint32_t number, uint64_t value) noexcept nogil:
    add_varint(message, number << 3 | WIRE_VARINT)
    add_varint(message, value)


cdef void add_bytes(string *message, uint32_t number, Slice value) noexcept nogil:
    add_varint(message, number << 3 | WIRE_BYTES)
    add_varint(message, value.size)
    message.append(value.data, value.size)


cdef void add_range(string *message, Slice key, Slice end) noexcept nogil:
    add_bytes(message, 1, key)
    if end.size != 0:
        add_bytes(message, 2, end)


cdef void txn_compare(string *txn, Target target, Slice key, int64_t revision) noexcept nogil:
    cdef string compare
    add_number(&compare, 2, <uint64_t> <int> target)    # `result` is EQUAL, its default
    add_bytes(&compare, 3, key)
    add_number(&compare, 5 if target == COMPARE_CREATE else 6, <uint64_t> revision)
    add_bytes(txn, 1, text_slice(compare))


cdef void add_operation(
    string *txn, Branch branch, uint32_t kind, const string *request
) noexcept nogil:
    cdef string operation
    add_bytes(&operation, kind, text_slice(request[0]))
    add_bytes(txn, <uint32_t> <int> branch, text_slice(operation))


cdef void txn_put(
    string *txn, Branch branch, Slice key, Slice value, int64_t lease
) noexcept nogil:
    cdef string request
    request.reserve(key.size + value.size + 4 * VARINT_BYTES)
    add_bytes(&request, 1, key)
    add_bytes(&request, 2, value)
    if lease != 0:
        add_number(&request, 3, <uint64_t> lease)
    add_operation(txn, branch, OP_PUT, &request)


cdef void txn_range(string *txn, Branch branch, Slice key, Slice end) noexcept nogil:
    cdef string request
    add_range(&request, key, end)
    add_operation(txn, branch, OP_RANGE, &request)


cdef void txn_delete(string *txn, Branch branch, Slice key, Slice end) noexcept nogil:
    cdef string request
    add_range(&request, key, end)
    add_operation(txn, branch, OP_DELETE, &request)


cdef void range_request(
    string *request, Slice key, Slice end, int64_t limit, bint serializable
) noexcept nogil:
    add_range(request, key, end)
    if limit != 0:
        add_number(request, 3, <uint64_t> limit)
    if serializable:
        add_number(request, 7, 1)


cdef void watch_create_request(
    string *request, Slice key, Slice end, int64_t start_revision
) noexcept nogil:
    cdef string create
    add_range(&create, key, end)
    add_number(&create, 3, <uint64_t> start_revision)
    add_number(&create, 8, 1)         # large revisions come in fragments
    add_bytes(request, 1, text_slice(create))


cdef void prefix_end(string *end, Slice prefix) noexcept nogil:
    end.assign(prefix.data, prefix.size)
    end[0][end.size() - 1] += 1       # the last byte is never 0xFF: it is a text's


# --- reading --------------------------------------------------------------------------------------

cdef struct Field:
    uint32_t number
    uint64_t value                    # of a number
    Slice bytes                       # of anything else


cdef bint next_field(Slice *rest, Field *field, bint *broken) noexcept nogil:
    """Take a message's next field; False at its end, or where it is `broken`."""
    cdef const char *at = rest.data
    cdef const char *end = at + rest.size
    cdef uint64_t tag, size
    if rest.size == 0:
        return False
    broken[0] = True
    field.value, field.bytes = 0, empty_slice()
    if not read_varint(&at, end, &tag):
        return False
    field.number = <uint32_t> (tag >> 3)
    if tag & 7 == WIRE_VARINT:
        if not read_varint(&at, end, &field.value):
            return False
    else:
        if tag & 7 == WIRE_BYTES:
            if not read_varint(&at, end, &size):
                return False
        elif tag & 7 == WIRE_FIXED64 or tag & 7 == WIRE_FIXED32:
            size = 8 if tag & 7 == WIRE_FIXED64 else 4
        else:
            return False
        if size > <uint64_t> (end - at):
            return False
        field.bytes = slice_of(at, size)
        at += size
    rest[0] = slice_of(at, end - at)
    broken[0] = False
    return True


cdef bint header_read(Slice message, Header *header) noexcept nogil:
    cdef Field field
    cdef bint broken = False
    header.cluster_id, header.revision = 0, 0
    while next_field(&message, &field, &broken):
        if field.number == 1:
            header.cluster_id = field.value
        elif field.number == 3:
            header.revision = <int64_t> field.value
    return not broken


cdef bint row_read(Slice message, KeyValue *row) noexcept nogil:
    cdef Field field
    cdef bint broken = False
    row.key = row.value = empty_slice()
    row.create_revision = row.mod_revision = row.lease = 0
    while next_field(&message, &field, &broken):
        if field.number == 1:
            row.key = field.bytes
        elif field.number == 2:
            row.create_revision = <int64_t> field.value
        elif field.number == 3:
            row.mod_revision = <int64_t> field.value
        elif field.number == 5:
            row.value = field.bytes
        elif field.number == 6:
            row.lease = <int64_t> field.value
    return not broken


cdef bint range_read(Slice message, RangeAnswer *answer) noexcept nogil:
    cdef Field field
    cdef KeyValue row
    cdef bint broken = False, right = True
    answer.found.clear()
    answer.more = False
    answer.header.cluster_id, answer.header.revision = 0, 0
    while right and next_field(&message, &field, &broken):
        if field.number == 1:
            right = header_read(field.bytes, &answer.header)
        elif field.number == 2:
            right = row_read(field.bytes, &row)
            answer.found.push_back(row)
        elif field.number == 3:
            answer.more = field.value != 0
    return right and not broken


cdef bint operation_read(Slice message, TxnAnswer *answer) noexcept nogil:
    cdef Field field
    cdef bint broken = False, right = True
    while right and next_field(&message, &field, &broken):
        if field.number == OP_RANGE:
            answer.ranges.resize(answer.ranges.size() + 1)
            right = range_read(field.bytes, &answer.ranges.back())
    return right and not broken


cdef bint txn_read(Slice message, TxnAnswer *answer) noexcept nogil:
    cdef Field field
    cdef bint broken = False, right = True
    answer.ranges.clear()
    answer.succeeded = False
    answer.header.cluster_id, answer.header.revision = 0, 0
    while right and next_field(&message, &field, &broken):
        if field.number == 1:
            right = header_read(field.bytes, &answer.header)
        elif field.number == 2:
            answer.succeeded = field.value != 0
        elif field.number == 3:
            right = operation_read(field.bytes, answer)
    return right and not broken


cdef bint event_read(Slice message, WatchEvent *event) noexcept nogil:
    cdef Field field
    cdef bint broken = False, right = True
    event.is_delete = False
    event.row.key = event.row.value = empty_slice()
    event.row.create_revision = event.row.mod_revision = event.row.lease = 0
    while right and next_field(&message, &field, &broken):
        if field.number == 1:
            event.is_delete = field.value == 1
        elif field.number == 2:
            right = row_read(field.bytes, &event.row)
    return right and not broken


cdef bint watch_read(Slice message, WatchAnswer *answer) noexcept nogil:
    cdef Field field
    cdef WatchEvent event
    cdef bint broken = False, right = True
    answer.events.clear()
    answer.created = answer.canceled = answer.fragment = False
    answer.compact_revision = 0
    answer.header.cluster_id, answer.header.revision = 0, 0
    while right and next_field(&message, &field, &broken):
        if field.number == 1:
            right = header_read(field.bytes, &answer.header)
        elif field.number == 3:
            answer.created = field.value != 0
        elif field.number == 4:
            answer.canceled = field.value != 0
        elif field.number == 5:
            answer.compact_revision = <int64_t> field.value
        elif field.number == 7:
            answer.fragment = field.value != 0
        elif field.number == 11:
            right = event_read(field.bytes, &event)
            answer.events.push_back(event)
    return right and not broken


cdef bint lease_read(Slice message, LeaseAnswer *answer) noexcept nogil:
    cdef Field field
    cdef bint broken = False, right = True
    memset(answer, 0, sizeof(LeaseAnswer))
    while right and next_field(&message, &field, &broken):
        if field.number == 1:
            right = header_read(field.bytes, &answer.header)
        elif field.number == 2:
            answer.id = <int64_t> field.value
        elif field.number == 3:
            answer.ttl_s = <int64_t> field.value
    return right and not broken


cdef bint status_read(Slice message, StatusAnswer *answer) noexcept nogil:
    cdef Field field
    cdef bint broken = False
    memset(answer, 0, sizeof(StatusAnswer))
    while next_field(&message, &field, &broken):
        if field.number == 3:
            answer.file_bytes = field.value
        elif field.number == 9:
            answer.used_bytes = field.value
        elif field.number == 12:      # since 3.6
            answer.quota_bytes = field.value
    return not broken


cdef bint alarm_read(Slice message, bint *full) noexcept nogil:
    cdef Field field
    cdef bint broken = False
    while next_field(&message, &field, &broken):
        if field.number == 2 and field.value == ALARM_NOSPACE:
            full[0] = True
    return not broken


cdef bint alarms_read(Slice message, bint *full) noexcept nogil:
    cdef Field field
    cdef bint broken = False, right = True
    full[0] = False
    while right and next_field(&message, &field, &broken):
        if field.number == 2:
            right = alarm_read(field.bytes, full)
    return right and not broken


cdef bint token_read(Slice message, string *token) noexcept nogil:
    cdef Field field
    cdef bint broken = False
    token.clear()
    while next_field(&message, &field, &broken):
        if field.number == 2:
            token.assign(field.bytes.data, field.bytes.size)
    return not broken
