"""Decides one call of DialService inside the open write transaction.

Looks up the list, the campaign, the codes and each record, asks `rules`, and writes what changed.
A call is checked whole before its first write, so a refused call has changed nothing. Runs on the
writer thread only; the engine commits and answers.
"""

from libc.stdint cimport uint32_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp

from ownerd.api.dial_call cimport (
    CALL_CLAIM, CALL_CLAIM_BATCH, CALL_GET_HOLDER, CALL_REPORT, CALL_REPORT_BATCH,
    UNKNOWN_CAMPAIGN, DialCall, DialItem,
)
from ownerd.api.reasons cimport (
    CODE_UNKNOWN, LIST_NOT_FOUND, Value, quoted, refuse_about, refuse_with, words,
)
from ownerd.api.task cimport OK
from ownerd.base.bytes cimport Slice, text_slice
from ownerd.engine.commands cimport refuse_full
from ownerd.rules.ownership cimport (
    NOBODY, Code, Ruling, rules_attempt, rules_claim, rules_holder,
)
from ownerd.rules.wrap_up_codes cimport rules_unknown_code
from ownerd.storage.capacity cimport CAPACITY_FOR_GRANTS, CAPACITY_FOR_REPORTS
from ownerd.storage.catalog cimport (
    Campaign, Catalog, List, add_campaign, campaign_known, campaign_of, find_campaign,
    find_code_meant, find_list,
)
from ownerd.storage.multiget cimport Seen, multiget_add, multiget_skip, multiget_take
from ownerd.storage.records cimport (
    Record, record_load, record_prefetch, record_store, records_look_up,
)

cdef enum:
    PLACE_BYTES = 64                  # the name of a field, with its index
    PREFETCHED = 8                    # records between asking for a slot and writing to it


# What one call is decided with; a new campaign has the number that it would get until it is added.
cdef struct Decision:
    Store *store
    List *list
    DialCall *call
    uint32_t campaign
    int64_t now_ns
    const Seen *seen                  # what the multiget saw of the next record; or NULL
    bint dry                          # decide without writing
    bint changed
    Slice code_text                   # the wrap-up code last looked up
    Code code
    bint code_unknown


cdef bint lookup_code(Decision *decision, Slice text) noexcept nogil:
    """Set `decision.code` (R26); batches mostly repeat a few codes, so the last one is kept."""
    cdef Catalog *catalog = &decision.store.catalog
    if text.size == decision.code_text.size and text.size > 0 \
            and memcmp(text.data, decision.code_text.data, text.size) == 0:
        return True
    decision.code_unknown = not find_code_meant(catalog, text, &decision.code)
    if decision.code_unknown and not rules_unknown_code(
        catalog.unknown_code, text, &decision.code
    ):
        decision.code_text.size = 0
        return False
    decision.code_text = text
    return True


cdef void refuse_code(DialCall *call, uint32_t index, Slice code) noexcept nogil:
    cdef char place[PLACE_BYTES]
    cdef Value values[2]
    values[0], values[1] = words("wrap_up_code"), quoted(code)
    if call.call_kind == CALL_REPORT_BATCH:
        snprintf(place, sizeof(place), "attempts[%u].wrap_up_code", index)
        values[0] = words(place)
    refuse_with(&call.task, CODE_UNKNOWN, values)


cdef bint codes_known(Decision *decision) noexcept nogil:
    cdef uint32_t i
    cdef Slice text
    cdef bint known
    cdef DialCall *call = decision.call
    for i in range(call.item_count):
        text = call.items[i].wrap_up_code
        known = lookup_code(decision, text)
        call.items[i].code_unknown = decision.code_unknown
        call.unknown_code_count += decision.code_unknown
        if known:
            continue
        refuse_code(call, i, text)
        return False
    return True


cdef void name_holder(Store *store, DialCall *call, DialItem *item) noexcept nogil:
    cdef Campaign *campaign
    if item.holder.kind != NOBODY:
        campaign = campaign_of(&store.catalog, item.holder.campaign)
        call.named_count += 1
        item.holder_id = text_slice(campaign.id)
        item.holder_name = text_slice(campaign.name)


cdef void decide_item(Decision *decision, DialItem *item, const Seen *seen) noexcept nogil:
    cdef Store *store = decision.store
    cdef Record record
    cdef Ruling ruling
    record_load(store, decision.list, item.record_id, seen, &record)
    if decision.call.call_kind == CALL_GET_HOLDER:
        item.holder = rules_holder(&record.hold, decision.now_ns)
        name_holder(store, decision.call, item)
        return
    if decision.call.call_kind == CALL_CLAIM or decision.call.call_kind == CALL_CLAIM_BATCH:
        ruling = rules_claim(
            &record.hold, &decision.list.policy, decision.campaign, decision.now_ns
        )
    else:
        lookup_code(decision, item.wrap_up_code)
        ruling = rules_attempt(
            &record.hold, &decision.list.policy, &decision.code, decision.campaign, decision.now_ns
        )
    item.answer = ruling.answer
    item.holder = ruling.holder
    name_holder(store, decision.call, item)
    if not ruling.changed:
        return
    decision.changed = True
    if not decision.dry:
        write_item(decision, &record)


cdef void write_item(Decision *decision, Record *record) noexcept nogil:
    cdef Store *store = decision.store
    if not campaign_known(&store.catalog, decision.campaign):
        add_campaign(&store.catalog, decision.call.campaign_id)
    record_store(store, decision.list, record, decision.now_ns)


cdef void decide_items(Decision *decision) noexcept nogil:
    cdef uint32_t i, count = decision.call.item_count
    for i in range(count):
        if decision.seen != NULL and i + PREFETCHED < count:
            record_prefetch(decision.store, &decision.seen[PREFETCHED])
        decide_item(decision, &decision.call.items[i], decision.seen)
        if decision.seen != NULL:
            decision.seen += 1


cdef void multiget_group(Store *store, DialCall *const *calls, size_t count) noexcept nogil:
    """Look the records of the next calls up together, in the open transaction."""
    cdef size_t i
    cdef uint32_t item
    cdef List *lst
    for i in range(count):
        lst = find_list(&store.catalog, calls[i].list_id)
        if lst == NULL:
            multiget_skip(&store.multiget, calls[i].item_count)
            continue
        for item in range(calls[i].item_count):
            multiget_add(&store.multiget, lst.number, calls[i].items[item].record_id)
    records_look_up(store)


cdef bint decide_call(
    Store *store, DialCall *call, int64_t now_ns, Capacity capacity
) noexcept nogil:
    """Decide a call; True if it changed anything. Refusals are in `call.task`.

    Without capacity for them, a claim that would be granted anew and, later, an attempt that would
    change anything are refused, and so is their whole batch; what writes nothing is answered to the
    end.
    """
    cdef Decision decision
    cdef bint claims = call.call_kind == CALL_CLAIM or call.call_kind == CALL_CLAIM_BATCH
    call.task.code = OK
    call.named_count = call.unknown_code_count = 0
    decision.store = store
    decision.call = call
    decision.now_ns = now_ns
    decision.changed = False
    decision.code_text.size = 0
    decision.code_unknown = False
    decision.seen = multiget_take(&store.multiget, call.item_count)
    decision.dry = capacity < (CAPACITY_FOR_GRANTS if claims else CAPACITY_FOR_REPORTS)
    decision.list = find_list(&store.catalog, call.list_id)
    if decision.list == NULL:
        refuse_about(&call.task, LIST_NOT_FOUND, call.list_id)
        return False
    if call.call_kind != CALL_GET_HOLDER:
        decision.campaign = find_campaign(&store.catalog, call.campaign_id)
    if (call.call_kind == CALL_REPORT or call.call_kind == CALL_REPORT_BATCH) \
            and not codes_known(&decision):
        return False
    decide_items(&decision)
    call.list_number, call.campaign = decision.list.number, decision.campaign
    if call.call_kind == CALL_GET_HOLDER or not campaign_known(&store.catalog, call.campaign):
        call.campaign = UNKNOWN_CAMPAIGN
    if decision.dry and decision.changed:
        refuse_full(store, &call.task)
        return False
    return decision.changed
