"""Interface of admin_reads: what the administrator's reads see of the store's small tables."""

from libc.stdint cimport int64_t, uint64_t

from ownerd.rules.ownership cimport Policy
from ownerd.storage.store cimport Store

cdef Policy policy_from(values) except *
cdef object list_info(Store *store, str list_id)
cdef list lists_held(Store *store, object campaign_id)
cdef list list_page(Store *store, str after, Py_ssize_t limit)
cdef list campaign_page(Store *store, str after, Py_ssize_t limit)
cdef object campaign_name(Store *store, str campaign_id)
cdef object code_row(Store *store, str code)
cdef list code_page(Store *store, str after, Py_ssize_t limit)
cdef int settings_row(Store *store) except -1
cdef list principal_rows(Store *store)
cdef list audit_page(Store *store, uint64_t before, Py_ssize_t limit)
cdef list audit_oldest(Store *store, Py_ssize_t limit)
cdef object audit_count(Store *store, uint64_t entry_id)
cdef bytes request_key(str request_id, str requester)
cdef object answered_request(Store *store, bytes key, int64_t now_ns)
cdef list entry_count(Store *store)
