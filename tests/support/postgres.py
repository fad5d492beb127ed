"""A PostgreSQL of the test's own, from what Debian installs: on a socket in a directory of its own.

It refuses to run as root, so there it runs as `postgres` or `nobody`. It is ended by its pid.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from harness import poll
from sanitizer import patient_s, plain_environment

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
DEADLINE_S = patient_s(30)


def missing() -> str:
    """Say why there can be none here; "" if there can."""
    if not PROGRAMS and shutil.which("initdb") is None:
        return "no initdb here (Debian: apt-get install postgresql)"
    return ""


def _account() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise LookupError("neither an account postgres nor nobody")


class Postgres:
    """One cluster of databases and its server process."""

    def __init__(self) -> None:
        found = PROGRAMS[-1] if PROGRAMS else Path(str(shutil.which("initdb"))).resolve()
        self._programs = found.parent
        self._account = _account()
        self.directory = Path(tempfile.mkdtemp(prefix="ownerd-pg-", dir="/tmp"))
        if self._account is not None:
            os.chown(self.directory, self._account.pw_uid, self._account.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", "data", "-U", "tester", "-A", "trust", "-N", "-E", "UTF8").wait()
        self.url = f"postgresql+psycopg://tester@/postgres?host={self.directory}"

    def _run(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        account = self._account
        log = (self.directory / f"{program}.log").open("ab")
        with log:
            return subprocess.Popen(
                [str(self._programs / program), *arguments],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**plain_environment(), "LC_ALL": "C.UTF-8", "PGTZ": "UTC"},
                user=None if account is None else account.pw_uid,
                group=None if account is None else account.pw_gid,
                extra_groups=None if account is None else [],
            )

    def start(self) -> None:
        """Start the server and return when it takes connections."""
        socket = f"-k{self.directory}"
        self._process = self._run("postgres", "-D", "data", socket, "-h", "", "-F")
        poll(self._is_ready, "PostgreSQL", DEADLINE_S)

    def _is_ready(self) -> bool:
        return self._run("pg_isready", "-h", str(self.directory)).wait() == 0

    def stop(self) -> None:
        """End the server at once, and its connections."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(DEADLINE_S)
            self._process = None

    def close(self) -> None:
        """End the server and take its files away."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
