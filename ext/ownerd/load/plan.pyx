"""What a load sends: records picked at random or in key order, requests encoded in place.

A record is a number below `record_count`; its id is that number times an odd factor, plus a shift,
modulo 2^44, in decimal: distinct, spread over the keys, and the same wherever it is computed. A
plan is made with the GIL and never changes; `plan_encode` and `picker_init` may run on any thread,
each thread with a picker of its own.

It sends nothing and counts nothing: see `engine`, `http2` and `tally`.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from ownerd.api.dial_call cimport CALL_CLAIM, CALL_CLAIM_BATCH, CALL_REPORT, CALL_REPORT_BATCH
from ownerd.base.bytes cimport text_slice
from ownerd.base.containers cimport string
from ownerd.base.protobuf cimport WIRE_BYTES, put_text
from ownerd.rules.limits cimport BATCH_RECORDS, CAMPAIGN_ID_BYTES, LIST_ID_BYTES, WRAP_UP_CODE_BYTES

cdef extern from "<algorithm>" namespace "std" nogil:
    void sort(uint64_t *, uint64_t *)

cdef enum:
    ID_DIGITS = 14                    # of a number below 2^44
    TEXT_BYTES = 131                  # a tag, a length, and the longest text


cdef inline uint64_t record_at(const PlanCore *plan, uint64_t number) noexcept nogil:
    return (number * plan.factor + plan.shift) & ((<uint64_t> 1 << RECORD_BITS) - 1)


cdef string encoded(str text, str field, Py_ssize_t longest) except *:
    cdef string made
    found = text.encode()
    if not 1 <= len(found) <= longest:
        raise ValueError(f"{field}: {len(found)} bytes found; 1 to {longest} are allowed")
    made.assign(<const char *> found, len(found))
    return made


cdef class Plan:
    """A load's calls: which records, in which order, claimed or reported, by whom.

    Args:
        list_id: the contact list.
        record_count: records to choose from, 1 to 2^44.
        factor, shift: what turns a record's number into its id; 1 and 0: the id is the number.
        in_order: records in key order, from the first on, threads beginning at even distances;
            otherwise at random. Needs 8 bytes of memory a record.
        batch_records: records in a call, 1 to 10,000; 1: the unary calls.
        claims, attempts: how many claims for how many reported attempts.
        campaign_ids: who calls: at random, or in turn if `in_order`.
        wrap_up_code: how every reported attempt ended.
        pick_seed: seed of everything that is at random.
    """

    def __cinit__(
        self, str list_id, *, uint64_t record_count, uint64_t factor=1, uint64_t shift=0,
        bint in_order=False, uint32_t batch_records=1, uint32_t claims=1, uint32_t attempts=0,
        campaign_ids=("bench",), str wrap_up_code="Busy", uint64_t pick_seed=1,
    ):
        if not 1 <= record_count <= <uint64_t> 1 << RECORD_BITS:
            raise ValueError(f"record_count: {record_count} found; 1 to 2^44 are allowed")
        if not 1 <= batch_records <= BATCH_RECORDS:
            raise ValueError(
                f"batch_records: {batch_records} found; 1 to {BATCH_RECORDS} are allowed"
            )
        if factor % 2 == 0 or claims + attempts == 0 or not campaign_ids:
            raise ValueError("factor is even, or there is nothing to send, or nobody to send it")
        self.core = new PlanCore()
        self.core.record_count = record_count
        self.core.factor = factor
        self.core.shift = shift
        self.core.pick_seed = pick_seed
        self.core.in_order = in_order
        self.core.batch_records = batch_records
        self.core.claim_weight = claims
        self.core.attempt_weight = attempts
        self.core.list_id = encoded(list_id, "list_id", LIST_ID_BYTES)
        self.core.wrap_up_code = encoded(wrap_up_code, "wrap_up_code", WRAP_UP_CODE_BYTES)
        for campaign_id in campaign_ids:
            self.core.campaign_ids.push_back(
                encoded(campaign_id, "campaign_ids", CAMPAIGN_ID_BYTES)
            )
        if in_order:
            with nogil:
                put_in_order(self.core)

    def __dealloc__(self):
        del self.core

    def record_id(self, uint64_t number):
        """Return the id of record `number`, from 0."""
        return str(record_at(self.core, number))

    def requests(self, Py_ssize_t count, *, uint32_t index=0, uint32_t of=1):
        """Return the first `count` calls of thread `index` of `of`: (kind, encoded request).

        A kind is one of CLAIM, CLAIM_BATCH, REPORT_ATTEMPT, REPORT_ATTEMPT_BATCH.
        """
        cdef Picker picker
        cdef uint8_t kind
        cdef size_t size
        cdef char *buffer = <char *> malloc(plan_bound(self.core))
        if buffer == NULL:
            raise MemoryError()
        picker_init(&picker, self.core, index, of)
        found = []
        try:
            for _ in range(count):
                size = plan_encode(self.core, &picker, self.core.batch_records, &kind, buffer)
                found.append((kind, buffer[:size]))
        finally:
            free(buffer)
        return found


cdef void put_in_order(PlanCore *plan) noexcept nogil:
    cdef uint64_t i
    plan.ordered.resize(plan.record_count)
    for i in range(plan.record_count):
        plan.ordered[i] = record_at(plan, i)
    sort(&plan.ordered[0], &plan.ordered[0] + plan.record_count)


cdef void picker_init(
    Picker *picker, const PlanCore *plan, uint32_t index, uint32_t count
) noexcept nogil:
    """Make the picker of thread `index` of `count`."""
    # Mixed twice, so that neither neighbouring seeds nor neighbouring threads share a sequence.
    picker.chance = plan.pick_seed
    picker.chance = chance_next(&picker.chance) + index
    picker.chance = chance_next(&picker.chance)
    picker.place = plan.record_count * index // count
    picker.turn = index


cdef inline uint64_t next_record(const PlanCore *plan, Picker *picker) noexcept nogil:
    cdef uint64_t place = picker.place
    if not plan.in_order:
        return record_at(plan, chance_below(&picker.chance, plan.record_count))
    picker.place = place + 1 if place + 1 < plan.record_count else 0
    return (<PlanCore *> plan).ordered[place]


cdef inline uint64_t next_campaign(const PlanCore *plan, Picker *picker) noexcept nogil:
    cdef uint64_t count = (<PlanCore *> plan).campaign_ids.size()
    if count == 1:
        return 0
    if plan.in_order:
        picker.turn += 1
        return (picker.turn - 1) % count
    return chance_below(&picker.chance, count)


cdef inline bint next_is_claim(const PlanCore *plan, Picker *picker) noexcept nogil:
    if plan.attempt_weight == 0 or plan.claim_weight == 0:
        return plan.attempt_weight == 0
    return chance_below(
        &picker.chance, <uint64_t> plan.claim_weight + plan.attempt_weight
    ) < plan.claim_weight


cdef inline char *put_record(char *at, uint32_t number, uint64_t record) noexcept nogil:
    """Write a record's id as field `number`."""
    cdef char *end = put_decimal(at + 2, record)
    at[0] = <char> (number << 3 | WIRE_BYTES)
    at[1] = <char> (end - at - 2)
    return end


cdef size_t plan_bound(const PlanCore *plan) noexcept nogil:
    """Return how many bytes the longest request has at most."""
    cdef size_t record_bytes = 2 + 2 + ID_DIGITS + 2 + (<PlanCore *> plan).wrap_up_code.size()
    return 3 * TEXT_BYTES + 32 + plan.batch_records * record_bytes


cdef size_t encode_one(
    const PlanCore *plan, Picker *picker, bint claim, const string *campaign_id, char *buffer
) noexcept nogil:
    """Write a ClaimRequest or a ReportAttemptRequest."""
    cdef char *at = put_text(buffer, 1, text_slice(plan.list_id))
    at = put_record(at, 2, next_record(plan, picker))
    at = put_text(at, 3, text_slice(campaign_id[0]))
    if not claim:
        at = put_text(at, 4, text_slice(plan.wrap_up_code))
    return at - buffer


cdef size_t encode_batch(
    const PlanCore *plan, Picker *picker, bint claim, const string *campaign_id, uint32_t records,
    char *buffer,
) noexcept nogil:
    """Write a ClaimBatchRequest or a ReportAttemptBatchRequest."""
    cdef uint32_t _
    cdef char *inner
    cdef char *at = put_text(buffer, 1, text_slice(plan.list_id))
    at = put_text(at, 2, text_slice(campaign_id[0]))
    for _ in range(records):
        if claim:
            at = put_record(at, 3, next_record(plan, picker))
        else:
            inner = at + 2            # an attempt is shorter than 128 bytes: one byte of length
            inner = put_record(inner, 1, next_record(plan, picker))
            inner = put_text(inner, 2, text_slice(plan.wrap_up_code))
            at[0] = <char> (3 << 3 | WIRE_BYTES)
            at[1] = <char> (inner - at - 2)
            at = inner
    return at - buffer


cdef size_t plan_encode(
    const PlanCore *plan, Picker *picker, uint32_t records, uint8_t *call_kind, char *buffer
) noexcept nogil:
    """Write the next request, for `records` records if it is a batch; return its size.

    `buffer` holds plan_bound bytes; `call_kind` gets the CallKind.
    """
    cdef bint claim = next_is_claim(plan, picker)
    cdef const string *campaign_id = &(<PlanCore *> plan).campaign_ids[next_campaign(plan, picker)]
    if plan.batch_records == 1:
        call_kind[0] = CALL_CLAIM if claim else CALL_REPORT
        return encode_one(plan, picker, claim, campaign_id, buffer)
    call_kind[0] = CALL_CLAIM_BATCH if claim else CALL_REPORT_BATCH
    return encode_batch(plan, picker, claim, campaign_id, records, buffer)
