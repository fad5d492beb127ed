from collections.abc import Collection
from typing import NamedTuple

class Migrated(NamedTuple):
    former_format: int
    format: int
    revision: int
    replayed_count: int
    record_count: int
    row_count: int

def is_former(directory: str) -> bool: ...
def check_former(directory: str) -> list[tuple[str, int, int, list[bytes], str | None]]: ...
def migrate(
    directory: str,
    *,
    map_bytes: int,
    store_id: int | None = None,
    allowed_filesystems: Collection[str] = (),
    step_rows: int = 4096,
) -> Migrated | None: ...
