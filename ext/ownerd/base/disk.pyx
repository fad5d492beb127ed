"""The system's calls on files, behind one table: what is written in place of a library's own files.

What keeps data of ours in files calls the system through `disk`, so that a test can have any call
fail, and see every one. It opens and owns no file.
"""

cdef extern from *:
    """
    // The system's takes the mode only where there is one.
    static int ownerd_openat(int directory, const char *name, int flags, mode_t mode) {
        return openat(directory, name, flags, mode);
    }
    """
    int ownerd_openat(int, const char *, int, mode_t) noexcept nogil

cdef extern from "<fcntl.h>" nogil:
    int fallocate(int, int, off_t, off_t) noexcept

cdef extern from "<stdio.h>" nogil:
    int renameat(int, const char *, int, const char *) noexcept

cdef extern from "<unistd.h>" nogil:
    ssize_t pread(int, void *, size_t, off_t) noexcept
    ssize_t pwrite(int, const void *, size_t, off_t) noexcept
    int fdatasync(int) noexcept
    int fsync(int) noexcept
    int unlinkat(int, const char *, int) noexcept

disk.openat = ownerd_openat
disk.pread = pread
disk.pwrite = pwrite
disk.fallocate = fallocate
disk.fdatasync = fdatasync
disk.fsync = fsync
disk.renameat = renameat
disk.unlinkat = unlinkat
