"""A workload for power cuts of a restore, under the recorder of `power_recorder.c`.

Marks that it begins, restores a backup into a directory, and marks the end:

    restore_workload.py DIRECTORY BACKUP
"""

import sys
from pathlib import Path

from segment_log_workload import Mark, put

from ownerd.server import restore, verify
from ownerd.server.config import Settings
from ownerd.storage.verify import verify as look


def refuse_damaged(place: str, *, former: bool = False) -> None:
    """Look at the store in this process: another one would be recorded, too."""
    assert all(not row[2] and not row[4] for row in look(place)), place


def main(directory: Path, backup: Path) -> None:
    """Restore the backup."""
    verify.refuse_damaged = refuse_damaged
    put(Mark("begun"))
    restore.restore(Settings(data=str(directory), map_bytes=1 << 28), backup)
    put(Mark("answered"))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
