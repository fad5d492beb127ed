"""What tests ask of base; built only with OWNERD_TESTING=1.

A clock that stands still until it is moved, the slewing of R19 by itself, the two ways to compute a
checksum, the names of the failpoints, a commit that finds the map full, and how many objects are
alive.
"""

from libc.stdint cimport int64_t, uint32_t
from libcpp.atomic cimport atomic

from ownerd.base.assertions cimport assert_that
from ownerd.base.checksum cimport crc32c, crc32c_by_bits
from ownerd.base.clock cimport Clock, clock_advance
from ownerd.base.failpoints cimport FAILPOINT_COUNT, FAILPOINT_NAMES
from ownerd.base.live cimport LIVE_COUNTED, LIVE_KINDS, LIVE_NAMES, live_total
from ownerd.base.lmdb cimport MDB_MAP_FULL, MDB_txn, lmdb

FAILPOINTS = tuple(FAILPOINT_NAMES[i].decode() for i in range(FAILPOINT_COUNT))


def live_objects():
    """Return how many objects of each kind are alive; None unless this is a debug build."""
    if not LIVE_COUNTED:
        return None
    return {LIVE_NAMES[kind].decode(): live_total(kind) for kind in range(<int> LIVE_KINDS)}


def break_an_assertion():
    """Assert what does not hold: a debug build ends the process, others return."""
    assert_that(sizeof(int) == 0, "an int has no bytes")


cdef class ManualClock(Clock):
    """A clock that shows `start_ns` (nanoseconds since the Unix epoch) and stands."""

    def __init__(self, int64_t start_ns):
        self.state.manual = True
        self.state.time_ns = start_ns

    def advance_ns(self, int64_t delta_ns):
        """Move the clock forward by `delta_ns`.

        Raises:
            ValueError: `delta_ns` is negative.
        """
        if delta_ns < 0:
            raise ValueError(f"delta_ns is {delta_ns}: time never goes back")
        self.state.guard.lock()
        self.state.time_ns += delta_ns
        self.state.guard.unlock()


def simulate(int64_t start_ns, readings):
    """Return the server times for `readings` of (boottime_ns, wall_ns)."""
    cdef Clock clock = Clock()
    clock.state.time_ns = start_ns
    clock.state.boot_ns = clock.state.slewed_at_ns = readings[0][0]
    times = []
    for boot_ns, wall_ns in readings:
        clock_advance(clock.state, boot_ns, wall_ns)
        times.append(clock.state.time_ns)
    return times


def checksum(bytes data, uint32_t after=0):
    """Return the CRC-32C of `data` behind what `after` is the checksum of."""
    return crc32c(after, <const char *> data, len(data))


def checksum_by_bits(bytes data, uint32_t after=0):
    """Return the same, computed bit by bit."""
    return ~crc32c_by_bits(~after, <const char *> data, len(data)) & 0xFFFF_FFFF


# --- a commit that fails --------------------------------------------------------------------------

cdef int (*commit)(MDB_txn *) noexcept nogil    # LMDB's own
cdef atomic[int64_t] commits_to_come            # before the one that fails
commit = lmdb.txn_commit


cdef int commit_or_fail(MDB_txn *txn) noexcept nogil:
    """Commit, but once: then end the transaction as LMDB does when it finds the map full only now.
    """
    if commits_to_come.fetch_sub(1) == 0:
        lmdb.txn_abort(txn)
        return MDB_MAP_FULL
    return commit(txn)


class MapFullAtCommit:
    """While its block runs, one commit of this process fails: the one after the first `passes`.

    Not while another thread may commit as the block begins or ends.
    """

    def __init__(self, int64_t passes):
        self._passes = passes

    def __enter__(self):
        commits_to_come.store(self._passes)
        lmdb.txn_commit = commit_or_fail
        return self

    def __exit__(self, *exception):
        lmdb.txn_commit = commit

    @property
    def has_failed(self):
        """Whether it came to that commit."""
        return commits_to_come.load() < 0
