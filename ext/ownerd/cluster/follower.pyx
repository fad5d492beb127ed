"""Follows the log that etcd keeps: whole entries in order, none twice, none left out.

What is there is read in pages, what comes is told by a watch. Every part must be the one that
follows the part before it, by revision, number and checksum; where one is not, or where the head is
further on than what came, the watch has lost something and the log is read instead. Parts of an
epoch that ended in the middle of an entry are dropped, as the next leader removed them.

It keeps when, on this machine's clock, the last trace of a leader came: who leads next waits from
then on.

It applies nothing and leads nothing. One thread's.
"""

from libc.string cimport memset

from ownerd.base.bytes cimport empty_slice, text_slice
from ownerd.base.doors cimport door_number
from ownerd.base.units cimport NS_PER_S
from ownerd.cluster.etcd_client cimport (
    CALL_ANSWERED, CALL_STOPPED, STREAM_ENDED, STREAM_MESSAGE, CallEnd, StreamStep,
    boot_now, client_ask, client_free, client_new, client_stopped, stream_close, stream_next,
    stream_open,
)
from ownerd.cluster.etcd_messages cimport (
    ON_SUCCESS, KeyValue, RangeAnswer, TxnAnswer, WatchAnswer, range_read, range_request,
    txn_range, txn_read, watch_create_request, watch_read,
)
from ownerd.cluster.log_values cimport (
    PartHead, beat_read, head_read, identity_read, keys_init, part_key, part_read, starts_with,
    trimmed_read,
)

cdef enum:
    PAGE_PARTS = 16                   # 8 MiB at most
    READS = 5                         # of `follower_look`: its ranges
    # Thousandths of CLOCK_BOOTTIME at which a leader's time passes at least: one less is R19's, and
    # two machines' oscillators differ by far less than another.
    LEAST_RATE = 998

cdef const char *TXN = "/etcdserverpb.KV/Txn"
cdef const char *RANGE = "/etcdserverpb.KV/Range"
cdef const char *WATCH = "/etcdserverpb.Watch/Watch"


cdef Follower *follower_new(EtcdAim *aim, Slice name) noexcept nogil:
    """Return a follower that knows nothing yet; NULL for want of memory."""
    cdef Follower *follower = new Follower()
    keys_init(&follower.keys, name)
    follower.client = client_new(aim, 0)
    follower.watch = client_new(aim, 0)
    follower.attempt_ns = NS_PER_S
    follower.patience_ns = 3 * NS_PER_S
    memset(&follower.position, 0, sizeof(ClusterRow))
    memset(&follower.head, 0, sizeof(HeadValue))
    follower.next_part = 0
    follower.watching = follower.heard = False
    follower.heard_mod = 0
    follower.heard_epoch = 0
    follower.trimmed_revision = follower.trimmed_bytes = 0
    follower.head_mod = follower.beat_mod = follower.leader_epoch = 0
    follower.time_ns = follower.received_ns = follower.next_revision = follower.news_ns = 0
    follower.resyncs = follower.lost_events = follower.message_count = 0
    follower.lose_every = <uint64_t> door_number("OWNERD_LOSE_EVENTS")
    if follower.client == NULL or follower.watch == NULL:
        follower_free(follower)
        return NULL
    return follower


cdef void follower_free(Follower *follower) noexcept nogil:
    if follower.client != NULL:
        client_free(follower.client)
    if follower.watch != NULL:
        client_free(follower.watch)
    del follower


# --- what is seen ---------------------------------------------------------------------------------

cdef void hear(
    Follower *follower, int64_t mod_revision, uint64_t epoch, int64_t time_ns
) noexcept nogil:
    """Note a trace of a leader, if it is news; a time of 0 is none."""
    if mod_revision > follower.heard_mod:
        follower.heard_mod = mod_revision
        note_time(follower, epoch, time_ns)


cdef void note_time(Follower *follower, uint64_t epoch, int64_t time_ns) noexcept nogil:
    """Note what a leader said of its time, which may have been under way for a while.

    What it said before and what has passed since then are less than its time is now: the later one
    counts. Another leader's time may be behind the former one's, and holds are by that.
    """
    cdef int64_t now_ns = boot_now()
    cdef int64_t passed_ns = now_ns - follower.received_ns
    follower.hearing.lock()
    if follower.heard and epoch == follower.heard_epoch:
        time_ns = max(time_ns, follower.time_ns + passed_ns // 1_000 * LEAST_RATE)
    follower.received_ns = now_ns
    if time_ns != 0:
        follower.time_ns, follower.heard_epoch = time_ns, epoch
        follower.heard = True
    follower.hearing.unlock()


cdef void follower_tell(Follower *follower, uint64_t epoch, int64_t time_ns) noexcept nogil:
    follower.hearing.lock()
    follower.heard = False            # of whoever led before
    follower.hearing.unlock()
    note_time(follower, epoch, time_ns)


cdef bint follower_heard(
    Follower *follower, int64_t *time_ns, int64_t *received_ns
) noexcept nogil:
    cdef bint heard
    follower.hearing.lock()
    heard = follower.heard
    time_ns[0], received_ns[0] = follower.time_ns, follower.received_ns
    follower.hearing.unlock()
    return heard


cdef void hear_first(
    Follower *follower, const HeadValue *head, const BeatValue *beat
) noexcept nogil:
    """Note what stood there when it looked first, or when what it knew was gone.

    No news: it may have stood there for hours. Somebody who leads left it a moment ago, if ever.
    """
    cdef bint counts = follower.leader_epoch != 0 and not follower.heard
    note_time(follower, head.epoch, max(head.time_ns, beat.time_ns) if counts else 0)


cdef bint see_head(Follower *follower, const KeyValue *row) noexcept nogil:
    """Take the head as it is now; False if it is none."""
    cdef HeadValue head
    if not head_read(row.value, &head):
        return False
    if row.mod_revision > follower.head_mod:
        follower.head = head
        follower.head_mod = row.mod_revision
        if follower.heard_mod != 0:
            hear(follower, row.mod_revision, head.epoch, head.time_ns)
    return True


cdef bint see_beat(Follower *follower, const KeyValue *row, BeatValue *beat) noexcept nogil:
    if not beat_read(row.value, beat):
        return False
    if row.mod_revision > follower.beat_mod:
        follower.beat_mod = row.mod_revision
        if follower.heard_mod != 0:
            hear(follower, row.mod_revision, beat.epoch, beat.time_ns)
    return True


cdef bint went_back(Follower *follower, int64_t revision) noexcept nogil:
    """Tell whether etcd is at an earlier revision than it was: then it is known anew."""
    if revision >= max(follower.heard_mod, max(follower.head_mod, follower.beat_mod)):
        return False
    follower.head_mod = follower.beat_mod = follower.heard_mod = 0
    return True


cdef void see_leader(Follower *follower, const KeyValue *row) noexcept nogil:
    """Take who leads; NULL: nobody does."""
    follower.leader_epoch = 0
    follower.leader.clear()
    if row != NULL:
        follower.leader_epoch = row.create_revision
        follower.leader.assign(row.value.data, row.value.size)


cdef KeyValue *only(TxnAnswer *answer, size_t which) noexcept nogil:
    """Return what one of a transaction's ranges found; NULL: nothing."""
    cdef RangeAnswer *found = &answer.ranges[which]
    return &found.found[0] if found.found.size() == 1 else NULL


cdef FollowStatus failed(CallEnd end) noexcept nogil:
    return FOLLOW_STOPPED if end == CALL_STOPPED else FOLLOW_LOST


cdef FollowStatus look(
    Follower *follower, IdentityValue *identity, TrimmedValue *trimmed
) noexcept nogil:
    """Read all but the parts at one revision of etcd, linearizably."""
    cdef string txn
    cdef Slice bytes
    cdef TxnAnswer answer
    cdef BeatValue beat
    cdef const KeyValue *row
    cdef bint right
    memset(&beat, 0, sizeof(beat))
    txn_range(&txn, ON_SUCCESS, text_slice(follower.keys.identity), empty_slice())
    txn_range(&txn, ON_SUCCESS, text_slice(follower.keys.head), empty_slice())
    txn_range(&txn, ON_SUCCESS, text_slice(follower.keys.beat), empty_slice())
    txn_range(&txn, ON_SUCCESS, text_slice(follower.keys.leader), empty_slice())
    txn_range(&txn, ON_SUCCESS, text_slice(follower.keys.trimmed), empty_slice())
    cdef CallEnd end = client_ask(
        follower.client, TXN, &txn, follower.attempt_ns,
        boot_now() + 4 * follower.attempt_ns, &bytes,
    )
    if end != CALL_ANSWERED:
        return failed(end)
    if not txn_read(bytes, &answer) or answer.ranges.size() != READS:
        return FOLLOW_LOST
    went_back(follower, answer.header.revision)
    if only(&answer, 0) == NULL or only(&answer, 1) == NULL \
            or not identity_read(only(&answer, 0).value, identity) \
            or not see_head(follower, only(&answer, 1)) \
            or follower.head.last.log_id != identity.begin.log_id:
        return FOLLOW_OTHER
    row = only(&answer, 2)
    right = row == NULL or see_beat(follower, row, &beat)
    see_leader(follower, only(&answer, 3))
    if follower.heard_mod == 0:
        hear_first(follower, &follower.head, &beat)
        follower.heard_mod = answer.header.revision
    row = only(&answer, 4)
    memset(trimmed, 0, sizeof(TrimmedValue))
    trimmed.last = identity.begin
    right = right and (row == NULL or trimmed_read(row.value, trimmed))
    follower.trimmed_revision = trimmed.last.revision
    follower.trimmed_bytes = trimmed.log_bytes
    if not follower.watching:
        follower.next_revision = answer.header.revision + 1
    return FOLLOW_ON if right else FOLLOW_OTHER


cdef FollowStatus follower_look(Follower *follower) noexcept nogil:
    cdef IdentityValue identity
    cdef TrimmedValue trimmed
    cdef FollowStatus status = look(follower, &identity, &trimmed)
    if status == FOLLOW_ON and (
        identity.begin.log_id != follower.position.log_id
        or follower.head.last.revision < follower.position.revision
    ):
        return FOLLOW_OTHER
    return status


# --- where a store is -----------------------------------------------------------------------------

cdef bint same_place(const ClusterRow *one, const ClusterRow *other) noexcept nogil:
    return one.log_id == other.log_id and one.revision == other.revision \
        and one.epoch == other.epoch and one.crc == other.crc


cdef FollowStatus check_entry(Follower *follower, const ClusterRow *position) noexcept nogil:
    """Tell whether the log has this very entry."""
    cdef string request, key, end_key
    cdef Slice bytes, piece
    cdef RangeAnswer answer
    cdef PartHead part
    cdef CallEnd end
    part_key(&follower.keys, position.revision, 0, &key)
    part_key(&follower.keys, position.revision + 1, 0, &end_key)
    range_request(&request, text_slice(key), text_slice(end_key), 0, False)
    end = client_ask(
        follower.client, RANGE, &request, follower.attempt_ns,
        boot_now() + 4 * follower.attempt_ns, &bytes,
    )
    if end != CALL_ANSWERED:
        return failed(end)
    if range_read(bytes, &answer) and answer.found.empty() \
            and position.revision < follower.head.last.revision:
        return FOLLOW_BEHIND          # trimmed while etcd had no room to say so
    if not range_read(bytes, &answer) or answer.found.empty() \
            or not part_read(answer.found.back().value, &part, &piece) or not part.is_last \
            or part.epoch != position.epoch or part.crc != position.crc:
        return FOLLOW_OTHER
    return FOLLOW_ON


cdef FollowStatus follower_begin(
    Follower *follower, const ClusterRow *position, IdentityValue *identity
) noexcept nogil:
    """Begin behind what a store has; `position.log_id` 0: it is in no log yet, and only looks."""
    cdef TrimmedValue trimmed
    cdef FollowStatus status = look(follower, identity, &trimmed)
    follower.position = position[0]
    follower.next_part = 0
    follower.ready.clear()
    if status != FOLLOW_ON or position.log_id == 0:
        return status
    if position.log_id != identity.begin.log_id \
            or position.revision > follower.head.last.revision:
        return FOLLOW_OTHER
    if position.revision < trimmed.last.revision:
        return FOLLOW_BEHIND
    if same_place(position, &trimmed.last) or same_place(position, &identity.begin):
        return FOLLOW_ON
    return check_entry(follower, position)


# --- parts ----------------------------------------------------------------------------------------

cdef enum Fit:
    FITS
    IS_OLD                            # it was handed over before
    GAP                               # it does not follow


cdef void hand_over(Follower *follower, const PartHead *part) noexcept nogil:
    follower.open.position.log_id, follower.open.position.revision = part.log_id, part.revision
    follower.open.position.epoch, follower.open.position.crc = part.epoch, part.crc
    follower.open.position.unused = 0
    follower.open.time_ns, follower.open.row_count = part.time_ns, part.row_count
    follower.ready.push_back(follower.open)
    follower.position = follower.open.position
    follower.next_part = 0


cdef Fit take_part(Follower *follower, Slice value) noexcept nogil:
    """Take the next part, if it is that."""
    cdef PartHead part
    cdef Slice piece
    if not part_read(value, &part, &piece) or part.log_id != follower.position.log_id:
        return GAP
    if part.revision <= follower.position.revision:
        return IS_OLD
    if part.number == 0:
        if part.revision_before != follower.position.revision \
                or part.crc_before != follower.position.crc:
            return GAP
        follower.open.rows.clear()
    elif follower.next_part != part.number or part.revision != follower.open.position.revision \
            or part.epoch != follower.open.position.epoch \
            or part.crc_before != follower.open.position.crc:
        # Of what is open these came before.
        if part.number < follower.next_part and part.epoch == follower.open.position.epoch:
            return IS_OLD
        return GAP
    follower.open.rows.append(piece.data, piece.size)
    follower.open.position.revision, follower.open.position.epoch = part.revision, part.epoch
    follower.open.position.crc = part.crc
    follower.next_part = part.number + 1
    if part.is_last:
        hand_over(follower, &part)
    return FITS


cdef FollowStatus follower_catch_up(Follower *follower) noexcept nogil:
    cdef string request, key
    cdef Slice bytes
    cdef RangeAnswer answer
    cdef CallEnd end
    cdef size_t i
    follower.next_part = 0
    part_key(&follower.keys, follower.position.revision + 1, 0, &key)
    while True:
        request.clear()
        range_request(
            &request, text_slice(key), text_slice(follower.keys.parts_end), PAGE_PARTS, False
        )
        end = client_ask(
            follower.client, RANGE, &request, follower.attempt_ns,
            boot_now() + 4 * follower.attempt_ns, &bytes,
        )
        if end != CALL_ANSWERED:
            return failed(end)
        if not range_read(bytes, &answer):
            return FOLLOW_LOST
        for i in range(answer.found.size()):
            if take_part(follower, answer.found[i].value) == GAP:
                return gap_found(follower)
        if not answer.more or answer.found.empty():
            break
        key.assign(answer.found.back().key.data, answer.found.back().key.size)
        key.append(b"\0", 1)
    if follower.position.revision < follower.head.last.revision:
        return gap_found(follower)
    return FOLLOW_ON


cdef FollowStatus gap_found(Follower *follower) noexcept nogil:
    """Say why what is read does not follow: it was trimmed meanwhile, or it is another log.

    Where an unfinished entry was removed between two pages, the next read has what came instead.
    """
    cdef IdentityValue identity
    cdef TrimmedValue trimmed
    cdef FollowStatus status = look(follower, &identity, &trimmed)
    if status != FOLLOW_ON:
        return status
    if trimmed.last.revision > follower.position.revision:
        return FOLLOW_BEHIND
    if identity.begin.log_id != follower.position.log_id \
            or follower.head.last.revision < follower.position.revision:
        return FOLLOW_OTHER
    return FOLLOW_LOST


# --- the watch ------------------------------------------------------------------------------------

cdef FollowStatus start_watch(Follower *follower) noexcept nogil:
    """Look, read what there is, and be told of all that comes after the look."""
    cdef string request
    cdef FollowStatus status
    follower.watching = False
    follower.resyncs += 1
    status = follower_look(follower)
    if status == FOLLOW_ON:
        status = follower_catch_up(follower)
    if status != FOLLOW_ON:
        return status
    watch_create_request(
        &request, text_slice(follower.keys.all), text_slice(follower.keys.all_end),
        follower.next_revision,
    )
    follower.watching = stream_open(follower.watch, WATCH, &request)
    follower.news_ns = boot_now()
    return FOLLOW_ON if follower.watching else FOLLOW_LOST


cdef bint same_key(Slice key, const string *other) noexcept nogil:
    return key.size == (<string *> other).size() and starts_with(key, other)


cdef bint take_put(Follower *follower, const KeyValue *row) noexcept nogil:
    """Take a key that was put; False if what came does not fit together."""
    cdef BeatValue beat
    if starts_with(row.key, &follower.keys.parts):
        return take_part(follower, row.value) != GAP
    if same_key(row.key, &follower.keys.head):
        return see_head(follower, row) \
            and follower.head.last.revision <= follower.position.revision
    if same_key(row.key, &follower.keys.beat):
        return see_beat(follower, row, &beat)
    if same_key(row.key, &follower.keys.leader):
        see_leader(follower, row)
    return True


cdef bint take_events(Follower *follower, const WatchAnswer *answer) noexcept nogil:
    """Take the events of one message; False if something is missing."""
    cdef const KeyValue *row
    cdef size_t i
    for i in range((<WatchAnswer *> answer).events.size()):
        row = &(<WatchAnswer *> answer).events[i].row
        if not (<WatchAnswer *> answer).events[i].is_delete:
            if not take_put(follower, row):
                return False
        elif same_key(row.key, &follower.keys.leader):
            see_leader(follower, NULL)
        follower.next_revision = max(follower.next_revision, row.mod_revision + 1)
    return True


cdef bint take_news(Follower *follower, Slice message) noexcept nogil:
    """Take a message of the watch; False: the watch is of no more use."""
    cdef WatchAnswer answer
    follower.news_ns = boot_now()
    follower.message_count += 1
    if follower.lose_every != 0 and follower.message_count % follower.lose_every == 0:
        return True
    if not watch_read(message, &answer) or answer.canceled:
        return False                  # compacted, among others: what is gone is read
    if take_events(follower, &answer):
        return True
    follower.lost_events += 1
    return False


cdef void follower_rest(Follower *follower) noexcept nogil:
    stream_close(follower.watch)
    follower.watching = False


cdef FollowStatus follower_wait(Follower *follower, int64_t until_ns) noexcept nogil:
    """Wait until there are entries, or the leader changed, or it is time."""
    cdef Slice message
    cdef StreamStep step
    cdef FollowStatus status
    cdef int64_t epoch = follower.leader_epoch
    while follower.ready.empty() and follower.leader_epoch == epoch and boot_now() < until_ns:
        if not follower.watching:
            status = start_watch(follower)
            if status != FOLLOW_ON:
                return status
            continue
        step = stream_next(
            follower.watch, min(until_ns, follower.news_ns + follower.patience_ns), &message
        )
        if step == STREAM_MESSAGE:
            if not take_news(follower, message):
                follower_rest(follower)
        elif step == STREAM_ENDED:
            follower.watching = False
        elif client_stopped(follower.client):
            return FOLLOW_STOPPED
        elif boot_now() >= follower.news_ns + follower.patience_ns:
            follower_rest(follower)   # a leader beats more often than that
    return FOLLOW_ON
