"""Counts by list and campaign what dialers asked and were told (R17), in memory.

A claim or report is one look-up for its whole call, and a few additions. A bounded number of pairs
is kept; when it is reached, the half that asked longest ago is forgotten. A campaign that was only
ever denied is unknown to the store: it is counted under a number of its own, and shown with what is
counted once it is known. Counted since the engine was opened.

The writer counts, any thread looks; they take turns by `guard`.
"""

from cython.operator cimport dereference, preincrement
from libc.string cimport memset

from ownerd.api.dial_call cimport UNKNOWN_CAMPAIGN, DialItem, call_is_claim
from ownerd.base.bytes cimport Slice

cdef extern from "<algorithm>" namespace "std" nogil:
    void nth_element(int64_t *first, int64_t *middle, int64_t *last)

cdef enum:
    MOST_PAIRS = 16_384
    STRANGER_BIT = 0x80000000


# --- counting, on the writer thread ---------------------------------------------------------------

cdef inline uint64_t pair_of(uint32_t list_number, uint32_t campaign) noexcept nogil:
    return <uint64_t> list_number << 32 | campaign


cdef inline bint is_stranger(uint32_t campaign) noexcept nogil:
    return campaign & <uint32_t> STRANGER_BIT != 0


cdef void frequent_add(Frequent *frequent, uint32_t campaign) noexcept nogil:
    """Count a campaign; one that has no place takes the least frequent one's, with its count."""
    cdef int i, least = 0
    for i in range(FREQUENT):
        if frequent.counts[i] != 0 and frequent.campaigns[i] == campaign:
            frequent.counts[i] += 1
            return
        if frequent.counts[i] < frequent.counts[least]:
            least = i
    frequent.campaigns[least] = campaign
    frequent.counts[least] += 1


cdef void forget_strangers(Activity *activity) noexcept nogil:
    """Forget the strangers of whom nothing is counted any more."""
    cdef unordered_map[uint32_t, bint] counted
    cdef unordered_map[string, uint32_t] left
    pairs = activity.counts.begin()
    while pairs != activity.counts.end():
        counted[<uint32_t> dereference(pairs).first] = True
        preincrement(pairs)
    it = activity.strangers.begin()
    while it != activity.strangers.end():
        if counted.count(dereference(it).second) != 0:
            left[dereference(it).first] = dereference(it).second
        preincrement(it)
    activity.strangers.swap(left)


cdef void forget_half(Activity *activity) noexcept nogil:
    """Forget the pairs that asked longest ago."""
    cdef vector[int64_t] times
    cdef vector[uint64_t] keys
    cdef size_t i
    it = activity.counts.begin()
    while it != activity.counts.end():
        times.push_back(dereference(it).second.last_ns)
        preincrement(it)
    nth_element(&times[0], &times[times.size() // 2], &times[0] + times.size())
    it = activity.counts.begin()
    while it != activity.counts.end():
        if dereference(it).second.last_ns <= times[times.size() // 2]:
            keys.push_back(dereference(it).first)
        preincrement(it)
    for i in range(keys.size()):
        activity.counts.erase(keys[i])
    file_campaigns(activity)


cdef void file_campaigns(Activity *activity) noexcept nogil:
    cdef uint64_t key
    activity.campaigns.clear()
    it = activity.counts.begin()
    while it != activity.counts.end():
        key = dereference(it).first
        activity.campaigns[<uint32_t> (key >> 32)].push_back(<uint32_t> key)
        preincrement(it)


cdef uint32_t stranger(Activity *activity, Slice campaign_id) noexcept nogil:
    """Return the number here of a campaign that the store does not know."""
    cdef string name = string(campaign_id.data, campaign_id.size)
    cdef unordered_map[string, uint32_t].iterator known = activity.strangers.find(name)
    cdef uint32_t number
    if known != activity.strangers.end():
        return dereference(known).second
    if activity.strangers.size() == MOST_PAIRS:
        if activity.counts.size() == MOST_PAIRS:
            forget_half(activity)
        forget_strangers(activity)
    number = activity.next_stranger | <uint32_t> STRANGER_BIT
    activity.next_stranger += 1
    activity.strangers[name] = number
    return number


cdef Counts *counts_of(Activity *activity, uint32_t list_number, uint32_t campaign) noexcept nogil:
    cdef uint64_t key = pair_of(list_number, campaign)
    cdef unordered_map[uint64_t, Counts].iterator found = activity.counts.find(key)
    cdef Counts *counts
    if found != activity.counts.end():
        return &dereference(found).second
    if activity.counts.size() == MOST_PAIRS:
        forget_half(activity)
    activity.campaigns[list_number].push_back(campaign)
    counts = &activity.counts[key]
    memset(counts, 0, sizeof(Counts))
    return counts


cdef uint32_t count_lapsed(Activity *activity, const DialCall *call) noexcept nogil:
    """Count reservations that ended without a report, by whose they were; return how many."""
    cdef uint32_t i, lapsed = 0
    for i in range(call.item_count):
        if call.items[i].lapsed:
            counts_of(activity, call.list_number, call.items[i].lapsed_campaign).lapsed += 1
            lapsed += 1
    return lapsed


cdef uint32_t activity_count(
    Activity *activity, const DialCall *call, int64_t now_ns, uint64_t *answers
) noexcept nogil:
    """Count a claim or report that was decided and is durable; return how many reservations lapsed.
    """
    cdef uint32_t i, campaign = call.campaign
    cdef const DialItem *item
    cdef Counts *counts
    cdef uint64_t *totals
    cdef int j
    cdef bint lapsed = False
    memset(answers, 0, ANSWERS * sizeof(uint64_t))
    if campaign == UNKNOWN_CAMPAIGN:
        campaign = stranger(activity, call.campaign_id)
    counts = counts_of(activity, call.list_number, campaign)
    counts.last_ns = now_ns
    for i in range(call.item_count):
        item = &call.items[i]
        answers[item.answer] += 1
        lapsed |= item.lapsed
    if call_is_claim(call):
        for i in range(call.named_count):
            frequent_add(&counts.denied_by, call.named[i].holder.campaign)
    totals = &counts.decisions[0] if call_is_claim(call) else &counts.outcomes[0]
    for j in range(ANSWERS):
        totals[j] += answers[j]
    return count_lapsed(activity, call) if lapsed else 0


# --- looking, on any thread -----------------------------------------------------------------------

cdef void copy_list(
    Activity *activity, uint32_t list_number, vector[uint32_t] *campaigns, vector[Counts] *counts
) noexcept nogil:
    cdef size_t i
    activity.guard.lock()
    if activity.campaigns.count(list_number) != 0:
        campaigns[0] = activity.campaigns[list_number]
    for i in range(campaigns.size()):
        counts.push_back(activity.counts[pair_of(list_number, campaigns[0][i])])
    activity.guard.unlock()


cdef dict stranger_names(Activity *activity):
    cdef unordered_map[string, uint32_t] strangers
    found = {}
    with nogil:
        activity.guard.lock()
        strangers = activity.strangers
        activity.guard.unlock()
    it = strangers.begin()
    while it != strangers.end():
        name = dereference(it).first
        found[dereference(it).second] = name.data()[:name.size()].decode()
        preincrement(it)
    return found


cdef list frequent_rows(const Frequent *frequent, list names):
    """Return (campaign_id, count), the most frequent first."""
    cdef int i
    found = [
        (names[frequent.campaigns[i]], frequent.counts[i]) for i in range(FREQUENT)
        if frequent.counts[i] and frequent.campaigns[i] < <size_t> len(names)
    ]
    return sorted(found, key=lambda row: (-row[1], row[0]))


cdef list activity_rows(Activity *activity, uint32_t list_number, list names):
    """Return (campaign_id, decisions, outcomes, denied_by, lapsed), by campaign id.

    `decisions` and `outcomes` are counts by their numbers in dial.proto, `denied_by` is rows
    (campaign_id, count), `lapsed` a count. A campaign that was unknown once has all of its numbers
    in one row; one that is newer than `names` is left out.
    """
    cdef vector[uint32_t] campaigns
    cdef vector[Counts] counts
    cdef size_t i
    cdef int j
    with nogil:
        copy_list(activity, list_number, &campaigns, &counts)
    others = stranger_names(activity)
    rows = {}
    for i in range(campaigns.size()):
        if is_stranger(campaigns[i]):
            name = others.get(campaigns[i])
        else:
            name = names[campaigns[i]] if campaigns[i] < <size_t> len(names) else None
        if name is None:
            continue
        row = rows.setdefault(name, [[0] * ANSWERS, [0] * ANSWERS, [], 0])
        for j in range(ANSWERS):
            row[0][j] += counts[i].decisions[j]
            row[1][j] += counts[i].outcomes[j]
        row[2].extend(frequent_rows(&counts[i].denied_by, names))
        row[3] += counts[i].lapsed
    return [(name, *rows[name]) for name in sorted(rows)]
