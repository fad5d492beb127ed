"""What the checks find, in words: the faults of a server, and the verdict on a run."""

from dataclasses import dataclass, field
from enum import StrEnum

from ownerd.demo.logbook import Entry


class Fault(StrEnum):
    """What a server must never let happen."""

    GRANTED_WHILE_HELD = "granted while another campaign held the record"
    HELD_TWICE = "held by two campaigns at once"
    RESERVED_TWICE = "reserved by two dialers of a campaign at once"
    DIALED_WHILE_HELD = "dialed while another campaign held the record"
    DIALED_TWICE = "dialed by two campaigns at once, while one held the record"
    DIALED_UNASKED = "dialed without a grant"
    DENIED_FOR_NOBODY = "denied for a campaign that never was granted the record"
    OLDER_REVISION = "answered with an older revision than a call that had ended before"
    UNEXPLAINED = "answered as no order of the calls explains"


@dataclass(frozen=True, slots=True)
class Violation:
    """One fault: the campaign that should have been stopped, and the one in whose way it was."""

    fault: Fault
    record_id: str
    campaign_id: str
    holder_id: str
    at_ns: int
    seen: tuple[Entry, ...] = ()
    """The calls that show it, where it takes more than one log."""

    def __str__(self) -> str:
        other = f" (held by {self.holder_id})" if self.holder_id else ""
        return f"record {self.record_id}: {self.campaign_id}{other}: {self.fault}"


@dataclass(slots=True)
class Verdict:
    """What the logs say; the run was exclusive if there is no violation."""

    violations: list[Violation] = field(default_factory=list)
    dialed_record_count: int = 0
    contended_record_count: int = 0
    """Records that two or more campaigns asked for."""
    handed_over_count: int = 0
    """Records that two or more campaigns dialed, one after the other."""
    claim_count: int = 0
    grant_count: int = 0
    denial_count: int = 0
    dial_count: int = 0

    @property
    def exclusive(self) -> bool:
        """Say whether no violation was found."""
        return not self.violations
