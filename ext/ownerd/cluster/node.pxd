"""C interface of node: one node of a cluster, for Python."""

from libc.stdint cimport int64_t
from libcpp.atomic cimport atomic

from ownerd.base.clock cimport Clock
from ownerd.base.containers cimport string
from ownerd.base.threads cimport pthread_t
from ownerd.cluster.etcd_client cimport Etcd, EtcdClient
from ownerd.cluster.follower cimport Follower
from ownerd.cluster.replicated_log cimport ReplicatedLog
from ownerd.storage.shared_log cimport SharedLogDoor

# What the two threads of a node work with.
cdef cppclass Session:
    ReplicatedLog *log
    EtcdClient *client                # the lease thread's
    int64_t lease_id                  # 0: there is none
    int64_t lease_ns                  # as etcd granted it
    int end_fd                        # an eventfd: readable once the threads are to end
    atomic[bint] lost                 # the lease is gone, and its keys with it
    pthread_t lease_thread
    pthread_t beat_thread

cdef class Node(SharedLogDoor):
    cdef ReplicatedLog *log
    cdef Follower *follower
    cdef Session *session
    cdef Etcd etcd                    # kept alive
    cdef Clock clock                  # likewise
    cdef bint in_session
    cdef readonly str name
    cdef bytes token                  # random: which process alive/NODE is of
    cdef readonly str node_id
    cdef readonly bytes member
    cdef readonly int lease_s
    cdef void _end_threads(self) noexcept
    cdef _replace_own(self, const string *key, int64_t mod_revision)
    cdef _revoke(self)
