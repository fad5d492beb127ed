"""Opens a data directory for the programs: is it a store, the right one, and sound?

What the native core found on the way (a store that was made, a copy, a filesystem to be careful
with) becomes a line of the log; what it refuses, an exit code.
"""

from pathlib import Path

import structlog

from ownerd.native import Engine, Opening, StoreError, StoreInUseError
from ownerd.server import exits, verify
from ownerd.server.admin import spool
from ownerd.server.config import Settings

log = structlog.get_logger("ownerd.server")


def open_engine(settings: Settings, *, create: bool | None = None) -> Engine:
    """Open the store, once it is found sound, and start its writer.

    Args:
        settings: which, and with what limits.
        create: whether a store is made where there is none; None: as `must_exist` says.

    Raises:
        exits.StoreInUse, exits.StoreFailed, exits.StoreDamaged
    """
    opening = Opening(
        create=not settings.must_exist if create is None else create,
        store_id=int(settings.store_id, 16) if settings.store_id else None,
        allowed_filesystems=settings.allow_filesystems,
    )
    if settings.verify_at_start and is_store(settings.data):
        verify.refuse_damaged(settings.data)
    engine = _open(settings, opening)
    for event, text in opening.found:
        log.warning(event, data=settings.data, advice=text)
    if leftovers := spool.remove_leftovers(Path(settings.data)):
        log.warning("leftover_imports_removed", count=leftovers)
    return engine


def _open(settings: Settings, opening: Opening) -> Engine:
    try:
        return Engine(
            settings.data,
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
        raise exits.StoreFailed(f"cannot use {settings.data}: {error.strerror}") from None


def is_store(data: str) -> bool:
    """Tell whether both halves of a store are in the directory."""
    return all((Path(data) / name).is_dir() for name in ("journal", "records"))


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
    engine = _open(settings, Opening(allowed_filesystems=settings.allow_filesystems))
    try:
        return spell_id(engine.store_id)
    finally:
        engine.close()
