"""How callers that were refused are told: at once, then less often, and none is forgotten."""

import asyncio
import json
from typing import Any

import pytest

from ownerd.access.table import PERMISSION, UNAUTHENTICATED, Access
from ownerd.engine.engine import Refused
from ownerd.server.refusal_audit import RefusalAudit
from ownerd.v1 import admin_pb2

EXHAUSTED = 8


class Audit:
    """Stands for the engine and for the calls that run its writes."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, admin_pb2.AuditEntry]] = []
        self.is_full = False

    def note_refusals(self, count: int, *, note: bytes) -> None:
        if self.is_full:
            raise Refused(EXHAUSTED, "full")
        self.entries.append((count, admin_pb2.AuditEntry.FromString(note)))

    async def run(self, function: Any, *arguments: Any, **keywords: Any) -> Any:
        return function(*arguments, **keywords)

    @property
    def total(self) -> int:
        """How many are told, those that were not told apart included."""
        return sum(
            count + json.loads(entry.detail).get("others", 0) for count, entry in self.entries
        )


@pytest.fixture
def audit() -> Audit:
    return Audit()


@pytest.fixture
def access() -> Access:
    return Access()


@pytest.fixture
def refusals(audit: Audit, access: Access) -> RefusalAudit:
    return RefusalAudit(audit, access, audit)  # type: ignore[arg-type]


def look(refusals: RefusalAudit, now_s: float) -> None:
    asyncio.run(refusals.look(now_s))


def strangers(access: Access, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        access.add_refusal(
            UNAUTHENTICATED, "", f"ipv4:10.0.{number // 256}.{number % 256}", "Claim"
        )


def test_one_caller_is_told_at_once_then_once_a_minute(
    refusals: RefusalAudit, access: Access, audit: Audit
) -> None:
    for second in range(600):
        strangers(access, 1)
        look(refusals, float(second))
    assert 5 <= len(audit.entries) <= 5 + 10
    asyncio.run(refusals.tell_rest())
    assert audit.total == 600


def test_all_strangers_together_are_told_in_bounded_number(
    refusals: RefusalAudit, access: Access, audit: Audit
) -> None:
    for second in range(120):
        strangers(access, 60, first=60 * second)
        look(refusals, float(second))
    assert len(audit.entries) <= 100 + 12 + 1
    asyncio.run(refusals.tell_rest())
    assert len(audit.entries) <= 100 + 12 + 1 + 50
    assert audit.total == 120 * 60


def test_strangers_do_not_keep_it_quiet_what_somebody_known_was_refused(
    refusals: RefusalAudit, access: Access, audit: Audit
) -> None:
    for second in range(10):
        strangers(access, 60, first=60 * second)
        look(refusals, float(second))
    access.add_refusal(PERMISSION, "insider", "ipv4:10.9.9.9", "ReleaseOwnership")
    look(refusals, 11.0)
    assert audit.entries[-1][1].principal == "insider"


def test_what_there_was_no_capacity_for_is_told_later(
    refusals: RefusalAudit, access: Access, audit: Audit
) -> None:
    audit.is_full = True
    strangers(access, 10)
    look(refusals, 0.0)
    assert not audit.entries
    audit.is_full = False
    look(refusals, 1.0)
    assert audit.total == 10


def test_callers_that_are_quiet_again_take_no_memory(
    refusals: RefusalAudit, access: Access, audit: Audit
) -> None:
    strangers(access, 50)
    look(refusals, 0.0)
    look(refusals, 10_000.0)
    assert not refusals._held
    assert refusals.counts["unauthenticated"] == 50
