"""Replay: what an entry of the log changed is put into memory, at the opening of a store, and as
the entries of another node come.

States, not decisions: each row is as the entry left it. Records go into the active memtable, rows
of the small tables likewise; catalog and dialers, which are made of those rows, are loaded anew
when somebody wants them.

It takes no part in decisions. On the writer thread, or before there is one.
"""

from libc.errno cimport ENOSPC
from libc.string cimport memcpy

from ownerd.base.atomics cimport flag_set
from ownerd.base.bytes cimport same
from ownerd.base.containers cimport map, string, vector
from ownerd.base.lmdb cimport MDB_CORRUPTED, MDB_SUCCESS
from ownerd.storage.catalog cimport (
    Campaign, Catalog, catalog_free, catalog_init, keep_campaigns, load_catalog,
)
from ownerd.storage.codec cimport KEY_BYTES, VALUE_BYTES
from ownerd.storage.dialers cimport Dialers, dialers_init, load_dialers
from ownerd.storage.file_log cimport LOG_OK, file_log_error
from ownerd.storage.log_entry cimport (
    ROW_FOUND, ROWS_END, LogEntry, LogRow, RowFound, entry_begin, row_next,
)
from ownerd.storage.log_writer cimport file_log_append
from ownerd.storage.memtable cimport memtable_put, record_hash
from ownerd.storage.memtables cimport memtables_mark, memtables_put_rows, publish_counts
from ownerd.storage.notes cimport RecordRow, is_note, read_record
from ownerd.storage.record_tree cimport tree_rest
from ownerd.storage.rows cimport RowVersion, place_row
from ownerd.storage.tables cimport META, TABLE_COUNT, Table


cdef bint replay_row(
    Store *store, const LogRow *row, map[string, RowVersion] *rows, StateRow *state
) noexcept nogil:
    """Replay one row of an entry; False if it cannot be right."""
    cdef string place
    cdef RowVersion *version
    cdef RecordRow record
    if read_record(row, &record):
        if row.key.size == 0 or row.key.size > KEY_BYTES or record.value.size > VALUE_BYTES:
            return False
        memtable_put(
            store.memtables.active.get(), record_hash(row.key.data, row.key.size), row.key,
            record.value,
        )
        return True
    if is_note(row):
        return True
    if row.table >= TABLE_COUNT:
        return False
    if row.table == META and same(row.key.data, row.key.size, "state"):
        if row.value.size != sizeof(StateRow):
            return False
        memcpy(state, row.value.data, sizeof(StateRow))
        return True
    place_row(&place, <Table> row.table, row.key)
    version = &rows[0][place]
    version.is_gone = row.is_gone
    version.value.assign(row.value.data, row.value.size)
    return True


cdef bint replay_rows(
    Store *store, RowCursor *rows, uint64_t revision, StateRow *state
) noexcept nogil:
    cdef map[string, RowVersion] versions
    cdef LogRow row
    cdef RowFound found = row_next(rows, &row)
    while found == ROW_FOUND:
        if not replay_row(store, &row, &versions, state):
            return False
        found = row_next(rows, &row)
    store.stale |= not versions.empty()
    memtables_put_rows(&store.memtables, &versions, revision)
    return found == ROWS_END and state.revision == revision


# --- as another node appends ----------------------------------------------------------------------

cdef void publish(Store *store, const StateRow *state) noexcept nogil:
    """Take the state that an entry left; other threads read some of it."""
    store.state.time_ns = state.time_ns
    store.state.next_entry, store.state.next_list = state.next_entry, state.next_list
    store.state.store_id, store.state.session = state.store_id, state.session
    flag_set(&store.state.incarnation, state.incarnation)
    flag_set(&store.state.first_revision, state.first_revision)
    flag_set(&store.state.revision, state.revision)
    flag_set(&store.instant_ns, max(store.instant_ns, state.time_ns))


cdef int store_follow(
    Store *store, const ClusterRow *place, int64_t time_ns, Slice rows, uint32_t row_count
) noexcept nogil:
    cdef RowCursor cursor
    cdef StateRow state = store.state
    cdef LogEntry entry
    cursor.at, cursor.end, cursor.rows_left = rows.data, rows.data + rows.size, row_count
    memtables_mark(&store.memtables)
    if place.revision != store.state.revision + 1 \
            or not replay_rows(store, &cursor, place.revision, &state):
        return MDB_CORRUPTED
    publish(store, &state)
    publish_counts(&store.memtables)
    store.place = place[0]
    tree_rest(store.tree)
    entry_begin(&entry)
    entry.bytes.append(rows.data, rows.size)
    entry.row_count = row_count
    if file_log_append(store.log, &entry, place.revision, time_ns) != LOG_OK:
        return file_log_error(store.log) or ENOSPC
    return MDB_SUCCESS


cdef int store_refresh(Store *store) noexcept nogil:
    cdef vector[Campaign *] campaigns, former
    cdef Catalog *catalog
    cdef Dialers *dialers
    cdef int code
    if not store.stale:
        return MDB_SUCCESS
    campaigns.swap(store.catalog.campaigns)
    former.swap(store.catalog.former)
    catalog_free(&store.catalog)
    catalog = new Catalog()
    dialers = new Dialers()
    store.catalog, store.dialers = catalog[0], dialers[0]
    del catalog
    del dialers
    catalog_init(&store.catalog, &store.txn)
    dialers_init(&store.dialers, &store.txn)
    code = load_catalog(&store.catalog)
    keep_campaigns(&store.catalog, &campaigns, &former)
    if code == MDB_SUCCESS:
        code = load_dialers(&store.dialers)
    tree_rest(store.tree)
    store.stale = False
    return code
