"""Takes calls of the native listener to handlers on one asyncio loop, and their answers back.

The loops leave letters (see `letters`) in one mailbox, whose eventfd the asyncio loop watches:
however many calls and messages came meanwhile, they cost one wake-up. A handler sees a call as a
`NativeCall`; what it sends is copied into letters to the call's loop. Neither side waits for the
other.

Everything runs on the asyncio loop's thread. It decodes nothing, and knows no status: messages and
trailers are bytes here.
"""

from collections import deque

from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport uint32_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy

from ownerd.base.assertions cimport assert_that
from ownerd.base.bytes cimport get_be32, put_be32
from ownerd.base.containers cimport string
from ownerd.base.units cimport NS_PER_S
from ownerd.net.letters cimport (
    ANSWER, CALL_BEGINS, CALL_OVER, MESSAGE_CAME, MESSAGE_SENT, MESSAGE_TAKEN, REQUEST_ENDED,
    STATUS, HandledCall, Letter, LetterKind, call_let_go, letter_free, letter_post,
    mailbox_close, mailbox_let_go, mailbox_new, mailbox_take,
)
from ownerd.net.state cimport HandledMethod, HandledMethods

cdef enum:
    SIZE_BYTES = 4


cdef post(HandledCall *call, LetterKind kind, bytes data):
    """Send a letter with a copy of some bytes to the call's loop."""
    cdef size_t size = len(data)
    cdef char *copy = NULL
    if size > 0:
        copy = <char *> malloc(size)
        if copy == NULL:
            raise MemoryError()
        memcpy(copy, <const char *> data, size)
    letter_post(call.to_loop, call, kind, copy, size)


cdef class NativeCall:
    """One call that a handler on asyncio serves; made by the bridge.

    Attributes: `on_change`, called without arguments whenever a message has come, the request has
    ended, an answer was sent or the call is over.
    """

    def __cinit__(self):
        self.call = NULL
        self.messages = deque()

    def __dealloc__(self):
        if self.call != NULL:
            call_let_go(self.call)

    cdef change(self):
        if self.on_change is not None:
            self.on_change()

    @property
    def method(self):
        """The index of its method among those that the bridge was made with."""
        return self.call.method

    @property
    def peer(self):
        """Where from, as gRPC spells it."""
        return self.call.peer.data()[:self.call.peer.size()].decode("ascii")

    @property
    def names(self):
        """The names in the client's certificate, as in Principal."""
        block = self.call.names.data()[:self.call.names.size()].decode(errors="replace")
        return tuple(name for name in block.split("\0") if name)

    @property
    def timeout_s(self):
        """How long it may take from when it was handed over; None: as long as it likes."""
        return None if self.call.timeout_ns < 0 else self.call.timeout_ns / NS_PER_S

    @property
    def metadata(self):
        """The headers of the request as (name, value), as they came, without HTTP's own."""
        cdef size_t at = 0
        cdef size_t size
        cdef const char *data = self.call.metadata.data()
        texts = []
        while at < self.call.metadata.size():
            size = get_be32(data + at)
            texts.append(data[at + SIZE_BYTES:at + SIZE_BYTES + size])
            at += SIZE_BYTES + size
        return [(name.decode("ascii"), value) for name, value in zip(texts[::2], texts[1::2])]

    @property
    def is_over(self):
        """Whether the client is gone, or has its status."""
        return bool(self.over)

    @property
    def request_ended(self):
        """Whether all of the request has come; some of it may not be taken yet."""
        return bool(self.ended)

    @property
    def unsent(self):
        """How many answers have not left for the client yet."""
        return self.unsent_count

    def take(self):
        """Return the next message of the request, or None: none is here."""
        if not self.messages:
            return None
        message = self.messages.popleft()
        if not self.over:
            letter_post(self.call.to_loop, self.call, MESSAGE_TAKEN, NULL, len(message))
        return message

    def send(self, bytes message not None):
        """Send one message; nothing happens where the call is over or has its status."""
        if not self.over and not self.finished:
            self.unsent_count += 1
            post(self.call, ANSWER, message)

    def finish(self, trailers):
        """End the call with trailers, (name, value) as they go out; only the first time counts."""
        cdef char size[SIZE_BYTES]
        if self.over or self.finished:
            return
        self.finished = True
        parts = []
        for pair in trailers:
            for text in pair:
                put_be32(size, <uint32_t> len(text))
                parts.append(size[:SIZE_BYTES])
                parts.append(text)
        post(self.call, STATUS, b"".join(parts))


cdef class CallBridge:
    """Which calls have handlers, and the way to them; one bridge may serve several listeners.

    Args:
        methods: for each its path, the rpc's name, whether its request is a stream of messages, and
            whether nobody has to say who they are for it.
    """

    def __cinit__(self, methods):
        cdef HandledMethod method
        cdef bytes text
        cdef string wanted
        self.methods = new HandledMethods()
        self.methods.mailbox = mailbox_new()
        for path, name, method.streams_in, method.open in methods:
            text = name.encode()
            method.name.assign(<const char *> text, len(text))
            text = path.encode()
            wanted.assign(<const char *> text, len(text))
            self.methods.by_path[wanted] = <uint32_t> self.methods.methods.size()
            self.methods.methods.push_back(method)

    def __dealloc__(self):
        # A listener that uses it holds on to it.
        if self.methods != NULL:
            mailbox_close(self.methods.mailbox)
            mailbox_let_go(self.methods.mailbox)
            del self.methods

    def attach(self, loop, on_call):
        """Have an event loop deliver what comes; `on_call` is given each new call."""
        self.on_call = on_call
        loop.add_reader(self.methods.mailbox.fd, self.deliver)

    def detach(self, loop):
        """Undo `attach`."""
        loop.remove_reader(self.methods.mailbox.fd)
        self.on_call = None

    def deliver(self):
        """Tell the handlers of everything that has come."""
        cdef Letter *letter = mailbox_take(self.methods.mailbox)
        cdef Letter *after
        changed = {}
        while letter != NULL:
            after = letter.next
            if letter.kind == CALL_BEGINS:
                call = self.begin(letter.call)
            else:
                call = told(letter)
            changed[id(call)] = call
            letter_free(letter)
            letter = after
        for call in changed.values():
            (<NativeCall> call).change()

    cdef begin(self, HandledCall *call):
        cdef NativeCall begun = NativeCall.__new__(NativeCall)
        call.references.fetch_add(1)  # let go of with the NativeCall
        begun.call = call
        Py_INCREF(begun)              # given back when it is over
        call.owner = <PyObject *> begun
        if self.on_call is not None:
            self.on_call(begun)
        return begun


cdef told(Letter *letter):
    """Note in a call what a letter says about it, and return the call."""
    cdef NativeCall call = <NativeCall> <object> letter.call.owner
    assert_that(not call.over, "nothing is said about a call that is over")
    if letter.kind == MESSAGE_CAME:
        call.messages.append(b"" if letter.size == 0 else letter.data[:letter.size])
    elif letter.kind == REQUEST_ENDED:
        call.ended = True
    elif letter.kind == MESSAGE_SENT:
        call.unsent_count -= 1
    elif letter.kind == CALL_OVER:
        call.over = True
        letter.call.owner = NULL
        Py_DECREF(call)               # taken by begin
    return call
