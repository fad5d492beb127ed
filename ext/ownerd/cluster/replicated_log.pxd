"""C interface of replicated_log: the leader's side of the log that etcd keeps."""

from libc.stdint cimport int64_t, uint64_t
from libcpp.atomic cimport atomic

from ownerd.base.bytes cimport Slice
from ownerd.base.clock cimport ClockState
from ownerd.base.containers cimport string
from ownerd.base.threads cimport pthread_mutex_t
from ownerd.cluster.etcd_client cimport EtcdAim, EtcdClient
from ownerd.cluster.log_values cimport HeadValue, Keys
from ownerd.storage.file_log cimport LogStatus
from ownerd.storage.log_entry cimport LogEntry
from ownerd.storage.shared_log cimport SharedLog
from ownerd.storage.tables cimport ClusterRow

cdef enum:
    LENGTHS = 14                      # classes of how long transactions take: up to 1, 2, 4 .. ms

cdef enum Fate:
    NOT_LEADING
    LEADING
    RESIGNED                          # by its own will
    FENCED                            # the log is another's, or the key is gone
    UNDECIDED                         # etcd said nothing for R

cdef cppclass ReplicatedLog:
    Keys keys
    ClockState *clock                 # whose time beats tell
    int64_t guard_ns                  # R
    int64_t attempt_ns                # that a member has for one call
    int fate_fd                       # an eventfd: written when it leads no more
    # Held over one fenced transaction at a time, whoever makes it.
    pthread_mutex_t turn
    EtcdClient *client
    uint64_t log_id
    uint64_t epoch
    HeadValue head                    # as it stands in etcd
    int64_t head_mod
    uint64_t beat_count
    # For others.
    atomic[int] fate
    atomic[int64_t] guarded_until_ns  # on CLOCK_BOOTTIME: until then nobody else answers anything
    atomic[uint64_t] revision         # of the last entry that is in the log
    atomic[uint64_t] appended_bytes
    atomic[uint64_t] transactions
    atomic[uint64_t] resent           # of them, after an unknown outcome
    atomic[int64_t] last_ns           # how long the last one took
    atomic[int64_t] total_ns          # and all of them
    atomic[uint64_t] lengths[LENGTHS]  # by class; the last one has what is longer, too
    atomic[int64_t] etcd_revision     # of the last answer
    atomic[uint64_t] log_bytes        # of all parts that ever were in the log
    atomic[uint64_t] trimmed_bytes    # of them, those that are gone
    atomic[uint64_t] trimmed_revision  # up to here
    atomic[uint64_t] flushed_bytes    # what this node has flushed of them, as far as it was told
    atomic[uint64_t] bound_bytes      # that may be unflushed; 0: any
    atomic[bint] always_proves        # each read by a transaction of its own

cdef ReplicatedLog *log_new(EtcdAim *aim, Slice name, ClockState *clock) noexcept nogil
cdef void log_free(ReplicatedLog *log) noexcept nogil

# Makes the cluster's log, once, behind what a store has; LOG_FENCED: there is one already.
cdef LogStatus log_create(ReplicatedLog *log, const ClusterRow *begin) noexcept nogil
# Takes the leader's key, if it is free: LOG_OK; LOG_FENCED: somebody has it.
cdef LogStatus log_stand(ReplicatedLog *log, Slice member, int64_t lease_id) noexcept nogil
# Begins the epoch, behind a head that was read after the key was taken, removing what is not whole.
cdef LogStatus log_begin(
    ReplicatedLog *log, const HeadValue *head, int64_t head_mod, Slice node
) noexcept nogil

cdef LogStatus log_append(
    ReplicatedLog *log, LogEntry *entry, uint64_t revision, int64_t time_ns, ClusterRow *position
) noexcept nogil
cdef LogStatus log_confirm(ReplicatedLog *log) noexcept nogil
cdef LogStatus log_beat(ReplicatedLog *log) noexcept nogil
# Nothing is answered any more; whoever leads next need not wait.
cdef LogStatus log_resign(ReplicatedLog *log) noexcept nogil
# Removes all entries up to one that is kept elsewhere, and has etcd forget them.
cdef LogStatus log_trim(ReplicatedLog *log, uint64_t revision) noexcept nogil
# Leads no more.
cdef void log_stand_down(ReplicatedLog *log, Fate fate) noexcept nogil
cdef void log_share(ReplicatedLog *log, SharedLog *shared) noexcept nogil
