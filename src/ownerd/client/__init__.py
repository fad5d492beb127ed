"""The Python client of ownerd, synchronous (`Client`) and asyncio (`AsyncClient`).

    with Client("127.0.0.1:7411") as client:
        if client.claim("customers", "42", "spring").allowed:
            ...  # dial
            client.report("customers", "42", "spring", "Busy")

Everything public is here. `results` are the values, `errors` the exceptions, `calls` and
`admin_calls` build requests and read responses for both clients, `channel` is the transport. This
package needs the generated stubs and grpcio only, nothing of the server.
"""

from ownerd.client.aio import AsyncClient
from ownerd.client.errors import (
    Aborted,
    AlreadyExists,
    ClientError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from ownerd.client.results import (
    BATCH_LIMIT,
    UNCHANGED,
    Claim,
    ClaimBatch,
    ContactList,
    Decision,
    Holder,
    HoldKind,
    Imported,
    OnConflict,
    Outcome,
    OwnedRecord,
    Owner,
    Owners,
    OwnershipRow,
    Policy,
    Released,
    Report,
    ReportBatch,
    Signal,
)
from ownerd.client.sync import Client

__all__ = [
    "BATCH_LIMIT",
    "UNCHANGED",
    "Aborted",
    "AlreadyExists",
    "AsyncClient",
    "Claim",
    "ClaimBatch",
    "Client",
    "ClientError",
    "ContactList",
    "DeadlineExceeded",
    "Decision",
    "FailedPrecondition",
    "HoldKind",
    "Holder",
    "Imported",
    "InvalidArgument",
    "NotFound",
    "OnConflict",
    "Outcome",
    "OwnedRecord",
    "Owner",
    "Owners",
    "OwnershipRow",
    "PermissionDenied",
    "Policy",
    "Released",
    "Report",
    "ReportBatch",
    "ResourceExhausted",
    "Signal",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
]
