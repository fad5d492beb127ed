"""C interface of memtable: what was changed since the last rotation, in memory."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from libcpp.memory cimport shared_ptr

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport mutex, vector
from ownerd.base.live cimport LiveMemtable
from ownerd.storage.rows cimport Rows
from ownerd.storage.tables cimport StateRow

# One record as one group left it. The key follows, then the value (a row without its checksum).
cdef struct Entry:
    uint32_t hash
    uint8_t key_size                  # 0: the rest of the chunk is unused
    uint8_t value_size                # 0: nothing is left of the record

cdef struct Slot:
    uint32_t hash
    uint32_t place                    # of the record's newest entry, plus 1; 0: free

cdef struct SlotUndo:
    uint64_t slot
    Slot before

cdef extern from *:
    """
    #include <cstdlib>
    #include <vector>

    /* Memory that goes when its owner does. (A destructor written in Cython is not seen by other
       modules.) */
    struct ownerd_blocks {
        std::vector<void *> all;
        ownerd_blocks() {}
        ownerd_blocks(const ownerd_blocks &) = delete;
        ~ownerd_blocks() { for (void *block : all) free(block); }
    };
    """
    cdef cppclass Blocks "ownerd_blocks":
        vector[void *] all

# Entries in key order, the newest one of each record. Immutable.
cdef cppclass Run:
    vector[const Entry *] entries

cdef cppclass Memtable:
    LiveMemtable live
    vector[char *] chunks             # entries in the order they were written; chunks never move
    uint64_t end                      # place after the last entry, in units of 8 bytes
    uint64_t end_limit                # the memtable counts as full from here on
    Slot *slots
    uint64_t slot_count
    uint64_t record_count             # records with an entry
    uint64_t record_limit
    Rows rows                         # of the small tables; under the guard of `memtables`
    StateRow state                    # of the store, as of the last change here; once immutable
    int64_t record_delta              # records that came to be, less those that ceased to
    uint64_t growth_bytes             # bound on what the record tree needs more for them
    vector[SlotUndo] undo             # since the mark
    uint64_t marked_end
    uint64_t marked_record_count
    int64_t marked_record_delta
    uint64_t marked_growth_bytes
    mutex guard                       # the two below; the writer never takes it
    vector[shared_ptr[Run]] runs      # newest first; together they cover all before run_end
    uint64_t run_end
    Blocks blocks                     # what chunks and slots point to

ctypedef vector[shared_ptr[Run]] Runs


cdef inline const char *entry_key(const Entry *entry) noexcept nogil:
    return <const char *> (entry + 1)


cdef inline const char *entry_value(const Entry *entry) noexcept nogil:
    return <const char *> (entry + 1) + entry.key_size


cdef extern from *:
    uint64_t byte_swap "__builtin_bswap64"(uint64_t value) noexcept nogil
    void prefetch "__builtin_prefetch"(const void *at) noexcept nogil


cdef inline uint64_t big_endian(const char *key, size_t size) noexcept nogil:
    """Return the first 8 of `size` bytes as a number that sorts like them."""
    cdef uint64_t word = 0
    memcpy(&word, key, min(size, <size_t> 8))
    return byte_swap(word)


cdef inline uint64_t key_high(const char *key, size_t size) noexcept nogil:
    return big_endian(key, size)


cdef inline uint64_t key_low(const char *key, size_t size) noexcept nogil:
    return big_endian(key + 8, size - 8) if size > 8 else 0


cdef inline uint64_t first_slot(const Memtable *memtable, uint32_t hash) noexcept nogil:
    """Return where the search for a hash begins: the hash scaled to the number of slots."""
    return hash * memtable.slot_count >> 32


cdef inline void memtable_prefetch(Memtable *memtable, uint32_t hash) noexcept nogil:
    """Have the processor fetch the slot of a record that is looked up soon."""
    prefetch(&memtable.slots[first_slot(memtable, hash)])


# Never NULL: want of memory ends the process.
cdef Memtable *memtable_new(uint64_t memtable_bytes) noexcept nogil
cdef uint32_t record_hash(const char *key, size_t size) noexcept nogil
# On the writer thread; `find` also where nothing is put. An entry stays where it is while the
# memtable lives, unless it is rolled back.
cdef uint64_t memtable_fill(Memtable *memtable) noexcept nogil
cdef bint memtable_fits(Memtable *memtable, uint64_t record_count) noexcept nogil
cdef const Entry *memtable_find(
    Memtable *memtable, uint32_t hash, const char *key, size_t key_size
) noexcept nogil
# Only after `memtable_fits`; key and value are copied.
cdef void memtable_put(
    Memtable *memtable, uint32_t hash, Slice key, Slice value
) noexcept nogil
cdef void memtable_mark(Memtable *memtable) noexcept nogil
cdef void memtable_rollback(Memtable *memtable) noexcept nogil
# On any thread. A run lives by itself, its entries as long as the memtable.
cdef void memtable_runs(
    Memtable *memtable, const vector[char *] *chunks, uint64_t end, Runs *runs
) noexcept nogil
# Of an immutable memtable only.
cdef shared_ptr[Run] memtable_run(Memtable *memtable) noexcept nogil
cdef int compare_keys(
    const char *left, size_t left_size, const char *right, size_t right_size
) noexcept nogil
cdef size_t run_seek(const Run *run, const char *key, size_t key_size) noexcept nogil
