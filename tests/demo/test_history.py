"""The history checks themselves: a right server passes them, seeded wrong ones are caught."""

import copy
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from history import Op, Settings, order_violations, replay_violations, violations, window_violations
from model import Model, Record
from subject import MS, SECOND, Answer, Holder, Policy

POLICY = Settings(reservation_ttl_ns=SECOND, duration_ns=SECOND)
TICK_NS = 5 * MS
SECONDS = 12
RECORDS = ("1", "2", "3", "4")
CLIENTS = ("A", "A", "B", "B", "C", "D")


class Server(Model):
    """A model that is told when a group of calls has been committed."""

    def committed(self) -> None:
        """Do what a wrong server does between groups."""


class Simulation:
    """Clients that call a server which commits every 5 ms, all that came in one group."""

    def __init__(self, server: Server, seed: int) -> None:
        self.random = random.Random(seed)
        self.server = server
        self.history: list[Op] = []
        self.dialing: dict[int, str] = {}
        server.create_list("list", Policy(True, POLICY.duration_ns, None, SECOND))
        for campaign in CLIENTS:
            server.upsert_campaign(campaign, "")

    def run(self) -> list[Op]:
        """Return the history of some simulated seconds."""
        sending = {client: self._next(0, client) for client in range(len(CLIENTS))}
        for tick_ns in range(TICK_NS, SECONDS * SECOND, TICK_NS):
            self.server.advance_ns(TICK_NS)
            arrived = [client for client, op in sending.items() if op.invoke_ns <= tick_ns]
            self.random.shuffle(arrived)
            answers = [self._decide(sending[client]) for client in arrived]
            revision = self.server.revision()
            for client, (what, holder) in zip(arrived, answers):
                return_ns = tick_ns + self.random.randrange(1, 10 * MS)
                answered = {"return_ns": return_ns, "revision": revision}
                op = replace(sending[client], what=what, holder=holder, **answered)
                self.history.append(op)
                if op.what == "GRANTED":
                    self.dialing[client] = op.record_id
                sending[client] = self._next(return_ns, client)
            self.server.committed()
        return self.history

    def _next(self, now_ns: int, client: int) -> Op:
        invoke_ns = now_ns + self.random.randrange(1, 40 * MS)
        campaign = CLIENTS[client]
        if client in self.dialing and self.random.random() < 0.7:
            counts = self.random.random() < 0.6
            record_id = self.dialing.pop(client)
            return Op("attempt", campaign, record_id, invoke_ns, 0, counts=counts)
        kind = self.random.choices(("claim", "holder", "release", "stop"), (80, 10, 1, 1))[0]
        record_id = "" if kind in ("release", "stop") else self.random.choice(RECORDS)
        return Op(kind, campaign, record_id, invoke_ns, 0)

    def _decide(self, op: Op) -> tuple[str, Holder | None]:
        if op.kind == "claim":
            return self.server.claim("list", op.record_id, op.campaign_id)[:2]
        if op.kind == "attempt":
            code = "Busy" if op.counts else "No Lines"
            return self.server.attempt("list", op.record_id, op.campaign_id, code)[:2]
        if op.kind == "holder":
            return "SEEN", self.server.holder("list", op.record_id)
        if op.kind == "release":
            self.server.release("list")
        else:
            self.server.signal(op.campaign_id, "STOPPED", "list")
        return "DONE", None


class GrantsTwice(Server):
    """Now and then a claim does not look whether the record is reserved."""

    def claim(self, list_id: str, record_id: str, campaign_id: str) -> Answer:
        if self.revision_count % 7 == 0:
            self.lists[list_id].records.pop(record_id, None)
        return super().claim(list_id, record_id, campaign_id)


class ForgetsOwnersOfOthers(Server):
    """An attempt does not look whether another campaign holds the record."""

    def attempt(self, list_id: str, record_id: str, campaign_id: str, code: str) -> Answer:
        holder = self.holder(list_id, record_id)
        if holder is not None and holder.campaign_id != campaign_id:
            self.lists[list_id].records.pop(record_id)
        return super().attempt(list_id, record_id, campaign_id, code)


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
    """A stop ends nothing."""

    def signal(self, campaign_id: str, what: str, list_id: str = "") -> None:
        self._commit()


Check = Callable[[list[Op]], list[str]]


@pytest.mark.parametrize("seed", range(4))
def test_a_right_server_passes(seed: int) -> None:
    history = Simulation(Server(), seed).run()
    decided = {op.what for op in history}
    assert decided >= {"GRANTED", "DENIED", "OWNERSHIP_ACQUIRED", "RESERVATION_CLEARED"}
    assert len(history) > 1000
    assert violations(history, POLICY) == []


@pytest.mark.parametrize(
    ("server", "check"),
    [
        (GrantsTwice, lambda history: window_violations(history, POLICY)),
        (GrantsTwice, lambda history: replay_violations(history, POLICY)),
        (ForgetsOwnersOfOthers, lambda history: replay_violations(history, POLICY)),
        (EndsEarly, lambda history: window_violations(history, POLICY)),
        (EndsEarly, lambda history: replay_violations(history, POLICY)),
        (ReadsOldState, lambda history: replay_violations(history, POLICY)),
        (LosesTheLastCommits, lambda history: window_violations(history, POLICY)),
        (LosesTheLastCommits, lambda history: replay_violations(history, POLICY)),
        (RepeatsRevisions, order_violations),
        (ReleasesLater, lambda history: replay_violations(history, POLICY)),
        (KeepsStoppedReservations, lambda history: replay_violations(history, POLICY)),
    ],
)
def test_a_wrong_server_is_caught(server: type[Server], check: Check) -> None:
    caught = [seed for seed in range(6) if check(Simulation(server(), seed).run())]
    assert len(caught) >= 2, f"caught with the seeds {caught} only"


def test_an_unknown_outcome_promises_nothing_and_stops_the_replay_of_its_record() -> None:
    granted = Op("claim", "A", "1", 0, 10 * MS, "GRANTED", None, 5)
    unknown = Op("claim", "B", "1", 0, 20 * MS)
    seen = Holder("RESERVED", "B", "B", 0, SECOND)
    puzzling = Op("holder", "A", "1", 30 * MS, 40 * MS, "SEEN", seen, 6)
    assert violations([granted, unknown], POLICY) == []
    assert violations([granted, unknown, puzzling], POLICY) == []
    assert violations([granted, puzzling], POLICY) != []
