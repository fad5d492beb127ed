"""Dialers: the names that claims were made under, as numbers, and what they gave back (R22, R23).

A dialer belongs to a campaign. It gets a number with its first reservation, and keeps it until all
its reservations have ended and some time more; then it is forgotten with what it gave back, and
another one may have the number: what a record still says of it is over by then. So their number is
bounded by those that dial, and beyond that by DIALERS_MOST.

A dialer's row says until when it is needed at least, with some slack, so that it is not written for
every claim. Everything is in memory too, as in the catalog.
"""

from cython.operator cimport dereference, preincrement
from libc.string cimport memcpy, memset

from ownerd.base.assertions cimport assert_that
from ownerd.base.atomics cimport flag_set
from ownerd.base.bytes cimport (
    empty_slice, get_be32, get_be64, put_be32, put_be64, slice_of, text_slice,
)
from ownerd.base.lmdb cimport MDB_CORRUPTED, MDB_SUCCESS
from ownerd.rules.ownership cimport NO_DIALER, time_after
from ownerd.storage.give_backs cimport give_backs_add
from ownerd.storage.notes cimport NOTE_GIVEN_BACK, GivenBackNote
from ownerd.storage.table_cursor cimport (
    TableCursor, cursor_close, cursor_next, cursor_open,
)
from ownerd.storage.tables cimport DIALERS, GIVE_BACKS, DialerRow
from ownerd.storage.transaction cimport delete_row, note_change, put_row

cdef enum:
    GIVE_BACK_KEY_BYTES = 16

cdef int64_t SLACK_NS = 3_600_000_000_000   # a row is written at most about once in this


cdef void dialers_init(Dialers *dialers, Transaction *txn) noexcept nogil:
    dialers.txn = txn
    dialers.given = SharedGiveBacks(new GiveBacks())
    dialers.shared = False
    dialers.looked_at = 0
    dialers.count = 0
    dialers.all.resize(1)             # nobody has the number of no dialer
    dialers.all[0].known = False


cdef string name_of(uint32_t campaign, Slice dialer_id) noexcept nogil:
    """Return what a dialer is found by."""
    cdef string name = string(<const char *> &campaign, sizeof(campaign))
    name.append(dialer_id.data, dialer_id.size)
    return name


# --- names ----------------------------------------------------------------------------------------

cdef uint32_t find_dialer(Dialers *dialers, uint32_t campaign, Slice dialer_id) noexcept nogil:
    cdef unordered_map[string, uint32_t].iterator found
    if dialer_id.size == 0:
        return NO_DIALER
    found = dialers.numbers.find(name_of(campaign, dialer_id))
    if found != dialers.numbers.end():
        return dereference(found).second
    if not dialers.free.empty():
        return dialers.free.back()
    return <uint32_t> dialers.all.size()


cdef bint dialer_known(const Dialers *dialers, uint32_t number) noexcept nogil:
    return number < dialers.all.size() and dialers.all[number].known


cdef bint dialers_full(const Dialers *dialers) noexcept nogil:
    return dialers.numbers.size() >= DIALERS_MOST


cdef Slice dialer_id_of(Dialers *dialers, uint32_t number) noexcept nogil:
    if not dialer_known(dialers, number):
        return empty_slice()
    return text_slice(dialers.all[number].id)


cdef void put_dialer(Dialers *dialers, uint32_t number) noexcept nogil:
    cdef char key[4]
    cdef DialerRow row
    cdef Dialer *dialer = &dialers.all[number]
    put_be32(key, number)
    row.until_ns = dialer.until_ns
    row.campaign = dialer.campaign
    row.unused = 0
    put_row(
        dialers.txn, DIALERS, slice_of(key, 4), slice_of(&row, sizeof(row)), text_slice(dialer.id)
    )


cdef void keep_dialer(
    Dialers *dialers, uint32_t number, uint32_t campaign, Slice dialer_id, int64_t until_ns
) noexcept nogil:
    cdef Dialer *dialer
    while dialers.all.size() <= number:
        dialers.all.resize(dialers.all.size() + 1)
        dialers.all.back().known = False
    dialer = &dialers.all[number]
    dialer.id.assign(dialer_id.data, dialer_id.size)
    dialer.campaign, dialer.until_ns, dialer.known = campaign, until_ns, True
    dialers.numbers[name_of(campaign, dialer_id)] = number
    flag_set(&dialers.count, dialers.numbers.size())


cdef void add_dialer(Dialers *dialers, uint32_t campaign, Slice dialer_id) noexcept nogil:
    """Give a dialer the number that `find_dialer` told; its row follows with its reservation."""
    cdef uint32_t number = find_dialer(dialers, campaign, dialer_id)
    assert_that(not dialer_known(dialers, number), "a dialer is added once")
    if not dialers.free.empty():
        dialers.free.pop_back()
    keep_dialer(dialers, number, campaign, dialer_id, 0)
    dialers.added.push_back(number)


cdef void dialer_reserves(Dialers *dialers, uint32_t number, int64_t until_ns) noexcept nogil:
    cdef DialerUndo undo
    if not dialer_known(dialers, number) or until_ns <= dialers.all[number].until_ns:
        return
    undo.number, undo.until_ns = number, dialers.all[number].until_ns
    dialers.extended.push_back(undo)
    dialers.all[number].until_ns = time_after(until_ns, SLACK_NS)
    put_dialer(dialers, number)


# --- what they gave back --------------------------------------------------------------------------

cdef SharedGiveBacks share_given(Dialers *dialers) noexcept nogil:
    dialers.shared = True
    return dialers.given


cdef GiveBacks *given_to_change(Dialers *dialers) noexcept nogil:
    cdef GiveBacks *copy
    if dialers.shared:
        copy = new GiveBacks()
        copy.by_dialer = dialers.given.get().by_dialer
        dialers.given = SharedGiveBacks(copy)
        dialers.shared = False
    return dialers.given.get()


cdef void give_back_key(char *key, uint32_t number, const GiveBack *entry) noexcept nogil:
    put_be32(key, number)
    put_be32(key + 4, entry.list)
    put_be64(key + 8, <unsigned long long> entry.time_ns)


cdef void put_give_back(Dialers *dialers, uint32_t number, const GiveBack *entry) noexcept nogil:
    cdef char key[GIVE_BACK_KEY_BYTES]
    give_back_key(key, number, entry)
    put_row(
        dialers.txn, GIVE_BACKS, slice_of(key, GIVE_BACK_KEY_BYTES),
        slice_of(&entry.until_ns, sizeof(entry.until_ns)), empty_slice(),
    )


cdef void delete_give_back(
    Dialers *dialers, uint32_t number, const GiveBack *entry
) noexcept nogil:
    cdef char key[GIVE_BACK_KEY_BYTES]
    give_back_key(key, number, entry)
    delete_row(dialers.txn, GIVE_BACKS, slice_of(key, GIVE_BACK_KEY_BYTES))


cdef bint is_needed(
    const GiveBack *entry, uint32_t list_number, int64_t now_ns, int64_t quiet_since_ns
) noexcept nogil:
    """Tell whether an entry says something that a new one, of the same list, does not say.

    With no change of a list in between it makes no difference when a reservation ended.
    """
    if entry.until_ns < now_ns:
        return False
    return entry.list != list_number or entry.time_ns < quiet_since_ns


cdef void note_given_back(
    Dialers *dialers, uint32_t number, const GiveBack *entry
) noexcept nogil:
    cdef GivenBackNote note
    cdef const Dialer *dialer = &dialers.all[number]
    memset(&note, 0, sizeof(note))
    note.time_ns, note.list = entry.time_ns, entry.list
    note.dialer, note.campaign = number, dialer.campaign
    note_change(
        dialers.txn, NOTE_GIVEN_BACK, text_slice(dialer.id), slice_of(&note, sizeof(note))
    )


cdef void dialer_gives_back(
    Dialers *dialers, uint32_t number, uint32_t list_number, int64_t now_ns, int64_t quiet_since_ns
) noexcept nogil:
    """Note that what a known dialer has reserved by now is over, in one list or in all."""
    cdef vector[GiveBack] before, kept
    cdef GiveBacks *given = given_to_change(dialers)
    cdef GiveBack entry
    cdef size_t i
    entry.time_ns, entry.list = now_ns, list_number
    entry.until_ns = dialers.all[number].until_ns
    if given.by_dialer.count(number) != 0:
        before = given.by_dialer[number]
    for i in range(before.size()):
        if is_needed(&before[i], list_number, now_ns, quiet_since_ns):
            kept.push_back(before[i])
        else:
            delete_give_back(dialers, number, &before[i])
    kept.push_back(entry)
    put_give_back(dialers, number, &entry)
    note_given_back(dialers, number, &entry)
    dialers.given_before.push_back(GivenBefore(number, before))
    given.by_dialer[number].swap(kept)


# --- transactions ---------------------------------------------------------------------------------

cdef void dialers_mark(Dialers *dialers) noexcept nogil:
    if dialers.added.size() != 0:
        dialers.added.clear()
    if dialers.extended.size() != 0:
        dialers.extended.clear()
    if dialers.given_before.size() != 0:
        dialers.given_before.clear()


cdef void drop_dialer(Dialers *dialers, uint32_t number) noexcept nogil:
    """Forget a dialer; its number is free."""
    cdef Dialer *dialer = &dialers.all[number]
    dialers.numbers.erase(name_of(dialer.campaign, text_slice(dialer.id)))
    flag_set(&dialers.count, dialers.numbers.size())
    dialer.known = False
    dialer.id.clear()
    dialers.free.push_back(number)


cdef void dialers_rollback(Dialers *dialers) noexcept nogil:
    cdef size_t i
    cdef const GivenBefore *before
    for i in range(dialers.extended.size(), 0, -1):
        dialers.all[dialers.extended[i - 1].number].until_ns = dialers.extended[i - 1].until_ns
    for i in range(dialers.added.size(), 0, -1):
        drop_dialer(dialers, dialers.added[i - 1])
    for i in range(dialers.given_before.size(), 0, -1):
        before = &dialers.given_before[i - 1]
        if before.second.empty():
            given_to_change(dialers).by_dialer.erase(before.first)
        else:
            given_to_change(dialers).by_dialer[before.first] = before.second
    dialers_mark(dialers)


# --- forgetting -----------------------------------------------------------------------------------

cdef bint dialers_over(
    Dialers *dialers, int64_t now_ns, vector[uint32_t] *numbers
) noexcept nogil:
    cdef size_t last = min(dialers.looked_at + DIALERS_PER_STEP, dialers.all.size())
    cdef size_t i, at
    cdef char key[4]
    cdef vector[GiveBack] *given
    for i in range(dialers.looked_at, last):
        if not dialers.all[i].known or dialers.all[i].until_ns >= now_ns:
            continue
        numbers.push_back(<uint32_t> i)
        put_be32(key, <uint32_t> i)
        delete_row(dialers.txn, DIALERS, slice_of(key, 4))
        if dialers.given.get().by_dialer.count(<uint32_t> i) == 0:
            continue
        given = &dialers.given.get().by_dialer[<uint32_t> i]
        for at in range(given.size()):
            delete_give_back(dialers, <uint32_t> i, &given[0][at])
    dialers.looked_at = 0 if last == dialers.all.size() else last
    return dialers.looked_at != 0


cdef void forget_dialers(Dialers *dialers, const vector[uint32_t] *numbers) noexcept nogil:
    cdef size_t i
    for i in range(numbers.size()):
        drop_dialer(dialers, numbers[0][i])
        if dialers.given.get().by_dialer.count(numbers[0][i]) != 0:
            given_to_change(dialers).by_dialer.erase(numbers[0][i])


cdef void set_given_back(Dialers *dialers, int64_t time_ns, int64_t length_ns) noexcept nogil:
    """Have what was given back by a time that was ahead keep its place among the reservations."""
    cdef GiveBacks *given = given_to_change(dialers)
    cdef GiveBack *entry
    cdef size_t i
    it = given.by_dialer.begin()
    while it != given.by_dialer.end():
        for i in range(dereference(it).second.size()):
            entry = &dereference(it).second[i]
            if entry.time_ns > time_ns:
                delete_give_back(dialers, dereference(it).first, entry)
                entry.time_ns -= length_ns
                put_give_back(dialers, dereference(it).first, entry)
        preincrement(it)


# --- from what is committed -----------------------------------------------------------------------

cdef int load_names(Dialers *dialers) noexcept nogil:
    cdef TableCursor scan
    cdef DialerRow row
    cdef size_t i
    cdef int code = cursor_open(dialers.txn.tables, DIALERS, &scan)
    if code != MDB_SUCCESS:
        return code
    while cursor_next(&scan):
        if scan.key.mv_size != 4 or scan.value.mv_size < sizeof(row):
            code = MDB_CORRUPTED
            break
        memcpy(&row, scan.value.mv_data, sizeof(row))
        keep_dialer(
            dialers, get_be32(<const char *> scan.key.mv_data), row.campaign,
            slice_of(
                <const char *> scan.value.mv_data + sizeof(row), scan.value.mv_size - sizeof(row)
            ),
            row.until_ns,
        )
    for i in range(1, dialers.all.size()):
        if not dialers.all[i].known:
            dialers.free.push_back(<uint32_t> i)
    return cursor_close(&scan) or code


cdef int load_given(Dialers *dialers) noexcept nogil:
    cdef TableCursor scan
    cdef GiveBack entry
    cdef const char *key
    cdef int code = cursor_open(dialers.txn.tables, GIVE_BACKS, &scan)
    if code != MDB_SUCCESS:
        return code
    while cursor_next(&scan):
        if scan.key.mv_size != GIVE_BACK_KEY_BYTES \
                or scan.value.mv_size != sizeof(entry.until_ns):
            code = MDB_CORRUPTED
            break
        key = <const char *> scan.key.mv_data
        entry.list = get_be32(key + 4)
        entry.time_ns = <int64_t> get_be64(key + 8)
        memcpy(&entry.until_ns, scan.value.mv_data, sizeof(entry.until_ns))
        give_backs_add(dialers.given.get(), get_be32(key), &entry)
    return cursor_close(&scan) or code


cdef int load_dialers(Dialers *dialers) noexcept nogil:
    cdef int code = load_names(dialers)
    return code if code != MDB_SUCCESS else load_given(dialers)
