"""A server that asks who one is, and callers of it: stubs with a token, principals by one line."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import grpc
from harness import ServerProcess
from sanitizer import patient_s

from ownerd.v1 import admin_pb2, admin_pb2_grpc, dial_pb2, dial_pb2_grpc

DEADLINE_S = patient_s(20.0)
LIST = "customers"
TOKEN = re.compile(r"ownerd_[A-Za-z0-9_-]{43}")
RIGHTS = {
    "dial": admin_pb2.RIGHT_DIAL,
    "view": admin_pb2.RIGHT_VIEW,
    "configure": admin_pb2.RIGHT_CONFIGURE,
    "ownership_control": admin_pb2.RIGHT_OWNERSHIP_CONTROL,
    "admin": admin_pb2.RIGHT_ADMIN,
}


def bearer(token: str | None) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a caller with a token; None: without any."""
    return () if token is None else (("authorization", f"Bearer {token}"),)


def grants(
    rights: Iterable[str], lists: Iterable[str] = (), campaigns: Iterable[str] = ()
) -> list[admin_pb2.Grant]:
    """Return one grant for each right, on the same lists and campaigns."""
    return [
        admin_pb2.Grant(right=RIGHTS[right], lists=lists, campaigns=campaigns) for right in rights
    ]


class Caller:
    """Calls a server with one token; answers, or the `grpc.RpcError`'s status.

    `admin` and `dial` take an rpc's name and its request.
    """

    def __init__(self, server: "GuardedServer", token: str | None, dial_address: str) -> None:
        self.token = token
        self._admin = admin_pb2_grpc.AdminServiceStub(server.shared_channel(server.admin_address))
        self._dial = dial_pb2_grpc.DialServiceStub(server.shared_channel(dial_address))

    def admin(self, rpc: str, request: Any) -> Any:
        """Make a call of AdminService; a stream's answer is a list.

        Raises:
            grpc.RpcError
        """
        answer = getattr(self._admin, rpc)(request, metadata=bearer(self.token), timeout=DEADLINE_S)
        return list(answer) if rpc in ("ExportOwnership", "BackupStore", "Watch") else answer

    def dial(self, rpc: str, request: Any) -> Any:
        """Make a call of DialService.

        Raises:
            grpc.RpcError
        """
        return getattr(self._dial, rpc)(request, metadata=bearer(self.token), timeout=DEADLINE_S)


def status(call: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[str, str]:
    """Return code and message that a call ends with."""
    try:
        call(*arguments, **options)
    except grpc.RpcError as error:
        return error.code().name, error.details() or ""
    return "OK", ""


class GuardedServer(ServerProcess):
    """A server that asks who one is, with its first administrator."""

    def __init__(self, directory: Path, *arguments: str, **options: Any) -> None:
        super().__init__(directory, *arguments, auth=True, **options)
        self._shared: dict[str, grpc.Channel] = {}

    @property
    def token_file(self) -> Path:
        """Where the first administrator's token is."""
        return self.directory / "admin.token"

    @property
    def root(self) -> Caller:
        """The first administrator."""
        return self.caller(self.token_file.read_text().strip())

    def caller(self, token: str | None, *, on_admin_port: bool = False) -> Caller:
        """Return somebody with a token, who dials on the dial port unless told."""
        address = self.admin_address if on_admin_port else self.dial_address
        return Caller(self, token, address)

    def principal(self, principal_id: str, *given: admin_pb2.Grant, **fields: Any) -> Caller:
        """Make a principal with grants; return it as a caller."""
        principal = admin_pb2.Principal(principal_id=principal_id, grants=given, **fields)
        request = admin_pb2.CreatePrincipalRequest(principal=principal)
        return self.caller(self.root.admin("CreatePrincipal", request).token)

    def open_list(self, list_id: str) -> None:
        """Make a list that protects its records."""
        policy = admin_pb2.OwnershipPolicy(enabled=True)
        request = admin_pb2.CreateContactListRequest(list_id=list_id, policy=policy)
        self.root.admin("CreateContactList", request)

    def _known_channel(self, address: str) -> grpc.Channel:
        """Return a plain channel: callers here say themselves who they are."""
        return self.channel(address)

    def shared_channel(self, address: str) -> grpc.Channel:
        """Return the channel that all callers at an address use."""
        if address not in self._shared:
            self._shared[address] = self.channel(address)
        return self._shared[address]


def claim(record_id: str, campaign_id: str, list_id: str = LIST) -> dial_pb2.ClaimRequest:
    return dial_pb2.ClaimRequest(list_id=list_id, record_id=record_id, campaign_id=campaign_id)


def claims(caller: Caller, record_id: str = "1", campaign_id: str = "a") -> str:
    """Return the code that a claim ends with."""
    return status(caller.dial, "Claim", claim(record_id, campaign_id))[0]


def audit(server: GuardedServer, **wanted: Any) -> list[admin_pb2.AuditEntry]:
    request = admin_pb2.ListAuditEntriesRequest(
        filter=admin_pb2.AuditFilter(**wanted), page_size=1_000
    )
    return list(server.root.admin("ListAuditEntries", request).entries)
