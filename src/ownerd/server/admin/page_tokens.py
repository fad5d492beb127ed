"""Page tokens: where the next page begins, tied to the query that it belongs to.

A token is URL-safe text: the store's incarnation, a digest of the rpc, the request's other fields
and the cursor, then the cursor. It is a guard against mistakes (a token of another list, a cut or
edited token, one from before the store was restored), not a secret: whoever may send the query may
read every page of it anyway. A page's size may change from one page to the next.
"""

import base64
import binascii
import hashlib
from typing import Any

from google.protobuf.message import Message

from ownerd.server.errors import InvalidPageToken, OtherIncarnation

_DIGEST_BYTES = 12
_TOKEN_LIMIT = 1024
_NUMBER_BYTES = 8
_BEGIN = _NUMBER_BYTES + _DIGEST_BYTES


def encode(request: Message, cursor: bytes, incarnation: int) -> str:
    """Return the token of the page of `request`'s query that begins at `cursor`; "" for b""."""
    if not cursor:
        return ""
    raw = incarnation.to_bytes(_NUMBER_BYTES) + _digest(request, cursor) + cursor
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(request: Any, incarnation: int) -> bytes:
    """Return the cursor in `request.page_token`; b"" for the first page.

    Raises:
        InvalidPageToken: no token, or one of another query.
        OtherIncarnation: a token of the store as it was before it was copied.
    """
    token = request.page_token
    if not token:
        return b""
    try:
        if len(token) > _TOKEN_LIMIT:
            raise ValueError("longer than any token")
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        raw = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise InvalidPageToken from None
    given, digest, cursor = raw[:_NUMBER_BYTES], raw[_NUMBER_BYTES:_BEGIN], raw[_BEGIN:]
    if not cursor or digest != _digest(request, cursor):
        raise InvalidPageToken
    if int.from_bytes(given) != incarnation:
        raise OtherIncarnation
    return cursor


def decode_text(request: Any, incarnation: int) -> str:
    """Return the id in `request.page_token`; "" for the first page.

    Raises:
        InvalidPageToken: no token, or one of another query.
        OtherIncarnation: a token of the store as it was before it was copied.
    """
    try:
        return decode(request, incarnation).decode()
    except UnicodeDecodeError:
        raise InvalidPageToken from None


def decode_number(request: Any, incarnation: int) -> int:
    """Return the number of up to 64 bits in `request.page_token`; 0 for the first page.

    Raises:
        InvalidPageToken: no token, or one of another query.
        OtherIncarnation: a token of the store as it was before it was copied.
    """
    cursor = decode(request, incarnation)
    if len(cursor) > _NUMBER_BYTES:
        raise InvalidPageToken
    return int.from_bytes(cursor)


def _digest(request: Any, cursor: bytes) -> bytes:
    query = type(request)()
    query.CopyFrom(request)
    query.ClearField("page_token")
    query.ClearField("page_size")
    digest = hashlib.sha256(query.DESCRIPTOR.full_name.encode() + b"\0")
    digest.update(hashlib.sha256(query.SerializeToString(deterministic=True)).digest())
    digest.update(cursor)
    return digest.digest()[:_DIGEST_BYTES]
