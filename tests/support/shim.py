"""Faults of the disk on demand: a preloaded fdatasync that waits or fails when told."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import poll
from sanitizer import plain_environment, preload

SOURCE = Path(__file__).with_name("sync_shim.c")


class SyncShim:
    """The switches of one preloaded shim; `environment` goes to the server process."""

    def __init__(self, directory: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler to build the shim with")
        directory.mkdir(exist_ok=True)
        self.directory = directory
        library = directory / "shim.so"
        command = [compiler, "-shared", "-fPIC", "-Wall", "-o", str(library), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True, timeout=60, env=plain_environment())
        self.environment = {"LD_PRELOAD": preload(str(library)), "SYNC_SHIM_DIR": str(directory)}

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Make every sync that begins in the block wait until its end."""
        (self.directory / "waiting").unlink(missing_ok=True)
        (self.directory / "hold").touch()
        try:
            yield
        finally:
            (self.directory / "hold").unlink()

    def wait_until_held(self) -> None:
        """Return when a sync waits."""
        poll((self.directory / "waiting").exists, "a sync to begin")

    def fail(self, what: str = "fail") -> None:
        """Make every sync fail from now on; `fail-write`: every write into the log."""
        (self.directory / what).touch()

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Make every sync in the block take half a second longer."""
        (self.directory / "slow").touch()
        try:
            yield
        finally:
            (self.directory / "slow").unlink()

    @property
    def failed_count(self) -> int:
        """How many syncs have failed."""
        failed = self.directory / "failed"
        return failed.stat().st_size if failed.exists() else 0
