"""What a dry run of a change of all lists looks at: every list, or it fails."""

from contextlib import nullcontext
from typing import Any

import pytest

from ownerd.native import Refused
from ownerd.server.admin import bulk

NOT_FOUND, EXHAUSTED = 5, 8


class Lists:
    """An engine, made up: the lists by what becomes of a look at them."""

    def __init__(self, **refusals: Refused | None) -> None:
        self.refusals = refusals

    def snapshot(self, list_id: str) -> Any:
        if refusal := self.refusals[list_id]:
            raise refusal
        return nullcontext(list_id)


def seen(lists: Any, list_id: str = "") -> list[Any]:
    return list(bulk.snapshots(lists, list_id, lambda: lists.refusals))


def test_of_all_lists_one_that_is_deleted_meanwhile_is_left_out() -> None:
    gone = Refused(NOT_FOUND, "no such list", reason="LIST_NOT_FOUND")
    lists = Lists(a=None, b=gone, c=None)
    assert seen(lists) == ["a", "c"]
    assert seen(lists, "a") == ["a"]
    with pytest.raises(Refused):
        seen(lists, "b")


def test_one_that_cannot_be_looked_at_is_never_left_out() -> None:
    lists = Lists(a=None, b=Refused(EXHAUSTED, "too many reads", reason="TOO_MANY_READS"))
    with pytest.raises(Refused, match="too many reads"):
        seen(lists)
