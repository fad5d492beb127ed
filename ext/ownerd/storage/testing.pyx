"""What tests ask of storage; built only with OWNERD_TESTING=1.

A record's value; the small tables by themselves; the log as files by itself, its readers, and a
disk that fails at a call of one's choice; the walker beside LMDB.
"""

cimport libc.errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset
from libcpp.atomic cimport atomic
from posix.types cimport mode_t, off_t

from ownerd.base.bytes cimport Slice, slice_of, val_of
from ownerd.base.containers cimport map, string, vector
from ownerd.base.disk cimport DiskApi, disk
from ownerd.base.lmdb cimport MDB_NOTFOUND, MDB_SUCCESS, MDB_dbi, MDB_txn, MDB_val, lmdb
from ownerd.base.threads cimport usleep
from ownerd.rules.ownership cimport Hold
from ownerd.storage.codec cimport VALUE_BYTES, hold_decode, hold_encode
from ownerd.storage.file_log cimport (
    LOG_FAILED, LOG_FULL, LOG_MORE, LOG_OK, FileLog, LogOptions, LogStatus, LogTail,
    default_log_options, file_log_bytes, file_log_error, file_log_next_ready, file_log_oldest,
    file_log_revision,
)
from ownerd.storage.flush cimport Flush, flush_memtable
from ownerd.storage.log_entry cimport (
    ROW_FOUND, ROWS_END, LogEntry, LogRow, RowCursor, RowFound, entry_begin, entry_delete,
    entry_put, row_next,
)
from ownerd.storage.log_opening cimport file_log_acquire, file_log_create, file_log_release
from ownerd.storage.log_reader cimport (
    READ_ENTRY, LogReader, ReadEntry, ReadStatus, file_log_read, log_reader_next,
)
from ownerd.storage.log_upkeep cimport file_log_prepare, file_log_trim
from ownerd.storage.log_writer cimport (
    file_log_append, file_log_end, file_log_room, file_log_tail,
)
from ownerd.storage.memtables cimport (
    Memtables, drop_flushed, has_immutable, memtables_init, memtables_put_rows, rotate,
    tend_memtables,
)
from ownerd.storage.record_tree cimport (
    STOP_STEPPING, Tree, tree_close, tree_create, tree_flushed, tree_open, tree_read, tree_rest,
    tree_walk,
)
from ownerd.storage.rows cimport RowVersion, place_row
from ownerd.storage.table_cursor cimport (
    TableCursor, Tables, cursor_close, cursor_count, cursor_last, cursor_next, cursor_open,
    cursor_previous, cursor_seek,
)
from ownerd.storage.tables cimport RECORDS, STATE_FORMAT, StateRow, Table
from ownerd.storage.walker cimport (
    SIGHT_FOUND, Sight, Sought, Walker, walker_find, walker_init,
)
from ownerd.storage.walker_proof cimport walker_agrees

_STATUSES = {LOG_OK: "ok", LOG_MORE: "more", LOG_FULL: "full", LOG_FAILED: "failed"}
_READS = ("entry", "tail", "trimmed", "ahead", "damaged", "failed")


# --- a record's value ---------------------------------------------------------------------------

def encode(state, now_ns):
    """Return a record's value; b"" if nothing of it is left.

    The state is (campaign, event seq, owned since and until, reserved since and until, dialer, last
    attempt), 0 where there is none.
    """
    cdef Hold hold
    cdef char value[VALUE_BYTES]
    memset(&hold, 0, sizeof(hold))
    hold.campaign, hold.event_seq = state[0], state[1]
    hold.owned_since_ns, hold.owned_until_ns = state[2], state[3]
    hold.reserved_since_ns, hold.reserved_until_ns = state[4], state[5]
    hold.dialer, hold.last_attempt_ns = state[6], state[7]
    cdef size_t size = hold_encode(&hold, now_ns, value)
    return value[:size]


def decode(bytes value):
    """Return the state that a value says, or None if it is none."""
    cdef Hold hold
    cdef MDB_val row = val_of(slice_of(<const char *> value, len(value)))
    if not hold_decode(&row, &hold):
        return None
    return (
        hold.campaign, hold.event_seq, hold.owned_since_ns, hold.owned_until_ns,
        hold.reserved_since_ns, hold.reserved_until_ns, hold.dialer, hold.last_attempt_ns,
    )


# --- the small tables -----------------------------------------------------------------------------

cdef int64_t only_step(void *context) noexcept nogil:
    """Let one step be made, however long it takes."""
    cdef bint *made = <bint *> context
    if made[0]:
        return STOP_STEPPING
    made[0] = True
    return 1 << 60


cdef class SmallTables:
    """Rows of the small tables, in memtables over a tree, without a store around them."""

    cdef Tree *tree
    cdef Memtables memtables
    cdef Tables tables
    cdef Flush flush
    cdef StateRow state

    def __init__(self, str directory):
        cdef map[string, RowVersion] rows
        memset(&self.state, 0, sizeof(self.state))
        self.state.format = STATE_FORMAT
        tree_create(directory, &self.state, &rows)
        self.tree = self.tables.tree = tree_open(directory, 1 << 26)
        self.tables.memtables = &self.memtables
        memtables_init(&self.memtables, 1 << 20)

    def __dealloc__(self):
        self.close()

    def close(self):
        """Let go of the tree; no cursor may be open."""
        if self.tree != NULL:
            tree_close(self.tree)
            self.tree = NULL

    def commit(self, changes):
        """Put rows as (table, key, value), the value None to delete one, as the next revision."""
        cdef map[string, RowVersion] rows
        cdef RowVersion *row
        cdef string place
        for table, key, value in changes:
            held, given = <bytes> key, <bytes> (value or b"")
            place_row(&place, <Table> <int> table, slice_of(<const char *> held, len(held)))
            row = &rows[place]
            row.is_gone = value is None
            row.value.assign(<const char *> given, len(given))
        self.state.revision += 1
        memtables_put_rows(&self.memtables, &rows, self.state.revision)

    def rotate(self):
        """Make what is committed immutable, unless something is."""
        rotate(&self.memtables, tree_flushed(self.tree), &self.state)

    def flush_step(self, uint64_t rows):
        """Bring so many of the immutable rows into the tree."""
        cdef bint made = False
        self.tree.step_records = rows
        if has_immutable(&self.memtables) and flush_memtable(
            &self.flush, self.tree, self.memtables.immutable, only_step, &made
        ) != MDB_SUCCESS:
            raise OSError("a step of the flush failed")

    def drop_flushed(self):
        """Let go of the immutable rows, if all are in the tree."""
        drop_flushed(&self.memtables, tree_flushed(self.tree))

    def tend(self, uint64_t fill_permille):
        """Do what maintenance does beside the writer; return whether (a spare, a dropped one) was
        there before.
        """
        was = self.memtables.spare.get() != NULL, self.memtables.dropped.get() != NULL
        tend_memtables(&self.memtables, fill_permille)
        return was


cdef class SmallTablesCursor:
    """A cursor over one of the tables; each move returns the row (key, value), None at the end."""

    cdef SmallTables owner
    cdef TableCursor cursor

    def __init__(self, SmallTables tables, int table):
        if cursor_open(&tables.tables, <Table> table, &self.cursor) != MDB_SUCCESS:
            raise OSError("there are too many cursors")
        self.owner = tables

    def __dealloc__(self):
        self.close()

    def close(self):
        if self.owner is not None:
            cursor_close(&self.cursor)
            self.owner = None

    cdef _row(self, bint moved):
        if not moved:
            return None
        key, value = self.cursor.key, self.cursor.value
        return (
            <bytes> (<const char *> key.mv_data)[:key.mv_size],
            <bytes> (<const char *> value.mv_data)[:value.mv_size],
        )

    def next(self):
        return self._row(cursor_next(&self.cursor))

    def previous(self):
        return self._row(cursor_previous(&self.cursor))

    def last(self):
        return self._row(cursor_last(&self.cursor))

    def seek(self, bytes key):
        return self._row(cursor_seek(&self.cursor, slice_of(<const char *> key, len(key))))

    def count(self, int table):
        return cursor_count(&self.cursor, <Table> table)


# --- the log --------------------------------------------------------------------------------------

cdef LogOptions _options(options):
    cdef LogOptions chosen = default_log_options()
    for name, value in options.items():
        if name == "segment_bytes":
            chosen.segment_bytes = chosen.first_bytes = value
        elif name == "append_bytes":
            chosen.append_bytes = value
        elif name == "keep_bytes":
            chosen.keep_bytes = value
        elif name == "keep_ns":
            chosen.keep_ns = value
        else:
            raise TypeError(f"{name} is no option of the log")
    return chosen


cdef void _add_row(LogEntry *entry, uint32_t table, bytes key, value) except *:
    cdef bytes held
    if value is None:
        entry_delete(entry, table, slice_of(<const char *> key, len(key)))
    else:
        held = value
        entry_put(
            entry, table, slice_of(<const char *> key, len(key)),
            slice_of(<const char *> held, len(held)),
        )


cdef _rows(RowCursor cursor):
    """Return an entry's rows as (table, key, value); None for the value of one that is gone."""
    cdef LogRow row
    cdef RowFound found = row_next(&cursor, &row)
    rows = []
    while found == ROW_FOUND:
        key = <bytes> row.key.data[:row.key.size]
        value = None if row.is_gone else <bytes> row.value.data[:row.value.size]
        rows.append((row.table, key, value))
        found = row_next(&cursor, &row)
    if found != ROWS_END:
        raise ValueError("what is there cannot be rows")
    return rows


def rows_in(bytes data, uint32_t count):
    """Return the rows that bytes, behind an entry's head, hold.

    Raises:
        ValueError: they are not so many rows.
    """
    cdef RowCursor cursor
    cursor.at = <const char *> data
    cursor.end = cursor.at + len(data)
    cursor.rows_left = count
    return _rows(cursor)


cdef class SegmentLog:
    """A log of segments in a directory. Rows are (table, key, value), the value None if deleted.

    Append, end and tail are for one thread, prepare and trim for one, the rest for any. Statuses
    are "ok", "more", "full" and "failed".
    """

    cdef FileLog *log
    cdef LogEntry entry

    @staticmethod
    def create(str directory, uint64_t store_id, uint64_t revision=0, **options):
        """Make an empty log that begins behind a revision."""
        cdef LogOptions chosen = _options(options)
        file_log_create(directory, store_id, revision, &chosen)

    def __init__(self, str directory, uint64_t store_id, uint64_t flushed_revision=0, **options):
        cdef LogOptions chosen = _options(options)
        self.log = file_log_acquire(directory, store_id, flushed_revision, &chosen)
        entry_begin(&self.entry)

    def __dealloc__(self):
        self.close()

    def close(self):
        """Let go of it, as a crash does."""
        if self.log != NULL:
            file_log_release(self.log)
            self.log = NULL

    def append(self, rows, uint64_t revision, int64_t time_ns=0):
        """Append one group."""
        cdef LogStatus status
        for table, key, value in rows:
            _add_row(&self.entry, table, key, value)
        with nogil:
            status = file_log_append(self.log, &self.entry, revision, time_ns)
        return _STATUSES[status]

    def append_many(self, bytes value, uint64_t count, int64_t time_ns=0):
        """Append `count` groups of one row each, whose values are the same."""
        cdef LogStatus status = LOG_OK
        cdef Slice held = slice_of(<const char *> value, len(value))
        cdef uint64_t i = 0
        with nogil:
            while i < count and status == LOG_OK:
                entry_put(&self.entry, 0, slice_of(&i, sizeof(i)), held)
                status = file_log_append(
                    self.log, &self.entry, file_log_revision(self.log) + 1, time_ns
                )
                i += 1
        return _STATUSES[status]

    def end(self, int64_t time_ns=0):
        """Write the end entry."""
        return _STATUSES[file_log_end(self.log, time_ns)]

    def prepare_step(self):
        """Make one step towards the next segment."""
        cdef LogStatus status
        with nogil:
            status = file_log_prepare(self.log)
        return _STATUSES[status]

    def prepare(self):
        """Make the next segment."""
        status = "more"
        while status == "more":
            status = self.prepare_step()
        return status

    def trim_step(self, uint64_t flushed_revision, int64_t now_ns=0, bint keep=True):
        """Remove the oldest segment if it may go."""
        cdef LogStatus status
        with nogil:
            status = file_log_trim(self.log, flushed_revision, now_ns, keep)
        return _STATUSES[status]

    def trim(self, uint64_t flushed_revision, int64_t now_ns=0, bint keep=True):
        """Remove all segments that may go."""
        status = "more"
        while status == "more":
            status = self.trim_step(flushed_revision, now_ns, keep)
        return status

    @property
    def tail(self):
        """The end as (revision, time, segment, offset, whether it was ended cleanly)."""
        cdef LogTail tail = file_log_tail(self.log)
        return tail.revision, tail.time_ns, tail.segment, tail.offset, bool(tail.is_end)

    @property
    def room(self):
        return file_log_room(self.log)

    @property
    def error(self):
        return file_log_error(self.log)

    @property
    def revision(self):
        return file_log_revision(self.log)

    @property
    def oldest(self):
        return file_log_oldest(self.log)

    @property
    def is_next_ready(self):
        return bool(file_log_next_ready(self.log))

    @property
    def file_bytes(self):
        return file_log_bytes(self.log)


cdef class SegmentReader:
    """A reader of a log, which it keeps, behind a revision; `status` is what beginning gave."""

    cdef SegmentLog owner
    cdef LogReader reader
    cdef readonly str status

    def __init__(self, SegmentLog log, uint64_t after_revision=0):
        self.owner = log
        self.status = _READS[<int> file_log_read(log.log, after_revision, &self.reader)]

    def next(self):
        """Return the next entry as (revision, time, rows), or why there is none."""
        cdef ReadEntry found
        cdef ReadStatus status
        with nogil:
            status = log_reader_next(&self.reader, &found)
        if status != READ_ENTRY:
            return _READS[<int> status]
        rows = _rows(found.rows)
        if len(rows) != found.row_count:
            raise ValueError("an entry has another number of rows than it says")
        return found.revision, found.time_ns, rows


# --- a disk that fails ----------------------------------------------------------------------------

cdef DiskApi real = disk
cdef atomic[int64_t] calls_to_come    # before the one that fails
cdef atomic[int64_t] calls_seen
cdef int code_given
cdef bint is_short
cdef bint goes_on
cdef int hit                          # how many calls failed
cdef atomic[int] held                 # whether syncs of files wait
cdef atomic[int] waiting              # how many do

_CALLS = ("write", "read", "sync", "name")
cdef enum Call:
    WRITES = 1
    READS = 2
    SYNCS = 4
    NAMES = 8
cdef int kinds


cdef bint fails(Call kind) noexcept nogil:
    """Count a call; True if it is to fail."""
    global hit
    cdef int64_t left
    if not kinds & kind:
        return False
    calls_seen.fetch_add(1)
    left = calls_to_come.fetch_sub(1)
    if left == 0 or (goes_on and left < 0):
        hit += 1
        return True
    return False


cdef int refuse() noexcept nogil:
    libc.errno.errno = code_given
    return -1


cdef int on_openat(int directory, const char *name, int flags, mode_t mode) noexcept nogil:
    return refuse() if fails(NAMES) else real.openat(directory, name, flags, mode)


cdef ssize_t on_pread(int fd, void *data, size_t size, off_t offset) noexcept nogil:
    return refuse() if fails(READS) else real.pread(fd, data, size, offset)


cdef ssize_t on_pwrite(int fd, const void *data, size_t size, off_t offset) noexcept nogil:
    if not fails(WRITES):
        return real.pwrite(fd, data, size, offset)
    if is_short and size > 1:
        return real.pwrite(fd, data, size // 2, offset)
    return refuse()


cdef int on_fallocate(int fd, int mode, off_t offset, off_t size) noexcept nogil:
    return refuse() if fails(WRITES) else real.fallocate(fd, mode, offset, size)


cdef int on_fdatasync(int fd) noexcept nogil:
    waiting.fetch_add(1)
    while held.load():
        usleep(100)
    waiting.fetch_sub(1)
    return refuse() if fails(SYNCS) else real.fdatasync(fd)


cdef int on_fsync(int fd) noexcept nogil:
    return refuse() if fails(SYNCS) else real.fsync(fd)


cdef int on_renameat(int before, const char *name, int after, const char *other) noexcept nogil:
    return refuse() if fails(NAMES) else real.renameat(before, name, after, other)


cdef int on_unlinkat(int directory, const char *name, int flags) noexcept nogil:
    return refuse() if fails(NAMES) else real.unlinkat(directory, name, flags)


class DiskFaults:
    """While its block runs, one call to the disk of this process fails: that after the first
    `passes`.

    Args:
        passes: how many calls succeed; None: none fails, they are counted only.
        code: the errno that it fails with.
        partial: a write does half of it instead.
        goes_on: all calls after it fail too.
        kinds: which calls are counted and fail, out of "write", "read", "sync" and "name".

    Not while another thread may use a file as the block begins or ends.
    """

    def __init__(
        self, passes, code, *, partial=False, goes_on=False, kinds=("write", "sync", "name")
    ):
        self._given = passes, code, partial, goes_on, kinds

    def __enter__(self):
        global code_given, is_short, goes_on, kinds, hit
        passes, code, partial, always, which = self._given
        calls_to_come.store(1 << 60 if passes is None else passes)
        calls_seen.store(0)
        code_given, is_short, goes_on, hit = code, partial, always, 0
        kinds = sum(1 << _CALLS.index(name) for name in which)
        disk.openat = on_openat
        disk.pread = on_pread
        disk.pwrite = on_pwrite
        disk.fallocate = on_fallocate
        disk.fdatasync = on_fdatasync
        disk.fsync = on_fsync
        disk.renameat = on_renameat
        disk.unlinkat = on_unlinkat
        return self

    def __exit__(self, *exception):
        global disk
        held.store(0)
        disk.openat = real.openat
        disk.pread = real.pread
        disk.pwrite = real.pwrite
        disk.fallocate = real.fallocate
        disk.fdatasync = real.fdatasync
        disk.fsync = real.fsync
        disk.renameat = real.renameat
        disk.unlinkat = real.unlinkat

    def hold(self):
        """Have syncs of files wait, also those that fail."""
        held.store(1)

    def let_go(self):
        """Let the syncs that wait go on, and all others."""
        held.store(0)

    @property
    def is_waited_for(self):
        """Whether a sync waits."""
        return held.load() != 0 and waiting.load() > 0

    @property
    def has_failed(self):
        """Whether it came to that call."""
        return hit > 0

    @property
    def count(self):
        """How many calls there were."""
        return calls_seen.load()


# --- the walker -----------------------------------------------------------------------------------

_SIGHTS = ("unsure", "absent", "found")


def walker_proved():
    """Tell whether the walker agrees with LMDB here."""
    return bool(walker_agrees())


cdef void take_sight(
    void *context, const Sought *sought, Sight sight, const MDB_val *value
) noexcept with gil:
    cdef list seen = <list> context
    found = None
    if sight == SIGHT_FOUND:
        found = (<size_t> value.mv_data, value.mv_size)
    seen[<Py_ssize_t> sought.number] = (_SIGHTS[<int> sight], found)


cdef list walk(const Walker *walker, list keys):
    """Return (sight, (where its value lies, of what size) or None) of each key."""
    cdef vector[Sought] sought
    cdef Sought one
    seen = [None] * len(keys)
    for number, key in enumerate(keys):
        held = <bytes> key
        one.key, one.key_size, one.number = <const char *> held, len(held), number
        sought.push_back(one)
    if not sought.empty():
        walker_find(walker, &sought[0], sought.size(), take_sight, <void *> seen)
    return seen


def walk_pages(bytes pages, size_t page_bytes, uint64_t root, int depth, list keys):
    """Walk what may be no tree at all: (sight, its value's (place, size) or None) of each key."""
    cdef Walker walker
    walker_init(&walker, True, 0)
    walker.page_bytes, walker.root, walker.depth = page_bytes, root, depth
    walker.map = <const char *> pages
    walker.last_page = len(pages) // page_bytes - 1
    begin = <size_t> walker.map
    return [
        (sight, None if at is None else (at[0] - begin, at[1]))
        for sight, at in walk(&walker, keys)
    ]


cdef class RecordRows:
    """The rows of the record tree's largest table, changed and looked up without a store."""

    cdef Tree *tree
    cdef bint walks

    def __init__(self, str directory):
        cdef StateRow state
        cdef map[string, RowVersion] rows
        memset(&state, 0, sizeof(state))
        state.format = STATE_FORMAT
        tree_create(directory, &state, &rows)
        self.tree = tree_open(directory, 1 << 28)

    def __dealloc__(self):
        self.close()

    def close(self):
        if self.tree != NULL:
            tree_close(self.tree)
            self.tree = NULL

    def commit(self, changes):
        """Put rows as (key, value), the value None to delete one, in one transaction."""
        cdef MDB_txn *txn
        cdef MDB_val where, row
        cdef int code = lmdb.txn_begin(self.tree.environment.env, NULL, 0, &txn)
        for key, value in changes:
            held, given = <bytes> key, <bytes> (value or b"")
            where = val_of(slice_of(<const char *> held, len(held)))
            row = val_of(slice_of(<const char *> given, len(given)))
            if code == MDB_SUCCESS and value is not None:
                code = lmdb.put(txn, self.tree.tables[<int> RECORDS], &where, &row, 0)
            elif code == MDB_SUCCESS:
                code = lmdb.delete(txn, self.tree.tables[<int> RECORDS], &where, NULL)
                code = MDB_SUCCESS if code == MDB_NOTFOUND else code
        if code == MDB_SUCCESS:
            code = lmdb.txn_commit(txn)
        if code != MDB_SUCCESS:
            raise OSError(lmdb.strerror(code).decode())

    def begin(self):
        """Begin reading, as of now; True if the walker may be used."""
        tree_rest(self.tree)
        if tree_read(self.tree) != MDB_SUCCESS:
            raise OSError("cannot read")
        self.walks = tree_walk(self.tree)
        return self.walks

    def walk(self, list keys):
        """Look keys up by the walker: (sight, (where its value lies, of what size) or None)."""
        assert self.walks
        return walk(&self.tree.walker, keys)

    def get(self, bytes key):
        """Look a key up by LMDB: (where its value lies, of what size), or None."""
        cdef MDB_val where = val_of(slice_of(<const char *> key, len(key))), value
        cdef int code = lmdb.get(
            self.tree.reader, self.tree.tables[<int> RECORDS], &where, &value
        )
        if code == MDB_NOTFOUND:
            return None
        if code != MDB_SUCCESS:
            raise OSError(lmdb.strerror(code).decode())
        return <size_t> value.mv_data, value.mv_size

    @property
    def shape(self):
        """(bytes of a page, the root's number, levels of pages) of what is read."""
        cdef const Walker *walker = &self.tree.walker
        return walker.page_bytes, walker.root, walker.depth


cdef int (*true_get)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *) noexcept nogil


cdef int lying_get(MDB_txn *txn, MDB_dbi table, MDB_val *key, MDB_val *value) noexcept nogil:
    """Find no record; a record's key begins with its list's number."""
    if key.mv_size > 5 and (<const char *> key.mv_data)[0] == 0:
        return MDB_NOTFOUND
    return true_get(txn, table, key, value)


class RecordsUnfound:
    """While its context lasts, LMDB finds no record."""

    def __enter__(self):
        global true_get
        true_get = lmdb.get
        lmdb.get = lying_get
        return self

    def __exit__(self, *exception):
        lmdb.get = true_get
