"""The slow-call log: one line for each call that took `slow_call_ms` or longer, with what it waited
for; and the spans of those calls that are traced.

Dials are measured by the engine's writer and kept there in bounded memory; once a second they are
written here. Streams are no slow calls, however long they run.
"""

import asyncio

import grpc
import structlog

from ownerd.native import DIAL_METHODS, Engine
from ownerd.server import dial, tracing

_LOOK_EVERY_S = 1.0
_LINES = 20  # in one look; of more only the number is written
_NS_PER_MS = 1e6
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}
_STREAMS = frozenset({"ImportOwnership", "ExportOwnership", "Watch", "BackupStore"})

log = structlog.get_logger("ownerd.server")


class SlowCallLog:
    """Writes the slow calls of both services.

    Args:
        engine: whose dials are looked at.
        least_ms: from how many milliseconds a call is a slow one; 0: none is.
        tracer: of the spans; None: none are made.
        admin_service: the name of the other service.
    """

    def __init__(
        self, engine: Engine, least_ms: int, tracer: tracing.Tracer | None, admin_service: str
    ) -> None:
        self._engine = engine
        self._tracer = tracer
        self._admin_service = admin_service
        self.limit(least_ms)

    def limit(self, least_ms: int) -> None:
        """Have another limit from now on."""
        self._least_s = least_ms / 1000
        self._engine.watch_slow_calls(self._least_s, self._tracer is not None)

    async def watch(self) -> None:
        """Look every second; ends when it is cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Write what the engine has kept since the last look."""
        calls, missed = self._engine.take_slow_calls()
        now_ns = tracing.now_ns()
        lines = 0
        for kind, code, records, list_id, campaign_id, parent, ago, took, queued, commit in calls:
            about: dict[str, str | int] = {
                "list_id": list_id,
                "campaign_id": campaign_id,
                "records": records,
            }
            spent = {"queue_ms": _ms(queued), "commit_ms": _ms(commit)}
            if self._is_slow(took / 1e9):
                lines += 1
                if lines <= _LINES:
                    _write(DIAL_METHODS[kind], code, took, parent, {**about, **spent})
            if self._tracer is not None:
                self._tracer.note(
                    dial.SERVICE, DIAL_METHODS[kind], code, parent, now_ns - ago, took, **about
                )
        if lines > _LINES or missed:
            log.warning("slow_calls_not_written", count=max(0, lines - _LINES) + missed)

    def admin_call(self, method: str, code: grpc.StatusCode, seconds: float, parent: str) -> None:
        """Write a call of the other service that has ended just now, if it is one to be written."""
        took_ns = int(seconds * 1e9)
        if self._is_slow(seconds) and method not in _STREAMS:
            _write(method, code.value[0], took_ns, parent, {})
        if self._tracer is not None:
            self._tracer.note(
                self._admin_service, method, code.value[0], parent, tracing.now_ns(), took_ns
            )

    def _is_slow(self, seconds: float) -> bool:
        return 0 < self._least_s <= seconds


def _ms(span_ns: int) -> float:
    return round(span_ns / _NS_PER_MS, 3)


def _write(
    method: str, code: int, took_ns: int, parent: str, about: dict[str, str | int | float]
) -> None:
    if parent:
        about["traceparent"] = parent
    log.warning(
        "slow_call", method=method, status=_CODES.get(code, code), total_ms=_ms(took_ns), **about
    )
