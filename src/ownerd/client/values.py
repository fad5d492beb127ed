"""What the client's calls return and take: frozen values, free of protobuf and of the connection.

Times are UTC-aware datetimes, cut to whole microseconds; lengths are timedeltas. A value that a
newer server knows and this client does not reads as `UNKNOWN`, which never allows a dial.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, IntEnum
from typing import TypeVar, overload

from ownerd import limits

Item_co = TypeVar("Item_co", covariant=True)

BATCH_LIMIT = limits.BATCH_RECORDS
"""Most items that the server takes in one batch; longer ones are cut to it."""


class Decision(IntEnum):
    """Answer to a claim: may this campaign dial this record now?"""

    UNKNOWN = 0
    GRANTED = 1
    """Dial: the campaign has the record reserved (R5)."""
    DENIED = 2
    """Do not dial: another campaign holds the record (R4), or another dialer dials it (R22)."""
    UNCONTROLLED = 3
    """Dial freely: the list's policy is disabled and nobody holds the record (R6)."""
    INVALID = 4
    """Do not dial: this item of the batch was not decided (R25)."""


class Outcome(IntEnum):
    """What a reported attempt did to the ownership of the record."""

    UNKNOWN = 0
    ACQUIRED = 1
    """The campaign owns the record from the end of the dial (R9)."""
    RENEWED = 2
    """The campaign owned it and its ownership runs anew (R10)."""
    KEPT = 3
    """The campaign owns it as before (R8, R10, R11), also after a repeat (R24)."""
    RESERVATION_CLEARED = 4
    """Not a valid attempt, or a late or repeated one: nobody owns the record (R8, R24)."""
    NOT_CONTROLLED = 5
    """The policy is disabled and the campaign does not own the record (R11)."""
    REJECTED = 6
    """Another campaign holds the record; no hold changed (R7)."""
    INVALID = 7
    """This item of the batch was not decided (R25)."""


class HoldKind(IntEnum):
    """How a campaign holds a record."""

    UNKNOWN = 0
    RESERVED = 1
    """It is dialing the record."""
    OWNED = 2
    """It made a valid attempt on the record."""


class Signal(IntEnum):
    """What a campaign did, told to the server (R16)."""

    STOPPED = 1
    """Changes nothing unless it is asked to end the campaign's reservations."""
    RECYCLED = 2
    """Changes no ownership; kept in the audit log."""
    RESET = 3
    """Changes no ownership; kept in the audit log."""


class OnConflict(IntEnum):
    """What an import does with a record that another campaign holds."""

    FAIL = 1
    """Refuse the whole import; nothing changes."""
    SKIP = 2
    """Leave that record as it is and count it."""
    OVERWRITE = 3
    """Give the record to the campaign of the row, unless another one is dialing it."""


class Unchanged(Enum):
    """The type of `UNCHANGED`."""

    UNCHANGED = "UNCHANGED"


UNCHANGED = Unchanged.UNCHANGED
"""Default in `set_policy`: leave this part of the policy alone (None has a meaning)."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The one campaign that holds a record. `expire_time` is None for a hold without end.

    `dialer_id` is the dialer that has it reserved, "" for none that was named; `reserved_until` is
    None when it is not reserved, `last_attempt_time` when there was no valid attempt for a day.
    """

    kind: HoldKind
    campaign_id: str
    campaign_name: str
    acquire_time: datetime | None
    expire_time: datetime | None
    dialer_id: str = ""
    reserved_until: datetime | None = None
    last_attempt_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """Answer to a claim. `holder` is who stands in the way, None unless denied.

    A granted one has a reservation: `reserved_until` is when it ends (None in a batch), and
    `reservation_id` belongs into the report of this dial. `invalid_reason` says why an item of a
    batch was not decided.
    """

    decision: Decision
    holder: Holder | None
    revision: int
    reserved_until: datetime | None = None
    reservation_id: int = 0
    invalid_reason: str = ""

    @property
    def allowed(self) -> bool:
        """Say whether the campaign may dial now."""
        return self.decision in (Decision.GRANTED, Decision.UNCONTROLLED)


@dataclass(frozen=True, slots=True)
class Report:
    """Answer to a reported attempt. `holder` is who stood in the way, None unless rejected.

    `invalid_reason` says why an item of a batch was not decided.
    """

    outcome: Outcome
    holder: Holder | None
    revision: int
    invalid_reason: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of `report_batch`: how the dial of a record ended, and when.

    `attempt_time` is an aware datetime, None = now; with it a report may be sent again at any time.
    `reservation_id` is that of the claim which the dial began with, 0 = none (R24).
    """

    record_id: str
    wrap_up_code: str
    attempt_time: datetime | None = None
    reservation_id: int = 0


class _Answers(Sequence[Item_co]):
    """A sequence whose items are built when they are looked at: a batch is often only counted."""

    __slots__ = ()

    def _item(self, index: int) -> Item_co:
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> Item_co: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item_co]: ...
    def __getitem__(self, index: int | slice) -> Item_co | list[Item_co]:
        positions = range(len(self))[index]
        if isinstance(positions, range):
            return [self._item(position) for position in positions]
        return self._item(positions)


@dataclass(frozen=True, slots=True)
class ClaimBatch(_Answers[Claim]):
    """Answers to a batch of claims, a sequence of `Claim` in the order of the records.

    `holders` has the holder of each denied record, by index, `invalid` why a record was not
    decided, `reservation_ids` those of the granted ones, 0 elsewhere. A batch of more than
    `BATCH_LIMIT` records is several calls, each one commit: `revisions` has one entry for each
    call.
    """

    decisions: tuple[Decision, ...]
    holders: Mapping[int, Holder]
    revisions: tuple[int, ...]
    invalid: Mapping[int, str] = field(default_factory=dict)
    reservation_ids: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.decisions)

    def _item(self, index: int) -> Claim:
        revision = self.revisions[index // BATCH_LIMIT]
        return Claim(
            self.decisions[index],
            self.holders.get(index),
            revision,
            None,
            self.reservation_ids[index] if self.reservation_ids else 0,
            self.invalid.get(index, ""),
        )


@dataclass(frozen=True, slots=True)
class ReportBatch(_Answers[Report]):
    """Answers to a batch of attempts, a sequence of `Report` in the order of the attempts.

    `holders` has the holder of each record whose attempt was rejected, by index; `invalid` and
    `revisions` as in `ClaimBatch`.
    """

    outcomes: tuple[Outcome, ...]
    holders: Mapping[int, Holder]
    revisions: tuple[int, ...]
    invalid: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.outcomes)

    def _item(self, index: int) -> Report:
        revision = self.revisions[index // BATCH_LIMIT]
        return Report(
            self.outcomes[index], self.holders.get(index), revision, self.invalid.get(index, "")
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """The ownership policy of a list.

    `duration` is how long an ownership lasts: 1 second to 100 years, None = it does not expire.
    `renewal_window` is how close to its end an ownership must be for an attempt to renew it: up to
    100 years, zero = never, None = one tenth of the duration. `reservation_ttl` is how long a claim
    holds a record that nobody reports on: 1 second to 100 years, None = 15 minutes.
    """

    enabled: bool = False
    duration: timedelta | None = None
    renewal_window: timedelta | None = None
    reservation_ttl: timedelta | None = None


@dataclass(frozen=True, slots=True)
class ContactList:
    """A list and its policy. `etag` names this state of the policy: see `set_policy`."""

    list_id: str
    policy: Policy
    etag: str
    create_time: datetime | None
    update_time: datetime | None
    revision: int | None
    """When the list was read or changed; None in a listing, which has no single revision."""
    shares_ownership_with: tuple[str, ...] = ()
    """The other lists that share its holds and its policy (R28)."""


@dataclass(frozen=True, slots=True)
class Owner:
    """How many records of a list one campaign owns and has reserved.

    `earliest_expire_time` is when the first of its ownerships ends, None if none does.
    """

    campaign_id: str
    campaign_name: str
    owned_count: int
    reserved_count: int
    earliest_expire_time: datetime | None


@dataclass(frozen=True, slots=True)
class Activity:
    """What one campaign asked about a list and was told, since the server started (R17).

    `denied_by_campaign_id` is the campaign that it was denied by most often, "" for none;
    `called_twice` says how often it called somebody whom another campaign held, by that one.
    """

    campaign_id: str
    granted_claim_count: int
    denied_claim_count: int
    denied_by_campaign_id: str
    uncontrolled_claim_count: int
    rejected_attempt_count: int
    lapsed_reservation_count: int
    ownership_acquired_count: int
    ownership_renewed_count: int
    ownership_kept_count: int
    reservation_cleared_count: int
    not_controlled_count: int
    called_twice: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Owners:
    """Every campaign that owns or reserves records of a list, exact as of `revision` (R17)."""

    owners: tuple[Owner, ...]
    total_owned_count: int
    total_reserved_count: int
    revision: int
    time: datetime | None
    activity: tuple[Activity, ...] = ()
    """What campaigns asked, those that hold nothing too."""


@dataclass(frozen=True, slots=True)
class Released:
    """How many ownerships a release ended, or would end in a dry run."""

    released_count: int
    revision: int
    not_released: tuple[str, ...] = ()
    """Records that another campaign owns than the only one that was meant."""


class UnknownCode(IntEnum):
    """What an attempt with an unknown wrap-up code is (R26)."""

    UNKNOWN = 0
    REFUSE = 1
    """It is refused."""
    ATTEMPT = 2
    """It counts as an attempt, and is no success."""
    NO_ATTEMPT = 3
    """It does not count as an attempt."""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What is set for the whole store."""

    unknown_wrap_up_code: UnknownCode


@dataclass(frozen=True, slots=True)
class UnknownWrapUpCode:
    """A wrap-up code that was reported since the server started and that nobody knows."""

    code: str
    count: int
    last_time: datetime | None


@dataclass(frozen=True, slots=True)
class Transferred:
    """How many ownerships a transfer gave, or would give in a dry run (R27)."""

    transferred_count: int
    revision: int


@dataclass(frozen=True, slots=True)
class Signaled:
    """How many reservations a stop ended (R16)."""

    ended_reservation_count: int
    revision: int


@dataclass(frozen=True, slots=True)
class OwnedRecord:
    """One owned record as it is tracked (R17). `expire_time` None: the ownership has no end."""

    record_id: str
    campaign_id: str
    campaign_name: str
    acquire_time: datetime | None
    expire_time: datetime | None


@dataclass(frozen=True, slots=True)
class OwnershipRow:
    """One row of an import or export. `expire_time` is UTC-aware, None = no end.

    `acquire_time` is when the campaign came to own the record: an export tells it, and an import
    takes it for a record that the campaign does not own yet; None = now.
    """

    record_id: str
    campaign_id: str
    campaign_name: str = ""
    expire_time: datetime | None = None
    acquire_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did with its rows; the four row counts add up to the rows."""

    imported_count: int
    skipped_count: int
    overwritten_count: int
    expired_count: int
    revision: int
    clock_offset: timedelta | None = None
    """By how much the server's time, which rows were judged by, differs from its wall clock, if
    that is a minute or more."""
    renamed_campaign_count: int = 0
    """How many campaigns rows gave a name."""


class Right(IntEnum):
    """What a principal may be allowed to do."""

    UNKNOWN = 0
    DIAL = 1
    """Ask before dials and report them."""
    VIEW = 2
    """Look at lists, records, campaigns, codes and status; with all of them also at the audit."""
    CONFIGURE = 3
    """Change lists, policies, campaigns and codes, and import ownership."""
    OWNERSHIP_CONTROL = 4
    """See who owns how much, and release it."""
    ADMIN = 5
    """Manage principals."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One right, and the lists and campaigns that it is for: patterns with * and ?; empty = all."""

    right: Right
    lists: tuple[str, ...] = ()
    campaigns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """How a valid token is known without showing it. `expire_time` None: until it is revoked."""

    token_id: str
    create_time: datetime | None
    expire_time: datetime | None


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who may make calls. The rates are per second, 0 = no limit."""

    principal_id: str
    grants: tuple[Grant, ...]
    hide_holders: bool
    certificate_names: tuple[str, ...]
    calls_per_s: int
    records_per_s: int
    tokens: tuple[Token, ...]
    etag: str
    create_time: datetime | None
    update_time: datetime | None


@dataclass(frozen=True, slots=True)
class Issued:
    """A principal and the token that was made for it, which the server shows this once.

    `token` is empty where none was asked for, and where a broken connection had the client ask
    twice: the token is lost then, `rotate_token` makes another.
    """

    principal: Principal
    token: str = field(repr=False)
    revision: int


@dataclass(frozen=True, slots=True)
class Access:
    """Whether a principal has a right, and why, for people."""

    allowed: bool
    explanation: str


@dataclass(frozen=True, slots=True)
class CallerAccess:
    """Who the caller is and what it may do, with every campaign (`rights`) or only with some."""

    principal_id: str
    rights: frozenset[Right]
    partial_rights: frozenset[Right]
    hide_holders: bool

    def may(self, right: Right) -> bool:
        """Say whether it has a right for every campaign or for some."""
        return right in self.rights or right in self.partial_rights


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign that the store knows; its name is its id where none was ever set."""

    campaign_id: str
    name: str


class Refusal(IntEnum):
    """Why a caller was refused."""

    UNKNOWN = -1
    NONE = 0
    """It was not: the entry is a change."""
    UNAUTHENTICATED = 1
    """Its credentials were missing, wrong or over."""
    PERMISSION_DENIED = 2
    """It lacked a right."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One recorded change, or one refusal (R21).

    `affected_count` is how many records a change was about, None while that is being counted, and
    for what is no change of records. `detail` is a JSON object, for people.
    """

    entry_id: int
    time: datetime | None
    principal: str
    peer: str
    action: str
    list_id: str
    campaign_ids: tuple[str, ...]
    reason: str
    request_id: str
    affected_count: int | None
    revision: int
    detail: str
    refusal: Refusal
    shared_list_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Alarm:
    """What an operator should act on: a stable name, and what was found and what to do."""

    name: str
    message: str


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What runs, how large its store is, and what is wrong; `time` is the server's."""

    version: str
    start_time: datetime | None
    time: datetime | None
    clock_offset: timedelta | None
    revision: int
    list_count: int
    campaign_count: int
    record_count: int
    store_bytes: int
    map_bytes: int
    disk_free_bytes: int
    alarms: tuple[Alarm, ...]
    oldest_revision: int = 0
    """The oldest that `watch` can begin from."""
    incarnation_id: str = ""
