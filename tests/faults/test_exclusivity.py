"""R1 under concurrency: many clients over few hot records with holds of one second.

What every client saw is checked by `history`, which knows the rules and not the server.
"""

import random
import threading
import time
from collections import Counter
from dataclasses import replace

import grpc
import pytest
from harness import ServerProcess
from history import Op, Settings, violations
from load import Dialer, Threads
from subject import SECOND, Policy
from subject_grpc import GrpcSubject

POLICY = Settings(reservation_ttl_ns=SECOND, duration_ns=SECOND)
RECORDS = [str(number) for number in range(6)]
CAMPAIGNS = "ABCDABCDEFGH"
RUN_S = 4.0


@pytest.mark.parametrize("steered", [False, True], ids=["dialing only", "with steering"])
def test_r1_no_history_of_many_clients_shows_two_holders(
    shared_server: ServerProcess, unique: str, steered: bool
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    subject = GrpcSubject(shared_server.dial_stub(), shared_server.admin_stub())
    # Without a window no owner is renewed, so records change hands more often.
    window_ns = None if steered else 0
    policy = Policy(True, POLICY.duration_ns, window_ns, POLICY.reservation_ttl_ns)
    subject.create_list(unique, policy)
    for campaign_id in CAMPAIGNS:
        subject.upsert_campaign(campaign_id, "")
    dialers = _dialers(shared_server, unique, seed)
    steering = Steering(subject, unique, seed) if steered else None
    work = [dialer.run for dialer in dialers] + ([steering.run] if steering else [])
    with Threads(*work) as threads:
        threads.stopping.wait(RUN_S)
    history = [op for dialer in dialers for op in dialer.history]
    history += steering.history if steering else []
    assert [error for dialer in dialers for error in dialer.errors] == []
    _assert_rich(history)
    assert violations(history, POLICY) == []
    assert violations(_doctored(history, seed), POLICY) != [], "the checks see nothing"


def test_r3_holds_outlast_kills_and_restarts(server: ServerProcess) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    policy = Policy(True, POLICY.duration_ns, 0, POLICY.reservation_ttl_ns)
    GrpcSubject(server.dial_stub(), server.admin_stub()).create_list("list", policy)
    history: list[Op] = []
    for life in range(4):
        dialers = _dialers(server, "list", seed + 100 * life)
        with Threads(*(dialer.run for dialer in dialers)) as threads:
            threads.stopping.wait(1.2)
            server.kill()
        history += [op for dialer in dialers for op in dialer.history]
        errors = {error for dialer in dialers for error in dialer.errors}
        assert errors <= {grpc.StatusCode.UNAVAILABLE}
        server.start()
    said = Counter(op.what for op in history)
    print(len(history), "calls:", dict(said))
    assert said["OWNERSHIP_ACQUIRED"] > 10 and said["DENIED"] > 100 and said[None] > 0
    assert violations(history, POLICY) == []


def _doctored(history: list[Op], seed: int) -> list[Op]:
    """The same history with five denials turned into grants."""
    denied = [index for index, op in enumerate(history) if op.what == "DENIED"]
    changed = set(random.Random(seed).sample(denied, 5))
    return [
        replace(op, what="GRANTED", holder=None) if index in changed else op
        for index, op in enumerate(history)
    ]


def _dialers(server: ServerProcess, list_id: str, seed: int) -> list[Dialer]:
    """Half of the clients speak to the dial port, half to the admin port."""
    ports = (server.dial_address, server.admin_address)
    return [
        Dialer(server.dial_stub(ports[number % 2]), list_id, campaign_id, RECORDS, seed + number)
        for number, campaign_id in enumerate(CAMPAIGNS)
    ]


def _assert_rich(history: list[Op]) -> None:
    """A history in which nothing happened proves nothing."""
    said = Counter(op.what for op in history)
    print(len(history), "calls:", dict(said))
    assert len(history) > 1000
    assert said["DENIED"] > 100 and said["GRANTED"] > 30
    # Each record changes hands again and again: its holds expire.
    assert said["OWNERSHIP_ACQUIRED"] >= 3 * len(RECORDS)
    assert said["RESERVATION_CLEARED"] > 0


class Steering:
    """An administrator who releases, stops and changes the duration while others dial."""

    def __init__(self, subject: GrpcSubject, list_id: str, seed: int) -> None:
        self.subject = subject
        self.list_id = list_id
        self.chance = random.Random(seed)
        self.history: list[Op] = []
        self.duration_ns = POLICY.duration_ns

    def run(self, stopping: threading.Event) -> None:
        while not stopping.wait(self.chance.uniform(0.02, 0.4)):
            self.history.append(self._steer(self.chance.choice(("release", "stop", "duration"))))

    def _steer(self, kind: str) -> Op:
        campaign_id = self.chance.choice(CAMPAIGNS) if kind == "stop" else ""
        if kind == "duration":
            self.duration_ns = 3 * SECOND - self.duration_ns
        invoke_ns = time.monotonic_ns()
        revision = self._call(kind, campaign_id)
        return Op(
            kind,
            campaign_id,
            "",
            invoke_ns,
            time.monotonic_ns(),
            "DONE",
            None,
            revision,
            length_ns=self.duration_ns,
        )

    def _call(self, kind: str, campaign_id: str) -> int:
        if kind == "duration":
            policy = Policy(True, self.duration_ns, None, POLICY.reservation_ttl_ns)
            self.subject.update_policy(self.list_id, policy)
        elif kind == "stop":
            self.subject.signal(campaign_id, "STOPPED", self.list_id)
        else:
            self.subject.release(self.list_id)
        return self.subject.last_answer.revision
