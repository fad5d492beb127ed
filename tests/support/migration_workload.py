"""A workload for power cuts of a migration, under the recorder of `power_recorder.c`.

Copies a store durably, marks that it is there, and migrates it; marks the end:

    migration_workload.py DIRECTORY STORE
"""

import os
import sys
from pathlib import Path

from segment_log_workload import Mark, put

from ownerd.storage.directory import sync_directory
from ownerd.storage.migration import migrate


def copy(store: Path, directory: Path) -> None:
    """Copy what is below a directory, each file and name on the disk when this returns."""
    directory.mkdir()
    for path in sorted(store.iterdir()):
        place = directory / path.name
        if path.is_dir():
            copy(path, place)
            continue
        with place.open("wb") as file:
            file.write(path.read_bytes())
            file.flush()
            os.fsync(file.fileno())
    sync_directory(str(directory))


def main(directory: Path, store: Path) -> None:
    """Make and migrate the copy."""
    copy(store, directory)
    sync_directory(str(directory.parent))
    put(Mark("begun"))
    migrate(str(directory), map_bytes=1 << 30, step_rows=16)
    put(Mark("answered"))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
