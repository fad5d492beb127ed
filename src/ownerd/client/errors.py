"""The exceptions of the client: one class for each gRPC status code that a caller can act on.

Nothing here is matched on message text; the class says what happened, `reason` says why, and the
message says it to a person. A denial is an answer (`Claim.allowed` is false), never an exception.
"""

from collections.abc import Iterable
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status


class ClientError(Exception):
    """Report that a call did not succeed.

    Raised as itself only for a code that has no class of its own. `code` is the gRPC status code,
    `message` the server's text, ready to show to a person, `reason` the server's name for this kind
    of error, such as LIST_NOT_FOUND; "" where it names none.
    """

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    reason: str = ""

    def __init__(self, message: str, code: grpc.StatusCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class InvalidArgument(ClientError):
    """The server refused a field; the message names it and says what is allowed. Do not retry."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(ClientError):
    """The list, campaign or code does not exist. A dialer must not dial: nothing protects it."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(ClientError):
    """There is a list of that id already."""

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(ClientError):
    """The state forbids it: live ownership in a list to delete, a conflict in an import."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Aborted(ClientError):
    """The etag is stale: somebody else changed the policy. Read it again, then decide again."""

    code = grpc.StatusCode.ABORTED


class PermissionDenied(ClientError):
    """The caller lacks the right that the message names."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Unauthenticated(ClientError):
    """The server does not know the caller: no token, or one that is over or wrong."""

    code = grpc.StatusCode.UNAUTHENTICATED


class ResourceExhausted(ClientError):
    """The server's queue or store is full, or the caller is over its rate limit. Nothing changed.

    `retry_after_s` is how many seconds to wait before the next try, where the server says so: it
    does for a rate limit. None: wait as long as you see fit.
    """

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    retry_after_s: float | None = None


class Unavailable(ClientError):
    """The server was not reached, is draining or has failed, and the retries are used up.

    Whether the change was made is unknown; every call of this client may be sent again (R20).
    """

    code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(ClientError):
    """No answer came within `timeout_s`. Whether the change was made is unknown (R20)."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Unimplemented(ClientError):
    """The address that was called does not serve this call."""

    code = grpc.StatusCode.UNIMPLEMENTED


DOMAIN = "ownerd"
PUSHBACK_KEY = "grpc-retry-pushback-ms"

_CLASSES = {error_class.code: error_class for error_class in ClientError.__subclasses__()}


def from_rpc_error(error: grpc.RpcError, note: str = "") -> ClientError:
    """Return the exception of this module that says what a gRPC error means.

    `note` is put behind the server's text: what only the client knows about the call.
    """
    code = error.code()
    message = error.details() or f"the call ended with {code.name} and no message"
    if note:
        message = f"{message} ({note})"
    found = _CLASSES.get(code, ClientError)(message, code)
    found.reason = error_info(error).reason
    if isinstance(found, ResourceExhausted):
        found.retry_after_s = retry_after_s(error)
    return found


def retry_after_s(error: grpc.RpcError) -> float | None:
    """Return how many seconds the server asks to wait, None where it does not."""
    # Pairs, from grpc as from grpc.aio; the types of both say something else.
    trailers = cast(Iterable[tuple[str, str]], error.trailing_metadata() or ())
    for key, value in trailers:
        if key == PUSHBACK_KEY and value.isdecimal():
            return int(value) / 1_000
    return None


def error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo:
    """Return what the server says of an error to programs, an empty message where it does not."""
    info = error_details_pb2.ErrorInfo()
    try:
        rich = rpc_status.from_call(cast(grpc.Call, error))  # which it is, too
    except (ValueError, DecodeError):  # not made by the server whose status this is
        return info
    for detail in rich.details if rich is not None else ():
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.domain == DOMAIN:
            return info
    return error_details_pb2.ErrorInfo()
