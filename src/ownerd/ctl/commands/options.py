"""Options that several commands share, and what each command is handed.

`InSession` and `InTyped` are filled in by `cli`, never from the command line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter, Token, validators

from ownerd import durations
from ownerd.ctl.connect import completions
from ownerd.ctl.connect.access import AccessOptions
from ownerd.ctl.connect.channel import Connection
from ownerd.ctl.terminal import times
from ownerd.ctl.terminal.output import Printer

STREAM = Path("-")  # stdin or stdout in place of a file


@dataclass(frozen=True)
class Session:
    """What a command works with: whom to ask, and how to print the answer."""

    connection: Connection
    printer: Printer
    more_records: Sequence[str] = ()  # those of --record after the first


@dataclass(frozen=True)
class Typed:
    """What a command that asks no server works with: the options as they were typed."""

    access: AccessOptions
    printer: Printer


def _one_token(tokens: Sequence[Token]) -> Token:
    return tokens[0]


def read_length(type_: Any, tokens: Any) -> int:
    """Convert `2d3h` to nanoseconds."""
    return durations.parse(_one_token(tokens).value)


def read_timeout(type_: Any, tokens: Any) -> float:
    """Convert `30` (seconds) or `1m30s` to seconds."""
    text = _one_token(tokens).value
    timeout_ns = durations.parse(f"{text}s" if text.replace(".", "", 1).isdecimal() else text)
    if not timeout_ns:
        raise ValueError("0 leaves no time to answer; give a second or more")
    return timeout_ns / durations.NS_PER_SECOND


def read_instant(type_: Any, tokens: Any) -> int:
    """Convert `2h` (that long ago) or an RFC 3339 time to an instant."""
    text = _one_token(tokens).value
    try:
        return times.parse(text)
    except times.TimeError as error:
        if "T" in text or ":" in text:
            raise ValueError(f'"{text}" {error}; give {times.ALLOWED}') from error
    return times.now_ns() - durations.parse(text)


def check_file(type_: Any, path: Path) -> None:
    """Refuse what is a mistyped option rather than a file; - alone is a stream."""
    if str(path).startswith("-") and path != STREAM:
        raise ValueError(f"not an option here; a file of that name is ./{path}")


InSession = Annotated[Session, Parameter(parse=False)]
InTyped = Annotated[Typed, Parameter(parse=False)]

ListId = Annotated[str, Parameter(help="The contact list.", completer=completions.lists)]
RecordId = Annotated[str, Parameter(help="The record.")]
CampaignId = Annotated[str, Parameter(help="The campaign.", completer=completions.campaigns)]

Reason = Annotated[str, Parameter(help="Why; kept in the audit log.")]
Campaigns = Annotated[
    tuple[str, ...],
    Parameter(
        name="--campaign",
        negative="",
        help="Only this campaign; may be given several times.",
        completer=completions.campaigns,
    ),
]
Yes = Annotated[bool, Parameter(negative="", help="Do not ask.")]
InOutFile = Annotated[Path, Parameter(allow_leading_hyphen=True, validator=check_file)]
Length = Annotated[int, Parameter(converter=read_length, n_tokens=1, metavar="DURATION")]
Instant = Annotated[int, Parameter(converter=read_instant, n_tokens=1, metavar="TIME")]
Limit = Annotated[
    int, Parameter(help="At most so many; 0 for all.", validator=validators.Number(gte=0))
]

EXPIRATION = Group("How long ownership lasts (one of)", sort_key=1)


@Parameter(name="*")
@dataclass(frozen=True)
class PolicyOptions:
    """The settings of an ownership policy; None leaves one as it is."""

    enable: Annotated[
        bool | None,
        Parameter(negative="--disable", help="Whether campaigns can come to own records."),
    ] = None
    days: Annotated[int | None, Parameter(group=EXPIRATION, help="So many days ...")] = None
    hours: Annotated[int | None, Parameter(group=EXPIRATION, help="... and so many hours.")] = None
    duration: Annotated[Length | None, Parameter(group=EXPIRATION, help="So long, e.g. 2d3h.")] = (
        None
    )
    no_expiration: Annotated[
        bool, Parameter(group=EXPIRATION, negative="", help="Until it is released.")
    ] = False
    renewal_window: Annotated[
        Length | None,
        Parameter(help="An attempt by the owner renews what has no more left; 0s: never."),
    ] = None
    default_renewal_window: Annotated[
        bool, Parameter(negative="", help="Make the renewal window a tenth of the duration again.")
    ] = False
    reservation_ttl: Annotated[
        Length | None, Parameter(help="How long a claim keeps a record during the dial, e.g. 5m.")
    ] = None
