"""Scans of one list at one revision: owner counts, pages of owned records, single holders.

A snapshot is a view that the writer took between two groups, with the campaigns as they were named
then; it is read on the caller's thread, without the GIL. It is closed as soon as its page is read
and never kept across a network wait.

It changes nothing: records that have not seen the list's last events are brought up to them in
passing (maintenance writes them back).
"""

from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from ownerd.api.reasons cimport (
    CAMPAIGN_NOT_FOUND, LIST_NOT_FOUND, TOO_MANY_READS, refuse, refuse_about,
)
from ownerd.api.task cimport TASK_SNAPSHOT, task_clear
from ownerd.base.bytes cimport Slice, empty_slice, slice_of, text_slice
from ownerd.base.lmdb cimport MDB_SUCCESS
from ownerd.engine.activity cimport activity_rows
from ownerd.engine.commands cimport TALLY_EXPIRED, TALLY_IMPORTED, tally_of
from ownerd.rules.limits cimport RECORD_ID_BYTES
from ownerd.rules.ownership cimport (
    NEVER_NS, NOBODY, NO_TIME, Hold, Holder, ImportRow, hold_owned, hold_reserved, rules_holder,
    rules_import, rules_import_end,
)
from ownerd.storage.catalog cimport Campaign, List, all_campaigns, find_list
from ownerd.storage.codec cimport KEY_BYTES, record_id_text, record_key
from ownerd.storage.read_view cimport (
    RecordIterator, iterator_close, iterator_first, iterator_next, iterator_open, view_close,
    view_find, view_take,
)
from ownerd.storage.store cimport Store, store_revision

from ownerd.api.reasons import refused
from ownerd.storage.directory import StoreError


# --- asking for one -------------------------------------------------------------------------------

cdef SnapshotRequest *request_new() noexcept nogil:
    """Return a request to be given a list id and submitted."""
    cdef SnapshotRequest *request = new SnapshotRequest()
    request.task.kind = TASK_SNAPSHOT
    request.task.body = request
    request.task.code = request.task.record_count = 0
    request.task.message = NULL
    request.view.txn = NULL
    return request


cdef void request_free(SnapshotRequest *request) noexcept nogil:
    """Close and free a request that is not under way."""
    view_close(&request.view)
    task_clear(&request.task)
    del request


cdef int snapshot_take(Store *store, SnapshotRequest *request, int64_t now_ns) noexcept nogil:
    """Fill in a request; a list that is not there or a lack of reader slots refuses it."""
    cdef List *lst = find_list(&store.catalog, text_slice(request.list_id))
    if lst == NULL:
        refuse_about(&request.task, LIST_NOT_FOUND, text_slice(request.list_id))
        return MDB_SUCCESS
    if view_take(&request.view, store, lst) != MDB_SUCCESS:
        refuse(&request.task, TOO_MANY_READS)
        return MDB_SUCCESS
    request.revision = store_revision(store)
    request.time_ns = now_ns
    request.next_ns = max(now_ns, store.instant_ns + 1)
    all_campaigns(&store.catalog, &request.campaigns)
    return MDB_SUCCESS


# --- scans ----------------------------------------------------------------------------------------

cdef struct OwnerCount:
    int64_t owned
    int64_t reserved
    int64_t earliest_ns
    int64_t expiring                  # of those owned, what ends by the instant that was asked for


cdef void count_owners(
    SnapshotRequest *request, vector[OwnerCount] *counts, int64_t expire_by_ns
) noexcept nogil:
    cdef RecordIterator records
    cdef OwnerCount *count
    cdef bint more
    iterator_open(&records, &request.view)
    more = iterator_first(&records, empty_slice())
    while more:
        count = &counts[0][records.hold.campaign]
        if hold_owned(&records.hold, request.time_ns):
            count.owned += 1
            count.earliest_ns = min(count.earliest_ns, records.hold.owned_until_ns)
            count.expiring += records.hold.owned_until_ns <= expire_by_ns
        if hold_reserved(&records.hold, request.time_ns):
            count.reserved += 1
        more = iterator_next(&records)
    iterator_close(&records)


cdef int64_t count_owned(
    SnapshotRequest *request, const vector[char] *chosen, int64_t at_most, int64_t after_ns
) noexcept nogil:
    cdef RecordIterator records
    cdef int64_t total = 0
    cdef bint more
    iterator_open(&records, &request.view)
    more = iterator_first(&records, empty_slice())
    while more and total < at_most:
        if hold_owned(&records.hold, request.time_ns) and chosen[0][records.hold.campaign] \
                and records.hold.owned_until_ns > after_ns:
            total += 1
        more = iterator_next(&records)
    iterator_close(&records)
    return total


cdef struct OwnedRow:
    size_t key_size
    char key[KEY_BYTES]
    Hold hold


cdef void read_page(
    SnapshotRequest *request, const vector[char] *chosen, Slice after, size_t limit,
    vector[OwnedRow] *rows
) noexcept nogil:
    cdef RecordIterator records
    cdef OwnedRow row
    cdef bint more
    iterator_open(&records, &request.view)
    more = iterator_first(&records, after)
    while more and rows.size() < limit:
        if hold_owned(&records.hold, request.time_ns) and chosen[0][records.hold.campaign]:
            row.key_size = records.key.size
            memcpy(row.key, records.key.data, records.key.size)
            row.hold = records.hold
            rows.push_back(row)
        more = iterator_next(&records)
    iterator_close(&records)


# --- for Python -----------------------------------------------------------------------------------

cdef expiry_of(int64_t until_ns):
    return None if until_ns == NEVER_NS else until_ns


cdef SnapshotRequest *opened(Snapshot snapshot) except NULL:
    if not snapshot.is_open:
        raise ValueError("the snapshot is closed")
    return snapshot.request


cdef refuse_damaged(SnapshotRequest *request):
    """Raise StoreError rather than answer from what a damaged row left out."""
    if request.view.damaged:
        raise StoreError("a record fails its checksum: the store is damaged")


cdef tuple campaign_of(Snapshot snapshot, uint32_t number):
    """Return (id, name) of a campaign as of the snapshot."""
    cdef Campaign *campaign = snapshot.request.campaigns[number]
    return (
        campaign.id.data()[:campaign.id.size()].decode(),
        campaign.name.data()[:campaign.name.size()].decode(),
    )


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
    chosen.resize(snapshot.request.campaigns.size())
    for i in range(snapshot.request.campaigns.size()):
        campaign_id = None if campaign_ids is None else campaign_of(snapshot, <uint32_t> i)[0]
        chosen[0][i] = campaign_ids is None or campaign_id in unknown
        unknown.discard(campaign_id)
    if unknown:
        raise refused(
            CAMPAIGN_NOT_FOUND, field="campaign_ids", campaign_id=f'"{min(unknown)}"'
        )


cdef bint find_hold(SnapshotRequest *request, str record_id, Hold *hold) except -1:
    """Read a record's state; False if there is none."""
    cdef char key[KEY_BYTES]
    cdef size_t key_size
    cdef bint found
    encoded = record_id.encode()
    if len(encoded) > RECORD_ID_BYTES:
        raise ValueError(f"a record id of {len(encoded)} bytes")
    key_size = record_key(
        key, request.view.list.number, slice_of(<const char *> encoded, len(encoded))
    )
    found = view_find(&request.view, key, key_size, hold)
    refuse_damaged(request)
    return found


cdef int64_t since_of(list acquired) except? -1:
    """Return since when a row's record is owned, of what follows its expiration."""
    if not acquired or acquired[0] is None:
        return NO_TIME
    return acquired[0]


cdef int64_t number_beside(
    SnapshotRequest *request, const Hold *hold, bytes campaign_id
) except -1:
    """Return a number for a campaign: the one in `hold` if that is it, else that of no campaign."""
    cdef uint32_t count = <uint32_t> request.campaigns.size()
    if hold.campaign < count and request.campaigns[hold.campaign].id == campaign_id:
        return hold.campaign
    return count


cdef class Snapshot:
    """One contact list at one revision; made by `Engine.snapshot`.

    A context manager. Use it from one thread at a time and close it soon: it pins the pages of its
    revision. Attributes: `revision`, and `time_ns`, the server time that expirations are judged at.
    """

    cdef SnapshotRequest *ask(self, engine):
        """Return the request to be filled in, submitted and, once it is done, opened."""
        self.engine = engine
        self.request = request_new()
        return self.request

    cdef open(self):
        self.engine._begin_read()
        self.is_open = True

    @property
    def revision(self):
        """The revision that everything read from the snapshot belongs to."""
        return opened(self).revision

    @property
    def time_ns(self):
        """The server time that expirations are judged at."""
        return opened(self).time_ns

    def close(self):
        """Let go of the revision; further reads raise ValueError. May be called again."""
        if self.is_open:
            view_close(&self.request.view)
            self.is_open = False
            self.engine._end_read()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __dealloc__(self):
        if self.request != NULL:
            request_free(self.request)

    def owners(self, expire_by_ns=0):
        """Count, for each campaign that owns or reserves records, both and its first expiration.

        Returns a list of (campaign_id, name, owned_count, reserved_count, earliest_expire_ns or
        None, expiring_count), by campaign id (R17); the last counts what expires by expire_by_ns.
        """
        cdef SnapshotRequest *request = opened(self)
        cdef vector[OwnerCount] counts
        cdef OwnerCount nothing
        cdef int64_t by_ns = expire_by_ns
        cdef size_t i
        nothing.owned = nothing.reserved = nothing.expiring = 0
        nothing.earliest_ns = NEVER_NS
        with nogil:
            counts.resize(request.campaigns.size(), nothing)
            count_owners(request, &counts, by_ns)
        refuse_damaged(request)
        found = [
            (*campaign_of(self, <uint32_t> i), counts[i].owned, counts[i].reserved,
             expiry_of(counts[i].earliest_ns), counts[i].expiring)
            for i in range(request.campaigns.size()) if counts[i].owned or counts[i].reserved
        ]
        return sorted(found)

    def activity(self):
        """Return what each campaign asked of the list and was told since the engine was opened.

        Rows (campaign_id, decisions, outcomes, denied_by, lapsed), by campaign id: counts by the
        numbers that answers have in dial.proto, rows (campaign_id, count), the most frequent first,
        and how many of its reservations lapsed.
        They are of now, not of the snapshot's revision.
        """
        cdef SnapshotRequest *request = opened(self)
        cdef size_t i
        names = [
            campaign_of(self, <uint32_t> i)[0] for i in range(request.campaigns.size())
        ]
        return activity_rows(self.counted, request.view.list.number, names)

    def count_owned(self, campaign_ids=None, *, int64_t at_most=NEVER_NS, int64_t after_ns=0):
        """Count the owned records of some campaigns (None: all), stopping at `at_most`.

        With `after_ns` only those whose ownership lasts until after then.
        """
        cdef SnapshotRequest *request = opened(self)
        cdef vector[char] chosen
        cdef int64_t total
        choose(self, campaign_ids, &chosen)
        with nogil:
            total = count_owned(request, &chosen, at_most, after_ns)
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
            read_page(request, &chosen, start, limit, &rows)
        refuse_damaged(request)
        names = {}
        page = [row_of(self, &rows[i], names) for i in range(rows.size())]
        if rows.size() < limit:
            return page, b""
        last = &rows[rows.size() - 1]
        return page, last.key[:last.key_size]

    def import_outcomes(self, rows, *, overwrite, exact=False, expire_by_policy=False):
        """Return what an import would do with each row; the place of its count in a tally (R32).

        A row is (record_id, campaign_id, campaign_name, expire_ns or None for no expiration,
        acquire_ns or None for now); the last may be left out. No two are for one record.
        """
        cdef SnapshotRequest *request = opened(self)
        cdef ImportRow given
        cdef Hold hold
        given.overwrite, given.exact = overwrite, exact
        found = []
        for record_id, campaign_id, _, expire_ns, *acquired in rows:
            given.until_ns = rules_import_end(
                NEVER_NS if expire_ns is None else <int64_t> expire_ns, expire_by_policy,
                &request.view.list.policy, request.next_ns,
            )
            if given.until_ns <= request.next_ns:
                found.append(<int> TALLY_EXPIRED)
                continue
            given.since_ns = since_of(acquired)
            if not find_hold(request, record_id, &hold):
                found.append(<int> TALLY_IMPORTED)
                continue
            given.campaign = <uint32_t> number_beside(request, &hold, campaign_id.encode())
            found.append(<int> tally_of(rules_import(&hold, &given, request.next_ns)))
        return found

    def holders(self, record_ids):
        """Return each record's holder: (kind, campaign_id, name, acquire_ns, expire_ns) or None."""
        cdef SnapshotRequest *request = opened(self)
        cdef Hold hold
        cdef Holder holder
        found = []
        for record_id in record_ids:
            holder.kind = NOBODY
            if find_hold(request, record_id, &hold):
                holder = rules_holder(&hold, request.time_ns)
            found.append(None if holder.kind == NOBODY else (
                <int> holder.kind, *campaign_of(self, holder.campaign), holder.since_ns,
                expiry_of(holder.until_ns),
            ))
        return found
