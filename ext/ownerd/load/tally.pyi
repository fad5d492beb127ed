from typing import Final, NamedTuple

from typing_extensions import disjoint_base

DECISIONS: Final[tuple[str, ...]]
OUTCOMES: Final[tuple[str, ...]]
STATUS_NAMES: Final[tuple[str, ...]]

class LoadResult(NamedTuple):
    seconds: float
    calls: int
    records: int
    decisions: dict[str, int]
    outcomes: dict[str, int]
    errors: dict[str, int]
    latency: Latencies
    records_by_second: list[int]
    load_cpu_s: float
    threads: int
    writer_cpu_s: float = ...
    process_cpu_s: float = ...

@disjoint_base
class Latencies:
    def record(self, value_ns: int) -> None: ...
    def merge(self, other: Latencies) -> None: ...
    def quantile_ns(self, share: float) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def max_ns(self) -> int: ...
    @property
    def mean_ns(self) -> float: ...
