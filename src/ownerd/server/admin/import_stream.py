"""What an import receives: its header, and rows that are checked and spooled as they come.

Blocking; one worker thread at a time. Knows nothing of what is in the store but which lists and
request ids exist.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Literal, NamedTuple

from ownerd import limits
from ownerd.contactfile.faults import NoRoom
from ownerd.contactfile.repeats import Repeats
from ownerd.native import Engine
from ownerd.server import rights
from ownerd.server.admin import convert, validate
from ownerd.server.admin.context import AdminContext, Caller
from ownerd.server.admin.spool import Spool
from ownerd.server.errors import ImportTwoOwners, InvalidField, ListNotFound, SpoolFailed
from ownerd.v1 import admin_pb2

# What Engine.import_rows takes: record, campaign, its name, expiring or None, acquired or None.
Row = tuple[str, str, str, int | None, int | None]

_STRATEGIES: dict[int, str] = {
    admin_pb2.CONFLICT_STRATEGY_FAIL: "FAIL",
    admin_pb2.CONFLICT_STRATEGY_SKIP: "SKIP",
    admin_pb2.CONFLICT_STRATEGY_OVERWRITE: "OVERWRITE",
}


class Header(NamedTuple):
    """What the first message says about the whole import."""

    list_id: str
    strategy: int
    reason: str
    request_id: str

    @property
    def strategy_name(self) -> str:
        return _STRATEGIES[self.strategy]


class Options(NamedTuple):
    """What an import may be told to do otherwise (R32)."""

    exact: bool = False
    rename_campaigns: bool = False
    expire_by_policy: bool = False
    dry_run: bool = False

    @property
    def told(self) -> dict[str, Any]:
        """Those that were said."""
        return {name: True for name, value in self._asdict().items() if value}


class ImportStream:
    """The rows of one import stream, as far as the caller may import them. `close` drops them."""

    def __init__(self, context: AdminContext, caller: Caller) -> None:
        self._engine: Engine = context.engine
        self._identity = caller.identity
        self._sharing = context.sharing
        self.caller = caller
        self._allowed: set[str] = set()
        self._header: Header | None = None
        self.options = Options()
        self.named_ids: set[str] = set()  # campaigns that some row has a name for
        self._spools = context.spools
        self._spool: Spool | None = None
        self._digest = hashlib.sha256()
        self._merged: Sequence[int] = ()  # numbers of rows that others stand for, in order
        self.row_count = 0

    @property
    def header(self) -> Header:
        """The first message's header.

        Raises:
            InvalidField: no message came.
        """
        return self._header or _read_header(admin_pb2.ImportOwnershipRequest())

    @property
    def digest(self) -> bytes:
        """SHA-256 of header and rows, however the client cut the rows into messages."""
        return self._digest.digest()

    def add(self, bodies: list[bytes]) -> int:
        """Check the rows of some messages and keep them; return how many there are.

        Raises:
            MalformedMessage, InvalidField: in a row, the message names its number.
            PermissionDenied: for the list, or for the campaign of a row.
            ListNotFound: the list does not exist.
            SpoolFailed, SpoolFull: the rows cannot be kept.
        """
        before_count = self.row_count
        for body in bodies:
            message = validate.parsed(admin_pb2.ImportOwnershipRequest, body)
            self._take_header(message)
            for row in message.rows:
                self.row_count += 1
                _check_row(row, self.row_count)
                self._allow(row.campaign_id)
                if row.campaign_name and row.campaign_name != row.campaign_id:
                    self.named_ids.add(row.campaign_id)
            # Repeated fields join when their bytes do, so this hashes the same in any cut.
            rows = admin_pb2.ImportOwnershipRequest(rows=message.rows)
            packed = rows.SerializeToString(deterministic=True)
            self._digest.update(packed)
            assert self._spool is not None
            self._spool.append(packed)
        return self.row_count - before_count

    def rows(self) -> Iterator[Row]:
        """Yield every row that is not merged with another, from the first on; again if called."""
        merged = iter(self._merged)
        passed_over = next(merged, 0)
        for number, row in enumerate(self._spool.rows() if self._spool else (), start=1):
            if number == passed_over:
                passed_over = next(merged, 0)
                continue
            yield (
                row.record_id,
                row.campaign_id,
                row.campaign_name,
                _instant_ns(row, "expire_time"),
                _instant_ns(row, "acquire_time"),
            )

    def merge_repeats(self, time_ns: int, policy_end_ns: int | None) -> None:
        """Have `rows` yield a record once that several rows give to one campaign.

        The row that ends last stands for them. Rows that expired before `time_ns` are no repeats;
        `policy_end_ns` is when those without expiration end by the list's policy (None: never).

        Raises:
            ImportTwoOwners: rows give a record to several campaigns.
            SpoolFailed: what is needed to find out cannot be written.
        """
        with closing(Repeats()) as repeats:
            try:
                for number, row in enumerate(self.rows(), start=1):
                    end_ns = row[3]
                    if end_ns is None and self.options.expire_by_policy:
                        end_ns = policy_end_ns
                    if end_ns is None or end_ns > time_ns:
                        repeats.add(row[0], row[1], number, end_ns)
            except NoRoom:
                raise SpoolFailed from None
            found = repeats.contradictions()
            first = min(found, key=lambda each: each.other[1], default=None)
            if first is not None:
                raise ImportTwoOwners(first.record_id, first.first[1], first.other[1])
            self._merged = repeats.merged()

    def row_number(self, place: int) -> int:
        """Return the number that a client knows a row by, from its place in `rows`; both from 1."""
        for merged in self._merged:
            if merged > place:
                break
            place += 1
        return place

    def close(self) -> None:
        """Drop the rows; may be called again."""
        if self._spool is not None:
            self._spool.close()

    def _take_header(self, message: admin_pb2.ImportOwnershipRequest) -> None:
        if self._header is not None:
            _check_later_header(message, self._header)
            return
        header = self._header = _read_header(message)
        rights.check("ImportOwnership", message, self._identity, self._sharing)
        self.options = Options(*(getattr(message, field) for field in Options._fields))
        if header.strategy == admin_pb2.CONFLICT_STRATEGY_OVERWRITE:
            # It may end the hold of any campaign.
            self._require(rights.EVERY)
        self._spool = self._spools.open()
        self._digest.update(repr(header).encode())
        if self.options.told:  # without, it is the digest of a server that knows no options
            self._digest.update(repr(self.options).encode())
        # Spares the client sending rows in vain; a repeat gets its first answer all the same.
        if (
            not self._may_be_a_repeat(header.request_id)
            and self._engine.get_list(header.list_id) is None
        ):
            raise ListNotFound(header.list_id)

    def _may_be_a_repeat(self, request_id: str) -> bool:
        if not request_id:
            return False
        callers = (self._identity.principal_id, "")  # nobody: of an earlier version
        return any(self._engine.request(request_id, who) is not None for who in callers)

    def _allow(self, campaign_id: str) -> None:
        """Check that the caller may import rows of a campaign."""
        if campaign_id not in self._allowed:
            self._require(campaign_id)
            self._allowed.add(campaign_id)

    def _require(self, campaign_id: str) -> None:
        """Check the right on a campaign in the list, and in those that share it (R28)."""
        list_id = self.header.list_id
        for each in dict.fromkeys((list_id, *self._sharing(list_id))):
            rights.require(self._identity, rights.CONFIGURE, each, campaign_id)


def _read_header(message: admin_pb2.ImportOwnershipRequest) -> Header:
    validate.list_id(message.list_id)
    validate.change_fields(message.reason, message.request_id)
    strategy = message.conflict_strategy or admin_pb2.CONFLICT_STRATEGY_FAIL
    if strategy not in _STRATEGIES:
        allowed = ", ".join(f"CONFLICT_STRATEGY_{name}" for name in _STRATEGIES.values())
        raise InvalidField("conflict_strategy", strategy, allowed)
    return Header(message.list_id, strategy, message.reason, message.request_id)


def _check_later_header(message: admin_pb2.ImportOwnershipRequest, header: Header) -> None:
    if message.list_id not in ("", header.list_id):
        allowed = f"empty or {header.list_id!r}, as in the first message"
        raise InvalidField("list_id", message.list_id, allowed)
    for field in ("conflict_strategy", "reason", "request_id", *Options._fields):
        if value := getattr(message, field):
            raise InvalidField(field, value, "absent after the first message")


def _check_row(row: admin_pb2.OwnershipRow, number: int) -> None:
    try:
        validate.record_id(row.record_id)
        validate.campaign_id(row.campaign_id)
        name_bytes = limits.CAMPAIGN_NAME_BYTES
        validate.text("campaign_name", row.campaign_name, name_bytes, required=False)
        for field in ("expire_time", "acquire_time"):
            _instant_ns(row, field)
    except InvalidField as error:
        placed = error.within(f"rows: row {number}")
        placed.metadata["row"] = str(number)
        raise placed from None


def _instant_ns(
    row: admin_pb2.OwnershipRow, field: Literal["expire_time", "acquire_time"]
) -> int | None:
    """Return a time of a row; None: it has none."""
    return convert.instant_ns(field, getattr(row, field)) if row.HasField(field) else None
