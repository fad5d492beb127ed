"""Traces: what a caller's `traceparent` says, and spans for a collector, where one is named.

OpenTelemetry's own variables decide, as its SDK reads them: spans are exported, by OTLP over HTTP,
once `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` names a collector, or
`OTEL_TRACES_EXPORTER` is `otlp`; not where that is `none`, or `OTEL_SDK_DISABLED` is `true`.
Otherwise nothing of OpenTelemetry is imported. Needs the extra `otlp`.
"""

import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import structlog

import ownerd
from ownerd.server import exits

HEADER = "traceparent"
_LAST_SPANS_S = 1.0
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

log = structlog.get_logger("ownerd.server")


class _ToOurLog(logging.Handler):
    """Has what OpenTelemetry complains of written as everything else is."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("traces_not_exported", cause=record.getMessage())


class Called(Protocol):
    """Of a gRPC call: what came with it."""

    def invocation_metadata(self) -> Iterable[tuple[str, Any]] | None: ...


def parent_of(context: Called) -> str:
    """Return the `traceparent` of a gRPC call; "": it has none."""
    for key, value in context.invocation_metadata() or ():
        if key == HEADER and isinstance(value, str):
            return value
    return ""


def is_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether spans are to be exported."""
    named = environment.get("OTEL_TRACES_EXPORTER", "")
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or named == "none":
        return False
    return named == "otlp" or any(environment.get(name) for name in _ENDPOINTS)


class Tracer:
    """Makes a span of each call that it is told of; they are sent from a thread of its own."""

    def __init__(self) -> None:
        """Begin to export.

        Raises:
            exits.ConfigError: the extra is missing, or OpenTelemetry's variables are wrong.
        """
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError:
            raise exits.ConfigError(
                "traces are to be exported, as OpenTelemetry's variables say, and the extra for it "
                "is missing: pip install 'ownerd[otlp]', or set OTEL_SDK_DISABLED=true"
            ) from None
        complaints = logging.getLogger("opentelemetry")
        complaints.propagate = False
        complaints.handlers = [_ToOurLog(logging.WARNING)]
        name = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "ownerd"}
        try:
            self._provider = TracerProvider(resource=Resource.create(name), shutdown_on_exit=False)
            self._exporter: Any = OTLPSpanExporter()
            self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        except (ValueError, TypeError) as error:
            raise exits.ConfigError(f"OpenTelemetry's variables: {error}") from None
        self._tracer = self._provider.get_tracer("ownerd", ownerd.__version__)
        self._extract = TraceContextTextMapPropagator().extract
        self._trace = trace

    def note(
        self,
        service: str,
        method: str,
        code: int,
        parent: str,
        ended_ns: int,
        took_ns: int,
        **about: str | int,
    ) -> None:
        """Export a call that has ended, if its caller, or the sampler, samples it.

        Args:
            service, method: gRPC's names.
            code: the number of its status.
            parent: its `traceparent`; "": it had none.
            ended_ns: when, of the wall clock.
            took_ns: how long.
            about: what else is to be said of it.
        """
        span = self._tracer.start_span(
            f"{service}/{method}",
            self._extract({HEADER: parent} if parent else {}),
            self._trace.SpanKind.SERVER,
            start_time=ended_ns - took_ns,
        )
        if span.is_recording():
            span.set_attributes(
                {
                    "rpc.system": "grpc",
                    "rpc.service": service,
                    "rpc.method": method,
                    "rpc.grpc.status_code": code,
                    **{f"ownerd.{key}": value for key, value in about.items() if value != ""},
                }
            )
            if code != 0:
                span.set_status(self._trace.StatusCode.ERROR)
        span.end(end_time=ended_ns)

    def close(self) -> None:
        """Send what is left, for a moment: a collector that is gone keeps no server from ending."""
        impatience = threading.Timer(_LAST_SPANS_S, self._exporter.shutdown)
        impatience.start()
        self._provider.shutdown()
        impatience.cancel()


def start() -> Tracer | None:
    """Return a tracer if spans are to be exported.

    Raises:
        exits.ConfigError: see `Tracer`.
    """
    return Tracer() if is_wanted() else None


def now_ns() -> int:
    """Return the wall clock's time, as spans have it."""
    return time.time_ns()
