"""Who makes a call that Python sees: its bearer token, else its client certificate.

The same for the admin listener, DialService on grpcio and the metrics page; the native dial
listener does it by itself, against the same table (`ownerd.native.Access`). A token counts before a
certificate: one that is wrong is not made good by a certificate.

Any thread; nothing here blocks.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import grpc.aio

from ownerd.native import PERMISSION, UNAUTHENTICATED, Access, Engine, Identity, peer_host
from ownerd.server import certificates, principals
from ownerd.server.errors import PermissionDenied, RateLimited, Unauthenticated
from ownerd.server.native_calls import CERTIFICATE_NAMES

_HEADER = "authorization"
_SCHEME = "bearer "
_LONGEST = 200

# What gRPC calls the client's certificate.
_CERTIFICATE = "x509_pem_cert"


class Authenticator:
    """Tells callers apart, and remembers those that it refused.

    Args:
        access: the table of those who are known.
        engine: its time decides whether a token is over.
    """

    def __init__(self, access: Access, engine: Engine) -> None:
        self._access = access
        self._engine = engine
        self._anybody = access.anybody()

    def of_call(self, context: grpc.aio.ServicerContext[Any, Any], method: str) -> Identity:
        """Return who makes a gRPC call.

        Raises:
            Unauthenticated: nobody who is known; it is counted as refused.
        """
        if self._anybody is not None:
            return self._anybody
        found = [value for key, value in context.invocation_metadata() or () if key == _HEADER]
        return self._known(found, () if found else _names_of(context), context.peer, method)

    def token_id(self, context: grpc.aio.ServicerContext[Any, Any]) -> str:
        """Return which token a gRPC call came with; "" for none, or where nobody is asked."""
        if self._anybody is not None:
            return ""
        found = [value for key, value in context.invocation_metadata() or () if key == _HEADER]
        digest = _digest_in(found)
        return "" if digest is None else principals.token_id_of(digest)

    def of_request(
        self, authorization: str | None, names: Iterable[str], peer: str, what: str
    ) -> Identity:
        """Return who makes an HTTP request.

        Args:
            authorization: the header, if there is one.
            names: of the client certificate.
            peer: where from, spelled as by gRPC.
            what: what is asked for, for the audit.

        Raises:
            Unauthenticated: nobody who is known; it is counted as refused.
        """
        if self._anybody is not None:
            return self._anybody
        found = [] if authorization is None else [authorization]
        return self._known(found, names, lambda: peer, what)

    def refused(self, error: PermissionDenied, peer: str, method: str) -> None:
        """Remember that somebody known lacked a right."""
        self._access.add_refusal(PERMISSION, error.principal_id, peer_host(peer), method)

    def spend(self, identity: Identity) -> None:
        """Take an admin call out of the caller's rate limit.

        Raises:
            RateLimited: nothing is left of it.
        """
        if wait_ms := identity.wait_ms():
            raise RateLimited(identity.principal_id, wait_ms)

    def _known(
        self,
        headers: Sequence[str | bytes],
        names: Iterable[str],
        peer: Callable[[], str],
        what: str,
    ) -> Identity:
        """Return whose token it is, without one whose certificate; or refuse the caller."""
        if headers:
            identity = self._by_token(headers)
        else:
            known = (self._access.by_name(name) for name in names)
            identity = next((each for each in known if each is not None), None)
        if identity is None:
            self._access.add_refusal(UNAUTHENTICATED, "", peer_host(peer()), what)
            raise Unauthenticated(given=bool(headers))
        return identity

    def _by_token(self, headers: Sequence[str | bytes]) -> Identity | None:
        digest = _digest_in(headers)
        return None if digest is None else self._access.by_token(digest, self._engine.time_ns)


def _digest_in(headers: Sequence[str | bytes]) -> bytes | None:
    """Return the digest of the token in a call's headers of that name; None: there is none."""
    if len(headers) != 1 or not isinstance(value := headers[0], str) or len(value) > _LONGEST:
        return None
    if value[: len(_SCHEME)].lower() != _SCHEME:
        return None
    return principals.digest_of(value[len(_SCHEME) :])


def _names_of(context: grpc.aio.ServicerContext[Any, Any]) -> Sequence[str]:
    """Return the names in a call's client certificate, spelt as in Principal."""
    known = context.auth_context()
    if found := tuple(known.get(_CERTIFICATE, ())):
        return certificates.names_in(found[0])
    return [name.decode(errors="replace") for name in known.get(CERTIFICATE_NAMES, ())]
