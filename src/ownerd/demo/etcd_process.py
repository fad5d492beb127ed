"""Three etcd members for the demo: real ones, as child processes on free loopback ports.

Owns: their life. Each is ended by its own pid, whatever happens to the demo. Their heartbeat is
slower than by default, so that one small machine keeps it beside everything else.
"""

import random
import shutil
import socket
import subprocess
import time
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path

from ownerd.demo.children import Child

MEMBERS = 3
START_DEADLINE_S = 20.0
STOP_DEADLINE_S = 10.0
NOT_INSTALLED = (
    "etcd is not installed: 'apt install etcd-server' on Debian and Ubuntu; elsewhere put the "
    "program etcd of https://github.com/etcd-io/etcd/releases on your PATH"
)
_LOOK_EVERY_S = 0.05


class EtcdError(Exception):
    """Etcd is not installed, or did not start."""


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback address that nobody has just now.

    They are below those that Linux gives to connections by itself (ip_local_port_range in ip(7)):
    until a server listens there, one of these could be gone.
    """
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < count:
            port = random.randrange(16_384, 32_768)
            with suppress(OSError):
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
                found.append(port)
    return found


class EtcdMembers(Child):
    """A context manager that starts the members and ends them; `addresses` are for clients.

    Raises:
        EtcdError
    """

    def __init__(self, directory: Path) -> None:
        program = shutil.which("etcd")
        if program is None:
            raise EtcdError(NOT_INSTALLED)
        self._program = program
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []
        ports = free_ports(2 * MEMBERS)
        self.addresses = [f"127.0.0.1:{port}" for port in ports[:MEMBERS]]
        self._peers = [f"http://127.0.0.1:{port}" for port in ports[MEMBERS:]]

    def _launch(self) -> None:
        for number in range(MEMBERS):
            self._launch_member(number)

    def _launch_member(self, number: int) -> None:
        client = f"http://{self.addresses[number]}"
        peer = self._peers[number]
        own = self._directory / f"etcd-{number + 1}"
        flags = {
            "name": f"m{number}",
            "data-dir": own,
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": ",".join(f"m{i}={each}" for i, each in enumerate(self._peers)),
            "heartbeat-interval": 200,
            "election-timeout": 2000,
        }
        command = [self._program, *(f"--{flag}={value}" for flag, value in flags.items())]
        with own.with_suffix(".log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for the demo, which then ends them
                )
            )

    def _wait_until_it_serves(self) -> None:
        deadline_s = time.monotonic() + START_DEADLINE_S
        while not all(map(_is_healthy, self.addresses)):
            if any(each.poll() is not None for each in self._processes):
                raise EtcdError("etcd ended early; its logs say why (--keep)")
            if time.monotonic() > deadline_s:
                raise EtcdError(f"etcd did not answer within {START_DEADLINE_S:.0f} s")
            time.sleep(_LOOK_EVERY_S)

    def _stop(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(STOP_DEADLINE_S)


def _is_healthy(address: str) -> bool:
    """Tell whether a member answers, which takes a majority."""
    try:
        with urllib.request.urlopen(f"http://{address}/health", timeout=2) as page:
            return b'"true"' in page.read()
    except OSError:
        return False
