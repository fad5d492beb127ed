"""C interface of overlay: layers of records changed since the last settling, in memory."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libcpp.memory cimport shared_ptr

from ownerd.calls cimport Slice
from ownerd.containers cimport mutex, vector

# One record as one group left it. The key follows, then the value (a row without its seal).
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

cdef cppclass Layer:
    vector[char *] chunks             # entries in the order they were written; chunks never move
    uint64_t end                      # place after the last entry, in units of 8 bytes
    uint64_t end_limit                # the layer counts as full from here on
    Slot *slots
    uint64_t slot_mask
    uint64_t record_count             # records with an entry
    uint64_t record_limit
    uint64_t last_revision            # the highest revision that has an entry here
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


cdef Layer *layer_new(uint64_t layer_bytes) noexcept nogil
cdef uint32_t record_hash(const char *key, size_t size) noexcept nogil
cdef bint layer_has_room(Layer *layer, uint64_t record_count) noexcept nogil
cdef const Entry *layer_find(
    Layer *layer, uint32_t hash, const char *key, size_t key_size
) noexcept nogil
cdef void layer_put(
    Layer *layer, uint32_t hash, Slice key, Slice value
) noexcept nogil
cdef void layer_mark(Layer *layer) noexcept nogil
cdef void layer_rollback(Layer *layer) noexcept nogil
cdef void layer_runs(
    Layer *layer, const vector[char *] *chunks, uint64_t end, Runs *runs
) noexcept nogil
cdef shared_ptr[Run] frozen_run(Layer *layer) noexcept nogil
cdef int compare_keys(
    const char *left, size_t left_size, const char *right, size_t right_size
) noexcept nogil
cdef size_t run_seek(const Run *run, const char *key, size_t key_size) noexcept nogil
