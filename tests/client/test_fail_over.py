"""Clients with several addresses: they find the one that leads, stay with it, and go on from it."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from fake_server import FakeServer

from ownerd.client import Client, ClientError, OwnershipRow
from ownerd.client.fail_over import Attempts, Places, split
from ownerd.client.requests.call import ADMIN, DIAL
from ownerd.v1 import admin_pb2, dial_pb2

GRANTED = dial_pb2.ClaimResponse(decision=1, revision=7)
ATTEMPT_S = 0.4

Connect = Callable[..., Any]


class Failure(grpc.RpcError):
    """A call that ended with a code."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code


UNAVAILABLE = Failure(grpc.StatusCode.UNAVAILABLE)
LATE = Failure(grpc.StatusCode.DEADLINE_EXCEEDED)


@pytest.fixture
def other() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def several(fake: FakeServer, other: FakeServer, connect: Connect) -> Any:
    return connect(f"{fake.address},{other.address}", attempt_timeout_s=ATTEMPT_S)


def claim(client: Any, **options: Any) -> Any:
    return client.claim("customers", "42", "spring", **options)


def test_it_goes_on_from_an_address_that_refuses_and_stays_where_it_is_answered(
    nobody: str, other: FakeServer, connect: Connect
) -> None:
    other.answer("Claim", GRANTED)
    client = connect(f"{nobody}, {other.address}")
    assert claim(client).allowed and claim(client).allowed
    assert len(other.requests["Claim"]) == 2


def test_it_goes_on_from_a_server_that_does_not_lead_and_stays_away(
    fake: FakeServer, other: FakeServer, several: Any
) -> None:
    fake.stand_by()
    other.answer("Claim", GRANTED)
    assert [claim(several).allowed for _ in range(3)] == [True] * 3
    assert (len(fake.requests["Claim"]), len(other.requests["Claim"])) == (1, 3)


def test_a_server_that_is_frozen_costs_one_attempt(
    fake: FakeServer, other: FakeServer, several: Any
) -> None:
    fake.hold("Claim")
    other.answer("Claim", GRANTED)
    assert [claim(several).allowed for _ in range(2)] == [True] * 2
    assert len(fake.requests["Claim"]) == 1


def test_it_comes_back_when_the_other_no_longer_leads(
    fake: FakeServer, other: FakeServer, several: Any
) -> None:
    fake.answer("Claim", GRANTED)
    other.answer("Claim", GRANTED)
    fake.fail(grpc.StatusCode.UNAVAILABLE)
    assert claim(several).allowed
    other.stand_by()
    assert claim(several).allowed
    assert (len(fake.requests["Claim"]), len(other.requests["Claim"])) == (2, 2)


def test_a_refusal_is_no_fail_over(fake: FakeServer, other: FakeServer, several: Any) -> None:
    fake.fail(grpc.StatusCode.NOT_FOUND)
    with pytest.raises(ClientError) as told:
        claim(several)
    assert told.value.code is grpc.StatusCode.NOT_FOUND
    assert not other.requests["Claim"]


def test_r20_a_change_that_is_sent_again_has_the_same_request_id(
    fake: FakeServer, other: FakeServer, several: Any
) -> None:
    fake.hold("UpsertCampaign")
    other.answer("UpsertCampaign", admin_pb2.UpsertCampaignResponse(revision=3))
    assert several.upsert_campaign("spring", "Spring") == 3
    [first], [second] = fake.requests["UpsertCampaign"], other.requests["UpsertCampaign"]
    assert first == second and first.request_id


def test_with_several_addresses_admin_calls_want_the_leader_and_dials_need_not_say_so(
    fake: FakeServer, several: Any, connect: Connect
) -> None:
    fake.answer("Claim", GRANTED)
    fake.answer("ListOwners", admin_pb2.ListOwnersResponse())
    several.owners("customers")
    claim(several)
    connect(fake.address).owners("customers")
    assert fake.wanted_leader == [True, False, False]


def test_without_a_leader_a_call_ends_with_unavailable(
    fake: FakeServer, other: FakeServer, connect: Connect
) -> None:
    fake.stand_by()
    other.stand_by()
    client = connect(f"{fake.address},{other.address}", attempt_timeout_s=0.05)
    for ask in (lambda: claim(client), lambda: client.owners("customers")):
        with pytest.raises(ClientError) as told:
            ask()
        assert told.value.code is grpc.StatusCode.UNAVAILABLE
    assert len(fake.requests["Claim"]) > 1 and len(other.requests["Claim"]) > 1


def test_the_deadline_of_a_call_is_for_all_its_attempts(
    fake: FakeServer, other: FakeServer, connect: Connect
) -> None:
    fake.hold("Claim")
    other.hold("Claim")
    client = connect(f"{fake.address},{other.address}", attempt_timeout_s=0.1)
    with pytest.raises(ClientError) as told:
        claim(client, timeout_s=0.35)
    assert told.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(fake.requests["Claim"]) + len(other.requests["Claim"]) >= 2


def test_imports_and_exports_begin_at_the_leader(
    fake: FakeServer, other: FakeServer, several: Any
) -> None:
    fake.stand_by()
    other.answer("WhoAmI", admin_pb2.WhoAmIResponse())
    other.answer("ExportOwnership", [])
    other.answer("ImportOwnership", admin_pb2.ImportOwnershipResponse())
    assert list(several.export_ownership("customers")) == []
    several.import_ownership("customers", [OwnershipRow("1", "spring")])
    assert not fake.requests["ExportOwnership"] and not fake.requests["ImportOwnership"]
    assert len(other.requests["ExportOwnership"]) == len(other.requests["ImportOwnership"]) == 1


def test_r30_a_watch_goes_on_at_the_next_address(fake: FakeServer, other: FakeServer) -> None:
    def one(revision: int) -> admin_pb2.WatchResponse:
        return admin_pb2.WatchResponse(revision=revision, complete=True, incarnation_id="i")

    fake.answer("Watch", [one(4)])
    fake.fail(grpc.StatusCode.UNAVAILABLE)
    other.answer("Watch", [one(5)])
    with Client(f"{other.address},{fake.address}") as client:
        other.fail(grpc.StatusCode.UNAVAILABLE)
        watch = client.watch(["customers"], from_revision=3)
        assert next(watch).number == 5
        watch.close()  # type: ignore[attr-defined]
    assert [each.from_revision for each in other.requests["Watch"]] == [3, 3]
    assert [each.from_revision for each in fake.requests["Watch"]] == [3]


def test_a_client_that_is_closed_sends_nothing_again(
    fake: FakeServer, other: FakeServer, several: Any
) -> None:
    fake.stand_by()
    several.close()
    with pytest.raises((ClientError, ValueError, grpc.RpcError)):
        claim(several)
    assert not other.requests["Claim"]


# ---- the attempts of one call


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_targets_are_split_at_commas() -> None:
    assert split("a:1, b:2,") == ["a:1", "b:2"]
    assert split("unix:/run/a,b") == ["unix:/run/a,b"]
    assert split("a:1") == ["a:1"]


def test_one_address_has_one_attempt_with_all_the_time() -> None:
    attempts = Attempts(Places("a:1"), DIAL, 5.0)
    assert (attempts.timeout_s, attempts.pause_after(UNAVAILABLE)) == (5.0, None)


def test_a_dial_outlasts_two_leases_at_a_server_that_is_frozen() -> None:
    clock = Time()
    attempts = Attempts(Places("a:1,b:1"), DIAL, 15.0, now=clock)
    waited = []
    while True:
        at, timeout_s = attempts.address, attempts.timeout_s
        assert timeout_s is not None and timeout_s <= 2.5
        clock.now_s += timeout_s if at == "a:1" else 0.0
        pause_s = attempts.pause_after(LATE if at == "a:1" else UNAVAILABLE)
        waited.append((at, clock.now_s))
        if pause_s is None:
            break
        clock.now_s += pause_s
    last_s = max(when for at, when in waited if at == "b:1")
    assert 100 + 10 < last_s <= 100 + 15


def test_an_admin_call_that_takes_long_is_given_more_time_each_time() -> None:
    attempts = Attempts(Places("a:1,b:1"), ADMIN, 60.0, now=Time())
    given = []
    for _ in range(3):
        given.append(attempts.timeout_s)
        attempts.pause_after(LATE)
    assert given == [2.5, 5.0, 10.0]


def test_threads_that_fail_together_go_on_by_one_address() -> None:
    places = Places("a:1,b:1,c:1")
    tries = [Attempts(places, DIAL, 15.0) for _ in range(4)]
    for each in tries:
        each.pause_after(UNAVAILABLE)
    assert [each.address for each in tries] == ["b:1"] * 4 and places.leader == "b:1"


def test_a_stream_that_ends_at_its_deadline_stays_where_it_is() -> None:
    places = Places("a:1,b:1")
    assert Attempts(places, ADMIN, 120.0, None).pause_after(LATE) is None
    assert places.leader == "a:1"
