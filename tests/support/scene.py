"""A subject and one list on it: the short forms in which behaviour tests are written."""

from dataclasses import dataclass
from typing import Any

from subject import Answer, Holder, Owned, Owner, Policy, Subject, TimedSubject


@dataclass
class Scene:
    """One contact list of one subject. `list_id` exists after `open`."""

    subject: Subject
    list_id: str

    def open(self, policy: Policy = Policy()) -> "Scene":
        """Create the list and return the scene."""
        self.subject.create_list(self.list_id, policy)
        return self

    def claim(self, record_id: str, campaign_id: str, dialer_id: str = "") -> str:
        """Claim and return the decision."""
        return self.subject.claim(self.list_id, record_id, campaign_id, dialer_id).what

    def claim_answer(
        self, record_id: str, campaign_id: str, dialer_id: str = "", ttl_ns: int | None = None
    ) -> Answer:
        """Claim and return the whole answer."""
        return self.subject.claim(self.list_id, record_id, campaign_id, dialer_id, ttl_ns)

    def attempt(self, record_id: str, campaign_id: str, code: str = "Busy", **told: Any) -> str:
        """Report an attempt and return the outcome."""
        return self.subject.attempt(self.list_id, record_id, campaign_id, code, **told).what

    def attempt_answer(self, record_id: str, campaign_id: str, code: str = "Busy") -> Answer:
        """Report an attempt and return the whole answer."""
        return self.subject.attempt(self.list_id, record_id, campaign_id, code)

    def own(self, record_id: str, campaign_id: str) -> Holder:
        """Make the campaign the owner, as a dial does, and return the hold."""
        assert self.claim(record_id, campaign_id) == "GRANTED"
        assert self.attempt(record_id, campaign_id) == "OWNERSHIP_ACQUIRED"
        return self.held(record_id)

    def reserve(self, record_id: str, campaign_id: str) -> Holder:
        """Claim without reporting, and return the hold."""
        assert self.claim(record_id, campaign_id) == "GRANTED"
        return self.held(record_id)

    def holder(self, record_id: str) -> Holder | None:
        """Return who holds the record."""
        return self.subject.holder(self.list_id, record_id)

    def held(self, record_id: str) -> Holder:
        """Return who holds the record; somebody must."""
        holder = self.holder(record_id)
        assert holder is not None, f"nobody holds {record_id}"
        return holder

    def kind(self, record_id: str) -> tuple[str, str] | None:
        """Return (kind, campaign) of the hold, or None."""
        holder = self.holder(record_id)
        return None if holder is None else (holder.kind, holder.campaign_id)

    def set(self, policy: Policy) -> int:
        """Set the list's policy and return the time of the change."""
        return self.subject.update_policy(self.list_id, policy)

    def release(self, *campaign_ids: str, reservations: bool = False) -> int:
        """Release the campaigns, or all if none is named; return the count."""
        return self.subject.release(self.list_id, list(campaign_ids) or None, reservations)

    def owners(self) -> list[Owner]:
        """Return the list's owners."""
        return self.subject.owners(self.list_id)

    def owned(self, *campaign_ids: str) -> list[Owned]:
        """Return the owned records of the campaigns, or of all if none is named."""
        return self.subject.owned(self.list_id, list(campaign_ids) or None)

    def revision(self) -> int:
        """Return the subject's revision."""
        return self.subject.revision()


@dataclass
class TimedScene(Scene):
    """A scene on a subject whose clock the test moves."""

    subject: TimedSubject

    def now_ns(self) -> int:
        """Return the time: the last decision's instant, or a later one."""
        return self.subject.time_ns

    def pass_ns(self, delta_ns: int) -> None:
        """Let time pass."""
        self.subject.advance_ns(delta_ns)

    def pass_until(self, time_ns: int) -> None:
        """Let time pass until it is `time_ns`."""
        self.subject.advance_ns(time_ns - self.subject.now_ns())
