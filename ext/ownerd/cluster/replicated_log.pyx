"""The leader's side of the log that etcd keeps: entries are appended, and leading is proved.

Whatever it does to the log is one transaction at a time that compares two things: the create
revision of the leader's key, which is the epoch, and the mod revision of the log's head. An entry
is cut into parts; each is a transaction that puts the part and the head.

An answer that does not come leaves the outcome **unknown**. Then the same bytes with the same
compares are sent again, until that succeeds, or a compare fails and the same transaction's own read
says whether the head is what was sent (it was done before) or not (it never will be: a compare that
failed once fails for good). That an entry is not found proves nothing, nor does a failed compare
alone. If it takes longer than R, nobody is told anything but *unknown*, and the node leads no more.

**R** is 0.6 of the lease. What was read from memory may be told until R after the last transaction
that succeeded was *sent*: who leads next waits longer than that since it *received* that
transaction's trace, an entry or a beat. Keep-alives prove nothing.

Invariants:
- Exactly one transaction is under way, whoever makes it: `turn` is held.
- After an unknown outcome that R did not decide, and after a failed compare, nothing is appended.
- No answer is guarded by a transaction that leaves no trace for those who follow. One that leaves
  none proves what was read before it was sent, and no more.

etcd that has no room says so of a transaction that it did not make, and in a race of one that it
made: a transaction that only compares tells which. Such a one still proves, so reads go on.

It decides nothing about who should lead, reads no entry, and knows no store.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memcmp, memset

from ownerd.base.assertions cimport assert_that
from ownerd.base.bytes cimport empty_slice, slice_of, text_slice
from ownerd.base.clock cimport clock_now
from ownerd.base.sockets cimport EFD_CLOEXEC, EFD_NONBLOCK, close, eventfd, eventfd_write
from ownerd.base.threads cimport (
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock,
)
from ownerd.base.units cimport NS_PER_MS, NS_PER_S
from ownerd.cluster.etcd_client cimport (
    CALL_ANSWERED, CALL_REFUSED, CALL_STOPPED, CALL_UNKNOWN, CallEnd, ETCD_RESOURCE_EXHAUSTED,
    boot_now, client_ask, client_call, client_free, client_new, client_pause,
)
from ownerd.cluster.etcd_messages cimport (
    COMPARE_CREATE, COMPARE_MOD, ON_FAILURE, ON_SUCCESS, KeyValue, RangeAnswer, TxnAnswer,
    add_number, range_read, range_request, txn_compare, txn_delete, txn_put, txn_range, txn_read,
)
from ownerd.cluster.log_values cimport (
    HEAD_BEGUN, HEAD_PART, HEAD_RESIGNED, PART_BYTES, BeatValue, IdentityValue, PartHead,
    TrimmedValue, beat_seal, epoch_key, head_seal, identity_seal, keys_init, part_key, part_read,
    part_write, parts_from, trimmed_seal,
)
from ownerd.storage.file_log cimport LOG_FENCED, LOG_FULL, LOG_OK, LOG_UNKNOWN
from ownerd.storage.log_entry cimport ENTRY_HEAD_BYTES

cdef const char *TXN = "/etcdserverpb.KV/Txn"
cdef const char *RANGE = "/etcdserverpb.KV/Range"
cdef const char *COMPACT = "/etcdserverpb.KV/Compact"

cdef int64_t RESEND_NS = 10 * NS_PER_MS
cdef int64_t BEHIND_PAUSE_NS = 20 * NS_PER_MS   # of an append, while much is not flushed


cdef ReplicatedLog *log_new(EtcdAim *aim, Slice name, ClockState *clock) noexcept nogil:
    """Return a log that nobody leads yet; NULL for want of memory."""
    cdef ReplicatedLog *log = new ReplicatedLog()
    cdef int i
    keys_init(&log.keys, name)
    log.clock = clock
    log.guard_ns = 3 * NS_PER_S
    log.attempt_ns = log.guard_ns // 4
    log.fate_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    pthread_mutex_init(&log.turn, NULL)
    log.client = client_new(aim, 0)
    log.log_id = log.epoch = log.beat_count = 0
    log.head_mod = 0
    memset(&log.head, 0, sizeof(log.head))
    log.fate.store(NOT_LEADING)
    log.guarded_until_ns.store(0)
    log.revision.store(0)
    log.appended_bytes.store(0)
    log.transactions.store(0)
    log.resent.store(0)
    log.last_ns.store(0)
    log.total_ns.store(0)
    for i in range(LENGTHS):
        log.lengths[i].store(0)
    log.etcd_revision.store(0)
    log.log_bytes.store(0)
    log.trimmed_bytes.store(0)
    log.trimmed_revision.store(0)
    log.flushed_bytes.store(0)
    log.bound_bytes.store(0)
    log.always_proves.store(False)
    if log.client == NULL:
        log_free(log)
        return NULL
    return log


cdef void log_free(ReplicatedLog *log) noexcept nogil:
    if log.client != NULL:
        client_free(log.client)
    pthread_mutex_destroy(&log.turn)
    close(log.fate_fd)
    del log


cdef void log_stand_down(ReplicatedLog *log, Fate fate) noexcept nogil:
    """Lead no more; the first reason stays."""
    cdef int leading = LEADING
    log.guarded_until_ns.store(0)
    if log.fate.load() == leading:
        log.fate.store(fate)
        eventfd_write(log.fate_fd, 1)


# --- one fenced transaction -----------------------------------------------------------------------

cdef void add_fence(const ReplicatedLog *log, string *txn) noexcept nogil:
    """Compare both, and have what they are read where they differ."""
    txn_compare(txn, COMPARE_CREATE, text_slice(log.keys.leader), <int64_t> log.epoch)
    txn_compare(txn, COMPARE_MOD, text_slice(log.keys.head), log.head_mod)
    txn_range(txn, ON_FAILURE, text_slice(log.keys.head), empty_slice())


cdef void note_success(ReplicatedLog *log, int64_t sent_ns) noexcept nogil:
    """Let what is read be told until R after the transaction that succeeded was sent."""
    cdef int64_t until_ns = sent_ns + log.guard_ns
    if log.fate.load() == LEADING and until_ns > log.guarded_until_ns.load():
        log.guarded_until_ns.store(until_ns)


cdef void take_head(ReplicatedLog *log, const HeadValue *head, int64_t mod) noexcept nogil:
    log.head = head[0]
    log.head_mod = mod
    log.revision.store(head.last.revision)
    log.log_bytes.store(head.log_bytes)


cdef bint is_head(const TxnAnswer *answer, const HeadValue *head, int64_t *mod) noexcept nogil:
    """Tell whether the head that a failed transaction found is this one."""
    cdef const KeyValue *row
    if (<TxnAnswer *> answer).ranges.size() == 0 \
            or (<TxnAnswer *> answer).ranges[0].found.size() != 1:
        return False
    row = &(<TxnAnswer *> answer).ranges[0].found[0]
    mod[0] = row.mod_revision
    return row.value.size == sizeof(HeadValue) \
        and memcmp(row.value.data, head, sizeof(HeadValue)) == 0


# What the answers to one transaction, sent as often as it takes, have told so far.
cdef struct Told:
    int64_t first_ns                  # when it was sent first
    int64_t sent_ns                   # and last
    bint unknown                      # an attempt may have been, or may yet be, done
    bint traced                       # it leaves a trace, and so guards what is told later


cdef LogStatus told_by(
    ReplicatedLog *log, const TxnAnswer *answer, const HeadValue *next_head, Told *told
) noexcept nogil:
    """Judge an answer: done, done by an earlier attempt, or never to be done."""
    cdef int64_t mod
    log.etcd_revision.store(answer.header.revision)
    if answer.succeeded:
        if next_head != NULL:
            take_head(log, next_head, answer.header.revision)
        if told.traced:
            note_success(log, told.sent_ns)
        return LOG_OK
    if next_head != NULL and told.unknown and is_head(answer, next_head, &mod):
        take_head(log, next_head, mod)
        note_success(log, told.first_ns)
        return LOG_OK
    return LOG_FENCED


cdef void note_length(ReplicatedLog *log, int64_t length_ns) noexcept nogil:
    cdef int which = 0
    while which < LENGTHS - 1 and length_ns > NS_PER_MS << which:
        which += 1
    log.last_ns.store(length_ns)
    log.total_ns.fetch_add(length_ns)
    log.lengths[which].fetch_add(1)


cdef LogStatus refused_for_room(
    ReplicatedLog *log, const HeadValue *next_head, Told *told, int64_t until_ns
) noexcept nogil:
    """Find out whether a transaction was made that etcd says it had no room for.

    LOG_FULL: it was not, and this node still leads.
    """
    cdef string txn
    cdef Slice bytes
    cdef TxnAnswer answer
    add_fence(log, &txn)
    if client_ask(log.client, TXN, &txn, log.attempt_ns, until_ns, &bytes) != CALL_ANSWERED \
            or not txn_read(bytes, &answer):
        return LOG_UNKNOWN
    if answer.succeeded:
        log.etcd_revision.store(answer.header.revision)
        return LOG_FULL
    told.unknown = True
    return told_by(log, &answer, next_head, told)


cdef LogStatus fenced(
    ReplicatedLog *log, const string *operations, const HeadValue *next_head, bint traced
) noexcept nogil:
    """Make a transaction; where its outcome is unknown, send it again until that is known.

    `next_head` is the head that it puts; NULL: none, and then it may as well be done twice.
    """
    cdef string txn
    cdef Slice bytes
    cdef TxnAnswer answer
    cdef Told told
    cdef CallEnd end
    cdef int64_t until_ns
    cdef LogStatus status
    add_fence(log, &txn)
    txn.append(operations[0])
    told.unknown, told.traced = False, traced
    told.first_ns = told.sent_ns = boot_now()
    until_ns = told.first_ns + log.guard_ns
    while True:
        log.transactions.fetch_add(1)
        end = client_call(
            log.client, TXN, &txn, min(until_ns, told.sent_ns + log.attempt_ns), &bytes
        )
        if end == CALL_ANSWERED and txn_read(bytes, &answer):
            status = told_by(log, &answer, next_head, &told)
            note_length(log, boot_now() - told.first_ns)
            return status
        # A beat that comes late does no harm; an entry might.
        if end == CALL_REFUSED and (not told.unknown or next_head == NULL) \
                and log.client.status == ETCD_RESOURCE_EXHAUSTED:
            return refused_for_room(log, next_head, &told, until_ns)
        told.unknown |= end == CALL_ANSWERED or end == CALL_UNKNOWN or end == CALL_STOPPED
        if end == CALL_STOPPED or boot_now() >= until_ns \
                or not client_pause(log.client, min(until_ns, boot_now() + RESEND_NS)):
            return LOG_UNKNOWN if told.unknown else LOG_FENCED
        log.resent.fetch_add(1)
        told.sent_ns = boot_now()


cdef LogStatus lead_on(ReplicatedLog *log, LogStatus status) noexcept nogil:
    """Stand down unless a transaction was made, or only had no room."""
    if status == LOG_FENCED:
        log_stand_down(log, FENCED)
    elif status == LOG_UNKNOWN:
        log_stand_down(log, UNDECIDED)
    return status


# --- appending ------------------------------------------------------------------------------------

cdef LogStatus append_part(ReplicatedLog *log, PartHead *part, Slice piece) noexcept nogil:
    cdef string operations, key, value
    cdef HeadValue head = log.head
    part_write(part, piece, &value)
    head.kind = HEAD_PART
    head.epoch = log.epoch
    head.part_number = part.number
    if part.is_last:
        head.last.log_id, head.last.revision = log.log_id, part.revision
        head.last.epoch, head.last.crc = log.epoch, part.crc
        head.time_ns, head.log_bytes = part.time_ns, part.log_bytes
        head.part_revision = head.part_crc = 0
    else:
        head.part_revision, head.part_crc = part.revision, part.crc
    head_seal(&head)
    part_key(&log.keys, part.revision, part.number, &key)
    txn_put(&operations, ON_SUCCESS, text_slice(key), text_slice(value), 0)
    txn_put(
        &operations, ON_SUCCESS, text_slice(log.keys.head), slice_of(&head, sizeof(head)), 0
    )
    log.appended_bytes.fetch_add(value.size())
    return fenced(log, &operations, &head, True)


cdef LogStatus append_parts(
    ReplicatedLog *log, Slice rows, uint32_t row_count, uint64_t revision, int64_t time_ns
) noexcept nogil:
    """Append an entry in parts; LOG_FULL only if nothing of it was appended."""
    cdef PartHead part
    cdef LogStatus status
    cdef size_t size
    memset(&part, 0, sizeof(part))
    part.log_id, part.epoch = log.log_id, log.epoch
    part.revision, part.revision_before = revision, log.head.last.revision
    part.time_ns, part.row_count = time_ns, row_count
    part.crc_before = log.head.last.crc
    part.log_bytes = log.head.log_bytes
    while True:
        size = min(rows.size, <size_t> PART_BYTES)
        part.log_bytes += sizeof(PartHead) + size
        part.is_last = size == rows.size
        status = append_part(log, &part, slice_of(rows.data, size))
        if status == LOG_FULL and part.number > 0:
            return LOG_FENCED         # what there is of it is for the next leader to remove
        if status != LOG_OK or part.is_last:
            return status
        rows = slice_of(rows.data + size, rows.size - size)
        part.crc_before = part.crc
        part.number += 1


cdef bint make_room(ReplicatedLog *log) noexcept nogil:
    """Wait a little where much is appended and not flushed; False where it is too much."""
    cdef uint64_t unflushed = log.log_bytes.load() - log.flushed_bytes.load()
    cdef uint64_t bound = log.bound_bytes.load()
    if bound == 0 or 2 * unflushed < bound:
        return True
    client_pause(log.client, boot_now() + BEHIND_PAUSE_NS)
    return unflushed < bound


cdef LogStatus log_append(
    ReplicatedLog *log, LogEntry *entry, uint64_t revision, int64_t time_ns, ClusterRow *position
) noexcept nogil:
    cdef LogStatus status = LOG_FENCED
    if not make_room(log):
        return LOG_FULL
    pthread_mutex_lock(&log.turn)
    if log.fate.load() == LEADING:
        assert_that(revision > log.head.last.revision, "the revision goes on")
        status = lead_on(log, append_parts(
            log,
            slice_of(entry.bytes.data() + ENTRY_HEAD_BYTES, entry.bytes.size() - ENTRY_HEAD_BYTES),
            entry.row_count, revision, time_ns,
        ))
        position[0] = log.head.last
    pthread_mutex_unlock(&log.turn)
    return status


# --- proving --------------------------------------------------------------------------------------

cdef void put_beat(ReplicatedLog *log, string *operations) noexcept nogil:
    """Leave a trace, with the time."""
    cdef BeatValue beat
    log.beat_count += 1
    memset(&beat, 0, sizeof(beat))
    beat.log_id, beat.epoch, beat.number = log.log_id, log.epoch, log.beat_count
    beat.time_ns = clock_now(log.clock)
    beat_seal(&beat)
    txn_put(
        operations, ON_SUCCESS, text_slice(log.keys.beat), slice_of(&beat, sizeof(beat)), 0
    )


cdef LogStatus beat_now(ReplicatedLog *log) noexcept nogil:
    cdef string operations
    put_beat(log, &operations)
    return fenced(log, &operations, NULL, True)


cdef LogStatus prove_now(ReplicatedLog *log) noexcept nogil:
    """Prove that this node led, and its head was the log's, after this call began."""
    cdef string operations
    return fenced(log, &operations, NULL, False)


cdef LogStatus log_beat(ReplicatedLog *log) noexcept nogil:
    cdef LogStatus status = LOG_FENCED
    pthread_mutex_lock(&log.turn)
    if log.fate.load() == LEADING:
        status = lead_on(log, beat_now(log))
    pthread_mutex_unlock(&log.turn)
    return status


cdef LogStatus log_confirm(ReplicatedLog *log) noexcept nogil:
    cdef bint proves = log.always_proves.load()
    cdef LogStatus status = LOG_FENCED
    if not proves and boot_now() < log.guarded_until_ns.load():
        return LOG_OK
    pthread_mutex_lock(&log.turn)
    if log.fate.load() == LEADING:
        status = LOG_FULL if proves else beat_now(log)
        if status == LOG_FULL:
            status = prove_now(log)
        lead_on(log, status)
    pthread_mutex_unlock(&log.turn)
    return status


# --- beginning and ending -------------------------------------------------------------------------

cdef CallEnd ask_txn(ReplicatedLog *log, const string *txn, TxnAnswer *answer) noexcept nogil:
    """Make a transaction that may as well be done twice."""
    cdef Slice bytes
    cdef CallEnd end = client_ask(
        log.client, TXN, txn, log.attempt_ns, boot_now() + log.guard_ns, &bytes
    )
    if end == CALL_ANSWERED and not txn_read(bytes, answer):
        end = CALL_UNKNOWN
    if end == CALL_ANSWERED:
        log.etcd_revision.store(answer.header.revision)
    return end


cdef LogStatus log_create(ReplicatedLog *log, const ClusterRow *begin) noexcept nogil:
    cdef string txn
    cdef IdentityValue identity
    cdef HeadValue head
    cdef TxnAnswer answer
    memset(&identity, 0, sizeof(identity))
    memset(&head, 0, sizeof(head))
    identity.begin = head.last = begin[0]
    head.kind = HEAD_RESIGNED         # nobody led before: who leads first need not wait
    identity_seal(&identity)
    head_seal(&head)
    txn_compare(&txn, COMPARE_CREATE, text_slice(log.keys.identity), 0)
    txn_compare(&txn, COMPARE_CREATE, text_slice(log.keys.head), 0)
    txn_put(
        &txn, ON_SUCCESS, text_slice(log.keys.identity), slice_of(&identity, sizeof(identity)), 0
    )
    txn_put(&txn, ON_SUCCESS, text_slice(log.keys.head), slice_of(&head, sizeof(head)), 0)
    txn_range(&txn, ON_FAILURE, text_slice(log.keys.identity), empty_slice())
    if ask_txn(log, &txn, &answer) != CALL_ANSWERED:
        return LOG_UNKNOWN
    if answer.succeeded:
        return LOG_OK
    # An earlier attempt of ours, by its random id?
    if answer.ranges.size() == 1 and answer.ranges[0].found.size() == 1 \
            and answer.ranges[0].found[0].value.size == sizeof(identity) \
            and memcmp(
                answer.ranges[0].found[0].value.data, &identity, sizeof(identity)
            ) == 0:
        return LOG_OK
    return LOG_FENCED


cdef LogStatus log_stand(ReplicatedLog *log, Slice member, int64_t lease_id) noexcept nogil:
    cdef string txn
    cdef TxnAnswer answer
    cdef const KeyValue *row
    cdef LogStatus status = LOG_FENCED
    txn_compare(&txn, COMPARE_CREATE, text_slice(log.keys.leader), 0)
    txn_put(&txn, ON_SUCCESS, text_slice(log.keys.leader), member, lease_id)
    txn_range(&txn, ON_FAILURE, text_slice(log.keys.leader), empty_slice())
    pthread_mutex_lock(&log.turn)
    if ask_txn(log, &txn, &answer) != CALL_ANSWERED:
        status = LOG_UNKNOWN
    elif answer.succeeded:
        log.epoch = <uint64_t> answer.header.revision
        status = LOG_OK
    elif answer.ranges.size() == 1 and answer.ranges[0].found.size() == 1:
        row = &answer.ranges[0].found[0]
        if row.lease == lease_id:     # an earlier attempt
            log.epoch = <uint64_t> row.create_revision
            status = LOG_OK
    pthread_mutex_unlock(&log.turn)
    return status


cdef LogStatus log_begin(
    ReplicatedLog *log, const HeadValue *head, int64_t head_mod, Slice node
) noexcept nogil:
    """Make the log this epoch's; `fate` stays what it is until that is done."""
    cdef string operations, key
    cdef HeadValue next_head = head[0]
    cdef LogStatus status
    pthread_mutex_lock(&log.turn)
    log.log_id = head.last.log_id
    log.head, log.head_mod = head[0], head_mod
    next_head.kind = HEAD_BEGUN
    next_head.epoch, next_head.guard_ns = log.epoch, log.guard_ns
    next_head.part_number = 0
    next_head.part_revision = next_head.part_crc = 0
    head_seal(&next_head)
    parts_from(&log.keys, head.last.revision + 1, &key)
    txn_delete(&operations, ON_SUCCESS, text_slice(key), text_slice(log.keys.parts_end))
    epoch_key(&log.keys, log.epoch, &key)
    txn_put(&operations, ON_SUCCESS, text_slice(key), node, 0)
    txn_put(
        &operations, ON_SUCCESS, text_slice(log.keys.head),
        slice_of(&next_head, sizeof(next_head)), 0,
    )
    log.guarded_until_ns.store(0)
    log.flushed_bytes.store(head.log_bytes)   # until it is told better
    log.fate.store(LEADING)
    status = lead_on(log, fenced(log, &operations, &next_head, True))
    if status == LOG_FULL:
        log_stand_down(log, NOT_LEADING)
    pthread_mutex_unlock(&log.turn)
    return status


cdef LogStatus log_resign(ReplicatedLog *log) noexcept nogil:
    cdef string operations
    cdef HeadValue head
    cdef LogStatus status = LOG_FENCED
    pthread_mutex_lock(&log.turn)
    if log.fate.load() == LEADING:
        log_stand_down(log, RESIGNED)   # before the next leader may hear of it
        head = log.head
        head.kind, head.epoch = HEAD_RESIGNED, log.epoch
        head_seal(&head)
        txn_put(
            &operations, ON_SUCCESS, text_slice(log.keys.head), slice_of(&head, sizeof(head)), 0
        )
        txn_delete(&operations, ON_SUCCESS, text_slice(log.keys.leader), empty_slice())
        status = fenced(log, &operations, &head, True)
    pthread_mutex_unlock(&log.turn)
    return status


# --- trimming -------------------------------------------------------------------------------------

cdef bint find_entry(
    ReplicatedLog *log, uint64_t revision, TrimmedValue *found
) noexcept nogil:
    """Find where an entry is, by its last part; False if it is not there."""
    cdef string request, key, end
    cdef Slice bytes, piece
    cdef RangeAnswer answer
    cdef PartHead part
    parts_from(&log.keys, revision, &key)
    parts_from(&log.keys, revision + 1, &end)
    range_request(&request, text_slice(key), text_slice(end), 0, False)
    if client_ask(
        log.client, RANGE, &request, log.attempt_ns, boot_now() + log.guard_ns, &bytes
    ) != CALL_ANSWERED or not range_read(bytes, &answer) or answer.found.empty() \
            or not part_read(answer.found.back().value, &part, &piece) or not part.is_last:
        return False
    memset(found, 0, sizeof(TrimmedValue))
    found.last.log_id, found.last.revision = part.log_id, part.revision
    found.last.epoch, found.last.crc = part.epoch, part.crc
    found.log_bytes = part.log_bytes
    return True


cdef LogStatus trim_without_room(ReplicatedLog *log, uint64_t revision) noexcept nogil:
    """Delete what is before an entry, and nothing else: that is what etcd still makes.

    Nothing says so then, and whoever is further back finds the next entry missing.
    """
    cdef string operations, end
    parts_from(&log.keys, revision, &end)
    txn_delete(&operations, ON_SUCCESS, text_slice(log.keys.parts), text_slice(end))
    return fenced(log, &operations, NULL, False)


cdef LogStatus trim_now(ReplicatedLog *log, uint64_t revision) noexcept nogil:
    cdef string operations, end
    cdef TrimmedValue trimmed
    cdef LogStatus status
    if not find_entry(log, revision, &trimmed):
        return LOG_FULL               # nothing to do, or not now
    trimmed_seal(&trimmed)
    parts_from(&log.keys, revision + 1, &end)
    txn_delete(&operations, ON_SUCCESS, text_slice(log.keys.parts), text_slice(end))
    txn_put(
        &operations, ON_SUCCESS, text_slice(log.keys.trimmed),
        slice_of(&trimmed, sizeof(trimmed)), 0,
    )
    put_beat(log, &operations)
    status = fenced(log, &operations, NULL, True)
    if status == LOG_FULL:
        status = trim_without_room(log, revision)
    elif status == LOG_OK:
        log.trimmed_revision.store(revision)
        log.trimmed_bytes.store(trimmed.log_bytes)
    return status


cdef LogStatus log_trim(ReplicatedLog *log, uint64_t revision) noexcept nogil:
    cdef string request
    cdef Slice bytes
    cdef LogStatus status = LOG_FENCED
    pthread_mutex_lock(&log.turn)
    if log.fate.load() == LEADING and revision <= log.head.last.revision:
        status = lead_on(log, trim_now(log, revision))
    if status == LOG_OK:
        add_number(&request, 1, <uint64_t> log.etcd_revision.load())
        client_call(log.client, COMPACT, &request, boot_now() + log.attempt_ns, &bytes)
    pthread_mutex_unlock(&log.turn)
    return status


# --- as a store sees it ---------------------------------------------------------------------------

cdef LogStatus shared_append(
    void *context, LogEntry *entry, uint64_t revision, int64_t time_ns, ClusterRow *position
) noexcept nogil:
    return log_append(<ReplicatedLog *> context, entry, revision, time_ns, position)


cdef LogStatus shared_confirm(void *context) noexcept nogil:
    return log_confirm(<ReplicatedLog *> context)


cdef void log_share(ReplicatedLog *log, SharedLog *shared) noexcept nogil:
    shared.context = log
    shared.append = shared_append
    shared.confirm = shared_confirm
