"""The filesystem that a store is on: which ones are refused, and what tells a file from its copy.

A store needs locks and a memory map that every process sees alike. Where other machines, or other
ways to the same files, may not (network, cluster and user-space filesystems), two servers could
grant the same record, so those are refused unless the operator names them.

A file is known by its inode and the time of its birth, which nobody can set: a copy, and whatever
is put in a file's place, has others. They outlive a restart, but for the inodes of filesystems that
give out new ones each time they are mounted.
"""

import os

from ownerd.storage.directory import StoreError

cdef extern from "<sys/vfs.h>" nogil:
    ctypedef struct statfs_t "struct statfs":
        long f_type
    int statfs_of "statfs"(const char *, statfs_t *)

cdef extern from "<sys/stat.h>" nogil:
    ctypedef struct statx_time "struct statx_timestamp":
        int64_t tv_sec
        unsigned int tv_nsec
    ctypedef struct statx_t "struct statx":
        unsigned int stx_mask
        statx_time stx_btime
    int statx_of "statx"(int, const char *, int, unsigned int, statx_t *)
    unsigned int STATX_BTIME

cdef extern from "<fcntl.h>" nogil:
    int AT_FDCWD

# By statfs's f_type: where one process per store cannot be guaranteed.
SHARED_FILESYSTEMS = {
    # of a network
    0x6969: "nfs", 0x517B: "smb", 0xFF534D42: "cifs", 0xFE534D42: "smb2", 0x01021997: "9p",
    0x00C36400: "ceph", 0x5346414F: "afs", 0x6B414653: "afs", 0x73757245: "coda", 0x564C: "ncp",
    # of a cluster
    0x01161970: "gfs2", 0x7461636F: "ocfs2", 0x0BD00BD0: "lustre", 0x47504653: "gpfs",
    0x19830326: "beegfs", 0x20030528: "orangefs", 0xAAD7AAEA: "panfs", 0x61636673: "acfs",
    0xBEEFDEAD: "snfs", 0x013111A8: "ibrix",
    # of a host, in its guest
    0x786F4256: "vboxsf", 0xBACBACBC: "vmhgfs", 0x7C7C6673: "prl_fs",
    # of a process
    0x65735546: "fuse",
}
# Where a store works, and may be gone after a restart.
FLEETING_FILESYSTEMS = {0x01021994: "tmpfs", 0x858458F6: "ramfs", 0x794C7630: "overlayfs"}
NAMES = tuple(sorted(set(SHARED_FILESYSTEMS.values())))

# Their inodes are numbered anew each time that they are mounted.
_RENUMBERED = {0x65735546, 0x4D44, 0x2011BAB0, 0x01021997, 0xBACBACBC, 0x786F4256, 0x7C7C6673}


cdef long filesystem_type(path) except? -1:
    """Return a filesystem's f_type, as 32 bits; 0 if it cannot be found out."""
    cdef statfs_t info
    encoded = os.fsencode(path)
    if statfs_of(encoded, &info) != 0:
        return 0
    return info.f_type & 0xFFFFFFFF


def judge_filesystem(long magic, path, allowed=()):
    """Return a warning about the filesystem of `path` as (its name, text), or None.

    Args:
        magic: statfs's f_type.
        allowed: names out of NAMES that the operator has allowed.

    Raises:
        StoreError: it is a shared one that is not allowed.
    """
    name = SHARED_FILESYSTEMS.get(magic & 0xFFFFFFFF)
    if name is not None and name not in allowed:
        raise StoreError(
            f"{path} is on a filesystem ({name}) where one server per data directory cannot be "
            "guaranteed, and two would grant the same record; use a local disk, or set "
            f"allow_filesystems = {name} if you know that no other way leads to these files"
        )
    if name is not None:
        return name, (
            "one server per data directory cannot be guaranteed on this filesystem, which "
            "allow_filesystems names; see that no other machine or mount leads to these files"
        )
    name = FLEETING_FILESYSTEMS.get(magic & 0xFFFFFFFF)
    if name is not None:
        return name, "what is on this filesystem may be gone after a restart; use a local disk"
    return None


def check_filesystems(paths, allowed=()):
    """Return the warnings, one for each kind of filesystem that the paths are on.

    Raises:
        StoreError: one of them is on a shared filesystem that is not allowed.
    """
    found = {}
    for path in paths:
        warning = judge_filesystem(filesystem_type(path), path, allowed)
        if warning is not None:
            found.setdefault(warning[0], warning[1])
    return list(found.items())


cdef FileMark file_mark(path) except *:
    """Return what the file at `path` is known by.

    Raises:
        OSError: there is none.
    """
    cdef FileMark mark
    cdef statx_t info
    mark.inode = os.stat(path).st_ino
    mark.born_ns = 0
    if filesystem_type(path) in _RENUMBERED:
        mark.inode = 0
    encoded = os.fsencode(path)
    if statx_of(AT_FDCWD, encoded, 0, STATX_BTIME, &info) == 0 and info.stx_mask & STATX_BTIME:
        mark.born_ns = info.stx_btime.tv_sec * 1_000_000_000 + info.stx_btime.tv_nsec
    return mark


cdef bint same_mark(const FileMark *mark, const FileMark *other) noexcept nogil:
    """Tell whether two marks are of one file, as far as both are known."""
    if mark.inode != 0 and other.inode != 0 and mark.inode != other.inode:
        return False
    return mark.born_ns == 0 or other.born_ns == 0 or mark.born_ns == other.born_ns
