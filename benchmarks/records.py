"""The records of a benchmark and the requests for them, the same for every process of a run.

Record ids are distinct decimal numbers spread over 44 bits, so neighbours in number are strangers
in the store's key order: random picks touch random pages.
"""

import random
from collections.abc import Iterator

from ownerd.v1 import dial_pb2

OPEN_LIST = "open"  # every record reserved by CLAIMER, whose claims extend that: each one writes
OWNED_LIST = "owned"  # every record owned by one of OWNERS; claims of others are denied
LIST_IDS = (OPEN_LIST, OWNED_LIST)
CLAIMER = "spring-renewals"
OWNERS = tuple(f"owner-{number:02d}" for number in range(16))

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

    def in_key_order(self) -> list[str]:
        """Return all ids in the order of the store's keys."""
        return sorted(map(self.id, range(self.count)), key=int)

    def picks(self, seed: int, count: int) -> list[str]:
        """Return `count` ids drawn at random, with repeats."""
        chance = random.Random(seed)
        return [self.id(chance.randrange(self.count)) for _ in range(count)]


def claims(records: Records, list_ids: list[str], seed: int, count: int) -> list[bytes]:
    """Return `count` encoded ClaimRequests for random records, the lists taking turns."""
    return [
        dial_pb2.ClaimRequest(
            list_id=list_ids[number % len(list_ids)], record_id=record_id, campaign_id=CLAIMER
        ).SerializeToString()
        for number, record_id in enumerate(records.picks(seed, count))
    ]


def claim_batches(
    records: Records, list_id: str, seed: int, count: int, batch_records: int
) -> list[bytes]:
    """Return `count` encoded ClaimBatchRequests of `batch_records` random records."""
    return [
        dial_pb2.ClaimBatchRequest(
            list_id=list_id,
            campaign_id=CLAIMER,
            record_ids=records.picks(seed * 1_000 + number, batch_records),
        ).SerializeToString()
        for number in range(count)
    ]


def look_ups(records: Records, list_id: str, seed: int, count: int) -> list[bytes]:
    """Return `count` encoded GetHolderRequests for random records."""
    return [
        dial_pb2.GetHolderRequest(list_id=list_id, record_id=record_id).SerializeToString()
        for record_id in records.picks(seed, count)
    ]


def fillings(records: Records, batch_records: int) -> Iterator[tuple[str, bytes]]:
    """Yield (rpc, request) pairs that bring both lists to the state described above."""
    ids = records.in_key_order()
    for start in range(0, len(ids), batch_records):
        chunk = ids[start : start + batch_records]
        claim = dial_pb2.ClaimBatchRequest(list_id=OPEN_LIST, campaign_id=CLAIMER, record_ids=chunk)
        yield "ClaimBatch", claim.SerializeToString()
        owner = OWNERS[start // batch_records % len(OWNERS)]
        report = dial_pb2.ReportAttemptBatchRequest(list_id=OWNED_LIST, campaign_id=owner)
        for record_id in chunk:
            report.attempts.add(record_id=record_id, wrap_up_code="Busy")
        yield "ReportAttemptBatch", report.SerializeToString()
