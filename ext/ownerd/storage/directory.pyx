"""The data directory: made durably, locked for one process.

Locked with flock before anything in it is opened are the directory itself, DIR/LOCK (which names
the process), the data file and the directory of the log: LOCK may be taken for left over and
deleted, but who deletes the others has no store any more. The kernel lets go of the locks when the
process ends, however it ends.

A server whose files were deleted, moved or replaced goes on with what no path leads to, and would
not keep a second server out: `lock_place` tells.
"""

import errno
import fcntl
import os

from posix.stat cimport fstat, stat, struct_stat
from posix.fcntl cimport O_CREAT, O_WRONLY, openat
from posix.unistd cimport close, fsync

from ownerd.base.assertions cimport assert_that

cdef extern from "<fcntl.h>" nogil:
    int O_CLOEXEC

cdef enum:
    DIRECTORY = 0
    LOCK_FILE = 1
    FIRST_DATA_FILE = 2

# In the order in which they are locked.
_LOCKED = ("", "LOCK", os.path.join("records", "data.mdb"), "log")


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


def make_directories(path):
    """Make a directory and those above it that are missing, each durable in the one above it."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    make_directories(parent)
    os.mkdir(path, 0o700)
    sync_directory(parent)


def prepare_directory(directory):
    """Make the data directory durably.

    Raises:
        StoreError: it cannot be made.
    """
    try:
        make_directories(os.path.abspath(directory))
    except OSError as error:
        raise StoreError(f"cannot create {directory}: {error.strerror}") from error
    sync_directory(directory)
    sync_directory(os.path.dirname(os.path.abspath(directory)))


# --- the locks ------------------------------------------------------------------------------------

cdef void lock_init(DirectoryLock *lock) noexcept nogil:
    cdef int i
    for i in range(LOCKED_FILES):
        lock.fds[i] = -1


cdef lock_directory(DirectoryLock *lock, str directory):
    """Lock what is there and not locked yet, without waiting.

    Raises:
        StoreInUseError: another process has it.
        StoreError: it cannot be opened or locked.
    """
    cdef int i
    for i in range(LOCKED_FILES):
        path = os.path.normpath(os.path.join(os.path.abspath(directory), _LOCKED[i]))
        if lock.fds[i] >= 0 or (i >= FIRST_DATA_FILE and not os.path.exists(path)):
            continue
        lock.fds[i] = lock_file(path, directory)
        encoded = os.fsencode(path)
        lock.paths[i].assign(<const char *> encoded, len(encoded))
        if i == LOCK_FILE:
            os.ftruncate(lock.fds[i], 0)
            os.pwrite(lock.fds[i], f"{os.getpid()}\n".encode(), 0)


def lock_file(path, directory):
    """Return a descriptor of a file of the data directory, locked; closed, it lets go.

    Raises:
        StoreInUseError: another process has it.
        StoreError: it cannot be opened or locked.
    """
    is_lock = os.path.basename(path) == "LOCK"
    flags = os.O_RDONLY if os.path.isdir(path) else os.O_RDWR
    try:
        fd = os.open(path, flags | os.O_CLOEXEC | (os.O_CREAT if is_lock else 0), 0o600)
    except OSError as error:
        raise StoreError(f"cannot open {path} to lock it: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if error.errno == errno.EWOULDBLOCK:
            raise StoreInUseError(
                f"{directory} is in use by another server (process {_owner(directory)}); stop "
                "that one or name another data directory"
            ) from error
        raise StoreError(
            f"cannot lock {path}: {error.strerror}; a store is served only under a lock"
        ) from error
    return fd


def _owner(directory):
    """Return the process that LOCK names, as text."""
    try:
        with open(os.path.join(directory, "LOCK"), "rb") as file:
            return file.read(32).decode(errors="replace").strip() or "unknown"
    except OSError:
        return "unknown"


cdef void unlock_directory(DirectoryLock *lock) noexcept nogil:
    cdef int i
    for i in range(LOCKED_FILES):
        if lock.fds[i] >= 0:
            close(lock.fds[i])
            lock.fds[i] = -1


cdef void note_failure(const DirectoryLock *lock) noexcept nogil:
    """Leave a file that says that a commit failed, whose outcome nobody knows."""
    cdef int fd = openat(
        lock.fds[DIRECTORY], "FAILED", O_WRONLY | O_CREAT | O_CLOEXEC, 0o600
    )
    if fd >= 0:
        fsync(fd)
        close(fd)
        fsync(lock.fds[DIRECTORY])


cdef Place lock_place(const DirectoryLock *lock) noexcept nogil:
    """Tell whether the paths still lead to the files that are locked."""
    cdef struct_stat held, found
    cdef Place place = IN_PLACE
    cdef int i
    for i in range(LOCKED_FILES):
        assert_that(lock.fds[i] >= 0, "a store that is open is locked")
        if fstat(lock.fds[i], &held) != 0 or stat(lock.paths[i].data(), &found) != 0 \
                or held.st_dev != found.st_dev or held.st_ino != found.st_ino:
            place = LOCK_FILE_LOST if i == LOCK_FILE else FILES_LOST
            if place == FILES_LOST:
                break
    return place
