from collections.abc import Collection
from typing import Self

from typing_extensions import disjoint_base

@disjoint_base
class Plan:
    def __new__(
        cls,
        list_id: str,
        *,
        record_count: int,
        factor: int = 1,
        shift: int = 0,
        in_order: bool = False,
        batch_records: int = 1,
        claims: int = 1,
        attempts: int = 0,
        campaign_ids: Collection[str] = ("bench",),
        wrap_up_code: str = "Busy",
        pick_seed: int = 1,
    ) -> Self: ...
    def record_id(self, number: int) -> str: ...
    def requests(self, count: int, *, index: int = 0, of: int = 1) -> list[tuple[int, bytes]]: ...
