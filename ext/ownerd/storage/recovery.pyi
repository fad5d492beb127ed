from collections.abc import Collection

from ownerd.storage.shared_log import SharedLogDoor

class Opening:
    create: bool
    store_id: int | None
    allowed_filesystems: Collection[str]
    time_ns: int
    log_keep_bytes: int
    log_keep_ns: int
    log_segment_bytes: int
    restored: bool
    leave: bool
    cluster: SharedLogDoor | None
    stored_ns: int
    stored_revision: int
    found: list[tuple[str, str]]

    def __init__(
        self,
        *,
        create: bool = True,
        store_id: int | None = None,
        allowed_filesystems: Collection[str] = (),
        time_ns: int = 0,
        log_keep_bytes: int = ...,
        log_keep_ns: int = ...,
        log_segment_bytes: int = ...,
        restored: bool = False,
        leave: bool = False,
        cluster: SharedLogDoor | None = None,
    ) -> None: ...
    def tell(self, event: str, text: str) -> None: ...
