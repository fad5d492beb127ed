"""The Python client of ownerd, synchronous (`Client`) and asyncio (`AsyncClient`).

    with Client("127.0.0.1:7411") as client:
        if client.claim("customers", "42", "spring").allowed:
            ...  # dial
            client.report("customers", "42", "spring", "Busy")

Everything public is here. `values` are what calls take and return, `errors` the exceptions;
`requests` builds requests and reads responses for both clients; `transport` has the channels,
`credentials` the tokens and TLS. This package needs the generated stubs and grpcio only, nothing of
the server.
"""

from ownerd.client._async import AsyncClient
from ownerd.client._sync import Client
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
from ownerd.client.values import (
    BATCH_LIMIT,
    UNCHANGED,
    Access,
    Attempt,
    Claim,
    ClaimBatch,
    ContactList,
    Decision,
    Grant,
    Holder,
    HoldKind,
    Imported,
    Issued,
    OnConflict,
    Outcome,
    OwnedRecord,
    Owner,
    Owners,
    OwnershipRow,
    Policy,
    Principal,
    Released,
    Report,
    ReportBatch,
    Right,
    Signal,
    Signaled,
    Token,
    Transferred,
)

__all__ = [
    "BATCH_LIMIT",
    "UNCHANGED",
    "Aborted",
    "Access",
    "AlreadyExists",
    "AsyncClient",
    "Attempt",
    "Claim",
    "ClaimBatch",
    "Client",
    "ClientError",
    "ContactList",
    "DeadlineExceeded",
    "Decision",
    "FailedPrecondition",
    "Grant",
    "HoldKind",
    "Holder",
    "Imported",
    "InvalidArgument",
    "Issued",
    "NotFound",
    "OnConflict",
    "Outcome",
    "OwnedRecord",
    "Owner",
    "Owners",
    "OwnershipRow",
    "PermissionDenied",
    "Policy",
    "Principal",
    "Released",
    "Report",
    "ReportBatch",
    "ResourceExhausted",
    "Right",
    "Signal",
    "Signaled",
    "Token",
    "Transferred",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
]
