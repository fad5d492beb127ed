from typing import Final

from ownerd.api.task import Refused

REASONS: Final[dict[str, tuple[int, tuple[str, ...]]]]

def refused(reason: int, **values: object) -> Refused: ...
