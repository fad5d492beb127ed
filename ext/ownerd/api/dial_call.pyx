"""Life of a call of DialService: made empty, cleared.

Owns the memory rules of `DialCall` (see the .pxd).
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from ownerd.api.task cimport TASK_DIAL, task_clear
from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport string


cdef void call_init(DialCall *call, uint8_t call_kind) noexcept nogil:
    memset(call, 0, sizeof(DialCall))
    call.call_kind = call_kind
    call.task.kind = TASK_DIAL
    call.items = &call.single


cdef void call_clear(DialCall *call) noexcept nogil:
    """Free what the call holds. Its slices and its answer are gone afterwards."""
    task_clear(&call.task)
    call_free_items(call)
    del call.filter
    del call.names
    call.filter = NULL
    call.names = NULL
    if call.answer != call.buffer:
        free(call.answer)
    call.answer = NULL


cdef void call_name_dialer(DialCall *call, DialItem *item, Slice dialer_id) noexcept nogil:
    """Copy it: a dialer may be forgotten before the answer is encoded."""
    item.dialer_size = <uint32_t> dialer_id.size
    if dialer_id.size == 0:
        return
    if call.names == NULL:
        call.names = new string()
    item.dialer_at = <uint32_t> call.names.size()
    call.names.append(dialer_id.data, dialer_id.size)


cdef void call_free_items(DialCall *call) noexcept nogil:
    """Free a batch's decoded records, which the encoded answer does without."""
    if call.items != &call.single:
        free(call.items)
        call.items = &call.single
        call.item_capacity = 0


cdef void call_shrink_answer(DialCall *call) noexcept nogil:
    """Give back what an answer that was malloc'd does not need of its bound."""
    cdef char *shrunk
    if call.answer != call.buffer:
        shrunk = <char *> realloc(call.answer, call.answer_size)
        if shrunk != NULL:
            call.answer = shrunk
