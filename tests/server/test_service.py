"""What a supervisor of services is told: ready, alive, stopping; and what it checks before."""

import os
import socket
import subprocess
import sys

import pytest
from harness import ServerProcess, poll
from sanitizer import patient_s
from tls_files import PAST, Authority, Files

from ownerd.server import exits
from ownerd.server.sd_notify import Notifier


class Supervisor:
    """Takes what a service says, as systemd does."""

    def __init__(self, path):
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.told = []

    def heard(self, line):
        """Whether it was told so by now."""
        try:
            while True:
                self.told += self._socket.recv(4_096).decode().splitlines()
        except BlockingIOError:
            return line in self.told

    def close(self):
        self._socket.close()


@pytest.fixture
def supervisor(tmp_path):
    found = Supervisor(tmp_path / "notify")
    yield found
    found.close()


def test_a_supervisor_hears_of_start_life_reload_and_stop(supervisor, tmp_path):
    environment = {"NOTIFY_SOCKET": str(supervisor.path), "WATCHDOG_USEC": "200000"}
    with ServerProcess(tmp_path / "data", environment=environment) as server:
        poll(lambda: supervisor.heard("READY=1"), "the start")
        assert supervisor.told[0] == "STATUS=opening and checking the store"
        poll(lambda: supervisor.told.count("WATCHDOG=1") > 1 or supervisor.heard("x"), "life")
        supervisor.told.clear()
        server.send(1)
        poll(lambda: supervisor.heard("READY=1"), "the reload's end")
        assert "RELOADING=1" in supervisor.told
        assert any(line.startswith("MONOTONIC_USEC=") for line in supervisor.told)
        server.stop()
        assert supervisor.heard("STOPPING=1")


def test_a_watchdog_of_another_process_is_not_fed():
    fed = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "3000000"}
    assert Notifier(fed).watchdog_s == 3
    assert Notifier({**fed, "WATCHDOG_PID": str(os.getpid())}).watchdog_s == 3
    assert Notifier({**fed, "WATCHDOG_PID": "1"}).watchdog_s == 0
    Notifier(fed).ready("nobody hears it")


def checked(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "ownerd.server", "config", "--check", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=patient_s(60),
    )


def test_a_configuration_is_checked_before_it_counts(tmp_path):
    authority = Authority()
    good = Files(tmp_path / "good", authority.issue())
    over = Files(tmp_path / "over", authority.issue(**PAST))
    data = ("--data", tmp_path / "store")

    def tls(files):
        return (*data, "--tls-certificate", files.certificate, "--tls-key", files.key)

    done = checked(*tls(good))
    assert (done.returncode, done.stderr) == (exits.OK, "")
    assert "no store" in done.stdout and done.stdout.endswith("The configuration is good.\n")
    for arguments, code, words in (
        ((), exits.USAGE, "no data directory"),
        ((*data, "--must-exist"), exits.STORE_FAILED, "ownerd init"),
        ((*data, "--queue-limit", "1"), exits.USAGE, "queue_limit"),
        ((*data, "--admin-listen", "0.0.0.0:1"), exits.USAGE, "no TLS"),
        ((*data, "--tls-certificate", good.certificate), exits.USAGE, "tls_key"),
        (tls(over), exits.USAGE, "expired"),
    ):
        done = checked(*arguments)
        assert done.returncode == code and words in done.stderr and not done.stdout, arguments
    assert not (tmp_path / "store").exists()
