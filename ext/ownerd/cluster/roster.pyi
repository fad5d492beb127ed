from typing import NamedTuple

from typing_extensions import disjoint_base

from ownerd.cluster.etcd_client import Etcd

__all__ = ["EtcdUnavailableError", "Registration", "Roster", "Seen"]

class EtcdUnavailableError(Exception): ...

class Registration(NamedTuple):
    dial: str = ""
    admin: str = ""
    applied_revision: int = 0
    flushed_revision: int = 0
    level_time_ns: int = 0
    wall_ns: int = 0
    mod_revision: int = 0

class Seen(NamedTuple):
    nodes: dict[str, Registration]
    alive: frozenset[str]
    leader: bytes | None
    epoch: int
    head_revision: int
    first_revision: int
    resigned: bool
    next_node: str

def registration_of(value: bytes, mod_revision: int = 0) -> Registration: ...
def registration_value(member: bytes, **numbers: int) -> bytes: ...

@disjoint_base
class Roster:
    name: str
    def __init__(self, etcd: Etcd, name: str) -> None: ...
    def look(self) -> Seen: ...
    def put_next(self, node_id: str, epoch: int) -> None: ...
    def remove(self, node_id: str) -> bool: ...
