"""What a campaign writes down: one line of JSON for each claim, dial and report, in its own file.

Owns: the form of the logs, which are all that the checker sees. Every time is of the host's one
monotonic clock, in nanoseconds, taken before a request was sent (`ask_ns`) and after its answer
came (`answer_ns`); the server's clock decides nothing. `revision` is the answer's, None if there
was none or it was not noted. The administrator keeps a log of the same form. A `Logbook` belongs to
one thread.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

SUFFIX = ".jsonl"
now_ns = time.monotonic_ns


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """First line: whose log this is; empty for the administrator's."""

    campaign_id: str


class Claimed(msgspec.Struct, frozen=True, tag="claim"):
    """A claim. `decision` is None if no answer came: then it may have been granted."""

    record_id: str
    ask_ns: int
    answer_ns: int
    decision: str | None
    holder_id: str | None = None
    holder_expire_time: str | None = None
    holder_kind: str | None = None
    revision: int | None = None
    dialer_id: str = ""
    reservation_id: int = 0
    holder_dialer_id: str = ""


class Dialed(msgspec.Struct, frozen=True, tag="dial"):
    """A dial, from the first ring to the hang-up."""

    record_id: str
    begin_ns: int
    end_ns: int
    dialer_id: str = ""


class Reported(msgspec.Struct, frozen=True, tag="report"):
    """A report of how a dial ended. `outcome` is None if no answer came.

    `valid` says whether the code makes it a valid attempt (R8), None if that is not known. `again`:
    it was answered before, and has the time at which the dial ended: so it does nothing (R24).
    """

    record_id: str
    ask_ns: int
    answer_ns: int
    wrap_up_code: str
    outcome: str | None
    holder_id: str | None = None
    holder_kind: str | None = None
    valid: bool | None = None
    revision: int | None = None
    dialer_id: str = ""
    reservation_id: int = 0
    again: bool = False


class GaveBack(msgspec.Struct, frozen=True, tag="give back"):
    """A dialer gave back all that it had reserved (R23)."""

    ask_ns: int
    answer_ns: int
    dialer_id: str
    revision: int | None = None


class Looked(msgspec.Struct, frozen=True, tag="look"):
    """A look at who holds the record: None if nobody does."""

    record_id: str
    ask_ns: int
    answer_ns: int
    holder_id: str | None = None
    holder_kind: str | None = None
    revision: int | None = None


class PolicySet(msgspec.Struct, frozen=True, tag="policy"):
    """The administrator set the policy: the values in force afterwards; None is no expiration."""

    ask_ns: int
    answer_ns: int
    duration_ns: int | None
    reservation_ttl_ns: int
    revision: int | None = None


class ReleaseMade(msgspec.Struct, frozen=True, tag="release"):
    """The administrator released some campaigns; None is all of them.

    A stop that was asked to end the campaign's reservations ended those alone (R16).
    """

    ask_ns: int
    answer_ns: int
    campaign_ids: list[str] | None
    include_reservations: bool = False
    include_ownership: bool = True
    revision: int | None = None


RecordCall = Claimed | Reported | Looked
AdminCall = PolicySet | ReleaseMade
Entry = Opened | Dialed | RecordCall | GaveBack | AdminCall
ByCampaign = Mapping[str, Sequence[Entry]]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


class Logbook:
    """The log of one campaign, or with an empty id the administrator's; a context manager."""

    def __init__(self, path: Path, campaign_id: str = "") -> None:
        self._file = path.open("wb")
        self.write(Opened(campaign_id))

    def write(self, entry: Entry) -> None:
        """Append an entry."""
        self._file.write(_encode(entry) + b"\n")

    def close(self) -> None:
        """Write out what is buffered. Closing again does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_logs(directory: Path) -> dict[str, list[Entry]]:
    """Return the entries of every log in a directory by campaign id, the administrator's by ""."""
    logs: dict[str, list[Entry]] = {}
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        with path.open("rb") as file:
            opened, *entries = map(_decode, file)
        logs.setdefault(opened.campaign_id, []).extend(entries)
    return logs
