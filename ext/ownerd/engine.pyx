"""One store and its writer thread, for Python: the data plane, the control plane, the reads.

Wraps `writer` (queue, groups, commits): every call becomes a task, waits without the GIL and turns
refusals into `Refused`. asyncio waiters use `mailbox`.
"""

import os
import time

from libc.stdint cimport int64_t, uint8_t, uint64_t

from ownerd.calls cimport (
    CALL_KIND_COUNT, FAILED_PRECONDITION, OK, TASK_CHANGE, TASK_SNAPSHOT, UNAVAILABLE, DialCall,
    Task, call_clear, call_init, task_clear,
)
from ownerd.catalog cimport (
    answered_request, audit_count, audit_page, campaign_page, code_page, entry_count, list_info,
    list_page, policy_from, uncounted_releases,
)
from ownerd.changes cimport (
    CREATE_LIST, DELETE_CODE, DELETE_LIST, FINISH_COUNT, IMPORT_ROWS, RELEASE, RELEASE_RECORDS,
    SIGNAL_CAMPAIGN, UPDATE_POLICY, UPSERT_CAMPAIGN, UPSERT_CODE, Change, ImportRow,
)
from ownerd.clock cimport Clock, clock_now
from ownerd.containers cimport string
from ownerd.lmdb_api cimport MDB_SUCCESS, MDB_envinfo, lmdb
from ownerd.rules cimport NEVER_NS
from ownerd.snapshot cimport Snapshot, SnapshotRequest
from ownerd.store cimport (
    COUNT_PENDING, store_begin, store_close, store_commit, store_open,
)
from ownerd.wire cimport BATCH_RECORDS, wire_decode
from ownerd.writer cimport (
    DRAINING, change_state, core_open, run_and_wait, run_settle_step, start_settler, start_writer,
    stop, wait_thread,
)

from ownerd.calls import Refused
from ownerd.catalog import ListInfo, Outcome
from ownerd.catalog import PolicyTuple as Policy
from ownerd.directory import StoreError, StoreInUseError

CLAIM, CLAIM_BATCH, REPORT_ATTEMPT, REPORT_ATTEMPT_BATCH, GET_HOLDER = range(CALL_KIND_COUNT)
DIAL_METHODS = ("Claim", "ClaimBatch", "ReportAttempt", "ReportAttemptBatch", "GetHolder")
DEFAULT_MAP_BYTES = 256 << 30         # sparse: only address space until it is used
DEFAULT_RESERVE_BYTES = 64 << 20
DEFAULT_QUEUE_LIMIT = 65_536


cdef refusal(Task *task):
    return Refused(task.code, task.message.decode(errors="replace"))


cdef assign(string *target, str text):
    encoded = text.encode()
    target.assign(<const char *> encoded, len(encoded))


cdef assign_bytes(string *target, bytes data):
    target.assign(<const char *> data, len(data))


cdef class Engine:
    """One store and its writer; every method may be called from any thread.

    Calls of the control plane block (without the GIL) until they are durable. They take `note`, the
    bytes kept in the audit entry, `request_id` with `memo`, the bytes given back when the same id
    comes again within 24 h (R20). They return an Outcome and raise Refused.

    Args:
        directory: the data directory; created if it is not there.
        clock: the server's time; None for R19's.
        map_bytes: the store's upper bound, reserved as address space.
        queue_limit: records that may wait; more are refused with RESOURCE_EXHAUSTED.
        reserve_bytes: room that is kept for releases; grants are refused first.
        settle_interval_s: how often expired records are swept up.
        background: run the settler's thread; False leaves settling to `settle()`.

    Raises:
        StoreInUseError, StoreError: see `ownerd.directory`.
    """

    def __cinit__(self):
        self.core = NULL
        self.closed = True

    def __init__(
        self, str directory, Clock clock=None, *, map_bytes=DEFAULT_MAP_BYTES,
        queue_limit=DEFAULT_QUEUE_LIMIT, reserve_bytes=DEFAULT_RESERVE_BYTES,
        settle_interval_s=900.0, background=True,
    ):
        if self.core != NULL:
            raise RuntimeError("an engine is opened once")
        self.directory = directory
        self.clock = Clock() if clock is None else clock
        self.background = background
        cdef Store *store = store_open(directory, map_bytes, reserve_bytes)
        self.core = core_open(store, (<Clock> self.clock).state)
        self.core.queue_limit = queue_limit
        self.core.settle_interval_ms = <int> (settle_interval_s * 1000)
        start_writer(self.core, &self.writer)
        if background:
            start_settler(self.core, &self.settler)
        self.closed = False
        self.opened_at = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __dealloc__(self):
        if self.core != NULL:
            os.close(self.core.failure_fd)
            os.close(self.core.settle_fd)
            del self.core

    def begin_drain(self):
        """Refuse new dials with UNAVAILABLE from now on; those queued are answered."""
        change_state(self.core, DRAINING)

    def close(self, timeout_s=10.0):
        """Answer what is queued, store the time, let go of the directory. May be called again.

        Waits up to `timeout_s` for open snapshots; if one stays open, the files stay mapped until
        the process ends, which harms nothing that is on disk.
        """
        cdef EngineCore *core = self.core
        if self.closed:
            return
        self.closed = True
        stop(core)
        with nogil:
            if self.background:
                wait_thread(self.settler)
            wait_thread(self.writer)
        self._store_time()
        deadline = time.monotonic() + timeout_s
        while self.open_snapshots and time.monotonic() < deadline:
            time.sleep(0.01)
        if not self.open_snapshots:
            store_close(core.store)
            core.store = NULL

    def _store_time(self):
        """Commit the time, so that a restart on an earlier wall clock does not go back (R19)."""
        cdef Store *store = self.core.store
        if self.core.failure_code != MDB_SUCCESS or store_begin(store) != MDB_SUCCESS:
            return
        store_commit(store, store.state.revision, clock_now(self.core.clock))

    def _snapshot_closed(self):
        self.open_snapshots -= 1

    # --- data plane

    def dial(self, int kind, bytes body):
        """Answer one DialService request (protobuf bytes in and out), blocking.

        `kind` is CLAIM, CLAIM_BATCH, REPORT_ATTEMPT, REPORT_ATTEMPT_BATCH or GET_HOLDER.
        """
        cdef DialCall call
        if not 0 <= kind < CALL_KIND_COUNT:
            raise ValueError(f"kind is {kind}")
        call_init(&call, <uint8_t> kind)
        cdef const char *data = <const char *> body
        cdef size_t size = len(body)
        with nogil:
            if wire_decode(&call, data, size):
                run_and_wait(self.core, &call.task)
        try:
            if call.task.code != OK:
                raise refusal(&call.task)
            return call.answer[:call.answer_size]
        finally:
            call_clear(&call)

    # --- control plane

    def create_list(self, list_id, policy, *, note=b"", request_id="", memo=b""):
        """Create a contact list. Refused: ALREADY_EXISTS."""
        cdef Change *change = new_change(CREATE_LIST, list_id, note, request_id, memo)
        change.policy = policy_from(policy)
        return self._run(<size_t> change)

    def update_policy(
        self, list_id, policy, expected_revision=0, *, note=b"", request_id="", memo=b""
    ):
        """Set a list's policy (R12-R14). Refused: NOT_FOUND; ABORTED if it is at another revision.

        `expected_revision` is the ListInfo.update_revision that the caller saw, 0 for any.
        """
        cdef Change *change = new_change(UPDATE_POLICY, list_id, note, request_id, memo)
        change.policy = policy_from(policy)
        change.expected_revision = expected_revision
        return self._run(<size_t> change)

    def delete_list(
        self, list_id, *, force, expected_revision=0, note=b"", request_id="", memo=b""
    ):
        """Delete a list. Refused: NOT_FOUND, ABORTED; FAILED_PRECONDITION with live ownership.

        The count is the number of live ownerships that end; `force` deletes them too.
        """
        cdef Change *change
        owned = 0
        revision = 0
        if not (request_id and self.request(request_id)):
            with self.snapshot(list_id) as snapshot:
                owned = snapshot.count_owned()
                revision = snapshot.revision
            if owned and not force:
                raise Refused(
                    FAILED_PRECONDITION,
                    f'contact list "{list_id}" has {owned} owned records; release them first, or '
                    "delete it with force",
                )
        change = new_change(DELETE_LIST, list_id, note, request_id, memo)
        change.force = force
        change.acquire_revision = revision
        change.expected_revision = expected_revision
        change.count = owned
        return self._run(<size_t> change)

    def release(
        self, list_id, campaign_ids, include_reservations, *, note=b"", request_id="", memo=b""
    ):
        """Release the ownership of some campaigns (None: all) at one instant (R15).

        In force when this returns; `count_released` then says how many. Refused: NOT_FOUND for the
        list or a campaign.
        """
        cdef Change *change = new_change(RELEASE, list_id, note, request_id, memo)
        change.include_reservations = include_reservations
        change.all_campaigns = campaign_ids is None
        for campaign_id in dict.fromkeys(campaign_ids or ()):
            change.campaign_ids.push_back(string())
            assign(&change.campaign_ids.back(), campaign_id)
        return self._run(<size_t> change)

    def release_records(self, list_id, record_ids, *, note=b"", request_id="", memo=b""):
        """Release the ownership of single records; those that nobody owns are not counted."""
        cdef Change *change = new_change(RELEASE_RECORDS, list_id, note, request_id, memo)
        for record_id in record_ids:
            change.record_ids.push_back(string())
            assign(&change.record_ids.back(), record_id)
        return self._run(<size_t> change)

    def count_released(self, uint64_t entry_id):
        """Count what the release with this audit entry ended, store and return the count.

        Exact whenever it is called: records written since the release were counted as they were
        written. Raises KeyError for an unknown entry.
        """
        cdef Change *change
        known = audit_count(self._store(), entry_id)
        if known is not None:
            return known
        list_id = self._list_of_release(entry_id)
        if list_id is None:           # settled or deleted in the meantime: the count is stored
            return audit_count(self._store(), entry_id)
        with self.snapshot(list_id) as snapshot:
            count = snapshot.count_released(entry_id)
        change = new_change(FINISH_COUNT, list_id, b"", "", b"")
        change.entry_id = entry_id
        change.count = count
        self._run(<size_t> change)
        return audit_count(self._store(), entry_id)

    def pending_counts(self):
        """Return the audit entries of releases that are still to be counted."""
        return sorted({entry_id for _, entry_id in uncounted_releases(self._store())})

    def upsert_campaign(self, campaign_id, name, *, note=b"", request_id="", memo=b""):
        """Register a campaign, or rename it; "" keeps the name (at first, the id)."""
        cdef Change *change = new_change(UPSERT_CAMPAIGN, "", note, request_id, memo)
        change.campaign_ids.push_back(string())
        assign(&change.campaign_ids.back(), campaign_id)
        assign(&change.name, name)
        return self._run(<size_t> change)

    def signal_campaign(
        self, campaign_id, list_id, stopped, *, note=b"", request_id="", memo=b""
    ):
        """End a stopped campaign's reservations on a list ("": all lists); R16.

        Recycle and reset (`stopped` False) only leave an audit entry. Refused: NOT_FOUND.
        """
        cdef Change *change = new_change(SIGNAL_CAMPAIGN, list_id, note, request_id, memo)
        change.campaign_ids.push_back(string())
        assign(&change.campaign_ids.back(), campaign_id)
        change.stopped = stopped
        return self._run(<size_t> change)

    def upsert_code(
        self, code, category, counts_as_attempt, success, *, note=b"", request_id="", memo=b""
    ):
        """Add or change a wrap-up code."""
        cdef Change *change = new_change(UPSERT_CODE, "", note, request_id, memo)
        assign(&change.code, code)
        assign(&change.category, category)
        change.counts_as_attempt = counts_as_attempt
        change.success = success
        return self._run(<size_t> change)

    def delete_code(self, code, *, note=b"", request_id="", memo=b""):
        """Delete a wrap-up code. Refused: NOT_FOUND."""
        cdef Change *change = new_change(DELETE_CODE, "", note, request_id, memo)
        assign(&change.code, code)
        return self._run(<size_t> change)

    def import_rows(
        self, list_id, rows, strategy, entry_id=0, *, note=b"", request_id="", memo=b""
    ):
        """Import up to 10,000 rows (record_id, campaign_id, campaign_name, expire_ns or None).

        `strategy`: 1 fail, 2 skip, 3 overwrite. `entry_id` 0 begins an import; further chunks pass
        the first one's and are added to its audit entry. Refused, with nothing of these rows
        written: NOT_FOUND, RESOURCE_EXHAUSTED, FAILED_PRECONDITION for a conflict with strategy 1.
        """
        cdef Change *change
        cdef ImportRow *row
        cdef size_t i
        if len(rows) > BATCH_RECORDS:
            raise ValueError(f"{len(rows)} rows in one chunk; {BATCH_RECORDS} are allowed")
        change = new_change(IMPORT_ROWS, list_id, note, request_id, memo)
        change.strategy = strategy
        change.entry_id = entry_id
        change.rows.resize(len(rows))
        for i, (record_id, campaign_id, campaign_name, expire_ns) in enumerate(rows):
            row = &change.rows[i]
            assign(&row.record_id, record_id)
            assign(&row.campaign_id, campaign_id)
            assign(&row.campaign_name, campaign_name)
            row.until_ns = NEVER_NS if expire_ns is None else <int64_t> expire_ns
        return self._run(<size_t> change)

    def _run(self, size_t pointer):
        """Run a change to its end and free it."""
        cdef Change *change = <Change *> pointer
        with nogil:
            run_and_wait(self.core, &change.task)
        try:
            if change.task.code != OK:
                raise refusal(&change.task)
            return Outcome(
                change.revision, change.time_ns,
                None if change.count == COUNT_PENDING else change.count, change.entry_id,
                bool(change.replayed), change.memo.data()[:change.memo.size()],
                tuple(change.tally),
            )
        finally:
            task_clear(&change.task)
            del change

    # --- reads

    cdef Store *_store(self) except NULL:
        if self.closed:
            raise Refused(UNAVAILABLE, "the server is stopping and takes no more calls")
        return self.core.store

    def get_list(self, list_id):
        """Return a list's ListInfo, or None."""
        return list_info(self._store(), list_id)

    def lists(self, after, limit):
        """Return up to `limit` ListInfo by id, after the id `after`."""
        return list_page(self._store(), after, limit)

    def campaigns(self, after, limit):
        """Return up to `limit` (campaign_id, name) by id, after the id `after`."""
        return campaign_page(self._store(), after, limit)

    def codes(self, after, limit):
        """Return up to `limit` (code, category, counts_as_attempt, success) by code."""
        return code_page(self._store(), after, limit)

    def audit(self, before, limit):
        """Return up to `limit` audit entries, newest first, with ids below `before` (0: all).

        Each is (entry_id, time_ns, revision, count or None while it is pending, note).
        """
        return audit_page(self._store(), before, limit)

    def request(self, request_id):
        """Return the Outcome stored for a request id in the last 24 h, or None."""
        return answered_request(self._store(), request_id, clock_now(self.core.clock))

    def snapshot(self, list_id):
        """Return a Snapshot of a list as of now. Refused: NOT_FOUND, RESOURCE_EXHAUSTED."""
        cdef SnapshotRequest *request = new SnapshotRequest()
        self._store()
        assign(&request.list_id, list_id)
        request.task.kind = TASK_SNAPSHOT
        request.task.body = request
        with nogil:
            run_and_wait(self.core, &request.task)
        if request.task.code != OK:
            error = refusal(&request.task)
            task_clear(&request.task)
            del request
            raise error
        self.open_snapshots += 1
        return (<Snapshot> Snapshot.__new__(Snapshot)).adopt(self.core.store, request, self)

    def _list_of_release(self, uint64_t entry_id):
        """Return the id of the list that a release still to be counted belongs to, or None."""
        numbers = [number for number, entry in uncounted_releases(self._store())
                   if entry == entry_id]
        for info in list_page(self._store(), "", 1 << 62) if numbers else ():
            if info.number == numbers[0]:
                return info.list_id
        return None

    @property
    def revision(self):
        """The revision of the last commit that changed something."""
        return self._store().state.revision

    @property
    def failed(self):
        """What ended the store, or None while it works."""
        if self.core.failure_code == MDB_SUCCESS:
            return None
        reason = lmdb.strerror(self.core.failure_code).decode(errors="replace")
        return f"a commit to {self.directory} failed: {reason}"

    @property
    def failure_fd(self):
        """An eventfd that is readable once storage has failed; then the process must end."""
        return self.core.failure_fd

    def settle(self):
        """Sweep the whole store now: fold old events, drop expired records, cut the log."""
        cdef bint more
        self._store()
        with nogil:
            more = run_settle_step(self.core, True)
            while more:
                more = run_settle_step(self.core, False)

    def stats(self):
        """Return counters and sizes as a dict; see the keys."""
        cdef EngineCore *core = self.core
        cdef Store *store = self._store()
        cdef MDB_envinfo info
        lmdb.env_info(store.env, &info)
        lists, campaigns, records, events = entry_count(store)
        used = (info.me_last_pgno + 1) * store.page_bytes
        disk = os.fstatvfs(store.data_fd)
        counters = core.counters
        return {
            "revision": store.state.revision,
            "time_ns": clock_now(core.clock),
            "clock_offset_ns": self.clock.offset_ns(),
            "uptime_s": time.monotonic() - self.opened_at,
            "queue_depth": core.queued_records,
            "queue_limit": core.queue_limit,
            "list_count": lists,
            "campaign_count": campaigns,
            "record_count": records,
            "unsettled_event_count": events,
            "store_bytes": used,
            "map_bytes": store.map_bytes,
            "map_free_bytes": store.map_bytes - min(store.map_bytes, used),
            "disk_free_bytes": disk.f_bavail * disk.f_frsize,
            "groups": counters.groups,
            "changed_groups": counters.changed_groups,
            "calls": counters.calls,
            "records": counters.records,
            "decisions": {
                "granted": counters.decisions[1], "denied": counters.decisions[2],
                "uncontrolled": counters.decisions[3],
            },
            "outcomes": {
                name: counters.outcomes[i + 1] for i, name in enumerate((
                    "ownership_acquired", "ownership_renewed", "ownership_kept",
                    "reservation_cleared", "not_controlled", "rejected",
                ))
            },
            "refused": {"queue_full": core.queue_refusals, "store_full": counters.refused_full},
            "commit_ns_total": counters.commit_ns,
            "settled_records": counters.settled,
            "alarms": self._alarms(),
            "failed": core.failure_code != MDB_SUCCESS,
        }

    def _alarms(self):
        alarms = []
        if self.core.store.disk_full:
            alarms.append(("disk_full", "the disk is full; grants are refused until space is freed"))
        if self.core.store.map_full:
            alarms.append((
                "map_full",
                "the store has reached map_bytes; grants are refused until records are released "
                "and settled, or the server is restarted with a larger map",
            ))
        if self.failed is not None:
            alarms.append(("storage_failed", self.failed))
        return alarms


cdef Change *new_change(int kind, str list_id, bytes note, str request_id, bytes memo) except NULL:
    """Return a change of a kind, to be filled in and passed to `Engine._run`."""
    cdef Change *change = new Change()
    change.task.kind = TASK_CHANGE
    change.task.body = change
    change.kind = <uint8_t> kind
    assign(&change.list_id, list_id)
    assign_bytes(&change.note, note)
    assign(&change.request_id, request_id)
    assign_bytes(&change.memo, memo)
    return change
