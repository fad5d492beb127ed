"""Interface of call_bridge: which calls of a listener have handlers on an asyncio loop."""

from ownerd.net.letters cimport HandledCall
from ownerd.net.state cimport HandledMethods


cdef class NativeCall:
    cdef HandledCall *call
    cdef object messages              # a deque: came, and not taken yet
    cdef bint ended                   # all of the request has come
    cdef bint over
    cdef bint finished
    cdef Py_ssize_t unsent_count
    cdef public object on_change

    cdef change(self)


cdef class CallBridge:
    cdef HandledMethods *methods
    cdef object on_call

    cdef begin(self, HandledCall *call)
