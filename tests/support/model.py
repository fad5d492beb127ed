"""The oracle: protos/ownerd/v1/RULES.md in plain Python, as slow and as simple as it can be.

A list is a dict of records. A record has one holder and up to two spans: ownership and reservation.
Every change of policy, release or signal is applied to every record at once; there is no event log,
no disk, no background work. Written from the text of the rules alone, never from the native code.
"""

from dataclasses import dataclass, field

from subject import (
    FAIL,
    SKIP,
    Answer,
    Answers,
    Code,
    Holder,
    Owned,
    Owner,
    Policy,
    Refusal,
    Row,
    Tally,
)

NEVER = 2**63 - 1
START_NS = 1_800_000_000_123_456_789


def _codes(names: str, counts: bool, success: bool) -> dict[str, Code]:
    return {name: Code(name, counts, success) for name in names.split(", ")}


SHIPPED_CODES = {
    **_codes("Ambiguous, Busy, Deleted, Failure, Fax, Machine, No Answer", True, False),
    **_codes("Remote Hang Up, SIT, SIT Callable, SIT Uncallable, System Hang Up", True, False),
    **_codes("Scheduled, Transferred, Wrong Party, Phone Number Deleted", True, False),
    **_codes("Success, Phone Number Success", True, True),
    **_codes("No Lines, Non-Dialer Call, Rescheduled, Skipped, Policy Scheduled", False, False),
}


@dataclass
class Span:
    """A time during which a campaign holds a record: `start_ns` <= t < `end_ns` (R2)."""

    start_ns: int
    end_ns: int


@dataclass
class Record:
    """A record that `campaign_id` holds."""

    campaign_id: str
    ownership: Span | None = None
    reservation: Span | None = None


@dataclass
class ContactList:
    """A list's policy and its held records."""

    policy: Policy
    records: dict[str, Record] = field(default_factory=dict)


def key_order(record_id: str) -> tuple[int, int, bytes]:
    """Where a record stands in key order: canonical int64 numbers first, then the bytes."""
    try:
        number = int(record_id)
    except ValueError:
        number = NEVER + 1
    if str(number) == record_id and -(2**63) <= number <= NEVER:
        return (0, number, b"")
    return (1, 0, record_id.encode())


class Model:
    """A `TimedSubject` that is obviously right."""

    def __init__(self) -> None:
        self.time_ns = START_NS
        self.lists: dict[str, ContactList] = {}
        self.names: dict[str, str] = {}
        self.code_table = dict(SHIPPED_CODES)
        self.revision_count = 0
        self.dirty = False

    # ---- time

    def now_ns(self) -> int:
        return self.time_ns

    def advance_ns(self, delta_ns: int) -> None:
        self.time_ns += delta_ns

    def vacuum(self) -> None:
        """Nothing to do: everything was done at once."""

    def reopen(self) -> None:
        """Nothing to do: nothing is lost (R18)."""

    # ---- looking

    def _list(self, list_id: str) -> ContactList:
        if list_id not in self.lists:
            raise Refusal("NOT_FOUND", f"list {list_id}")
        return self.lists[list_id]

    def _record(self, list_id: str, record_id: str) -> Record | None:
        """Return the record if it is held now, without the spans that have ended (R2)."""
        records = self._list(list_id).records
        record = records.get(record_id)
        if record is None:
            return None
        if record.ownership is not None and self.time_ns >= record.ownership.end_ns:
            record.ownership = None
        if record.reservation is not None and self.time_ns >= record.reservation.end_ns:
            record.reservation = None
        if record.ownership is None and record.reservation is None:
            del records[record_id]
            return None
        return record

    def _held(self, list_id: str) -> dict[str, Record]:
        found = {name: self._record(list_id, name) for name in list(self._list(list_id).records)}
        return {name: record for name, record in found.items() if record is not None}

    def _holder(self, record: Record) -> Holder:
        """Ownership is what shows while there is any."""
        span = record.ownership or record.reservation
        assert span is not None
        end_ns = None if span.end_ns == NEVER else span.end_ns
        kind = "OWNED" if record.ownership else "RESERVED"
        name = self.names[record.campaign_id]
        return Holder(kind, record.campaign_id, name, span.start_ns, end_ns)

    def _changed(self) -> None:
        """Note that the call in hand changed something."""
        self.dirty = True

    def _commit(self) -> None:
        """Count a commit."""
        self.dirty = False
        self.revision_count += 1

    def _decided_at(self) -> int:
        """End a dial call: one commit if it changed anything, and the revision it shows."""
        if self.dirty:
            self._commit()
        return self.revision_count

    def _know(self, campaign_id: str) -> None:
        self.names.setdefault(campaign_id, campaign_id)

    def _must_know(self, campaign_ids: list[str] | None) -> None:
        for campaign_id in campaign_ids or []:
            if campaign_id not in self.names:
                raise Refusal("NOT_FOUND", f"campaign {campaign_id}")

    # ---- claims (R4 to R6)

    def _claim(self, list_id: str, record_id: str, campaign_id: str) -> tuple[str, Holder | None]:
        policy = self._list(list_id).policy
        record = self._record(list_id, record_id)
        if record is not None and record.campaign_id != campaign_id:
            return "DENIED", self._holder(record)
        if not policy.enabled:
            return "UNCONTROLLED", None
        self._know(campaign_id)
        end_ns = self.time_ns + policy.reservation_ttl_ns
        if record is None:
            record = self.lists[list_id].records[record_id] = Record(campaign_id)
        if record.ownership is None or record.ownership.end_ns < end_ns:
            self._reserve(record, end_ns)
        return "GRANTED", None

    def _reserve(self, record: Record, end_ns: int) -> None:
        """Reserve, or extend the reservation: never shorten it (R3, R5)."""
        if record.reservation is None:
            record.reservation = Span(self.time_ns, end_ns)
            self._changed()
        elif record.reservation.end_ns < end_ns:
            record.reservation.end_ns = end_ns
            self._changed()

    def claim(self, list_id: str, record_id: str, campaign_id: str) -> Answer:
        return Answer(*self._claim(list_id, record_id, campaign_id), self._decided_at())

    def claim_batch(self, list_id: str, campaign_id: str, record_ids: list[str]) -> Answers:
        self._list(list_id)
        return self._answers([self._claim(list_id, name, campaign_id) for name in record_ids])

    def _answers(self, decided: list[tuple[str, Holder | None]]) -> Answers:
        holders = {i: holder for i, (_, holder) in enumerate(decided) if holder is not None}
        return Answers([what for what, _ in decided], holders, self._decided_at())

    # ---- attempts (R7 to R11)

    def _attempt(
        self, list_id: str, record_id: str, campaign_id: str, code: Code
    ) -> tuple[str, Holder | None]:
        policy = self._list(list_id).policy
        record = self._record(list_id, record_id)
        if record is not None and record.campaign_id != campaign_id:
            return "REJECTED", self._holder(record)
        if record is not None and record.reservation is not None:
            record.reservation = None
            self._changed()
        owned = record is not None and record.ownership is not None
        if not policy.enabled:
            return ("OWNERSHIP_KEPT" if owned else "NOT_CONTROLLED"), None
        if not code.counts:
            return ("OWNERSHIP_KEPT" if owned else "RESERVATION_CLEARED"), None
        if not owned:
            self._acquire(list_id, record_id, campaign_id)
            return "OWNERSHIP_ACQUIRED", None
        return self._renew(record, policy, code), None

    def _acquire(self, list_id: str, record_id: str, campaign_id: str) -> None:
        self._know(campaign_id)
        ownership = Span(self.time_ns, self._end_ns(list_id))
        self.lists[list_id].records[record_id] = Record(campaign_id, ownership)
        self._changed()

    def _end_ns(self, list_id: str) -> int:
        duration_ns = self.lists[list_id].policy.duration_ns
        return NEVER if duration_ns is None else self.time_ns + duration_ns

    def _renew(self, record: Record, policy: Policy, code: Code) -> str:
        """R10, with a window that is no longer than the duration: a renewal never shortens."""
        ownership = record.ownership
        assert ownership is not None
        if code.success or ownership.end_ns == NEVER:
            return "OWNERSHIP_KEPT"
        duration_ns = NEVER if policy.duration_ns is None else policy.duration_ns
        if policy.renewal_window_ns is not None:
            window_ns = min(policy.renewal_window_ns, duration_ns)
        else:
            window_ns = 0 if policy.duration_ns is None else duration_ns // 10
        if ownership.end_ns - self.time_ns > window_ns:
            return "OWNERSHIP_KEPT"
        end_ns = NEVER if policy.duration_ns is None else self.time_ns + duration_ns
        if end_ns != ownership.end_ns:
            ownership.end_ns = end_ns
            self._changed()
        return "OWNERSHIP_RENEWED"

    def _meaning(self, code: str) -> Code:
        if code not in self.code_table:
            raise Refusal("INVALID_ARGUMENT", f"wrap_up_code {code}")
        return self.code_table[code]

    def attempt(self, list_id: str, record_id: str, campaign_id: str, code: str) -> Answer:
        self._list(list_id)
        decided = self._attempt(list_id, record_id, campaign_id, self._meaning(code))
        return Answer(*decided, self._decided_at())

    def attempt_batch(
        self, list_id: str, campaign_id: str, attempts: list[tuple[str, str]]
    ) -> Answers:
        self._list(list_id)
        meant = [(record_id, self._meaning(code)) for record_id, code in attempts]
        return self._answers(
            [self._attempt(list_id, record_id, campaign_id, code) for record_id, code in meant]
        )

    def holder(self, list_id: str, record_id: str) -> Holder | None:
        record = self._record(list_id, record_id)
        return None if record is None else self._holder(record)

    # ---- lists and policies (R12 to R14)

    def create_list(self, list_id: str, policy: Policy = Policy()) -> None:
        if list_id in self.lists:
            raise Refusal("ALREADY_EXISTS", f"list {list_id}")
        self.lists[list_id] = ContactList(policy)
        self._commit()

    def update_policy(self, list_id: str, policy: Policy) -> int:
        contact_list = self._list(list_id)
        changes_duration = policy.duration_ns != contact_list.policy.duration_ns
        contact_list.policy = policy
        if changes_duration:
            for record in self._held(list_id).values():
                if record.ownership is not None:
                    record.ownership.end_ns = self._end_ns(list_id)
        self._commit()
        return self.time_ns

    def policy(self, list_id: str) -> Policy:
        return self._list(list_id).policy

    def delete_list(self, list_id: str, force: bool = False) -> None:
        if self.owned(list_id) and not force:
            raise Refusal("FAILED_PRECONDITION", f"list {list_id} has live ownership")
        del self.lists[list_id]
        self._commit()

    # ---- releases and signals (R15, R16)

    def release(
        self, list_id: str, campaign_ids: list[str] | None = None, reservations: bool = False
    ) -> int:
        held = self._held(list_id)
        self._must_know(campaign_ids)
        meant = [
            record
            for record in held.values()
            if campaign_ids is None or record.campaign_id in campaign_ids
        ]
        released_count = sum(record.ownership is not None for record in meant)
        for record in meant:
            record.ownership = None
            if reservations:
                record.reservation = None
        self._commit()
        return released_count

    def release_records(self, list_id: str, record_ids: list[str]) -> int:
        held = self._held(list_id)
        meant = [held[record_id] for record_id in set(record_ids) if record_id in held]
        released_count = sum(record.ownership is not None for record in meant)
        for record in meant:
            record.ownership = None
        self._commit()
        return released_count

    def signal(
        self, campaign_id: str, what: str, list_id: str = "", end_reservations: bool = False
    ) -> int:
        self._must_know([campaign_id])
        touched = [list_id] if list_id else list(self.lists)
        held = [record for name in touched for record in self._held(name).values()]
        ended = [
            record
            for record in held
            if end_reservations and record.campaign_id == campaign_id and record.reservation
        ]
        for record in ended:
            record.reservation = None
        self._commit()
        return len(ended)

    # ---- names and codes

    def upsert_campaign(self, campaign_id: str, name: str) -> None:
        self.names[campaign_id] = name or campaign_id
        self._commit()

    def campaigns(self) -> dict[str, str]:
        return dict(self.names)

    def upsert_code(self, code: str, meaning: Code) -> None:
        self.code_table[code] = meaning
        self._commit()

    def delete_code(self, code: str) -> None:
        if code not in self.code_table:
            raise Refusal("NOT_FOUND", f"code {code}")
        del self.code_table[code]
        self._commit()

    def codes(self) -> dict[str, Code]:
        return dict(self.code_table)

    # ---- import

    def import_rows(
        self,
        list_id: str,
        rows: list[Row],
        strategy: int = FAIL,
        exact: bool = False,
        rename: bool = False,
        by_policy: bool = False,
    ) -> Tally:
        """Rows in order (R32); a row that has ended already is counted and nothing else."""
        duration_ns = self._list(list_id).policy.duration_ns
        if by_policy and duration_ns is not None:
            end_ns = self.time_ns + duration_ns
            rows = [r if r.expire_ns is not None else r._replace(expire_ns=end_ns) for r in rows]
        if strategy == FAIL:
            self._refuse_conflicts(list_id, rows)
        counts = {"imported": 0, "skipped": 0, "overwritten": 0, "expired": 0}
        for row in rows:
            counted_as = self._import(list_id, row, strategy, exact)
            counts[counted_as] += 1
            if counted_as in ("imported", "overwritten"):
                self._name(row, rename)
        self._commit()
        return Tally(**counts)

    def _refuse_conflicts(self, list_id: str, rows: list[Row]) -> None:
        for index, row in enumerate(rows):
            record = self._record(list_id, row.record_id)
            ended = row.expire_ns is not None and row.expire_ns <= self.time_ns
            if not ended and record is not None and record.campaign_id != row.campaign_id:
                raise Refusal("FAILED_PRECONDITION", f"row {index + 1}")

    def _import(self, list_id: str, row: Row, strategy: int, exact: bool) -> str:
        """Never end a reservation; never shorten an ownership unless the row is exact."""
        if row.expire_ns is not None and row.expire_ns <= self.time_ns:
            return "expired"
        records = self.lists[list_id].records
        record = self._record(list_id, row.record_id)
        conflict = record is not None and record.campaign_id != row.campaign_id
        if record is not None and conflict and (strategy == SKIP or record.reservation is not None):
            return "skipped"
        if record is None or conflict:
            record = records[row.record_id] = Record(row.campaign_id)
        ownership = record.ownership
        start_ns = self.time_ns if row.acquire_ns is None else min(row.acquire_ns, self.time_ns)
        end_ns = NEVER if row.expire_ns is None else row.expire_ns
        if ownership is None:
            record.ownership = Span(start_ns, end_ns)
        elif exact:
            ownership.end_ns = end_ns
            if row.acquire_ns is not None:
                ownership.start_ns = start_ns
        else:
            ownership.end_ns = max(end_ns, ownership.end_ns)
        return "overwritten" if conflict else "imported"

    def _name(self, row: Row, rename: bool) -> None:
        """A row's name is for a campaign that has none but its id, unless it is to rename."""
        self._know(row.campaign_id)
        if row.name and (rename or self.names[row.campaign_id] == row.campaign_id):
            self.names[row.campaign_id] = row.name

    # ---- tracking (R17)

    def owners(self, list_id: str) -> list[Owner]:
        held = self._held(list_id).values()
        return [
            self._owner(campaign_id, [r for r in held if r.campaign_id == campaign_id])
            for campaign_id in sorted({r.campaign_id for r in held}, key=str.encode)
        ]

    def _owner(self, campaign_id: str, records: list[Record]) -> Owner:
        ends = [r.ownership.end_ns for r in records if r.ownership is not None]
        reserved_count = sum(r.reservation is not None for r in records)
        earliest_ns = min((end for end in ends if end != NEVER), default=None)
        name = self.names[campaign_id]
        return Owner(campaign_id, name, len(ends), reserved_count, earliest_ns)

    def owned(self, list_id: str, campaign_ids: list[str] | None = None) -> list[Owned]:
        held = self._held(list_id)
        self._must_know(campaign_ids)
        return [
            Owned(record_id, *self._holder(held[record_id])[1:])
            for record_id in sorted(held, key=key_order)
            if held[record_id].ownership is not None
            and (campaign_ids is None or held[record_id].campaign_id in campaign_ids)
        ]

    def revision(self) -> int:
        return self.revision_count
