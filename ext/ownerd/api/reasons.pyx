"""The table of reasons for which calls are refused, and the texts that are made of it.

Each reason has gRPC's code, the name that programs are told it by (`google.rpc.ErrorInfo`), and a
text for people, which says what was found, what is allowed and what to do. Nowhere else do these
stand: whoever refuses a call names the reason and gives the values for the text's placeholders.
Natively that takes no GIL; Python has the same table as `REASONS`.

The table never changes once the module is imported; any thread may read it.
"""

from libc.stdio cimport snprintf
from libc.stdlib cimport abort, malloc
from libc.string cimport memcpy, strlen

from ownerd.api.task cimport (
    ABORTED, ALREADY_EXISTS, DEADLINE_EXCEEDED, FAILED_PRECONDITION, INTERNAL, INVALID_ARGUMENT,
    MESSAGE_BYTES, NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAUTHENTICATED,
    UNAVAILABLE, UNIMPLEMENTED,
)

from ownerd.api.task import Refused

cdef extern from "<string.h>" nogil:
    size_t strnlen(const char *, size_t)

cdef enum:
    SHOWN_BYTES = 64                  # how much of a caller's value an error message repeats
    NUMBER_BYTES = 24

cdef struct Row:
    int code                          # StatusCode
    const char *name
    const char *text

cdef Row TABLE[<int> REASON_COUNT]


cdef void define(Reason reason, const char *name, int code, const char *text) noexcept:
    TABLE[<int> reason].code = code
    TABLE[<int> reason].name = name
    TABLE[<int> reason].text = text


define(
    MALFORMED_MESSAGE, "MALFORMED_MESSAGE", INVALID_ARGUMENT,
    "request: not a well-formed protobuf message of this call",
)
define(
    FIELD_EMPTY, "INVALID_FIELD", INVALID_ARGUMENT,
    "{field}: empty; give 1 to {most} bytes of UTF-8",
)
define(
    FIELD_LENGTH, "INVALID_FIELD", INVALID_ARGUMENT,
    "{field}: {found} bytes found; {least} to {most} are allowed",
)
define(FIELD_NOT_UTF8, "INVALID_FIELD", INVALID_ARGUMENT, "{field}: not valid UTF-8")
define(
    BATCH_LENGTH, "INVALID_FIELD", INVALID_ARGUMENT,
    "{field}: {found} found; a batch has 1 to {most} records",
)
define(
    CODE_UNKNOWN, "WRAP_UP_CODE_UNKNOWN", INVALID_ARGUMENT,
    "{field}: {code} is not a known wrap-up code; ListWrapUpCodes shows those that are, "
    "UpdateStoreSettings says what becomes of others",
)
define(
    TIME_NOT_VALID, "INVALID_FIELD", INVALID_ARGUMENT,
    "{field}: not a valid time: seconds of the years 1 to 9999, nanos of 0 to 999,999,999",
)
define(
    ATTEMPT_AHEAD, "ATTEMPT_TIME_AHEAD", INVALID_ARGUMENT,
    "{field}: {ahead_ms} ms ahead of the server's clock; up to 10,000 ms are let pass: set the "
    "dialer's clock",
)
define(
    TTL_NOT_ALLOWED, "INVALID_FIELD", INVALID_ARGUMENT,
    "reservation_ttl: {seconds} s {nanos} ns found; 1 s to 24 h are allowed, or none for that of "
    "the list",
)
define(
    LIST_NOT_FOUND, "LIST_NOT_FOUND", NOT_FOUND,
    "list_id: there is no contact list {list_id}; create it first (CreateContactList)",
)
define(
    LIST_EXISTS, "LIST_EXISTS", ALREADY_EXISTS, "list_id: contact list {list_id} exists already",
)
define(
    CAMPAIGN_NOT_FOUND, "CAMPAIGN_NOT_FOUND", NOT_FOUND,
    "{field}: there is no campaign {campaign_id}; ListCampaigns shows those that are known",
)
define(
    CODE_NOT_FOUND, "WRAP_UP_CODE_NOT_FOUND", NOT_FOUND,
    "code: there is no wrap-up code {code}; ListWrapUpCodes shows those that are known",
)
define(
    CODE_EXISTS, "WRAP_UP_CODE_EXISTS", ALREADY_EXISTS,
    "code: {code} is only another spelling of the wrap-up code {taken}; change or delete that one",
)
define(
    STALE_ETAG, "STALE_ETAG", ABORTED,
    "etag: found {found}, but the policy was changed since and has {current}; read the list again "
    "with GetContactList and repeat the change with its etag",
)
define(
    REQUEST_OF_BEFORE, "OTHER_INCARNATION", FAILED_PRECONDITION,
    "request_id: found one that was answered before the store was restored from a copy, or copied; "
    "what was changed after the copy was made is not in it. Look whether this change is, and make "
    "it with a new request_id if it is not",
)
define(
    LIST_OWNED, "LIVE_OWNERSHIP", FAILED_PRECONDITION,
    "contact list {list_id} has live holds (owned records: {owned}, reserved for dials in "
    "progress: {reserved}); release them first, or delete with force",
)
define(
    LIST_DIALED, "LIVE_OWNERSHIP", FAILED_PRECONDITION,
    "contact list {list_id} is being dialed: a record was reserved or acquired a moment ago",
)
define(
    LIST_UNCOUNTED, "RELEASE_NOT_COUNTED", FAILED_PRECONDITION,
    "contact list {list_id} was released a moment ago and is still counted; try again",
)
define(
    CAMPAIGN_HOLDS, "CAMPAIGN_HOLDS_RECORDS", FAILED_PRECONDITION,
    "campaign {campaign_id} holds records (owned: {owned}, reserved for dials in progress: "
    "{reserved}); release them first, or delete with force",
)
define(
    CAMPAIGN_DIALS, "CAMPAIGN_HOLDS_RECORDS", FAILED_PRECONDITION,
    "campaign {campaign_id} is dialing: it reserved or acquired a record a moment ago",
)
define(
    IMPORT_CONFLICT, "IMPORT_CONFLICT", FAILED_PRECONDITION,
    "{field}: record {record_id} is held by another campaign; import with strategy skip or "
    "overwrite, or release it first",
)
define(
    STORE_FULL, "STORE_FULL", RESOURCE_EXHAUSTED,
    "the store is full ({why}); nothing was changed: delete lists, or give it more room, then try "
    "again; what is released makes room a day after its last attempt",
)
define(
    QUEUE_FULL, "QUEUE_FULL", RESOURCE_EXHAUSTED,
    "the queue is full ({waiting} records waiting, {most} allowed); try again in a moment",
)
define(
    TOO_MANY_READS, "TOO_MANY_READS", RESOURCE_EXHAUSTED,
    "too many reads are in progress; try again",
)
define(
    TOO_MANY_DIALERS, "TOO_MANY_DIALERS", RESOURCE_EXHAUSTED,
    "dialer_id: {most} dialers have reservations, and no more can be told apart: name the lines of "
    "a dialer, not its calls",
)
define(
    TOO_MUCH_UNDER_WAY, "TOO_MUCH_UNDER_WAY", RESOURCE_EXHAUSTED,
    "this connection, or all together, have too many bytes of requests and answers under way; "
    "take answers faster, or send less at a time",
)
define(
    RATE_LIMITED, "RATE_LIMITED", RESOURCE_EXHAUSTED,
    "{principal_id} is over its rate limit; wait {wait_ms} ms",
)
define(
    SERVER_STOPPING, "DRAINING", UNAVAILABLE,
    "the server is stopping and takes no more calls; try another one",
)
define(
    STORAGE_FAILED, "STORAGE_FAILED", UNAVAILABLE,
    "storage failed, the outcome of this call is unknown; the server is stopping: ask again when "
    "it is back",
)
define(
    DEADLINE_PASSED, "DEADLINE_PASSED", DEADLINE_EXCEEDED,
    "the deadline passed before the call was decided; nothing changed",
)
define(
    REQUEST_STALLED, "REQUEST_STALLED", DEADLINE_EXCEEDED,
    "the request did not come in within dial_transfer_timeout_s; nothing changed",
)
define(
    TOKEN_NOT_VALID, "UNAUTHENTICATED", UNAUTHENTICATED,
    "the token is not valid here: it is wrong, over or revoked",
)
define(
    NO_CREDENTIALS, "UNAUTHENTICATED", UNAUTHENTICATED,
    "no credentials: send 'authorization: Bearer TOKEN', or connect with a certificate that is "
    "known here",
)
define(
    RIGHT_LACKING, "PERMISSION_DENIED", PERMISSION_DENIED,
    "{principal_id} lacks the right {right}{where}",
)
define(
    HEADERS_TOO_LARGE, "", RESOURCE_EXHAUSTED,
    "headers: found more than {most} bytes; allowed: at most as many",
)
define(
    MESSAGE_TOO_LARGE, "", RESOURCE_EXHAUSTED,
    "request: found a message of {found} bytes; allowed: at most {most}",
)
define(NOT_POST, "", INTERNAL, "HTTP method: only POST is a gRPC call")
define(NOT_GRPC, "", INTERNAL, "content-type: found none of application/grpc")
define(NO_TRAILERS, "", INTERNAL, "te: found no 'te: trailers', which gRPC asks for")
define(
    BAD_TIMEOUT, "", INTERNAL,
    "grpc-timeout: found no 1 to 8 digits with one of the units H, M, S, m, u, n",
)
define(UNKNOWN_METHOD, "", UNIMPLEMENTED, "Method not found!")
define(
    UNKNOWN_SERVICE, "", NOT_FOUND,
    "service: found none of this server's; allowed: ownerd.v1.DialService, "
    "ownerd.v1.AdminService, or empty for the server as a whole",
)
define(
    COMPRESSED, "", UNIMPLEMENTED, "grpc-encoding: found a compressed request; allowed: identity",
)
define(
    COMPRESSION_UNTOLD, "", INTERNAL,
    "the message is marked as compressed, and grpc-encoding does not say how",
)
define(NO_MESSAGE, "", UNIMPLEMENTED, "the call has one request, and found was none")
define(MESSAGE_CUT_OFF, "", INTERNAL, "the request ended in the middle of its message")
define(MORE_MESSAGES, "", UNIMPLEMENTED, "the call has one request, and found were more")
define(
    NOT_LEADING, "NOT_LEADER", UNAVAILABLE,
    "this node does not lead its cluster: {leader}; nothing changed",
)
define(
    OUTCOME_UNKNOWN, "OUTCOME_UNKNOWN", UNAVAILABLE,
    "etcd does not say whether the change is in the cluster's log, so the outcome of this call is "
    "unknown: ask again whoever leads then",
)


# --- values ---------------------------------------------------------------------------------------

cdef Value quoted(Slice text) noexcept nogil:
    """Return what repeats a caller's text, which is valid UTF-8."""
    cdef Value value
    value.text, value.size, value.quoted, value.number = text.data, text.size, True, 0
    if value.text == NULL:
        value.text = ""
    return value


cdef Value words(const char *text) noexcept nogil:
    """Return words of our own."""
    cdef Value value
    value.text, value.size, value.quoted, value.number = text, strlen(text), False, 0
    return value


cdef Value numeral(int64_t number) noexcept nogil:
    cdef Value value
    value.text = NULL
    value.size, value.quoted, value.number = 0, False, number
    return value


cdef int printable(const char *data, size_t size) noexcept nogil:
    """Return how many bytes of a valid UTF-8 text to show in a message, cut between characters."""
    cdef int shown
    if size <= SHOWN_BYTES:
        return <int> size
    shown = SHOWN_BYTES
    while shown > 0 and (<unsigned char> data[shown] & 0xC0) == 0x80:
        shown -= 1
    return shown


# --- refusing -------------------------------------------------------------------------------------

cdef struct Text:
    char *at
    char *end


cdef void put(Text *text, const char *data, size_t size) noexcept nogil:
    size = min(strnlen(data, size), <size_t> (text.end - text.at))   # a NUL would end the message
    memcpy(text.at, data, size)
    text.at += size


cdef void put_value(Text *text, const Value *value) noexcept nogil:
    cdef char digits[NUMBER_BYTES]
    if value.text == NULL:
        snprintf(digits, sizeof(digits), "%lld", <long long> value.number)
        put(text, digits, strlen(digits))
    elif value.quoted:
        put(text, "\"", 1)
        put(text, value.text, printable(value.text, value.size))
        put(text, "\"", 1)
    else:
        put(text, value.text, value.size)


cdef char *message_of(Task *task) noexcept nogil:
    """Return the task's buffer of MESSAGE_BYTES."""
    if task.message == NULL:
        task.message = <char *> malloc(MESSAGE_BYTES)
        if task.message == NULL:
            abort()
    return task.message


cdef void refuse_with(Task *task, Reason reason, const Value *values) noexcept nogil:
    """Set code, reason and message."""
    cdef char *message = message_of(task)
    task.code = TABLE[<int> reason].code
    task.reason = reason
    message[reason_text(message, MESSAGE_BYTES - 1, reason, values)] = 0


cdef size_t reason_text(
    char *message, size_t size, Reason reason, const Value *values
) noexcept nogil:
    """Write a reason's text, its placeholders replaced."""
    cdef const char *at = TABLE[<int> reason].text
    cdef Text text
    cdef size_t plain
    text.at = message
    text.end = message + size
    while at[0] != 0:
        plain = 0
        while at[plain] != 0 and at[plain] != c'{':
            plain += 1
        put(&text, at, plain)
        at += plain
        if at[0] == c'{':
            put_value(&text, values)
            values += 1
            while at[0] != c'}':
                at += 1
            at += 1
    return text.at - message


cdef void refuse(Task *task, Reason reason) noexcept nogil:
    """Refuse a task for a reason whose text has no placeholder."""
    refuse_with(task, reason, NULL)


cdef void refuse_about(Task *task, Reason reason, Slice text) noexcept nogil:
    """Refuse a task for a reason whose one placeholder is a caller's text."""
    cdef Value value = quoted(text)
    refuse_with(task, reason, &value)


cdef const char *reason_name(const Task *task) noexcept nogil:
    return TABLE[task.reason].name


# --- for Python -----------------------------------------------------------------------------------

cdef task_refusal(const Task *task):
    """Return the Refused that a task ended with."""
    return Refused(
        task.code, task.message.decode(errors="replace"), task.retry_ms,
        reason_name(task).decode(),
    )


def refused(int reason, **values):
    """Return a Refused for a reason, with the values of its text's placeholders."""
    row = TABLE[reason]
    return Refused(row.code, row.text.decode().format(**values), reason=row.name.decode())


cdef dict reasons_by_name():
    cdef int reason
    found = {}
    for reason in range(1, REASON_COUNT):
        row = TABLE[reason]
        assert row.text != NULL, f"reason {reason} is not in the table"
        if row.name[0] != 0:
            code, texts = found.setdefault(row.name.decode(), (row.code, []))
            assert code == row.code
            texts.append(row.text.decode())
    return {name: (code, tuple(texts)) for name, (code, texts) in found.items()}


# By name: gRPC's code, and the texts, with placeholders in braces.
REASONS = reasons_by_name()
