"""Leaves a store as a kill does: what came to its files is there, and nothing of a clean stop."""

from pathlib import Path

from ownerd.engine.engine import Engine


def data_files(store: Path) -> list[Path]:
    """Return the files of records and log."""
    return [store / "records" / "data.mdb", *sorted((store / "log").iterdir())]


def contents(store: Path) -> dict[str, bytes]:
    """Return what records and log hold, by path."""
    return {str(path.relative_to(store)): path.read_bytes() for path in data_files(store)}


def put_back(store: Path, found: dict[str, bytes]) -> None:
    """Write files into those that are there, as `cp` does."""
    for name, data in found.items():
        (store / name).write_bytes(data)


def kill(engine: Engine, store: Path) -> None:
    """End an engine that is at rest as a kill would."""
    found = contents(store)
    engine.close()
    for path in data_files(store)[1:]:
        if str(path.relative_to(store)) not in found:
            path.unlink()
    put_back(store, found)
