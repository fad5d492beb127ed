"""Page tokens belong to one query; times and lengths convert without loss."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from ownerd.server.admin import convert, page_tokens, validate
from ownerd.server.errors import InvalidField, InvalidPageToken, OtherIncarnation
from ownerd.v1 import admin_pb2

HERE, ELSEWHERE = 7, 2**64 - 1  # ids of incarnations

cursors = st.binary(min_size=1, max_size=200)


def asked(**fields) -> admin_pb2.ListOwnedRecordsRequest:
    return admin_pb2.ListOwnedRecordsRequest(**{"list_id": "contacts", **fields})


@given(cursors)
def test_a_token_brings_its_cursor_back_to_the_same_query(cursor):
    token = page_tokens.encode(asked(campaign_ids=["a"], page_size=10), cursor, HERE)
    assert token.isascii()
    assert not set(token) & set("+/= ")
    # The size of a page may change on the way.
    assert (
        page_tokens.decode(asked(campaign_ids=["a"], page_size=20, page_token=token), HERE)
        == cursor
    )


def test_no_cursor_is_no_token_and_no_token_is_the_first_page():
    assert page_tokens.encode(asked(), b"", HERE) == ""
    assert page_tokens.decode(asked(), HERE) == b""


@pytest.mark.parametrize(
    "other", [asked(list_id="others"), asked(campaign_ids=["b"]), asked(campaign_ids=["a", "b"])]
)
def test_a_token_of_another_query_is_refused(other):
    other.page_token = page_tokens.encode(asked(campaign_ids=["a"]), b"cursor", HERE)
    with pytest.raises(InvalidPageToken):
        page_tokens.decode(other, HERE)


def test_a_token_of_another_rpc_is_refused():
    token = page_tokens.encode(admin_pb2.ListCampaignsRequest(), b"cursor", HERE)
    with pytest.raises(InvalidPageToken):
        page_tokens.decode(admin_pb2.ListContactListsRequest(page_token=token), HERE)


def test_a_token_of_another_incarnation_is_refused_by_that_name():
    token = page_tokens.encode(asked(), b"cursor", ELSEWHERE)
    assert page_tokens.decode(asked(page_token=token), ELSEWHERE) == b"cursor"
    with pytest.raises(OtherIncarnation):
        page_tokens.decode(asked(page_token=token), HERE)


@given(cursors, st.data())
def test_an_edited_token_is_refused(cursor, data):
    token = page_tokens.encode(asked(), cursor, HERE)
    at = data.draw(st.integers(0, len(token) - 2))
    swapped = "A" if token[at] != "A" else "B"
    with pytest.raises((InvalidPageToken, OtherIncarnation)):
        page_tokens.decode(asked(page_token=token[:at] + swapped + token[at + 1 :]), HERE)


@pytest.mark.parametrize("token", ["x", "xx", "=", "é", "a" * 5_000, " ", "abc/def+", "\0"])
def test_what_is_no_token_is_refused(token):
    with pytest.raises(InvalidPageToken):
        page_tokens.decode(asked(page_token=token), HERE)


def test_a_page_size_of_0_is_100_and_more_than_10000_is_10000():
    assert [validate.page_size(size) for size in (0, 1, 10_000, 2**31 - 1)] == [
        100,
        1,
        10_000,
        10_000,
    ]
    with pytest.raises(InvalidField, match="page_size: found -1; allowed: 0"):
        validate.page_size(-1)


@given(st.integers(0, convert.LAST_NS - convert.SECOND_NS))
def test_instants_convert_without_loss(time_ns):
    time = convert.time_of(time_ns)
    assert convert.instant_ns("time", time) == time_ns
    assert time.ToNanoseconds() == time_ns


@given(st.integers(0, convert.CENTURY_NS))
def test_lengths_convert_without_loss(length_ns):
    length = convert.duration_of(length_ns)
    assert convert.length_ns("duration", length, 0) == length_ns
    assert length.ToNanoseconds() == length_ns


@given(st.integers(-(2**62), 2**62))
def test_lengths_below_zero_are_spelt_as_protobuf_wants(length_ns):
    assert convert.duration_of(length_ns).ToNanoseconds() == length_ns


@pytest.mark.parametrize(
    "length",
    [
        Duration(),
        Duration(nanos=999_999_999),
        Duration(seconds=-1),
        Duration(seconds=1, nanos=-1),
        Duration(seconds=5, nanos=1_000_000_000),
        Duration(seconds=36_525 * 86_400, nanos=1),
        Duration(seconds=2**63 - 1, nanos=999_999_999),
    ],
)
def test_r14_durations_outside_1_second_to_100_years_are_refused(length):
    with pytest.raises(InvalidField, match=r"duration: found .*; allowed: 1 second.* 36,525 days"):
        convert.length_ns("duration", length, convert.SECOND_NS)


@pytest.mark.parametrize(
    "time", [Timestamp(seconds=2**40), Timestamp(nanos=-1), Timestamp(nanos=1_000_000_000)]
)
def test_times_that_cannot_be_kept_are_refused(time):
    with pytest.raises(InvalidField, match="expire_time: found"):
        convert.instant_ns("expire_time", time)


def test_a_time_before_1970_is_in_the_past_like_any_other():
    assert convert.instant_ns("expire_time", Timestamp(seconds=-(2**35), nanos=5)) == 0


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ("", False),
        ("x", True),
        ("x" * 80, True),
        ("x" * 81, False),
        ("é" * 40, True),
        ("é" * 40 + "x", False),
        ("😀" * 20, True),
        ("😀" * 21, False),
    ],
)
def test_ids_are_limited_in_bytes_of_utf_8(value, fits):
    if fits:
        assert validate.campaign_id(value) == value
        return
    with pytest.raises(InvalidField, match=r"campaign_id: found .*; allowed: 1 to 80 bytes"):
        validate.campaign_id(value)
