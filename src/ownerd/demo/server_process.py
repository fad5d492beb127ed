"""The demo's server: a real `ownerd serve` as a child process on free loopback ports.

Owns: its life. It is ended by its own pid, whatever happens to the demo. Its log goes to a file,
from which the addresses are read: the line `listening` of each listener names them.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from ownerd.client import AsyncClient
from ownerd.demo.children import Child

START_DEADLINE_S = 15.0
STOP_DEADLINE_S = 10.0
ADMIN_TOKEN_FILE = "admin.token"
ANY_PORT = "127.0.0.1:0"
_LOOK_EVERY_S = 0.02
_SHOWN_LINES = 5
# The second: once it leads its cluster.
_LISTENS = ("listening", "listens_when_leading")


class ServerError(Exception):
    """The server did not start or ended early; the message has the end of its log."""


class DemoServer(Child):
    """A server on a store of its own; a context manager that starts and ends it.

    `dial_address` and `admin_address` are known once it is entered, and so is the administrator's
    token, which the server writes before it listens.
    """

    def __init__(
        self,
        store: Path,
        log_path: Path,
        *more: str,
        listen: tuple[str, str] = (ANY_PORT, ANY_PORT),
        metrics: str = "",
    ) -> None:
        """Take a store of its own; `listen` are the addresses of both listeners."""
        self._store = store
        self._flags = ["--dial-listen", listen[0], "--admin-listen", listen[1]]
        self._flags += ["--metrics-listen", metrics, *more]
        self._log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None
        self.dial_address = ""
        self.admin_address = ""

    @property
    def pid(self) -> int:
        """The pid of the running server."""
        assert self._process is not None
        return self._process.pid

    @property
    def admin_token_file(self) -> Path:
        """Where the server puts the administrator's token."""
        return self._store / ADMIN_TOKEN_FILE

    def administrator(self) -> AsyncClient:
        """Return a client that may do everything."""
        return AsyncClient(
            self.dial_address, admin_target=self.admin_address, token_file=self.admin_token_file
        )

    def kill(self) -> None:
        """End it as the death of its machine would, with SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_DEADLINE_S)

    def _launch(self) -> None:
        command = [sys.executable, "-m", "ownerd.server", "serve", "--data", str(self._store)]
        command += self._flags
        # The settings of a server that this user runs otherwise are not for the demo's.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OWNERD_")}
        environment["OWNERD_LOG_FORMAT"] = "json"
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the demo, which then ends the server
            )

    def _wait_until_it_serves(self) -> None:
        deadline_s = time.monotonic() + START_DEADLINE_S
        while not (self.dial_address and self.admin_address):
            if self._process is not None and self._process.poll() is not None:
                raise self._error(f"the server ended with code {self._process.returncode}")
            if time.monotonic() > deadline_s:
                raise self._error(f"the server did not listen within {START_DEADLINE_S:.0f} s")
            time.sleep(_LOOK_EVERY_S)
            addresses = self._addresses()
            self.dial_address = addresses.get("dial", "")
            self.admin_address = addresses.get("admin", "")

    def _addresses(self) -> dict[str, str]:
        events = filter(None, map(_parsed, self._log_path.read_text("utf-8").splitlines()))
        return {
            event["listener"]: event["address"]
            for event in events
            if event.get("event") in _LISTENS
        }

    def _error(self, message: str) -> ServerError:
        lines = self._log_path.read_text("utf-8", "replace").splitlines()[-_SHOWN_LINES:]
        return ServerError("\n".join([f"{message}; the end of its log:", *lines]))

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_DEADLINE_S)


def _parsed(line: str) -> dict[str, str] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
