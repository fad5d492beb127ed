"""Client threads that dial a server as campaigns do, and log what they saw for the checker."""

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
from sanitizer import patient_s

from ownerd.client import Decision, HoldKind, Outcome
from ownerd.demo.logbook import Claimed, Entry, GaveBack, Looked, Reported
from ownerd.v1 import dial_pb2, dial_pb2_grpc

JOIN_S = patient_s(60.0)
CALL_DEADLINE_S = patient_s(20.0)


@dataclass
class Dialer:
    """One client thread of one campaign on a few records of one list: a dialer of its own.

    It reports with or without the time at which a dial ended, delivers some reports with it again,
    and gives back now and then.
    """

    stub: dial_pb2_grpc.DialServiceStub
    list_id: str
    campaign_id: str
    record_ids: list[str]
    seed: int
    log: list[Entry] = field(default_factory=list)
    errors: list[grpc.StatusCode] = field(default_factory=list)
    dialer_id: str = ""
    to_repeat: dial_pb2.ReportAttemptRequest | None = None

    def run(self, stopping: threading.Event) -> None:
        """Dial until told to stop, or until the server is gone."""
        chance = random.Random(self.seed)
        while not stopping.is_set():
            record_id = chance.choice(self.record_ids)
            answer = self.claim(record_id)
            if answer is None:
                return
            if answer.decision == "GRANTED" and chance.random() < 0.8:
                code = chance.choice(("Busy", "Success", "No Lines"))
                timed = chance.random() < 0.5
                if self.attempt(record_id, code, answer.reservation_id, timed=timed) is None:
                    return
                continue
            other = chance.random()
            if other < 0.1:
                answered = self.look(record_id) is not None
            elif other < 0.2:
                answered = self.repeat() is not None
            elif other < 0.22:
                answered = self.give_back() is not None
            else:
                continue
            if not answered:
                return

    def claim(self, record_id: str) -> Claimed | None:
        """Claim; None if the outcome is unknown."""
        request = dial_pb2.ClaimRequest(
            list_id=self.list_id,
            record_id=record_id,
            campaign_id=self.campaign_id,
            dialer_id=self.dialer_id,
        )
        answer, *times = self._call(self.stub.Claim, request)
        entry = Claimed(
            record_id,
            *times,
            answer and Decision(answer.decision).name,
            dialer_id=self.dialer_id,
            reservation_id=answer.reservation_id if answer else 0,
            **_shown(answer),
        )
        return self._noted(entry, answer)

    def attempt(
        self, record_id: str, code: str, reservation_id: int, *, timed: bool
    ) -> Reported | None:
        """Report an attempt; None if the outcome is unknown."""
        request = dial_pb2.ReportAttemptRequest(
            list_id=self.list_id,
            record_id=record_id,
            campaign_id=self.campaign_id,
            wrap_up_code=code,
            dialer_id=self.dialer_id,
            reservation_id=reservation_id,
        )
        if timed:
            request.attempt_time.GetCurrentTime()
        entry = self._report(request, again=False)
        if entry is not None and timed:
            self.to_repeat = request
        return entry

    def repeat(self) -> object:
        """Deliver a report with its time once more; None if the outcome is unknown."""
        request, self.to_repeat = self.to_repeat, None
        return self if request is None else self._report(request, again=True)

    def give_back(self) -> GaveBack | None:
        """Give back all that is reserved in the list; None if the outcome is unknown."""
        request = dial_pb2.GiveBackRequest(
            campaign_id=self.campaign_id, dialer_id=self.dialer_id, list_id=self.list_id
        )
        answer, *times = self._call(self.stub.GiveBack, request)
        revision = None if answer is None else answer.revision
        return self._noted(GaveBack(*times, self.dialer_id, revision), answer)

    def _report(self, request: dial_pb2.ReportAttemptRequest, *, again: bool) -> Reported | None:
        answer, *times = self._call(self.stub.ReportAttempt, request)
        # One with a time may have been overtaken by a later one of another dialer.
        timed, code = request.HasField("attempt_time"), request.wrap_up_code
        entry = Reported(
            request.record_id,
            *times,
            code,
            answer and Outcome(answer.outcome).name,
            valid=None if timed else code != "No Lines",
            dialer_id=self.dialer_id,
            reservation_id=request.reservation_id,
            again=again,
            **_shown(answer),
        )
        return self._noted(entry, answer)

    def look(self, record_id: str) -> Looked | None:
        """Ask who holds the record; None if no answer came."""
        request = dial_pb2.GetHolderRequest(list_id=self.list_id, record_id=record_id)
        answer, *times = self._call(self.stub.GetHolder, request)
        return self._noted(Looked(record_id, *times, **_shown(answer)), answer)

    def _call(self, method: Callable[..., Any], request: object) -> tuple[Any, int, int]:
        """Return the answer, None if none came, and when it was asked for and came."""
        ask_ns = time.monotonic_ns()
        try:
            answer = method(request, timeout=CALL_DEADLINE_S)
        except grpc.RpcError as error:
            self.errors.append(error.code())
            answer = None
        return answer, ask_ns, time.monotonic_ns()

    def _noted(self, entry: Any, answer: object) -> Any:
        self.log.append(entry)
        return None if answer is None else entry


def _shown(answer: Any) -> dict[str, Any]:
    """Return what an answer shows of a holder, and as of when."""
    if answer is None:
        return {}
    if not answer.HasField("holder"):
        return {"revision": answer.revision}
    holder = answer.holder
    kind = HoldKind(holder.kind).name
    return {"holder_id": holder.campaign_id, "holder_kind": kind, "revision": answer.revision}


def logs_of(dialers: Iterable[Dialer]) -> dict[str, list[Entry]]:
    """Return what all clients of each campaign saw."""
    logs: dict[str, list[Entry]] = defaultdict(list)
    for dialer in dialers:
        logs[dialer.campaign_id] += dialer.log
    return logs


def said(logs: dict[str, list[Entry]]) -> Counter[str | None]:
    """Count what was answered: decisions, outcomes, None for no answer, "look" for looks."""
    entries = [entry for log in logs.values() for entry in log if not isinstance(entry, GaveBack)]
    return Counter(
        getattr(entry, "decision", getattr(entry, "outcome", "look")) for entry in entries
    )


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
