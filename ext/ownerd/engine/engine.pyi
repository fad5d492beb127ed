from collections.abc import Iterable, Sequence
from typing import Any, Final, Self, TypeAlias

from typing_extensions import disjoint_base

from ownerd.api.task import Refused
from ownerd.base.clock import Clock
from ownerd.engine.admin_reads import ListInfo, Outcome, PolicyTuple
from ownerd.engine.backup import Backup
from ownerd.engine.snapshot import Snapshot
from ownerd.storage.directory import StoreError, StoreInUseError
from ownerd.storage.recovery import Opening

__all__ = [
    "CLAIM",
    "CLAIM_BATCH",
    "DEFAULT_MAINTENANCE_STEP_NS",
    "DEFAULT_MAP_BYTES",
    "DEFAULT_MEMTABLE_BYTES",
    "DEFAULT_QUEUE_LIMIT",
    "DEFAULT_RESERVE_BYTES",
    "DIAL_METHODS",
    "GET_HOLDER",
    "GIVE_BACK",
    "REPORT_ATTEMPT",
    "REPORT_ATTEMPT_BATCH",
    "TIME_CLASS_ENDS_NS",
    "Engine",
    "ListInfo",
    "Opening",
    "Outcome",
    "Policy",
    "Refused",
    "StoreError",
    "StoreInUseError",
]

Policy = PolicyTuple

CLAIM: Final[int]
CLAIM_BATCH: Final[int]
REPORT_ATTEMPT: Final[int]
REPORT_ATTEMPT_BATCH: Final[int]
GET_HOLDER: Final[int]
GIVE_BACK: Final[int]
DIAL_METHODS: Final[tuple[str, ...]]
DEFAULT_MAP_BYTES: Final[int]
DEFAULT_RESERVE_BYTES: Final[int]
DEFAULT_QUEUE_LIMIT: Final[int]
DEFAULT_MAINTENANCE_STEP_NS: Final[int]
DEFAULT_MEMTABLE_BYTES: Final[int]
AHEAD_ALARM_NS: Final[int]
CLOCK_ALARM_NS: Final[int]
TIME_CLASS_ENDS_NS: Final[tuple[int, ...]]

_Row: TypeAlias = tuple[str, str, str, int | None] | tuple[str, str, str, int | None, int | None]

@disjoint_base
class Engine:
    def __init__(
        self,
        directory: str,
        clock: Clock | None = None,
        *,
        map_bytes: int = ...,
        queue_limit: int = ...,
        reserve_bytes: int = ...,
        vacuum_interval_s: float = 900.0,
        maintenance_step_ns: int = ...,
        memtable_bytes: int = ...,
        flush_age_s: float = 60.0,
        background: bool = True,
        opening: Opening | None = None,
    ) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...
    def limit_queue(self, records: int) -> None: ...
    def begin_drain(self) -> None: ...
    def close(self, timeout_s: float = 10.0) -> None: ...
    def dial(self, kind: int, body: bytes) -> bytes: ...
    def create_list(
        self,
        list_id: str,
        policy: Policy,
        shares_with: str = "",
        *,
        note: bytes = b"",
        request_id: str = "",
        requester: str = "",
        memo: bytes = b"",
    ) -> Outcome: ...
    def update_policy(
        self,
        list_id: str,
        policy: Policy,
        expected_revision: int = 0,
        *,
        note: bytes = b"",
        request_id: str = "",
        requester: str = "",
        memo: bytes = b"",
    ) -> Outcome: ...
    def delete_list(
        self,
        list_id: str,
        *,
        force: bool,
        expected_revision: int = 0,
        note: bytes = b"",
        request_id: str = "",
        requester: str = "",
        memo: bytes = b"",
    ) -> Outcome: ...
    def release(
        self,
        list_id: str,
        campaign_ids: Iterable[str] | None,
        include_reservations: bool,
        *,
        note: bytes = b"",
        request_id: str = "",
        requester: str = "",
        memo: bytes = b"",
    ) -> Outcome: ...
    def release_records(
        self,
        list_id: str,
        record_ids: Iterable[str],
        only_campaign: str = "",
        include_reservations: bool = False,
        *,
        note: bytes = b"",
        request_id: str = "",
        requester: str = "",
        memo: bytes = b"",
    ) -> Outcome: ...
    def count_released(self, entry_id: int) -> int: ...
    def pending_counts(self, list_id: str = "") -> list[int]: ...
    def upsert_campaign(
        self,
        campaign_id: str,
        name: str,
        *,
        note: bytes = b"",
        request_id: str = "",
        requester: str = "",
        memo: bytes = b"",
    ) -> Outcome: ...
    def delete_campaign(
        self,
        campaign_id: str,
        *,
        force: bool,
        note: bytes = b"",
        request_id: str = "",
        requester: str = "",
        memo: bytes = b"",
    ) -> Outcome: ...
    def count_held(self, campaign_id: str) -> tuple[int, int]: ...
    def lists_held(self, campaign_id: str | None = None) -> list[str]: ...
    def signal_campaign(
        self,
        campaign_id: str,
        list_id: str,
        end_reservations: bool,
        *,
        note: bytes = b"",
        request_id: str = "",
        requester: str = "",
        memo: bytes = b"",
    ) -> Outcome: ...
    def upsert_code(
        self,
        code: str,
        category: str,
        counts_as_attempt: bool,
        success: bool,
        *,
        note: bytes = b"",
        request_id: str = "",
        requester: str = "",
        memo: bytes = b"",
    ) -> Outcome: ...
    def delete_code(
        self,
        code: str,
        *,
        note: bytes = b"",
        request_id: str = "",
        requester: str = "",
        memo: bytes = b"",
    ) -> Outcome: ...
    def update_settings(
        self,
        unknown_code: int,
        *,
        note: bytes = b"",
        request_id: str = "",
        requester: str = "",
        memo: bytes = b"",
    ) -> Outcome: ...
    def import_rows(
        self,
        list_id: str,
        rows: Sequence[_Row],
        strategy: int,
        entry_id: int = 0,
        *,
        exact: bool = False,
        rename_campaigns: bool = False,
        expire_by_policy: bool = False,
        note: bytes = b"",
        request_id: str = "",
        requester: str = "",
        memo: bytes = b"",
    ) -> Outcome: ...
    def transfer(
        self,
        list_id: str,
        from_campaign_id: str,
        to_campaign_id: str,
        *,
        note: bytes = b"",
        request_id: str = "",
        requester: str = "",
        memo: bytes = b"",
    ) -> Outcome: ...
    def put_principal(
        self,
        principal_id: str,
        kept: bytes,
        *,
        note: bytes = b"",
        request_id: str = "",
        requester: str = "",
        memo: bytes = b"",
    ) -> Outcome: ...
    def delete_principal(
        self,
        principal_id: str,
        *,
        note: bytes = b"",
        request_id: str = "",
        requester: str = "",
        memo: bytes = b"",
    ) -> Outcome: ...
    def note_refusals(self, count: int, *, note: bytes) -> Outcome: ...
    def cut_audit(self, first: int, last: int, *, note: bytes) -> Outcome: ...
    def get_list(self, list_id: str) -> ListInfo | None: ...
    def lists(self, after: str, limit: int) -> list[ListInfo]: ...
    def campaigns(self, after: str, limit: int) -> list[tuple[str, str]]: ...
    def campaign_name(self, campaign_id: str) -> str | None: ...
    def code(self, code: str) -> tuple[str, bool, bool] | None: ...
    def codes(self, after: str, limit: int) -> list[tuple[str, str, bool, bool]]: ...
    def settings(self) -> int: ...
    def unknown_codes(self) -> list[tuple[str, int, int]]: ...
    def principals(self) -> list[tuple[str, bytes]]: ...
    def audit(self, before: int, limit: int) -> list[tuple[int, int, int, int | None, bytes]]: ...
    def note_event(
        self, *, note: bytes, request_id: str = "", requester: str = "", memo: bytes = b""
    ) -> Outcome: ...
    def oldest_audit(self, limit: int) -> list[tuple[int, int, int, int | None, bytes]]: ...
    def request(self, request_id: str, requester: str = "") -> Outcome | None: ...
    def snapshot(self, list_id: str) -> Snapshot: ...
    def backup(self) -> Backup: ...
    @property
    def time_ns(self) -> int: ...
    @property
    def revision(self) -> int: ...
    def watch_slow_calls(self, least_s: float, traced: bool = False) -> None: ...
    def take_slow_calls(
        self,
    ) -> tuple[list[tuple[int, int, int, str, str, str, int, int, int, int]], int]: ...
    @property
    def clock_offset_ns(self) -> int: ...
    def called_twice(self) -> list[tuple[str, str, str, int]]: ...
    def alarms(self) -> list[tuple[str, str]]: ...
    @property
    def store_id(self) -> int: ...
    @property
    def incarnation(self) -> int: ...
    @property
    def position(self) -> tuple[int, int, int, int] | None: ...
    def take_position(self, position: tuple[int, int, int, int]) -> None: ...
    def follow(
        self, entries: Iterable[tuple[tuple[int, int, int, int], int, int, bytes]]
    ) -> None: ...
    def lead(self, time_ns: int = 0) -> None: ...
    def stand_by(self, leader: str) -> None: ...
    def check_leads(self) -> None: ...
    @property
    def standing_by(self) -> bool: ...
    @property
    def flushed_revision(self) -> int: ...
    @property
    def first_revision(self) -> int: ...
    @property
    def oldest_revision(self) -> int: ...
    def await_revision(self, after_revision: int) -> bool: ...
    @property
    def feed_fd(self) -> int: ...
    def look(self) -> bool: ...
    @property
    def failed(self) -> str | None: ...
    @property
    def failure_fd(self) -> int: ...
    def vacuum(self) -> None: ...
    def flush_soon(self) -> None: ...
    def maintain(self, *, vacuum_all: bool = False) -> bool: ...
    # Counters, dicts of counters and the list of alarms, by name.
    def stats(self) -> dict[str, Any]: ...
