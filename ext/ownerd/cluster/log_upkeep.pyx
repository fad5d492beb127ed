"""What the upkeep of a cluster's log asks and tells, for Python: sizes, who is there, how etcd is.

It has a connection of its own, and decides nothing. One thread's at a time.
"""

from libc.stdint cimport uint64_t

from ownerd.base.bytes cimport Slice, text_slice
from ownerd.base.containers cimport string
from ownerd.cluster.etcd_client cimport (
    CALL_ANSWERED, EtcdClient, boot_now, client_ask, client_free, client_new,
)
from ownerd.cluster.etcd_messages cimport (
    RangeAnswer, StatusAnswer, alarms_read, prefix_end, range_read, range_request, status_read,
)
from ownerd.cluster.node cimport Node
from ownerd.cluster.node import EtcdUnavailableError

__all__ = ["LogUpkeep"]


cdef class LogUpkeep:
    """The log of a node's cluster, as whoever keeps it within bounds sees it.

    Args:
        node: whose log it is; some figures are right while it leads.
    """

    cdef Node node
    cdef EtcdClient *client

    def __cinit__(self):
        self.client = NULL

    def __init__(self, Node node):
        self.node = node
        self.client = client_new(node.etcd.aim, 0)
        if self.client == NULL:
            raise MemoryError()

    def __dealloc__(self):
        if self.client != NULL:
            client_free(self.client)

    @property
    def end_bytes(self):
        """How many bytes all entries had that ever were in the log; of the leader's."""
        return self.node.log.log_bytes.load()

    @property
    def size_bytes(self):
        """How many bytes the entries have that are in etcd; of the leader's."""
        return self.node.log.log_bytes.load() - self.node.log.trimmed_bytes.load()

    @property
    def trimmed_revision(self):
        """The last revision that is gone; of the leader's."""
        return self.node.log.trimmed_revision.load()

    @property
    def has_trimmed(self):
        """Whether anything is gone from the log; of the leader's."""
        return self.node.log.trimmed_bytes.load() != 0

    def bound(self, uint64_t flushed_bytes, uint64_t most_bytes):
        """Say what this node has flushed, of `end_bytes`, and how much more may be appended."""
        self.node.log.flushed_bytes.store(flushed_bytes)
        self.node.log.bound_bytes.store(most_bytes)

    def prove_each_read(self, bint wanted):
        """Have each answer that changed nothing proved by a transaction of its own, or not."""
        self.node.log.always_proves.store(wanted)

    def alive(self):
        """Return the names of the nodes that run.

        Raises:
            EtcdUnavailableError: etcd does not answer.
        """
        cdef string request, end_key
        cdef RangeAnswer answer
        cdef Slice bytes
        cdef size_t i
        cdef size_t prefix = self.node.log.keys.alive.size()
        prefix_end(&end_key, text_slice(self.node.log.keys.alive))
        range_request(
            &request, text_slice(self.node.log.keys.alive), text_slice(end_key), 0, False
        )
        if not self._ask(b"/etcdserverpb.KV/Range", &request, &bytes) \
                or not range_read(bytes, &answer):
            raise EtcdUnavailableError("etcd does not answer")
        return {
            answer.found[i].key.data[prefix:answer.found[i].key.size].decode()
            for i in range(answer.found.size())
        }

    def etcd(self):
        """Return how large etcd's database is: the file, what is used, the quota (0: not told).

        Raises:
            EtcdUnavailableError: etcd does not answer, or not to this user.
        """
        cdef string request
        cdef Slice bytes
        cdef StatusAnswer answer
        if not self._ask(b"/etcdserverpb.Maintenance/Status", &request, &bytes) \
                or not status_read(bytes, &answer):
            raise EtcdUnavailableError("etcd does not tell how it is")
        return answer.file_bytes, answer.used_bytes, answer.quota_bytes

    def etcd_is_full(self):
        """Whether etcd has raised its alarm NOSPACE, and takes no writes.

        Raises:
            EtcdUnavailableError: etcd does not answer, or not to this user.
        """
        cdef string request
        cdef Slice bytes
        cdef bint full
        if not self._ask(b"/etcdserverpb.Maintenance/Alarm", &request, &bytes) \
                or not alarms_read(bytes, &full):
            raise EtcdUnavailableError("etcd does not tell its alarms")
        return bool(full)

    cdef bint _ask(self, const char *path, const string *request, Slice *bytes) noexcept:
        cdef bint answered
        with nogil:
            answered = client_ask(
                self.client, path, request, self.node.log.attempt_ns,
                boot_now() + self.node.log.guard_ns, bytes,
            ) == CALL_ANSWERED
        return answered
