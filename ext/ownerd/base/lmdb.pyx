"""LMDB's C functions, bound by name from the library inside the PyPI package lmdb.

Owns the table `lmdb` that every other native module calls LMDB through. The package's extension
module is loaded as a plain shared library; no LMDB header and no system LMDB are needed. py-lmdb's
own `Environment` is never used on a directory that this process opens: LMDB forbids opening one
file twice in a process.

It does not open or own environments.
"""

import importlib.util

from posix.dlfcn cimport RTLD_LOCAL, RTLD_NOW, dlerror, dlopen, dlsym

# The 0.9 engine inside py-lmdb 3 carries a prefix; a py-lmdb that was built against a system LMDB
# exports (through its dependency) the plain names.
_PREFIXES = ("mdb09_", "mdb_")
_HOSTS = ("lmdb.cpython", "lmdb_cffi")

# Older releases lack fixes that the store relies on; 1.0 has another file format.
_OLDEST = (0, 9, 24)
_NEWEST_EXCLUSIVE = (1, 0, 0)

_FIELDS = (
    "version", "strerror", "env_create", "env_open", "env_close", "env_set_mapsize",
    "env_set_maxdbs", "env_set_maxreaders", "env_info", "env_stat", "env_get_fd", "reader_check",
    "reader_list", "txn_id", "txn_begin", "txn_commit", "txn_abort", "txn_reset", "txn_renew",
    "dbi_open", "stat", "get", "put", "del", "cursor_open", "cursor_close", "cursor_get",
    "cursor_put", "cursor_del", "drop", "env_copy2",
)


def _library_files():
    """Return the shared libraries of the installed lmdb package, best first."""
    files = []
    for name in _HOSTS:
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            continue
        if spec is not None and spec.origin and not spec.origin.endswith(".py"):
            files.append(spec.origin)
    return files


cdef void *_open_library(str path) except NULL:
    cdef void *handle = dlopen(path.encode(), RTLD_NOW | RTLD_LOCAL)
    if handle == NULL:
        raise ImportError(f"cannot load LMDB from {path}: {dlerror().decode(errors='replace')}")
    return handle


cdef bint _bind(void *library, bytes prefix) except -1:
    """Fill the table from `library`; False when a name is missing."""
    cdef void **slot = <void **> &lmdb
    cdef void *symbol
    for index, field in enumerate(_FIELDS):
        symbol = dlsym(library, prefix + field.encode())
        if symbol == NULL:
            return False
        slot[<Py_ssize_t> index] = symbol
    return True


def _bind_first(files):
    """Bind the first library that has every function; return the file it came from."""
    for path in files:
        handle = _open_library(path)
        for prefix in _PREFIXES:
            if _bind(handle, prefix.encode()):
                return path
    raise ImportError(
        "no LMDB 0.9 found: looked for mdb09_env_create or mdb_env_create (and the other "
        f"functions of LMDB) in {files or 'the package lmdb, which has no native module'}; "
        "install the PyPI package lmdb, version 3"
    )


def library_version():
    """Return LMDB's version as (major, minor, patch)."""
    cdef int major = 0, minor = 0, patch = 0
    lmdb.version(&major, &minor, &patch)
    return major, minor, patch


def _check_version(path):
    found = library_version()
    if not _OLDEST <= found < _NEWEST_EXCLUSIVE:
        raise ImportError(
            f"LMDB {'.'.join(map(str, found))} in {path} cannot be used: this store needs "
            "0.9.24 or a later 0.9; install the PyPI package lmdb, version 3"
        )


assert sizeof(LmdbApi) == len(_FIELDS) * sizeof(void *)
library_path = _bind_first(_library_files())
_check_version(library_path)
