"""A real server process for tests, on loopback and free ports, and the channels to it.

Owns: the life of `ownerd serve` as a child process. Every process started here is ended by its own
pid, also when a test fails. `start`, `stop`, `kill` and `restart` belong to one thread; the rest of
`ServerProcess` may be used from any thread once it is started.

Does not know any rule: it starts, stops and listens to the log. That no secret is in the log is
checked of every server that a test runs.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import grpc
from sanitizer import in_front, patient_s, plain_environment

from ownerd.v1 import admin_pb2_grpc, dial_pb2_grpc

Found = TypeVar("Found")

SECRET = re.compile(r"ownerd_[A-Za-z0-9_-]{43}|PRIVATE KEY")
DEADLINE_S = patient_s(10.0)
START_DEADLINE_S = patient_s(30.0)
STOP_DEADLINE_S = patient_s(30.0)
# The second: the dial addresses of a node of a cluster.
LISTENING = ("listening", "listens_when_leading")
CHANNEL_OPTIONS = (
    # Channels that shared a subchannel would share its back-off too, across a server's restart.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.max_receive_message_length", 64 << 20),
)


def poll(look: Callable[[], Found | None], what: str, deadline_s: float = DEADLINE_S) -> Found:
    """Call `look` every 10 ms until it returns something true, and return that.

    Raises:
        TimeoutError: `deadline_s` seconds passed; the message says `what` was waited for.
    """
    end = time.monotonic() + deadline_s
    while not (found := look()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {deadline_s} s for {what}")
        time.sleep(0.01)
    return found


def listeners(kind: str) -> tuple[str, ...]:
    """Return arguments of `ownerd serve`: both listeners of one kind, native or grpcio."""
    return ("--dial-listener", kind, "--admin-listener", kind)


class ServerDidNotStart(Exception):
    """The server ended, or said nothing, before it listened; carries its exit code and its log."""

    def __init__(self, server: "ServerProcess") -> None:
        self.exit_code = server.exit_code
        self.log_text = server.log_text
        super().__init__(f"exit code {self.exit_code}, log:\n{self.log_text}")


class ServerProcess:
    """One `ownerd serve` on one data directory; a context manager that stops it at the end.

    Args:
        directory: the data directory; made by the server where it is missing.
        arguments: further arguments of `ownerd serve`.
        environment: variables set on top of this process's own.
        command: words put in front of the Python executable, such as `strace ...`.
        auth: whether it asks who one is; then the stubs carry the first administrator's token.
    """

    def __init__(
        self,
        directory: Path | str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = (),
        auth: bool = False,
    ) -> None:
        self.directory = Path(directory)
        self.arguments = arguments if auth else (*arguments, "--no-auth")
        self.auth = auth
        self.environment = dict(environment or {})
        self.command = in_front(*command)
        self.log_lines: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._channels: list[grpc.Channel] = []

    # ---- life

    def start(self) -> "ServerProcess":
        """Start the process and return when both listeners are up.

        Raises:
            ServerDidNotStart: it ended first, or 30 s passed (then it is killed).
        """
        self.launch()
        try:
            poll(self._listens_or_ended, "the listeners", START_DEADLINE_S)
        except TimeoutError:
            self.kill()
            raise ServerDidNotStart(self) from None
        if self.exit_code is not None:
            self.wait()
            raise ServerDidNotStart(self)
        return self

    def launch(self) -> None:
        """Start the process and return at once; the log lines of earlier lives are dropped."""
        assert self._process is None or self._process.poll() is not None, "it still runs"
        self.log_lines = []
        self._process = subprocess.Popen(
            [
                *self.command,
                sys.executable,
                "-m",
                "ownerd.server",
                "serve",
                "--data",
                str(self.directory),
                "--dial-listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
                "--metrics-listen",
                "",
                *self.arguments,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **(plain_environment() if self.command else os.environ),
                "OWNERD_LOG_FORMAT": "json",
                **self.environment,
            },
        )
        self._reader = threading.Thread(
            target=self._read_log, args=(self._process, self.log_lines), daemon=True
        )
        self._reader.start()

    def stop(self) -> int:
        """Send SIGTERM and return the exit code; after 30 s the process is killed."""
        self.ask_to_stop()
        return self.wait()

    def ask_to_stop(self) -> None:
        """Send SIGTERM and return at once."""
        self.send(signal.SIGTERM)

    def kill(self) -> int:
        """Send SIGKILL and return the exit code (negative: the signal)."""
        self.send(signal.SIGKILL)
        return self.wait()

    def wait(self, deadline_s: float = STOP_DEADLINE_S) -> int:
        """Wait for the process to end by itself and return the exit code.

        Raises:
            TimeoutError: it did not end in time; it is killed then.
        """
        assert self._process is not None, "it was never started"
        try:
            self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(deadline_s)
            raise TimeoutError(f"it did not end in {deadline_s} s:\n{self.log_text}") from None
        finally:
            assert self._reader is not None
            self._reader.join(deadline_s)
        assert not SECRET.search(self.log_text), "a token or a key is in the log"
        return self._process.returncode

    def restart(self) -> "ServerProcess":
        """Stop it if it runs, then start it again on the same directory, on new ports."""
        if self.running:
            self.stop()
        return self.start()

    def __enter__(self) -> "ServerProcess":
        return self if self.running else self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.stop()
        while self._channels:
            self._channels.pop().close()

    # ---- what it says

    @property
    def running(self) -> bool:
        """Whether the process has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The pid of the process (of `command`, if there is one)."""
        assert self._process is not None, "it was never started"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def log_text(self) -> str:
        """Everything that this life of the process wrote on stderr."""
        return "\n".join(self.log_lines)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The log lines that are JSON objects, parsed."""
        return [line for line in map(_parse_line, list(self.log_lines)) if line is not None]

    def address(self, listener: str) -> str | None:
        """The `host:port` that the log names for `listener` (dial, admin, metrics), if it does."""
        for event in self.events:
            if event.get("event") in LISTENING and event.get("listener") == listener:
                return str(event["address"])
        return None

    @property
    def dial_address(self) -> str:
        """Where the dial listener is."""
        return self._known_address("dial")

    @property
    def admin_address(self) -> str:
        """Where the admin listener is."""
        return self._known_address("admin")

    # ---- talking to it

    def channel(self, address: str) -> grpc.Channel:
        """Return a new channel to `address`; it is closed when the `with` block ends."""
        channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._channels.append(channel)
        return channel

    @property
    def token(self) -> str:
        """The first administrator's token; needs `auth`."""
        return (self.directory / "admin.token").read_text().strip()

    def _known_channel(self, address: str) -> grpc.Channel:
        """Return a new channel to `address`, whose calls are the first administrator's."""
        channel = self.channel(address)
        return grpc.intercept_channel(channel, _Bearer(self.token)) if self.auth else channel

    def dial_stub(self, address: str | None = None) -> dial_pb2_grpc.DialServiceStub:
        """Return a stub of DialService on a channel of its own, by default on the dial port."""
        return dial_pb2_grpc.DialServiceStub(self._known_channel(address or self.dial_address))

    def admin_stub(self) -> admin_pb2_grpc.AdminServiceStub:
        """Return a stub of AdminService on a channel of its own."""
        return admin_pb2_grpc.AdminServiceStub(self._known_channel(self.admin_address))

    # ---- private

    def send(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _known_address(self, listener: str) -> str:
        address = self.address(listener)
        assert address is not None, f"no line says where {listener} listens:\n{self.log_text}"
        return address

    def _listens_or_ended(self) -> bool:
        up = self.address("dial") is not None and self.address("admin") is not None
        return up or self.exit_code is not None

    @staticmethod
    def _read_log(process: subprocess.Popen[str], lines: list[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                lines.append(line.rstrip("\n"))


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
):
    """Sends a token with every call."""

    def __init__(self, token: str) -> None:
        self._header = ("authorization", f"Bearer {token}")

    def _intercept(self, go_on: Callable[..., Any], details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), self._header]
        return go_on(details._replace(metadata=metadata), request)

    intercept_unary_unary = intercept_unary_stream = intercept_stream_unary = _intercept


def _parse_line(line: str) -> dict[str, Any] | None:
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None
