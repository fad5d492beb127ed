"""A server whose every state is compared: bad calls must leave it exactly as it was."""

from typing import Any

import grpc
from harness import ServerProcess
from subject import DAY, OVERWRITE, Policy, Row
from subject_grpc import GrpcSubject, call

from ownerd.v1 import admin_pb2

LIST = "guarded"
OFF = "switched-off"


class Guarded:
    """A server with a list that has owners, a reservation, and nothing else going on."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.ports = {"dial port": server.dial_address, "admin port": server.admin_address}
        self.channels = {name: server.channel(address) for name, address in self.ports.items()}
        self.subject = GrpcSubject(server.dial_stub(), server.admin_stub())
        self.subject.create_list(LIST, Policy(True, DAY, None, DAY))
        self.subject.create_list(OFF, Policy(False, None, None, DAY))
        rows = [Row(str(number), "AB"[number % 2]) for number in range(20)]
        self.subject.import_rows(LIST, rows, OVERWRITE)
        self.subject.claim(LIST, "dialing", "A")
        self.subject.upsert_campaign("A", "Alpha")

    def state(self) -> Any:
        """Everything that a call could have changed."""
        subject = self.subject
        audit = call(subject.admin.ListAuditEntries, admin_pb2.ListAuditEntriesRequest())
        export = admin_pb2.ExportOwnershipRequest(list_id=LIST)
        rows = [row for message in subject.admin.ExportOwnership(export) for row in message.rows]
        status = subject.status()
        return {
            "revision": status.revision,
            "counts": (status.list_count, status.campaign_count, status.record_count),
            "rows": rows,
            "owners": (subject.owners(LIST), subject.owners(OFF)),
            "policies": (subject.policy(LIST), subject.policy(OFF)),
            "campaigns": subject.campaigns(),
            "codes": subject.codes(),
            "audit": audit.entries,
        }

    def raw(self, port: str, service: str, method: str, body: bytes) -> tuple[str, str]:
        """Send bytes as a unary request; return (status name, message)."""
        path = f"/ownerd.v1.{service}/{method}"
        try:
            self.channels[port].unary_unary(path)(body, timeout=30)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        return "OK", ""
