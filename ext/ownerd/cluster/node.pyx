"""One node of a cluster, for Python: its session with etcd, what it follows, and what it leads.

A **session** is a lease and what hangs on it: `alive/NODE`, so that a second node of that name
refuses, and the leader's key while this one leads. Two threads serve it, which never take the GIL:
one keeps the lease alive, one beats while the node leads and appends nothing. A lease that is lost,
or an epoch that ended, ends the session; the next begins anew.

Whoever owns the node calls one method at a time but for `end_reason`, `resign`, `trim` and what
only looks; the log behind it is the writer's and the threads', as `replicated_log` says.

What a node does when is not decided here.
"""

import os
import time

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from ownerd.cluster.roster import EtcdUnavailableError, registration_of, registration_value

from ownerd.base.bytes cimport Slice, empty_slice, slice_of, text_slice
from ownerd.base.containers cimport string
from ownerd.base.sockets cimport (
    EFD_CLOEXEC, EFD_NONBLOCK, close, eventfd, eventfd_read, eventfd_write,
)
from ownerd.base.clock cimport clock_now
from ownerd.base.threads cimport thread_start, thread_wait
from ownerd.base.units cimport NS_PER_MS, NS_PER_S
from ownerd.cluster.etcd_client cimport (
    CALL_ANSWERED, CallEnd, boot_now, client_ask, client_free, client_new,
)
from ownerd.cluster.etcd_messages cimport (
    COMPARE_MOD, ON_FAILURE, ON_SUCCESS, KeyValue, LeaseAnswer, RangeAnswer, TxnAnswer, add_bytes,
    add_number, lease_read, prefix_end, range_read, range_request, txn_compare, txn_put, txn_range,
    txn_read,
)
from ownerd.cluster.follower cimport (
    FOLLOW_ON, FollowedEntry, FollowStatus, follower_begin, follower_catch_up, follower_free,
    follower_heard, follower_look, follower_new, follower_rest, follower_tell, follower_wait,
)
from ownerd.cluster.log_values cimport HEAD_RESIGNED, IdentityValue
from ownerd.cluster.replicated_log cimport (
    LEADING, LENGTHS, log_beat, log_begin, log_create, log_free, log_new, log_resign, log_share,
    log_stand, log_trim,
)
from ownerd.storage.file_log cimport LOG_FENCED, LOG_OK, LogStatus
from ownerd.storage.tables cimport ClusterRow

__all__ = ["ClusterError", "EtcdUnavailableError", "Node", "NodeInUseError"]

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    short POLLIN
    int poll(pollfd *, unsigned long, int)

_FOLLOWING = ("on", "lost", "behind", "other", "stopped")
_FATES = ("not leading", "leading", "resigned", "fenced", "undecided")

cdef enum:
    GUARD_PERCENT = 60                # R, of the lease
    WAIT_PERMILLE = 1010              # of R, before the next leader answers
    BEATS = 3                         # in R
    KEEP_ALIVES = 3                   # in a lease
    ALONE_TRIES = 5


class ClusterError(Exception):
    """A node cannot take part in a cluster as it is; the message says what to do."""


class NodeInUseError(ClusterError):
    """Another process is this node."""


# --- the threads ----------------------------------------------------------------------------------

cdef bint wait_end(const Session *session, int64_t until_ns) noexcept nogil:
    """Wait until a time; True if the thread is to end."""
    cdef pollfd end
    end.fd, end.events, end.revents = session.end_fd, POLLIN, 0
    return poll(
        &end, 1, <int> max(<int64_t> 0, (until_ns - boot_now() + NS_PER_MS - 1) // NS_PER_MS)
    ) > 0


cdef void keep_alive(Session *session, int64_t until_ns) noexcept nogil:
    cdef string request
    cdef Slice bytes
    cdef LeaseAnswer answer
    add_number(&request, 1, <uint64_t> session.lease_id)
    if client_ask(
        session.client, "/etcdserverpb.Lease/LeaseKeepAlive", &request,
        session.log.attempt_ns, until_ns, &bytes,
    ) == CALL_ANSWERED and lease_read(bytes, &answer) and answer.ttl_s <= 0:
        session.lost.store(True)


cdef void *lease_main(void *argument) noexcept nogil:
    """Keep the lease alive."""
    cdef Session *session = <Session *> argument
    cdef int64_t every_ns = session.lease_ns // KEEP_ALIVES
    cdef int64_t next_ns = boot_now() + every_ns
    while not wait_end(session, next_ns):
        next_ns = boot_now() + every_ns
        keep_alive(session, next_ns)
    return NULL


cdef void *beat_main(void *argument) noexcept nogil:
    """Beat while the node leads, unless its appends have shown it to lead."""
    cdef Session *session = <Session *> argument
    cdef ReplicatedLog *log = session.log
    cdef int64_t every_ns = log.guard_ns // BEATS
    cdef int64_t due_ns
    while not wait_end(session, boot_now() + every_ns // 4):
        due_ns = log.guarded_until_ns.load() - log.guard_ns + every_ns
        if log.fate.load() == LEADING and boot_now() >= due_ns:
            log_beat(log)
    return NULL


# --- a node ---------------------------------------------------------------------------------------

cdef ClusterRow row_of(object position) except *:
    cdef ClusterRow row
    memset(&row, 0, sizeof(row))
    row.log_id, row.revision, row.epoch, row.crc = position
    return row


cdef tuple position_of(const ClusterRow *row):
    return row.log_id, row.revision, row.epoch, row.crc


cdef class Node(SharedLogDoor):
    """One node's part in the log that a cluster has in etcd.

    Args:
        etcd: whom to call.
        name: the cluster's.
        clock: the server's time, which beats tell.
        node_id: this node's name in the cluster.
        member: what the leader's key says while this node leads.
        lease_s: the lease that is asked for, in seconds; what etcd grants counts.

    A position is (log_id, revision, epoch, crc).
    """

    def __cinit__(self):
        self.log = NULL
        self.follower = NULL
        self.session = new Session()
        self.session.client = NULL
        self.session.lease_id = 0
        self.session.end_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        self.in_session = False
        self.level_ns = self.level_time_ns = 0
        self.process = os.urandom(16).hex().encode()

    def __init__(
        self, Etcd etcd, str name, Clock clock, *, str node_id, bytes member, lease_s=5
    ):
        cdef bytes encoded = name.encode()
        self.etcd, self.clock, self.name = etcd, clock, name
        self.node_id = node_id
        self.member = member
        self.lease_s = lease_s
        self.log = log_new(etcd.aim, slice_of(<const char *> encoded, len(encoded)), clock.state)
        self.follower = follower_new(
            etcd.aim, slice_of(<const char *> encoded, len(encoded))
        )
        self.session.client = client_new(etcd.aim, 0)
        if self.log == NULL or self.follower == NULL or self.session.client == NULL:
            raise MemoryError()
        self.session.log = self.log
        log_share(self.log, &self.shared)

    def __dealloc__(self):
        if self.in_session:
            self._end_threads()
        if self.session.client != NULL:
            client_free(self.session.client)
        if self.session.end_fd >= 0:
            close(self.session.end_fd)
        if self.follower != NULL:
            follower_free(self.follower)
        if self.log != NULL:
            log_free(self.log)
        del self.session

    # --- the log

    def create(self, position):
        """Make the cluster's log, behind a position; once.

        Raises:
            ClusterError: there is a log of that name.
            EtcdUnavailableError: nobody knows whether it was made.
        """
        cdef ClusterRow row = row_of(position)
        cdef LogStatus status
        with nogil:
            status = log_create(self.log, &row)
        if status == LOG_FENCED:
            raise ClusterError(
                f"etcd has a log of the cluster {self.name!r} already: join it without "
                "--cluster-create, or name another cluster"
            )
        if status != LOG_OK:
            raise EtcdUnavailableError("etcd did not answer; the log may have been made")

    def begin(self, position):
        """Begin to follow behind a position; None: only look. Return the log's own begin.

        Raises:
            ClusterError: the log is not the one that the position is in, or begins later.
            EtcdUnavailableError: etcd does not answer.
        """
        cdef IdentityValue identity
        cdef ClusterRow row = row_of(position or (0, 0, 0, 0))
        cdef FollowStatus status
        with nogil:
            status = follower_begin(self.follower, &row, &identity)
        if position is None and _FOLLOWING[status] == "other":
            raise ClusterError(
                f"etcd has no log of the cluster {self.name!r}: it is made once, of the first "
                "node's store, by --cluster-create"
            )
        self._check(status)
        return position_of(&identity.begin)

    def _check(self, int status):
        found = _FOLLOWING[status]
        if found == "other":
            raise ClusterError(
                f"the log of the cluster {self.name!r} is not the one that this store was in: etcd "
                "was emptied, restored from an older snapshot, or is another one. Nothing was "
                "changed; what the store has that the log lacks would be lost"
            )
        if found == "behind":
            raise ClusterError(
                f"the log of the cluster {self.name!r} no longer has what comes after this store: "
                "it was stopped for too long. Have it begin from a backup of another node: "
                "'ownerd cluster join --replace'"
            )
        if found != "on":
            raise EtcdUnavailableError("etcd does not answer, or has no majority")

    def follow(self, double timeout_s):
        """Wait for entries, or for another leader, and return what came.

        A list of (position, time_ns, row_count, rows), in order, each handed over once. Raises as
        `begin` does.
        """
        cdef int64_t until_ns = boot_now() + <int64_t> (timeout_s * 1e9)
        cdef FollowStatus status
        with nogil:
            status = follower_wait(self.follower, until_ns)
        return self._take(status)

    def catch_up(self):
        """Return all entries up to the log's end, as it is after this call began."""
        cdef FollowStatus status
        with nogil:
            status = follower_look(self.follower)
            if status == FOLLOW_ON:
                status = follower_catch_up(self.follower)
        return self._take(status)

    def _take(self, int status):
        cdef FollowedEntry *entry
        cdef size_t i
        found = []
        for i in range(self.follower.ready.size()):
            entry = &self.follower.ready[i]
            found.append((
                position_of(&entry.position), entry.time_ns, entry.row_count,
                entry.rows.data()[:entry.rows.size()],
            ))
        self.follower.ready.clear()
        if not found:                 # what came before is taken first
            self._check(status)
        self._note_level()
        return found

    cdef void _note_level(self) noexcept:
        """Note when this node has all that it knows the log to have."""
        if self.follower.position.revision >= self.follower.head.last.revision:
            self.level_ns = boot_now()
            self.level_time_ns = self.follower.time_ns

    def behind(self):
        """Look, and return how many revisions the log is ahead, and for how long, in seconds.

        Raises as `begin` does.
        """
        cdef FollowStatus status
        with nogil:
            status = follower_look(self.follower)
        self._check(status)
        self._note_level()
        if self.follower.position.revision >= self.follower.head.last.revision:
            return 0, 0.0
        return (
            self.follower.head.last.revision - self.follower.position.revision,
            (boot_now() - self.level_ns) / 1e9,
        )

    @property
    def applied_revision(self):
        """The revision of the last entry that this node appended, or handed over to be applied."""
        if self.log.fate.load() == LEADING:
            return self.log.revision.load()
        return self.follower.position.revision

    @property
    def leader(self):
        """What the leader's key says, as last seen; None: nobody leads."""
        if self.follower.leader_epoch == 0:
            return None
        return self.follower.leader.data()[:self.follower.leader.size()]

    @property
    def heard(self):
        """The leader's time and how long ago it came, in ns; None: none came yet."""
        cdef int64_t time_ns, received_ns
        if not follower_heard(self.follower, &time_ns, &received_ns):
            return None
        return time_ns, boot_now() - received_ns

    @property
    def head_revision(self):
        """The revision of the log's last entry, as last seen."""
        if self.log.fate.load() == LEADING:
            return self.log.revision.load()
        return self.follower.head.last.revision

    # --- the session

    def open_session(self):
        """Have a lease, and be the only one of this name.

        Raises:
            NodeInUseError: another process is this node; or it was, a moment ago.
            EtcdUnavailableError: etcd does not answer.
        """
        cdef string request
        cdef Slice bytes
        cdef LeaseAnswer answer
        cdef CallEnd end
        assert not self.in_session
        add_number(&request, 1, <uint64_t> self.lease_s)
        with nogil:
            end = client_ask(
                self.session.client, "/etcdserverpb.Lease/LeaseGrant", &request,
                self.log.attempt_ns, boot_now() + self.log.guard_ns, &bytes,
            )
        if end != CALL_ANSWERED or not lease_read(bytes, &answer) or answer.id == 0:
            raise EtcdUnavailableError("etcd grants no lease")
        self.session.lease_id = answer.id
        self.session.lease_ns = answer.ttl_s * NS_PER_S
        self.log.guard_ns = self.session.lease_ns * GUARD_PERCENT // 100
        self.log.attempt_ns = self.log.guard_ns // 4
        self.follower.attempt_ns = self.log.attempt_ns
        self.follower.patience_ns = self.log.guard_ns
        self.session.lost.store(False)
        try:
            self._be_alone()
            self._start_threads()
        except BaseException:
            self._revoke()
            raise

    def _be_alone(self):
        """Have `alive/NODE`; what an earlier session of this process left of it is its own.

        Etcd was not told of that session's end if it was away then, and has leases run longer when
        its own leader changes.
        """
        cdef string key
        cdef bytes encoded = self.node_id.encode()
        cdef TxnAnswer answer
        cdef const KeyValue *row
        cdef int64_t mod = 0          # the key is not there
        key.append(self.log.keys.alive)
        key.append(<const char *> encoded, len(encoded))
        for _ in range(ALONE_TRIES):
            self._put_alive(text_slice(key), mod, &answer)
            if answer.succeeded:
                return
            if answer.ranges.size() != 1 or answer.ranges[0].found.size() != 1:
                mod = 0               # it is gone meanwhile
                continue
            row = &answer.ranges[0].found[0]
            if row.lease == self.session.lease_id:
                return                # an earlier attempt
            if row.value.data[:row.value.size] != self.process:
                raise NodeInUseError(
                    f"another process is the node {self.node_id!r} of the cluster {self.name!r}: "
                    "stop it, or give this one another --node"
                )
            mod = row.mod_revision
        raise EtcdUnavailableError("etcd does not say who is this node")

    cdef _put_alive(self, Slice key, int64_t mod, TxnAnswer *answer):
        """Put `alive/NODE`, if it is as it was last changed; else read it."""
        cdef string txn
        cdef Slice bytes
        cdef CallEnd end
        process = self.process
        txn_compare(&txn, COMPARE_MOD, key, mod)
        txn_put(
            &txn, ON_SUCCESS, key, slice_of(<const char *> process, len(process)),
            self.session.lease_id,
        )
        txn_range(&txn, ON_FAILURE, key, empty_slice())
        with nogil:
            end = client_ask(
                self.session.client, "/etcdserverpb.KV/Txn", &txn, self.log.attempt_ns,
                boot_now() + self.log.guard_ns, &bytes,
            )
        if end != CALL_ANSWERED or not txn_read(bytes, answer):
            raise EtcdUnavailableError("etcd does not answer")

    def _start_threads(self):
        cdef uint64_t ignored
        eventfd_read(self.session.end_fd, &ignored)
        thread_start(&self.session.lease_thread, lease_main, self.session, "ownerd-lease")
        try:
            thread_start(&self.session.beat_thread, beat_main, self.session, "ownerd-beat")
        except BaseException:
            eventfd_write(self.session.end_fd, 1)
            with nogil:
                thread_wait(self.session.lease_thread)
            raise
        self.in_session = True

    cdef void _end_threads(self) noexcept:
        eventfd_write(self.session.end_fd, 1)
        with nogil:
            thread_wait(self.session.lease_thread)
            thread_wait(self.session.beat_thread)
        self.in_session = False

    cdef _revoke(self):
        """Let the lease go, if etcd hears of it; else it runs out by itself."""
        cdef string request
        cdef Slice bytes
        add_number(&request, 1, <uint64_t> self.session.lease_id)
        with nogil:
            client_ask(
                self.session.client, "/etcdserverpb.Lease/LeaseRevoke", &request,
                self.log.attempt_ns, boot_now() + self.log.attempt_ns, &bytes,
            )
        self.session.lease_id = 0

    def close_session(self):
        """Let go of the lease and of all that hangs on it. May be called again."""
        if self.in_session:
            self._end_threads()
            self._revoke()

    @property
    def session_lost(self):
        """Whether the lease ran out."""
        return bool(self.session.lost.load())

    @property
    def lease_ns(self):
        """How long the lease is that etcd granted."""
        return self.session.lease_ns

    # --- leading

    def stand(self):
        """Take the leader's key; False if somebody has it.

        Raises:
            EtcdUnavailableError: nobody knows.
        """
        cdef bytes member = self.member
        cdef Slice value = slice_of(<const char *> member, len(member))
        cdef LogStatus status
        with nogil:
            status = log_stand(self.log, value, self.session.lease_id)
        if status != LOG_OK and status != LOG_FENCED:
            raise EtcdUnavailableError("etcd does not answer")
        return status == LOG_OK

    def lead(self):
        """Begin the epoch, behind all that `catch_up` returned since the key was taken.

        Returns how long, in seconds, nothing may be answered yet; None: it was too late.
        """
        cdef uint64_t ignored
        cdef int64_t from_ns
        cdef bytes encoded = self.node_id.encode()
        cdef Slice name = slice_of(<const char *> encoded, len(encoded))
        cdef LogStatus status
        cdef bint at_once = self.follower.head.kind == HEAD_RESIGNED
        assert self.follower.position.revision == self.follower.head.last.revision
        eventfd_read(self.log.fate_fd, &ignored)
        from_ns = self.follower.received_ns + (
            max(self.log.guard_ns, self.follower.head.guard_ns) * WAIT_PERMILLE // 1000
        )
        self.log.trimmed_revision.store(self.follower.trimmed_revision)
        self.log.trimmed_bytes.store(self.follower.trimmed_bytes)
        with nogil:
            follower_rest(self.follower)   # it would be told of all that this node appends
            status = log_begin(self.log, &self.follower.head, self.follower.head_mod, name)
        if status != LOG_OK:
            return None
        return 0.0 if at_once else max(<int64_t> 0, from_ns - boot_now()) / 1e9

    def keep_time(self):
        """Go on from this node's own time after it led, unless another one has led since."""
        follower_tell(self.follower, self.log.epoch, clock_now(self.clock.state))

    def end_reason(self, double timeout_s):
        """Wait for the end of leading; return why it came, or None if it did not."""
        cdef pollfd end
        end.fd, end.events, end.revents = self.log.fate_fd, POLLIN, 0
        cdef int timeout_ms = <int> (timeout_s * 1000)
        with nogil:
            poll(&end, 1, timeout_ms)
        return None if self.log.fate.load() == LEADING else self.fate

    @property
    def fate(self):
        """Whether this node leads, or why it no longer does."""
        return _FATES[self.log.fate.load()]

    @property
    def epoch(self):
        """The epoch of this node's, as last begun."""
        return self.log.epoch

    @property
    def leader_epoch(self):
        """The epoch of whoever leads, as last seen; 0: nobody does."""
        return self.follower.leader_epoch

    def resign(self):
        """Answer nothing any more, and have another node lead at once; False if that is not known.
        """
        cdef LogStatus status
        with nogil:
            status = log_resign(self.log)
        return status == LOG_OK

    def trim(self, uint64_t revision):
        """Remove all entries up to a revision from etcd; False if there was nothing, or not now."""
        cdef LogStatus status
        with nogil:
            status = log_trim(self.log, revision)
        return status == LOG_OK

    def figures(self):
        """Return what is counted of this node's calls and of what it follows."""
        return {
            "transactions": self.log.transactions.load(),
            "resent": self.log.resent.load(),
            "appended_bytes": self.log.appended_bytes.load(),
            "last_transaction_ns": self.log.last_ns.load(),
            "transaction_ns_total": self.log.total_ns.load(),
            "transaction_lengths": [self.log.lengths[i].load() for i in range(LENGTHS)],
            "etcd_failures": (
                self.log.client.failure_count + self.session.client.failure_count
                + self.follower.client.failure_count + self.follower.watch.failure_count
            ),
            "resyncs": self.follower.resyncs,
            "lost_events": self.follower.lost_events,
        }

    # --- who belongs to the cluster

    def register(self, uint64_t flushed_revision):
        """Say where this node is; until it is removed, the log keeps what it has not flushed.

        Raises:
            EtcdUnavailableError: etcd does not answer.
        """
        cdef string request, key
        cdef Slice bytes
        cdef CallEnd end
        cdef int64_t level_ns = self.level_time_ns
        if self.log.fate.load() == LEADING:
            level_ns = clock_now(self.clock.state)
        encoded = self.node_id.encode()
        value = registration_value(
            self.member, applied_revision=self.applied_revision,
            flushed_revision=flushed_revision, level_time_ns=level_ns, wall_ns=time.time_ns(),
        )
        key.append(self.log.keys.nodes)
        key.append(<const char *> encoded, len(encoded))
        add_bytes(&request, 1, text_slice(key))
        add_bytes(&request, 2, slice_of(<const char *> value, len(value)))
        with nogil:
            end = client_ask(
                self.follower.client, "/etcdserverpb.KV/Put", &request, self.log.attempt_ns,
                boot_now() + 2 * self.log.attempt_ns, &bytes,
            )
        if end != CALL_ANSWERED:
            raise EtcdUnavailableError("etcd does not answer")

    def registered(self):
        """Return the flushed revision of each node that belongs to the cluster, by its name."""
        cdef string request, end_key
        cdef Slice bytes
        cdef RangeAnswer answer
        cdef CallEnd end
        cdef size_t i
        prefix_end(&end_key, text_slice(self.log.keys.nodes))
        range_request(
            &request, text_slice(self.log.keys.nodes), text_slice(end_key), 0, False
        )
        with nogil:
            end = client_ask(
                self.follower.client, "/etcdserverpb.KV/Range", &request, self.log.attempt_ns,
                boot_now() + self.log.guard_ns, &bytes,
            )
        if end != CALL_ANSWERED or not range_read(bytes, &answer):
            raise EtcdUnavailableError("etcd does not answer")
        found = {}
        for i in range(answer.found.size()):
            name = answer.found[i].key.data[
                self.log.keys.nodes.size():answer.found[i].key.size
            ].decode()
            value = answer.found[i].value.data[:answer.found[i].value.size]
            found[name] = registration_of(value).flushed_revision
        return found

    # --- who joins it

    def pin(self, uint64_t revision):
        """Have the log keep what follows a revision, as long as this session lasts.

        Raises:
            EtcdUnavailableError: etcd does not answer.
        """
        cdef string txn, key
        cdef Slice bytes
        cdef CallEnd end
        assert self.in_session
        encoded = self.node_id.encode()
        value = b"%d" % revision
        key.append(self.log.keys.pins)
        key.append(<const char *> encoded, len(encoded))
        txn_put(
            &txn, ON_SUCCESS, text_slice(key), slice_of(<const char *> value, len(value)),
            self.session.lease_id,
        )
        with nogil:
            end = client_ask(
                self.follower.client, "/etcdserverpb.KV/Txn", &txn, self.log.attempt_ns,
                boot_now() + self.log.guard_ns, &bytes,
            )
        if end != CALL_ANSWERED:
            raise EtcdUnavailableError("etcd does not answer")

    def pinned(self):
        """Return what nodes that join have pinned, by their names."""
        return {name: int(value) for name, value in found_under(self, &self.log.keys.pins)}

    def alive(self):
        """Return the names of the nodes that run."""
        return {name for name, _ in found_under(self, &self.log.keys.alive)}


cdef list found_under(Node node, const string *prefix):
    """Return what etcd has under keys of nodes, as (name, value) of each."""
    cdef string request, end_key
    cdef Slice bytes
    cdef RangeAnswer answer
    cdef CallEnd end
    cdef size_t i, size = (<string *> prefix).size()
    prefix_end(&end_key, text_slice(prefix[0]))
    range_request(&request, text_slice(prefix[0]), text_slice(end_key), 0, False)
    with nogil:
        end = client_ask(
            node.follower.client, "/etcdserverpb.KV/Range", &request, node.log.attempt_ns,
            boot_now() + node.log.guard_ns, &bytes,
        )
    if end != CALL_ANSWERED or not range_read(bytes, &answer):
        raise EtcdUnavailableError("etcd does not answer")
    return [
        (
            answer.found[i].key.data[size:answer.found[i].key.size].decode(),
            answer.found[i].value.data[:answer.found[i].value.size],
        )
        for i in range(answer.found.size())
    ]
