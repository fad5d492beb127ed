"""The exit codes of `ownerd`, and the errors that end it with one line instead of a traceback.

One number means one kind of failure, so that a supervisor can tell a bad configuration (do not
restart) from an address that is in use (try again later).
"""

from typing import ClassVar

OK = 0
FAILED = 1
USAGE = 2
STORE_IN_USE = 3
STORE_FAILED = 4
CANNOT_LISTEN = 5
STORE_DAMAGED = 6
INTERRUPTED = 130

MEANINGS = {
    OK: "done; `serve` was asked to stop and answered every call that it had taken",
    FAILED: "the job failed, or `serve` ended before every call was answered",
    USAGE: "a flag, a variable or the configuration file is wrong",
    STORE_IN_USE: "another server uses the data directory",
    STORE_FAILED: "the store cannot be opened, or the storage failed while serving",
    CANNOT_LISTEN: "an address is in use or cannot be listened on",
    STORE_DAMAGED: "`verify` or `restore` found damage",
    INTERRUPTED: "interrupted by Ctrl-C, before it served",
}


class Stop(Exception):
    """End the program with `exit_code` and the message as one line on stderr."""

    exit_code: ClassVar[int] = FAILED


class ConfigError(Stop):
    """The configuration is wrong; the message names the key, its source and what is allowed."""

    exit_code = USAGE


class StoreInUse(Stop):
    """Another process holds the lock of the data directory."""

    exit_code = STORE_IN_USE


class StoreFailed(Stop):
    """The store cannot be opened."""

    exit_code = STORE_FAILED


class CannotListen(Stop):
    """An address cannot be listened on."""

    exit_code = CANNOT_LISTEN


class StoreDamaged(Stop):
    """The store can be opened, and something in it is not what was written."""

    exit_code = STORE_DAMAGED
