"""The memtables: what was committed to the log and is not in the record tree yet.

Of records, a memtable is an append-only arena of entries with a hash index of the newest entry of
each; rows of the small tables lie beside it (`rows`).
One memtable is active: the writer thread appends to it. When it is full, or a vacuum begins, it is
made immutable: nothing changes in it any more, and it is dropped once the record tree has what it
holds.

Invariants:
- An entry that was committed never changes or moves while its memtable lives, so that a snapshot is
  a memtable with the place where it ended: everything before that place stays as it was. What a
  transaction appended can be rolled back until it commits.
- Only the writer touches the index and appends; the sorted runs are made by whoever needs them.
- A memtable's memory is bounded when it is made; `memtable_fits` is asked before a group is
  decided.

It reads no store and judges no record.
"""

import os

from libc.stdlib cimport abort, malloc
from libc.string cimport memcmp, memcpy, memset
from libcpp.algorithm cimport sort

from ownerd.base.assertions cimport ASSERTING, assert_that
from ownerd.storage.rows cimport rows_init

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t, size_t)

cdef extern from "<sys/mman.h>" nogil:
    int madvise(void *, size_t, int)
    int MADV_HUGEPAGE

cdef enum:
    HUGE_PAGE_BYTES = 1 << 21
    UNIT_BYTES = 8
    CHUNK_BYTES = 1 << 18
    CHUNK_UNITS = CHUNK_BYTES // UNIT_BYTES
    LONGEST_ENTRY_BYTES = 192         # 6 + 133 + 52, in whole units
    COMMON_ENTRY_UNITS = 6            # of a record with a number as its id and one span
    SLOTS_MIN = 1 << 15               # the largest batch fits into an empty memtable
    ARENA_BYTES_MIN = 1 << 20
    BYTES_PER_SLOT = 46               # a slot, and four fifths of a common entry
    RUN_UNITS_MIN = 1 << 13           # shorter tails are sorted for one snapshot only
    TREE_ROW_BYTES = 14               # LMDB's node header and pointer, our checksum

cdef uint64_t hash_seed = int.from_bytes(os.urandom(8), "little")


cdef Slot *slots_new(Memtable *memtable, uint64_t slot_count) noexcept nogil:
    """Return free slots. Large pages make random look-ups cheaper, where the kernel gives them."""
    cdef void *slots = aligned_alloc(
        HUGE_PAGE_BYTES, (slot_count * sizeof(Slot) // HUGE_PAGE_BYTES + 1) * HUGE_PAGE_BYTES
    )
    if slots == NULL:
        abort()
    memtable.blocks.all.push_back(slots)
    madvise(slots, slot_count * sizeof(Slot), MADV_HUGEPAGE)
    memset(slots, 0, slot_count * sizeof(Slot))
    return <Slot *> slots


cdef Memtable *memtable_new(uint64_t memtable_bytes) noexcept nogil:
    """Return an empty memtable that takes about `memtable_bytes` of memory when it is full."""
    cdef Memtable *memtable = new Memtable()
    cdef uint64_t slot_count = max(<uint64_t> SLOTS_MIN, memtable_bytes // BYTES_PER_SLOT)
    memtable.slots = slots_new(memtable, slot_count)
    memtable.slot_count = slot_count
    memtable.record_limit = slot_count * 4 // 5
    memtable.end_limit = max(
        <uint64_t> ARENA_BYTES_MIN,
        memtable_bytes - min(memtable_bytes, slot_count * sizeof(Slot)),
    ) // UNIT_BYTES
    memtable.end = memtable.run_end = 0
    memtable.record_count = memtable.growth_bytes = memtable.state.revision = 0
    rows_init(&memtable.rows)
    memtable.record_delta = 0
    memtable_mark(memtable)
    return memtable


cdef uint32_t record_hash(const char *key, size_t size) noexcept nogil:
    """Return a key's hash, seeded anew in each process so that ids cannot be made to collide."""
    cdef uint64_t hash = hash_seed ^ size
    cdef uint64_t word
    while size >= 8:
        memcpy(&word, key, 8)
        hash = mix(hash ^ word)
        key += 8
        size -= 8
    word = 0
    memcpy(&word, key, size)
    return <uint32_t> (mix(hash ^ word) >> 32)


cdef inline uint64_t mix(uint64_t value) noexcept nogil:
    """Spread a 64-bit value's bits (the finalizer of SplitMix64)."""
    value = (value ^ (value >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    value = (value ^ (value >> 27)) * <uint64_t> 0x94D049BB133111EB
    return value ^ (value >> 31)


cdef inline const Entry *entry_at(const vector[char *] *chunks, uint64_t place) noexcept nogil:
    return <const Entry *> (chunks[0][place // CHUNK_UNITS] + place % CHUNK_UNITS * UNIT_BYTES)


cdef inline uint64_t entry_units(size_t key_size, size_t value_size) noexcept nogil:
    return (sizeof(Entry) + key_size + value_size + UNIT_BYTES - 1) // UNIT_BYTES


cdef uint64_t used_units(const Memtable *memtable) noexcept nogil:
    """Return what records and rows take, in units of the arena."""
    return memtable.end + memtable.rows.bytes // UNIT_BYTES


cdef bint memtable_fits(Memtable *memtable, uint64_t record_count) noexcept nogil:
    """Tell whether a group of so many records may be put; an empty memtable takes any batch."""
    if used_units(memtable) == 0:
        return True
    return memtable.record_count + record_count <= memtable.record_limit \
        and used_units(memtable) < memtable.end_limit


cdef uint64_t memtable_fill(Memtable *memtable) noexcept nogil:
    """Return how full a memtable is, in thousandths."""
    return max(
        memtable.record_count * 1000 // memtable.record_limit,
        used_units(memtable) * 1000 // memtable.end_limit,
    )


cdef const Entry *memtable_find(
    Memtable *memtable, uint32_t hash, const char *key, size_t key_size
) noexcept nogil:
    """Return the newest entry of a record, or NULL."""
    cdef uint64_t at = first_slot(memtable, hash)
    cdef const Entry *entry
    while memtable.slots[at].place != 0:
        if memtable.slots[at].hash == hash:
            entry = entry_at(&memtable.chunks, memtable.slots[at].place - 1)
            if entry.key_size == key_size and memcmp(entry_key(entry), key, key_size) == 0:
                return entry
        at = at + 1 if at + 1 < memtable.slot_count else 0
    return NULL


cdef Entry *append_entry(Memtable *memtable, uint64_t units) noexcept nogil:
    """Return the place for an entry at the end of the arena, in a new chunk if need be."""
    cdef uint64_t left = CHUNK_UNITS - memtable.end % CHUNK_UNITS
    cdef char *chunk
    cdef Entry *entry
    assert_that(units * UNIT_BYTES <= LONGEST_ENTRY_BYTES, "no entry is longer than the longest")
    if left < units:                  # mark the rest of the chunk as unused
        (<Entry *> entry_at(&memtable.chunks, memtable.end)).key_size = 0
        memtable.end += left
    if memtable.end // CHUNK_UNITS == memtable.chunks.size():
        chunk = <char *> malloc(CHUNK_BYTES)
        if chunk == NULL:
            abort()
        memtable.blocks.all.push_back(chunk)
        memtable.chunks.push_back(chunk)
    entry = <Entry *> entry_at(&memtable.chunks, memtable.end)
    memtable.end += units
    return entry


cdef void memtable_put(
    Memtable *memtable, uint32_t hash, Slice key, Slice value
) noexcept nogil:
    """Append a record's new state, which is found from now on; an empty value: it is gone."""
    assert_that(0 < key.size <= 0xFF and value.size <= 0xFF, "sizes fit into a byte")
    cdef Entry *entry = append_entry(memtable, entry_units(key.size, value.size))
    cdef uint64_t place, at = first_slot(memtable, hash)
    cdef const Entry *there
    cdef SlotUndo undo
    entry.hash = hash
    entry.key_size = <uint8_t> key.size
    entry.value_size = <uint8_t> value.size
    memcpy(<char *> entry_key(entry), key.data, key.size)
    if value.size != 0:
        memcpy(<char *> entry_value(entry), value.data, value.size)
    place = memtable.end - entry_units(key.size, value.size)
    while memtable.slots[at].place != 0:
        if memtable.slots[at].hash == hash:
            there = entry_at(&memtable.chunks, memtable.slots[at].place - 1)
            if there.key_size == key.size and memcmp(entry_key(there), key.data, key.size) == 0:
                break
        at = at + 1 if at + 1 < memtable.slot_count else 0
    undo.slot = at
    undo.before = memtable.slots[at]
    memtable.undo.push_back(undo)
    if memtable.slots[at].place == 0:
        memtable.record_count += 1
        memtable.growth_bytes += key.size + value.size + TREE_ROW_BYTES
    memtable.slots[at].hash = hash
    memtable.slots[at].place = <uint32_t> place + 1
    assert_that(memtable.record_count < memtable.slot_count, "a search ends at a free slot")
    if ASSERTING:
        assert_that(
            memtable_find(memtable, hash, key.data, key.size) == entry, "what was put is found"
        )


cdef void memtable_mark(Memtable *memtable) noexcept nogil:
    """Remember the state that `memtable_rollback` goes back to."""
    memtable.undo.clear()
    memtable.marked_end = memtable.end
    memtable.marked_record_count = memtable.record_count
    memtable.marked_record_delta = memtable.record_delta
    memtable.marked_growth_bytes = memtable.growth_bytes


cdef void memtable_rollback(Memtable *memtable) noexcept nogil:
    """Undo everything put since the mark."""
    cdef SlotUndo *undo
    while not memtable.undo.empty():
        undo = &memtable.undo.back()
        memtable.slots[undo.slot] = undo.before
        memtable.undo.pop_back()
    assert_that(memtable.marked_end <= memtable.end, "an arena only grows until it is rolled back")
    assert_that(
        memtable.marked_record_count <= memtable.record_count, "records only come until then"
    )
    memtable.end = memtable.marked_end
    memtable.record_count = memtable.marked_record_count
    memtable.record_delta = memtable.marked_record_delta
    memtable.growth_bytes = memtable.marked_growth_bytes


# --- in key order ---------------------------------------------------------------------------------

# An entry with the first 16 bytes of its key as numbers: most keys differ there.
cdef struct SortItem:
    uint64_t high
    uint64_t low
    const Entry *entry
    uint64_t place


cdef int compare_keys(
    const char *left, size_t left_size, const char *right, size_t right_size
) noexcept nogil:
    """Compare as LMDB does: by bytes, a prefix before what continues it."""
    cdef int order = memcmp(left, right, min(left_size, right_size))
    if order != 0:
        return order
    return (left_size > right_size) - (left_size < right_size)


cdef bint item_before(const SortItem &left, const SortItem &right) noexcept nogil:
    """Order by key, the newest entry of a record first."""
    cdef int order
    if left.high != right.high:
        return left.high < right.high
    if left.low != right.low:
        return left.low < right.low
    order = compare_keys(
        entry_key(left.entry), left.entry.key_size, entry_key(right.entry), right.entry.key_size
    )
    return order < 0 if order != 0 else left.place > right.place


cdef bint same_key(const Entry *left, const Entry *right) noexcept nogil:
    return left.key_size == right.key_size \
        and memcmp(entry_key(left), entry_key(right), left.key_size) == 0


cdef void collect_items(
    const vector[char *] *chunks, uint64_t start, uint64_t end, vector[SortItem] *items
) noexcept nogil:
    cdef SortItem item
    cdef const Entry *entry
    while start < end:
        entry = entry_at(chunks, start)
        if entry.key_size == 0:
            start += CHUNK_UNITS - start % CHUNK_UNITS
            continue
        item.high = key_high(entry_key(entry), entry.key_size)
        item.low = key_low(entry_key(entry), entry.key_size)
        item.entry = entry
        item.place = start
        items.push_back(item)
        start += entry_units(entry.key_size, entry.value_size)


cdef void assert_in_order(const Run *run) noexcept nogil:
    cdef const Entry *left
    cdef const Entry *right
    cdef size_t i
    for i in range(1, run.entries.size()):
        left, right = run.entries[i - 1], run.entries[i]
        assert_that(
            compare_keys(entry_key(left), left.key_size, entry_key(right), right.key_size) < 0,
            "a run has each record once, in key order",
        )


cdef Run *sort_run(const vector[char *] *chunks, uint64_t start, uint64_t end) noexcept nogil:
    """Return the records of a stretch of the arena in key order, each as it was last."""
    cdef Run *run = new Run()
    cdef vector[SortItem] items
    cdef size_t i
    items.reserve((end - start) // COMMON_ENTRY_UNITS)   # growing would take twice as much
    collect_items(chunks, start, end, &items)
    sort(items.begin(), items.end(), item_before)
    run.entries.reserve(items.size())
    for i in range(items.size()):
        if i == 0 or not same_key(items[i - 1].entry, items[i].entry):
            run.entries.push_back(items[i].entry)
    if ASSERTING:
        assert_in_order(run)
    return run


cdef Run *merge_runs(const Run *newer, const Run *older) noexcept nogil:
    """Return one run for two; a record that is in both is taken from the newer."""
    cdef Run *merged = new Run()
    cdef size_t i = 0, j = 0
    cdef const Entry *left
    cdef const Entry *right
    cdef int order
    merged.entries.reserve(newer.entries.size() + older.entries.size())
    while i < newer.entries.size() and j < older.entries.size():
        left, right = newer.entries[i], older.entries[j]
        order = compare_keys(
            entry_key(left), left.key_size, entry_key(right), right.key_size
        )
        merged.entries.push_back(right if order > 0 else left)
        i += order <= 0
        j += order >= 0
    while i < newer.entries.size():
        merged.entries.push_back(newer.entries[i])
        i += 1
    while j < older.entries.size():
        merged.entries.push_back(older.entries[j])
        j += 1
    if ASSERTING:
        assert_in_order(merged)
    return merged


cdef void extend_runs(
    Memtable *memtable, const vector[char *] *chunks, uint64_t end
) noexcept nogil:
    """Cover the arena up to `end`; runs of like size are merged, so there are only a few."""
    cdef shared_ptr[Run] merged
    memtable.runs.insert(
        memtable.runs.begin(), shared_ptr[Run](sort_run(chunks, memtable.run_end, end))
    )
    memtable.run_end = end
    while memtable.runs.size() > 1 \
            and 2 * memtable.runs[0].get().entries.size() >= memtable.runs[1].get().entries.size():
        merged = shared_ptr[Run](merge_runs(memtable.runs[0].get(), memtable.runs[1].get()))
        memtable.runs.erase(memtable.runs.begin())
        memtable.runs[0] = merged


cdef void memtable_runs(
    Memtable *memtable, const vector[char *] *chunks, uint64_t end, Runs *runs
) noexcept nogil:
    """Append the runs that show the arena as it was when it ended at `end`, newest first.

    `chunks` is the memtable's own list, or a copy taken by the writer when that was the end.
    """
    cdef uint64_t start = 0
    cdef size_t i
    cdef Runs known
    memtable.guard.lock()
    if memtable.run_end <= end:
        if end - memtable.run_end >= RUN_UNITS_MIN:
            extend_runs(memtable, chunks, end)
        start = memtable.run_end
        known = memtable.runs
    memtable.guard.unlock()           # else: later entries are mixed in, so sort for ourselves
    if start < end:
        runs.push_back(shared_ptr[Run](sort_run(chunks, start, end)))
    for i in range(known.size()):
        runs.push_back(known[i])


cdef shared_ptr[Run] memtable_run(Memtable *memtable) noexcept nogil:
    """Return an immutable memtable's records as one run."""
    cdef shared_ptr[Run] run
    memtable.guard.lock()
    if memtable.runs.size() != 1 or memtable.run_end != memtable.end:
        memtable.runs.clear()
        memtable.runs.push_back(shared_ptr[Run](sort_run(&memtable.chunks, 0, memtable.end)))
        memtable.run_end = memtable.end
    run = memtable.runs[0]
    memtable.guard.unlock()
    return run


cdef size_t run_seek(const Run *run, const char *key, size_t key_size) noexcept nogil:
    """Return the index of the first entry whose key is not before `key`."""
    cdef size_t low = 0, high = run.entries.size(), middle
    cdef const Entry *entry
    while low < high:
        middle = (low + high) // 2
        entry = run.entries[middle]
        if compare_keys(entry_key(entry), entry.key_size, key, key_size) < 0:
            low = middle + 1
        else:
            high = middle
    return low
