"""Page tokens: where the next page begins, tied to the query that it belongs to.

A token is URL-safe text: a digest of the rpc, the request's other fields and the cursor, then the
cursor. It is a guard against mistakes (a token of another list, a cut or edited token), not a
secret: whoever may send the query may read every page of it anyway. A page's size may change from
one page to the next.
"""

import base64
import binascii
import hashlib
from typing import Any

from google.protobuf.message import Message

from ownerd.server.errors import InvalidPageToken

_DIGEST_BYTES = 12
_TOKEN_LIMIT = 1024
_NUMBER_BYTES = 8


def encode(request: Message, cursor: bytes) -> str:
    """Return the token of the page of `request`'s query that begins at `cursor`; "" for b""."""
    if not cursor:
        return ""
    return base64.urlsafe_b64encode(_digest(request, cursor) + cursor).decode().rstrip("=")


def decode(request: Any) -> bytes:
    """Return the cursor in `request.page_token`; b"" for the first page.

    Raises:
        InvalidPageToken: no token, or one of another query.
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
    digest, cursor = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    if not cursor or digest != _digest(request, cursor):
        raise InvalidPageToken
    return cursor


def decode_text(request: Any) -> str:
    """Return the id in `request.page_token`; "" for the first page.

    Raises:
        InvalidPageToken: no token, or one of another query.
    """
    try:
        return decode(request).decode()
    except UnicodeDecodeError:
        raise InvalidPageToken from None


def decode_number(request: Any) -> int:
    """Return the number of up to 64 bits in `request.page_token`; 0 for the first page.

    Raises:
        InvalidPageToken: no token, or one of another query.
    """
    cursor = decode(request)
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
