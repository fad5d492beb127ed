"""The checker on whole histories: a right server passes, seeded wrong ones are caught."""

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest
from load import said
from model import START_NS, Model, Record, Report
from msgspec.structs import replace
from subject import MS, SECOND, Answer, Holder, Policy

from ownerd.demo.checker import check, overlaps
from ownerd.demo.logbook import (
    ByCampaign,
    Claimed,
    Dialed,
    Entry,
    GaveBack,
    Looked,
    PolicySet,
    ReleaseMade,
    Reported,
)
from ownerd.demo.replay import order_violations, replay_violations
from ownerd.demo.verdict import Fault, Verdict, Violation

POLICY = PolicySet(-2, -1, SECOND, SECOND, revision=0)
DURATIONS = (SECOND // 10, SECOND // 3, SECOND)
TICK_NS = 5 * MS
SECONDS = 12
RECORDS = ("1", "2", "3", "4")
CLIENTS = ("A", "A", "B", "B", "C", "D")


class Server(Model):
    """A model that is told when a group of calls has been committed."""

    def committed(self) -> None:
        """Do what a wrong server does between groups."""


class Asked(NamedTuple):
    """A call that is under way."""

    kind: str
    campaign_id: str
    record_id: str
    ask_ns: int
    code: str = ""
    duration_ns: int = 0
    dialer_id: str = ""
    reservation_id: int = 0
    ended_ns: int | None = None
    again: bool = False


class Simulation:
    """Clients that call a server which commits every 5 ms, all that came in one group.

    Where it is `steered`, one of them changes the duration and releases single campaigns too.
    """

    def __init__(self, server: Server, seed: int, steered: bool = False) -> None:
        self.random = random.Random(seed)
        self.server = server
        self.steered = steered
        self.logs: dict[str, list[Entry]] = {campaign_id: [] for campaign_id in CLIENTS}
        self.admin: list[Entry] = [POLICY]
        self.dialing: dict[int, tuple[str, int, int]] = {}
        self.to_repeat: dict[int, Asked] = {}
        server.create_list("list", Policy(True, SECOND, None, SECOND))
        for campaign in CLIENTS:
            server.upsert_campaign(campaign, "")

    def run(self) -> "Simulation":
        """Simulate some seconds."""
        sending = {client: self._next(0, client) for client in range(len(CLIENTS))}
        for tick_ns in range(TICK_NS, SECONDS * SECOND, TICK_NS):
            self.server.advance_ns(TICK_NS)
            arrived = [client for client, asked in sending.items() if asked.ask_ns <= tick_ns]
            self.random.shuffle(arrived)
            answers = [self._decide(sending[client], tick_ns) for client in arrived]
            revision = self.server.revision()
            for client, answer in zip(arrived, answers, strict=True):
                entry = msgspec.structs.replace(answer, revision=revision)
                if isinstance(entry, Claimed | Reported | GaveBack):
                    entry = msgspec.structs.replace(entry, dialer_id=f"client {client}")
                is_admin = isinstance(entry, PolicySet | ReleaseMade)
                (self.admin if is_admin else self.logs[CLIENTS[client]]).append(entry)
                if isinstance(entry, Claimed) and entry.decision == "GRANTED":
                    self.dialing[client] = entry.record_id, entry.answer_ns, entry.reservation_id
                sending[client] = self._next(entry.answer_ns, client)
            self.server.committed()
        return self

    def check(self) -> Verdict:
        """Return what the checker says of it."""
        return check(self.logs, self.admin)

    def _next(self, now_ns: int, client: int) -> Asked:
        ask_ns = now_ns + self.random.randrange(1, 40 * MS)
        campaign = CLIENTS[client]
        if client in self.dialing and self.random.random() < 0.7:
            code = "Busy" if self.random.random() < 0.6 else "No Lines"
            record_id, begin_ns, number = self.dialing.pop(client)
            self.logs[campaign].append(Dialed(record_id, begin_ns, ask_ns, f"client {client}"))
            ended_ns = START_NS + ask_ns if self.random.random() < 0.5 else None
            about = campaign, record_id, ask_ns, code, 0, f"client {client}"
            asked = Asked("attempt", *about, number, ended_ns)
            if ended_ns is not None:
                self.to_repeat[client] = asked
            return asked
        if client in self.to_repeat and self.random.random() < 0.1:
            asked = self.to_repeat.pop(client)
            return asked._replace(ask_ns=ask_ns, again=True)
        if self.steered and client == 0 and self.random.random() < 0.1:
            duration_ns = self.random.choice(DURATIONS)
            kind = self.random.choice(("duration", "release one"))
            return Asked(kind, self.random.choice(CLIENTS), "", ask_ns, "", duration_ns)
        kinds = ("claim", "holder", "release", "stop", "give back")
        kind = self.random.choices(kinds, (80, 10, 1, 1, 2))[0]
        record_id = self.random.choice(RECORDS) if kind in ("claim", "holder") else ""
        return Asked(kind, campaign, record_id, ask_ns, dialer_id=f"client {client}")

    def _decide(self, asked: Asked, tick_ns: int) -> Any:
        """Return what the client will have seen, but for the revision."""
        server, record_id, campaign_id = self.server, asked.record_id, asked.campaign_id
        times = asked.ask_ns, tick_ns + self.random.randrange(1, 10 * MS)
        match asked.kind:
            case "claim":
                answer = server.claim("list", record_id, campaign_id, asked.dialer_id)
                number, shown = answer.reservation_id, _shown(answer.holder)
                return Claimed(record_id, *times, answer.what, reservation_id=number, **shown)
            case "give back":
                server.give_back(campaign_id, asked.dialer_id, "list")
                return GaveBack(*times, asked.dialer_id)
            case "attempt":
                told = asked.dialer_id, asked.ended_ns, asked.reservation_id
                answer = server.attempt("list", record_id, campaign_id, asked.code, *told)
                # One with a time may have been overtaken by a later one of another dialer.
                valid = None if asked.ended_ns is not None else asked.code == "Busy"
                return Reported(
                    record_id,
                    *times,
                    asked.code,
                    answer.what.removeprefix("OWNERSHIP_"),
                    valid=valid,
                    reservation_id=asked.reservation_id,
                    again=asked.again,
                    **_shown(answer.holder),
                )
            case "holder":
                return Looked(record_id, *times, **_shown(server.holder("list", record_id)))
            case "duration":
                server.update_policy("list", Policy(True, asked.duration_ns, None, SECOND))
                return PolicySet(*times, asked.duration_ns, SECOND)
            case "stop":
                server.signal(campaign_id, "STOPPED", "list", True)
                return ReleaseMade(*times, [campaign_id], True, False)
        campaign_ids = [campaign_id] if asked.kind == "release one" else None
        server.release("list", campaign_ids)
        return ReleaseMade(*times, campaign_ids)


def _shown(holder: Holder | None) -> dict[str, str]:
    return {} if holder is None else {"holder_id": holder.campaign_id, "holder_kind": holder.kind}


class GrantsTwice(Server):
    """Now and then a claim does not look whether the record is reserved."""

    def claim(self, list_id: str, record_id: str, *claim: Any) -> Answer:
        if self.revision_count % 7 == 0:
            self.lists[list_id].records.pop(record_id, None)
        return super().claim(list_id, record_id, *claim)


class TellsNoDialersApart(Server):
    """What one dialer of a campaign has reserved, each of them may dial."""

    def _denied_to(self, record: Record | None, campaign_id: str, dialer_id: str) -> bool:
        return record is not None and record.campaign_id != campaign_id


class TakesRepeatsForNew(Server):
    """A report that comes again ends the dial that goes on, and owns again."""

    def _attempt(self, list_id: str, record_id: str, report: Report) -> Answer:
        report.attempt_time_ns, report.reservation_id = None, 0
        return super()._attempt(list_id, record_id, report)


class ForgetsOwnersOfOthers(Server):
    """An attempt does not look whether another campaign holds the record."""

    def attempt(self, list_id: str, record_id: str, campaign_id: str, *told: Any) -> Answer:
        holder = self.holder(list_id, record_id)
        if holder is not None and holder.campaign_id != campaign_id:
            self.lists[list_id].records.pop(record_id)
        return super().attempt(list_id, record_id, campaign_id, *told)


class EndsEarly(Server):
    """A hold ends a twentieth before its time."""

    def _record(self, list_id: str, record_id: str) -> Record | None:
        self.time_ns += SECOND // 20
        try:
            return super()._record(list_id, record_id)
        finally:
            self.time_ns -= SECOND // 20


class ReadsOldState(Server):
    """Who holds a record is read from a snapshot that is up to half a second old."""

    def committed(self) -> None:
        if self.time_ns % (SECOND // 2) < TICK_NS:
            self.old_lists = copy.deepcopy(self.lists)

    def holder(self, list_id: str, record_id: str) -> Holder | None:
        new_lists, self.lists = self.lists, getattr(self, "old_lists", self.lists)
        try:
            return super().holder(list_id, record_id)
        finally:
            self.lists = new_lists


class LosesTheLastCommits(Server):
    """Once, what was answered in the last 200 ms is forgotten, as by an answer before its sync."""

    def committed(self) -> None:
        tick = self.revision_count and (self.time_ns // TICK_NS) % (SECONDS * 200)
        if tick == 1000:
            self.kept = copy.deepcopy(self.lists)
        if tick == 1040:
            self.lists = self.kept


class RepeatsRevisions(LosesTheLastCommits):
    """It forgets the revisions of those commits too, and gives them out again."""

    def committed(self) -> None:
        super().committed()
        tick = self.revision_count and (self.time_ns // TICK_NS) % (SECONDS * 200)
        if tick == 1000:
            self.kept_revision = self.revision_count
        if tick == 1040:
            self.revision_count = self.kept_revision


class ReleasesLater(Server):
    """A release answers at once and takes effect later."""

    late = False

    def release(
        self, list_id: str, campaign_ids: list[str] | None = None, reservations: bool = False
    ) -> int:
        self.late = True
        self._commit()
        return 0

    def committed(self) -> None:
        if self.late and self.time_ns % SECOND < TICK_NS:
            self.late = False
            super().release("list")


class KeepsStoppedReservations(Server):
    """A stop ends nothing, also when it is asked to."""

    def signal(
        self, campaign_id: str, what: str, list_id: str = "", end_reservations: bool = False
    ) -> int:
        self._commit()
        return 0


Check = Callable[[ByCampaign, Sequence[Entry]], Iterator[Violation]]


@pytest.mark.parametrize("seed", range(4))
def test_a_right_server_passes(seed: int) -> None:
    run = Simulation(Server(), seed).run()
    counts = said(run.logs)
    assert {*counts} >= {"GRANTED", "DENIED", "ACQUIRED", "RESERVATION_CLEARED"}
    assert counts.total() > 1000
    assert run.check().violations == []


def test_r1_honest_histories_are_never_accused() -> None:
    first_seed = random.randrange(2**32)
    for seed in range(first_seed, first_seed + 20):
        print(f"seed {seed}")
        verdict = Simulation(Server(), seed, steered=True).run().check()
        assert verdict.grant_count > 100
        assert verdict.denial_count > 100
        assert verdict.handed_over_count > 0
        assert not verdict.violations


def test_r1_a_server_that_sometimes_forgets_a_hold_is_always_caught() -> None:
    first_seed = random.randrange(2**32)
    for seed in range(first_seed, first_seed + 10):
        print(f"seed {seed}")
        found = Simulation(GrantsTwice(), seed, steered=True).run().check().violations
        faults = {violation.fault for violation in found}
        assert faults >= {Fault.GRANTED_WHILE_HELD, Fault.HELD_TWICE}


@pytest.mark.parametrize(
    ("server", "check"),
    [
        (GrantsTwice, overlaps),
        (GrantsTwice, replay_violations),
        (ForgetsOwnersOfOthers, replay_violations),
        (EndsEarly, overlaps),
        (EndsEarly, replay_violations),
        (ReadsOldState, replay_violations),
        (LosesTheLastCommits, overlaps),
        (LosesTheLastCommits, replay_violations),
        (RepeatsRevisions, order_violations),
        (ReleasesLater, replay_violations),
        (KeepsStoppedReservations, replay_violations),
        (TellsNoDialersApart, overlaps),
        (TellsNoDialersApart, replay_violations),
        (TakesRepeatsForNew, replay_violations),
    ],
)
def test_a_wrong_server_is_caught(server: type[Server], check: Check) -> None:
    caught = []
    for seed in range(12):
        run = Simulation(server(), seed).run()
        caught += [seed] if any(check(run.logs, run.admin)) else []
    assert len(caught) >= 4, f"caught with the seeds {caught} only"


def test_an_unknown_outcome_promises_nothing_and_stops_the_replay_of_its_record() -> None:
    granted = Claimed("1", 0, 10 * MS, "GRANTED", revision=5)
    unknown = Claimed("1", 0, 20 * MS, None)
    puzzling = Looked("1", 30 * MS, 40 * MS, "B", "RESERVED", 6)
    assert check({"A": [granted], "B": [unknown]}, [POLICY]).violations == []
    assert check({"A": [granted, puzzling], "B": [unknown]}, [POLICY]).violations == []
    assert check({"A": [granted, puzzling]}, [POLICY]).violations != []


def test_r29_a_hold_may_last_a_little_longer_in_a_fail_over_and_never_shorter() -> None:
    granted = Claimed("1", 0, 10 * MS, "GRANTED", revision=5)
    end_ns = granted.answer_ns + POLICY.reservation_ttl_ns
    denied = Claimed("1", 0, 0, "DENIED", "A", holder_kind="RESERVED", revision=5)
    late = replace(denied, ask_ns=end_ns + 100 * MS, answer_ns=end_ns + 110 * MS)
    early = Claimed("1", end_ns - 120 * MS, end_ns - 110 * MS, "GRANTED", revision=6)
    for late_ns, other, is_right in (
        (0, late, False),
        (200 * MS, late, True),
        (50 * MS, late, False),
        (200 * MS, early, False),
    ):
        found = check({"A": [granted], "B": [other]}, [POLICY], late_ns=late_ns).violations
        assert (found == []) is is_right, (late_ns, other)
