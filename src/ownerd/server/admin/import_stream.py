"""What an import receives: its header, and rows that are checked and spooled as they come.

Blocking; one worker thread at a time. Knows nothing of what is in the store but which lists and
request ids exist.
"""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from ownerd import limits
from ownerd.native import Engine
from ownerd.server import rights
from ownerd.server.admin import convert, validate
from ownerd.server.admin.context import AdminContext, Caller
from ownerd.server.admin.spool import Spool
from ownerd.server.errors import InvalidField, ListNotFound
from ownerd.v1 import admin_pb2

# What Engine.import_rows takes: record, campaign, its name, expiring or None.
Row = tuple[str, str, str, int | None]

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
    exact: bool

    @property
    def strategy_name(self) -> str:
        return _STRATEGIES[self.strategy]


class ImportStream:
    """The rows of one import stream, as far as the caller may import them. `close` drops them."""

    def __init__(self, context: AdminContext, caller: Caller) -> None:
        self._engine: Engine = context.engine
        self._identity = caller.identity
        self._sharing = context.sharing
        self.caller = caller
        self._allowed: set[str] = set()
        self._header: Header | None = None
        self._spools = context.spools
        self._spool: Spool | None = None
        self._digest = hashlib.sha256()
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
            # Repeated fields join when their bytes do, so this hashes the same in any cut.
            rows = admin_pb2.ImportOwnershipRequest(rows=message.rows)
            packed = rows.SerializeToString(deterministic=True)
            self._digest.update(packed)
            assert self._spool is not None
            self._spool.append(packed)
        return self.row_count - before_count

    def rows(self) -> Iterator[Row]:
        """Yield every row, from the first on; may be called again."""
        for row in self._spool.rows() if self._spool else ():
            expire_ns = None
            if row.HasField("expire_time"):
                expire_ns = convert.instant_ns("expire_time", row.expire_time)
            yield row.record_id, row.campaign_id, row.campaign_name, expire_ns

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
        if header.strategy == admin_pb2.CONFLICT_STRATEGY_OVERWRITE:
            # It may end the hold of any campaign.
            self._require(rights.EVERY)
        self._spool = self._spools.open()
        self._digest.update(repr(header).encode())
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
    return Header(message.list_id, strategy, message.reason, message.request_id, message.exact)


def _check_later_header(message: admin_pb2.ImportOwnershipRequest, header: Header) -> None:
    if message.list_id not in ("", header.list_id):
        allowed = f"empty or {header.list_id!r}, as in the first message"
        raise InvalidField("list_id", message.list_id, allowed)
    for field in ("conflict_strategy", "reason", "request_id", "exact"):
        if value := getattr(message, field):
            raise InvalidField(field, value, "absent after the first message")


def _check_row(row: admin_pb2.OwnershipRow, number: int) -> None:
    try:
        validate.record_id(row.record_id)
        validate.campaign_id(row.campaign_id)
        name_bytes = limits.CAMPAIGN_NAME_BYTES
        validate.text("campaign_name", row.campaign_name, name_bytes, required=False)
        if row.HasField("expire_time"):
            convert.instant_ns("expire_time", row.expire_time)
    except InvalidField as error:
        raise error.within(f"rows: row {number}") from None
