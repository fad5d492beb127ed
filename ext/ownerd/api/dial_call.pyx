"""Life of a call of DialService: made empty, cleared.

Owns the memory rules of `DialCall` (see the .pxd).
"""

from libc.stdlib cimport free
from libc.string cimport memset

from ownerd.api.task cimport TASK_DIAL, task_clear


cdef void call_init(DialCall *call, uint8_t call_kind) noexcept nogil:
    memset(call, 0, sizeof(DialCall))
    call.call_kind = call_kind
    call.task.kind = TASK_DIAL
    call.items = &call.single


cdef void call_clear(DialCall *call) noexcept nogil:
    """Free what the call holds. Its slices and its answer are gone afterwards."""
    task_clear(&call.task)
    if call.items != &call.single:
        free(call.items)
    if call.answer != call.buffer:
        free(call.answer)
    call.items = &call.single
    call.answer = NULL
