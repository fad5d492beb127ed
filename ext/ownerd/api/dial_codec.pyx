"""Decode and encode of the messages of DialService: protobuf bytes to and from `DialCall`.

Decoding checks everything that needs no state: well-formed bytes, UTF-8, the length of each field,
the size of a batch. What is wrong with one item of a batch is noted in the item; the others are
decided (R25). The decoded slices point into the caller's bytes. As protobuf asks, unknown fields
are skipped, the last occurrence of a field wins, and messages that are sent twice are merged.

It decides nothing and knows no names of lists or campaigns: the engine fills in the holder.
"""

from libc.stdint cimport UINT32_MAX, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport abort, malloc
from libc.string cimport memset

from ownerd.api.dial_call cimport (
    CALL_CLAIM, CALL_CLAIM_BATCH, CALL_GET_HOLDER, CALL_GIVE_BACK, CALL_REPORT, ITEM_ATTEMPT_TIME,
    ITEM_RECORD_ID, ITEM_WRAP_UP_CODE, DialItem, ItemField, NamedHolder, SentTime, call_add_item,
    call_is_batch, call_is_claim, call_is_report,
)
from ownerd.api.holder_codec cimport HOLDER_BYTES, put_hidden_holder, put_holder
from ownerd.api.reasons cimport (
    BATCH_LENGTH, CODE_UNKNOWN, FIELD_EMPTY, FIELD_LENGTH, FIELD_NOT_UTF8,
    MALFORMED_MESSAGE, NO_REASON, TIME_NOT_VALID, TTL_NOT_ALLOWED, Reason, Value, numeral, quoted,
    reason_text, refuse, refuse_with, words,
)
from ownerd.api.task cimport MESSAGE_BYTES, OK
from ownerd.base.bytes cimport Slice, get_le64, put_le64, slice_of
from ownerd.base.protobuf cimport (
    WIRE_BYTES, WIRE_FIXED32, WIRE_FIXED64, WIRE_GROUP, WIRE_GROUP_END, WIRE_VARINT, put_bytes,
    put_fixed64, put_number, put_text, put_time, put_varint, read_varint,
)
from ownerd.base.units cimport NS_PER_S
from ownerd.rules.limits cimport (
    BATCH_RECORDS, CAMPAIGN_ID_BYTES, DIALER_ID_BYTES, LIST_ID_BYTES, RECORD_ID_BYTES,
    WRAP_UP_CODE_BYTES,
)
from ownerd.rules.ownership cimport ATTEMPT_INVALID, CLAIM_INVALID, NO_TIME

cdef enum:
    TAG_BYTES = 5                     # of a varint that fits into 32 bits
    GROUP_DEPTH = 100                 # as deep as protobuf's own parsers follow
    PLACE_BYTES = 64                  # the name of a field, with its index
    INVALID_BYTES = MESSAGE_BYTES + 32   # an InvalidItem with the longest reason fits
    FIXED_BYTES = 96                  # the fields of an answer that are no list
    LONGEST_TTL_S = 86_400

# No time of a report lies farther from the epoch, either way (146 years).
cdef int64_t FARTHEST_NS = 1 << 62
cdef int64_t FIRST_SECOND = -62_135_596_800    # of the year 1
cdef int64_t LAST_SECOND = 253_402_300_799     # of the year 9999


# --- reading --------------------------------------------------------------------------------------

cdef struct Reader:
    const char *at
    const char *end


cdef bint read_bytes(Reader *reader, Slice *field) noexcept nogil:
    cdef uint64_t size
    if not read_varint(&reader.at, reader.end, &size) or size > <uint64_t> (reader.end - reader.at):
        return False
    field.data = reader.at
    field.size = size
    reader.at += size
    return True


cdef bint read_tag(Reader *reader, uint32_t *number, uint32_t *wire_type) noexcept nogil:
    cdef const char *start = reader.at
    cdef uint64_t tag
    if not read_varint(&reader.at, reader.end, &tag) or tag > <uint64_t> UINT32_MAX \
            or reader.at - start > TAG_BYTES:
        return False
    number[0] = <uint32_t> tag >> 3
    wire_type[0] = <uint32_t> tag & 7
    return number[0] != 0


cdef bint skip_fixed(Reader *reader, size_t size) noexcept nogil:
    if <size_t> (reader.end - reader.at) < size:
        return False
    reader.at += size
    return True


cdef bint skip_field(Reader *reader, uint32_t number, uint32_t wire_type) noexcept nogil:
    """Skip an unknown field; a group is skipped with all that is nested in it."""
    cdef uint32_t open_groups[GROUP_DEPTH]
    cdef int depth = 0
    cdef uint64_t ignored
    cdef Slice field
    while True:
        if wire_type == WIRE_VARINT:
            if not read_varint(&reader.at, reader.end, &ignored):
                return False
        elif wire_type == WIRE_FIXED64 or wire_type == WIRE_FIXED32:
            if not skip_fixed(reader, 8 if wire_type == WIRE_FIXED64 else 4):
                return False
        elif wire_type == WIRE_BYTES:
            if not read_bytes(reader, &field):
                return False
        elif wire_type == WIRE_GROUP:
            if depth == GROUP_DEPTH:
                return False
            open_groups[depth] = number
            depth += 1
        elif wire_type == WIRE_GROUP_END:
            if depth == 0 or open_groups[depth - 1] != number:
                return False
            depth -= 1
        else:
            return False
        if depth == 0:
            return True
        if not read_tag(reader, &number, &wire_type):
            return False


cdef bint utf8_valid(const unsigned char *text, size_t size) noexcept nogil:
    """Tell whether `text` is UTF-8: no overlong forms, no surrogates, nothing past U+10FFFF."""
    cdef size_t i = 0, more
    cdef unsigned char lead, low, high
    while i < size:
        lead = text[i]
        i += 1
        if lead < 0x80:
            continue
        low, high = 0x80, 0xBF
        if 0xC2 <= lead <= 0xDF:
            more = 1
        elif 0xE0 <= lead <= 0xEF:
            more = 2
            low = 0xA0 if lead == 0xE0 else 0x80
            high = 0x9F if lead == 0xED else 0xBF
        elif 0xF0 <= lead <= 0xF4:
            more = 3
            low = 0x90 if lead == 0xF0 else 0x80
            high = 0x8F if lead == 0xF4 else 0xBF
        else:
            return False
        if size - i < more or not low <= text[i] <= high:
            return False
        i += 1
        more -= 1
        while more > 0:
            if text[i] & 0xC0 != 0x80:
                return False
            i += 1
            more -= 1
    return True


# --- the requests ---------------------------------------------------------------------------------

cdef bint malformed(DialCall *call) noexcept nogil:
    refuse(&call.task, MALFORMED_MESSAGE)
    return False


cdef bint text_ok(
    DialCall *call, const char *name, Slice field, size_t longest
) noexcept nogil:
    """Check one text field of the call as a whole; on failure the message names it."""
    cdef Value values[4]
    if 0 < field.size <= longest and utf8_valid(<const unsigned char *> field.data, field.size):
        return True
    values[0] = words(name)
    if field.size == 0:
        values[1] = numeral(longest)
        refuse_with(&call.task, FIELD_EMPTY, values)
    elif field.size > longest:
        values[1], values[2], values[3] = numeral(field.size), numeral(1), numeral(longest)
        refuse_with(&call.task, FIELD_LENGTH, values)
    else:
        refuse_with(&call.task, FIELD_NOT_UTF8, values)
    return False


cdef bint read_text(Reader *reader, Slice *field) noexcept nogil:
    """Read a text field; the last occurrence wins, but an earlier one must be UTF-8 as well."""
    if field.size != 0 and not utf8_valid(<const unsigned char *> field.data, field.size):
        return False
    return read_bytes(reader, field)


cdef bint read_fixed64(Reader *reader, uint64_t *value) noexcept nogil:
    if <size_t> (reader.end - reader.at) < 8:
        return False
    value[0] = get_le64(reader.at)
    reader.at += 8
    return True


cdef bint read_time(Reader *reader, SentTime *time) noexcept nogil:
    """Read a Timestamp or a Duration, which are laid out alike, into what was read of it before."""
    cdef Slice body
    cdef Reader inner
    cdef uint32_t number, wire_type
    cdef uint64_t value
    if not read_bytes(reader, &body):
        return False
    time.present = True
    inner.at, inner.end = body.data, body.data + body.size
    while inner.at < inner.end:
        if not read_tag(&inner, &number, &wire_type):
            return False
        if wire_type != WIRE_VARINT or number > 2:
            if not skip_field(&inner, number, wire_type):
                return False
            continue
        if not read_varint(&inner.at, inner.end, &value):
            return False
        if number == 1:
            time.seconds = <int64_t> value
        else:
            time.nanos = <int32_t> <uint32_t> value
    return True


cdef void set_time(DialItem *item, const SentTime *time) noexcept nogil:
    """Set the attempt's time, in nanoseconds, or that it is none."""
    item.attempt_time_ns = NO_TIME
    if not time.present:
        return
    item.time_wrong = (
        not FIRST_SECOND <= time.seconds <= LAST_SECOND or not 0 <= time.nanos < NS_PER_S
    )
    if time.seconds >= FARTHEST_NS // NS_PER_S:
        item.attempt_time_ns = FARTHEST_NS
    elif time.seconds <= -FARTHEST_NS // NS_PER_S:
        item.attempt_time_ns = -FARTHEST_NS
    else:
        item.attempt_time_ns = time.seconds * NS_PER_S + time.nanos


cdef bint read_attempt(Slice body, DialItem *item) noexcept nogil:
    """Read one ReportAttemptBatchRequest.Attempt."""
    cdef Reader reader
    cdef SentTime time
    cdef uint32_t number, wire_type
    cdef bint done
    memset(&time, 0, sizeof(time))
    reader.at, reader.end = body.data, body.data + body.size
    while reader.at < reader.end:
        if not read_tag(&reader, &number, &wire_type):
            return False
        if wire_type == WIRE_BYTES and number == 1:
            done = read_text(&reader, &item.record_id)
        elif wire_type == WIRE_BYTES and number == 2:
            done = read_text(&reader, &item.wrap_up_code)
        elif wire_type == WIRE_BYTES and number == 3:
            done = read_time(&reader, &time)
        elif wire_type == WIRE_FIXED64 and number == 4:
            done = read_fixed64(&reader, &item.reservation_id)
        else:
            done = skip_field(&reader, number, wire_type)
        if not done:
            return False
    set_time(item, &time)
    return True


cdef bint read_item(DialCall *call, Reader *reader) noexcept nogil:
    """Read one element of a batch's repeated field."""
    cdef Slice field
    cdef DialItem *item
    cdef DialItem beyond
    if not read_bytes(reader, &field):
        return False
    item = call_add_item(call)
    if item == NULL:
        memset(&beyond, 0, sizeof(beyond))
        item = &beyond
    if call.call_kind == CALL_CLAIM_BATCH:
        item.record_id = field
        return True
    return read_attempt(field, item)


cdef Slice *unary_text(DialCall *call, uint32_t number) noexcept nogil:
    """Return where text field `number` of a unary request goes; NULL if there is no such field."""
    if call.call_kind == CALL_GIVE_BACK:
        if number == 1:
            return &call.campaign_id
        if number == 2:
            return &call.dialer_id
        return &call.list_id if number == 3 else NULL
    if number == 1:
        return &call.list_id
    if number == 2:
        return &call.single.record_id
    if number == 3 and call.call_kind != CALL_GET_HOLDER:
        return &call.campaign_id
    if number == 4 and call.call_kind == CALL_REPORT:
        return &call.single.wrap_up_code
    if (number == 4 and call.call_kind == CALL_CLAIM) \
            or (number == 5 and call.call_kind == CALL_REPORT):
        return &call.dialer_id
    return NULL


cdef SentTime *unary_time(DialCall *call, uint32_t number) noexcept nogil:
    """Return where time field `number` of a unary request goes, likewise."""
    if (number == 5 and call.call_kind == CALL_CLAIM) \
            or (number == 6 and call.call_kind == CALL_REPORT):
        return &call.sent_time
    return NULL


cdef bint read_unary_field(
    DialCall *call, Reader *reader, uint32_t number, uint32_t wire_type
) noexcept nogil:
    cdef Slice *text = unary_text(call, number)
    cdef SentTime *time = unary_time(call, number)
    if wire_type == WIRE_BYTES and text != NULL:
        return read_text(reader, text)
    if wire_type == WIRE_BYTES and time != NULL:
        return read_time(reader, time)
    if wire_type == WIRE_FIXED64 and number == 7 and call.call_kind == CALL_REPORT:
        return read_fixed64(reader, &call.single.reservation_id)
    return skip_field(reader, number, wire_type)


cdef bint read_unary(DialCall *call, Reader *reader) noexcept nogil:
    cdef uint32_t number, wire_type
    call.item_count = call.call_kind != CALL_GIVE_BACK
    while reader.at < reader.end:
        if not read_tag(reader, &number, &wire_type) \
                or not read_unary_field(call, reader, number, wire_type):
            return False
    if call.call_kind == CALL_REPORT:
        set_time(&call.single, &call.sent_time)
    return True


cdef bint read_batch_field(
    DialCall *call, Reader *reader, uint32_t number, uint32_t wire_type
) noexcept nogil:
    cdef uint64_t flag
    if wire_type == WIRE_BYTES and number == 1:
        return read_text(reader, &call.list_id)
    if wire_type == WIRE_BYTES and number == 2:
        return read_text(reader, &call.campaign_id)
    if wire_type == WIRE_BYTES and number == 3:
        return read_item(call, reader)
    if wire_type == WIRE_BYTES and number == 4:
        return read_text(reader, &call.dialer_id)
    if wire_type == WIRE_BYTES and number == 5 and call.call_kind == CALL_CLAIM_BATCH:
        return read_time(reader, &call.sent_time)
    if wire_type == WIRE_VARINT and number == 6 and call.call_kind == CALL_CLAIM_BATCH:
        if not read_varint(&reader.at, reader.end, &flag):
            return False
        call.return_reservation_ids = flag != 0
        return True
    return skip_field(reader, number, wire_type)


cdef bint read_batch(DialCall *call, Reader *reader) noexcept nogil:
    cdef uint32_t number, wire_type
    call.item_count = 0
    while reader.at < reader.end:
        if not read_tag(reader, &number, &wire_type) \
                or not read_batch_field(call, reader, number, wire_type):
            return False
    return True


cdef bint batch_size_ok(DialCall *call) noexcept nogil:
    cdef const char *name = "record_ids" if call.call_kind == CALL_CLAIM_BATCH else "attempts"
    cdef Value values[3]
    if 1 <= call.item_count <= BATCH_RECORDS:
        return True
    values[0], values[1], values[2] = words(name), numeral(call.item_count), numeral(BATCH_RECORDS)
    refuse_with(&call.task, BATCH_LENGTH, values)
    call.item_count = 0               # items past the limit were never stored
    return False


# --- one item -------------------------------------------------------------------------------------

cdef const char *field_name(uint8_t field) noexcept nogil:
    if field == ITEM_RECORD_ID:
        return "record_id"
    return "wrap_up_code" if field == ITEM_WRAP_UP_CODE else "attempt_time"


cdef void fault_values(
    const DialItem *item, const char *place, Reason reason, uint8_t field, int64_t found,
    Value *values
) noexcept nogil:
    """Fill in what the text of an item's fault says."""
    cdef int64_t most = RECORD_ID_BYTES if field == ITEM_RECORD_ID else WRAP_UP_CODE_BYTES
    values[0] = words(place)
    if reason == FIELD_EMPTY:
        values[1] = numeral(most)
    elif reason == FIELD_LENGTH:
        values[1], values[2], values[3] = numeral(found), numeral(1), numeral(most)
    elif reason == CODE_UNKNOWN:
        values[1] = quoted(item.wrap_up_code)
    else:
        values[1] = numeral(found)


cdef void item_refuse(
    DialCall *call, DialItem *item, Reason reason, ItemField field, int64_t found
) noexcept nogil:
    """Refuse an item of a batch, which spoils none of the others (R25); or a unary call."""
    cdef Value values[4]
    item.invalid_value = found
    if call_is_batch(call):
        item.invalid, item.invalid_field = reason, field
        item.answer = <int> CLAIM_INVALID if call_is_claim(call) else <int> ATTEMPT_INVALID
        call.invalid_count += 1
        return
    fault_values(item, field_name(field), reason, field, found, values)
    refuse_with(&call.task, reason, values)


cdef bint utf8_ok(
    DialCall *call, const char *name, uint32_t index, const char *part, Slice text
) noexcept nogil:
    """Check a text that may spoil a whole batch."""
    cdef char place[PLACE_BYTES]
    cdef Value value
    if utf8_valid(<const unsigned char *> text.data, text.size):
        return True
    snprintf(place, sizeof(place), "%s[%u]%s", name, index, part)
    value = words(name)
    if call_is_batch(call):
        value = words(place)
    refuse_with(&call.task, FIELD_NOT_UTF8, &value)
    return False


cdef bint texts_ok(DialCall *call, uint32_t index) noexcept nogil:
    """Check that an item's texts are UTF-8; as bytes that are none, they fail the call."""
    cdef DialItem *item = &call.items[index]
    if call.call_kind == CALL_CLAIM_BATCH:
        return utf8_ok(call, "record_ids", index, "", item.record_id)
    if call_is_batch(call):
        return utf8_ok(call, "attempts", index, ".record_id", item.record_id) \
            and utf8_ok(call, "attempts", index, ".wrap_up_code", item.wrap_up_code)
    return utf8_ok(call, "record_id", 0, "", item.record_id) \
        and utf8_ok(call, "wrap_up_code", 0, "", item.wrap_up_code)


cdef Reason length_fault(Slice text, size_t longest) noexcept nogil:
    if text.size == 0:
        return FIELD_EMPTY
    return FIELD_LENGTH if text.size > longest else NO_REASON


cdef void check_item(DialCall *call, DialItem *item) noexcept nogil:
    cdef Reason fault = length_fault(item.record_id, RECORD_ID_BYTES)
    if fault != NO_REASON:
        item_refuse(call, item, fault, ITEM_RECORD_ID, <int64_t> item.record_id.size)
        return
    if not call_is_report(call):
        return
    fault = length_fault(item.wrap_up_code, WRAP_UP_CODE_BYTES)
    if fault != NO_REASON:
        item_refuse(call, item, fault, ITEM_WRAP_UP_CODE, <int64_t> item.wrap_up_code.size)
    elif item.time_wrong:
        item_refuse(call, item, TIME_NOT_VALID, ITEM_ATTEMPT_TIME, 0)


cdef bint items_ok(DialCall *call) noexcept nogil:
    cdef uint32_t i
    call.invalid_count = 0
    for i in range(call.item_count):
        if not texts_ok(call, i):
            return False
        check_item(call, &call.items[i])
    return call.task.code == OK


cdef bint ttl_ok(DialCall *call) noexcept nogil:
    """Set how long the reservation is to last, if the claim says so (R22)."""
    cdef const SentTime *ttl = &call.sent_time
    cdef Value values[2]
    call.reservation_ttl_ns = 0
    if not call_is_claim(call) or not ttl.present:
        return True
    if 1 <= ttl.seconds <= LONGEST_TTL_S and 0 <= ttl.nanos < NS_PER_S \
            and (ttl.seconds < LONGEST_TTL_S or ttl.nanos == 0):
        call.reservation_ttl_ns = ttl.seconds * NS_PER_S + ttl.nanos
        return True
    values[0], values[1] = numeral(ttl.seconds), numeral(ttl.nanos)
    refuse_with(&call.task, TTL_NOT_ALLOWED, values)
    return False


cdef bint dialer_ok(DialCall *call) noexcept nogil:
    if call.dialer_id.size == 0 and call.call_kind != CALL_GIVE_BACK:
        return True
    return text_ok(call, "dialer_id", call.dialer_id, DIALER_ID_BYTES)


cdef bint list_ok(DialCall *call) noexcept nogil:
    if call.list_id.size == 0 and call.call_kind == CALL_GIVE_BACK:
        return True
    return text_ok(call, "list_id", call.list_id, LIST_ID_BYTES)


cdef bint dial_decode(DialCall *call, const char *body, size_t size) noexcept nogil:
    """Decode a request into `call`, made by call_init; False with code and message set if bad.

    `body` must stay in place until the call is cleared.
    """
    cdef Reader reader
    reader.at, reader.end = body, body + size
    if not (read_batch(call, &reader) if call_is_batch(call) else read_unary(call, &reader)):
        call.item_count = 0
        return malformed(call)
    call.task.record_count = max(call.item_count, <uint32_t> 1)
    if not list_ok(call):
        return False
    if call.call_kind != CALL_GET_HOLDER and not text_ok(
        call, "campaign_id", call.campaign_id, CAMPAIGN_ID_BYTES
    ):
        return False
    if not dialer_ok(call) or not ttl_ok(call):
        return False
    if call_is_batch(call) and not batch_size_ok(call):
        return False
    return items_ok(call)


cdef bint read_text_field(
    const char *body, size_t size, uint32_t number, Slice *text
) noexcept nogil:
    """Read one text field of a message that has no other of interest; empty if it is not there.

    False if the bytes are no message, or the text is not UTF-8.
    """
    cdef Reader reader
    cdef uint32_t found, wire_type
    reader.at, reader.end = body, body + size
    text.data, text.size = body, 0
    while reader.at < reader.end:
        if not read_tag(&reader, &found, &wire_type):
            return False
        if found == number and wire_type == WIRE_BYTES:
            if not read_text(&reader, text):
                return False
        elif not skip_field(&reader, found, wire_type):
            return False
    return utf8_valid(<const unsigned char *> text.data, text.size)


# --- the responses --------------------------------------------------------------------------------

cdef char *put_named(
    char *at, uint32_t number, const DialCall *call, const DialItem *item
) noexcept nogil:
    """Write a Holder as field `number`; nothing if nobody is to be named.

    Of one that is hidden from the caller only kind and expiration are written, unless it is its own
    campaign.
    """
    cdef char inner[HOLDER_BYTES]
    cdef char *end
    cdef const NamedHolder *named
    if item.named == 0:
        return at
    named = &call.named[item.named - 1]
    if call.hide_holders and not named.own:
        end = put_hidden_holder(inner, &named.holder)
    else:
        end = put_holder(
            inner, &named.holder, named.id, named.name,
            slice_of(call.dialers.data() + named.dialer_at if named.dialer_size else NULL,
                     named.dialer_size),
        )
    return put_bytes(at, number, slice_of(inner, end - inner))


cdef char *put_denial(
    char *at, uint32_t index, const DialCall *call, const DialItem *item
) noexcept nogil:
    """Write a claim's element of `denials` or an attempt's of `rejections`: {index=1, holder=2}."""
    cdef char inner[HOLDER_BYTES + 16]
    cdef char *end = put_named(put_number(inner, 1, index), 2, call, item)
    return put_bytes(at, 2, slice_of(inner, end - inner))


cdef char *put_invalid(char *at, uint32_t index, const DialItem *item) noexcept nogil:
    """Write an element of `invalid`: {index=1, reason=2}."""
    cdef char inner[INVALID_BYTES]
    cdef char text[MESSAGE_BYTES]
    cdef Value values[4]
    cdef size_t size
    cdef char *end
    fault_values(
        item, field_name(item.invalid_field), <Reason> item.invalid, item.invalid_field,
        item.invalid_value, values,
    )
    size = reason_text(text, sizeof(text), <Reason> item.invalid, values)
    end = put_text(put_number(inner, 1, index), 2, slice_of(text, size))
    return put_bytes(at, 4, slice_of(inner, end - inner))


cdef char *put_reservation_ids(char *at, const DialCall *call) noexcept nogil:
    cdef uint32_t i
    at = put_varint(put_varint(at, 5 << 3 | WIRE_BYTES), 8 * call.item_count)
    for i in range(call.item_count):
        at = put_le64(at, call.items[i].reservation_id)
    return at


cdef char *put_batch(char *at, const DialCall *call) noexcept nogil:
    cdef uint32_t i
    cdef char *answers
    at = put_varint(put_varint(at, 1 << 3 | WIRE_BYTES), call.item_count)
    answers = at
    at += call.item_count
    for i in range(call.item_count):  # once: the items come from another processor's cache
        answers[i] = <char> call.items[i].answer  # every enum value is one byte long
        if call.items[i].named != 0:
            at = put_denial(at, i, call, &call.items[i])
    at = put_number(at, 3, call.revision)
    if call.invalid_count != 0:
        for i in range(call.item_count):
            if call.items[i].invalid != NO_REASON:
                at = put_invalid(at, i, &call.items[i])
    if call.return_reservation_ids:
        at = put_reservation_ids(at, call)
    return at


cdef char *put_unary(char *at, const DialCall *call) noexcept nogil:
    cdef const DialItem *item = &call.single
    if call.call_kind == CALL_GIVE_BACK:
        return put_number(at, 1, call.revision)
    if call.call_kind == CALL_GET_HOLDER:
        return put_number(put_named(at, 1, call, item), 2, call.revision)
    at = put_named(put_number(at, 1, item.answer), 2, call, item)
    at = put_number(at, 3, call.revision)
    if call.call_kind != CALL_CLAIM or call.reserved_until_ns == 0:
        return at
    return put_fixed64(put_time(at, 4, call.reserved_until_ns), 5, item.reservation_id)


cdef size_t answer_bound(const DialCall *call) noexcept nogil:
    """Return an upper bound of the encoded answer's size."""
    return (
        FIXED_BYTES + call.item_count * (9 if call.return_reservation_ids else 1)
        + <size_t> call.named_count * HOLDER_BYTES + <size_t> call.invalid_count * INVALID_BYTES
    )


cdef void dial_encode(DialCall *call) noexcept nogil:
    """Encode the answer of a decided call into `call.answer`, once; on any thread."""
    cdef char *end
    cdef size_t bound = answer_bound(call)
    call.answer = call.buffer
    if bound > call.buffer_bytes:
        call.answer = <char *> malloc(bound)
    if call.answer == NULL:
        abort()
    if call_is_batch(call):
        end = put_batch(call.answer, call)
    else:
        end = put_unary(call.answer, call)
    call.answer_size = end - call.answer
