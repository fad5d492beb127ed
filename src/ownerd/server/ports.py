"""Sockets bound to what a `host:port` stands for; whether they listen is the caller's."""

import socket
from collections.abc import Iterable
from itertools import combinations

from ownerd.server.addresses import Address
from ownerd.server.exits import CannotListen

_EVERY_HOST = ("0.0.0.0", "::")


def bind(address: Address) -> tuple[list[socket.socket], Address]:
    """Bind every address that the host's name stands for, all to one port; return the real one.

    Raises:
        OSError: one cannot be had, and none is held.
    """
    found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    port = address.port
    bound: list[socket.socket] = []
    try:
        for family, at in dict.fromkeys((each[0], each[4][0]) for each in found):
            made = socket.socket(family, socket.SOCK_STREAM)
            bound.append(made)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # As with grpcio, [::] takes IPv4 too.
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(at != "::"))
            made.bind((at, port))
            port = made.getsockname()[1]
    except OSError:
        for made in bound:
            made.close()
        raise
    return bound, address._replace(port=port)


def need_different(found: Iterable[tuple[str, Address]]) -> None:
    """Refuse listeners, given by name, that have one port.

    The system would allow it where one of them does not listen yet, and refuse it when it begins.

    Raises:
        CannotListen: two of them have.
    """
    for (name, one), (other, two) in combinations(found, 2):
        same_host = one.host == two.host or one.host in _EVERY_HOST or two.host in _EVERY_HOST
        if not one.path and not two.path and one.port == two.port and same_host:
            raise CannotListen(
                f"{other}_listen: cannot listen on {two}: {name}_listen has it; choose another"
            )
