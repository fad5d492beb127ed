"""What `watch` yields: the changes of one revision, as frozen values (R30).

`list_id` is the list that a change is about; "" is the whole store. A change of a whole list is one
event, which applies to every record of it. An expiration is no event: it stands in the event that
made or moved it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ownerd.client.values import Holder, Policy


@dataclass(frozen=True, slots=True)
class Event:
    """Something that changed. Itself where this client does not know the kind."""

    list_id: str


@dataclass(frozen=True, slots=True)
class RecordChanged(Event):
    """Who holds a record; `holder` is None when nobody does whom you may see.

    `given_away` says that its reservation is one of before a transfer (R27).
    """

    record_id: str
    holder: Holder | None
    given_away: bool = False


@dataclass(frozen=True, slots=True)
class PolicySaved(Event):
    """The list's policy is this from now on."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class DurationChanged(Event):
    """What was owned at `time` ends one `duration` after it, None = never (R12)."""

    time: datetime
    duration: timedelta | None


@dataclass(frozen=True, slots=True)
class OwnershipReleased(Event):
    """What was owned at `time` is over; of one campaign, or "" = of all (R15)."""

    time: datetime
    campaign_id: str
    include_reservations: bool


@dataclass(frozen=True, slots=True)
class OwnershipTransferred(Event):
    """What one campaign owned at `time` is another's, with its expirations (R27).

    An id is "" for a campaign that you may not view.
    """

    time: datetime
    from_campaign_id: str
    to_campaign_id: str
    to_campaign_name: str


@dataclass(frozen=True, slots=True)
class ReservationsEnded(Event):
    """Reservations that had begun at `time` are over; "" = of all campaigns, of all dialers."""

    time: datetime
    campaign_id: str
    dialer_id: str


@dataclass(frozen=True, slots=True)
class ListCreated(Event):
    """The list exists; it has what is held in those that it shares its ownership with (R28)."""

    policy: Policy
    shares_ownership_with: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListDeleted(Event):
    """The list is gone, with all that was held in it."""


@dataclass(frozen=True, slots=True)
class CampaignRenamed(Event):
    """The campaign has this name from now on."""

    campaign_id: str
    campaign_name: str


@dataclass(frozen=True, slots=True)
class AttemptRejected(Event):
    """Two campaigns called one person (R31): `campaign_id` made an attempt on `holder`'s record.

    `reported_list_id` is the list that it was reported on, which may share its ownership.
    """

    record_id: str
    campaign_id: str
    campaign_name: str
    holder: Holder | None
    attempt_time: datetime
    reported_list_id: str


@dataclass(frozen=True, slots=True)
class TimeSetBack(Event):
    """What began after `time` begins and ends earlier by `duration` (R19)."""

    time: datetime
    duration: timedelta


@dataclass(frozen=True, slots=True)
class Revision:
    """All that one revision changed, in the order in which to apply it.

    Without events it only says how far the stream is. `number` and `incarnation_id` are the
    position to go on from later.
    """

    number: int
    incarnation_id: str
    time: datetime
    events: tuple[Event, ...]
