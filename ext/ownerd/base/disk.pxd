"""C interface of disk: the system's calls on files of ours, as a table that tests put faults into.
"""

from posix.types cimport mode_t, off_t

cdef extern from *:
    """
    #include <fcntl.h>
    #include <unistd.h>

    // A descriptor that is closed when its owner goes. (A destructor written in Cython is not seen
    // by other modules.)
    struct ownerd_descriptor {
        int fd = -1;
        ownerd_descriptor() {}
        ownerd_descriptor(const ownerd_descriptor &) = delete;
        ~ownerd_descriptor() { if (fd >= 0) close(fd); }
    };
    """
    cdef cppclass Descriptor "ownerd_descriptor":
        int fd                        # -1: none

# Each as the system's call of that name, errno included.
cdef struct DiskApi:
    int (*openat)(int directory, const char *name, int flags, mode_t mode) noexcept nogil
    ssize_t (*pread)(int fd, void *data, size_t size, off_t offset) noexcept nogil
    ssize_t (*pwrite)(int fd, const void *data, size_t size, off_t offset) noexcept nogil
    int (*fallocate)(int fd, int mode, off_t offset, off_t size) noexcept nogil
    int (*fdatasync)(int fd) noexcept nogil
    int (*fsync)(int fd) noexcept nogil
    int (*renameat)(int before, const char *name, int after, const char *other) noexcept nogil
    int (*unlinkat)(int directory, const char *name, int flags) noexcept nogil

# Filled when the module is imported; only tests change it, while no other thread uses a file.
cdef DiskApi disk
