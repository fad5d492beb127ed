"""What an error says to a program: a reason, and what it is about, beside the message."""

import asyncio
import re

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from harness import ServerProcess

from ownerd import client as client_package
from ownerd.client import AsyncClient, Client
from ownerd.client.errors import from_rpc_error
from ownerd.engine.engine import Refused
from ownerd.native import REASONS
from ownerd.server import errors
from ownerd.v1 import admin_pb2, dial_pb2

EXAMPLES = [
    (errors.InvalidField("list_id", "", "some"), {"field": "list_id"}),
    (errors.InvalidField("list_id", "", "some").within("rows: row 2"), {"field": "list_id"}),
    (errors.MalformedMessage("GetContactListRequest"), {}),
    (errors.InvalidPageToken(), {}),
    (errors.OtherIncarnation(), {}),
    (errors.RequestIdReused("id", "Claim"), {"request_id": "id", "method": "Claim"}),
    (errors.ListNotFound("list"), {"list_id": "list"}),
    (errors.CampaignNotFound("A"), {"campaign_id": "A"}),
    (errors.StaleEtag("1", "2"), {"current_etag": "2"}),
    (
        errors.ImportConflict(3, "record", "A"),
        {"row": "3", "record_id": "record", "campaign_id": "A"},
    ),
    (errors.ImportConflict(3, "record", None), {"row": "3", "record_id": "record"}),
    (
        errors.ImportCutShort(4, 9, errors.Status(grpc.StatusCode.UNAVAILABLE, "", "DRAINING")),
        {"first_row_not_in_force": "4", "row_count": "9", "cause": "DRAINING"},
    ),
    (errors.ImportTwoOwners("record", 3, 5), {"row": "3", "other_row": "5", "record_id": "record"}),
    (errors.Draining(), {}),
    (errors.SpoolFailed(), {}),
    (errors.SpoolFull("1MiB"), {}),
    (errors.Unauthenticated(given=True), {}),
    (errors.PermissionDenied("who", "view", "list l"), {"principal_id": "who", "right": "view"}),
    (errors.RateLimited("who", 20), {"principal_id": "who"}),
    (errors.PrincipalNotFound("who"), {"principal_id": "who"}),
    (errors.PrincipalExists("who"), {"principal_id": "who"}),
    (errors.StalePrincipal("1", "2"), {"current_etag": "2"}),
    (errors.NameTaken("DNS:a", "who"), {"certificate_name": "DNS:a", "principal_id": "who"}),
    (errors.LastAdmin(), {}),
    (errors.NoCluster(), {}),
    (errors.NodeNotFound("c", ["a", "b"]), {"node": "c"}),
    (errors.NodeAlive("b"), {"node": "b"}),
    (errors.NoHandOver("no other node is alive"), {}),
    (errors.EtcdSilent("etcd does not answer"), {}),
    (errors.RevisionNotKept(3, 5), {"oldest_revision": "5"}),
    (errors.RevisionAhead(9, 5), {"revision": "5"}),
    (errors.ReaderTooSlow(7, "why"), {"resume_revision": "7"}),
    (errors.RightsChanged(7), {"resume_revision": "7"}),
    (errors.TooManyBackups(2), {}),
    (errors.BackupTooSlow("why"), {}),
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


@pytest.fixture(
    params=["native-dial-port", "native-admin-port", "grpcio-dial-port", "grpcio-admin-port"]
)
def port(request: pytest.FixtureRequest) -> tuple[ServerProcess, str]:
    """A server, and an address of it where DialService is."""
    name = str(request.param)
    if name.startswith("native"):
        pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")
    server = "grpcio_server" if name.startswith("grpcio") else "shared_server"
    process: ServerProcess = request.getfixturevalue(server)
    return process, process.admin_address if name.endswith("admin-port") else process.dial_address


def claim(list_id: str, record_id: str = "1") -> bytes:
    request = dial_pb2.ClaimRequest(list_id=list_id, record_id=record_id, campaign_id="A")
    return request.SerializeToString()


def report(list_id: str) -> bytes:
    request = dial_pb2.ReportAttemptRequest(
        list_id=list_id, record_id="1", campaign_id="A", wrap_up_code="no such code"
    )
    return request.SerializeToString()


def empty_batch(list_id: str) -> bytes:
    return dial_pb2.ClaimBatchRequest(list_id=list_id, campaign_id="A").SerializeToString()


# What a dialer may send about the list that is there, and the reason that it is told.
DIAL_EXAMPLES = {
    "no list": ("Claim", lambda _: claim("ünbekannt"), "LIST_NOT_FOUND"),
    "odd list": ("Claim", lambda _: claim("{l}\0i" + "é" * 60), "LIST_NOT_FOUND"),
    "no record": ("Claim", lambda known: claim(known, ""), "INVALID_FIELD"),
    "long record": ("Claim", lambda known: claim(known, "1" * 129), "INVALID_FIELD"),
    "empty batch": ("ClaimBatch", empty_batch, "INVALID_FIELD"),
    "no message": ("Claim", lambda _: b"\xff", "MALFORMED_MESSAGE"),
    "no code": ("ReportAttempt", report, "WRAP_UP_CODE_UNKNOWN"),
}


@pytest.mark.parametrize("example", DIAL_EXAMPLES)
def test_a_dialer_is_told_the_same_bytes_on_every_listener(
    port: tuple[ServerProcess, str], unique: str, example: str
) -> None:
    process, address = port
    method, request_about, reason = DIAL_EXAMPLES[example]
    process.admin_stub().CreateContactList(
        admin_pb2.CreateContactListRequest(list_id=unique), timeout=10
    )
    body = request_about(unique)
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary(f"/ownerd.v1.DialService/{method}")(body, timeout=10)
    info = info_of(failed.value)
    assert (info.domain, info.reason, dict(info.metadata)) == ("ownerd", reason, {})
    assert from_rpc_error(failed.value).reason == reason
    # What protobuf makes of the same answer.
    packed = any_pb2.Any()
    packed.Pack(error_details_pb2.ErrorInfo(domain="ownerd", reason=reason))
    expected = status_pb2.Status(
        code=failed.value.code().value[0], message=failed.value.details(), details=[packed]
    )
    if reason == "LIST_NOT_FOUND":
        assert failed.value.details().endswith('"; create it first (CreateContactList)')
    trailers = dict(failed.value.trailing_metadata())
    assert trailers["grpc-status-details-bin"] == expected.SerializeToString()


def test_a_dialer_that_is_refused_by_our_client_knows_why(
    port: tuple[ServerProcess, str], unique: str
) -> None:
    _, address = port
    with Client(address) as client, pytest.raises(client_package.NotFound) as raised:
        client.claim(unique, "1", "A")
    assert raised.value.reason == "LIST_NOT_FOUND"


def test_what_grpc_itself_would_refuse_has_no_reason(port: tuple[ServerProcess, str]) -> None:
    _, address = port
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary("/ownerd.v1.DialService/Nothing")(b"", timeout=10)
    assert failed.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert from_rpc_error(failed.value).reason == ""


def test_the_same_error_reads_the_same_wherever_it_comes_from(
    shared_server: ServerProcess, unique: str
) -> None:
    said = set()
    for method, message in (
        ("GetContactList", admin_pb2.GetContactListRequest(list_id=unique)),
        ("ListOwners", admin_pb2.ListOwnersRequest(list_id=unique)),
        ("DeleteContactList", admin_pb2.DeleteContactListRequest(list_id=unique)),
    ):
        with pytest.raises(grpc.RpcError) as failed:
            getattr(shared_server.admin_stub(), method)(message, timeout=10)
        said.add((info_of(failed.value).reason, failed.value.details().replace("'", '"')))
    assert len(said) == 1


def test_the_reasons_of_the_core_are_words_with_texts_that_can_be_filled_in() -> None:
    for reason, (code, texts) in REASONS.items():
        assert re.fullmatch(r"[A-Z][A-Z0-9_]{1,61}[A-Z0-9]", reason)
        assert code in {each.value[0] for each in grpc.StatusCode} and texts
        for text in texts:
            assert re.fullmatch(r"([^{}]|\{[a-z_]+\})+", text)
