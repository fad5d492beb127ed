"""Everything that the native core allocates, made and let go of, round after round.

Engine, listener and bridge in one process: lists, imports, releases, vacuums, snapshots, renames;
connections that call, reset, stall, break the protocol or leave in the middle. At the end nothing
is in use any more, so whatever a leak checker finds has been lost. `test_leaks.py` runs it:
`leak_cycles.py ROUNDS`.
"""

import contextlib
import gc
import socket
import struct
import sys
import tempfile
from concurrent.futures import Future
from pathlib import Path

from hyperframe.frame import DataFrame, HeadersFrame, RstStreamFrame
from native_listener import LIST, Loopback, claim_request, holder_request
from raw_http2 import DIAL, RawClient, framed, request_headers
from subject import DAY, OVERWRITE, Code, Policy, Refusal, Row
from subject_engine import EngineSubject

from ownerd.access.table import Access
from ownerd.engine.engine import CLAIM_BATCH
from ownerd.net.aio_bridge import AioBridge
from ownerd.v1 import dial_pb2

BATCH = 2_000
INITIAL_WINDOW_SIZE = 4


def _batch(campaign_id: str, count: int = BATCH) -> bytes:
    request = dial_pb2.ClaimBatchRequest(list_id=LIST, campaign_id=campaign_id)
    request.record_ids.extend(f"record-{number:05}" for number in range(count))
    return request.SerializeToString()


def steer(listener: Loopback) -> None:
    """Use the control plane, the vacuum and the snapshots."""
    subject = listener.subject
    subject.create_list("other", Policy(True, DAY))
    subject.import_rows("other", [Row(f"row-{n}", "AB"[n % 2], f"Name {n}") for n in range(BATCH)])
    for refused in (
        lambda: subject.create_list("other"),
        lambda: subject.release("nowhere"),
        lambda: subject.import_rows("other", [Row("new", "C"), Row("row-1", "A")]),
    ):
        with contextlib.suppress(Refusal):
            refused()
    subject.upsert_code("Own code", Code("Own", True, False))
    with subject.engine.snapshot("other") as snapshot:
        subject.release("other", ["A"])
        subject.update_policy("other", Policy(True, 2 * DAY))
        subject.vacuum()
        assert len(snapshot.records(b"", BATCH)[0]) == BATCH
        snapshot.owners()
        snapshot.holders(["row-1", "nobody's"])
    subject.import_rows("other", [Row("row-1", "C", "Renamed")], OVERWRITE)
    subject.upsert_campaign("B", "Renamed")
    subject.delete_code("Own code")
    subject.delete_list("other", force=True)
    subject.vacuum()
    subject.engine.audit(0, 100)


def post(listener: Loopback) -> None:
    """Send calls by way of a bridge, one of them refused."""
    access = Access(open=True)
    bridge = AioBridge(listener.subject.engine, access, longest_wait_us=0)
    futures = [Future() for _ in range(3)]
    for body, future in zip((_batch("A"), b"\xff", _batch("A", 20_000)), futures, strict=True):
        bridge.dial(CLAIM_BATCH, body, future, access.anybody(), str)
    listener.subject.upsert_campaign("A", "")  # behind them, so they are answered
    bridge.deliver()
    assert [future.exception(0) is None for future in futures] == [True, False, False]


def dial(client: RawClient) -> None:
    """Make calls of every kind on a connection, refused and given up ones too."""
    client.call(DIAL + "Claim", claim_request("1"))
    client.call(DIAL + "Claim", claim_request("1", list_id="nowhere"))
    client.call(DIAL + "ClaimBatch", _batch("A"))
    client.call(DIAL + "ClaimBatch", b"\xff" * 2_000)
    client.call(DIAL + "GetHolder", holder_request("1"), grpc_encoding="gzip")
    client.call("/nowhere", b"")
    for stream in (client.new_stream() for _ in range(20)):
        frames = client.call_frames(stream, DIAL + "ClaimBatch", framed(_batch("B")))
        client.send(*frames[: stream % 5], RstStreamFrame(stream, error_code=8))


def leave(client: RawClient, number: int) -> None:
    """Leave a connection in one of many states."""
    stream = client.new_stream()
    head, *body = client.call_frames(stream, DIAL + "ClaimBatch", framed(_batch("B")))
    if number % 7 == 1:
        client.send(head, body[0])
    elif number % 7 == 2:
        client.send(HeadersFrame(stream, data=client.encoder.encode(request_headers("/"))))
    elif number % 7 == 3:
        client.socket.sendall(b"\xff" * 100)
    elif number % 7 == 4:
        client.send(DataFrame(stream + 100, data=b"idle"))
    elif number % 7 > 4:
        client.send(head, *body)
    if number % 2:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def cycle(directory: Path) -> None:
    """Open everything, use it, close it."""
    limits = {"threads": 2, "max_message_bytes": 100_000, "max_held_bytes": 300_000}
    with Loopback(directory, **limits) as listener:
        steer(listener)
        post(listener)
        for number in range(28):
            settings = {INITIAL_WINDOW_SIZE: 0} if number % 4 == 3 else {}
            with listener.client(settings=settings, greet=number % 9 > 0) as client:
                try:
                    if number % 9 > 0 and not settings:
                        dial(client)
                    leave(client, number)
                    client.read(0.01)
                except OSError:
                    pass  # cut off
        listener.wait_empty()
    reopened = EngineSubject(directory)
    reopened.owners(LIST)
    reopened.close()


def main() -> None:
    """Run as a program; see the module's docstring."""
    for _ in range(int(sys.argv[1])):
        with tempfile.TemporaryDirectory(prefix="ownerd-test-") as directory:
            cycle(Path(directory))
        gc.collect()
    print("nothing is in use")


if __name__ == "__main__":
    main()
