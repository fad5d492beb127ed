"""Life of a task: refused with a message, cleared; and `Refused`, a refusal as Python sees it.

Owns the memory rules of `Task` (see the .pxd).
"""

from libc.stdlib cimport abort, free, malloc

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


cdef int printable(const char *data, size_t size) noexcept nogil:
    """Return how many bytes of a valid UTF-8 text to show in a message, cut between characters."""
    cdef int shown
    if size <= SHOWN_BYTES:
        return <int> size
    shown = SHOWN_BYTES
    while shown > 0 and (<unsigned char> data[shown] & 0xC0) == 0x80:
        shown -= 1
    return shown
