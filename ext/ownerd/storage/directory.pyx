"""The data directory: made durably, locked for one process, refused on a network filesystem.

DIR/LOCK is locked with flock before anything in the directory is opened. The kernel lets go of it
when the process ends, however it ends.
"""

import os

cdef extern from "<sys/file.h>" nogil:
    int flock(int, int)
    int LOCK_EX
    int LOCK_NB

cdef extern from "<sys/vfs.h>" nogil:
    ctypedef struct statfs_t "struct statfs":
        long f_type
    int statfs_of "statfs"(const char *, statfs_t *)

# Filesystems on which neither flock nor a shared memory map can be trusted between machines.
NETWORK_FILESYSTEMS = {
    0x6969: "NFS", 0x517B: "SMB", 0xFF534D42: "CIFS", 0xFE534D42: "SMB2", 0x01021997: "9p",
    0x00C36400: "Ceph", 0x5346414F: "AFS",
}


class StoreError(Exception):
    """The data directory cannot be opened; the message says why and what to do."""


class StoreInUseError(StoreError):
    """Another process has the data directory."""


def sync_directory(path):
    """Make the entries of a directory durable; LMDB never does."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def refuse_network_filesystem(int magic, path):
    """Raise StoreError if a filesystem type (statfs f_type) is one of NETWORK_FILESYSTEMS."""
    name = NETWORK_FILESYSTEMS.get(magic & 0xFFFFFFFF)
    if name is not None:
        raise StoreError(
            f"{path} is on a network filesystem ({name}), where one process per data directory "
            "cannot be guaranteed; use a local disk"
        )


cdef int take_lock(str directory) except -1:
    """Lock DIR/LOCK for this process; the kernel lets go when the process ends, however it does."""
    path = os.path.join(directory, "LOCK")
    cdef int fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if flock(fd, LOCK_EX | LOCK_NB) != 0:
        owner = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise StoreInUseError(
            f"{directory} is in use by another server (process {owner}); stop that one or name "
            "another data directory"
        )
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def make_directories(path):
    """Make a directory and those above it that are missing, each durable in the one above it."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    make_directories(parent)
    os.mkdir(path, 0o700)
    sync_directory(parent)


def prepare_directory(directory):
    """Make the data directory durably; refuse what cannot hold a store."""
    try:
        make_directories(os.path.abspath(directory))
    except OSError as error:
        raise StoreError(f"cannot create {directory}: {error.strerror}") from error
    cdef statfs_t info
    encoded = os.fsencode(directory)
    if statfs_of(encoded, &info) == 0:
        refuse_network_filesystem(info.f_type, directory)
    sync_directory(directory)
    sync_directory(os.path.dirname(os.path.abspath(directory)))
