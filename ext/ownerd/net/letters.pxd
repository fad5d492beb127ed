"""C interface of letters: what a loop and the handlers on asyncio tell each other about a call.

A call has two owners, its loop and the bridge to its handler, and each letter about it keeps it as
well; it is freed with the last of them. Which fields belong to whom stands beside them.
"""

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libcpp.atomic cimport atomic

from ownerd.base.containers cimport mutex, string
from ownerd.base.live cimport LiveHandledCall

cdef enum LetterKind:
    # to the handlers
    CALL_BEGINS
    MESSAGE_CAME                      # one message of the request
    REQUEST_ENDED                     # behind its last one
    MESSAGE_SENT                      # one message of the answer has left its queue
    CALL_OVER                         # the last letter about a call, which has it whatever happens
    # to the loop
    MESSAGE_TAKEN                     # a message that came has left its queue
    ANSWER                            # one message
    STATUS                            # the trailers; nothing comes behind it

cdef struct Letter:
    Letter *next
    HandledCall *call                 # kept by the letter
    uint8_t kind
    char *data                        # malloc'd; NULL where there is none
    size_t size

cdef cppclass Mailbox:
    atomic[int] references
    int fd                            # eventfd, readable while there are letters
    mutex guard                       # what follows
    Letter *first
    Letter *last
    bint closed                       # what comes now is dropped

cdef cppclass HandledCall:
    atomic[int] references
    Mailbox *to_handlers              # kept
    Mailbox *to_loop                  # kept
    # written before CALL_BEGINS, never after it
    uint32_t method                   # its index in the table
    int64_t timeout_ns                # what was left of it then; -1: none given
    string metadata                   # names and values, each behind its size (big-endian)
    string peer                       # as gRPC spells it
    string names                      # of the peer's certificate, each with a NUL behind
    # the loop's
    void *stream                      # Stream; NULL once it is over
    bint handed_over
    bint answering                    # the headers of the answer are submitted
    bint deferred                     # nghttp2 waits to be told that there is more
    size_t waiting_bytes              # messages handed over and not taken
    size_t withheld_bytes             # of the stream's window, until some are taken
    Letter *first_answer              # not sent yet
    Letter *last_answer
    size_t sent_bytes                 # of the first answer and its prefix
    Letter *status
    # the bridge's
    PyObject *owner                   # owned
    LiveHandledCall live


cdef Mailbox *mailbox_new() except NULL
cdef void mailbox_keep(Mailbox *mailbox) noexcept nogil
cdef void mailbox_let_go(Mailbox *mailbox) noexcept nogil
# Drop what is in it, and what comes later.
cdef void mailbox_close(Mailbox *mailbox) noexcept nogil
# Return everything, oldest first, for `letter_free`.
cdef Letter *mailbox_take(Mailbox *mailbox) noexcept nogil
# Takes over `data`, which is malloc'd or NULL.
cdef void letter_post(
    Mailbox *mailbox, HandledCall *call, LetterKind kind, char *data, size_t size
) noexcept nogil
cdef void letter_free(Letter *letter) noexcept nogil
cdef HandledCall *call_new(
    Mailbox *to_handlers, Mailbox *to_loop, uint32_t method
) noexcept nogil
cdef void call_let_go(HandledCall *call) noexcept nogil
