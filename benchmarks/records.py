"""The records of a benchmark and its lists, the same for every process of a run.

Record ids are distinct decimal numbers spread over 44 bits, so neighbours in number are strangers
in the store's key order: random picks touch random pages. `ownerd.load.plan` computes the same ids.
"""

import random
from typing import Any

from ownerd.load.plan import Plan

OPEN_LIST = "open"  # records reserved by CLAIMER, whose claims extend that: each one writes
OWNED_LIST = "owned"  # every record owned by one of OWNERS
CLAIMER = "spring-renewals"
OWNERS = tuple(f"owner-{number:02d}" for number in range(16))

DAY_S = 86_400
# Every call on the open list writes: a reservation outlasts any ownership, so a claim extends it
# even for an owner, and an attempt is always within the renewal window.
OPEN_DURATION_S = OPEN_WINDOW_S = DAY_S
OPEN_TTL_S = 2 * DAY_S
OWNED_DURATION_S = 30 * DAY_S

_ID_BITS = 44


class Records:
    """`count` record ids, decided by `seed`."""

    def __init__(self, seed: int, count: int) -> None:
        chance = random.Random(seed)
        self.count = count
        # An odd factor makes the multiplication a permutation of the 44-bit numbers.
        self._factor = chance.randrange(1 << (_ID_BITS - 1), 1 << _ID_BITS) | 1
        self._shift = chance.randrange(1 << _ID_BITS)

    def id(self, number: int) -> str:
        """Return the id of record `number`, from 0."""
        return str((number * self._factor + self._shift) % (1 << _ID_BITS))

    def picks(self, seed: int, count: int) -> list[str]:
        """Return `count` ids drawn at random, with repeats."""
        chance = random.Random(seed)
        return [self.id(chance.randrange(self.count)) for _ in range(count)]

    def plan(self, list_id: str, **more: Any) -> Plan:
        """Return a load's plan over these records, by CLAIMER unless `more` says who."""
        return Plan(
            list_id,
            record_count=self.count,
            factor=self._factor,
            shift=self._shift,
            **({"campaign_ids": (CLAIMER,)} | more),
        )
