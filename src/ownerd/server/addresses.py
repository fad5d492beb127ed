"""The address forms that listeners take: `host:port`, `[::1]:port` and `unix:/path`.

Owns their spelling only; nothing here opens a socket or resolves a name.
"""

import ipaddress
from typing import NamedTuple

ALLOWED = "host:port, [IPv6]:port with a port from 0 (any free one) to 65535, or unix:/path"
UNIX = "unix:"


class Address(NamedTuple):
    """One address; `path` is set for a Unix socket, else `host` (without brackets) and `port`."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return UNIX + self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it, as far as its spelling tells."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse(text: str) -> Address:
    """Return the address that `text` spells.

    Raises:
        ValueError: it is none of the allowed forms.
    """
    if text.startswith(UNIX):
        if not text.startswith(UNIX + "/") or len(text) == len(UNIX) + 1:
            raise ValueError(ALLOWED)
        return Address(path=text.removeprefix(UNIX))
    host, colon, port = text.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(ALLOWED)
    return Address(_host(host), int(port))


def _host(text: str) -> str:
    bracketed = text.startswith("[") and text.endswith("]")
    if bracketed:
        try:
            ipaddress.IPv6Address(text[1:-1])
        except ValueError:
            raise ValueError(ALLOWED) from None
        return text[1:-1]
    if any(character in "[]:/ " for character in text):
        raise ValueError(ALLOWED)
    return text
