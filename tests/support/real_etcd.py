"""Real etcd members on free ports of this machine, for as long as a block wants them."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from etcd_api import pb, rpc
from tls_files import Authority

from ownerd.demo.etcd_process import free_ports

WANTED = "etcd is not installed (Debian: etcd-server)"


class Member:
    """One member: a process, its address, and what it is asked by."""

    def __init__(
        self,
        command: list[str],
        address: str,
        directory: Path,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self.credentials = credentials
        self.command = command
        self.address = address
        self.directory = directory
        self.output = directory / "output"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the process, or start it again on what it left."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(self.command, stdout=output, stderr=output)

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def ask(self, service: str, call: str, request: Any) -> Any:
        """Make one unary call."""
        made = (
            grpc.secure_channel(self.address, self.credentials)
            if self.credentials
            else grpc.insecure_channel(self.address)
        )
        with made as channel:
            return getattr(getattr(rpc, f"{service}Stub")(channel), call)(request, timeout=5)


@contextmanager
def etcd_members(
    directory: Path, count: int = 1, secure: Authority | None = None, flags: tuple[str, ...] = ()
) -> Iterator[list[Member]]:
    """Run a cluster of members, with further flags; skip the test where etcd is not installed.

    With `secure` they speak TLS with a certificate of it, and ask clients for one.
    """
    program = shutil.which("etcd")
    if program is None:
        pytest.skip(WANTED)
    ports = free_ports(2 * count)
    peers = ",".join(f"m{i}=http://127.0.0.1:{ports[count + i]}" for i in range(count))
    members: list[Member] = []
    scheme, more = "http", [*flags]
    credentials = None
    if secure is not None:
        pair = secure.issue("127.0.0.1")
        scheme = "https"
        credentials = grpc.ssl_channel_credentials(secure.pem, pair.key, pair.certificate)
        more = ["--client-cert-auth"]
        for flag, content in {
            "cert-file": pair.certificate,
            "key-file": pair.key,
            "trusted-ca-file": secure.pem,
        }.items():
            (directory / flag).write_bytes(content)
            more += [f"--{flag}", str(directory / flag)]
    try:
        for i in range(count):
            address = f"127.0.0.1:{ports[i]}"
            peer = f"http://127.0.0.1:{ports[count + i]}"
            own = directory / f"m{i}"
            own.mkdir(parents=True)
            command = [program, "--name", f"m{i}", "--data-dir", str(own / "data"), *more]
            for flag, value in {
                "listen-client-urls": f"{scheme}://{address}",
                "advertise-client-urls": f"{scheme}://{address}",
                "listen-peer-urls": peer,
                "initial-advertise-peer-urls": peer,
                "initial-cluster": peers,
                "heartbeat-interval": "200",  # two cores keep it
                "election-timeout": "2000",
                "logger": "zap",
                "log-level": "warn",
            }.items():
                command += [f"--{flag}", value]
            members.append(Member(command, address, own, credentials))
        for member in members:
            _await(member)
        yield members
    finally:
        for member in members:
            member.kill()


def _await(member: Member) -> None:
    """Wait until a member answers, which takes an election."""
    deadline = time.monotonic() + 30
    while True:
        try:
            member.ask("KV", "Range", pb.RangeRequest(key=b"there"))
            return
        except grpc.RpcError:
            if time.monotonic() > deadline:
                raise RuntimeError(f"etcd does not answer: {member.output.read_text()}") from None
            time.sleep(0.05)
