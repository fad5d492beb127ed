"""A small HTTP/2 client made of frames, for saying to a listener what no proper client says.

Owns one socket. It keeps no window, no stream state and no rules: it sends what it is told and
reports what comes. PINGs and SETTINGS of the server are answered unless `answers` is off.
"""

import socket
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self

import hpack
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)
from sanitizer import patient_s

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEADLINE_S = patient_s(10.0)
DIAL = "/ownerd.v1.DialService/"


class Reply(NamedTuple):
    """What came on one stream: headers and trailers together, the bytes, how it ended."""

    headers: dict[str, str]
    body: bytes
    error_code: int | None  # of a RST_STREAM, if one came

    @property
    def code(self) -> int:
        return int(self.headers["grpc-status"])

    @property
    def message(self) -> bytes:
        """The message without its prefix."""
        flag, size = struct.unpack(">BI", self.body[:5])
        assert (flag, size) == (0, len(self.body) - 5)
        return self.body[5:]


def framed(message: bytes, flag: int = 0) -> bytes:
    """Return a message with gRPC's prefix."""
    return struct.pack(">BI", flag, len(message)) + message


def request_headers(path: str, **changes: str | None) -> list[tuple[str, str]]:
    """Return the headers of a call; `changes` sets or (None) drops some, `_` stands for `-`."""
    headers: dict[str, str | None] = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    for name, value in changes.items():
        name = name.replace("_", "-")
        headers[f":{name}" if f":{name}" in headers else name] = value
    return [(name, value) for name, value in headers.items() if value is not None]


class RawClient:
    """One connection; a context manager that closes it.

    Args:
        address: `host:port` or a socket's path with `unix:`.
        settings: sent in the first SETTINGS frame, by number.
        greet: send preface and SETTINGS.
        receive_bytes: size of the socket's receive buffer; None for the system's.
        tls: an SSLContext, or what wraps a socket as it does; None: plaintext.
        source: the IPv4 address to come from; None: the system's choice.
    """

    def __init__(
        self,
        address: str,
        settings: dict[int, int] | None = None,
        *,
        greet: bool = True,
        receive_bytes: int | None = None,
        tls: Any = None,
        source: str | None = None,
    ) -> None:
        family = socket.AF_UNIX if address.startswith("unix:") else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.settimeout(DEADLINE_S)
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        host, _, port = address.rpartition(":")
        try:
            if source is not None:
                self.socket.bind((source, 0))
            self.socket.connect((host, int(port)) if family == socket.AF_INET else address[5:])
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname=host)
            if greet:
                settings_frame = SettingsFrame(0, settings=settings or {})
                self.socket.sendall(PREFACE + settings_frame.serialize())
        except OSError:
            self.socket.close()
            raise
        self.answers = greet
        self.frames: list[Frame] = []
        self.closed = False
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.headers: dict[int, dict[str, str]] = {}
        self._buffer = b""
        self._next_stream = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    # ---- sending

    def send(self, *frames: Frame) -> None:
        """Send frames with one write."""
        self.socket.sendall(b"".join(frame.serialize() for frame in frames))

    def send_slowly(self, data: bytes) -> None:
        """Send each byte in a segment of its own."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(data)):
            self.socket.sendall(data[at : at + 1])

    def new_stream(self) -> int:
        """Return the number of a stream not used yet."""
        self._next_stream += 2
        return self._next_stream - 2

    def call_frames(
        self,
        stream: int,
        path: str,
        body: bytes,
        *,
        piece_bytes: int = 16_384,
        headers: list[tuple[str, str]] | None = None,
    ) -> list[Frame]:
        """Return the frames of a whole call whose body is `body` as it stands."""
        block = self.encoder.encode(headers or request_headers(path))
        frames: list[Frame] = [HeadersFrame(stream, data=block, flags=["END_HEADERS"])]
        pieces = [body[at : at + piece_bytes] for at in range(0, len(body), piece_bytes)] or [b""]
        frames += [DataFrame(stream, data=piece) for piece in pieces]
        frames[-1].flags.add("END_STREAM")
        return frames

    def call(self, path: str, message: bytes, **changes: str | None) -> Reply:
        """Make a call and wait for its end."""
        stream = self.new_stream()
        headers = request_headers(path, **changes)
        self.send(*self.call_frames(stream, path, framed(message), headers=headers))
        return self.reply(stream)

    # ---- receiving

    def reply(self, stream: int) -> Reply:
        """Wait until a stream is over and return what came on it."""
        self.wait(lambda: self._over(stream), f"the end of stream {stream}")
        mine = [frame for frame in self.frames if frame.stream_id == stream]
        body = b"".join(frame.data for frame in mine if isinstance(frame, DataFrame))
        resets = [frame.error_code for frame in mine if isinstance(frame, RstStreamFrame)]
        return Reply(self.headers.get(stream, {}), body, resets[0] if resets else None)

    def wait(self, look: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
        """Read frames until `look` is true; an end of the connection counts only where it is."""
        end = time.monotonic() + deadline_s
        while not look():
            assert not self.closed, f"the connection ended before {what}: {self.frames[-5:]}"
            assert time.monotonic() < end, f"waited {deadline_s} s for {what}: {self.frames[-5:]}"
            self.read(0.05)

    def wait_closed(self, deadline_s: float = DEADLINE_S) -> None:
        """Read until the server has closed the connection."""
        self.wait(lambda: self.closed, "the end", deadline_s)

    def goaways(self) -> list[tuple[int, int]]:
        """Return (last stream, error code) of the GOAWAY frames that came."""
        return [
            (frame.last_stream_id, frame.error_code)
            for frame in self.frames
            if isinstance(frame, GoAwayFrame)
        ]

    def came(self, kind: type[Frame]) -> list[Frame]:
        """Return the frames of one kind that came."""
        return [frame for frame in self.frames if isinstance(frame, kind)]

    def read(self, patience_s: float, most_bytes: int = 65_536) -> None:
        """Read what comes within `patience_s` seconds, once."""
        self.socket.settimeout(patience_s)
        try:
            data = self.socket.recv(most_bytes)
            self.closed = not data
        except (TimeoutError, BlockingIOError):
            return
        except OSError:
            data, self.closed = b"", True
        finally:
            self.socket.settimeout(DEADLINE_S)
        self._buffer += data
        for frame in self._parsed():
            self._take(frame)

    # ---- private

    def _parsed(self) -> Iterable[Frame]:
        while len(self._buffer) >= 9:
            frame, size = Frame.parse_frame_header(memoryview(self._buffer)[:9])
            if len(self._buffer) < 9 + size:
                return
            frame.parse_body(memoryview(self._buffer)[9 : 9 + size])
            self._buffer = self._buffer[9 + size :]
            yield frame

    def _take(self, frame: Frame) -> None:
        self.frames.append(frame)
        if isinstance(frame, HeadersFrame):
            found = dict(self.decoder.decode(frame.data))
            self.headers.setdefault(frame.stream_id, {}).update(found)
        if not self.answers or "ACK" in frame.flags:
            return
        try:
            if isinstance(frame, PingFrame):
                self.send(PingFrame(0, opaque_data=frame.opaque_data, flags=["ACK"]))
            elif isinstance(frame, SettingsFrame):
                self.send(SettingsFrame(0, flags=["ACK"]))
        except OSError:
            self.closed = True

    def _over(self, stream: int) -> bool:
        return any(
            frame.stream_id == stream
            and ("END_STREAM" in frame.flags or isinstance(frame, RstStreamFrame))
            for frame in self.frames
        )
