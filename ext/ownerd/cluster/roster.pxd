"""C interface of roster: who belongs to a cluster, and who is alive."""

from ownerd.cluster.etcd_client cimport Etcd, EtcdClient
from ownerd.cluster.etcd_messages cimport TxnAnswer
from ownerd.cluster.log_values cimport Keys

cdef class Roster:
    cdef EtcdClient *client
    cdef Keys *keys
    cdef Etcd etcd                    # kept alive
    cdef object guard                 # held over each call
    cdef readonly str name
    cdef object _ask(self, const char *path, bytes request)
    cdef object _seen(self, TxnAnswer *answer)
