"""Doors for tests: calls to etcd, one by one; the log as a store appends to it."""

from libc.stdint cimport int64_t, uint64_t

from ownerd.base.bytes cimport Slice, slice_of
from ownerd.base.containers cimport string
from ownerd.cluster.etcd_client cimport (
    CALL_ANSWERED, CallEnd, Etcd, EtcdClient, StreamStep, boot_now, client_call, client_free,
    client_new, stream_next, stream_open,
)

from ownerd.cluster.node cimport Node
from ownerd.storage.file_log cimport LogStatus
from ownerd.storage.log_entry cimport LogEntry, entry_begin, entry_put
from ownerd.storage.tables cimport ClusterRow

_STATUSES = ("ok", "more", "full", "failed", "fenced", "unknown")
_ENDS = ("answered", "refused", "unsent", "unknown", "stopped")
_STEPS = ("message", "quiet", "ended")


cdef class Caller:
    """A client of etcd, one call at a time."""

    cdef EtcdClient *client
    cdef Etcd etcd

    def __cinit__(self, Etcd etcd):
        self.etcd = etcd
        self.client = client_new(etcd.aim, 0)

    def __dealloc__(self):
        if self.client != NULL:
            client_free(self.client)

    def call(self, str path, bytes request, double timeout_s=5.0):
        """Return how a call ended, gRPC's status, and the answer."""
        cdef string asked
        cdef Slice answer
        cdef CallEnd end
        encoded = path.encode()
        cdef const char *route = encoded
        asked.assign(<const char *> request, len(request))
        cdef int64_t until_ns = boot_now() + <int64_t> (timeout_s * 1e9)
        with nogil:
            end = client_call(self.client, route, &asked, until_ns, &answer)
        return _ENDS[<int> end], self.client.status, \
            answer.data[:answer.size] if end == CALL_ANSWERED else b""

    def open_stream(self, str path, bytes request):
        """Begin the client's one stream."""
        cdef string asked
        encoded = path.encode()
        asked.assign(<const char *> request, len(request))
        return bool(stream_open(self.client, encoded, &asked))

    def next(self, double timeout_s=5.0):
        """Return how the stream went on, and its next message."""
        cdef Slice message
        cdef StreamStep step
        cdef int64_t until_ns = boot_now() + <int64_t> (timeout_s * 1e9)
        message.size = 0
        with nogil:
            step = stream_next(self.client, until_ns, &message)
        return _STEPS[<int> step], message.data[:message.size]


cdef class Appender:
    """Appends to a node's log as a store does."""

    cdef Node node
    cdef LogEntry entry

    def __cinit__(self, Node node):
        self.node = node

    def append(self, uint64_t revision, bytes value, time_ns=0):
        """Append an entry of one row; return how, and where it is."""
        cdef ClusterRow position
        cdef LogStatus status
        cdef int64_t when_ns = time_ns
        position.log_id = position.revision = position.epoch = position.crc = 0
        entry_begin(&self.entry)
        entry_put(
            &self.entry, 1, slice_of(b"key", 3), slice_of(<const char *> value, len(value))
        )
        with nogil:
            status = self.node.shared.append(
                self.node.shared.context, &self.entry, revision, when_ns, &position
            )
        return _STATUSES[<int> status], (
            position.log_id, position.revision, position.epoch, position.crc
        )

    def guarded_ns(self):
        """Return how long what is read may still be told, without another proof."""
        return self.node.log.guarded_until_ns.load() - boot_now()

    def confirm(self):
        """Return whether what was read may be told."""
        cdef LogStatus status
        with nogil:
            status = self.node.shared.confirm(self.node.shared.context)
        return _STATUSES[<int> status]
