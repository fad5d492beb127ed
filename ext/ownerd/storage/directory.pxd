"""C interface of directory: the locks on the data directory."""

from ownerd.base.containers cimport string

cdef enum:
    LOCKED_FILES = 4                  # the directory, LOCK, the data file, the log's directory

# What is locked; each descriptor is -1 while it is not.
cdef cppclass DirectoryLock:
    int fds[LOCKED_FILES]
    string paths[LOCKED_FILES]

cdef enum Place:
    IN_PLACE                          # each path leads to the file that is locked
    LOCK_FILE_LOST                    # not that of LOCK, which the others stand in for
    FILES_LOST

cdef void lock_init(DirectoryLock *lock) noexcept nogil
# The directory, LOCK, and those of the data files that are there; again when all are.
# StoreInUseError: another process has one of them; StoreError.
cdef lock_directory(DirectoryLock *lock, str directory)
cdef void unlock_directory(DirectoryLock *lock) noexcept nogil
# Leaves DIR/FAILED, as far as that can be done; see `meta_pages`. Any thread.
cdef void note_failure(const DirectoryLock *lock) noexcept nogil
# Any thread.
cdef Place lock_place(const DirectoryLock *lock) noexcept nogil
