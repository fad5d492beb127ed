"""C interface of plan: which call of a load comes next, and its bytes."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ownerd.base.containers cimport string, vector

cdef extern from *:
    """
    #include <charconv>
    #include <cstdint>

    // splitmix64 (Steele, Lea, Flood 2014): one addition and one mix per number.
    static inline uint64_t ownerd_chance(uint64_t *state) {
        uint64_t z = (*state += 0x9E3779B97F4A7C15u);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    }

    // A number below `bound`, by the upper half of a 128-bit product instead of a division.
    static inline uint64_t ownerd_chance_below(uint64_t *state, uint64_t bound) {
        return (uint64_t) (((unsigned __int128) ownerd_chance(state) * bound) >> 64);
    }

    // Write a number in decimal, at most 20 digits; return the end.
    static inline char *ownerd_put_decimal(char *at, uint64_t value) {
        return std::to_chars(at, at + 20, value).ptr;
    }
    """
    uint64_t chance_next "ownerd_chance"(uint64_t *state) noexcept nogil
    uint64_t chance_below "ownerd_chance_below"(uint64_t *state, uint64_t bound) noexcept nogil
    char *put_decimal "ownerd_put_decimal"(char *at, uint64_t value) noexcept nogil

cdef enum:
    RECORD_BITS = 44

# What every thread of a load reads; nobody writes it once it is made.
cdef cppclass PlanCore:
    uint64_t record_count
    uint64_t factor                   # odd: times a number modulo 2^44 it is a permutation
    uint64_t shift
    uint64_t pick_seed
    bint in_order                     # the records one after the other in key order
    vector[uint64_t] ordered          # their ids in that order; empty if picks are random
    uint32_t batch_records            # 1: the unary calls
    uint32_t claim_weight
    uint32_t attempt_weight
    string list_id
    string wrap_up_code
    vector[string] campaign_ids

# What one thread of a load knows of its own.
cdef struct Picker:
    uint64_t chance
    uint64_t place                    # in_order: the next record; on from the last, the first
    uint64_t turn                     # in_order: the next call's campaign


cdef class Plan:
    cdef PlanCore *core


cdef void picker_init(
    Picker *picker, const PlanCore *plan, uint32_t index, uint32_t count
) noexcept nogil
cdef size_t plan_bound(const PlanCore *plan) noexcept nogil
cdef size_t plan_encode(
    const PlanCore *plan, Picker *picker, uint32_t records, uint8_t *call_kind, char *buffer
) noexcept nogil
