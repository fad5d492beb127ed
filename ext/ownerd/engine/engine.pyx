"""One store and its writer thread, for Python: the data plane, the control plane, the reads.

Every call becomes a task in the queue before the writer, waits without the GIL, and turns a refusal
into `Refused`. asyncio waiters use `aio_bridge`.
"""

import os
import time

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memset

from ownerd.api.dial_call cimport CALL_KIND_COUNT, DialCall, call_clear, call_init
from ownerd.api.dial_codec cimport dial_decode, dial_encode
from ownerd.api.reasons cimport (
    CAMPAIGN_HOLDS, FIELD_LENGTH, LIST_OWNED, SERVER_STOPPING, task_refusal,
)
from ownerd.api.task cimport OK, TASK_COMMAND, TASK_FOLLOW, TASK_LEAD, Task, task_clear
from ownerd.base.atomics cimport counts_read, flag_read
from ownerd.base.bytes cimport slice_of
from ownerd.base.clock cimport Clock, clock_now
from ownerd.base.containers cimport string
from ownerd.base.histogram cimport SHORTEST_BITS, TIME_CLASSES, Histogram
from ownerd.base.lmdb cimport MDB_CORRUPTED, MDB_SUCCESS, lmdb
from ownerd.base.threads cimport thread_wait
from ownerd.engine.admin_reads cimport (
    answered_request, audit_count, audit_oldest, audit_page, campaign_name, campaign_page,
    code_page, code_row, entry_count, list_info, list_page, lists_held, policy_from,
    principal_rows, request_key, settings_row,
)
from ownerd.engine.backup cimport Backup
from ownerd.engine.called_twice cimport called_twice_rows
from ownerd.engine.commands cimport (
    CREATE_LIST, CUT_AUDIT, DELETE_CAMPAIGN, DELETE_CODE, DELETE_LIST, DELETE_PRINCIPAL,
    IMPORT_ROWS, NOTE_EVENT, NOTE_REFUSALS, PUT_PRINCIPAL, RELEASE, RELEASE_RECORDS,
    SIGNAL_CAMPAIGN, TRANSFER, UPDATE_POLICY, UPDATE_SETTINGS, UPSERT_CAMPAIGN, UPSERT_CODE,
    Command, ImportRow,
)
from ownerd.engine.core cimport (
    GROUP_SIZE_CLASSES, STORE_LOST, EngineCore, EngineOptions, engine_await, engine_close_store,
    engine_failed, engine_free, engine_look, engine_new, engine_stands_by, engine_stop,
)
from ownerd.engine.group_commit cimport start_writer
from ownerd.engine.maintenance cimport (
    flush_all, flush_soon, run_maintenance_step, start_maintenance,
)
from ownerd.engine.queue cimport (
    DRAINING, queue_change_state, queue_load, queue_name_leader, queue_run, queue_set_limit,
    queue_refuse_standby, queue_stand_by,
)
from ownerd.engine.release_count cimport (
    COUNT_END, ReleaseCount, count_release, find_uncounted_releases, release_count_init,
)
from ownerd.engine.slow_calls cimport slow_calls_take
from ownerd.engine.snapshot cimport Snapshot, SnapshotRequest, since_of
from ownerd.engine.standby cimport FollowTask, LeadTask
from ownerd.engine.unknown_codes cimport unknown_name_count, unknown_rows
from ownerd.rules.limits cimport (
    BATCH_RECORDS, CAMPAIGN_ID_BYTES, CAMPAIGN_NAME_BYTES, CATEGORY_BYTES, LIST_ID_BYTES,
    PRINCIPAL_ID_BYTES, RECORD_ID_BYTES, REQUEST_ID_BYTES, WRAP_UP_CODE_BYTES,
)
from ownerd.rules.ownership cimport NEVER_NS
from ownerd.storage.capacity cimport is_full
from ownerd.storage.environment cimport check
from ownerd.storage.file_log cimport file_log_oldest_told
from ownerd.storage.record_tree cimport tree_flushed, tree_put_place
from ownerd.storage.recovery cimport store_open
from ownerd.storage.store cimport (
    StoreFigures, store_figures, store_note_failure, store_now, store_revision,
)
from ownerd.storage.tables cimport COUNT_PENDING, ClusterRow
from ownerd.storage.walker cimport WALK_DIFFERS

from ownerd.api.reasons import refused
from ownerd.api.task import Refused  # what our callers catch
from ownerd.engine.admin_reads import ListInfo, Outcome
from ownerd.engine.admin_reads import PolicyTuple as Policy
from ownerd.storage.directory import StoreError, StoreInUseError
from ownerd.storage.recovery import Opening

__all__ = [
    "CLAIM", "CLAIM_BATCH", "DEFAULT_MAINTENANCE_STEP_NS", "DEFAULT_MAP_BYTES",
    "DEFAULT_MEMTABLE_BYTES", "DEFAULT_QUEUE_LIMIT", "DEFAULT_RESERVE_BYTES", "DIAL_METHODS",
    "GET_HOLDER", "GIVE_BACK", "REPORT_ATTEMPT", "REPORT_ATTEMPT_BATCH", "TIME_CLASS_ENDS_NS",
    "Engine", "ListInfo", "Opening", "Outcome", "Policy", "Refused", "StoreError",
    "StoreInUseError",
]

CLAIM, CLAIM_BATCH, REPORT_ATTEMPT, REPORT_ATTEMPT_BATCH, GET_HOLDER, GIVE_BACK = range(
    CALL_KIND_COUNT
)
DIAL_METHODS = (
    "Claim", "ClaimBatch", "ReportAttempt", "ReportAttemptBatch", "GetHolder", "GiveBack",
)
DEFAULT_MAP_BYTES = 256 << 30         # sparse: only address space until it is used
DEFAULT_RESERVE_BYTES = 64 << 20
DEFAULT_QUEUE_LIMIT = 65_536
DEFAULT_MAINTENANCE_STEP_NS = 1_000_000
DEFAULT_MEMTABLE_BYTES = 112 << 20
AHEAD_ALARM_NS = 600 * 10**9          # R24: since the last attempt that was too far ahead
CLOCK_ALARM_NS = 60 * 10**9           # R19: of the server's time against the wall clock
# Ends of the classes of time in `Engine.stats`, but for the last, which has none.
TIME_CLASS_ENDS_NS = tuple(1 << (SHORTEST_BITS + i) for i in range(TIME_CLASSES - 1))
AUDIT_CUT_ENTRIES = 1_000            # most that one command deletes
LISTLESS_KINDS = (
    RELEASE, TRANSFER, UPSERT_CAMPAIGN, DELETE_CAMPAIGN, SIGNAL_CAMPAIGN, UPSERT_CODE, DELETE_CODE,
    UPDATE_SETTINGS, PUT_PRINCIPAL, DELETE_PRINCIPAL, NOTE_REFUSALS, NOTE_EVENT, CUT_AUDIT,
)


cdef tuple sum_owners(list owners, campaign_id=None):
    """Return how many records are owned and reserved, by one campaign or by all."""
    meant = [owner for owner in owners if campaign_id is None or campaign_id == owner[0]]
    return sum([owner[2] for owner in meant]), sum([owner[3] for owner in meant])


cdef raise_refusal(Task *task):
    """Raise Refused if the task was, and clear it."""
    if task.code != OK:
        refusal = task_refusal(task)
        task_clear(task)
        raise refusal


cdef assign(string *target, str text, str field, Py_ssize_t shortest, Py_ssize_t longest):
    """Set a native string; a length that the store has no place for is INVALID_ARGUMENT."""
    encoded = text.encode()
    if not shortest <= len(encoded) <= longest:
        raise refused(
            FIELD_LENGTH, field=field, found=len(encoded), least=shortest, most=longest
        )
    target.assign(<const char *> encoded, len(encoded))


cdef tuple lengths_of(const Histogram *histogram):
    """Return how many lengths are in each class of time, and their sum in ns."""
    return [histogram.counts[i] for i in range(TIME_CLASSES)], histogram.total_ns


cdef assign_bytes(string *target, bytes data):
    target.assign(<const char *> data, len(data))


cdef bytes _request_key(str request_id, str requester):
    """Return the key of a checked request id."""
    cdef string checked
    assign(&checked, request_id, "request_id", 1, REQUEST_ID_BYTES)
    assign(&checked, requester, "requester", 0, PRINCIPAL_ID_BYTES)
    return request_key(request_id, requester)


def _clock_text(offset_ns):
    where, way = "behind", "the next start takes the wall clock's"
    if offset_ns > 0:
        where, way = "ahead of", "'ownerd clock', on the stopped server, is the way back"
    return (
        f"the server's time is {abs(offset_ns) / 1e9:,.0f} s {where} the wall clock: one of them "
        "is wrong. Holds last as long as they were granted for; imported expirations are judged by "
        "the server's time. It follows the wall clock by 1 ms a second. If the wall clock is right,"
        f" {way}"
    )


class Reading:
    """Keeps an engine's files open while a block reads them; Refused once it is closed."""

    def __init__(self, engine):
        self.engine = engine

    def __enter__(self):
        self.engine._begin_read()

    def __exit__(self, *exception):
        self.engine._end_read()


cdef class Pending:
    """A command of the control plane on its way: filled in, run by `Engine._run`, freed."""

    cdef Command *command

    def __cinit__(
        self, int kind, str list_id, bytes note, str request_id, str requester, bytes memo
    ):
        self.command = new Command()
        self.command.task.kind = TASK_COMMAND
        self.command.task.body = self.command
        self.command.kind = <uint8_t> kind
        if list_id or kind not in LISTLESS_KINDS:
            assign(&self.command.list_id, list_id, "list_id", 1, LIST_ID_BYTES)
        if request_id:
            assign_bytes(&self.command.request_key, _request_key(request_id, requester))
        assign_bytes(&self.command.note, note)
        assign_bytes(&self.command.memo, memo)

    def __dealloc__(self):
        task_clear(&self.command.task)
        del self.command


cdef add_campaign_id(Pending pending, str campaign_id):
    pending.command.campaign_ids.push_back(string())
    assign(
        &pending.command.campaign_ids.back(), campaign_id, "campaign_id", 1, CAMPAIGN_ID_BYTES
    )


cdef class Engine:
    """One store and its writer; every method may be called from any thread.

    Calls of the control plane block (without the GIL) until they are durable. They take `note`, the
    bytes kept in the audit entry, `request_id` with `memo`, the bytes given back when the same id
    of the same `requester` comes again within 24 h (R20). They return an Outcome and raise Refused.

    Args:
        directory: the data directory; created if it is not there.
        clock: the server's time; None for R19's.
        map_bytes: the store's upper bound, reserved as address space.
        queue_limit: records that may wait; more are refused with RESOURCE_EXHAUSTED.
        reserve_bytes: capacity that is kept for releases; grants are refused first.
        vacuum_interval_s: how often expired records are dropped.
        maintenance_step_ns: how long one step of maintenance may take, beside its commit.
        memtable_bytes: memory for records that are not flushed yet; more makes flushing cheaper.
        flush_age_s: how long what is in memory may be left there before it is flushed.
        background: run maintenance's thread; False leaves it to `maintain()`, and the look at the
            files to `look()`.
        opening: an Opening, which says whether a store may be made and which it must be, and is
            told what was found; None: any, made where there is none.

    Raises:
        StoreInUseError, StoreError: see `ownerd.storage.directory`.
        OSError: a file cannot be written.
    """

    def __cinit__(self):
        self.core = NULL
        self.closed = True

    def __init__(
        self, str directory, Clock clock=None, *, map_bytes=DEFAULT_MAP_BYTES,
        queue_limit=DEFAULT_QUEUE_LIMIT, reserve_bytes=DEFAULT_RESERVE_BYTES,
        vacuum_interval_s=900.0, maintenance_step_ns=DEFAULT_MAINTENANCE_STEP_NS,
        memtable_bytes=DEFAULT_MEMTABLE_BYTES, flush_age_s=60.0, background=True, opening=None,
    ):
        cdef EngineOptions options
        cdef Store *store
        if self.core != NULL:
            raise RuntimeError("an engine is opened once")
        self.directory = directory
        self.clock = Clock() if clock is None else clock
        self.background = background
        options.queue_limit = queue_limit
        options.vacuum_interval_ms = <int64_t> (vacuum_interval_s * 1000)
        options.step_ns = maintenance_step_ns
        options.flush_age_ns = <int64_t> (flush_age_s * 1e9)
        opening = Opening() if opening is None else opening
        self.cluster = opening.cluster
        store = store_open(directory, map_bytes, reserve_bytes, memtable_bytes, opening)
        self.core = engine_new(store, (<Clock> self.clock).state, &options)
        start_writer(self.core, &self.writer)
        if background:
            start_maintenance(self.core, &self.maintenance)
        self.closed = False
        self.opened_at = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __dealloc__(self):
        if not self.closed:           # dropped without close(): the threads still use the core
            self._end_threads()
            engine_close_store(self.core)
        if self.core != NULL:
            engine_free(self.core)

    cdef void _end_threads(self) noexcept:
        """Have what is queued answered, and wait for both threads."""
        engine_stop(self.core)
        with nogil:
            if self.background:
                thread_wait(self.maintenance)
            thread_wait(self.writer)

    def limit_queue(self, uint64_t records):
        """Have another `queue_limit` from now on; what waits already stays."""
        queue_set_limit(&self.core.queue, records)

    def begin_drain(self):
        """Refuse new dials with UNAVAILABLE from now on; those queued are answered."""
        queue_change_state(&self.core.queue, DRAINING)

    def close(self, timeout_s=10.0):
        """Answer what is queued, flush all, let go of the directory. May be called again.

        Waits up to `timeout_s` for reads and open snapshots; if one stays open, the files stay
        mapped until the process ends, which harms nothing that is on disk.
        """
        cdef EngineCore *core = self.core
        cdef int code
        if self.closed:
            return
        self.closed = True
        self._end_threads()
        if not engine_failed(core):
            with nogil:
                code = flush_all(core, clock_now(core.clock))
            if code != MDB_SUCCESS and not is_full(code):
                store_note_failure(core.store)
        deadline = time.monotonic() + timeout_s
        while self.readers and time.monotonic() < deadline:
            time.sleep(0.01)
        if not self.readers:
            engine_close_store(core)

    def _begin_read(self):
        self._store()
        self.readers += 1

    def _end_read(self):
        self.readers -= 1

    # --- data plane

    def dial(self, int kind, bytes body):
        """Answer one DialService request (protobuf bytes in and out), blocking.

        `kind` is CLAIM, CLAIM_BATCH, REPORT_ATTEMPT, REPORT_ATTEMPT_BATCH, GET_HOLDER or
        GIVE_BACK.
        """
        cdef DialCall call
        if not 0 <= kind < CALL_KIND_COUNT:
            raise ValueError(f"kind is {kind}")
        call_init(&call, <uint8_t> kind)
        cdef const char *data = <const char *> body
        cdef size_t size = len(body)
        with nogil:
            if dial_decode(&call, data, size):
                queue_run(&self.core.queue, &call.task)
                if call.task.code == OK:
                    dial_encode(&call)
        try:
            if call.task.code != OK:
                raise task_refusal(&call.task)
            return call.answer[:call.answer_size]
        finally:
            call_clear(&call)

    # --- control plane

    def create_list(
        self, list_id, policy, shares_with="", *,
        note=b"", request_id="", requester="", memo=b"",
    ):
        """Create a contact list. Refused: ALREADY_EXISTS.

        With `shares_with` it shares that list's holds and policy (R28), and `policy` means nothing.
        Refused then also: NOT_FOUND.
        """
        cdef Pending pending = Pending(CREATE_LIST, list_id, note, request_id, requester, memo)
        assign(&pending.command.shares_with, shares_with, "shares_with", 0, LIST_ID_BYTES)
        pending.command.policy = policy_from(policy)
        return self._run(pending)

    def update_policy(
        self, list_id, policy, expected_revision=0, *,
        note=b"", request_id="", requester="", memo=b"",
    ):
        """Set a list's policy (R12-R14). Refused: NOT_FOUND; ABORTED if it is at another revision.

        `expected_revision` is the ListInfo.update_revision that the caller saw, 0 for any.
        """
        cdef Pending pending = Pending(UPDATE_POLICY, list_id, note, request_id, requester, memo)
        pending.command.policy = policy_from(policy)
        pending.command.expected_revision = expected_revision
        return self._run(pending)

    def delete_list(
        self, list_id, *, force, expected_revision=0,
        note=b"", request_id="", requester="", memo=b"",
    ):
        """Delete a list. Refused: NOT_FOUND, ABORTED; FAILED_PRECONDITION with live holds.

        The count is the number of live ownerships that end; `force` deletes them too. Of a list
        that shares its ownership only the name goes.
        """
        cdef Pending pending
        owned = 0
        revision = None
        if not (request_id and self.request(request_id, requester)) \
                and not self._is_shared(list_id):
            with self.snapshot(list_id) as snapshot:
                owned, reserved = sum_owners(snapshot.owners())
                revision = snapshot.revision
            if (owned or reserved) and not force:
                raise refused(
                    LIST_OWNED, list_id=f'"{list_id}"', owned=owned, reserved=reserved
                )
            for entry_id in self.pending_counts(list_id):  # as long as its records are there
                self.count_released(entry_id)
        pending = Pending(DELETE_LIST, list_id, note, request_id, requester, memo)
        pending.command.force = force
        pending.command.checked = revision is not None
        pending.command.checked_revision = revision or 0
        pending.command.expected_revision = expected_revision
        pending.command.count = owned
        return self._run(pending)

    def _is_shared(self, list_id):
        info = self.get_list(list_id)
        return info is not None and bool(info.shares_with)

    def release(
        self, list_id, campaign_ids, include_reservations, *,
        note=b"", request_id="", requester="", memo=b"",
    ):
        """Release the ownership of some campaigns (None: all) in a list ("": all) at once (R15).

        In force when this returns; `count_released` then says how many. Refused: NOT_FOUND for the
        list or a campaign.
        """
        cdef Pending pending = Pending(RELEASE, list_id, note, request_id, requester, memo)
        pending.command.include_reservations = include_reservations
        pending.command.all_campaigns = campaign_ids is None
        for campaign_id in dict.fromkeys(campaign_ids or ()):
            add_campaign_id(pending, campaign_id)
        return self._run(pending)

    def release_records(
        self, list_id, record_ids, only_campaign="", include_reservations=False, *,
        note=b"", request_id="", requester="", memo=b"",
    ):
        """Release the ownership of single records; those that nobody owns are not counted.

        With `only_campaign` just what that one owns: `left_out` has the indexes of what another
        one owns. Reservations end with `include_reservations`. Refused: NOT_FOUND for the list or
        the campaign.
        """
        cdef Pending pending = Pending(RELEASE_RECORDS, list_id, note, request_id, requester, memo)
        assign(
            &pending.command.only_campaign, only_campaign, "only_if_campaign_id", 0,
            CAMPAIGN_ID_BYTES,
        )
        pending.command.include_reservations = include_reservations
        for i, record_id in enumerate(record_ids):
            pending.command.record_ids.push_back(string())
            assign(
                &pending.command.record_ids.back(), record_id, f"record_ids[{i}]", 1,
                RECORD_ID_BYTES,
            )
        return self._run(pending)

    def count_released(self, uint64_t entry_id):
        """Count what the release or stop with this audit entry ended, store and return the count.

        Exact whenever it is called: records written since then were counted as they were written.
        What cannot be stored for want of space is returned all the same; maintenance stores it
        later. Raises KeyError for an unknown entry, and Refused where it cannot be made now.
        """
        cdef ReleaseCount count
        cdef int code
        known = self._audit_count(entry_id)
        if known is not None:
            return known
        release_count_init(&count)
        count.entry_id = entry_id
        with Reading(self):
            with nogil:
                code = count_release(self.core, &count)
        check(code, f"cannot count what is told of in audit entry {entry_id}")
        if count.found and count.step == COUNT_END:
            task_clear(&count.task)   # made, whether it could be stored or not
            if not engine_failed(self.core):
                return count.count
        raise_refusal(&count.task)
        # One that was not found was counted in the meantime, or its list is deleted.
        return self._audit_count(entry_id) or 0

    def pending_counts(self, list_id=""):
        """Return the audit entries about a list ("": all) that are still to be counted for."""
        cdef ReleaseCount count
        release_count_init(&count)
        assign(&count.list_id, list_id, "list_id", 0, LIST_ID_BYTES)
        with Reading(self):
            with nogil:
                find_uncounted_releases(self.core, &count)
        raise_refusal(&count.task)
        return sorted({count.pending[i] for i in range(count.pending.size())})

    def upsert_campaign(
        self, campaign_id, name, *,
        note=b"", request_id="", requester="", memo=b"",
    ):
        """Register a campaign, or rename it; "" keeps the name (at first, the id)."""
        cdef Pending pending = Pending(UPSERT_CAMPAIGN, "", note, request_id, requester, memo)
        add_campaign_id(pending, campaign_id)
        assign(&pending.command.name, name, "name", 0, CAMPAIGN_NAME_BYTES)
        return self._run(pending)

    def delete_campaign(
        self, campaign_id, *, force, note=b"", request_id="", requester="", memo=b"",
    ):
        """Make a campaign unknown. Refused: NOT_FOUND; FAILED_PRECONDITION if it holds records.

        `force` ends what it holds, in the same commit; `count_released` then says how much.
        """
        cdef Pending pending
        revision = self.revision
        if not force and not (request_id and self.request(request_id, requester)):
            owned, reserved = self.count_held(campaign_id)
            if owned or reserved:
                raise refused(
                    CAMPAIGN_HOLDS, campaign_id=f'"{campaign_id}"', owned=owned, reserved=reserved
                )
        pending = Pending(DELETE_CAMPAIGN, "", note, request_id, requester, memo)
        add_campaign_id(pending, campaign_id)
        pending.command.force = force
        pending.command.checked = True
        pending.command.checked_revision = revision
        return self._run(pending)

    def count_held(self, campaign_id):
        """Count what a campaign holds, in all lists: (owned, reserved); each as of its own moment.
        """
        owned = reserved = 0
        for list_id in self.lists_held(campaign_id):
            try:
                with self.snapshot(list_id) as snapshot:
                    found = sum_owners(snapshot.owners(), campaign_id)
            except Refused as error:
                if error.reason != "LIST_NOT_FOUND":  # it may be deleted by now
                    raise
            else:
                owned, reserved = owned + found[0], reserved + found[1]
        return owned, reserved

    def lists_held(self, campaign_id=None):
        """Return the lists in which a campaign (None: any) ever held a record, once a group (R28).
        """
        with Reading(self):
            return lists_held(self.core.store, campaign_id)

    def transfer(
        self, list_id, from_campaign_id, to_campaign_id, *,
        note=b"", request_id="", requester="", memo=b"",
    ):
        """Give all ownership of one campaign in a list ("": in all lists) to another (R27).

        In force when this returns; `count_released` then says how many were given. Refused:
        NOT_FOUND, also for a giver that is unknown.
        """
        cdef Pending pending = Pending(TRANSFER, list_id, note, request_id, requester, memo)
        add_campaign_id(pending, from_campaign_id)
        assign(
            &pending.command.to_campaign_id, to_campaign_id, "to_campaign_id", 1, CAMPAIGN_ID_BYTES
        )
        return self._run(pending)

    def signal_campaign(
        self, campaign_id, list_id, end_reservations, *,
        note=b"", request_id="", requester="", memo=b"",
    ):
        """Note a campaign's stop, recycle or reset on a list ("": all lists); R16.

        With `end_reservations` its reservations there end at one instant; `count_released` then
        says how many. Refused: NOT_FOUND.
        """
        cdef Pending pending = Pending(SIGNAL_CAMPAIGN, list_id, note, request_id, requester, memo)
        add_campaign_id(pending, campaign_id)
        pending.command.include_reservations = end_reservations
        return self._run(pending)

    def upsert_code(
        self, code, category, counts_as_attempt, success, *,
        note=b"", request_id="", requester="", memo=b"",
    ):
        """Add or change a wrap-up code. Refused: ALREADY_EXISTS, it is another one's spelling."""
        cdef Pending pending = Pending(UPSERT_CODE, "", note, request_id, requester, memo)
        assign(&pending.command.code, code, "code", 1, WRAP_UP_CODE_BYTES)
        assign(&pending.command.category, category, "category", 1, CATEGORY_BYTES)
        pending.command.counts_as_attempt = counts_as_attempt
        pending.command.success = success
        return self._run(pending)

    def delete_code(self, code, *, note=b"", request_id="", requester="", memo=b""):
        """Delete a wrap-up code. Refused: NOT_FOUND."""
        cdef Pending pending = Pending(DELETE_CODE, "", note, request_id, requester, memo)
        assign(&pending.command.code, code, "code", 1, WRAP_UP_CODE_BYTES)
        return self._run(pending)

    def update_settings(
        self, int unknown_code, *, note=b"", request_id="", requester="", memo=b"",
    ):
        """Set what an unknown wrap-up code means (R26): 1 refuse, 2 attempt, 3 no attempt."""
        cdef Pending pending = Pending(UPDATE_SETTINGS, "", note, request_id, requester, memo)
        pending.command.unknown_code = <uint8_t> unknown_code
        return self._run(pending)

    def import_rows(
        self, list_id, rows, strategy, entry_id=0, *, exact=False, rename_campaigns=False,
        expire_by_policy=False, note=b"", request_id="", requester="", memo=b"",
    ):
        """Import up to 10,000 rows, as `Snapshot.import_outcomes` takes them (R32).

        `strategy`: 1 fail, 2 skip, 3 overwrite. `entry_id` 0 begins an import; further chunks pass
        the first one's and are added to its audit entry. `exact`: an expiration may be set that is
        earlier than the one in force. `rename_campaigns`: a row's name also replaces one that its
        campaign has. `expire_by_policy`: a row without expiration ends by the list's duration.
        Refused, with nothing of these rows written: NOT_FOUND, RESOURCE_EXHAUSTED,
        FAILED_PRECONDITION for a conflict with strategy 1.
        """
        cdef Pending pending
        cdef ImportRow *row
        cdef size_t i
        if len(rows) > BATCH_RECORDS:
            raise ValueError(f"{len(rows)} rows in one chunk; {BATCH_RECORDS} are allowed")
        pending = Pending(IMPORT_ROWS, list_id, note, request_id, requester, memo)
        pending.command.strategy = strategy
        pending.command.entry_id = entry_id
        pending.command.exact = exact
        pending.command.rename_campaigns = rename_campaigns
        pending.command.expire_by_policy = expire_by_policy
        pending.command.rows.resize(len(rows))
        for i, (record_id, campaign_id, campaign_name, expire_ns, *acquired) in enumerate(rows):
            row = &pending.command.rows[i]
            place = f"rows[{i}]"
            assign(&row.record_id, record_id, f"{place}.record_id", 1, RECORD_ID_BYTES)
            assign(&row.campaign_id, campaign_id, f"{place}.campaign_id", 1, CAMPAIGN_ID_BYTES)
            assign(
                &row.campaign_name, campaign_name, f"{place}.campaign_name", 0, CAMPAIGN_NAME_BYTES
            )
            row.until_ns = NEVER_NS if expire_ns is None else <int64_t> expire_ns
            row.since_ns = since_of(acquired)
        return self._run(pending)

    def put_principal(
        self, principal_id, bytes kept, *,
        note=b"", request_id="", requester="", memo=b"",
    ):
        """Keep `kept` of a principal, in the place of what was kept of it before."""
        cdef Pending pending = Pending(PUT_PRINCIPAL, "", note, request_id, requester, memo)
        assign(&pending.command.name, principal_id, "principal_id", 1, PRINCIPAL_ID_BYTES)
        assign_bytes(&pending.command.principal, kept)
        return self._run(pending)

    def delete_principal(self, principal_id, *, note=b"", request_id="", requester="", memo=b""):
        """Keep nothing of a principal any more; one that is not there is no error."""
        cdef Pending pending = Pending(DELETE_PRINCIPAL, "", note, request_id, requester, memo)
        assign(&pending.command.name, principal_id, "principal_id", 1, PRINCIPAL_ID_BYTES)
        return self._run(pending)

    def note_refusals(self, int64_t count, *, note):
        """Leave an audit entry about `count` callers refused.

        Refused: RESOURCE_EXHAUSTED, while only the capacity for releases is left.
        """
        cdef Pending pending = Pending(NOTE_REFUSALS, "", note, "", "", b"")
        pending.command.count = count
        return self._run(pending)

    def note_event(self, *, note, request_id="", requester="", memo=b""):
        """Leave an audit entry about what is no change of the store. Refused: RESOURCE_EXHAUSTED.
        """
        return self._run(Pending(NOTE_EVENT, "", note, request_id, requester, memo))

    def cut_audit(self, uint64_t first, uint64_t last, *, note):
        """Delete the audit entries with these ids, up to 1,000, and leave one that says so.

        An entry whose records are still to be counted stays. Answers with how many went.
        """
        cdef Pending pending = Pending(CUT_AUDIT, "", note, "", "", b"")
        if not first <= last or last - first >= AUDIT_CUT_ENTRIES:
            raise ValueError("from 1 to 1,000 entries can be cut at a time")
        pending.command.first_entry = first
        pending.command.last_entry = last
        return self._run(pending)

    def _run(self, Pending pending):
        """Run a command to its end."""
        cdef Command *command = pending.command
        with nogil:
            queue_run(&self.core.queue, &command.task)
        if command.task.code != OK:
            raise task_refusal(&command.task)
        return Outcome(
            command.revision, command.time_ns,
            None if command.count == COUNT_PENDING else command.count, command.entry_id,
            bool(command.replayed), command.memo.data()[:command.memo.size()], tuple(command.tally),
            tuple([command.left_out[i] for i in range(command.left_out.size())]),
        )

    # --- reads

    cdef Store *_store(self) except NULL:
        if self.closed:
            raise refused(SERVER_STOPPING)
        return self.core.store

    def get_list(self, list_id):
        """Return a list's ListInfo, or None."""
        with Reading(self):
            return list_info(self.core.store, list_id)

    def lists(self, after, limit):
        """Return up to `limit` ListInfo by id, after the id `after`."""
        with Reading(self):
            return list_page(self.core.store, after, limit)

    def campaigns(self, after, limit):
        """Return up to `limit` (campaign_id, name) by id, after the id `after`."""
        with Reading(self):
            return campaign_page(self.core.store, after, limit)

    def campaign_name(self, campaign_id):
        """Return a campaign's name, or None if it is unknown."""
        with Reading(self):
            return campaign_name(self.core.store, campaign_id)

    def code(self, code):
        """Return (category, counts_as_attempt, success) of a code, or None."""
        with Reading(self):
            return code_row(self.core.store, code)

    def codes(self, after, limit):
        """Return up to `limit` (code, category, counts_as_attempt, success) by code."""
        with Reading(self):
            return code_page(self.core.store, after, limit)

    def settings(self):
        """Return the store's setting of what an unknown wrap-up code means, as `update_settings`.
        """
        with Reading(self):
            return settings_row(self.core.store)

    def unknown_codes(self):
        """Return (code, count, last_ns) of unknown codes reported since the start, most first."""
        return unknown_rows(&self.core.unknown_codes)

    def principals(self):
        """Return (principal_id, what is kept of it) of every principal, by id."""
        with Reading(self):
            return principal_rows(self.core.store)

    def audit(self, before, limit):
        """Return up to `limit` audit entries, newest first, with ids below `before` (0: all).

        Each is (entry_id, time_ns, revision, count or None while it is pending, note).
        """
        with Reading(self):
            return audit_page(self.core.store, before, limit)

    def oldest_audit(self, limit):
        """Return up to `limit` audit entries as `audit` does, but the oldest, oldest first."""
        with Reading(self):
            return audit_oldest(self.core.store, limit)

    def request(self, request_id, requester=""):
        """Return the Outcome stored for a caller's request id in the last 24 h, or None.

        Without a requester: what was stored before request ids belonged to one.
        """
        key = request_key(request_id, requester)
        with Reading(self):
            return answered_request(self.core.store, key, clock_now(self.core.clock))

    def snapshot(self, list_id):
        """Return a Snapshot of a list as of now. Refused: NOT_FOUND, RESOURCE_EXHAUSTED."""
        cdef Snapshot snapshot = Snapshot.__new__(Snapshot)
        cdef SnapshotRequest *request = snapshot.ask(self)
        assign(&request.list_id, list_id, "list_id", 1, LIST_ID_BYTES)
        with Reading(self):
            with nogil:
                queue_run(&self.core.queue, &request.task)
            if request.task.code != OK:
                raise task_refusal(&request.task)
            snapshot.counted = &self.core.activity
            snapshot.open()
        return snapshot

    def backup(self):
        """Return a Backup of the whole store as of now. Refused: RESOURCE_EXHAUSTED.

        Raises OSError where the data file cannot be read.
        """
        cdef Backup backup = Backup.__new__(Backup)
        with Reading(self):
            backup.open(self, self.core)
        return backup

    def _audit_count(self, uint64_t entry_id):
        with Reading(self):
            return audit_count(self.core.store, entry_id)

    @property
    def time_ns(self):
        """The server's time (R19); no decision has a later one."""
        return store_now(self._store(), clock_now(self.core.clock))

    @property
    def clock_offset_ns(self):
        """The server's time minus the wall clock."""
        return self.clock.offset_ns()

    @property
    def revision(self):
        """The revision of the last commit that changed something."""
        return store_revision(self._store())

    @property
    def store_id(self):
        """The store's random id, the same as long as it lives."""
        return self._store().state.store_id

    @property
    def incarnation(self):
        """The random id of what the store is since it was made, or last copied."""
        return self._store().state.incarnation

    # --- in a cluster

    @property
    def position(self):
        """Where in the log of a cluster the store is: (log_id, revision, epoch, crc).

        None: it is in none, or not yet. While entries are followed or appended, the thread that
        does so reads it.
        """
        cdef const ClusterRow *place = &self._store().place
        if place.log_id == 0:
            return None
        return place.log_id, place.revision, place.epoch, place.crc

    def take_position(self, position):
        """Make the store a node's of a cluster, durably, at the place in the log that it is at.

        Raises:
            StoreError: it is at another revision, or this cannot be written.
        """
        cdef Store *store = self._store()
        cdef ClusterRow place
        place.log_id, place.revision, place.epoch, place.crc = position
        place.unused = 0
        if place.revision != store_revision(store):
            raise StoreError(
                f"the store is at revision {store_revision(store)}, and the cluster's log begins "
                f"at {place.revision}: it needs a backup of a node of that cluster"
            )
        check(tree_put_place(store.tree, &place), "cannot write that the store is in a cluster")
        store.place = place

    def follow(self, entries):
        """Take entries of the cluster's log, in order: (position, time_ns, row_count, rows) each.

        Refused: STORE_FULL, UNAVAILABLE.
        """
        cdef FollowTask task
        self._store()
        memset(&task.task, 0, sizeof(task.task))
        task.task.kind = TASK_FOLLOW
        task.task.body = &task
        task.place.unused = 0
        for position, task.time_ns, task.row_count, rows in entries:
            task.place.log_id, task.place.revision, task.place.epoch, task.place.crc = position
            task.rows.assign(<const char *> <bytes> rows, len(rows))
            with nogil:
                queue_run(&self.core.queue, &task.task)
            raise_refusal(&task.task)

    def lead(self, time_ns=0):
        """Decide and change from now on, at the leader's time (0: none was heard of).

        Only with all that the log has followed, when its epoch has begun and whoever led before can
        answer nothing any more. Refused: UNAVAILABLE, and then the node leads no more.
        """
        cdef LeadTask task
        self._store()
        memset(&task.task, 0, sizeof(task.task))
        task.task.kind = TASK_LEAD
        task.task.body = &task
        task.time_ns = time_ns
        with nogil:
            queue_run(&self.core.queue, &task.task)
        raise_refusal(&task.task)

    def stand_by(self, str leader):
        """Decide and change nothing from now on; callers are told who leads."""
        cdef bytes encoded = leader.encode()
        self._store()
        queue_name_leader(
            &self.core.queue, slice_of(<const char *> encoded, len(encoded))
        )
        queue_stand_by(&self.core.queue)

    def check_leads(self):
        """Refuse a reader who wants nothing from a node that does not lead: UNAVAILABLE, and who
        does.
        """
        cdef Task task
        if not engine_stands_by(self.core):
            return
        memset(&task, 0, sizeof(task))
        with nogil:
            queue_refuse_standby(&self.core.queue, &task)
        raise_refusal(&task)

    @property
    def standing_by(self):
        """Whether another node of the cluster leads, or none does."""
        return bool(engine_stands_by(self.core))

    @property
    def flushed_revision(self):
        """The revision up to which the record tree has everything."""
        return tree_flushed(self._store().tree)

    @property
    def first_revision(self):
        """The revision that the incarnation began at; its first change is the next."""
        return self._store().state.first_revision

    @property
    def oldest_revision(self):
        """The oldest revision that a feed may begin behind."""
        cdef Store *store = self._store()
        return max(store.state.first_revision, file_log_oldest_told(store.log))

    def await_revision(self, uint64_t after_revision):
        """Have `feed_fd` become readable after a commit; False: there is a later one already."""
        self._store()
        return bool(engine_await(self.core, after_revision))

    @property
    def feed_fd(self):
        """An eventfd that is readable once there is a revision that somebody waits for."""
        return self.core.feed_fd

    def look(self):
        """Tell whether the store's files are those that were opened; if not, it has failed."""
        self._store()
        return bool(engine_look(self.core))

    @property
    def failed(self):
        """What ended the store, or None while it works."""
        if not engine_failed(self.core):
            return None
        if self.core.failure_code.load() == STORE_LOST:
            return (
                f"the files in {self.directory} are not those that were opened: they were deleted, "
                "moved, replaced or put back under the server. See which files are there, restore "
                "them if they are not the store's newest, and start the server again"
            )
        if self.core.failure_code.load() == MDB_CORRUPTED:
            return f"a row in {self.directory} fails its checksum; see 'ownerd verify'"
        if self.core.failure_code.load() == WALK_DIFFERS:
            return (
                f"a look-up in {self.directory} found something else than LMDB did, and was not "
                "answered: this program, the library lmdb or the machine's memory is at fault. See "
                "'ownerd verify' and the machine's log, and start the server again"
            )
        reason = lmdb.strerror(self.core.failure_code.load()).decode(errors="replace")
        return f"a commit to {self.directory} failed: {reason}"

    def watch_slow_calls(self, double least_s, traced=False):
        """Keep the dials that take so many seconds or longer from now on; 0: none.

        Those whose `traceparent` says that they are sampled are kept too, if `traced`.
        """
        self._store()
        self.core.slow_calls.least_ns.store(<int64_t> (least_s * 1e9))
        self.core.slow_calls.takes_traced.store(bool(traced))

    def take_slow_calls(self):
        """Return the dials that were kept since this was last called, and how many more there were.

        Each is (method's number in DIAL_METHODS, status code, records, list_id, campaign_id,
        traceparent or "", ns since it ended, ns in all, ns in the queue, ns in the commit).
        """
        self._store()
        return slow_calls_take(&self.core.slow_calls)

    @property
    def failure_fd(self):
        """An eventfd that is readable once storage has failed; then the process must end."""
        return self.core.failure_fd

    def vacuum(self):
        """Vacuum the whole store now: fold old events, drop expired records, cut the log."""
        more = self.maintain(vacuum_all=True)
        while more:
            more = self.maintain()

    def flush_soon(self):
        """Have maintenance's thread bring what is in memory into the record tree next."""
        self._store()
        with nogil:
            flush_soon(self.core)

    def maintain(self, *, bint vacuum_all=False):
        """Do one step of maintenance; True if there is more. `vacuum_all` begins with each list."""
        cdef bint more
        self._store()
        with nogil:
            more = run_maintenance_step(self.core, vacuum_all)
        return bool(more)

    def stats(self):
        """Return counters and sizes as a dict; see the keys."""
        cdef EngineCore *core = self.core
        cdef Store *store = self._store()
        cdef StoreFigures figures
        with Reading(self):
            lists, campaigns, events, requests = entry_count(store)
            store_figures(store, &figures)
        disk = os.fstatvfs(figures.data_fd)
        counters = counts_read(&core.counters)
        queue = queue_load(&core.queue)
        return {
            "revision": figures.revision,
            "time_ns": clock_now(core.clock),
            "clock_offset_ns": self.clock.offset_ns(),
            "uptime_s": time.monotonic() - self.opened_at,
            "queue_depth": queue.record_count,
            "queue_limit": queue.record_limit,
            "list_count": lists,
            "campaign_count": campaigns,
            "dialer_count": flag_read(&store.dialers.count),
            "record_count": figures.record_count,
            "unsettled_event_count": events,
            "request_count": requests,
            "store_bytes": figures.log_bytes + figures.tree_bytes,
            "log_bytes": figures.log_bytes,
            "map_bytes": figures.map_bytes,
            "map_free_bytes": figures.map_bytes - figures.tree_bytes,
            "disk_free_bytes": disk.f_bavail * disk.f_frsize,
            "groups": counters.groups,
            "changed_groups": counters.changed_groups,
            "calls": counters.calls,
            "records": counters.records,
            "decisions": {
                "granted": counters.decisions[1], "denied": counters.decisions[2],
                "uncontrolled": counters.decisions[3], "invalid": counters.decisions[4],
            },
            "outcomes": {
                name: counters.outcomes[i + 1] for i, name in enumerate((
                    "ownership_acquired", "ownership_renewed", "ownership_kept",
                    "reservation_cleared", "not_controlled", "rejected", "invalid",
                ))
            },
            "attempts_ahead": counters.attempts_ahead,
            "called_twice": counters.twice,
            "unknown_code_reports": counters.unknown_codes,
            "unknown_code_count": unknown_name_count(&core.unknown_codes),
            "lapsed_reservations": counters.lapsed,
            "refused": {
                "queue_full": queue.refusal_count, "store_full": counters.refused_full,
            },
            "commit_ns_total": counters.commit_ns,
            "flush_wait_ns_total": counters.waited_ns,
            "call_lengths": {
                name: lengths_of(&counters.call_lengths[kind])
                for kind, name in enumerate(DIAL_METHODS)
            },
            "wait_lengths": lengths_of(&counters.wait_lengths),
            "commit_lengths": lengths_of(&counters.commit_lengths),
            "committed_records": counters.committed_records,
            "group_sizes": [counters.group_sizes[i] for i in range(GROUP_SIZE_CLASSES)],
            "flushed_revision": figures.flushed_revision,
            "oldest_revision": self.oldest_revision,
            "unflushed_record_count": figures.unflushed_count,
            "flushed_records": flag_read(&core.maintenance.flush.flushed_count),
            "vacuumed_records": flag_read(&core.maintenance.vacuum.vacuumed_count),
            "alarms": self._alarms(figures.disk_full, figures.map_full),
            "failed": bool(engine_failed(core)),
        }

    def called_twice(self):
        """Return how often two campaigns called one person, since the store was opened (R31).

        A list of (list_id, campaign_id, holder_campaign_id, count), by these ids; ("", "", "",
        count) stands for pairs that are not counted apart.
        """
        self._store()
        return called_twice_rows(&self.core.called_twice)

    def alarms(self):
        """Return what is wrong as (name, text), as `stats` does."""
        cdef StoreFigures figures
        with Reading(self):
            store_figures(self._store(), &figures)
        return self._alarms(figures.disk_full, figures.map_full)

    def _attempts_ahead_lately(self):
        last_ns = <int64_t> flag_read(&self.core.counters.ahead_elapsed_ns)
        return last_ns != 0 and time.monotonic_ns() - last_ns < AHEAD_ALARM_NS

    def _alarms(self, bint disk_full, bint map_full):
        alarms = []
        offset_ns = self.clock.offset_ns()
        if abs(offset_ns) >= CLOCK_ALARM_NS:
            alarms.append(("clock_off", _clock_text(offset_ns)))
        if self._attempts_ahead_lately():
            ahead_ms = <int64_t> flag_read(&self.core.counters.ahead_ms)
            alarms.append((
                "attempts_ahead",
                f"reports come with an attempt time ahead of the server's clock, the last one by "
                f"{ahead_ms / 1e3:,.1f} s, and are refused: set the dialers' clocks (NTP)",
            ))
        if disk_full:
            alarms.append((
                "disk_full", "the disk is full; grants are refused until space is freed",
            ))
        if map_full:
            alarms.append((
                "map_full",
                "the store has reached map_bytes; grants are refused until records are released "
                "and vacuumed, or the server is restarted with a larger map",
            ))
        if self.core.lock_missed.load() != 0:
            alarms.append((
                "lock_missing",
                f"the file LOCK in {self.directory} was deleted or replaced under the server, which"
                " ends now; LOCK is never left over, do not delete it. Start the server again",
            ))
        if self.failed is not None:
            alarms.append(("storage_failed", self.failed))
        return alarms
