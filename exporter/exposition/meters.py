"""What the exporter counts of its own work, since the process began."""

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from exporter import catalogue
from exporter.exposition.formats import written
from exporter.metric import Meter


class Meters:
    """Counters and a histogram by the client library, and what it says of the process. Safe to share."""

    def __init__(self, *, process: bool = True) -> None:
        """With `process` False the metrics about the process itself are left out: they belong to whoever serves."""
        disable_created_metrics()
        self.registry = CollectorRegistry()
        self._requests = self._counter(catalogue.API_REQUESTS)
        self._retries = self._counter(catalogue.API_RETRIES)
        self._unreadable = self._counter(catalogue.UNREADABLE_ITEMS)
        duration = catalogue.API_REQUEST_DURATION
        self._durations = Histogram(
            duration.name, duration.help, duration.labels, buckets=duration.buckets, registry=self.registry
        )
        for kind in ("instance", "backup_run"):
            self._unreadable.labels(kind)
        for method in catalogue.API_METHODS:
            self._retries.labels(method)
        if process:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)

    def request(self, method: str, code: str, seconds: float) -> None:
        """Count one request to the API."""
        self._requests.labels(method, code).inc()
        self._durations.labels(method).observe(seconds)

    def retry(self, method: str) -> None:
        """Count one request that is made again."""
        self._retries.labels(method).inc()

    def unreadable(self, kind: str) -> None:
        """Count one item that could not be read in whole."""
        self._unreadable.labels(kind).inc()

    def exposition(self, content_type: str) -> bytes:
        """What was counted until now, as the client library writes it."""
        return written(content_type, self.registry.collect())

    def _counter(self, meter: Meter) -> Counter:
        return Counter(meter.name, meter.help, meter.labels, registry=self.registry)
