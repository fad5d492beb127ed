"""Decides one call of DialService inside the open write transaction.

Looks up the list, the campaign, the dialer, the codes and each record, asks `rules`, and writes
what changed. What fails a call as a whole is found before its first write, so a refused call has
changed nothing; what is wrong with one item of a batch is answered in its place (R25). Runs on the
writer thread only; the engine commits and answers.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcmp, memset

from ownerd.api.dial_call cimport (
    CALL_GET_HOLDER, CALL_GIVE_BACK, ITEM_ATTEMPT_TIME, ITEM_WRAP_UP_CODE, UNKNOWN_CAMPAIGN,
    DialCall, DialItem, NamedHolder, NameFilter, call_add_named, call_is_claim, call_is_report,
    call_name_dialer,
)
from ownerd.api.dial_codec cimport item_refuse
from ownerd.api.reasons cimport (
    ATTEMPT_AHEAD, CODE_UNKNOWN, LIST_NOT_FOUND, NO_REASON, TOO_MANY_DIALERS, Value, numeral,
    refuse_about, refuse_with,
)
from ownerd.api.task cimport OK
from ownerd.base.bytes cimport Slice, slice_of, text_slice
from ownerd.base.containers cimport string, vector
from ownerd.base.units cimport NS_PER_MS
from ownerd.engine.commands cimport refuse_full
from ownerd.rules.ownership cimport (
    ATTEMPT_INVALID, FORMER_CAMPAIGN, GRANTED, NOBODY, NO_DIALER, NO_TIME, Claim, Code, Holder,
    Report, Ruling, rules_ahead_ns, rules_attempt, rules_claim, rules_holder,
)
from ownerd.rules.wrap_up_codes cimport rules_unknown_code
from ownerd.storage.capacity cimport CAPACITY_FOR_GRANTS, CAPACITY_FOR_REPORTS
from ownerd.storage.catalog cimport (
    Campaign, Catalog, List, add_campaign, all_lists, campaign_known, campaign_of, find_campaign,
    find_code_meant, find_list,
)
from ownerd.storage.codec cimport VALUE_BYTES, hold_encode
from ownerd.storage.dialers cimport (
    DIALERS_MOST, EVERY_LIST, add_dialer, dialer_gives_back, dialer_id_of, dialer_known,
    dialer_reserves, dialers_full, find_dialer,
)
from ownerd.storage.multiget cimport Seen, multiget_add, multiget_skip, multiget_take
from ownerd.storage.notes cimport NOTE_REJECTED, RejectedNote
from ownerd.storage.records cimport (
    Record, record_load, record_prefetch, record_store, records_look_up,
)
from ownerd.storage.store cimport store_instant, store_now
from ownerd.storage.transaction cimport note_change

cdef enum:
    PREFETCHED = 8                    # records between asking for a slot and writing to it


# What one call is decided with; a new campaign or dialer has the number that it would get until it
# is added.
cdef struct Decision:
    Store *store
    List *list
    DialCall *call
    uint32_t campaign
    uint32_t dialer
    const DecidedAt *when
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


cdef bint code_is_meant(Decision *decision, DialItem *item) noexcept nogil:
    """Set `decision.code` for an item, and note whether its code is one that nobody knows."""
    cdef bint meant = lookup_code(decision, item.wrap_up_code)
    item.code_unknown = decision.code_unknown
    decision.call.unknown_code_count += item.code_unknown
    return meant


cdef void name_holder(Decision *decision, DialItem *item, const Holder *holder) noexcept nogil:
    cdef Store *store = decision.store
    cdef DialCall *call = decision.call
    cdef Campaign *campaign = campaign_of(&store.catalog, holder.campaign)
    cdef NamedHolder *named = call_add_named(call, item)
    named.holder = holder[0]
    named.id = text_slice(campaign.id)
    named.name = text_slice(campaign.name)
    if holder.dialer != NO_DIALER and not holder.dialer & FORMER_CAMPAIGN:
        call_name_dialer(call, named, dialer_id_of(&store.dialers, holder.dialer))
    if call.call_kind != CALL_GET_HOLDER:
        named.own = holder.campaign == decision.campaign
    else:
        named.own = call.filter != NULL and call.filter.matches(&call.filter.patterns, named.id)


cdef void look_up_holder(Decision *decision, DialItem *item, const Record *record) noexcept nogil:
    cdef Holder holder = rules_holder(
        &record.hold, store_now(decision.store, decision.when.clock_ns)
    )
    if holder.kind != NOBODY:
        name_holder(decision, item, &holder)


cdef Ruling claim_record(
    Decision *decision, DialItem *item, Record *record, int64_t now_ns
) noexcept nogil:
    cdef Claim claim
    cdef Ruling ruling
    claim.campaign, claim.dialer = decision.campaign, decision.dialer
    claim.ttl_ns = decision.call.reservation_ttl_ns
    ruling = rules_claim(&record.hold, &decision.list.policy, &claim, now_ns)
    if ruling.answer == GRANTED:
        item.reservation_id = <unsigned long long> record.hold.reserved_since_ns
        decision.call.reserved_until_ns = record.hold.reserved_until_ns
    return ruling


cdef Ruling report_attempt(
    Decision *decision, DialItem *item, Record *record, int64_t now_ns
) noexcept nogil:
    cdef Report report
    cdef Ruling ruling
    report.campaign, report.dialer = decision.campaign, decision.dialer
    report.attempt_time_ns = item.attempt_time_ns
    report.clock_offset_ns = decision.when.offset_ns
    report.reservation_id = <int64_t> item.reservation_id
    report.code = decision.code
    ruling = rules_attempt(&record.hold, &decision.list.policy, &report, now_ns)
    if ruling.answer == ATTEMPT_INVALID:
        item_refuse(
            decision.call, item, ATTEMPT_AHEAD, ITEM_ATTEMPT_TIME,
            rules_ahead_ns(&report, now_ns) // NS_PER_MS,
        )
    item.called_twice = ruling.called_twice
    return ruling


cdef void decide_item(Decision *decision, DialItem *item, const Seen *seen) noexcept nogil:
    cdef Record record
    cdef Ruling ruling
    cdef int64_t now_ns
    cdef uint32_t before
    item.named = 0
    if item.invalid != NO_REASON:
        return
    if call_is_report(decision.call) and not code_is_meant(decision, item):
        item_refuse(decision.call, item, CODE_UNKNOWN, ITEM_WRAP_UP_CODE, 0)
        return
    record_load(decision.store, decision.list, item.record_id, seen, &record)
    if decision.call.call_kind == CALL_GET_HOLDER:
        look_up_holder(decision, item, &record)
        return
    now_ns = store_instant(decision.store, decision.when.clock_ns)
    before = record.hold.campaign
    if call_is_claim(decision.call):
        ruling = claim_record(decision, item, &record, now_ns)
    else:
        ruling = report_attempt(decision, item, &record, now_ns)
    item.answer = ruling.answer
    item.lapsed, item.lapsed_campaign = ruling.lapsed, before
    if ruling.holder.kind != NOBODY:
        name_holder(decision, item, &ruling.holder)
    if not ruling.changed and not ruling.called_twice:
        return
    decision.changed = True
    if decision.dry:
        return
    if ruling.called_twice:
        note_rejected(decision, item, &record, now_ns)
    if ruling.changed:
        write_item(decision, &record, now_ns)


cdef void note_rejected(
    Decision *decision, const DialItem *item, const Record *record, int64_t now_ns
) noexcept nogil:
    """Tell those who follow the log that two campaigns called one person (R31).

    The campaign may be one that nobody knows, and the list one that shares another's ownership.
    """
    cdef DialCall *call = decision.call
    cdef RejectedNote note
    cdef char hold[VALUE_BYTES]
    cdef string value
    memset(&note, 0, sizeof(note))
    note.attempt_ns = item.attempt_time_ns
    if note.attempt_ns == NO_TIME:
        note.attempt_ns = now_ns
    note.hold_size = <uint8_t> hold_encode(&record.hold, now_ns, hold)
    note.list_id_size = <uint8_t> call.list_id.size
    value.assign(<const char *> &note, sizeof(note))
    value.append(hold, note.hold_size)
    value.append(call.list_id.data, call.list_id.size)
    value.append(call.campaign_id.data, call.campaign_id.size)
    note_change(
        &decision.store.txn, NOTE_REJECTED, slice_of(record.key, record.key_size),
        text_slice(value),
    )


cdef void write_item(Decision *decision, Record *record, int64_t now_ns) noexcept nogil:
    cdef Store *store = decision.store
    if record.hold.campaign == decision.campaign \
            and not campaign_known(&store.catalog, decision.campaign):
        add_campaign(&store.catalog, decision.call.campaign_id)
    if call_is_claim(decision.call) and decision.dialer != NO_DIALER:
        reserve_for_dialer(decision, record)
    record_store(store, decision.list, record, now_ns)


cdef void reserve_for_dialer(Decision *decision, const Record *record) noexcept nogil:
    cdef Store *store = decision.store
    if not dialer_known(&store.dialers, decision.dialer):
        add_dialer(&store.dialers, decision.campaign, decision.call.dialer_id)
    dialer_reserves(&store.dialers, decision.dialer, record.hold.reserved_until_ns)


cdef void decide_items(Decision *decision) noexcept nogil:
    cdef uint32_t i, count = decision.call.item_count
    for i in range(count):
        if decision.seen != NULL and i + PREFETCHED < count:
            record_prefetch(decision.store, &decision.seen[PREFETCHED])
        decide_item(decision, &decision.call.items[i], decision.seen)
        if decision.seen != NULL:
            decision.seen += 1


cdef void note_campaign(Decision *decision) noexcept nogil:
    """Note in the call whom it is counted for, by number, once it is decided."""
    cdef DialCall *call = decision.call
    call.list_number, call.campaign = decision.list.number, UNKNOWN_CAMPAIGN
    if call.call_kind != CALL_GET_HOLDER \
            and campaign_known(&decision.store.catalog, decision.campaign):
        call.campaign = decision.campaign


cdef void give_back(Decision *decision) noexcept nogil:
    """R23: in the list that is named, or in all where the caller may dial; one that is not known
    has nothing reserved."""
    cdef Store *store = decision.store
    cdef int64_t now_ns = store_instant(store, decision.when.clock_ns)
    cdef vector[List *] lists
    cdef const NameFilter *filter = decision.call.filter
    cdef size_t i
    decision.changed = True
    if decision.dry or not dialer_known(&store.dialers, decision.dialer):
        return
    if decision.list != NULL:
        lists.push_back(decision.list)
    elif filter == NULL:
        dialer_gives_back(
            &store.dialers, decision.dialer, EVERY_LIST, now_ns, store.catalog.event_ns
        )
    else:
        all_lists(&store.catalog, &lists)
    for i in range(lists.size()):
        if decision.list != NULL or may_dial(filter, lists[i]):
            dialer_gives_back(
                &store.dialers, decision.dialer, lists[i].number, now_ns, store.catalog.event_ns
            )


cdef bint may_dial(const NameFilter *filter, const List *lst) noexcept nogil:
    """Tell whether the filter covers one of the list's names (R28)."""
    cdef size_t i
    for i in range(lst.names.size()):
        if filter.matches(&filter.patterns, text_slice(lst.names[i].id)):
            return True
    return False


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
            if calls[i].items[item].invalid != NO_REASON:
                multiget_skip(&store.multiget, 1)
            else:
                multiget_add(&store.multiget, lst.number, calls[i].items[item].record_id)
    records_look_up(store)


cdef bint found_names(Decision *decision) noexcept nogil:
    """Look up whom and what the call names; False if it is refused."""
    cdef Store *store = decision.store
    cdef DialCall *call = decision.call
    cdef Value most = numeral(DIALERS_MOST)
    decision.list = find_list(&store.catalog, call.list_id)
    if decision.list == NULL and call.list_id.size != 0:
        refuse_about(&call.task, LIST_NOT_FOUND, call.list_id)
        return False
    if call.call_kind == CALL_GET_HOLDER:
        return True
    decision.campaign = find_campaign(&store.catalog, call.campaign_id)
    decision.dialer = find_dialer(&store.dialers, decision.campaign, call.dialer_id)
    if call_is_claim(call) and decision.dialer != NO_DIALER and dialers_full(&store.dialers) \
            and not dialer_known(&store.dialers, decision.dialer):
        refuse_with(&call.task, TOO_MANY_DIALERS, &most)
        return False
    return True


cdef bint decide_call(
    Store *store, DialCall *call, const DecidedAt *when, Capacity capacity
) noexcept nogil:
    """Decide a call; True if it changed anything. Refusals are in `call.task`.

    Without capacity for them, a claim that would be granted anew and, later, an attempt that would
    change anything are refused, and so is their whole batch; what writes nothing is answered to the
    end.
    """
    cdef Decision decision
    call.task.code = OK
    call.named_count = call.unknown_code_count = 0
    decision.store = store
    decision.call = call
    decision.when = when
    decision.changed = False
    decision.code_text.size = 0
    decision.code_unknown = False
    decision.seen = multiget_take(&store.multiget, call.item_count)
    decision.dry = capacity < (CAPACITY_FOR_GRANTS if call_is_claim(call) else CAPACITY_FOR_REPORTS)
    if not found_names(&decision):
        return False
    if call.call_kind == CALL_GIVE_BACK:
        give_back(&decision)
    else:
        decide_items(&decision)
        note_campaign(&decision)
    if decision.dry and decision.changed:
        refuse_full(store, &call.task)
        return False
    return decision.changed and call.task.code == OK
