"""The errors that end a call, and the one place that turns an error into a gRPC status.

Each class is one kind of error: it fixes its gRPC code and an UPPER_SNAKE reason, which is checked
unique at import. A message says what was found, what is allowed and what to do, to a person; reason
and metadata say it to a program, as `google.rpc.ErrorInfo` of the domain `ownerd`. All of it goes
to the client as it stands, so it holds nothing internal. The native core refuses with
`ownerd.native.Refused`, whose code, reason and message are taken over; what both refuse has code
and text from the core's table, `ownerd.native.REASONS`. Anything else is a fault of the server: one
log entry with the traceback, and a fixed text to the client.

What stops the program before it serves is in `ownerd.server.exits`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

import grpc
import grpc.aio
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from ownerd.native import REASONS, Refused

DOMAIN = "ownerd"
FOUND_LIMIT = 80
INTERNAL_MESSAGE = (
    "the server failed to handle this call and has logged why; nothing more is known about its "
    "outcome. Changes may be sent again with the same request_id"
)

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_REASONS: dict[str, type["OwnerdError"]] = {}

log = structlog.get_logger("ownerd.errors")


class Status(NamedTuple):
    """What a client is told: a gRPC code, a message, and what a program may make of them.

    Attributes:
        code, message: gRPC's own.
        reason: names the kind of error; "": nothing does.
        metadata: what the error is about, by snake_case names.
        retry_ms: how long to wait before the next try; 0: not said.
    """

    code: grpc.StatusCode
    message: str
    reason: str = ""
    metadata: Mapping[str, str] = {}
    retry_ms: int = 0

    def put(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """End a call with this status."""
        # Cheaper than abort(), which sends at once and raises through three frames.
        context.set_code(self.code)
        context.set_details(self.message)
        if trailers := self._trailers():
            context.set_trailing_metadata(trailers)

    def _trailers(self) -> tuple[tuple[str, str | bytes], ...]:
        trailers: tuple[tuple[str, str | bytes], ...] = ()
        if self.reason:
            info = error_details_pb2.ErrorInfo(
                reason=self.reason, domain=DOMAIN, metadata=self.metadata
            )
            packed = AnyMessage()
            packed.Pack(info)
            rich = status_pb2.Status(
                code=self.code.value[0], message=self.message, details=[packed]
            )
            trailers += rpc_status.to_status(rich).trailing_metadata
        if self.retry_ms:
            trailers += (("grpc-retry-pushback-ms", str(self.retry_ms)),)
        return trailers


class Words(str):
    """What was found in words of our own, where quoting the value itself would say less."""


class OwnerdError(Exception):
    """Base of the errors that end a call; a subclass fixes `code` and `reason`.

    The native table has the code of the reasons that are in it.
    `metadata` is what the error is about, for programs; short, for it goes into headers.
    """

    code: ClassVar[grpc.StatusCode]
    reason: ClassVar[str]

    def __init__(self, message: str, **metadata: object) -> None:
        super().__init__(message)
        self.metadata = {name: str(value) for name, value in metadata.items()}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.reason in REASONS:
            cls.code = _CODES[REASONS[cls.reason][0]]
        if _REASONS.setdefault(cls.reason, cls) is not cls:
            taken = _REASONS[cls.reason].__name__
            raise TypeError(f"{cls.__name__} has the reason {cls.reason} of {taken}")


class InvalidField(OwnerdError):
    """A field of the request breaks its limits."""

    reason = "INVALID_FIELD"

    def __init__(self, field: str, found: Any, allowed: str) -> None:
        super().__init__(f"{field}: found {shown(found)}; allowed: {allowed}", field=field)

    def within(self, place: str) -> "InvalidField":
        """Return this error with the place in the request where the field is."""
        error = InvalidField.__new__(InvalidField)
        OwnerdError.__init__(error, f"{place}: {self}", **self.metadata)
        return error


class MalformedMessage(OwnerdError):
    """The bytes of the request are not the message of its rpc."""

    reason = "MALFORMED_MESSAGE"

    def __init__(self, message_name: str) -> None:
        super().__init__(
            f"request: found bytes that are not a valid {message_name}; allowed: that message of "
            "package ownerd.v1, with strings in UTF-8"
        )


class InvalidPageToken(OwnerdError):
    """A page token is damaged, or belongs to another query."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_PAGE_TOKEN"

    def __init__(self) -> None:
        super().__init__(
            "page_token: found a token that this query did not give; allowed: the next_page_token "
            "of the same rpc with the same other fields, or empty for the first page"
        )


class OtherIncarnation(OwnerdError):
    """A position is of the store as it was before it was restored from a copy, or copied."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "OTHER_INCARNATION"

    def __init__(
        self, found: str = "page_token: found a token", advice: str = "the first page"
    ) -> None:
        super().__init__(
            f"{found} of another incarnation: the store was restored from a copy, or copied, since "
            f"it was given. Begin again with {advice}"
        )


class RevisionNotKept(OwnerdError):
    """What comes after a revision is no longer kept."""

    code = grpc.StatusCode.OUT_OF_RANGE
    reason = "REVISION_NOT_KEPT"

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(
            f"from_revision: what came after revision {revision} is not kept any more (log_keep_s, "
            f"log_keep_bytes); from {oldest} on it is. Begin again with all that there is "
            "(ExportOwnership) and its revision",
            oldest_revision=oldest,
        )


class RevisionAhead(OwnerdError):
    """There is no such revision yet."""

    code = grpc.StatusCode.OUT_OF_RANGE
    reason = "REVISION_AHEAD"

    def __init__(self, found: int, revision: int) -> None:
        super().__init__(
            f"from_revision: {found} found, but the store has revision {revision}: the position is "
            "of another store, or of what is no longer in this one",
            revision=revision,
        )


class ReaderTooSlow(OwnerdError):
    """A reader of changes does not keep up with them."""

    code = grpc.StatusCode.ABORTED
    reason = "READER_TOO_SLOW"

    def __init__(self, revision: int, why: str) -> None:
        super().__init__(
            f"{why}; call again with from_revision {revision}", resume_revision=revision
        )


class RightsChanged(OwnerdError):
    """What a reader of changes may see is not what it was."""

    code = grpc.StatusCode.ABORTED
    reason = "RIGHTS_CHANGED"

    def __init__(self, revision: int) -> None:
        super().__init__(
            "the caller's rights were changed: what it may see now may lack what it saw, and have "
            f"what it never saw. Call again with from_revision {revision} to go on with them",
            resume_revision=revision,
        )


class RequestIdReused(OwnerdError):
    """A request id was seen before with another request."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "REQUEST_ID_REUSED"

    def __init__(self, request_id: str, method: str) -> None:
        super().__init__(
            f"request_id: found {shown(request_id)}, which a different {method} request used in "
            "the last 24 hours; allowed: the same request again, or a new request_id",
            request_id=request_id,
            method=method,
        )


class ListNotFound(OwnerdError):
    """No contact list has this id."""

    reason = "LIST_NOT_FOUND"

    def __init__(self, list_id: str) -> None:
        super().__init__(_text(self.reason, list_id=shown(list_id)), list_id=list_id)


class CampaignNotFound(OwnerdError):
    """No campaign has this id."""

    reason = "CAMPAIGN_NOT_FOUND"

    def __init__(self, campaign_id: str) -> None:
        super().__init__(
            _text(self.reason, field="campaign_ids", campaign_id=shown(campaign_id)),
            campaign_id=campaign_id,
        )


class StaleEtag(OwnerdError):
    """The list's policy changed since the caller read it."""

    reason = "STALE_ETAG"

    def __init__(self, found: str, current: str) -> None:
        super().__init__(
            _text(self.reason, found=shown(found), current=repr(current)), current_etag=current
        )


class ImportConflict(OwnerdError):
    """Another campaign holds the record of a row, and the import's strategy is to fail."""

    reason = "IMPORT_CONFLICT"

    def __init__(self, row_number: int, record_id: str, holder_id: str | None) -> None:
        holder = f"campaign {shown(holder_id)}" if holder_id else "another campaign"
        self.words = f"row {row_number} is for record {shown(record_id)}, which {holder} holds"
        super().__init__(
            f"rows: {self.words}; nothing was imported. Take the row out, release the record, or "
            "choose the conflict strategy SKIP or OVERWRITE",
            row=row_number,
            record_id=record_id,
            **({"campaign_id": holder_id} if holder_id else {}),
        )


class ImportTwoOwners(OwnerdError):
    """Two rows of an import give one record to two campaigns."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "IMPORT_TWO_OWNERS"

    def __init__(self, record_id: str, row_number: int, other_row: int) -> None:
        super().__init__(
            f"rows: row {row_number} and row {other_row} give record {shown(record_id)} to two"
            " campaigns; nothing was imported. Take one of them out",
            row=row_number,
            other_row=other_row,
            record_id=record_id,
        )


# Why an import stopped, and what to do about it, by the reason of what stopped it.
_CUT_SHORT: dict[str, tuple[str, str]] = {
    "STORE_FULL": ("the store is full", "Release ownership, delete lists, or give it more room"),
    "QUEUE_FULL": ("the server's queue is full", "Wait a moment"),
    "DRAINING": ("the server is stopping", "Wait until it is back"),
    "STORAGE_FAILED": ("the server's storage failed", "Wait until it is back"),
    "LIST_NOT_FOUND": ("the list was deleted", "Create it"),
    "SPOOL_FAILED": ("the server could not read its rows back", "Look at the server's disk"),
    "INTERNAL": ("the server failed, and has logged why", "Have that seen to"),
}


class ImportCutShort(OwnerdError):
    """An import stopped when part of it was in force; its code is that of what stopped it.

    Args:
        first_row: the first one that is not, or perhaps not, in force, from 1.
        row_count: how many the import has.
        cause: what stopped it.
        last_unknown: the last one of which it is not known; 0: it is known of every one.
    """

    reason = "IMPORT_CUT_SHORT"

    def __init__(
        self, first_row: int, row_count: int, cause: Status, last_unknown: int = 0
    ) -> None:
        why, remedy = _CUT_SHORT.get(cause.reason, (cause.message, "Solve that"))
        rest = "it and those after it are not"
        if last_unknown:
            rest = (
                f"of rows {first_row} to {last_unknown} it is not known, those after them are not"
            )
        super().__init__(
            f"rows: the import was cut short at row {first_row} of {row_count}: {why}. The rows "
            f"before row {first_row} are in force, {rest}. {remedy}, then send the import again, "
            f"whole or from row {first_row} on: rows already there are simply set again",
            first_row_not_in_force=first_row,
            row_count=row_count,
            cause=cause.reason,
        )
        # Of this one import, not of the kind of error.
        self.code = cause.code  # type: ignore[misc]


class Draining(OwnerdError):
    """The server is stopping and takes no new calls."""

    reason = "DRAINING"

    def __init__(self) -> None:
        super().__init__("the server is stopping and takes no new calls; nothing changed, retry")


class SpoolFailed(OwnerdError):
    """The rows of an import could not be kept on the server's disk until they were all there."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "SPOOL_FAILED"

    def __init__(self) -> None:
        super().__init__(
            "the server could not keep the import's rows in a temporary file in its data "
            "directory; nothing was imported. Free disk space there, or import in smaller parts"
        )


class SpoolFull(OwnerdError):
    """The rows of imports take as much of the server's disk as they may."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "SPOOL_FULL"

    def __init__(self, allowed: str) -> None:
        super().__init__(
            f"the rows of this import and of others under way take more of the server's disk than "
            f"{allowed}; nothing was imported. Import in smaller parts, or one after the other"
        )


class TooManyBackups(OwnerdError):
    """As many backups are under way as may be."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_BACKUPS"

    def __init__(self, count: int) -> None:
        super().__init__(
            f"{count} backups are under way already, which is as many as may be; try again when "
            "one of them has ended"
        )


class BackupTooSlow(OwnerdError):
    """A backup took longer than it may, and was ended."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "BACKUP_TOO_SLOW"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the backup was ended: {why}, and while a backup lasts the store cannot use disk "
            "space again. What was sent is no backup; take it to a faster disk or network, or set "
            "backup_limit_s higher"
        )


class Unauthenticated(OwnerdError):
    """Nobody who is known makes this call."""

    reason = "UNAUTHENTICATED"

    def __init__(self, *, given: bool) -> None:
        _, (not_valid, none_given) = REASONS[self.reason]
        super().__init__(not_valid if given else none_given)


class PermissionDenied(OwnerdError):
    """The caller lacks a right."""

    reason = "PERMISSION_DENIED"

    def __init__(self, principal_id: str, right: str, on: str) -> None:
        self.principal_id = principal_id
        where = f" on {on}" if on else ""
        super().__init__(
            _text(self.reason, principal_id=shown(principal_id), right=right, where=where),
            principal_id=principal_id,
            right=right,
        )


class RateLimited(OwnerdError):
    """The caller makes more calls than its limit allows."""

    reason = "RATE_LIMITED"

    def __init__(self, principal_id: str, wait_ms: int) -> None:
        self.wait_ms = wait_ms
        super().__init__(
            _text(self.reason, principal_id=shown(principal_id), wait_ms=wait_ms),
            principal_id=principal_id,
        )


class PrincipalNotFound(OwnerdError):
    """No principal has this id."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "PRINCIPAL_NOT_FOUND"

    def __init__(self, principal_id: str) -> None:
        super().__init__(
            f"principal_id: no principal {shown(principal_id)} exists; ListPrincipals names those "
            "that do, CreatePrincipal makes one",
            principal_id=principal_id,
        )


class PrincipalExists(OwnerdError):
    """A principal has this id already."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "PRINCIPAL_EXISTS"

    def __init__(self, principal_id: str) -> None:
        super().__init__(
            f"principal_id: a principal {shown(principal_id)} exists already; UpdatePrincipal "
            "changes it, RotateToken makes it another token",
            principal_id=principal_id,
        )


class StalePrincipal(OwnerdError):
    """The principal changed since the caller read it."""

    code = grpc.StatusCode.ABORTED
    reason = "STALE_PRINCIPAL"

    def __init__(self, found: str, current: str) -> None:
        super().__init__(
            f"etag: found {shown(found)}, but the principal was changed since and has {current!r}; "
            "read it again with GetPrincipal and repeat the change with its etag",
            current_etag=current,
        )


class NameTaken(OwnerdError):
    """A certificate name stands for another principal."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "CERTIFICATE_NAME_TAKEN"

    def __init__(self, name: str, principal_id: str) -> None:
        super().__init__(
            f"certificate_names: {shown(name)} stands for the principal {shown(principal_id)}; "
            "take it from there first",
            certificate_name=name,
            principal_id=principal_id,
        )


class LastAdmin(OwnerdError):
    """The change would leave nobody who can manage principals."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "LAST_ADMIN"

    def __init__(self) -> None:
        super().__init__(
            "nobody would be left who can sign in with the right admin; give it to another "
            "principal first"
        )


class NoCluster(OwnerdError):
    """The server is in no cluster."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "NO_CLUSTER"

    def __init__(self) -> None:
        super().__init__(
            "this server is in no cluster: it was started without --cluster, and is alone"
        )


class NodeNotFound(OwnerdError):
    """No node of that name belongs to the cluster."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "NODE_NOT_FOUND"

    def __init__(self, node: str, nodes: Iterable[str]) -> None:
        super().__init__(
            f"node: no node {shown(node)} belongs to the cluster; its nodes are "
            f"{', '.join(sorted(nodes))}",
            node=node,
        )


class NodeAlive(OwnerdError):
    """A node that is to be removed runs."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "NODE_ALIVE"

    def __init__(self, node: str) -> None:
        super().__init__(
            f"node: {shown(node)} is alive, and would register again; stop it first, and wait for "
            "its lease to run out",
            node=node,
        )


class NoHandOver(OwnerdError):
    """Nobody else can lead now."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "NO_HAND_OVER"

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}; nothing was handed over. GetClusterStatus shows the nodes")


class EtcdSilent(OwnerdError):
    """Etcd does not answer."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "ETCD_UNAVAILABLE"

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}; ask again")


def _text(reason: str, **values: object) -> str:
    """Return the text of a reason that has one in the native table."""
    _, (text,) = REASONS[reason]
    return str(text.format(**values))


def shown(value: Any) -> str:
    """Return `value` as a message may quote it: escaped, and cut after 80 characters."""
    text = repr(value) if isinstance(value, str) and not isinstance(value, Words) else str(value)
    return text if len(text) <= FOUND_LIMIT else f"{text[:FOUND_LIMIT]}... ({len(text)} characters)"


def status_of(error: BaseException, method: str) -> Status:
    """Return the status that `error` ends a call with; an unforeseen one is logged here.

    Args:
        error: what the call raised.
        method: the rpc's name, for the log.
    """
    if isinstance(error, Refused):
        return Status(_CODES[error.code], error.message, error.reason, retry_ms=error.retry_ms)
    if isinstance(error, OwnerdError):
        wait_ms = getattr(error, "wait_ms", 0)
        return Status(error.code, str(error), error.reason, error.metadata, wait_ms)
    log.error("call_failed", method=method, exc_info=error)
    return Status(grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE, "INTERNAL")
