from ownerd.engine.engine import Engine
from ownerd.load.plan import Plan
from ownerd.load.tally import LoadResult

__all__ = ["drive", "fill"]

def drive(
    engine: Engine,
    plan: Plan,
    *,
    in_flight: int = 256,
    threads: int = 1,
    seconds: float = 5.0,
    warm_up_s: float = 0.5,
    rate_per_s: float = 0.0,
) -> LoadResult: ...
def fill(
    engine: Engine, plan: Plan, *, in_flight: int = 3, limit_s: float = 600.0
) -> LoadResult: ...
