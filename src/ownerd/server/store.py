"""Opens a data directory for the programs: is it a store, the right one, and sound?

What the native core found on the way (a store that was made, a copy, a filesystem to be careful
with) becomes a line of the log; what it refuses, an exit code.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from ownerd import native
from ownerd.native import Engine, Opening, StoreError, StoreInUseError
from ownerd.server import exits, verify
from ownerd.server.admin import spool
from ownerd.server.config import Settings

_DAY_NS = 86_400 * 10**9
# A store may well have been stopped for less.
_LONG_STOP_NS = 30 * _DAY_NS

log = structlog.get_logger("ownerd.server")


def open_engine(
    settings: Settings, *, create: bool | None = None, node: Any = None, clock: Any = None
) -> Engine:
    """Open the store, once it is found sound, and start its writer.

    Args:
        settings: which, and with what limits.
        create: whether a store is made where there is none; None: as `must_exist` says.
        node: of the cluster that the store is in; None: in none.
        clock: the server's time; None: one of its own.

    Raises:
        exits.StoreInUse, exits.StoreFailed, exits.StoreDamaged
    """
    opening = _opening(settings, create=not settings.must_exist if create is None else create)
    opening.cluster = node
    if settings.verify_at_start and is_store(settings.data):
        verify.refuse_damaged(settings.data)
    engine = open_at(settings, opening, clock)
    for event, text in opening.found:
        log.warning(event, data=settings.data, advice=text)
    _tell_of_a_jump(settings, opening, engine)
    if leftovers := spool.remove_leftovers(Path(settings.data)):
        log.warning("leftover_imports_removed", count=leftovers)
    return engine


def flush_before(settings: Settings) -> None:
    """Bring all that a store's own log has into its records, where there is a store of ours.

    A store that is in a cluster already is left as it is.
    """
    if not is_store(settings.data):
        return
    try:
        open_at(settings, _opening(settings, create=False)).close()
    except exits.StoreFailed as error:
        log.debug("not_flushed_before", cause=str(error))


def _tell_of_a_jump(settings: Settings, opening: Opening, engine: Engine) -> None:
    """Warn of a wall clock that is far ahead of what the store has seen: it may be wrong.

    Once something is committed by it, that is the time of the store (R19).
    """
    ahead_ns = -engine.clock_offset_ns + engine.time_ns - opening.stored_ns
    if opening.stored_ns and ahead_ns >= _LONG_STOP_NS:
        log.warning(
            "clock_far_ahead",
            data=settings.data,
            days=ahead_ns // _DAY_NS,
            advice="the wall clock is that far ahead of the last time that this store was written. "
            "If the clock is wrong, stop the server before it grants anything, and set it right: "
            "holds that end by that time are over, and 'ownerd clock' brings back only the time",
        )


def _opening(settings: Settings, *, create: bool) -> Opening:
    return Opening(
        create=create,
        store_id=int(settings.store_id, 16) if settings.store_id else None,
        allowed_filesystems=settings.allow_filesystems,
        log_keep_bytes=settings.log_keep_bytes,
        log_keep_ns=int(settings.log_keep_s * 10**9),
    )


def open_at(settings: Settings, opening: Opening, clock: Any = None) -> Engine:
    """Open the store, and start its writer.

    Raises:
        exits.StoreInUse, exits.StoreFailed
    """
    try:
        return Engine(
            settings.data,
            clock,
            map_bytes=settings.map_bytes,
            queue_limit=settings.queue_limit,
            reserve_bytes=settings.reserve_bytes,
            memtable_bytes=settings.overlay_bytes,
            vacuum_interval_s=settings.settle_interval_s,
            opening=opening,
        )
    except StoreInUseError as error:
        raise exits.StoreInUse(str(error)) from None
    except StoreError as error:
        raise exits.StoreFailed(str(error)) from None
    except OSError as error:
        raise exits.StoreFailed(
            f"cannot use {settings.data}: {error.strerror}{_advice_on(error)}"
        ) from None


def _advice_on(error: OSError) -> str:
    """Say what to do about what the system said, where that is not plain."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "; make room on its disk, then start again"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "; all of it belongs to the server's user: see 'ls -lR', and 'chown -R' it back"
    return ""


def open_stopped(settings: Settings, *, time_ns: int = 0) -> tuple[Engine, Opening]:
    """Open a store that is there for a look, or to set its time back; see `clock`.

    Raises:
        exits.StoreInUse, exits.StoreFailed, exits.StoreDamaged
    """
    opening = _opening(settings, create=False)
    opening.time_ns = time_ns
    if settings.verify_at_start and is_store(settings.data):
        verify.refuse_damaged(settings.data)
    return open_at(settings, opening), opening


def is_store(data: str) -> bool:
    """Tell whether a store of this version is in the directory.

    Raises:
        exits.StoreFailed: it cannot be looked into.
    """
    try:
        return all((Path(data) / name).is_dir() for name in ("log", "records"))
    except OSError as error:
        named = error.filename or data
        raise exits.StoreFailed(f"cannot use {named}: {error.strerror or error}") from None


def is_former(settings: Settings) -> bool:
    """Tell whether a store of an earlier version is there, or one whose migration was cut off."""
    try:
        return native.is_former(settings.data)
    except OSError as error:
        raise exits.StoreFailed(f"cannot use {settings.data}: {error.strerror}") from None


def migrate(settings: Settings) -> list[str]:
    """Make a store of an earlier version one of this version's; return what was done, in lines.

    Raises:
        exits.StoreInUse, exits.StoreFailed, exits.StoreDamaged: it can be tried again.
    """
    with _failures(settings, "the migration has not ended", "; nothing is lost, run it again"):
        if native.is_former(settings.data):
            # In a process of its own: LMDB trusts its pages, and reading a torn file ends it.
            verify.refuse_damaged(settings.data, former=True)
        done = native.migrate(settings.data, **_limits(settings))
    if done is None:
        return [f"The store in {settings.data} is of this version's format: nothing to do."]
    if done.former_format == done.format:
        return [f"The migration of the store in {settings.data} had all but ended; it has now."]
    return [
        f"The store in {settings.data} is migrated from format {done.former_format} to "
        f"{done.format}, at revision {done.revision}.",
        f"{done.record_count:,} records and {done.row_count:,} other rows; {done.replayed_count:,} "
        "changes were moved from the former log into the records.",
    ]


def compact(settings: Settings) -> str:
    """Give back to the disk what the records of a store do not need; return what came of it.

    Raises:
        exits.StoreInUse, exits.StoreFailed, exits.StoreDamaged: the message says whether it may
            be compacted all the same.
    """
    if is_store(settings.data):
        verify.refuse_damaged(settings.data)
    # The last step syncs the directory in which the new file has its place already.
    with _failures(settings, "the store is whole, as it was or compacted"):
        done = native.compact(settings.data, **_limits(settings))
    return (
        f"The records of the store in {settings.data} took {done.bytes_before:,} bytes, and take "
        f"{done.bytes_after:,}."
    )


def _limits(settings: Settings) -> dict[str, Any]:
    """Return what whoever rewrites a stopped store keeps to."""
    return {
        "map_bytes": settings.map_bytes,
        "store_id": int(settings.store_id, 16) if settings.store_id else None,
        "allowed_filesystems": settings.allow_filesystems,
    }


@contextmanager
def _failures(settings: Settings, outcome: str, advice: str = "") -> Iterator[None]:
    """Have the storage's errors end the program, those of the system with what came of it."""
    try:
        yield
    except StoreInUseError as error:
        raise exits.StoreInUse(str(error)) from None
    except StoreError as error:
        raise exits.StoreFailed(str(error)) from None
    except OSError as error:
        named = error.filename or settings.data
        said = f"{outcome}: {named}: {error.strerror or error}{advice}"
        raise exits.StoreFailed(said) from None


def spell_id(store_id: int) -> str:
    """Return a store's id as the setting `store_id` takes it."""
    return f"{store_id:016x}"


def init(settings: Settings) -> str:
    """Make a new, empty store where there is none; return its id as `store_id` takes it.

    Raises:
        exits.StoreInUse, exits.StoreFailed: also if there is a store already.
    """
    if is_store(settings.data):
        raise exits.StoreFailed(
            f"there is a store in {settings.data} already; nothing was changed. 'ownerd serve' "
            "serves it; name another directory to make a new one"
        )
    opening = Opening(allowed_filesystems=settings.allow_filesystems)
    engine = open_at(settings, opening)
    try:
        if not any(event == "store_created" for event, _ in opening.found):
            raise exits.StoreFailed(f"there is a store in {settings.data} already")
        return spell_id(engine.store_id)
    finally:
        engine.close()
