from typing import NamedTuple

class PolicyTuple(NamedTuple):
    enabled: bool
    duration_ns: int | None
    renewal_window_ns: int | None
    reservation_ttl_ns: int

class ListInfo(NamedTuple):
    list_id: str
    policy: PolicyTuple
    create_ns: int
    update_ns: int
    update_revision: int
    number: int
    shares_with: tuple[str, ...]

class Outcome(NamedTuple):
    revision: int
    time_ns: int
    # Of a NamedTuple this is also a method of tuples, which the field replaces.
    count: int | None  # type: ignore[assignment]
    entry_id: int
    replayed: bool
    memo: bytes
    tally: tuple[int, int, int, int]
    left_out: tuple[int, ...] = ()
