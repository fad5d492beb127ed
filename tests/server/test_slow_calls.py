"""Slow calls are logged with what they waited for; traced ones become spans at a collector."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from harness import ServerProcess, poll
from subject import DAY, Policy
from subject_grpc import GrpcSubject

from ownerd.native import DIAL_METHODS, Engine
from ownerd.server import tracing
from ownerd.v1 import admin_pb2, dial_pb2

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
NOT_SAMPLED = f"00-{TRACE}-{SPAN}-00"
CLAIM = DIAL_METHODS.index("Claim")


def batch(list_id: str = "list", count: int = 10_000) -> dial_pb2.ClaimBatchRequest:
    """A call that takes more than a millisecond wherever it is made."""
    return dial_pb2.ClaimBatchRequest(
        list_id=list_id, campaign_id="spring", record_ids=[str(number) for number in range(count)]
    )


def metadata(parent: str) -> list[tuple[str, str]]:
    return [("traceparent", parent)]


# --- what is kept ---------------------------------------------------------------------------------


@pytest.fixture
def watched(engine: Any) -> Engine:
    engine.create_list("list", Policy(True, DAY))
    engine.engine.watch_slow_calls(1e-9)
    return engine.engine


def test_a_call_that_took_long_is_kept_with_what_it_waited_for(engine: Any, watched: Engine):
    engine.claim("list", "42", "spring")
    ((kind, code, records, list_id, campaign_id, parent, ago, took, queued, commit),), missed = (
        watched.take_slow_calls()
    )
    assert (kind, code, records, list_id, campaign_id, parent) == (
        CLAIM,
        0,
        1,
        "list",
        "spring",
        "",
    )
    assert ago >= 0 and 0 <= queued <= took and 0 < commit < took and missed == 0
    assert watched.take_slow_calls() == ([], 0)


def test_what_is_refused_is_kept_with_its_status(engine: Any, watched: Engine):
    with pytest.raises(Exception, match="other"):
        engine.claim("other", "42", "spring")
    (call,), _ = watched.take_slow_calls()
    assert call[:5] == (CLAIM, 5, 1, "other", "spring")
    assert call[9] == 0  # nothing was committed


def test_of_more_than_can_be_kept_only_the_number_is(engine: Any, watched: Engine):
    for number in range(300):
        engine.claim("list", str(number), "spring")
    calls, missed = watched.take_slow_calls()
    assert (len(calls), missed) == (256, 44)
    engine.claim("list", "1", "spring")
    assert len(watched.take_slow_calls()[0]) == 1


def test_none_is_kept_where_none_is_slow(engine: Any, watched: Engine):
    for least_s in (0.0, 3600.0):
        watched.watch_slow_calls(least_s)
        engine.claim("list", "42", "spring")
        assert watched.take_slow_calls() == ([], 0)


# --- what is written ------------------------------------------------------------------------------


@pytest.fixture
def slow(tmp_path: Path, dial_listener: str) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", "--slow-call-ms", "1") as server:
        GrpcSubject(server.dial_stub(), server.admin_stub()).create_list("list", Policy(True, DAY))
        yield server


def lines(server: ServerProcess, method: str) -> list[dict[str, Any]]:
    return [
        event
        for event in server.events
        if event["event"] == "slow_call" and event["method"] == method
    ]


def test_a_slow_call_is_a_line_in_the_log(slow: ServerProcess) -> None:
    slow.dial_stub().ClaimBatch(batch(), metadata=metadata(SAMPLED), timeout=30)
    (line,) = poll(lambda: lines(slow, "ClaimBatch"), "the line")
    assert (line["status"], line["records"], line["list_id"]) == ("OK", 10_000, "list")
    assert (line["campaign_id"], line["traceparent"]) == ("spring", SAMPLED)
    assert line["total_ms"] >= 1 and 0 < line["commit_ms"] < line["total_ms"]
    assert 0 <= line["queue_ms"] < line["total_ms"]


NONE = (
    "",
    SAMPLED[:-1],
    SAMPLED + "0",
    SAMPLED.upper(),
    SAMPLED.replace("00-", "ff-", 1),
    SAMPLED.replace(TRACE, "0" * 32),
    SAMPLED.replace(SPAN, "0" * 16),
    SAMPLED.replace("-", "_"),
    "x" * 2_000,
)


def test_a_traceparent_that_is_none_is_as_if_it_were_not_there(slow: ServerProcess) -> None:
    for parent in NONE:
        slow.dial_stub().ClaimBatch(batch(), metadata=metadata(parent), timeout=30)
    poll(lambda: len(lines(slow, "ClaimBatch")) == len(NONE), "the lines")
    assert not any("traceparent" in line for line in lines(slow, "ClaimBatch"))
    later = SAMPLED.replace("00-", "01-", 1) + "-what comes later"
    slow.dial_stub().ClaimBatch(batch(), metadata=metadata(later), timeout=30)
    poll(lambda: "traceparent" in lines(slow, "ClaimBatch")[-1], "the line")


def test_a_slow_call_of_the_other_service_is_a_line_too(slow: ServerProcess) -> None:
    slow.dial_stub().ClaimBatch(batch(), timeout=30)
    request = admin_pb2.ReleaseOwnershipRequest(
        list_id="list", all_campaigns=True, include_reservations=True
    )
    slow.admin_stub().ReleaseOwnership(request, metadata=metadata(NOT_SAMPLED), timeout=30)
    (line,) = poll(lambda: lines(slow, "ReleaseOwnership"), "the line")
    assert (line["status"], line["traceparent"]) == ("OK", NOT_SAMPLED)


def test_nothing_is_written_where_nothing_is_slow(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--slow-call-ms", "0") as server:
        subject = GrpcSubject(server.dial_stub(), server.admin_stub())
        subject.create_list("list", Policy(True, DAY))
        server.dial_stub().ClaimBatch(batch(), timeout=30)
    assert "slow_call" not in server.log_text


# --- spans ----------------------------------------------------------------------------------------


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP, and keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[Any] = []
        super().__init__(("127.0.0.1", 0), CollectorHandler)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class CollectorHandler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
        for group in request.resource_spans:
            self.server.resources.append(group.resource)
            for scope in group.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.proto", reason="the extra otlp is not installed")
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever, daemon=True)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_traced_calls_are_spans_of_their_callers_traces(
    tmp_path: Path, dial_listener: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    with ServerProcess(tmp_path / "data", "--slow-call-ms", "0") as server:
        subject = GrpcSubject(server.dial_stub(), server.admin_stub())
        subject.create_list("list", Policy(True, DAY))
        claim = dial_pb2.ClaimRequest(list_id="list", record_id="42", campaign_id="spring")
        server.dial_stub().Claim(claim, metadata=metadata(NOT_SAMPLED), timeout=30)
        server.dial_stub().Claim(claim, metadata=metadata(SAMPLED), timeout=30)
        request = admin_pb2.ListOwnersRequest(list_id="nowhere")
        with pytest.raises(Exception, match="nowhere"):
            server.admin_stub().ListOwners(request, metadata=metadata(SAMPLED), timeout=30)
        poll(lambda: len(named(collector, "Claim")) and named(collector, "ListOwners"), "the spans")
    (claimed,), (asked,) = named(collector, "Claim"), named(collector, "ListOwners")
    for span in (claimed, asked):
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, SPAN)
        assert 0 < span.start_time_unix_nano < span.end_time_unix_nano
    assert claimed.name == "ownerd.v1.DialService/Claim"
    about = attributes(claimed)
    assert (about["ownerd.list_id"], about["ownerd.campaign_id"]) == ("list", "spring")
    assert attributes(asked)["rpc.grpc.status_code"] == 5
    assert asked.status.code == 2 and claimed.status.code == 0
    assert "slow_call" not in server.log_text
    names = {each.key: each.value.string_value for each in collector.resources[0].attributes}
    assert names["service.name"] == "ownerd"


def named(collector: Collector, method: str) -> list[Any]:
    return [span for span in collector.spans if span.name.endswith(f"/{method}")]


def test_a_collector_that_is_gone_harms_nothing(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    with ServerProcess(tmp_path / "data") as server:
        subject = GrpcSubject(server.dial_stub(), server.admin_stub())
        subject.create_list("list", Policy(True, DAY))
        assert subject.owners("list") == []
        poll(lambda: "traces_not_exported" in server.log_text, "the complaint")
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "console"}, False),
    ],
)
def test_opentelemetrys_variables_say_whether_spans_are_exported(
    environment: dict[str, str], wanted: bool
) -> None:
    assert tracing.is_wanted(environment) == wanted
