"""Single records in the open transaction: read as they were last, written as they become.

A record is as the active memtable has it, else the immutable one, else the tree, brought past the
events of its list that it has not seen. What is written goes into the active memtable and into the
group's entry of the log.

It judges none: `rules` does. Runs on the writer thread.
"""

from libc.string cimport memcpy, memset

from ownerd.base.assertions cimport assert_that
from ownerd.base.bytes cimport slice_of, val_of
from ownerd.base.lmdb cimport MDB_CORRUPTED, MDB_NOTFOUND, MDB_SUCCESS, MDB_val
from ownerd.rules.ownership cimport NEVER_NS, NO_DIALER, hold_alive, hold_end, hold_owned
from ownerd.storage.catalog cimport count_ended, list_ends, note_hold
from ownerd.storage.codec cimport VALUE_BYTES, hold_decode, hold_encode, record_key
from ownerd.storage.give_backs cimport Fold, fold
from ownerd.storage.memtable cimport Entry, entry_value, record_hash
from ownerd.storage.memtables cimport memtables_find, memtables_put
from ownerd.storage.multiget cimport LOOKUP_FOUND, LOOKUP_NONE, multiget_read
from ownerd.storage.notes cimport HELD_BY_NOBODY, NOTE_HELD_BEFORE, entry_put_record
from ownerd.storage.record_tree cimport tree_get
from ownerd.storage.tables cimport RECORDS
from ownerd.storage.transaction cimport note_change, note_error


cdef bint find_row(Store *store, const Record *record, MDB_val *value) noexcept nogil:
    """Find a record's newest row: in the active memtable, in the immutable one, in the tree."""
    cdef const Entry *entry
    cdef int code
    entry = memtables_find(&store.memtables, record.hash, record.key, record.key_size)
    if entry != NULL:
        value[0] = val_of(slice_of(entry_value(entry), entry.value_size))
        return entry.value_size != 0
    code = tree_get(store.tree, RECORDS, record.key, record.key_size, value)
    if code != MDB_SUCCESS and code != MDB_NOTFOUND:
        note_error(&store.txn, code)
    return code == MDB_SUCCESS


cdef void bring_up(Store *store, List *lst, Record *record) noexcept nogil:
    """Bring a record past what happened to its list and its dialer since it was written."""
    cdef Fold by
    by.events, by.given = &lst.events, store.dialers.given.get()
    by.list, by.head_seq, by.horizon_ns = lst.number, lst.head_seq, NEVER_NS
    store.counted.clear()
    fold(&by, &record.hold, &store.counted)
    record.counted = not store.counted.empty()


cdef void record_load(
    Store *store, List *lst, Slice record_id, const Seen *seen, Record *record
) noexcept nogil:
    """Read a record brought up to its list's last event; an absent one is nobody's."""
    cdef MDB_val value
    if seen != NULL and seen.key_size != 0:
        record.key_size = seen.key_size
        record.hash = seen.hash
        memcpy(record.key, store.multiget.keys.data() + seen.key_at, seen.key_size)
    else:
        record.key_size = record_key(record.key, lst.number, record_id)
        record.hash = record_hash(record.key, record.key_size)
    if seen != NULL and seen.lookup != LOOKUP_NONE:
        record.existed = seen.lookup == LOOKUP_FOUND
        record.hold = seen.hold
    else:
        record.existed = find_row(store, record, &value)
        if record.existed and not hold_decode(&value, &record.hold):
            note_error(&store.txn, MDB_CORRUPTED)
            record.existed = False
    record.counted = False
    if record.existed:
        assert_that(
            record.hold.event_seq <= lst.head_seq, "no record is ahead of its list's events"
        )
        if record.hold.event_seq < lst.head_seq or record.hold.dialer != NO_DIALER:
            bring_up(store, lst, record)
        assert_that(record.hold.event_seq == lst.head_seq, "a record is read as it is now")
    else:
        memset(&record.hold, 0, sizeof(Hold))
        record.hold.event_seq = lst.head_seq
    record.before.campaign = record.hold.campaign
    record.before.owned_since_ns = record.hold.owned_since_ns
    record.before.owned_until_ns = record.hold.owned_until_ns
    record.before.reserved_until_ns = record.hold.reserved_until_ns


cdef bint owner_changed(const Record *record, int64_t now_ns) noexcept nogil:
    """Tell whether another campaign owns the record now, or nobody, or until another time."""
    cdef const HeldBefore *before = &record.before
    cdef bint owned = hold_owned(&record.hold, now_ns)
    if owned != (now_ns < before.owned_until_ns):
        return True
    return owned and (
        before.campaign != record.hold.campaign
        or before.owned_since_ns != record.hold.owned_since_ns
        or before.owned_until_ns != record.hold.owned_until_ns
    )


cdef uint32_t held_before(const Record *record, int64_t now_ns) noexcept nogil:
    """Return who held the record when it was loaded."""
    if now_ns < max(record.before.owned_until_ns, record.before.reserved_until_ns):
        return record.before.campaign
    return HELD_BY_NOBODY


cdef void tell(Store *store, const Record *record, Slice value, int64_t now_ns) noexcept nogil:
    """Put a record's row into the entry, and whose it was if the row does not say so."""
    cdef uint32_t campaign = held_before(record, now_ns)
    cdef Slice key = slice_of(record.key, record.key_size)
    entry_put_record(
        &store.txn.entry, key, value, owner_changed(record, now_ns), campaign
    )
    if value.size != 0 and campaign != HELD_BY_NOBODY and campaign != record.hold.campaign:
        note_change(
            &store.txn, NOTE_HELD_BEFORE, key, slice_of(&campaign, sizeof(campaign))
        )


cdef void record_store(Store *store, List *lst, Record *record, int64_t now_ns) noexcept nogil:
    """Write a record's state; nothing, if nothing of it is left."""
    cdef char value[VALUE_BYTES]
    cdef size_t size = hold_encode(&record.hold, now_ns, value)
    cdef Slice key = slice_of(record.key, record.key_size)
    assert_that(record.hold.event_seq <= lst.head_seq, "no record is ahead of its list's events")
    assert_that(size <= VALUE_BYTES, "a row has its place")
    if record.counted:
        count_ended(&store.catalog, lst, &store.counted)
    if size != 0:
        list_ends(&store.catalog, lst, hold_end(&record.hold))
        if hold_alive(&record.hold, now_ns):
            note_hold(&store.catalog, lst, record.hold.campaign, store.state.revision + 1)
    tell(store, record, slice_of(value, size), now_ns)
    memtables_put(&store.memtables, record.hash, key, slice_of(value, size), record.existed)


cdef void records_look_up(Store *store) noexcept nogil:
    note_error(&store.txn, multiget_read(&store.multiget, store.tree, &store.memtables))
