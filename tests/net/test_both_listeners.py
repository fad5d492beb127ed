"""One table of questions for both listeners: what a peer sends, and what each of them answers.

They give the same answer but where grpcio's C core leaves us no say. Those rows have an answer for
each, and a reason:

- It does not look at the method, the content type or TE before a call: what is no gRPC call is
  reset, or served.
- It knows compressions, which the native listener does without: `grpc-accept-encoding` tells.
- Nothing tells a request that is cut short from none; and a message with a flag that is none is
  handed over empty.
- It knows nothing of streams that are over and takes no offence; nghttp2 could not either, and the
  native listener does as RFC 9113 says.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import pytest
from harness import ServerProcess
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, RstStreamFrame
from native_listener import claim_request
from raw_http2 import DIAL, RawClient, framed, request_headers
from subject import DAY, Policy, Refusal
from subject_grpc import GrpcSubject

pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")

LIST = "both"
BODY = framed(claim_request("1", list_id=LIST))
CLAIM = DIAL + "Claim"
PATIENCE_S = 5.0
CANCEL = 0x8
OK, INVALID, DEADLINE, EXHAUSTED, UNIMPLEMENTED, INTERNAL = "0", "3", "4", "8", "12", "13"
GOAWAY, RESET = "GOAWAY", "RST_STREAM"

Ask = Callable[[RawClient], None]


class Row(NamedTuple):
    """A question, and its answer by each listener: a code, a GOAWAY or a reset."""

    name: str
    ask: Ask
    native: str
    grpcio: str


def same(name: str, ask: Ask, answer: str) -> Row:
    return Row(name, ask, answer, answer)


def head(client: RawClient, *flags: str, path: str = CLAIM, **changes: str | None) -> HeadersFrame:
    headers = request_headers(path, **changes)
    return HeadersFrame(1, data=client.encoder.encode(headers), flags=["END_HEADERS", *flags])


def call(body: bytes = BODY, path: str = CLAIM, **changes: str | None) -> Ask:
    """Return what makes a whole call."""

    def ask(client: RawClient) -> None:
        client.send(
            head(client, path=path, **changes), DataFrame(1, data=body, flags=["END_STREAM"])
        )

    return ask


def no_body(client: RawClient) -> None:
    client.send(head(client, "END_STREAM"))


def trailers(client: RawClient) -> None:
    found = [("authorization", "Bearer x"), ("grpc-timeout", "1n"), ("grpc-encoding", "gzip")]
    client.send(
        head(client),
        DataFrame(1, data=BODY),
        HeadersFrame(1, data=client.encoder.encode(found), flags=["END_HEADERS", "END_STREAM"]),
    )


def begun(piece: bytes) -> Ask:
    """Return what begins a call with a deadline and never ends it."""

    def ask(client: RawClient) -> None:
        client.send(head(client, grpc_timeout="200m"), DataFrame(1, data=piece))

    return ask


def idle_reset(client: RawClient) -> None:
    client.send(head(client), RstStreamFrame(3, error_code=CANCEL))
    client.send(DataFrame(1, data=BODY, flags=["END_STREAM"]))


def pieces(count: int) -> Ask:
    """Return what makes a call whose headers come in so many CONTINUATIONs."""

    def ask(client: RawClient) -> None:
        block = client.encoder.encode(request_headers(CLAIM))
        client.send(
            HeadersFrame(1, data=block[:20]),
            *[ContinuationFrame(1, data=b"") for _ in range(count - 1)],
            ContinuationFrame(1, data=block[20:], flags=["END_HEADERS"]),
            DataFrame(1, data=BODY, flags=["END_STREAM"]),
        )

    return ask


def data_after_the_end(client: RawClient) -> None:
    call()(client)
    client.wait(lambda: client._over(1), "the answer")
    client.send(DataFrame(1, data=b"x", flags=["END_STREAM"]))


ROWS = [
    same("a good call", call(), OK),
    same("identity", call(grpc_encoding="identity"), OK),
    same("+proto", call(content_type="application/grpc+proto"), OK),
    same("unknown service", call(path="/x/y"), UNIMPLEMENTED),
    same("unknown method", call(path=DIAL + "Nonsense"), UNIMPLEMENTED),
    same("no timeout at all", call(grpc_timeout="soon"), INTERNAL),
    same("a timeout of nothing", call(grpc_timeout="0S"), DEADLINE),
    same("compressed, and not told how", call(framed(b"x", 1)), INTERNAL),
    same("compressed, told not to be", call(framed(b"x", 1), grpc_encoding="identity"), INTERNAL),
    same("no message", call(b""), UNIMPLEMENTED),
    same("no body", no_body, UNIMPLEMENTED),
    same("two messages", call(BODY * 2), UNIMPLEMENTED),
    same("a message of 4 GiB", call(b"\0\xff\xff\xff\xff"), EXHAUSTED),
    same("no protobuf", call(framed(b"\xff")), INVALID),
    same("trailers like headers", trailers, OK),
    same("a deadline before the body", begun(b""), DEADLINE),
    same("a deadline amid the prefix", begun(BODY[:3]), DEADLINE),
    same("a deadline amid the message", begun(BODY[:9]), DEADLINE),
    same("a deadline before the end", begun(BODY), DEADLINE),
    same("a reset of a stream not begun", idle_reset, OK),
    same("headers in 2 pieces", pieces(1), OK),
    same("headers in 9 pieces", pieces(8), OK),
    same("headers in 17 pieces", pieces(16), OK),
    # grpcio's C core leaves us no say in these.
    Row("GET", call(method="GET"), INTERNAL, RESET),
    Row("text", call(content_type="text/html"), INTERNAL, OK),
    Row("no content type", call(content_type=None), INTERNAL, OK),
    Row("no te", call(te=None), INTERNAL, RESET),
    Row("a timeout of 9 digits", call(grpc_timeout="123456789S"), INTERNAL, OK),
    Row("a message that says it may be compressed", call(grpc_encoding="gzip"), UNIMPLEMENTED, OK),
    Row("an encoding that nobody knows", call(grpc_encoding="x"), UNIMPLEMENTED, INTERNAL),
    Row("a flag that nobody knows", call(framed(BODY[5:], 2)), INTERNAL, INVALID),
    Row("a prefix cut short", call(BODY[:4]), INTERNAL, UNIMPLEMENTED),
    Row("a message cut short", call(BODY[:-1]), INTERNAL, UNIMPLEMENTED),
    Row("one message and a half", call(BODY + BODY[:4]), UNIMPLEMENTED, OK),
    Row("headers in 18 pieces", pieces(17), GOAWAY, OK),
    Row("data after the end", data_after_the_end, RESET, OK),
]


@pytest.fixture(
    scope="module",
    params=["native-dial-port", "native-admin-port", "grpcio-dial-port", "grpcio-admin-port"],
)
def listener(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Which listener it is, and where."""
    fixture = "grpcio_server" if request.param.startswith("grpcio") else "shared_server"
    process: ServerProcess = request.getfixturevalue(fixture)
    subject = GrpcSubject(process.dial_stub(), process.admin_stub())
    with suppress(Refusal):  # another listener of the same server made it
        subject.create_list(LIST, Policy(True, None, None, DAY))
    address = process.admin_address if "admin" in request.param else process.dial_address
    return request.param.partition("-")[0], address


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_both_listeners_answer(listener: tuple[str, str], row: Row) -> None:
    kind, address = listener
    with RawClient(address) as client:
        row.ask(client)
        client.wait(
            lambda: client.closed or bool(client.goaways()) or client._over(1),
            f"an answer to {row.name}",
            PATIENCE_S,
        )
        client.read(0.05)
        assert _answer(client) == getattr(row, kind), client.frames


def _answer(client: RawClient) -> str:
    if client.goaways():
        return GOAWAY
    if any(frame.error_code for frame in client.came(RstStreamFrame)):
        return RESET
    return client.headers[1]["grpc-status"]
