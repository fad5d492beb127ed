"""The native dial listener as Python sees it: sockets in, orders in, counts out.

Owns the loops of one listener (see `loop`) from `start` to the last of their threads.
Everything here runs on Python's side and returns at once; calls of DialService never come here.

It binds no socket and reads no configuration: the server does.
"""

from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from ownerd.access.table cimport Access
from ownerd.base.atomics cimport counts_read, flag_read
from ownerd.base.clock cimport clock_elapsed
from ownerd.base.containers cimport vector
from ownerd.base.threads cimport pthread_t, thread_wait
from ownerd.base.tls cimport TlsMaterial, tls_server_context, tls_use
from ownerd.base.units cimport NS_PER_MS, NS_PER_S
from ownerd.engine.engine cimport Engine
from ownerd.net.call_bridge cimport CallBridge
from ownerd.net.loop cimport (
    loop_free, loop_limit, loop_new, loop_order, loop_start, loop_tell_health,
)
from ownerd.net.state cimport (
    CLOSE, DRAIN, ENDED_AGE, ENDED_BROKEN, ENDED_BY_PEER, ENDED_CROWDED, ENDED_DRAIN,
    ENDED_HANDSHAKE, ENDED_HEADERS, ENDED_IDLE, ENDED_KEEPALIVE, ENDED_RESETS, ENDED_STALLED,
    ENDED_TLS, HandledMethods, Limits, Loop, Socket,
)

cdef extern from "<nghttp2/nghttp2.h>" nogil:
    ctypedef struct nghttp2_info:
        const char *version_str
    nghttp2_info *nghttp2_version(int least_version)

cdef extern from "<openssl/crypto.h>" nogil:
    const char *OpenSSL_version(int what)
    int OPENSSL_VERSION

cdef int64_t LONGEST_CHECK_INTERVAL_NS = NS_PER_S
cdef int64_t SHORTEST_CHECK_INTERVAL_NS = 20 * NS_PER_MS

ENDINGS = {
    "peer": ENDED_BY_PEER, "broken": ENDED_BROKEN, "handshake": ENDED_HANDSHAKE,
    "keepalive": ENDED_KEEPALIVE, "idle": ENDED_IDLE, "age": ENDED_AGE, "resets": ENDED_RESETS,
    "headers": ENDED_HEADERS, "drain": ENDED_DRAIN, "tls": ENDED_TLS, "stalled": ENDED_STALLED,
    "crowded": ENDED_CROWDED,
}
COUNTS = (
    "accepted", "connections", "left", "streams", "held_bytes", "under_way", "received", "given_up",
    "stalled", "refused", "health_checks", "strangers", "stranger_calls", "calls_turned_out",
    "handshakes", "accept_pauses", "wakeups", "writes",
)


cdef int64_t ns(double seconds) except? -1:
    return <int64_t> (seconds * NS_PER_S)


def library_versions():
    """Return what OpenSSL and nghttp2, as they are loaded here, say of themselves."""
    return OpenSSL_version(OPENSSL_VERSION).decode(), nghttp2_version(0).version_str.decode()


cdef class Listener:
    """Loops that serve DialService and health from an engine; every method returns at once.

    Args:
        engine: what decides the calls; it must stay open until `ended`.
        access: who may make them.
        threads: how many loops.
        max_connections, max_streams, max_header_bytes, max_message_bytes, max_held_bytes,
        max_principal_bytes, max_memory_bytes, max_resets_per_s, handshake_timeout_s,
        transfer_timeout_s, keepalive_time_s, keepalive_timeout_s, max_idle_s, max_age_s,
        max_age_grace_s, first_call_timeout_s, max_strangers, max_stranger_calls: limits, as the
        server's settings describe them.
        handlers: serve more calls than those, in Python; None: there are none.
    """

    cdef Engine engine
    cdef Access access
    cdef CallBridge handlers
    cdef Limits limits
    cdef vector[Loop *] loops
    cdef vector[pthread_t] threads
    cdef TlsMaterial *tls
    cdef bint joined

    def __cinit__(self):
        self.tls = new TlsMaterial()
        self.tls.context = NULL

    def __init__(
        self, Engine engine not None, Access access not None, *, threads,
        CallBridge handlers=None, **limits,
    ):
        cdef HandledMethods *handled = NULL
        if handlers is not None:
            handled = handlers.methods
        self.handlers = handlers
        self.engine = engine
        self.access = access
        self._fill_limits(threads, **limits)
        for _ in range(threads):
            self.loops.push_back(loop_new(
                engine.core, access.core, &self.limits, self.tls, handled
            ))

    def _fill_limits(
        self, threads, *, max_connections, max_streams, max_header_bytes, max_message_bytes,
        max_held_bytes, max_principal_bytes, max_memory_bytes, max_resets_per_s,
        handshake_timeout_s, transfer_timeout_s, keepalive_time_s, keepalive_timeout_s, max_idle_s,
        max_age_s, max_age_grace_s, first_call_timeout_s, max_strangers, max_stranger_calls,
    ):
        memset(&self.limits, 0, sizeof(Limits))
        self.limits.max_connections = max_connections
        self.limits.max_streams = max_streams
        self.limits.max_header_bytes = max_header_bytes
        self.limits.max_message_bytes = max_message_bytes
        # The largest message must have a place, also while its buffer grows.
        self.limits.max_held_bytes = max(max_held_bytes, 2 * max_message_bytes)
        self.limits.max_loop_bytes = max(max_memory_bytes // threads, 4 * max_message_bytes)
        # Nobody fills a loop alone.
        self.limits.max_share_bytes = min(
            max(max_principal_bytes // threads, 2 * max_message_bytes),
            self.limits.max_loop_bytes // 2,
        )
        self.limits.max_resets_per_s = max_resets_per_s
        self.limits.handshake_timeout_ns = ns(handshake_timeout_s)
        self.limits.transfer_timeout_ns = ns(transfer_timeout_s)
        self.limits.keepalive_time_ns = ns(keepalive_time_s)
        self.limits.keepalive_timeout_ns = ns(keepalive_timeout_s)
        self.limits.max_idle_ns = ns(max_idle_s)
        self.limits.max_age_ns = ns(max_age_s)
        self.limits.max_age_grace_ns = ns(max_age_grace_s)
        self.limits.first_call_timeout_ns = ns(first_call_timeout_s)
        # An address's connections are spread over the loops.
        self.limits.max_strangers = -(-max_strangers // threads)
        self.limits.max_stranger_calls = -(-max_stranger_calls // threads)
        shortest = min(
            handshake_timeout_s, transfer_timeout_s, keepalive_time_s, keepalive_timeout_s,
            max_idle_s, max_age_s, first_call_timeout_s,
        )
        self.limits.check_interval_ns = max(
            SHORTEST_CHECK_INTERVAL_NS, min(LONGEST_CHECK_INTERVAL_NS, ns(shortest / 4))
        )

    def limit(self, **limits):
        """Have other limits from now on, all of them given as at first.

        What a connection has agreed on with its peer, such as `max_streams`, stays as it is there.
        """
        cdef size_t i
        self._fill_limits(self.loops.size(), **limits)
        for i in range(self.loops.size()):
            loop_limit(self.loops[i], &self.limits)

    def __dealloc__(self):
        cdef size_t i
        if not self.ended:
            # The engine may use the loops still, and they the engine: both stay to the process's
            # end.
            Py_INCREF(self.engine)    # never given back
            Py_INCREF(self.access)
            Py_INCREF(self.handlers)
            return
        self._join()
        for i in range(self.loops.size()):
            loop_free(self.loops[i])
        tls_use(self.tls, NULL)
        del self.tls

    def use_tls(self, bytes certificate_pem, bytes key_pem, bytes client_ca_pem=None):
        """Make new connections to secure sockets with this material; the others go on.

        May be called at any time, from any thread.

        Args:
            certificate_pem: the server's certificate, and behind it those that lead to its CA.
            key_pem: its private key, not encrypted.
            client_ca_pem: CAs of clients' certificates, which clients need then; None: they do not.

        Raises:
            ValueError: something is no PEM, broken, or does not fit; nothing has changed.
        """
        tls_use(self.tls, tls_server_context(certificate_pem, key_pem, client_ca_pem))

    def start(self, sockets, secure=()):
        """Serve connections to sockets from now on: descriptors that listen, closed by us.

        Args:
            sockets: those that speak plaintext.
            secure: those that speak TLS; `use_tls` comes before.

        Raises:
            ValueError: there is no TLS to speak.
        """
        cdef pthread_t thread
        cdef size_t i
        cdef Socket listening
        if secure and self.tls.context == NULL:
            raise ValueError("use_tls comes before sockets that speak TLS")
        listening.makes_room = False
        for fds, listening.secure in ((sockets, False), (secure, True)):
            for listening.fd in fds:
                self.loops[0].listening.push_back(listening)
        for i in range(self.loops.size()):
            self.loops[0].peers.push_back(self.loops[i])
        for i in range(self.loops.size()):
            loop_start(self.loops[i], &thread, i)
            self.threads.push_back(thread)

    def tell_health(self):
        """Tell those who watch the health what it is now: the engine's role has changed."""
        cdef size_t i
        for i in range(self.threads.size()):
            loop_tell_health(self.loops[i])

    def begin_drain(self):
        """Accept no more connections and ask the peers to begin no more calls on theirs."""
        self._order(DRAIN, 0)

    @property
    def told(self):
        """Whether `begin_drain` has come to every peer: none begins a call, or is amid a request.
        """
        cdef size_t i
        for i in range(self.loops.size()):
            if flag_read(&self.loops[i].counts.order) < DRAIN:
                return False
        if self._sum("told") < self.loops.size():
            return False
        return self._sum("left") >= self._sum("accepted") - self._sum("closed")

    def close(self, grace_s):
        """End every connection when its calls are answered, at the latest after `grace_s`."""
        self._order(CLOSE, clock_elapsed() + ns(grace_s))

    cdef void _order(self, int order, int64_t deadline_ns) noexcept:
        cdef size_t i
        for i in range(self.threads.size()):
            loop_order(self.loops[i], order, deadline_ns)

    cdef void _join(self) noexcept:
        cdef size_t i
        if not self.joined:
            for i in range(self.threads.size()):
                thread_wait(self.threads[i])
        self.joined = True

    @property
    def ended(self):
        """Whether every thread is over; always true before `start`."""
        cdef size_t i
        for i in range(self.threads.size()):
            if not flag_read(&self.loops[i].ended):
                return False
        return True

    @property
    def pending(self):
        """How many calls the engine has not answered yet."""
        return self._sum("under_way")

    @property
    def received(self):
        """How many calls were ever begun."""
        return self._sum("received")

    def stats(self):
        """Return counts by name, and under `ended` the connections that ended, by reason."""
        found = {name: self._sum(name) for name in COUNTS}
        found["ended"] = {
            name: self._ended_count(number) for name, number in ENDINGS.items()
        }
        return found

    cdef uint64_t _ended_count(self, int ending):
        cdef uint64_t total = 0
        cdef size_t i
        for i in range(self.loops.size()):
            total += flag_read(&self.loops[i].counts.ended[ending])
        return total

    cdef _sum(self, str name):
        cdef size_t i
        total = 0
        for i in range(self.loops.size()):
            counts = dict(counts_read(&self.loops[i].counts))
            total += counts[name]
        return total
