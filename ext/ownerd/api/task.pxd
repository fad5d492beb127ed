"""C interface of task: whatever the engine's queue holds.

A task belongs to whoever made it. From `queue_submit` until its `on_done` runs, only the engine
touches it; everything that it points to stays where it is for as long.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef enum StatusCode:                 # gRPC's numbers
    OK = 0
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16

cdef enum:
    MESSAGE_BYTES = 512               # longest error message, with its NUL

cdef enum TaskKind:
    TASK_DIAL = 0
    TASK_COMMAND = 1
    TASK_SNAPSHOT = 2
    TASK_PLAN = 3                     # what maintenance does next
    TASK_COUNT = 4                    # of what a release ended
    TASK_STEP = 5                     # of maintenance, where it is the writer's
    TASK_BACKUP = 6                   # where a copy of the store ends
    TASK_FOLLOW = 7                   # entries of the log of a cluster
    TASK_LEAD = 8                     # to lead it from now on

ctypedef void (*OnDone)(Task *task) noexcept nogil

# The head of everything that the engine's queue holds.
cdef struct Task:
    Task *next
    OnDone on_done                    # called once, from the writer thread, without the GIL
    void *context                     # the submitter's own
    void *body                        # what the task is, by kind; a dial is its own body
    uint8_t kind
    uint8_t reason                    # Reason, where `code` is an error
    uint32_t record_count             # what it counts against the queue's bound
    int64_t queued_ns                 # of clock_elapsed, when the queue took it
    int64_t deadline_ns               # of clock_elapsed; a dial not decided by then is dropped
    int code                          # StatusCode, once done
    char *message                     # malloc'd; NULL unless code is an error
    int64_t retry_ms                  # how long to wait before trying again; 0: not said


cdef void task_clear(Task *task) noexcept nogil
