from collections.abc import Collection
from typing import NamedTuple

class Compacted(NamedTuple):
    bytes_before: int
    bytes_after: int

def compact(
    directory: str,
    *,
    map_bytes: int,
    store_id: int | None = None,
    allowed_filesystems: Collection[str] = (),
) -> Compacted: ...
