"""Metrics for Prometheus: what `metrics_http` shows.

Counts of the data plane are kept by the engine and read when the page is asked for, so a dial call
pays nothing for them. Only admin calls are metered here, one observation each.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

import ownerd
from ownerd.native import TIME_CLASS_ENDS_NS, Engine
from ownerd.server import alarms, tls

# Counts and exports may take seconds on large lists.
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
_SECOND_NS = 1e9

# Key of Engine.stats, name of the metric, help.
_GAUGES = (
    ("revision", "ownerd_revision", "Revision of the store."),
    ("oldest_revision", "ownerd_oldest_revision", "Oldest revision to follow changes from."),
    ("log_bytes", "ownerd_log_bytes", "Bytes of the log, what is kept for readers included."),
    ("queue_depth", "ownerd_queue_records", "Records waiting for the writer."),
    ("list_count", "ownerd_lists", "Contact lists."),
    ("campaign_count", "ownerd_campaigns", "Campaigns known."),
    ("dialer_count", "ownerd_dialers", "Dialers that may have something reserved."),
    ("record_count", "ownerd_records", "Records stored, including expired ones not yet dropped."),
    ("store_bytes", "ownerd_store_bytes", "Bytes of the store in use."),
    ("map_bytes", "ownerd_map_bytes", "Bytes that the store can grow to."),
    ("map_free_bytes", "ownerd_map_free_bytes", "Bytes of the map that are free."),
    ("disk_free_bytes", "ownerd_disk_free_bytes", "Bytes free on the data directory's disk."),
    (
        "unknown_code_count",
        "ownerd_unknown_codes",
        "Wrap-up codes reported since the start that nobody knows still: ownerctl wrapup unknown.",
    ),
    (
        "unsettled_event_count",
        "ownerd_unsettled_events",
        "Policy changes, releases and stops not yet written into every record they touch.",
    ),
)
_COUNTERS = (
    ("calls", "ownerd_dial_calls", "Dial calls answered."),
    ("records", "ownerd_dial_records", "Records decided by dial calls."),
    (
        "lapsed_reservations",
        "ownerd_lapsed_reservations",
        "Reservations that were seen to have ended without a report.",
    ),
    (
        "called_twice",
        "ownerd_persons_called_twice",
        "Attempts rejected where another campaign had called the person, too.",
    ),
    (
        "attempts_ahead",
        "ownerd_attempts_ahead",
        "Attempts refused, as their time was too far ahead of the server's.",
    ),
    (
        "unknown_code_reports",
        "ownerd_unknown_code_reports",
        "Attempts reported with a wrap-up code that nobody knew, taken or refused.",
    ),
    ("groups", "ownerd_groups", "Groups of calls decided together."),
    ("changed_groups", "ownerd_commits", "Groups that changed something and were committed."),
    ("vacuumed_records", "ownerd_settled_records", "Records rewritten or dropped by vacuums."),
)
_LABELED = (
    ("decisions", "ownerd_claims", "decision", "Claims decided, by decision."),
    ("outcomes", "ownerd_attempts", "outcome", "Attempts reported, by outcome."),
    ("refused", "ownerd_refused_calls", "reason", "Dial calls refused, by reason."),
)


# Key of NativeListener.stats, name of the metric behind `ownerd_dial_` or `ownerd_admin_`, help.
_LISTENER_GAUGES = (
    ("connections", "connections", "Connections that are open."),
    ("streams", "calls_in_memory", "Calls in memory, answered ones included."),
    ("under_way", "calls_in_flight", "Calls that the engine has yet to answer."),
    ("strangers", "strangers", "Connections on which nobody known has made a call yet."),
    ("stranger_calls", "stranger_calls", "Calls that are open on those."),
)
_LISTENER_COUNTERS = (
    ("accepted", "connections_accepted", "Connections accepted."),
    ("received", "calls_received", "Calls begun, refused ones included."),
    ("given_up", "calls_given_up", "Calls whose client left before the answer."),
    ("refused", "calls_refused", "Calls refused before they came to the engine."),
    ("health_checks", "health_checks", "Health checks, watches included."),
    ("calls_turned_out", "calls_turned_out", "Calls of strangers that made room for another."),
    ("stalled", "calls_stalled", "Calls ended as nothing of them moved in time."),
    ("handshakes", "tls_handshakes", "TLS handshakes that succeeded."),
    ("accept_pauses", "accept_pauses", "Times that no connection could be accepted."),
    ("wakeups", "wakeups", "Times that a thread of the listener woke up."),
    ("writes", "writes", "Writes to sockets."),
)


class EngineCollector(Collector):
    """What `Engine.stats` says, as metrics; read anew for each scrape."""

    def __init__(self, engine: Engine, more_alarms: alarms.Alarms, dial_listener: str) -> None:
        self._engine = engine
        self._more_alarms = more_alarms
        self._about = {"version": ownerd.__version__, "dial_listener": dial_listener}

    def collect(self) -> Iterator[Metric]:
        stats = self._engine.stats()
        for key, name, text in _GAUGES:
            yield GaugeMetricFamily(name, text, value=stats[key])
        for key, name, text in _COUNTERS:
            yield CounterMetricFamily(name, text, value=stats[key])
        for key, name, label, text in _LABELED:
            yield _labeled(CounterMetricFamily(name, text, labels=[label]), stats[key])
        yield CounterMetricFamily(
            "ownerd_commit_seconds",
            "Seconds spent in commits.",
            value=stats["commit_ns_total"] / _SECOND_NS,
        )
        yield GaugeMetricFamily(
            "ownerd_clock_offset_seconds",
            "Server time minus the machine's wall clock.",
            value=stats["clock_offset_ns"] / _SECOND_NS,
        )
        yield GaugeMetricFamily(
            "ownerd_failed",
            "1 once storage has failed and the server is about to end.",
            value=int(bool(stats["failed"])),
        )
        yield _labeled(
            GaugeMetricFamily("ownerd_alarm", "1 for each alarm that is up.", labels=["name"]),
            {name.upper(): 0 for name in alarms.NAMES}
            | {name.upper(): 1 for name, _ in (*stats["alarms"], *self._more_alarms())},
        )
        yield from _histograms(stats)
        yield InfoMetricFamily("ownerd", "What runs here.", value=self._about)


def _histograms(stats: Mapping[str, Any]) -> Iterator[Metric]:
    """Yield how long dials and commits take, and how large groups are."""
    calls = HistogramMetricFamily(
        "ownerd_dial_call_seconds",
        "From the queue until a dial call is answered, what it changed being on disk; by method.",
        labels=["method"],
    )
    for method, lengths in stats["call_lengths"].items():
        _add_lengths(calls, [method], *lengths)
    yield calls
    waits = HistogramMetricFamily(
        "ownerd_queue_wait_seconds", "How long dial calls wait for the writer."
    )
    _add_lengths(waits, [], *stats["wait_lengths"])
    yield waits
    commits = HistogramMetricFamily("ownerd_commit_duration_seconds", "How long a commit takes.")
    _add_lengths(commits, [], *stats["commit_lengths"])
    yield commits
    groups = HistogramMetricFamily(
        "ownerd_group_size_records", "Records decided together in a group that was committed."
    )
    sizes = stats["group_sizes"]
    ends = [*(repr(float((2 << i) - 1)) for i in range(len(sizes) - 1)), "+Inf"]
    buckets = list(zip(ends, itertools.accumulate(sizes), strict=True))
    groups.add_metric([], buckets, stats["committed_records"])
    yield groups


def _add_lengths(
    family: HistogramMetricFamily, labels: list[str], counts: list[int], total_ns: int
) -> None:
    """Add what the engine counted by class of time."""
    ends = [*(repr(end_ns / _SECOND_NS) for end_ns in TIME_CLASS_ENDS_NS), "+Inf"]
    buckets = list(zip(ends, itertools.accumulate(counts), strict=True))
    family.add_metric(labels, buckets, total_ns / _SECOND_NS)


class ListenerCollector(Collector):
    """What a native listener counts, as metrics; read anew for each scrape."""

    def __init__(self, name: str, stats: Callable[[], dict[str, Any]]) -> None:
        self._name = name
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats, begin = self._stats(), f"ownerd_{self._name}"
        for key, name, text in _LISTENER_GAUGES:
            yield GaugeMetricFamily(f"{begin}_{name}", text, value=stats[key])
        for key, name, text in _LISTENER_COUNTERS:
            yield CounterMetricFamily(f"{begin}_{name}", text, value=stats[key])
        ended = CounterMetricFamily(
            f"{begin}_connections_ended", "Connections that ended, by reason.", labels=["reason"]
        )
        yield _labeled(ended, stats["ended"])


class RefusalCollector(Collector):
    """How many callers were refused, as a metric."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "ownerd_turned_away",
            "Calls by callers who are not known, or lack a right, by reason.",
            labels=["reason"],
        )
        yield _labeled(family, dict(self._counts))


class TlsCollector(Collector):
    """The certificate in use and its renewals, as metrics."""

    def __init__(self, watch: tls.Watch) -> None:
        self._watch = watch

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "ownerd_tls_certificate_expiry_seconds",
            "Unix time at which the certificate in use ends.",
            value=self._watch.material.expiry_s,
        )
        yield CounterMetricFamily(
            "ownerd_tls_reloads",
            "Times that changed certificates and keys were taken into use.",
            value=self._watch.reload_count,
        )
        yield CounterMetricFamily(
            "ownerd_tls_reload_failures",
            "Times that changed certificates and keys could not be used.",
            value=self._watch.failure_count,
        )


class Metrics:
    """The registry of one server, and the meter of its admin calls.

    Args:
        engine: what is measured.
        more_alarms: those besides the engine's.
        dial_listener: what serves the dial addresses, native or grpcio.
    """

    def __init__(
        self,
        engine: Engine,
        more_alarms: alarms.Alarms = alarms.none,
        dial_listener: str = "native",
    ) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(EngineCollector(engine, more_alarms, dial_listener))
        ProcessCollector(registry=self.registry)
        self._admin_seconds = Histogram(
            "ownerd_admin_call_seconds",
            "How long admin calls took, by rpc and status code.",
            labelnames=("rpc", "code"),
            buckets=_BUCKETS_S,
            registry=self.registry,
        )

    def watch(self, name: str, stats: Callable[[], dict[str, Any]]) -> None:
        """Show what a native listener counts; `stats` is called for each scrape."""
        self.registry.register(ListenerCollector(name, stats))

    def watch_refusals(self, counts: Mapping[str, int]) -> None:
        """Show how many callers were refused, by reason."""
        self.registry.register(RefusalCollector(counts))

    def watch_tls(self, watch: tls.Watch) -> None:
        """Show the certificate in use."""
        self.registry.register(TlsCollector(watch))

    def observe(self, rpc: str, code: str, seconds: float) -> None:
        """Count one admin call."""
        self._admin_seconds.labels(rpc, code).observe(seconds)


def _labeled(
    family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[str, float]
) -> Metric:
    for value, number in values.items():
        family.add_metric([value], number)
    return family
