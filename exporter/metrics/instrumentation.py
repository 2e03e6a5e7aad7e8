"""Instrumentation of the exporter: metrics that are updated directly, since the start of the process."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from exporter.metrics import catalogue
from exporter.metrics.exposition.lines import render_families
from exporter.metrics.metric import DirectMetric

PROCESS_METRICS_AGE = 1.0  # seconds for which process metrics are reused: reading them takes longer than a small scrape


@dataclass(frozen=True, slots=True)
class MethodStatistics:
    """Requests of one API method since the start: their number by HTTP status or result, retries, and duration."""

    method: str
    requests: Mapping[str, int]
    retries: int
    total_duration: timedelta


class Instrumentation:
    """Counters, a histogram, and the process metrics of the client library. Safe to share between threads."""

    def __init__(self, *, process: bool = True) -> None:
        """Without `process`, metrics about the process itself are left out, as for a short-lived command."""
        disable_created_metrics()
        self.registry = CollectorRegistry()
        self._rendered: dict[str, bytes] = {}  # by content type; replaced on every change
        self._rendered_process: dict[str, tuple[float, bytes]] = {}  # by content type, with the monotonic time
        self._requests = self._counter(catalogue.API_REQUESTS)
        self._retries = self._counter(catalogue.API_RETRIES)
        self._unreadable = self._counter(catalogue.UNREADABLE_ITEMS)
        duration = catalogue.API_REQUEST_DURATION
        self._durations = Histogram(
            duration.name, duration.help, duration.labels, buckets=duration.buckets, registry=self.registry
        )
        for kind in ("instance", "backup_run", "backup"):
            self._unreadable.labels(kind)
        for method in catalogue.API_METHODS:
            self._retries.labels(method)
        self._process_registry = CollectorRegistry()
        if process:
            for collector in (ProcessCollector, PlatformCollector, GCCollector):
                collector(registry=self._process_registry)

    def request(self, method: str, code: str, seconds: float) -> None:
        """Count one request to the API."""
        self._requests.labels(method, code).inc()
        self._durations.labels(method).observe(seconds)
        self._rendered = {}

    def retry(self, method: str) -> None:
        """Count one retried request."""
        self._retries.labels(method).inc()
        self._rendered = {}

    def unreadable(self, kind: str) -> None:
        """Count one item that is not fully readable."""
        self._unreadable.labels(kind).inc()
        self._rendered = {}

    def methods(self) -> list[MethodStatistics]:
        """Statistics of each API method that was requested."""
        requests: dict[str, dict[str, int]] = {}
        for labels, value in _samples(self._requests, "_total"):
            requests.setdefault(labels["method"], {})[labels["code"]] = int(value)
        retries = {labels["method"]: int(value) for labels, value in _samples(self._retries, "_total")}
        seconds = {labels["method"]: value for labels, value in _samples(self._durations, "_sum")}
        return [
            MethodStatistics(
                method, dict(sorted(codes.items())), retries.get(method, 0), timedelta(seconds=seconds.get(method, 0.0))
            )
            for method, codes in sorted(requests.items())
        ]

    def unreadable_items(self) -> dict[str, int]:
        """The number of items that were not fully readable, by kind."""
        return {labels["kind"]: int(value) for labels, value in _samples(self._unreadable, "_total")}

    def exposition(self, content_type: str) -> bytes:
        """The exposition of these metrics."""
        rendered = self._rendered  # a change during rendering replaces it, so no outdated result is stored
        if content_type not in rendered:
            rendered[content_type] = render_families(content_type, self.registry.collect())
        return rendered[content_type] + self._process_exposition(content_type)

    def _process_exposition(self, content_type: str) -> bytes:
        now = time.monotonic()
        rendered_at, rendered = self._rendered_process.get(content_type, (-PROCESS_METRICS_AGE, b""))
        if now - rendered_at >= PROCESS_METRICS_AGE:
            rendered = render_families(content_type, self._process_registry.collect())
            self._rendered_process[content_type] = now, rendered
        return rendered

    def _counter(self, metric: DirectMetric) -> Counter:
        return Counter(metric.name, metric.help, metric.labels, registry=self.registry)


def _samples(collector: Counter | Histogram, suffix: str) -> Iterator[tuple[Mapping[str, str], float]]:
    """The labels and values of the samples whose names end with a suffix."""
    for family in collector.collect():
        for sample in family.samples:
            if sample.name.endswith(suffix):
                yield sample.labels, sample.value
