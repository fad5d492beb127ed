"""Malformed protobuf: INVALID_ARGUMENT or a proper answer, never anything else; protobuf is judge.

The native decoder must take exactly what protobuf takes, and read the same in it.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message
from guarded import Guarded
from harness import ServerProcess
from hypothesis import example, given, settings
from hypothesis import strategies as st
from subject import Policy
from subject_engine import EngineSubject

from ownerd.engine import engine as native
from ownerd.server.admin import clusters
from ownerd.server.admin.service import HANDLERS
from ownerd.v1 import admin_pb2, dial_pb2

OFF = "off"
REQUESTS: dict[int, type[Any]] = {
    native.CLAIM: dial_pb2.ClaimRequest,
    native.CLAIM_BATCH: dial_pb2.ClaimBatchRequest,
    native.REPORT_ATTEMPT: dial_pb2.ReportAttemptRequest,
    native.REPORT_ATTEMPT_BATCH: dial_pb2.ReportAttemptBatchRequest,
    native.GET_HOLDER: dial_pb2.GetHolderRequest,
    native.GIVE_BACK: dial_pb2.GiveBackRequest,
}
TRUNCATED = [
    b"\x0a",
    b"\x0a\x05",
    b"\x0a\x05off",
    b"\x0a\xff\xff\xff\xff\x0f",
    b"\x0a\xff\xff\xff\xff\x07",
    b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x80" * 10,
    b"\x80" * 11,
    b"\xff" * 10,
    b"\x08",
    b"\x00",
    b"\x02\x00",
    b"\x07",
    b"\x0f",
    b"\x0c",
    b"\x0b",
    b"\x0b\x0c",
    b"\x0a\x01\xff",
    b"\x0a\x02\xc0\x80",
    b"\x0a\x03\xed\xa0\x80",
    b"\x0a\x04\xf4\x90\x80\x80",
    b"\x0d\x01\x02",
    b"\x09\x01\x02\x03",
    b"\x1a\x02\x0a\x05",
    b"\x12\x01A\x1a\x80\x80\x80\x80\x08",
]

kinds = st.sampled_from(sorted(REQUESTS))
texts = st.sampled_from(["off", "1", "A", "Busy", "", "é", "x" * 129]) | st.text(max_size=5)


numbers = st.sampled_from((0, 1, 2**63, 2**64 - 1))
seconds = st.sampled_from((0, 1, -1, 86_400, 86_401, 1_800_000_000, 2**62, -(2**63)))
nanos = st.sampled_from((0, 1, -1, 999_999_999, 10**9))


def fill(time: Any, draw: st.DrawFn) -> None:
    """Set a Timestamp or a Duration, right or wrong."""
    time.seconds, time.nanos = draw(seconds), draw(nanos)


@st.composite
def messages(draw: st.DrawFn) -> tuple[int, Message]:
    """A request of any kind, mostly on the list that is switched off."""
    kind = draw(kinds)
    request = REQUESTS[kind]()
    for field in request.DESCRIPTOR.fields:
        if field.name == "list_id":
            request.list_id = draw(st.sampled_from([OFF, OFF, OFF, "unknown", ""]))
        elif field.name == "record_ids":
            request.record_ids.extend(draw(st.lists(texts, max_size=4)))
        elif field.name == "attempts":
            for record_id in draw(st.lists(texts, max_size=4)):
                attempt = request.attempts.add(record_id=record_id, wrap_up_code=draw(texts))
                attempt.reservation_id = draw(numbers)
                if draw(st.booleans()):
                    fill(attempt.attempt_time, draw)
        elif field.message_type is not None:
            if draw(st.booleans()):
                fill(getattr(request, field.name), draw)
        elif field.name == "reservation_id":
            request.reservation_id = draw(numbers)
        elif field.name == "return_reservation_ids":
            request.return_reservation_ids = draw(st.booleans())
        else:
            setattr(request, field.name, draw(texts))
    return kind, request


@st.composite
def damaged(draw: st.DrawFn) -> tuple[int, bytes]:
    """The bytes of a request with some of them changed, cut, doubled or mixed with others."""
    kind, request = draw(messages())
    body = bytearray(request.SerializeToString())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        how = draw(st.sampled_from(("cut", "insert", "change", "append")))
        if how == "cut":
            del body[at : at + draw(st.integers(1, 4))]
        elif how == "insert":
            body[at:at] = draw(st.binary(min_size=1, max_size=6))
        elif how == "change" and at < len(body):
            body[at] ^= 1 << draw(st.integers(0, 7))
        else:
            other_kind, other = draw(messages())
            body += other.SerializeToString()
            kind = draw(st.sampled_from((kind, other_kind)))
    return kind, bytes(body)


@pytest.fixture(scope="module")
def switched_off(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineSubject]:
    """An engine with a disabled list: proper calls are answered there and change nothing."""
    subject = EngineSubject(tmp_path_factory.mktemp("bytes"))
    subject.create_list(OFF, Policy(enabled=False))
    yield subject
    subject.close()


def _answered(subject: EngineSubject, kind: int, body: bytes) -> tuple[int, bytes]:
    """Return (0, answer), or (status code, message)."""
    try:
        return 0, subject.engine.dial(kind, body)
    except native.Refused as refused:
        assert refused.code in (3, 5), (refused.code, refused.message)
        return refused.code, refused.message.encode()


def _check(subject: EngineSubject, kind: int, body: bytes) -> None:
    """What protobuf cannot read is INVALID_ARGUMENT; what it can is answered as it reads it.

    Nothing changes, but that a GiveBack is a commit of its own.
    """
    before = subject.revision()
    found = _answered(subject, kind, body)
    try:
        plain = REQUESTS[kind].FromString(body).SerializeToString()
    except DecodeError:
        assert found[0] == 3, f"protobuf refuses what was taken: {body!r}"
    else:
        again = _answered(subject, kind, plain)
        if kind == native.GIVE_BACK:
            assert found[0] == again[0] and (found[0] == 0 or found == again)
            return
        assert found == again
    assert subject.revision() == before


@settings(max_examples=1500)
@given(damaged())
def test_the_decoder_reads_damaged_requests_as_protobuf_does(
    switched_off: EngineSubject, drawn: tuple[int, bytes]
) -> None:
    _check(switched_off, *drawn)


@settings(max_examples=500)
@given(kinds, st.binary(max_size=60))
@example(native.CLAIM, b"")
def test_the_decoder_reads_random_bytes_as_protobuf_does(
    switched_off: EngineSubject, kind: int, body: bytes
) -> None:
    _check(switched_off, kind, body)


@settings(max_examples=300)
@given(messages())
def test_the_decoder_reads_whole_requests(
    switched_off: EngineSubject, drawn: tuple[int, Message]
) -> None:
    _check(switched_off, drawn[0], drawn[1].SerializeToString())


@pytest.mark.parametrize("body", TRUNCATED, ids=lambda body: body.hex()[:20])
def test_known_traps_are_read_as_protobuf_reads_them(
    switched_off: EngineSubject, body: bytes
) -> None:
    for kind in REQUESTS:
        _check(switched_off, kind, body)
        _check(switched_off, kind, b"\x0a\x03off\x12\x01A\x1a\x01A" + body)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A server of this module's own."""
    with ServerProcess(tmp_path_factory.mktemp("guarded") / "data") as server:
        yield Guarded(server)


def test_malformed_bytes_are_invalid_argument_on_every_rpc(guarded: Guarded) -> None:
    before = guarded.state()
    methods = [("DialService", name) for name in native.DIAL_METHODS]
    methods += [("AdminService", name) for name in HANDLERS]
    for service, method in methods:
        ports = guarded.ports if service == "DialService" else ["admin port"]
        for port in ports:
            for body in (b"\xff\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe"):
                if body == b"\x0a\x02\xff\xfe" and not _begins_with_a_string(method):
                    continue  # a field of another type than expected is skipped, as protobuf does
                code, message = guarded.raw(port, service, method, body)
                assert code == "INVALID_ARGUMENT", (service, method, body, code, message)
                assert "Traceback" not in message
    assert guarded.state() == before
    assert "Traceback" not in guarded.server.log_text


def _begins_with_a_string(method: str) -> bool:
    request = getattr(dial_pb2, f"{method}Request", None) or getattr(admin_pb2, f"{method}Request")
    first = request.DESCRIPTOR.fields_by_number.get(1)
    return first is not None and first.type == first.TYPE_STRING


@settings(max_examples=150)
@given(st.sampled_from(sorted(HANDLERS)), st.binary(max_size=40))
def test_random_bytes_get_a_proper_status_from_every_admin_rpc(
    guarded: Guarded, method: str, body: bytes
) -> None:
    code, message = guarded.raw("admin port", "AdminService", method, body)
    # This server is in no cluster.
    more = ("FAILED_PRECONDITION",) if method in clusters.HANDLERS else ()
    assert code in ("OK", "INVALID_ARGUMENT", "NOT_FOUND", *more), (code, message)
