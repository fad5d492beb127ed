"""Client threads that dial a server as campaigns do, and write down what they saw."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
from history import Op
from subject_engine import decision_name, holder_of, outcome_name

from ownerd.v1 import dial_pb2, dial_pb2_grpc

JOIN_S = 60.0
CALL_DEADLINE_S = 20.0


@dataclass
class Dialer:
    """One client thread of one campaign on a few records of one list."""

    stub: dial_pb2_grpc.DialServiceStub
    list_id: str
    campaign_id: str
    record_ids: list[str]
    seed: int
    history: list[Op] = field(default_factory=list)
    errors: list[grpc.StatusCode] = field(default_factory=list)

    def run(self, stopping: threading.Event) -> None:
        """Dial until told to stop, or until the server is gone."""
        chance = random.Random(self.seed)
        while not stopping.is_set():
            record_id = chance.choice(self.record_ids)
            answer = self.claim(record_id)
            if answer is None:
                return
            if answer.what == "GRANTED" and chance.random() < 0.8:
                code = chance.choice(("Busy", "Success", "No Lines"))
                if self.attempt(record_id, code) is None:
                    return
            elif chance.random() < 0.1 and self.look(record_id) is None:
                return

    def claim(self, record_id: str) -> Op | None:
        """Claim; None if the outcome is unknown."""
        request = dial_pb2.ClaimRequest(
            list_id=self.list_id, record_id=record_id, campaign_id=self.campaign_id
        )
        return self._call("claim", record_id, self.stub.Claim, request)

    def attempt(self, record_id: str, code: str) -> Op | None:
        """Report an attempt; None if the outcome is unknown."""
        request = dial_pb2.ReportAttemptRequest(
            list_id=self.list_id,
            record_id=record_id,
            campaign_id=self.campaign_id,
            wrap_up_code=code,
        )
        counts = code != "No Lines"
        return self._call("attempt", record_id, self.stub.ReportAttempt, request, counts)

    def look(self, record_id: str) -> Op | None:
        """Ask who holds the record."""
        request = dial_pb2.GetHolderRequest(list_id=self.list_id, record_id=record_id)
        return self._call("holder", record_id, self.stub.GetHolder, request)

    def _call(
        self,
        kind: str,
        record_id: str,
        method: Callable[..., object],
        request: object,
        counts: bool = True,
    ) -> Op | None:
        invoke_ns = time.monotonic_ns()
        try:
            answer = method(request, timeout=CALL_DEADLINE_S)
        except grpc.RpcError as error:
            self.errors.append(error.code())
            return_ns = time.monotonic_ns()
            op = Op(kind, self.campaign_id, record_id, invoke_ns, return_ns, counts=counts)
            self.history.append(op)
            return None
        return_ns = time.monotonic_ns()
        op = Op(
            kind,
            self.campaign_id,
            record_id,
            invoke_ns,
            return_ns,
            _said(kind, answer),
            holder_of(answer),
            answer.revision,
            counts,
        )
        self.history.append(op)
        return op


def _said(kind: str, answer: object) -> str:
    if kind == "claim":
        return decision_name(answer.decision)
    return "SEEN" if kind == "holder" else outcome_name(answer.outcome)


class Threads:
    """Threads that run until told; at the end they are joined, and their failures are raised."""

    def __init__(self, *work: Callable[[threading.Event], None]) -> None:
        self.stopping = threading.Event()
        self.failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(each,), daemon=True) for each in work
        ]

    def __enter__(self) -> "Threads":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.join()
        if self.failures:
            raise self.failures[0]

    def join(self) -> None:
        """Wait for all of them to end."""
        for thread in self._threads:
            thread.join(JOIN_S)
            assert not thread.is_alive(), f"a thread did not end in {JOIN_S} s"

    def _run(self, work: Callable[[threading.Event], None]) -> None:
        try:
            work(self.stopping)
        except BaseException as failure:
            self.failures.append(failure)
