"""A client that knows only the admin address: all it needs it learns by gRPC reflection.

Works as grpcurl does: messages are built from JSON by descriptors fetched from the server, into a
pool of their own, so no generated stub takes part.
"""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from harness import ServerProcess

CALL_DEADLINE_S = 20.0
ADMIN = "ownerd.v1.AdminService"
DIAL = "ownerd.v1.DialService"


class ReflectingClient:
    """Calls unary rpcs by name, with JSON objects in and out."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._database = ProtoReflectionDescriptorDatabase(channel)
        self._pool = DescriptorPool(self._database)

    def services(self) -> list[str]:
        """Return the names of the services that the server says it has."""
        return sorted(self._database.get_services())

    def methods(self, service: str) -> list[str]:
        """Return the names of a service's rpcs, in the order of its proto."""
        return [method.name for method in self._pool.FindServiceByName(service).methods]

    def call(self, service: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
        """Call one unary rpc.

        Raises:
            grpc.RpcError: any status other than OK.
            json_format.ParseError: the request has a field that the message has not.
        """
        method = self._pool.FindServiceByName(service).FindMethodByName(name)
        message = GetMessageClass(method.input_type)()
        json_format.ParseDict(request, message, descriptor_pool=self._pool)
        rpc = self._channel.unary_unary(
            f"/{service}/{name}",
            request_serializer=lambda sent: sent.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        answer = rpc(message, timeout=CALL_DEADLINE_S)
        return json_format.MessageToDict(answer, descriptor_pool=self._pool)


@pytest.fixture
def client(any_server: ServerProcess) -> Iterator[ReflectingClient]:
    """A client on a channel of its own to the admin port."""
    with grpc.insecure_channel(any_server.admin_address) as channel:
        yield ReflectingClient(channel)


def test_reflection_lists_both_services_health_and_itself(client: ReflectingClient) -> None:
    assert {ADMIN, DIAL, "grpc.health.v1.Health"} <= set(client.services())
    assert any(name.startswith("grpc.reflection.") for name in client.services())


def test_reflection_describes_every_dial_rpc(client: ReflectingClient) -> None:
    assert client.methods(DIAL) == [
        "Claim",
        "ClaimBatch",
        "ReportAttempt",
        "ReportAttemptBatch",
        "GetHolder",
        "GiveBack",
    ]


def test_a_client_without_stubs_creates_claims_and_sees_the_owners(
    client: ReflectingClient, unique: str
) -> None:
    created = client.call(ADMIN, "CreateContactList", {"listId": unique})
    assert "enabled" not in created["list"]["policy"]
    assert created["list"]["policy"]["noExpiration"] is True

    updated = client.call(
        ADMIN,
        "UpdateOwnershipPolicy",
        {
            "listId": unique,
            "policy": {"enabled": True, "duration": "7200s"},
            "updateMask": "enabled,expiration",
            "etag": created["list"]["etag"],
        },
    )
    assert updated["list"]["policy"]["enabled"] is True
    assert updated["list"]["policy"]["duration"] == "7200s"
    assert updated["list"]["etag"] != created["list"]["etag"]

    dial = {"listId": unique, "recordId": "17", "campaignId": f"{unique}-c"}
    assert client.call(DIAL, "Claim", dial)["decision"] == "CLAIM_DECISION_GRANTED"
    reported = client.call(DIAL, "ReportAttempt", {**dial, "wrapUpCode": "No Answer"})
    assert reported["outcome"] == "ATTEMPT_OUTCOME_OWNERSHIP_ACQUIRED"

    owners = client.call(ADMIN, "ListOwners", {"listId": unique})
    [owner] = owners["owners"]
    assert (owner["campaignId"], owner["ownedCount"]) == (f"{unique}-c", "1")
    assert owners["totalOwnedCount"] == "1"
    assert int(owners["revision"]) >= int(reported["revision"])


def test_a_client_without_stubs_gets_the_status_of_a_refusal(
    client: ReflectingClient, unique: str
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        client.call(ADMIN, "ListOwners", {"listId": f"{unique}-none"})
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert f"{unique}-none" in refused.value.details()
