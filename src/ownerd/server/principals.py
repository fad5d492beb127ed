"""The principals of this server: who they are, their tokens, and what they may do.

They are kept in the store, in a form of our own, and published to `ownerd.native.Access`, which the
listeners ask. A change is made under one lock: read, written durably with its audit entry, then
published, so that it is in force for every call that begins after its answer.

A token is 256 random bits behind a prefix by which people and scanners know it. Only its SHA-256 is
kept; the token itself is returned to whoever asked for it and held nowhere.

Blocking; any thread.
"""

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ownerd import files
from ownerd.native import RIGHTS, Access, Engine, sync_directory
from ownerd.server.errors import LastAdmin, NameTaken

TOKEN_PREFIX = "ownerd_"
TOKENS_AT_ONCE = 2
ANONYMOUS = "anonymous"
ITSELF = "ownerd"  # as the audit names what the program did by itself
FIRST_ADMIN = "admin"
ADMIN_TOKEN_FILE = "admin.token"
_SECRET_BYTES = 32
_ID_DIGITS = 16

Result = TypeVar("Result")


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """One right, and patterns of the lists and campaigns that it is for; none: every one."""

    right: int
    lists: tuple[str, ...] = ()
    campaigns: tuple[str, ...] = ()


class Token(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a token. Times are the server's, in nanoseconds; no end: None."""

    digest: bytes
    create_ns: int
    expire_ns: int | None = None

    @property
    def token_id(self) -> str:
        """How the token is known without showing it."""
        return token_id_of(self.digest)

    def is_valid(self, now_ns: int) -> bool:
        """Whether it is not over yet."""
        return self.expire_ns is None or now_ns < self.expire_ns


class Principal(msgspec.Struct, frozen=True, array_like=True):
    """Somebody who may make calls, as the store keeps it; new fields go to the end.

    `version` counts its changes.
    """

    principal_id: str
    grants: tuple[Grant, ...] = ()
    hide_holders: bool = False
    names: tuple[str, ...] = ()
    calls_per_s: int = 0
    records_per_s: int = 0
    tokens: tuple[Token, ...] = ()
    create_ns: int = 0
    update_ns: int = 0
    version: int = 1

    def valid_tokens(self, now_ns: int) -> tuple[Token, ...]:
        """Return the tokens that are not over, the oldest first."""
        return tuple(token for token in self.tokens if token.is_valid(now_ns))

    def can_manage(self, now_ns: int, by_name: bool) -> bool:
        """Whether it has the right admin and something to sign in with.

        Args:
            by_name: whether a certificate is one.
        """
        has_right = any(grant.right == RIGHTS["admin"] for grant in self.grants)
        return has_right and bool((by_name and self.names) or self.valid_tokens(now_ns))


class _Published(msgspec.Struct, frozen=True):
    """A principal as `Access.replace` takes it."""

    principal_id: str
    hide_holders: bool
    calls_per_s: int
    records_per_s: int
    grants: list[tuple[int, tuple[str, ...], tuple[str, ...]]]
    tokens: list[tuple[bytes, int | None]]
    names: tuple[str, ...]


def new_token() -> str:
    """Return a token that nobody else has."""
    return TOKEN_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def digest_of(token: str) -> bytes:
    """Return what a token is looked up by."""
    return hashlib.sha256(token.encode()).digest()


def token_id_of(digest: bytes) -> str:
    """Return how a token of that digest is known without showing it."""
    return digest.hex()[:_ID_DIGITS]


class Principals:
    """The principals in the store, and the table that is published of them.

    Args:
        engine: where they are kept.
        access: where they are published; an open one is left as it is.
        certificates_asked: whether administrators are asked for certificates, so that one can sign
            in with its name alone.
    """

    def __init__(self, engine: Engine, access: Access, *, certificates_asked: bool = False) -> None:
        self.access = access
        self._by_name = certificates_asked
        self._engine = engine
        self._lock = threading.RLock()
        self._rows: list[tuple[str, bytes]] | None = None  # as they were read; None: changed since
        self.read()

    def read(self) -> None:
        """Take the principals as the store has them, which another node may have changed."""
        decode = msgspec.msgpack.Decoder(Principal).decode
        with self._lock:
            rows = self._engine.principals()
            if rows == self._rows:
                return
            self._rows = rows
            self._known = {principal_id: decode(kept) for principal_id, kept in rows}
            self._publish()

    # ---- reading

    def get(self, principal_id: str) -> Principal | None:
        """Return a principal, or None."""
        return self._known.get(principal_id)

    def page(self, after: str, limit: int) -> list[Principal]:
        """Return up to `limit` principals in byte order of their ids, after the id `after`."""
        start = after.encode()
        ids = sorted(each.encode() for each in tuple(self._known))
        chosen = [each for each in ids if not start or each > start][:limit]
        found = (self._known.get(each.decode()) for each in chosen)
        return [principal for principal in found if principal is not None]

    def allows(self, principal: Principal, right: int, list_id: str, campaign_id: str) -> bool:
        """Return whether a principal has a right ("": on every list, on every campaign)."""
        # By the same code as the listeners', also on a server that asks nobody.
        table = Access()
        table.replace([_published(principal)])
        identity = table.by_id(principal.principal_id)
        return identity is not None and identity.allows(right, list_id, campaign_id)

    # ---- changing

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold off other changes while the block reads, decides and writes."""
        with self._lock:
            yield

    def check(self, changed: Principal | None, before: Principal | None) -> None:
        """Check what a change would leave; `changed` None is a deletion.

        Raises:
            LastAdmin: nobody would be left who can sign in with the right admin.
            NameTaken: a certificate name belongs to another principal.
        """
        now_ns = self._engine.time_ns
        replaced = before.principal_id if before else None
        left = [each for each in self._known.values() if each.principal_id != replaced]
        if changed is not None:
            for other in left:
                for name in set(other.names) & set(changed.names):
                    raise NameTaken(name, other.principal_id)
            left.append(changed)
        could = before is not None and before.can_manage(now_ns, self._by_name)
        if could and not any(each.can_manage(now_ns, self._by_name) for each in left):
            raise LastAdmin

    def write(self, principal: Principal, put: Callable[..., Result], **keywords: Any) -> Result:
        """Write a principal with `put(engine_call, id, kept, ...)` and publish it."""
        kept = msgspec.msgpack.encode(principal)
        done = put(self._engine.put_principal, principal.principal_id, kept, **keywords)
        self._rows = None
        self._known = self._known | {principal.principal_id: principal}
        self._publish()
        return done

    def delete(self, principal_id: str, put: Callable[..., Result], **keywords: Any) -> Result:
        """Delete a principal with `put(engine_call, id, ...)` and publish that it is gone."""
        done = put(self._engine.delete_principal, principal_id, **keywords)
        self._rows = None
        self._known = {key: each for key, each in self._known.items() if key != principal_id}
        self._publish()
        return done

    # ---- the first administrator

    @property
    def is_empty(self) -> bool:
        """Whether nobody is known yet."""
        return not self._known

    def make_admin(self, data_dir: Path, note: bytes) -> Path:
        """Give the principal `admin` every right and a token, and write that to a file.

        The file is written first: a token in it that no store knows does no harm, one that only the
        store knows locks everybody out.

        Args:
            data_dir: where `admin.token` goes.
            note: the audit entry.

        Raises:
            OSError: the file cannot be written.
        """
        token, now_ns = new_token(), self._engine.time_ns
        path = data_dir / ADMIN_TOKEN_FILE
        with files.replacing(path, private=True) as file:
            file.write(token + "\n")
        sync_directory(data_dir)
        with self._lock:
            before = self._known.get(FIRST_ADMIN, Principal(FIRST_ADMIN, create_ns=now_ns))
            changed = with_token(before, token, now_ns, None)
            admin = msgspec.structs.replace(
                changed, grants=tuple(Grant(right) for right in RIGHTS.values())
            )
            self.write(admin, lambda call, *rest: call(*rest, note=note))
        return path

    def _publish(self) -> None:
        if not self.access.is_open:
            self.access.replace(map(_published, self._known.values()))


def with_token(principal: Principal, token: str, now_ns: int, expire_ns: int | None) -> Principal:
    """Return the principal with a token more; of those it had, the newest valid one stays."""
    kept = principal.valid_tokens(now_ns)[-(TOKENS_AT_ONCE - 1) :]
    added = Token(digest_of(token), now_ns, expire_ns)
    return changed_at(principal, now_ns, tokens=(*kept, added))


def changed_at(principal: Principal, now_ns: int, **fields: Any) -> Principal:
    """Return the principal with fields changed."""
    return msgspec.structs.replace(
        principal, update_ns=now_ns, version=principal.version + 1, **fields
    )


def _published(principal: Principal) -> _Published:
    return _Published(
        principal.principal_id,
        principal.hide_holders,
        principal.calls_per_s,
        principal.records_per_s,
        [(grant.right, grant.lists, grant.campaigns) for grant in principal.grants],
        [(token.digest, token.expire_ns) for token in principal.tokens],
        principal.names,
    )
