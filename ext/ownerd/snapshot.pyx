"""Scans of one list at one revision: owner counts, pages of owned records, single holders.

A snapshot is a read transaction that the writer began between two groups, with a copy of the list's
policy and events; it is read on the caller's thread, without the GIL. While one is open LMDB cannot
reuse freed pages, so it is closed as soon as its page is read and never kept across a network wait.

It changes nothing: records that have not seen the list's last events are brought up to them in
passing (the settler writes them back).
"""

from libc.stdint cimport uint32_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp, memcpy

from ownerd.calls cimport (
    MESSAGE_BYTES, NOT_FOUND, RESOURCE_EXHAUSTED, TASK_SNAPSHOT, Slice, task_clear, task_refuse,
)
from ownerd.changes cimport refuse_unknown_list
from ownerd.containers cimport vector
from ownerd.lmdb_api cimport (
    MDB_NEXT, MDB_RDONLY, MDB_SET_RANGE, MDB_SUCCESS, MDB_cursor, MDB_val, lmdb,
)
from ownerd.rules cimport NEVER_NS, NOBODY, Hold, Holder, hold_owned, hold_reserved, rules_holder
from ownerd.rows cimport (
    KEY_BYTES, hold_decode, open_row, put_be32, record_id_text, record_key, slice_of,
    text_slice,
)
from ownerd.store cimport CAMPAIGNS, NOT_RELEASED, RECORDS, find_list, fold_events
from ownerd.wire cimport RECORD_ID_BYTES

from ownerd.calls import Refused
from ownerd.directory import StoreError



cdef int snapshot_take(Store *store, SnapshotRequest *request, int64_t now_ns) noexcept nogil:
    """Fill in a request; a list that is not there or a lack of reader slots refuses it."""
    cdef List *lst = find_list(store, text_slice(request.list_id))
    if lst == NULL:
        refuse_unknown_list(&request.task, request.list_id.data(), request.list_id.size())
        return MDB_SUCCESS
    if lmdb.txn_begin(store.env, NULL, MDB_RDONLY, &request.txn) != MDB_SUCCESS:
        snprintf(
            task_refuse(&request.task, RESOURCE_EXHAUSTED), MESSAGE_BYTES,
            "too many reads are in progress; try again",
        )
        return MDB_SUCCESS
    request.list = lst[0]
    request.revision = store.state.revision
    request.time_ns = now_ns
    request.campaign_count = store.campaigns.size()
    return MDB_SUCCESS


# --- a walk over the list's records, in key order -------------------------------------------------

cdef struct Walk:
    MDB_cursor *cursor
    MDB_val key
    MDB_val value
    char prefix[4]
    Hold hold
    int released_by
    size_t campaign_count
    bint damaged                      # the walk ended at a row that cannot be right


cdef bint walk_step(Walk *walk, const List *lst, int operation) noexcept nogil:
    """Move to the next record of the list and bring its state up to date; False at the end."""
    if lmdb.cursor_get(walk.cursor, &walk.key, &walk.value, operation) == MDB_SUCCESS:
        if walk.key.mv_size < 4 or memcmp(walk.key.mv_data, walk.prefix, 4) != 0:
            return False
        if not open_row(&walk.key, &walk.value) or not hold_decode(&walk.value, &walk.hold) \
                or walk.hold.campaign >= walk.campaign_count:
            walk.damaged = True
            return False
        walk.released_by = fold_events(&lst.events, lst.head_seq, &walk.hold)
        return True
    return False


cdef bint walk_open(
    Walk *walk, Store *store, SnapshotRequest *request, Slice after
) noexcept nogil:
    """Move to the list's first record, or to the first one after the key `after`."""
    cdef bint found
    put_be32(walk.prefix, request.list.number)
    walk.cursor = NULL
    walk.campaign_count = request.campaign_count
    walk.damaged = False
    if lmdb.cursor_open(
        request.txn, store.tables[<int> RECORDS], &walk.cursor
    ) != MDB_SUCCESS:
        return False
    walk.key.mv_data = <void *> walk.prefix
    walk.key.mv_size = 4
    if after.size != 0:
        walk.key.mv_data = <void *> after.data
        walk.key.mv_size = after.size
    found = walk_step(walk, &request.list, MDB_SET_RANGE)
    if found and walk.key.mv_size == after.size \
            and memcmp(walk.key.mv_data, after.data, after.size) == 0:
        found = walk_step(walk, &request.list, MDB_NEXT)
    return found


cdef void walk_close(Walk *walk, SnapshotRequest *request) noexcept nogil:
    request.damaged |= walk.damaged
    if walk.cursor != NULL:
        lmdb.cursor_close(walk.cursor)


cdef struct OwnerCount:
    int64_t owned
    int64_t reserved
    int64_t earliest_ns


cdef void count_owners(
    Store *store, SnapshotRequest *request, vector[OwnerCount] *counts
) noexcept nogil:
    cdef Walk walk
    cdef OwnerCount *count
    cdef bint more = walk_open(&walk, store, request, slice_of(NULL, 0))
    while more:
        count = &counts[0][walk.hold.campaign]
        if hold_owned(&walk.hold, request.time_ns):
            count.owned += 1
            count.earliest_ns = min(count.earliest_ns, walk.hold.owned_until_ns)
        if hold_reserved(&walk.hold, request.time_ns):
            count.reserved += 1
        more = walk_step(&walk, &request.list, MDB_NEXT)
    walk_close(&walk, request)


cdef int64_t count_owned(
    Store *store, SnapshotRequest *request, const vector[char] *chosen, int64_t at_most
) noexcept nogil:
    cdef Walk walk
    cdef int64_t total = 0
    cdef bint more = walk_open(&walk, store, request, slice_of(NULL, 0))
    while more and total < at_most:
        if hold_owned(&walk.hold, request.time_ns) and chosen[0][walk.hold.campaign]:
            total += 1
        more = walk_step(&walk, &request.list, MDB_NEXT)
    walk_close(&walk, request)
    return total


cdef int64_t count_unwritten_releases(
    Store *store, SnapshotRequest *request, uint64_t entry_id
) noexcept nogil:
    """Count the records that a release ended and that are not yet written since."""
    cdef Walk walk
    cdef int64_t total = 0
    cdef bint more = walk_open(&walk, store, request, slice_of(NULL, 0))
    while more:
        if walk.released_by != NOT_RELEASED \
                and request.list.events[walk.released_by].entry_id == entry_id:
            total += 1
        more = walk_step(&walk, &request.list, MDB_NEXT)
    walk_close(&walk, request)
    return total


cdef struct OwnedRow:
    size_t key_size
    char key[KEY_BYTES]
    Hold hold


cdef void read_page(
    Store *store, SnapshotRequest *request, const vector[char] *chosen, Slice after, size_t limit,
    vector[OwnedRow] *rows
) noexcept nogil:
    cdef Walk walk
    cdef OwnedRow row
    cdef bint more = walk_open(&walk, store, request, after)
    while more and rows.size() < limit:
        if hold_owned(&walk.hold, request.time_ns) and chosen[0][walk.hold.campaign]:
            row.key_size = walk.key.mv_size
            memcpy(row.key, walk.key.mv_data, walk.key.mv_size)
            row.hold = walk.hold
            rows.push_back(row)
        more = walk_step(&walk, &request.list, MDB_NEXT)
    walk_close(&walk, request)



cdef expiry_of(int64_t until_ns):
    return None if until_ns == NEVER_NS else until_ns


cdef SnapshotRequest *opened(Snapshot snapshot) except NULL:
    if snapshot.store == NULL:
        raise ValueError("the snapshot is closed")
    return snapshot.request


cdef refuse_damaged(SnapshotRequest *request):
    """Raise StoreError rather than answer from what a damaged row left out."""
    if request.damaged:
        raise StoreError("a record fails its checksum: the store is damaged")


cdef tuple campaign_of(Snapshot snapshot, uint32_t number):
    """Return (id, name) of a campaign as of the snapshot."""
    cdef char buffer[4]
    cdef MDB_val key, value
    cdef const unsigned char *at
    put_be32(buffer, number)
    key.mv_data = buffer
    key.mv_size = 4
    if lmdb.get(
        snapshot.request.txn, snapshot.store.tables[<int> CAMPAIGNS], &key, &value
    ) != MDB_SUCCESS or not open_row(&key, &value):
        raise StoreError(f"campaign number {number} is missing or damaged")
    at = <const unsigned char *> value.mv_data
    text = (<const char *> at)[1:value.mv_size]
    return text[:at[0]].decode(), text[at[0]:].decode()


cdef tuple row_of(Snapshot snapshot, OwnedRow *row, dict names):
    cdef char text[KEY_BYTES]
    cdef size_t size = record_id_text(row.key, row.key_size, text)
    campaign = names.get(row.hold.campaign)
    if campaign is None:
        campaign = names[row.hold.campaign] = campaign_of(snapshot, row.hold.campaign)
    return (
        text[:size].decode(), *campaign, row.hold.owned_since_ns,
        expiry_of(row.hold.owned_until_ns),
    )


cdef choose(Snapshot snapshot, campaign_ids, vector[char] *chosen):
    """Mark the chosen campaigns by number; None chooses all, an unknown one is refused."""
    cdef size_t i
    unknown = set() if campaign_ids is None else set(campaign_ids)
    chosen.resize(snapshot.request.campaign_count)
    for i in range(snapshot.request.campaign_count):
        campaign_id = None if campaign_ids is None else campaign_of(snapshot, <uint32_t> i)[0]
        chosen[0][i] = campaign_ids is None or campaign_id in unknown
        unknown.discard(campaign_id)
    if unknown:
        raise Refused(
            NOT_FOUND,
            f'campaign_ids: there is no campaign "{min(unknown)}"; ListCampaigns shows those that '
            "are known",
        )


cdef class Snapshot:
    """One contact list at one revision; made by `Engine.snapshot`.

    A context manager. Use it from one thread at a time and close it soon: it pins the pages of its
    revision. Attributes: `revision`, and `time_ns`, the server time that expirations are judged at.
    """

    cdef SnapshotRequest *ask(self, engine):
        """Return the request to be filled in, submitted and, once it is done, opened."""
        self.engine = engine
        self.request = new SnapshotRequest()
        self.request.task.kind = TASK_SNAPSHOT
        self.request.task.body = self.request
        return self.request

    cdef open(self, Store *store):
        self.engine._begin_read()
        self.store = store

    @property
    def revision(self):
        """The revision that everything read from the snapshot belongs to."""
        return opened(self).revision

    @property
    def time_ns(self):
        """The server time that expirations are judged at."""
        return opened(self).time_ns

    def close(self):
        """End the read transaction; further reads raise ValueError. May be called again."""
        if self.store != NULL:
            lmdb.txn_abort(self.request.txn)
            self.store = NULL
            self.engine._end_read()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __dealloc__(self):
        if self.store != NULL:        # never closed: end the transaction, the engine may be gone
            lmdb.txn_abort(self.request.txn)
        if self.request != NULL:
            task_clear(&self.request.task)
            del self.request

    def owners(self):
        """Count, for each campaign that owns or reserves records, both and its first expiration.

        Returns a list of (campaign_id, name, owned_count, reserved_count, earliest_expire_ns or
        None), by campaign id (R17).
        """
        cdef SnapshotRequest *request = opened(self)
        cdef vector[OwnerCount] counts
        cdef OwnerCount nothing
        cdef size_t i
        nothing.owned = nothing.reserved = 0
        nothing.earliest_ns = NEVER_NS
        with nogil:
            for i in range(request.campaign_count):
                counts.push_back(nothing)
            count_owners(self.store, request, &counts)
        refuse_damaged(request)
        found = [
            (*campaign_of(self, <uint32_t> i), counts[i].owned, counts[i].reserved,
             expiry_of(counts[i].earliest_ns))
            for i in range(request.campaign_count) if counts[i].owned or counts[i].reserved
        ]
        return sorted(found)

    def count_owned(self, campaign_ids=None, *, int64_t at_most=NEVER_NS):
        """Count the owned records of some campaigns (None: all), stopping at `at_most`."""
        cdef SnapshotRequest *request = opened(self)
        cdef vector[char] chosen
        cdef int64_t total
        choose(self, campaign_ids, &chosen)
        with nogil:
            total = count_owned(self.store, request, &chosen, at_most)
        refuse_damaged(request)
        return total

    def count_released(self, uint64_t entry_id):
        """Count the records whose ownership the release with this audit entry ended."""
        cdef SnapshotRequest *request = opened(self)
        cdef int64_t total
        cdef size_t i
        with nogil:
            total = count_unwritten_releases(self.store, request, entry_id)
            for i in range(request.list.events.size()):
                if request.list.events[i].entry_id == entry_id:
                    total += request.list.events[i].released_count
        refuse_damaged(request)
        return total

    def records(self, bytes after, size_t limit, campaign_ids=None):
        """Return one page of owned records in key order, and the key to go on after.

        `after` is b"" for the first page, else the key that the page before returned. Rows are
        (record_id, campaign_id, campaign_name, acquire_ns, expire_ns or None). The key is b"" when
        there are no more.
        """
        cdef SnapshotRequest *request = opened(self)
        cdef vector[char] chosen
        cdef vector[OwnedRow] rows
        cdef Slice start = slice_of(<const char *> after, len(after))
        cdef OwnedRow *last
        choose(self, campaign_ids, &chosen)
        with nogil:
            rows.reserve(limit)
            read_page(self.store, request, &chosen, start, limit, &rows)
        refuse_damaged(request)
        names = {}
        page = [row_of(self, &rows[i], names) for i in range(rows.size())]
        if rows.size() < limit:
            return page, b""
        last = &rows[rows.size() - 1]
        return page, last.key[:last.key_size]

    def holders(self, record_ids):
        """Return each record's holder: (kind, campaign_id, name, acquire_ns, expire_ns) or None."""
        cdef SnapshotRequest *request = opened(self)
        cdef MDB_val key, value
        cdef Hold hold
        cdef Holder holder
        cdef char buffer[KEY_BYTES]
        found = []
        for record_id in record_ids:
            encoded = record_id.encode()
            if len(encoded) > RECORD_ID_BYTES:
                raise ValueError(f"a record id of {len(encoded)} bytes")
            key.mv_size = record_key(
                buffer, request.list.number, slice_of(<const char *> encoded, len(encoded))
            )
            key.mv_data = buffer
            if lmdb.get(
                request.txn, self.store.tables[<int> RECORDS], &key, &value
            ) != MDB_SUCCESS:
                found.append(None)
                continue
            request.damaged |= not open_row(&key, &value) or not hold_decode(&value, &hold)
            refuse_damaged(request)
            fold_events(&request.list.events, request.list.head_seq, &hold)
            holder = rules_holder(&hold, request.time_ns)
            found.append(None if holder.kind == NOBODY else (
                <int> holder.kind, *campaign_of(self, holder.campaign), holder.since_ns,
                expiry_of(holder.until_ns),
            ))
        return found
