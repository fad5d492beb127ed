"""A store that is being restored: a data directory inside the one that it is for, till it is whole.

    DIR/RESTORING/  while it is made: whatever it holds, there is no store yet, and the next restore
                    begins anew
    DIR/RESTORED/   the same directory once it is whole and on the disk: its parts have yet to get
                    their places in DIR, records last, which any opening goes on with

So a restore that is cut off leaves no store, or all of one. Nothing that is a store, or a part of
one, is overwritten or removed; but whoever wants a store replaced has it set aside first:

    DIR/REPLACED/   what was the store, until another one is whole in its place; where that fails,
                    it gets its place back
"""

import os
import shutil

from ownerd.storage.directory cimport (
    DirectoryLock, lock_directory, lock_init, unlock_directory,
)

from ownerd.storage.directory import StoreError, prepare_directory, sync_directory
from ownerd.storage.filesystem import check_filesystems

_RESTORING, _RESTORED, _REPLACED = "RESTORING", "RESTORED", "REPLACED"
# In the order in which they get their places.
_PARTS = ("SESSION", "log", "records")
# Each of them says that there is a store, or a part of one.
_OF_A_STORE = ("log", "records", "journal", "CREATING", "MIGRATING")


def finish_restore(directory):
    """Give the parts of a store that was restored their places; True if there was one.

    The directory is locked by whoever calls.
    """
    restored = os.path.join(directory, _RESTORED)
    if not os.path.lexists(restored):
        return False
    for name in _PARTS:
        if os.path.lexists(os.path.join(restored, name)):
            os.rename(os.path.join(restored, name), os.path.join(directory, name))
            sync_directory(directory)
            sync_directory(restored)
    shutil.rmtree(os.path.join(directory, _REPLACED), ignore_errors=True)
    shutil.rmtree(restored)
    sync_directory(directory)
    return True


def is_restored(directory):
    """Tell whether a restore has ended of which some parts have yet to get their places."""
    return os.path.lexists(os.path.join(directory, _RESTORED))


def refuse_unrestored(directory):
    """Raise StoreError if a restore was cut off in a directory that has no store."""
    unfinished = os.path.join(directory, _RESTORING)
    if os.path.lexists(unfinished):
        raise StoreError(
            f"a restore into {directory} has not ended, and there is no store: run 'ownerd "
            f"restore' again; or remove {unfinished}, if there is to be none"
        )


cdef class Restoring:
    """Restores a store into a directory that has none; a context manager.

    In the block the directory is locked, and `place` is an empty data directory inside it, with the
    directories `log` and `records`. `finish` makes what is there the store; without it the block
    leaves nothing.

    Args:
        directory: the data directory; made if it is not there.
        allowed_filesystems: names of shared filesystems (`filesystem`) that it may be on.
        replace: whether a store that is there makes room, and goes once the other one is whole.

    Attributes:
        found: what to warn of, as texts.

    Raises:
        StoreInUseError: another process has the directory.
        StoreError: there is a store already, or a part of one.
        OSError: it cannot be written.
    """

    cdef DirectoryLock lock
    cdef readonly str directory
    cdef readonly str place
    cdef readonly list found
    cdef object allowed
    cdef bint replace, whole

    def __init__(self, str directory, allowed_filesystems=(), bint replace=False):
        lock_init(&self.lock)
        self.directory = directory
        self.place = os.path.join(directory, _RESTORING)
        self.allowed = allowed_filesystems
        self.replace, self.whole = replace, False
        self.found = []

    def __enter__(self):
        prepare_directory(self.directory)
        warnings = check_filesystems([self.directory], self.allowed)
        self.found = [f"{name}: {text}" for name, text in warnings]
        lock_directory(&self.lock, self.directory)
        try:
            if not self.replace:
                self._refuse_store()
            self._remove()
            for path in (self.place, *self._directories()):
                os.mkdir(path, 0o700)
            sync_directory(self.directory)
            if self.replace:          # after that: without a store, a restore is under way
                self._set_aside()
        except BaseException:
            unlock_directory(&self.lock)
            raise
        return self

    def __exit__(self, *exception):
        try:
            if self.replace and not self.whole:
                self._move(self._aside(), self.directory, _PARTS)
                os.rmdir(self._aside())
            self._remove()
        finally:
            unlock_directory(&self.lock)

    def finish(self):
        """Make what is in `place`, whose files are on the disk, the store of the directory."""
        for path in (*self._directories(), self.place):
            sync_directory(path)
        os.rename(self.place, os.path.join(self.directory, _RESTORED))
        sync_directory(self.directory)
        finish_restore(self.directory)
        self.whole = True

    def _aside(self):
        return os.path.join(self.directory, _REPLACED)

    def _set_aside(self):
        """Move the store out of the way, records first; go on where that was cut off."""
        finish_restore(self.directory)
        if os.path.lexists(os.path.join(self.directory, "records")):
            shutil.rmtree(self._aside(), ignore_errors=True)   # of one that was replaced before
        os.makedirs(self._aside(), 0o700, exist_ok=True)
        self._move(self.directory, self._aside(), _PARTS[::-1])

    def _move(self, former, to, names):
        """Move what is a store's from one directory to the other, in an order."""
        for name in names:
            if os.path.lexists(os.path.join(former, name)):
                os.rename(os.path.join(former, name), os.path.join(to, name))
        sync_directory(to)
        sync_directory(former)

    def _directories(self):
        return [os.path.join(self.place, name) for name in ("log", "records")]

    def _refuse_store(self):
        if finish_restore(self.directory):
            raise StoreError(
                f"a restore into {self.directory} had all but ended, and has now: its store is "
                "there. Name another directory to restore another one"
            )
        there = [
            name for name in _OF_A_STORE
            if os.path.lexists(os.path.join(self.directory, name))
        ]
        if there:
            raise StoreError(
                f"there is a store in {self.directory} already ({', '.join(there)}); nothing was "
                "changed. A restore never overwrites one: name another directory, or move it away"
            )

    def _remove(self):
        """Remove what a restore has left that did not end."""
        if os.path.lexists(self.place):
            shutil.rmtree(self.place)
            sync_directory(self.directory)
