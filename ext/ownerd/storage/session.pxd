"""C interface of session: whether the files that are opened are those that were last written."""

from ownerd.storage.record_tree cimport Tree
from ownerd.storage.store cimport Store
from ownerd.storage.tables cimport SessionRow

# Once a store is loaded and its log replayed, before anything else is written. `opening` is
# told what was found. StoreError: the halves are of two days; or nothing can be written.
cdef begin_session(Store *store, str directory, object opening)
# The last session's marks; False: there are none.
cdef bint session_read(Tree *tree, str directory, SessionRow *row) except -1
# Lets a file take the place of the records', if that is the one that the marks name.
cdef session_moves_records(SessionRow *row, str former, str new)
