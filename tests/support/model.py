"""The oracle: protos/ownerd/v1/RULES.md in plain Python, as slow and as simple as it can be.

A list is a dict of records. A record has one holder and up to two spans: ownership and reservation.
Every change of policy, release or signal is applied to every record at once; there is no event log,
no disk, no background work. Written from the text of the rules alone, never from the native code.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from subject import (
    FAIL,
    HOUR,
    SECOND,
    SKIP,
    Answer,
    Answers,
    Attempt,
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
    **_codes("No Lines, Non-Dialer Call, Rescheduled, Skipped", False, False),
    **_codes("Policy Scheduled, Navigate", False, False),
}


@dataclass
class Span:
    """A time during which a campaign holds a record: `start_ns` <= t < `end_ns` (R2)."""

    start_ns: int
    end_ns: int


@dataclass
class Reservation(Span):
    """Whose dial it is for: a named dialer's, the campaign's, or one of before a transfer (R27)."""

    dialer_id: str = ""
    giver: str | None = None


@dataclass
class Record:
    """A record that `campaign_id` holds."""

    campaign_id: str
    ownership: Span | None = None
    reservation: Reservation | None = None


@dataclass
class ContactList:
    """A list's policy, its held records, and each record's last attempt, held or free (R24)."""

    policy: Policy
    enabled_since_ns: int = 0
    records: dict[str, Record] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)


@dataclass
class Report:
    """What a dialer says of how an attempt ended."""

    campaign_id: str
    code: Code
    dialer_id: str = ""
    attempt_time_ns: int | None = None
    reservation_id: int = 0


def key_order(record_id: str) -> tuple[int, int, bytes]:
    """Where a record stands in key order: canonical int64 numbers first, then the bytes."""
    try:
        number = int(record_id)
    except ValueError:
        number = NEVER + 1
    if str(number) == record_id and -(2**63) <= number <= NEVER:
        return (0, number, b"")
    return (1, 0, record_id.encode())


DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
BLANKS = " \t\n\v\f\r\u00a0"


def folded(code: str) -> str:
    """A code without what R26 ignores: outer blanks, ASCII case, the kind of dash."""
    plain = (("-" if each in DASHES else each) for each in code.strip(BLANKS))
    return "".join(each.lower() if each.isascii() else each for each in plain)


def code_meant(code: str, known: Iterable[str]) -> str | None:
    """The known code that a dialer means (R26), if there is one."""
    spellings = {folded(each): each for each in sorted(known, key=str.encode, reverse=True)}
    text = code.strip(BLANKS)
    parts = re.match(f"(.+?)[{BLANKS}][{DASHES}][{BLANKS}]", text, re.DOTALL)
    for part in (code, parts[1].strip(BLANKS)) if parts else (code,):
        if part in known:
            return part
        if folded(part) in spellings:
            return spellings[folded(part)]
    return None


class Model:
    """A `TimedSubject` that is obviously right."""

    def __init__(self) -> None:
        self.clock_ns = START_NS
        self.time_ns = START_NS
        self.last_instant_ns = START_NS - 1
        self.lists: dict[str, ContactList] = {}
        self.names: dict[str, str] = {}
        self.code_table = dict(SHIPPED_CODES)
        self.revision_count = 0
        self.dirty = False

    # ---- time

    def now_ns(self) -> int:
        return self.clock_ns

    def advance_ns(self, delta_ns: int) -> None:
        self.clock_ns += delta_ns
        self.time_ns = max(self.time_ns, self.clock_ns)

    def _next_instant(self) -> None:
        """Every decision has its own instant, later than the one before it (R22)."""
        self.time_ns = self.last_instant_ns = self._coming_instant()

    def _coming_instant(self) -> int:
        return max(self.last_instant_ns + 1, self.clock_ns)

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
        held = record.reservation
        dialer_id = held.dialer_id if held is not None and held.giver is None else ""
        reserved_until_ns = None if held is None else held.end_ns
        return Holder(
            kind, record.campaign_id, name, span.start_ns, end_ns, dialer_id, reserved_until_ns
        )

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

    # ---- claims (R4 to R6, R22)

    def _denied_to(self, record: Record | None, campaign_id: str, dialer_id: str) -> bool:
        """Another campaign holds it (R4), or another dialer of this one has it reserved (R22)."""
        if record is None:
            return False
        if record.campaign_id != campaign_id:
            return True
        reservation = record.reservation
        if reservation is None:
            return False
        return reservation.giver is not None or reservation.dialer_id not in ("", dialer_id)

    def _claim(
        self, list_id: str, record_id: str, campaign_id: str, dialer_id: str, ttl_ns: int | None
    ) -> Answer:
        self._next_instant()
        policy = self._list(list_id).policy
        record = self._record(list_id, record_id)
        if self._denied_to(record, campaign_id, dialer_id):
            return Answer("DENIED", self.holder(list_id, record_id), 0)
        if not policy.enabled:
            return Answer("UNCONTROLLED", None, 0)
        self._know(campaign_id)
        if record is None:
            record = self.lists[list_id].records[record_id] = Record(campaign_id)
        end_ns = self.time_ns + (ttl_ns or policy.reservation_ttl_ns)
        held = self._reserve(record, dialer_id, end_ns)
        return Answer("GRANTED", None, 0, held.end_ns, held.start_ns)

    def _reserve(self, record: Record, dialer_id: str, end_ns: int) -> Reservation:
        """Reserve, extend or take over: never shorten (R3, R5, R22)."""
        held = record.reservation
        if held is not None:
            end_ns = max(end_ns, held.end_ns)
        if held is None or held.dialer_id != dialer_id:
            held = record.reservation = Reservation(self.time_ns, end_ns, dialer_id)
            self._changed()
        elif held.end_ns < end_ns:
            held.end_ns = end_ns
            self._changed()
        return held

    def claim(
        self,
        list_id: str,
        record_id: str,
        campaign_id: str,
        dialer_id: str = "",
        ttl_ns: int | None = None,
    ) -> Answer:
        answer = self._claim(list_id, record_id, campaign_id, dialer_id, ttl_ns)
        return answer._replace(revision=self._decided_at())

    def claim_batch(
        self,
        list_id: str,
        campaign_id: str,
        record_ids: list[str],
        dialer_id: str = "",
        ttl_ns: int | None = None,
    ) -> Answers:
        """An item that is invalid spoils none of the others (R25)."""
        self._list(list_id)
        return self._answers(
            [
                self._claim(list_id, name, campaign_id, dialer_id, ttl_ns)
                if 1 <= len(name.encode()) <= 128
                else Answer("INVALID", None, 0)
                for name in record_ids
            ]
        )

    def _answers(self, decided: list[Answer]) -> Answers:
        holders = {i: each.holder for i, each in enumerate(decided) if each.holder is not None}
        ids = tuple(each.reservation_id for each in decided)
        return Answers([each.what for each in decided], holders, self._decided_at(), ids)

    # ---- attempts (R7 to R11, R24)

    def _attempt(self, list_id: str, record_id: str, report: Report) -> Answer:
        self._next_instant()
        policy = self._list(list_id).policy
        record = self._record(list_id, record_id)
        told = report.attempt_time_ns
        names_live = self._names_live(record, report)
        if told is not None and told > self.time_ns + 10 * SECOND and not names_live:
            return Answer("INVALID", None, 0)
        ended_ns = self.time_ns if told is None else min(told, self.time_ns)
        if names_live:
            ended_ns = max(ended_ns, report.reservation_id)
        valid = policy.enabled and report.code.counts
        new = told is None or names_live or told > self._last_attempt(list_id, record_id)
        if record is not None and record.campaign_id != report.campaign_id:
            rejected = Answer("REJECTED", self.holder(list_id, record_id), 0)
            if valid:
                self._note_attempt(list_id, record_id, told)
            return rejected
        if record is not None and self._reports_on(record, report, ended_ns):
            record.reservation = None
            self._changed()
        what = self._outcome(list_id, record_id, report, ended_ns, new)
        if valid and self._note_attempt(list_id, record_id, told):
            self._know(report.campaign_id)
        return Answer(what, None, 0)

    def _names_live(self, record: Record | None, report: Report) -> bool:
        held = None if record is None else record.reservation
        if held is None or held.giver is not None or record.campaign_id != report.campaign_id:
            return False
        return held.start_ns == report.reservation_id

    def remembers(self, list_id: str, record_id: str) -> bool:
        """Whether the record's last attempt counts still (R24)."""
        return self._last_attempt(list_id, record_id) > 0

    def _last_attempt(self, list_id: str, record_id: str) -> int:
        last_ns = self.lists[list_id].attempts.get(record_id, 0)
        return last_ns if self.time_ns - last_ns <= 24 * HOUR else 0

    def _note_attempt(self, list_id: str, record_id: str, told: int | None) -> bool:
        """Keep the latest attempt time as reported, for 24 hours after itself; True if it is."""
        reported_ns = self.time_ns if told is None else min(told, self.time_ns + 24 * HOUR)
        attempts = self.lists[list_id].attempts
        if reported_ns > attempts.get(record_id, 0) and self.time_ns - reported_ns <= 24 * HOUR:
            attempts[record_id] = reported_ns
            self._changed()
            return True
        return False

    def _reports_on(self, record: Record, report: Report, ended_ns: int) -> bool:
        """R24: which reservation a report ends."""
        held = record.reservation
        if held is None or held.giver is not None:
            return False
        if report.reservation_id:
            return held.start_ns == report.reservation_id
        if held.start_ns > ended_ns:
            return False
        if held.dialer_id in ("", report.dialer_id):
            return True
        return not report.dialer_id and report.attempt_time_ns is not None

    def _outcome(
        self, list_id: str, record_id: str, report: Report, ended_ns: int, new: bool
    ) -> str:
        policy = self._list(list_id).policy
        record = self._record(list_id, record_id)
        owned = record is not None and record.ownership is not None
        if not policy.enabled:
            return "OWNERSHIP_KEPT" if owned else "NOT_CONTROLLED"
        if not report.code.counts or not new or not self._still_counts(list_id, ended_ns):
            return "OWNERSHIP_KEPT" if owned else "RESERVATION_CLEARED"
        if record is not None and record.ownership is not None:
            return self._renew(record.ownership, policy, report.code, ended_ns)
        self._acquire(list_id, record_id, report.campaign_id, ended_ns)
        return "OWNERSHIP_ACQUIRED"

    def _still_counts(self, list_id: str, ended_ns: int) -> bool:
        contact_list = self.lists[list_id]
        return (
            self._end_ns(list_id, ended_ns) > self.time_ns
            and ended_ns >= contact_list.enabled_since_ns
            and self.time_ns - ended_ns <= 24 * HOUR
        )

    def _acquire(self, list_id: str, record_id: str, campaign_id: str, ended_ns: int) -> None:
        self._know(campaign_id)
        record = self.lists[list_id].records.setdefault(record_id, Record(campaign_id))
        record.ownership = Span(ended_ns, self._end_ns(list_id, ended_ns))
        self._changed()

    def _end_ns(self, list_id: str, from_ns: int) -> int:
        duration_ns = self.lists[list_id].policy.duration_ns
        return NEVER if duration_ns is None else from_ns + duration_ns

    def _renew(self, ownership: Span, policy: Policy, code: Code, ended_ns: int) -> str:
        """R10, with a window that is no longer than the duration: a renewal never shortens."""
        if code.success or ownership.end_ns == NEVER:
            return "OWNERSHIP_KEPT"
        duration_ns = NEVER if policy.duration_ns is None else policy.duration_ns
        if policy.renewal_window_ns is not None:
            window_ns = min(policy.renewal_window_ns, duration_ns)
        else:
            window_ns = 0 if policy.duration_ns is None else duration_ns // 10
        if ownership.end_ns - ended_ns > window_ns:
            return "OWNERSHIP_KEPT"
        end_ns = NEVER if policy.duration_ns is None else ended_ns + duration_ns
        if end_ns > ownership.end_ns:
            ownership.end_ns = end_ns
            self._changed()
        return "OWNERSHIP_RENEWED"

    def _meaning(self, code: str) -> Code:
        found = code_meant(code, self.code_table)
        if found is None:
            raise Refusal("INVALID_ARGUMENT", f"wrap_up_code {code}")
        return self.code_table[found]

    def attempt(
        self,
        list_id: str,
        record_id: str,
        campaign_id: str,
        code: str,
        dialer_id: str = "",
        attempt_time_ns: int | None = None,
        reservation_id: int = 0,
    ) -> Answer:
        self._list(list_id)
        report = Report(
            campaign_id, self._meaning(code), dialer_id, attempt_time_ns, reservation_id
        )
        answer = self._attempt(list_id, record_id, report)
        if answer.what == "INVALID":
            raise Refusal("INVALID_ARGUMENT", "attempt_time")
        return answer._replace(revision=self._decided_at())

    def attempt_batch(
        self, list_id: str, campaign_id: str, attempts: list[Attempt], dialer_id: str = ""
    ) -> Answers:
        """An item that is invalid spoils none of the others (R25)."""
        self._list(list_id)
        return self._answers(
            [self._batched(list_id, campaign_id, Attempt(*each), dialer_id) for each in attempts]
        )

    def _batched(self, list_id: str, campaign_id: str, attempt: Attempt, dialer_id: str) -> Answer:
        code = code_meant(attempt.code, self.code_table)
        if code is None or not 1 <= len(attempt.record_id.encode()) <= 128:
            return Answer("INVALID", None, 0)
        told = (attempt.attempt_time_ns, attempt.reservation_id)
        report = Report(campaign_id, self.code_table[code], dialer_id, *told)
        return self._attempt(list_id, attempt.record_id, report)

    def give_back(self, campaign_id: str, dialer_id: str, list_id: str = "") -> None:
        """R23: reservations only, of one dialer."""
        self._next_instant()
        for name in [list_id] if list_id else list(self.lists):
            for record in self._held(name).values():
                held = record.reservation
                mine = record.campaign_id == campaign_id and held is not None
                if mine and held.giver is None and held.dialer_id == dialer_id:
                    record.reservation = None
        self._commit()

    def holder(self, list_id: str, record_id: str) -> Holder | None:
        record = self._record(list_id, record_id)
        if record is None:
            return None
        last_ns = self._last_attempt(list_id, record_id) or None
        return self._holder(record)._replace(last_attempt_ns=last_ns)

    # ---- lists and policies (R12 to R14)

    def create_list(self, list_id: str, policy: Policy = Policy()) -> None:
        if list_id in self.lists:
            raise Refusal("ALREADY_EXISTS", f"list {list_id}")
        self._next_instant()
        self.lists[list_id] = ContactList(policy, self.time_ns)
        self._commit()

    def update_policy(self, list_id: str, policy: Policy) -> int:
        contact_list = self._list(list_id)
        self._next_instant()
        held = self._held(list_id).values()
        if policy.enabled and not contact_list.policy.enabled:
            contact_list.enabled_since_ns = self.time_ns
        changes_duration = policy.duration_ns != contact_list.policy.duration_ns
        contact_list.policy = policy
        if changes_duration:
            for record in held:
                if record.ownership is not None:
                    record.ownership.end_ns = self._end_ns(list_id, self.time_ns)
        self._commit()
        return self.time_ns

    def policy(self, list_id: str) -> Policy:
        return self._list(list_id).policy

    def delete_list(self, list_id: str, force: bool = False) -> None:
        if self._held(list_id) and not force:
            raise Refusal("FAILED_PRECONDITION", f"list {list_id} has live ownership")
        self._next_instant()
        del self.lists[list_id]
        self._commit()

    # ---- releases and signals (R15, R16)

    def release(
        self, list_id: str, campaign_ids: list[str] | None = None, reservations: bool = False
    ) -> int:
        self._list(list_id)
        self._must_know(campaign_ids)
        self._next_instant()
        held = self._held(list_id)
        meant = [
            record
            for record in held.values()
            if campaign_ids is None or record.campaign_id in campaign_ids
        ]
        released_count = sum(record.ownership is not None for record in meant)
        for record in meant:
            record.ownership = None
            if reservations and (campaign_ids is None or not self._given_away(record)):
                record.reservation = None
        self._commit()
        return released_count

    def _given_away(self, record: Record) -> bool:
        return record.reservation is not None and record.reservation.giver is not None

    def transfer(self, list_id: str, from_campaign_id: str, to_campaign_id: str) -> int:
        """R27: expirations stay; a dial in progress keeps everybody off until its TTL."""
        self._list(list_id)
        self._must_know([from_campaign_id])
        self._next_instant()
        self._know(to_campaign_id)
        meant = [
            record
            for record in self._held(list_id).values()
            if record.campaign_id == from_campaign_id and record.ownership is not None
        ]
        for record in meant:
            record.campaign_id = to_campaign_id
            if record.reservation is not None and record.reservation.giver is None:
                record.reservation.giver = from_campaign_id
        self._commit()
        return len(meant)

    def release_records(self, list_id: str, record_ids: list[str]) -> int:
        self._list(list_id)
        self._next_instant()
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
        """Only a stop that is asked to ends reservations (R16)."""
        for name in [list_id] if list_id else []:
            self._list(name)
        self._must_know([campaign_id])
        self._next_instant()
        touched = [list_id] if list_id else list(self.lists)
        held = [record for name in touched for record in self._held(name).values()]
        ended = [
            record
            for record in held
            if end_reservations
            and record.campaign_id == campaign_id
            and record.reservation is not None
            and not self._given_away(record)
        ]
        for record in ended:
            record.reservation = None
        self._commit()
        return len(ended)

    # ---- names and codes

    def upsert_campaign(self, campaign_id: str, name: str) -> None:
        self._next_instant()
        self.names[campaign_id] = name or campaign_id
        self._commit()

    def campaigns(self) -> dict[str, str]:
        return dict(self.names)

    def upsert_code(self, code: str, meaning: Code) -> None:
        if code not in self.code_table and folded(code) in map(folded, self.code_table):
            raise Refusal("ALREADY_EXISTS", f"code {code}")
        self._next_instant()
        self.code_table[code] = meaning
        self._commit()

    def delete_code(self, code: str) -> None:
        if code not in self.code_table:
            raise Refusal("NOT_FOUND", f"code {code}")
        self._next_instant()
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
            end_ns = self._coming_instant() + duration_ns
            rows = [r if r.expire_ns is not None else r._replace(expire_ns=end_ns) for r in rows]
        if strategy == FAIL:
            self._refuse_conflicts(list_id, rows)
        self._next_instant()
        counts = {"imported": 0, "skipped": 0, "overwritten": 0, "expired": 0}
        for row in rows:
            counted_as = self._import(list_id, row, strategy, exact)
            counts[counted_as] += 1
            if counted_as in ("imported", "overwritten"):
                self._name(row, rename)
        self._commit()
        return Tally(**counts)

    def _refuse_conflicts(self, list_id: str, rows: list[Row]) -> None:
        """Judged at the instant that the import has if it is not refused."""
        instant_ns = self._coming_instant()
        for index, row in enumerate(rows):
            record = self.lists[list_id].records.get(row.record_id)
            ended = row.expire_ns is not None and row.expire_ns <= instant_ns
            if ended or record is None or record.campaign_id == row.campaign_id:
                continue
            spans = filter(None, (record.ownership, record.reservation))
            if any(instant_ns < span.end_ns for span in spans):
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
            Owned(record_id, *self._holder(held[record_id])[1:5])
            for record_id in sorted(held, key=key_order)
            if held[record_id].ownership is not None
            and (campaign_ids is None or held[record_id].campaign_id in campaign_ids)
        ]

    def revision(self) -> int:
        return self.revision_count
