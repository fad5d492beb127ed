"""Listeners that want one port, of which one does not listen yet."""

import pytest

from ownerd.server import addresses, ports
from ownerd.server.exits import CannotListen


@pytest.mark.parametrize(
    ("one", "other", "are_different"),
    [
        ("127.0.0.1:7411", "127.0.0.1:7411", False),
        ("0.0.0.0:7411", "127.0.0.1:7411", False),
        ("127.0.0.1:7411", "[::]:7411", False),
        ("127.0.0.1:7411", "127.0.0.1:7412", True),
        ("127.0.0.1:7411", "127.0.0.2:7411", True),
        ("127.0.0.1:7411", "unix:/run/ownerd", True),
        ("unix:/run/ownerd", "unix:/run/other", True),
    ],
)
def test_two_listeners_on_one_port_are_refused(one: str, other: str, are_different: bool) -> None:
    found = [("dial", addresses.parse(one)), ("admin", addresses.parse(other))]
    if are_different:
        ports.need_different(found)
        return
    with pytest.raises(CannotListen, match=r"admin_listen: .* dial_listen has it"):
        ports.need_different(found)
