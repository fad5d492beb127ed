from collections.abc import Collection, Iterable
from os import PathLike
from typing import Final

SHARED_FILESYSTEMS: Final[dict[int, str]]
FLEETING_FILESYSTEMS: Final[dict[int, str]]
NAMES: Final[tuple[str, ...]]

def judge_filesystem(
    magic: int, path: str | PathLike[str], allowed: Collection[str] = ()
) -> tuple[str, str] | None: ...
def check_filesystems(
    paths: Iterable[str], allowed: Collection[str] = ()
) -> list[tuple[str, str]]: ...
