"""C interface of follower: the log that etcd keeps, as it is read."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport mutex, string, vector
from ownerd.cluster.etcd_client cimport EtcdAim, EtcdClient
from ownerd.cluster.log_values cimport BeatValue, HeadValue, IdentityValue, Keys, TrimmedValue
from ownerd.storage.tables cimport ClusterRow

# A whole entry, ready to be applied.
cdef cppclass FollowedEntry:
    ClusterRow position
    int64_t time_ns
    uint32_t row_count
    string rows

cdef enum FollowStatus:
    FOLLOW_ON
    FOLLOW_LOST                       # etcd cannot be asked now
    FOLLOW_BEHIND                     # what comes next is gone from the log: a backup is needed
    FOLLOW_OTHER                      # this is not the log that was followed
    FOLLOW_STOPPED

# One thread's.
cdef cppclass Follower:
    Keys keys
    EtcdClient *client
    EtcdClient *watch
    int64_t attempt_ns
    int64_t patience_ns               # for news: then the watch is taken for dead
    ClusterRow position               # of the last whole entry that was handed over
    vector[FollowedEntry] ready       # to be handed over
    # What is not whole yet.
    FollowedEntry open
    uint32_t next_part                # 0: nothing is open
    # As last seen.
    HeadValue head
    int64_t head_mod
    int64_t beat_mod
    int64_t leader_epoch              # the leader key's create revision; 0: nobody leads
    string leader                     # its value
    mutex hearing                     # the four below: others read them, too
    int64_t time_ns                   # the leader's time, as far as it was known
    int64_t received_ns               # on CLOCK_BOOTTIME, when the last entry or beat came
    uint64_t heard_epoch              # whose time it is
    bint heard                        # of a leader's time, since it began
    int64_t heard_mod                 # etcd's revision of the last trace; 0: it never looked
    uint64_t trimmed_revision         # the last entry that is gone
    uint64_t trimmed_bytes            # what all entries up to it had
    # The watch.
    int64_t next_revision             # of etcd, that it goes on with
    bint watching
    int64_t news_ns                   # when something came last
    uint64_t resyncs                  # how often what a watch told had to be read instead
    uint64_t lost_events              # of them, because something was missing
    uint64_t message_count            # of the watch's
    uint64_t lose_every               # of which a test has one lost; 0: none

cdef Follower *follower_new(EtcdAim *aim, Slice name) noexcept nogil
# What nobody has to tell it: the time in an epoch, as it is now.
cdef void follower_tell(Follower *follower, uint64_t epoch, int64_t time_ns) noexcept nogil
cdef void follower_free(Follower *follower) noexcept nogil
# On any thread: the leader's time and, on CLOCK_BOOTTIME, when it came; False: none came yet.
cdef bint follower_heard(
    Follower *follower, int64_t *time_ns, int64_t *received_ns
) noexcept nogil
# Reads where the log is, linearizably: all that was done before this call began.
cdef FollowStatus follower_look(Follower *follower) noexcept nogil
# Whether the log is the one that a store, which is at `position`, was in; reads it.
cdef FollowStatus follower_begin(
    Follower *follower, const ClusterRow *position, IdentityValue *identity
) noexcept nogil
# Reads what comes behind the position, to the head as last looked at; into `ready`.
cdef FollowStatus follower_catch_up(Follower *follower) noexcept nogil
# Is told nothing until it waits again.
cdef void follower_rest(Follower *follower) noexcept nogil
# Waits for news until a time at most; whole entries go into `ready`.
cdef FollowStatus follower_wait(Follower *follower, int64_t until_ns) noexcept nogil
