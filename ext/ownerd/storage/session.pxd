"""C interface of session: whether the files that are opened are those that were last written."""

from ownerd.storage.store cimport Store

# Once a store is loaded and its log replayed, before anything else is written. `opening` is
# told what was found. StoreError: the halves are of two days; or nothing can be written.
cdef begin_session(Store *store, str directory, object opening)
