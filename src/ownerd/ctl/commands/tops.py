"""`ownerctl top`: who dials what now, list by list, until Ctrl-C.

Each look asks for the owners of each list, which reads the list whole: some tenths of a second for
ten million records.
"""

import time
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Annotated

from cyclopts import Parameter, validators
from rich.console import Group
from rich.live import Live
from rich.text import Text

from ownerd import durations
from ownerd.ctl.commands import owners
from ownerd.ctl.commands.options import InSession, Length, Session
from ownerd.ctl.connect import completions
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import DOCUMENTS, Column, Kind, Printer, Row
from ownerd.v1 import admin_pb2 as pb

COLUMNS = (
    Column("list_id", "List"),
    Column("campaign_id", "Campaign"),
    Column("owned_count", "Owned", Kind.COUNT),
    Column("reserved_count", "Dialing", Kind.COUNT),
    Column("claims_per_s", "Claims/s", Kind.COUNT),
    Column("attempts_per_s", "Attempts/s", Kind.COUNT),
    *(column for column in owners.ACTIVITY_COLUMNS if column.in_list),
)
MOST_LISTS = 20
_CLAIMS = ("granted_claim_count", "denied_claim_count", "uncontrolled_claim_count")
_ATTEMPTS = (
    "ownership_acquired_count",
    "ownership_renewed_count",
    "ownership_kept_count",
    "reservation_cleared_count",
    "not_controlled_count",
    "rejected_attempt_count",
)

Key = tuple[str, str]
Sums = Mapping[Key, tuple[float, int, int]]


def top(
    *lists: Annotated[
        str,
        Parameter(help="The contact lists; without, the first 20.", completer=completions.lists),
    ],
    interval: Annotated[Length, Parameter(help="How long between two looks.")] = (
        2 * durations.NS_PER_SECOND
    ),
    looks: Annotated[
        int,
        Parameter(
            help="How many looks; 0: until Ctrl-C, or one where the output is no terminal.",
            validator=validators.Number(gte=0),
        ),
    ] = 0,
    session: InSession,
) -> Exit:
    """Show live who dials which list: holds, rates, denials.

    The busiest come first.
    """
    if session.printer.form in DOCUMENTS and looks > 1:
        raise CtlError(
            Exit.USAGE, f"-o {session.printer.form} is one document, of one look; say -o jsonl"
        )
    live = session.printer.form == "table" and session.printer.console.is_terminal
    try:
        if live:
            _show_live(lists, interval / durations.NS_PER_SECOND, looks, session)
        else:
            _print(lists, interval / durations.NS_PER_SECOND, looks or 1, session)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return Exit.OK


def _show_live(lists: Sequence[str], interval_s: float, looks: int, session: Session) -> None:
    before: Sums = {}
    with Live(console=session.printer.console, auto_refresh=False, screen=not looks) as screen:
        look = 0
        while True:
            rows, before, now_ns = _look(lists, before, session)
            screen.update(_shown(session.printer, rows, now_ns), refresh=True)
            look += 1
            if look == looks:
                return
            time.sleep(interval_s)


def _shown(printer: Printer, rows: Sequence[Row], now_ns: int) -> Group | Text:
    if not rows:
        return Text("No campaign holds or asked for a record yet.")
    rows = list(printer.sorted(COLUMNS, rows))
    return Group(printer.table(COLUMNS, rows, None, now_ns))


def _print(lists: Sequence[str], interval_s: float, looks: int, session: Session) -> None:
    before: Sums = {}
    for look in range(looks):
        if look:
            time.sleep(interval_s)
        rows, before, now_ns = _look(lists, before, session)
        session.printer.rows(
            "campaigns",
            COLUMNS,
            rows,
            empty="No campaign holds or asked for a record yet.",
            now_ns=now_ns,
        )


def _look(lists: Sequence[str], before: Sums, session: Session) -> tuple[list[Row], Sums, int]:
    """Return a row for each campaign of each list, what to compare the next look with, and when."""
    rows: list[Row] = []
    after: dict[Key, tuple[float, int, int]] = {}
    now_ns = 0
    for list_id in lists or _first_lists(session):
        answer = session.connection.ask(
            session.connection.admin.ListOwners, pb.ListOwnersRequest(list_id=list_id)
        )
        now_ns = answer.time.ToNanoseconds()
        for row in owners.owner_rows(answer):
            key = (list_id, str(row["campaign_id"]))
            after[key] = _sums(row, time.monotonic())
            rows.append({**row, "list_id": list_id, **_rates(before.get(key), after[key])})
    rows.sort(key=lambda row: -(row["claims_per_s"] or 0) - (row["attempts_per_s"] or 0))
    return rows, after, now_ns


def _sums(row: Row, at_s: float) -> tuple[float, int, int]:
    return at_s, sum(row[key] for key in _CLAIMS), sum(row[key] for key in _ATTEMPTS)


def _rates(
    before: tuple[float, int, int] | None, after: tuple[float, int, int]
) -> Mapping[str, int | None]:
    """Return claims and attempts in a second; None at the first look, and across a restart."""
    names = ("claims_per_s", "attempts_per_s")
    if before is None or before[1] > after[1] or before[2] > after[2]:
        return dict.fromkeys(names)
    took_s = max(after[0] - before[0], 1e-3)
    return dict(zip(names, (round((after[i] - before[i]) / took_s) for i in (1, 2)), strict=True))


def _first_lists(session: Session) -> list[str]:
    connection = session.connection
    pages = connection.pages(
        connection.admin.ListContactLists, pb.ListContactListsRequest(), MOST_LISTS
    )
    names: dict[str, None] = {}
    for contact_list in islice((each for page in pages for each in page.lists), MOST_LISTS):
        # Of those that share their ownership one is enough.
        if not names.keys() & set(contact_list.shares_ownership_with):
            names[contact_list.list_id] = None
    return list(names)
