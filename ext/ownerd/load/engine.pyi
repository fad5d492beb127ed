from typing import NamedTuple

from ownerd.engine.engine import Engine
from ownerd.load.plan import Plan
from ownerd.load.tally import Latencies

__all__ = ["EngineLoad", "drive", "fill"]

class EngineLoad(NamedTuple):
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
    writer_cpu_s: float
    process_cpu_s: float

def drive(
    engine: Engine,
    plan: Plan,
    *,
    in_flight: int = 256,
    threads: int = 1,
    seconds: float = 5.0,
    warm_up_s: float = 0.5,
    rate_per_s: float = 0.0,
) -> EngineLoad: ...
def fill(
    engine: Engine, plan: Plan, *, in_flight: int = 3, limit_s: float = 600.0
) -> EngineLoad: ...
