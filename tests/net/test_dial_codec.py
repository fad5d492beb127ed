"""The native decoder against protobuf's own parser, on good, broken and random bytes."""

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from ownerd.engine.engine import (
    CLAIM,
    CLAIM_BATCH,
    DIAL_METHODS,
    GET_HOLDER,
    GIVE_BACK,
    REPORT_ATTEMPT,
    REPORT_ATTEMPT_BATCH,
    Engine,
    Refused,
)
from ownerd.v1 import dial_pb2

NOT_FOUND = 5
INVALID_ARGUMENT = 3
REQUESTS = tuple(getattr(dial_pb2, f"{method}Request") for method in DIAL_METHODS)

KINDS = st.sampled_from(range(len(DIAL_METHODS)))
TEXT = st.text(min_size=1, max_size=12)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine without lists: what decodes is NOT_FOUND, what does not is INVALID_ARGUMENT."""
    path = tmp_path_factory.mktemp("wire")
    with Engine(str(path), map_bytes=1 << 26, background=False) as engine:
        yield engine


def verdict(engine: Engine, kind: int, body: bytes) -> Refused | None:
    """Return how the engine refuses a request; only one that needs no list is answered."""
    try:
        engine.dial(kind, body)
    except Refused as refused:
        return refused
    assert kind == GIVE_BACK and not dial_pb2.GiveBackRequest.FromString(body).list_id
    return None


def refusal(engine: Engine, kind: int, body: bytes) -> Refused:
    """Return how the engine refuses a request that names a list."""
    refused = verdict(engine, kind, body)
    assert refused is not None
    return refused


def parsed(kind: int, body: bytes) -> Message | None:
    """Return what protobuf makes of the bytes, None if it cannot."""
    try:
        return REQUESTS[kind].FromString(body)
    except DecodeError:
        return None


def request(kind: int, texts: list[str]) -> Message:
    """Return a good request of a kind, filled from three or more texts."""
    ids = {"list_id": texts[0]}
    more: dict[str, Any] = {}
    if kind != GET_HOLDER:
        ids |= {"campaign_id": texts[1], "dialer_id": texts[-1]}
    if kind == GIVE_BACK:
        return dial_pb2.GiveBackRequest(**ids)
    if kind in (CLAIM, CLAIM_BATCH):
        more = {"reservation_ttl": Duration(seconds=len(texts[2]))}
    if kind == CLAIM_BATCH:
        return dial_pb2.ClaimBatchRequest(
            **ids, record_ids=texts[2:], return_reservation_ids=True, **more
        )
    told = {"attempt_time": Timestamp(seconds=7, nanos=len(texts[2])), "reservation_id": 1 << 63}
    if kind == REPORT_ATTEMPT_BATCH:
        attempts = [{"record_id": text, "wrap_up_code": text, **told} for text in texts[2:]]
        return dial_pb2.ReportAttemptBatchRequest(**ids, attempts=attempts)
    if kind == REPORT_ATTEMPT:
        more = {"wrap_up_code": texts[-1], **told}
    return REQUESTS[kind](**ids, record_id=texts[2], **more)


def usable(message: Any) -> bool:
    """Tell whether what concerns the whole call is there and right; sizes are small enough here.

    What is wrong with an item of a batch is answered in its place (R25).
    """
    optional = ["dialer_id"]
    if isinstance(message, dial_pb2.GiveBackRequest):
        optional = ["list_id"]
    texts = [
        getattr(message, field.name)
        for field in message.DESCRIPTOR.fields
        if field.cpp_type == field.CPPTYPE_STRING
        and not field.is_repeated
        and field.name not in optional
    ]
    if isinstance(message, dial_pb2.ClaimBatchRequest):
        texts.append(message.record_ids)
    if isinstance(message, dial_pb2.ReportAttemptBatchRequest):
        texts.append(message.attempts)
    return all(texts) and lengths_right(message)


def lengths_right(message: Any) -> bool:
    """Tell whether the times of a claim or a report are what they may be."""
    fields = message.DESCRIPTOR.fields_by_name
    if "reservation_ttl" in fields and message.HasField("reservation_ttl"):
        ttl = message.reservation_ttl
        if not 0 <= ttl.nanos < 10**9 or not 1 <= ttl.seconds + ttl.nanos / 10**9 <= 86_400:
            return False
    if "attempt_time" in fields and message.HasField("attempt_time"):
        return time_right(message.attempt_time)
    return True


def time_right(time: Timestamp) -> bool:
    """Tell whether a Timestamp is one."""
    return -62_135_596_800 <= time.seconds < 253_402_300_800 and 0 <= time.nanos < 10**9


@given(KINDS, st.lists(TEXT, min_size=3, max_size=6))
def test_a_good_request_of_every_kind_is_understood(
    engine: Engine, kind: int, texts: list[str]
) -> None:
    refused = refusal(engine, kind, request(kind, texts).SerializeToString())
    shown = texts[0].partition("\0")[0]
    assert (refused.code, shown in refused.message) == (NOT_FOUND, True), refused.message


@settings(max_examples=2_000)
@given(KINDS, st.lists(TEXT, min_size=3, max_size=4), st.data())
def test_a_damaged_request_is_taken_exactly_when_protobuf_takes_it(
    engine: Engine, kind: int, texts: list[str], data: st.DataObject
) -> None:
    body = bytearray(request(kind, texts).SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body)))
        cut = data.draw(st.integers(0, 3))
        body[place : place + cut] = data.draw(st.binary(max_size=4))
    agree(engine, kind, bytes(body))


@settings(max_examples=2_000)
@given(KINDS, st.binary(max_size=40))
def test_random_bytes_are_taken_exactly_when_protobuf_takes_them(
    engine: Engine, kind: int, body: bytes
) -> None:
    agree(engine, kind, body)


def agree(engine: Engine, kind: int, body: bytes) -> None:
    """Compare the verdicts: undecodable, decodable but incomplete, or understood."""
    message = parsed(kind, body)
    refused = verdict(engine, kind, body)
    if refused is None:
        assert message is not None and usable(message)
        return
    assert refused.code in (INVALID_ARGUMENT, NOT_FOUND), refused.message
    if message is None:
        assert refused.code == INVALID_ARGUMENT, (body, refused.message)
    elif usable(message):
        assert refused.code == NOT_FOUND, (body, refused.message, message)
    else:
        assert "not a well-formed" not in refused.message, (body, message)


@pytest.mark.parametrize("last", [0x00, 0x01, 0x02, 0x30, 0x7F, 0x80])
@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9, 10])
@pytest.mark.parametrize("place", ["tag", "value", "size", "known size", "value in a group"])
def test_varints_longer_than_they_need_be_are_taken_exactly_when_protobuf_takes_them(
    engine: Engine, place: str, count: int, last: int
) -> None:
    """`last` is the byte behind `count` others; of a tenth one all bits but the first are lost."""
    rest = b"\x80" * (count - 1) + bytes((last,))
    odd = {
        "tag": b"\xa8" + rest + b"\x01",
        "value": b"\x28\x80" + rest,
        "size": b"\x32\x81" + rest + b"x",
        "known size": b"\x0a\x81" + rest + b"x",
        "value in a group": b"\x2b\x28\x80" + rest + b"\x2c",
    }
    known = dial_pb2.ClaimRequest(list_id="l", record_id="r", campaign_id="c")
    agree(engine, 0, known.SerializeToString() + odd[place])


@pytest.mark.parametrize("prefix", [b"\x32\x00", b"\x78\x01", b"\x7b\x08\x01\x7c", b"\x2d\0\0\0\0"])
def test_fields_of_a_later_version_are_skipped(engine: Engine, prefix: bytes) -> None:
    known = dial_pb2.ClaimRequest(list_id="l", record_id="r", campaign_id="c")
    assert refusal(engine, 0, prefix + known.SerializeToString()).code == NOT_FOUND


def test_the_last_occurrence_of_a_field_wins(engine: Engine) -> None:
    first = dial_pb2.GetHolderRequest(list_id="first", record_id="1").SerializeToString()
    last = dial_pb2.GetHolderRequest(list_id="last").SerializeToString()
    assert '"last"' in refusal(engine, 4, first + last).message


def test_a_shown_value_is_cut_between_characters(engine: Engine) -> None:
    body = dial_pb2.GetHolderRequest(list_id="ü" * 64, record_id="1").SerializeToString()
    assert "ü" * 32 in refusal(engine, 4, body).message
    assert "�" not in refusal(engine, 4, body).message
