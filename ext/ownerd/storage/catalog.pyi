from typing import Final

DEFAULT_CODES: Final[tuple[tuple[str, bool, bool], ...]]
