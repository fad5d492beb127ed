"""End of a task: its message given back; and `Refused`, a refusal as Python sees it.

Owns the memory rules of `Task` (see the .pxd). Why calls are refused is in `reasons`.
"""

from libc.stdlib cimport free


class Refused(Exception):
    """The engine refused a call; nothing changed unless the code is UNAVAILABLE.

    Attributes: `code` (gRPC's number), `message` (says what was found, what is allowed and what to
    do; fit to be shown to the caller), `retry_ms` (how long to wait before trying again; 0: not
    said), `reason` (names the kind of error to programs; "": nothing does). UNAVAILABLE means that
    the outcome is unknown.
    """

    def __init__(self, code, message, retry_ms=0, reason=""):
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_ms = retry_ms
        self.reason = reason


cdef void task_clear(Task *task) noexcept nogil:
    free(task.message)
    task.message = NULL
