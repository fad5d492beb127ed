"""The words in which behaviour tests speak: what can be asked of any implementation of the rules.

`Subject` is implemented by the plain-Python model, the engine in process and a server over gRPC, so
that one test body runs on all of them. Times are nanoseconds since the Unix epoch, lengths are
nanoseconds; None as an expiration means never.
"""

from typing import NamedTuple, Protocol

MS = 1_000_000
SECOND = 1_000 * MS
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

FAIL, SKIP, OVERWRITE = 1, 2, 3


class Policy(NamedTuple):
    """A list's policy; None as duration is no expiration, as renewal window the default."""

    enabled: bool = True
    duration_ns: int | None = DAY
    renewal_window_ns: int | None = None
    reservation_ttl_ns: int = 5 * MINUTE


class Holder(NamedTuple):
    """Who holds a record: `kind` is RESERVED or OWNED."""

    kind: str
    campaign_id: str
    name: str
    acquire_ns: int
    expire_ns: int | None
    dialer_id: str = ""
    reserved_until_ns: int | None = None
    last_attempt_ns: int | None = None


class Answer(NamedTuple):
    """What was decided (the enum value without its prefix), the holder if denied, the revision.

    A granted claim has a reservation: until when, and its id.
    """

    what: str
    holder: Holder | None
    revision: int
    reserved_until_ns: int | None = None
    reservation_id: int = 0


class Answers(NamedTuple):
    """A batch's decisions in request order and the holders of the refused ones by index.

    Reservation ids are in request order; 0 where none.
    """

    what: list[str]
    holders: dict[int, Holder]
    revision: int
    reservation_ids: tuple[int, ...] = ()


class Attempt(NamedTuple):
    """One attempt of a batch."""

    record_id: str
    code: str
    attempt_time_ns: int | None = None
    reservation_id: int = 0


class Owner(NamedTuple):
    """One line of a list of owners."""

    campaign_id: str
    name: str
    owned_count: int
    reserved_count: int
    earliest_expire_ns: int | None


class Owned(NamedTuple):
    """One owned record."""

    record_id: str
    campaign_id: str
    name: str
    acquire_ns: int
    expire_ns: int | None


class Row(NamedTuple):
    """One row of an import."""

    record_id: str
    campaign_id: str
    name: str = ""
    expire_ns: int | None = None
    acquire_ns: int | None = None


class Tally(NamedTuple):
    """What an import did with its rows."""

    imported: int
    skipped: int
    overwritten: int
    expired: int


class Code(NamedTuple):
    """What a wrap-up code says."""

    category: str
    counts: bool
    success: bool


class Refusal(Exception):
    """The subject refused a call; `code` is the name of the gRPC status."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class Subject(Protocol):
    """An implementation of the rules under test. Every method may raise `Refusal`."""

    def claim(
        self,
        list_id: str,
        record_id: str,
        campaign_id: str,
        dialer_id: str = "",
        ttl_ns: int | None = None,
    ) -> Answer: ...

    def claim_batch(
        self,
        list_id: str,
        campaign_id: str,
        record_ids: list[str],
        dialer_id: str = "",
        ttl_ns: int | None = None,
    ) -> Answers: ...

    def attempt(
        self,
        list_id: str,
        record_id: str,
        campaign_id: str,
        code: str,
        dialer_id: str = "",
        attempt_time_ns: int | None = None,
        reservation_id: int = 0,
    ) -> Answer: ...

    def attempt_batch(
        self, list_id: str, campaign_id: str, attempts: list[Attempt], dialer_id: str = ""
    ) -> Answers: ...

    def give_back(self, campaign_id: str, dialer_id: str, list_id: str = "") -> None: ...

    def transfer(self, list_id: str, from_campaign_id: str, to_campaign_id: str) -> int:
        """Give one campaign's ownership in the list to another; return the transferred count."""

    def holder(self, list_id: str, record_id: str) -> Holder | None: ...

    def create_list(self, list_id: str, policy: Policy = Policy()) -> None: ...

    def update_policy(self, list_id: str, policy: Policy) -> int:
        """Set the whole policy and return the time T of the change."""

    def policy(self, list_id: str) -> Policy: ...

    def delete_list(self, list_id: str, force: bool = False) -> None: ...

    def release(
        self, list_id: str, campaign_ids: list[str] | None = None, reservations: bool = False
    ) -> int:
        """Release some campaigns, or all (None), and return the released count."""

    def release_records(self, list_id: str, record_ids: list[str]) -> int: ...

    def signal(
        self, campaign_id: str, what: str, list_id: str = "", end_reservations: bool = False
    ) -> int:
        """Tell that a campaign was STOPPED, RECYCLED or RESET; return the reservations ended."""

    def upsert_campaign(self, campaign_id: str, name: str) -> None: ...

    def campaigns(self) -> dict[str, str]: ...

    def upsert_code(self, code: str, meaning: Code) -> None: ...

    def delete_code(self, code: str) -> None: ...

    def codes(self) -> dict[str, Code]: ...

    def import_rows(
        self,
        list_id: str,
        rows: list[Row],
        strategy: int = FAIL,
        exact: bool = False,
        rename: bool = False,
        by_policy: bool = False,
    ) -> Tally: ...

    def owners(self, list_id: str) -> list[Owner]: ...

    def owned(self, list_id: str, campaign_ids: list[str] | None = None) -> list[Owned]: ...

    def revision(self) -> int: ...


class TimedSubject(Subject, Protocol):
    """A subject whose clock stands until it is moved."""

    @property
    def time_ns(self) -> int:
        """The time: the last decision's instant, or the clock's if that is later."""

    def now_ns(self) -> int:
        """Return what the clock shows."""

    def advance_ns(self, delta_ns: int) -> None: ...

    def vacuum(self) -> None:
        """Run the background work to its end; nothing that is tracked may change by it."""

    def reopen(self) -> None:
        """Close and open again, at the same time."""
