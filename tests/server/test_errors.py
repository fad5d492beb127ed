"""What an error says to a program: a reason, and what it is about, beside the message."""

import asyncio
import re

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from harness import ServerProcess

from ownerd import client as client_package
from ownerd.client import AsyncClient, Client
from ownerd.client.errors import from_rpc_error
from ownerd.engine.engine import Refused
from ownerd.server import errors
from ownerd.v1 import admin_pb2

EXAMPLES = [
    (errors.InvalidField("list_id", "", "some"), {"field": "list_id"}),
    (errors.InvalidField("list_id", "", "some").within("rows: row 2"), {"field": "list_id"}),
    (errors.MalformedMessage("GetContactListRequest"), {}),
    (errors.InvalidPageToken(), {}),
    (errors.RequestIdReused("id", "Claim"), {"request_id": "id", "method": "Claim"}),
    (errors.ListNotFound("list"), {"list_id": "list"}),
    (errors.CampaignNotFound("A"), {"campaign_id": "A"}),
    (errors.StaleEtag("1", "2"), {"current_etag": "2"}),
    (
        errors.ImportConflict(3, "record", "A"),
        {"row": "3", "record_id": "record", "campaign_id": "A"},
    ),
    (errors.ImportConflict(3, "record", None), {"row": "3", "record_id": "record"}),
    (errors.ImportCutShort(4, None), {"first_row_not_in_force": "4"}),
    (errors.Draining(), {}),
    (errors.SpoolFailed(), {}),
    (errors.Unauthenticated(given=True), {}),
    (errors.PermissionDenied("who", "view", "list l"), {"principal_id": "who", "right": "view"}),
    (errors.RateLimited("who", 20), {"principal_id": "who"}),
    (errors.PrincipalNotFound("who"), {"principal_id": "who"}),
    (errors.PrincipalExists("who"), {"principal_id": "who"}),
    (errors.StalePrincipal("1", "2"), {"current_etag": "2"}),
    (errors.NameTaken("DNS:a", "who"), {"certificate_name": "DNS:a", "principal_id": "who"}),
    (errors.LastAdmin(), {}),
]


class Ended(grpc.RpcError):
    """Stands for a call on the server's side, and for its error on the client's."""

    def __init__(self, status: errors.Status) -> None:
        self._trailers: tuple[tuple[str, str | bytes], ...] = ()
        status.put(self)  # type: ignore[arg-type]

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def set_details(self, details: str) -> None:
        self._details = details

    def set_trailing_metadata(self, trailers: tuple[tuple[str, str | bytes], ...]) -> None:
        self._trailers = trailers

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self._trailers


def info_of(error: grpc.RpcError) -> error_details_pb2.ErrorInfo:
    rich = rpc_status.from_call(error)
    (detail,) = rich.details
    info = error_details_pb2.ErrorInfo()
    assert detail.Unpack(info)
    return info


@pytest.mark.parametrize(
    ("error", "metadata"), EXAMPLES, ids=[type(error).__name__ for error, _ in EXAMPLES]
)
def test_an_error_names_its_reason_and_what_it_is_about(
    error: errors.OwnerdError, metadata: dict[str, str]
) -> None:
    ended = Ended(errors.status_of(error, "Rpc"))
    assert (ended.code(), ended.details()) == (error.code, str(error))
    info = info_of(ended)
    assert (info.domain, info.reason, dict(info.metadata)) == ("ownerd", error.reason, metadata)
    assert re.fullmatch(r"[A-Z][A-Z0-9_]{1,61}[A-Z0-9]", info.reason)
    assert from_rpc_error(ended).reason == error.reason


def test_every_kind_of_error_is_among_them() -> None:
    assert {type(error) for error, _ in EXAMPLES} == set(errors.OwnerdError.__subclasses__())


def test_a_rate_limit_says_how_long_to_wait_beside_its_reason() -> None:
    ended = Ended(errors.status_of(errors.RateLimited("who", 20), "Rpc"))
    assert dict(ended.trailing_metadata())["grpc-retry-pushback-ms"] == "20"
    raised = from_rpc_error(ended)
    assert isinstance(raised, client_package.ResourceExhausted)
    assert (raised.reason, raised.retry_after_s) == ("RATE_LIMITED", 0.02)


def test_without_a_reason_of_ours_there_is_none() -> None:
    refused = Ended(errors.status_of(Refused(5, "no such list"), "Rpc"))
    assert refused.trailing_metadata() == ()
    assert from_rpc_error(refused).reason == ""
    stranger = Ended(errors.Status(grpc.StatusCode.NOT_FOUND, "elsewhere", "GONE"))
    trailers = [(key, value.replace(b"ownerd", b"others")) for key, value in stranger._trailers]
    stranger.set_trailing_metadata(tuple(trailers))
    assert from_rpc_error(stranger).reason == ""
    for damaged in (b"\xff", b""):
        stranger.set_trailing_metadata((("grpc-status-details-bin", damaged),))
        assert from_rpc_error(stranger).reason == ""


def test_a_client_is_told_by_the_server(shared_server: ServerProcess, unique: str) -> None:
    addresses = {"admin_target": shared_server.admin_address}
    with pytest.raises(grpc.RpcError) as failed:
        shared_server.admin_stub().GetContactList(
            admin_pb2.GetContactListRequest(list_id=unique), timeout=10
        )
    info = info_of(failed.value)
    assert (info.reason, info.metadata["list_id"]) == ("LIST_NOT_FOUND", unique)

    with Client(shared_server.dial_address, **addresses) as client:
        with pytest.raises(client_package.NotFound) as raised:
            client.get_list(unique)
        assert raised.value.reason == "LIST_NOT_FOUND"

    async def main() -> None:
        async with AsyncClient(shared_server.dial_address, **addresses) as client:
            with pytest.raises(client_package.InvalidArgument) as raised:
                await client.get_list("")
            assert raised.value.reason == "INVALID_FIELD"

    asyncio.run(main())
