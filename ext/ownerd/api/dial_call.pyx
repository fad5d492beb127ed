"""Life of a call of DialService: made empty, cleared.

Owns the memory rules of `DialCall` (see the .pxd).
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport abort, free, realloc
from libc.string cimport memset

from ownerd.api.task cimport TASK_DIAL, task_clear
from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport string
from ownerd.rules.limits cimport BATCH_RECORDS

cdef enum:
    FIRST_PLACES = 16


cdef void call_init(DialCall *call, uint8_t call_kind) noexcept nogil:
    memset(call, 0, sizeof(DialCall))
    call.call_kind = call_kind
    call.task.kind = TASK_DIAL
    call.items = &call.single
    call.named = &call.single_named


cdef void call_clear(DialCall *call) noexcept nogil:
    """Free what the call holds. Its slices and its answer are gone afterwards."""
    task_clear(&call.task)
    call_free_items(call)
    del call.filter
    del call.dialers
    call.filter = NULL
    call.dialers = NULL
    if call.answer != call.buffer:
        free(call.answer)
    call.answer = NULL


cdef void *grown(void *places, uint32_t *capacity, size_t size) noexcept nogil:
    """Return more places of a size; the first ones, if there is no capacity yet."""
    cdef void *more
    cdef bint malloced = capacity[0] != 0
    capacity[0] = max(<uint32_t> FIRST_PLACES, min(capacity[0] * 4, <uint32_t> BATCH_RECORDS))
    more = realloc(places if malloced else NULL, capacity[0] * size)
    if more == NULL:
        abort()
    return more


cdef DialItem *call_add_item(DialCall *call) noexcept nogil:
    cdef DialItem *item
    call.item_count += 1
    if call.item_count > BATCH_RECORDS:
        return NULL
    if call.item_count > call.item_capacity:
        call.items = <DialItem *> grown(call.items, &call.item_capacity, sizeof(DialItem))
    item = &call.items[call.item_count - 1]
    memset(item, 0, sizeof(DialItem))
    return item


cdef NamedHolder *call_add_named(DialCall *call, DialItem *item) noexcept nogil:
    if call.named_count == call.named_capacity and call_is_batch(call):
        call.named = <NamedHolder *> grown(
            call.named, &call.named_capacity, sizeof(NamedHolder)
        )
    call.named_count += 1
    item.named = call.named_count
    call.named[item.named - 1].dialer_size = 0
    return &call.named[item.named - 1]


cdef void call_name_dialer(DialCall *call, NamedHolder *named, Slice dialer_id) noexcept nogil:
    """Copy it: a dialer may be forgotten before the answer is encoded."""
    if dialer_id.size == 0:
        return
    if call.dialers == NULL:
        call.dialers = new string()
    named.dialer_at = <uint32_t> call.dialers.size()
    named.dialer_size = <uint32_t> dialer_id.size
    call.dialers.append(dialer_id.data, dialer_id.size)


cdef void call_free_items(DialCall *call) noexcept nogil:
    """Free a batch's decoded records, which the encoded answer does without."""
    if call.item_capacity != 0:
        free(call.items)
        call.items = &call.single
        call.item_capacity = 0
    if call.named_capacity != 0:
        free(call.named)
        call.named = &call.single_named
        call.named_capacity = 0


cdef void call_shrink_answer(DialCall *call) noexcept nogil:
    """Give back what an answer that was malloc'd does not need of its bound."""
    cdef char *shrunk
    if call.answer != call.buffer:
        shrunk = <char *> realloc(call.answer, call.answer_size)
        if shrunk != NULL:
            call.answer = shrunk
