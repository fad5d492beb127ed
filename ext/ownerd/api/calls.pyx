"""Life of a call: made empty, refused with a message or answered, cleared.

Owns the memory rules of `Task` and `DialCall` (see the .pxd), and `Refused`, a refusal as Python
sees it.
"""

from libc.stdlib cimport abort, free, malloc
from libc.string cimport memset

cdef enum:
    SHOWN_BYTES = 64                  # how much of a caller's value an error message repeats


class Refused(Exception):
    """The engine refused a call; nothing changed unless the code is UNAVAILABLE.

    Attributes: `code` (gRPC's number), `message` (says what was found, what is allowed and what to
    do; fit to be shown to the caller), `retry_ms` (how long to wait before trying again; 0: not
    said). UNAVAILABLE means that the outcome is unknown.
    """

    def __init__(self, code, message, retry_ms=0):
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_ms = retry_ms


cdef void task_clear(Task *task) noexcept nogil:
    free(task.message)
    task.message = NULL


cdef char *task_refuse(Task *task, int code) noexcept nogil:
    """Set an error code; return a buffer of MESSAGE_BYTES for the message.."""
    if task.message == NULL:
        task.message = <char *> malloc(MESSAGE_BYTES)
        if task.message == NULL:
            abort()
    task.code = code
    task.message[0] = 0
    return task.message


cdef void call_init(DialCall *call, uint8_t call_kind) noexcept nogil:
    memset(call, 0, sizeof(DialCall))
    call.call_kind = call_kind
    call.task.kind = TASK_DIAL
    call.items = &call.single


cdef void call_clear(DialCall *call) noexcept nogil:
    """Free what the call holds. Its slices and its answer are gone afterwards."""
    task_clear(&call.task)
    if call.items != &call.single:
        free(call.items)
    if call.answer != call.room:
        free(call.answer)
    call.items = &call.single
    call.answer = NULL


cdef int printable(const char *data, size_t size) noexcept nogil:
    """Return how many bytes of a valid UTF-8 text to show in a message, cut between characters."""
    cdef int shown
    if size <= SHOWN_BYTES:
        return <int> size
    shown = SHOWN_BYTES
    while shown > 0 and (<unsigned char> data[shown] & 0xC0) == 0x80:
        shown -= 1
    return shown
