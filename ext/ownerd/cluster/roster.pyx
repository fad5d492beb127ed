"""Who belongs to a cluster, who of them is alive, and where each of them is, as etcd has it.

Each node registers: it says of itself what it has applied and flushed, when it last had all that
the log had, what its wall clock said then, and where it is called. A registration stays until it is
removed, so that the log keeps what an absent node lacks; `alive/NODE` is gone with the node's
lease.

It has a connection of its own. Any thread; one call at a time.
"""

import json
import threading
from typing import NamedTuple

from libc.stdint cimport uint64_t

from ownerd.base.bytes cimport Slice, empty_slice, slice_of, text_slice
from ownerd.base.containers cimport string
from ownerd.base.units cimport NS_PER_MS
from ownerd.cluster.etcd_client cimport (
    CALL_ANSWERED, CallEnd, boot_now, client_ask, client_free, client_new,
)
from ownerd.cluster.etcd_messages cimport (
    COMPARE_CREATE, ON_SUCCESS, KeyValue, RangeAnswer, TxnAnswer, add_bytes, prefix_end,
    txn_compare, txn_delete, txn_range, txn_read,
)
from ownerd.cluster.log_values cimport (
    HEAD_RESIGNED, HeadValue, IdentityValue, TrimmedValue, head_read, identity_read, keys_init,
    trimmed_read,
)

__all__ = ["EtcdUnavailableError", "Registration", "Roster", "Seen"]

cdef enum:
    ATTEMPT_MS = 700
    PATIENCE_MS = 2_000
    READS = 7                         # of `look`: its ranges


class EtcdUnavailableError(Exception):
    """Etcd does not answer, or has no majority; later it may."""


class Registration(NamedTuple):
    """What a node said of itself, and in which revision of etcd.

    Attributes:
        dial, admin: where it is called; "" where it did not say.
        applied_revision, flushed_revision: what it has, and what of that is in its record tree.
        level_time_ns: the leader's time at which it last had all that the log had; 0: never yet.
        wall_ns: its own wall clock's, when it said this; 0: it did not say.
        mod_revision: grows with each renewal.
    """

    dial: str = ""
    admin: str = ""
    applied_revision: int = 0
    flushed_revision: int = 0
    level_time_ns: int = 0
    wall_ns: int = 0
    mod_revision: int = 0


class Seen(NamedTuple):
    """A cluster at one moment.

    Attributes:
        nodes: the registration of each node that belongs to it, by its name.
        alive: the names of those whose lease has not run out.
        leader: what the leader's key says; None: nobody leads.
        epoch: the leader's; without one, that of the log's head.
        head_revision: the log's last whole entry.
        first_revision: its first that is still there.
        resigned: whether the last epoch ended by a hand-over, or none has begun.
        next_node: who is to lead after a hand-over of this epoch; "": whoever comes first.
    """

    nodes: dict
    alive: frozenset
    leader: bytes | None
    epoch: int
    head_revision: int
    first_revision: int
    resigned: bool
    next_node: str


def registration_of(bytes value, mod_revision=0):
    """Return what a node registered; earlier versions wrote the flushed revision alone."""
    try:
        told = json.loads(value)
    except ValueError:
        told = {}
    if type(told) is int:
        told = {"flushed_revision": told}
    if type(told) is not dict:
        told = {}
    known = Registration._field_defaults
    fields = {name: told[name] for name in known if type(told.get(name)) is type(known[name])}
    return Registration(**{**fields, "mod_revision": mod_revision})


def registration_value(bytes member, **numbers):
    """Return what a node registers, as etcd keeps it; addresses are as its leader's key has them.
    """
    try:
        told = json.loads(member)
        places = {name: told[name] for name in ("dial", "admin")}
    except (ValueError, KeyError, TypeError):
        places = {}
    return json.dumps({**places, **numbers}, separators=(",", ":")).encode()


cdef bytes key_rest(const KeyValue *row, const string *prefix):
    """Return what a key has behind a prefix."""
    cdef size_t size = (<string *> prefix).size()
    return row.key.data[size:row.key.size]


cdef bytes value_of(const KeyValue *row):
    return row.value.data[:row.value.size]


cdef KeyValue *only(TxnAnswer *answer, size_t which) noexcept nogil:
    """Return the one key that one of a transaction's ranges found; NULL: it is not there."""
    cdef RangeAnswer *found = &answer.ranges[which]
    return &found.found[0] if found.found.size() == 1 else NULL


cdef read_next(const KeyValue *row, uint64_t epoch):
    """Return who is to lead after this epoch, if somebody is."""
    if row == NULL:
        return ""
    try:
        told = json.loads(value_of(row))
        return str(told["node"]) if told["epoch"] == epoch else ""
    except (ValueError, KeyError, TypeError):
        return ""


cdef class Roster:
    """Who belongs to a cluster.

    Args:
        etcd: whom to call.
        name: the cluster's.
    """

    def __cinit__(self):
        self.client = NULL
        self.keys = new Keys()

    def __init__(self, Etcd etcd, str name):
        cdef bytes encoded = name.encode()
        self.etcd, self.name = etcd, name
        self.guard = threading.Lock()
        keys_init(self.keys, slice_of(<const char *> encoded, len(encoded)))
        self.client = client_new(etcd.aim, 0)
        if self.client == NULL:
            raise MemoryError()

    def __dealloc__(self):
        if self.client != NULL:
            client_free(self.client)
        del self.keys

    cdef object _ask(self, const char *path, bytes request):
        """Return the answer to a call that may as well be made twice."""
        cdef string message
        cdef Slice answer
        cdef CallEnd end
        message.assign(<const char *> request, len(request))
        with self.guard:
            with nogil:
                end = client_ask(
                    self.client, path, &message, ATTEMPT_MS * NS_PER_MS,
                    boot_now() + PATIENCE_MS * NS_PER_MS, &answer,
                )
            if end != CALL_ANSWERED:
                raise EtcdUnavailableError("etcd does not answer, or has no majority")
            return answer.data[:answer.size]

    def look(self):
        """Return the cluster as it is now, linearizably (`Seen`).

        Raises:
            EtcdUnavailableError: etcd does not answer, or knows no such cluster.
        """
        cdef string txn, end
        cdef TxnAnswer answer
        cdef bytes message
        txn_range(&txn, ON_SUCCESS, text_slice(self.keys.identity), empty_slice())
        txn_range(&txn, ON_SUCCESS, text_slice(self.keys.head), empty_slice())
        txn_range(&txn, ON_SUCCESS, text_slice(self.keys.leader), empty_slice())
        txn_range(&txn, ON_SUCCESS, text_slice(self.keys.trimmed), empty_slice())
        txn_range(&txn, ON_SUCCESS, text_slice(self.keys.next), empty_slice())
        prefix_end(&end, text_slice(self.keys.nodes))
        txn_range(&txn, ON_SUCCESS, text_slice(self.keys.nodes), text_slice(end))
        prefix_end(&end, text_slice(self.keys.alive))
        txn_range(&txn, ON_SUCCESS, text_slice(self.keys.alive), text_slice(end))
        message = self._ask("/etcdserverpb.KV/Txn", txn.data()[:txn.size()])
        if not txn_read(slice_of(<const char *> message, len(message)), &answer) \
                or answer.ranges.size() != READS:
            raise EtcdUnavailableError("etcd answers nothing that is understood")
        return self._seen(&answer)

    cdef object _seen(self, TxnAnswer *answer):
        cdef IdentityValue identity
        cdef HeadValue head
        cdef TrimmedValue trimmed
        cdef KeyValue *row
        cdef KeyValue *leader = only(answer, 2)
        cdef size_t i
        if only(answer, 0) == NULL or only(answer, 1) == NULL \
                or not identity_read(only(answer, 0).value, &identity) \
                or not head_read(only(answer, 1).value, &head):
            raise EtcdUnavailableError(f"etcd has no log of the cluster {self.name!r}")
        row = only(answer, 3)
        first = identity.begin.revision
        if row != NULL and trimmed_read(row.value, &trimmed):
            first = trimmed.last.revision
        nodes = {}
        for i in range(answer.ranges[5].found.size()):
            row = &answer.ranges[5].found[i]
            name = key_rest(row, &self.keys.nodes).decode(errors="replace")
            nodes[name] = registration_of(value_of(row), row.mod_revision)
        alive = []
        for i in range(answer.ranges[6].found.size()):
            row = &answer.ranges[6].found[i]
            alive.append(key_rest(row, &self.keys.alive).decode(errors="replace"))
        return Seen(
            nodes, frozenset(alive),
            None if leader == NULL else value_of(leader),
            head.epoch if leader == NULL else leader.create_revision,
            head.last.revision, first + 1, head.kind == HEAD_RESIGNED,
            read_next(only(answer, 4), head.epoch),
        )

    def put_next(self, str node_id, uint64_t epoch):
        """Say who is to lead after this epoch, if it ends by a hand-over.

        Raises:
            EtcdUnavailableError: it may not have been said.
        """
        cdef string request
        cdef bytes value = json.dumps({"node": node_id, "epoch": epoch}).encode()
        add_bytes(&request, 1, text_slice(self.keys.next))
        add_bytes(&request, 2, slice_of(<const char *> value, len(value)))
        self._ask("/etcdserverpb.KV/Put", request.data()[:request.size()])

    def remove(self, str node_id):
        """Have a node belong to the cluster no more; False if it is alive. May be called again.

        Raises:
            EtcdUnavailableError: it may have been removed.
        """
        cdef string txn, key
        cdef TxnAnswer answer
        cdef bytes encoded = node_id.encode()
        cdef bytes message
        key.append(self.keys.alive)
        key.append(<const char *> encoded, len(encoded))
        txn_compare(&txn, COMPARE_CREATE, text_slice(key), 0)
        key.assign(self.keys.nodes.data(), self.keys.nodes.size())
        key.append(<const char *> encoded, len(encoded))
        txn_delete(&txn, ON_SUCCESS, text_slice(key), empty_slice())
        message = self._ask("/etcdserverpb.KV/Txn", txn.data()[:txn.size()])
        if not txn_read(slice_of(<const char *> message, len(message)), &answer):
            raise EtcdUnavailableError("etcd answers nothing that is understood")
        return bool(answer.succeeded)
