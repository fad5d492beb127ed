"""Decode and encode of the five DialService messages: protobuf bytes to and from `DialCall`.

Decoding checks everything that needs no state: well-formed bytes, UTF-8, the length of each field,
the size of a batch. The decoded slices point into the caller's bytes. As protobuf asks, unknown
fields are skipped and the last occurrence of a field wins.

It decides nothing and knows no names of lists or campaigns: the engine fills in the holder.
"""

from libc.stdint cimport UINT32_MAX, int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport abort, malloc, realloc
from libc.string cimport memset

from ownerd.api.dial_call cimport (
    CALL_CLAIM_BATCH, CALL_GET_HOLDER, CALL_REPORT, CALL_REPORT_BATCH, DialItem,
)
from ownerd.api.reasons cimport (
    BATCH_LENGTH, FIELD_EMPTY, FIELD_LENGTH, FIELD_NOT_UTF8, MALFORMED_MESSAGE, Value, numeral,
    refuse, refuse_with, words,
)
from ownerd.base.bytes cimport Slice, slice_of
from ownerd.base.protobuf cimport (
    WIRE_BYTES, WIRE_FIXED32, WIRE_FIXED64, WIRE_GROUP, WIRE_GROUP_END, WIRE_VARINT, put_bytes,
    put_number, put_text, put_varint, read_varint,
)
from ownerd.base.units cimport NS_PER_S
from ownerd.rules.limits cimport (
    BATCH_RECORDS, CAMPAIGN_ID_BYTES, LIST_ID_BYTES, RECORD_ID_BYTES, WRAP_UP_CODE_BYTES,
)
from ownerd.rules.ownership cimport NEVER_NS, NOBODY

cdef enum:
    TAG_BYTES = 5                     # of a varint that fits into 32 bits
    GROUP_DEPTH = 100                 # as deep as protobuf's own parsers follow
    FIRST_ITEMS = 16
    PLACE_BYTES = 64                  # the name of a field, with its index
    HOLDER_BYTES = 512                # a Holder with its longest fields fits


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
    DialCall *call, const char *name, int64_t index, const char *part, Slice field, size_t longest
) noexcept nogil:
    """Check one text field; on failure the message names it (with its index in a batch)."""
    cdef char place[PLACE_BYTES]
    cdef Value values[4]
    if 0 < field.size <= longest and utf8_valid(<const unsigned char *> field.data, field.size):
        return True
    if index < 0:
        snprintf(place, sizeof(place), "%s", name)
    else:
        snprintf(place, sizeof(place), "%s[%lld]%s", name, <long long> index, part)
    values[0] = words(place)
    if field.size == 0:
        values[1] = numeral(longest)
        refuse_with(&call.task, FIELD_EMPTY, values)
    elif field.size > longest:
        values[1], values[2], values[3] = numeral(field.size), numeral(1), numeral(longest)
        refuse_with(&call.task, FIELD_LENGTH, values)
    else:
        refuse_with(&call.task, FIELD_NOT_UTF8, values)
    return False


cdef DialItem *add_item(DialCall *call) noexcept nogil:
    """Append an empty item; NULL past BATCH_RECORDS (the count goes on, for the message)."""
    cdef DialItem *item
    call.item_count += 1
    if call.item_count > BATCH_RECORDS:
        return NULL
    if call.item_count > call.item_capacity:
        call.item_capacity = max(
            <uint32_t> FIRST_ITEMS, min(call.item_capacity * 4, <uint32_t> BATCH_RECORDS)
        )
        item = <DialItem *> realloc(
            NULL if call.items == &call.single else call.items,
            call.item_capacity * sizeof(DialItem),
        )
        if item == NULL:
            abort()
        call.items = item
    item = &call.items[call.item_count - 1]
    memset(item, 0, sizeof(DialItem))
    return item


cdef bint read_text(Reader *reader, Slice *field) noexcept nogil:
    """Read a text field; the last occurrence wins, but an earlier one must be UTF-8 as well."""
    if field.size != 0 and not utf8_valid(<const unsigned char *> field.data, field.size):
        return False
    return read_bytes(reader, field)


cdef bint read_attempt(Slice body, DialItem *item) noexcept nogil:
    """Read one ReportAttemptBatchRequest.Attempt."""
    cdef Reader reader
    cdef uint32_t number, wire_type
    reader.at, reader.end = body.data, body.data + body.size
    while reader.at < reader.end:
        if not read_tag(&reader, &number, &wire_type):
            return False
        if wire_type == WIRE_BYTES and number == 1:
            if not read_text(&reader, &item.record_id):
                return False
        elif wire_type == WIRE_BYTES and number == 2:
            if not read_text(&reader, &item.wrap_up_code):
                return False
        elif not skip_field(&reader, number, wire_type):
            return False
    return True


cdef bint read_item(DialCall *call, Reader *reader) noexcept nogil:
    """Read one element of a batch's repeated field."""
    cdef Slice field
    cdef DialItem *item
    cdef DialItem beyond
    if not read_bytes(reader, &field):
        return False
    item = add_item(call)
    if item == NULL:
        memset(&beyond, 0, sizeof(beyond))
        item = &beyond
    if call.call_kind == CALL_CLAIM_BATCH:
        item.record_id = field
        return True
    return read_attempt(field, item)


cdef Slice *unary_field(DialCall *call, uint32_t number) noexcept nogil:
    """Return where field `number` of a unary request goes; NULL if there is no such field."""
    if number == 1:
        return &call.list_id
    if number == 2:
        return &call.single.record_id
    if number == 3 and call.call_kind != CALL_GET_HOLDER:
        return &call.campaign_id
    if number == 4 and call.call_kind == CALL_REPORT:
        return &call.single.wrap_up_code
    return NULL


cdef bint read_unary(DialCall *call, Reader *reader) noexcept nogil:
    cdef uint32_t number, wire_type
    cdef Slice *field
    call.item_count = 1
    while reader.at < reader.end:
        if not read_tag(reader, &number, &wire_type):
            return False
        field = unary_field(call, number) if wire_type == WIRE_BYTES else NULL
        if field != NULL:
            if not read_text(reader, field):
                return False
        elif not skip_field(reader, number, wire_type):
            return False
    return True


cdef bint read_batch(DialCall *call, Reader *reader) noexcept nogil:
    cdef uint32_t number, wire_type
    cdef bint done
    call.item_count = 0
    while reader.at < reader.end:
        if not read_tag(reader, &number, &wire_type):
            return False
        if wire_type == WIRE_BYTES and number == 1:
            done = read_text(reader, &call.list_id)
        elif wire_type == WIRE_BYTES and number == 2:
            done = read_text(reader, &call.campaign_id)
        elif wire_type == WIRE_BYTES and number == 3:
            done = read_item(call, reader)
        else:
            done = skip_field(reader, number, wire_type)
        if not done:
            return False
    return True


cdef inline bint is_batch(const DialCall *call) noexcept nogil:
    return call.call_kind == CALL_CLAIM_BATCH or call.call_kind == CALL_REPORT_BATCH


cdef bint batch_size_ok(DialCall *call) noexcept nogil:
    cdef const char *name = "record_ids" if call.call_kind == CALL_CLAIM_BATCH else "attempts"
    cdef Value values[3]
    if 1 <= call.item_count <= BATCH_RECORDS:
        return True
    values[0], values[1], values[2] = words(name), numeral(call.item_count), numeral(BATCH_RECORDS)
    refuse_with(&call.task, BATCH_LENGTH, values)
    call.item_count = 0               # items past the limit were never stored
    return False


cdef bint items_ok(DialCall *call) noexcept nogil:
    cdef uint32_t i
    cdef int64_t index
    cdef bint claims = call.call_kind == CALL_CLAIM_BATCH
    cdef bint codes = call.call_kind == CALL_REPORT or call.call_kind == CALL_REPORT_BATCH
    cdef const char *id_name = "record_id"
    cdef const char *code_name = "wrap_up_code"
    if claims:
        id_name = "record_ids"
    elif is_batch(call):
        id_name = code_name = "attempts"
    for i in range(call.item_count):
        index = <int64_t> i if is_batch(call) else -1
        if not text_ok(
            call, id_name, index, "" if claims else ".record_id", call.items[i].record_id,
            RECORD_ID_BYTES,
        ):
            return False
        if codes and not text_ok(
            call, code_name, index, ".wrap_up_code", call.items[i].wrap_up_code, WRAP_UP_CODE_BYTES
        ):
            return False
    return True


cdef bint dial_decode(DialCall *call, const char *body, size_t size) noexcept nogil:
    """Decode a request into `call`, made by call_init; False with code and message set if bad.

    `body` must stay in place until the call is cleared.
    """
    cdef Reader reader
    reader.at, reader.end = body, body + size
    if not (read_batch(call, &reader) if is_batch(call) else read_unary(call, &reader)):
        call.item_count = 0
        return malformed(call)
    call.task.record_count = call.item_count
    if not text_ok(call, "list_id", -1, "", call.list_id, LIST_ID_BYTES):
        return False
    if call.call_kind != CALL_GET_HOLDER and not text_ok(
        call, "campaign_id", -1, "", call.campaign_id, CAMPAIGN_ID_BYTES
    ):
        return False
    if is_batch(call) and not batch_size_ok(call):
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

cdef char *put_time(char *at, uint32_t number, int64_t time_ns) noexcept nogil:
    """Write a Timestamp; times before the epoch are never stored, so division rounds down."""
    cdef char inner[24]
    cdef char *end = put_number(inner, 1, <uint64_t> (time_ns // NS_PER_S))
    end = put_number(end, 2, <uint64_t> (time_ns % NS_PER_S))
    return put_bytes(at, number, slice_of(inner, end - inner))


cdef char *put_holder(
    char *at, uint32_t number, const DialItem *item, bint hidden
) noexcept nogil:
    """Write a Holder as field `number`; nothing if nobody is to be named.

    Of one that is hidden from the caller only kind and expiration are written.
    """
    cdef char inner[HOLDER_BYTES]
    cdef char *end
    if item.holder.kind == NOBODY:
        return at
    end = put_number(inner, 1, item.holder.kind)
    if not hidden:
        end = put_text(end, 2, item.holder_id)
        end = put_text(end, 3, item.holder_name)
        end = put_time(end, 4, item.holder.since_ns)
    if item.holder.until_ns != NEVER_NS:
        end = put_time(end, 5, item.holder.until_ns)
    return put_bytes(at, number, slice_of(inner, end - inner))


cdef char *put_denial(
    char *at, uint32_t index, const DialItem *item, bint hidden
) noexcept nogil:
    """Write a claim's element of `denials` or an attempt's of `rejections`: {index=1, holder=2}."""
    cdef char inner[HOLDER_BYTES + 16]
    cdef char *end = put_holder(put_number(inner, 1, index), 2, item, hidden)
    return put_bytes(at, 2, slice_of(inner, end - inner))


cdef char *put_batch(char *at, const DialCall *call) noexcept nogil:
    cdef uint32_t i
    cdef char *answers
    at = put_varint(put_varint(at, 1 << 3 | WIRE_BYTES), call.item_count)
    answers = at
    at += call.item_count
    for i in range(call.item_count):  # once: the items come from another processor's cache
        answers[i] = <char> call.items[i].answer  # every enum value is one byte long
        if call.items[i].holder.kind != NOBODY:
            at = put_denial(at, i, &call.items[i], call.hide_holders)
    return at


cdef size_t answer_bound(const DialCall *call) noexcept nogil:
    """Return an upper bound of the encoded answer's size."""
    return 32 + call.item_count + <size_t> call.named_count * HOLDER_BYTES


cdef void dial_encode(DialCall *call) noexcept nogil:
    """Encode the answer of a decided call into `call.answer`, once; on any thread."""
    cdef char *at
    cdef uint32_t holder_field = 1 if call.call_kind == CALL_GET_HOLDER else 2
    cdef size_t bound = answer_bound(call)
    call.answer = call.buffer
    if bound > call.buffer_bytes:
        call.answer = <char *> malloc(bound)
    if call.answer == NULL:
        abort()
    if is_batch(call):
        at = put_batch(call.answer, call)
    else:
        at = put_number(call.answer, 1, call.single.answer)
        at = put_holder(at, holder_field, &call.single, call.hide_holders)
    at = put_number(at, holder_field + 1, call.revision)
    call.answer_size = at - call.answer
