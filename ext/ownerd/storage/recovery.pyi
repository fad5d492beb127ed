from collections.abc import Collection

from ownerd.storage.shared_log import SharedLogDoor

class Opening:
    create: bool
    store_id: int | None
    allowed_filesystems: Collection[str]
    time_ns: int
    cluster: SharedLogDoor | None
    stored_ns: int
    found: list[tuple[str, str]]

    def __init__(
        self,
        *,
        create: bool = True,
        store_id: int | None = None,
        allowed_filesystems: Collection[str] = (),
        time_ns: int = 0,
        cluster: SharedLogDoor | None = None,
    ) -> None: ...
    def tell(self, event: str, text: str) -> None: ...
