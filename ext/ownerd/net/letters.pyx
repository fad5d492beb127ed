"""Letters between the loops of the native listener and the handlers of calls on asyncio.

Owns the memory of mailboxes, letters and handled calls. A mailbox wakes its reader by an eventfd,
once for everything that is in it. Any thread may post; one thread takes. After `mailbox_close` what
is posted is dropped, so that neither side has to know whether the other is still there.

It knows no HTTP/2 and no Python but the eventfd's errors.
"""

import os

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport abort, free, malloc

from ownerd.base.assertions cimport assert_that
from ownerd.base.sockets cimport (
    EFD_CLOEXEC, EFD_NONBLOCK, close, errno, eventfd, eventfd_read, eventfd_write,
)

cdef extern from "<openssl/crypto.h>" nogil:
    void OPENSSL_cleanse(void *, size_t)


# --- mailboxes ------------------------------------------------------------------------------------

cdef Mailbox *mailbox_new() except NULL:
    cdef Mailbox *mailbox
    cdef int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    if fd < 0:
        raise OSError(errno, f"cannot make an eventfd: {os.strerror(errno)}")
    mailbox = new Mailbox()
    mailbox.references.store(1)
    mailbox.fd = fd
    mailbox.first = mailbox.last = NULL
    mailbox.closed = False
    return mailbox


cdef void mailbox_keep(Mailbox *mailbox) noexcept nogil:
    mailbox.references.fetch_add(1)


cdef void mailbox_let_go(Mailbox *mailbox) noexcept nogil:
    if mailbox.references.fetch_sub(1) != 1:
        return
    assert_that(mailbox.first == NULL, "a mailbox that nobody has is empty")
    close(mailbox.fd)
    del mailbox


cdef void free_all(Letter *letter) noexcept nogil:
    cdef Letter *after
    while letter != NULL:
        after = letter.next
        letter_free(letter)
        letter = after


cdef void mailbox_close(Mailbox *mailbox) noexcept nogil:
    cdef Letter *left
    mailbox.guard.lock()
    mailbox.closed = True
    left = mailbox.first
    mailbox.first = mailbox.last = NULL
    mailbox.guard.unlock()
    free_all(left)


cdef Letter *mailbox_take(Mailbox *mailbox) noexcept nogil:
    cdef uint64_t ignored
    cdef Letter *found
    eventfd_read(mailbox.fd, &ignored)
    mailbox.guard.lock()
    found = mailbox.first
    mailbox.first = mailbox.last = NULL
    mailbox.guard.unlock()
    return found


# --- letters --------------------------------------------------------------------------------------

cdef void letter_post(
    Mailbox *mailbox, HandledCall *call, LetterKind kind, char *data, size_t size
) noexcept nogil:
    cdef Letter *letter = <Letter *> malloc(sizeof(Letter))
    cdef bint closed, first
    if letter == NULL:
        abort()
    call.references.fetch_add(1)      # let go of by letter_free
    letter.next = NULL
    letter.call = call
    letter.kind = kind
    letter.data = data
    letter.size = size
    mailbox.guard.lock()
    closed, first = mailbox.closed, mailbox.first == NULL
    if not closed:
        if first:
            mailbox.first = letter
        else:
            mailbox.last.next = letter
        mailbox.last = letter
    mailbox.guard.unlock()
    if closed:
        letter_free(letter)
    elif first:
        eventfd_write(mailbox.fd, 1)


cdef void letter_free(Letter *letter) noexcept nogil:
    call_let_go(letter.call)
    free(letter.data)
    free(letter)


# --- calls ----------------------------------------------------------------------------------------

cdef HandledCall *call_new(
    Mailbox *to_handlers, Mailbox *to_loop, uint32_t method
) noexcept nogil:
    """Return a call that one owner has."""
    cdef HandledCall *call = new HandledCall()
    call.references.store(1)
    call.to_handlers, call.to_loop = to_handlers, to_loop
    mailbox_keep(to_handlers)
    mailbox_keep(to_loop)
    call.method = method
    call.timeout_ns = -1
    call.stream = NULL
    call.handed_over = call.answering = call.deferred = False
    call.waiting_bytes = call.withheld_bytes = call.sent_bytes = 0
    call.first_answer = call.last_answer = call.status = NULL
    call.owner = NULL
    return call


cdef void call_let_go(HandledCall *call) noexcept nogil:
    if call.references.fetch_sub(1) != 1:
        return
    assert_that(call.owner == NULL, "the bridge has let go of a call that nobody has")
    assert_that(call.stream == NULL, "the loop has let go of a call that nobody has")
    assert_that(call.first_answer == NULL and call.status == NULL, "nothing is left to be sent")
    if not call.metadata.empty():
        OPENSSL_cleanse(&call.metadata[0], call.metadata.size())   # a token may be in it
    mailbox_let_go(call.to_handlers)
    mailbox_let_go(call.to_loop)
    del call
