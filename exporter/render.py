"""Catalogue + view -> exposition bytes, in the format that the scraper asks for."""

from collections.abc import Iterable, Iterator
from itertools import chain

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, exposition
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from exporter import catalogue
from exporter.metric import Meter, Section
from exporter.view import View

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Meters:
    """What the exporter counts of its own work, since the process began."""

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

    def _counter(self, meter: Meter) -> Counter:
        return Counter(meter.name, meter.help, meter.labels, registry=self.registry)


def families(view: View, user_labels: tuple[str, ...] = ()) -> Iterator[Family]:
    """Every family that has samples in a view, in the order of the catalogue."""
    for section in catalogue.sections(user_labels):
        subjects = list(section.subjects(view))
        yield from _section_families(section, subjects)


def _section_families(section: Section[object], subjects: list[object]) -> Iterator[Family]:
    for metric in section.metrics:
        family = Family(metric.name.removesuffix("_total"), metric.help, metric.type)
        names = section.identity + metric.labels
        for subject in subjects:
            identity = section.identify(subject)
            for sample in metric.read(subject):
                labels = dict(zip(names, identity + sample.labels, strict=True))
                family.add_sample(metric.name + sample.suffix, labels, sample.value)
        if family.samples:
            yield family


def exposition_type(accept: str) -> str:
    """The content type an Accept header asks for: OpenMetrics where that is wanted at least as much as plain text."""
    quality = dict.fromkeys(("application/openmetrics-text", "text/plain"), 0.0)
    for part in accept.lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        if kind in quality:
            quality[kind] = max(quality[kind], _quality(parameters))
    openmetrics_wanted = quality["application/openmetrics-text"]
    return OPENMETRICS if openmetrics_wanted and openmetrics_wanted >= quality["text/plain"] else TEXT


def _quality(parameters: list[str]) -> float:
    given = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
    try:
        return float(given)
    except ValueError:
        return 0.0


def exposition_bytes(content_type: str, families: Iterable[Family], meters: Meters) -> bytes:
    """The whole exposition: what the view says, then what the exporter counted of its own work."""
    write = openmetrics.generate_latest if content_type == OPENMETRICS else exposition.generate_latest
    return bytes(write(_Collected(chain(families, meters.registry.collect()))))


class _Collected:
    """Families that stand ready, in the shape the writers take."""

    def __init__(self, ready: Iterable[Family]) -> None:
        self._ready = ready

    def collect(self) -> Iterable[Family]:
        return self._ready
