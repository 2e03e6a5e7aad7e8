"""What `/metrics` says, in a shape that tests can compare and people can read."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from prometheus_client import exposition
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics

from exporter.config import Config
from exporter.facts.snapshot import ProjectStatus, Snapshot
from exporter.metrics import catalogue
from exporter.metrics.exposition import OPENMETRICS, Exposition
from exporter.metrics.instrumentation import Instrumentation
from exporter.scan.incremental import scan
from exporter.simulator import SimulatedClock, World
from exporter.verdict.evaluate import Evaluation, evaluate
from tests.support.builders import EXPORTER_INFO, WorldSource, config, scan_options

LABELS = {"user_labels": ["team", "env"]}
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def families(view: Evaluation, meters: Instrumentation | None = None) -> Iterator[Family]:
    """Every family of an exposition, as the client library is to write it: what our own writing is held against."""
    for section in catalogue.sections(view.config.collect.user_labels):
        for metric in section.metrics:
            family = Family(metric.name.removesuffix("_total"), metric.help, metric.type)
            names = section.identity + metric.labels
            for subject in section.subjects(view):
                for sample in metric.read(subject):
                    labels = dict(zip(names, section.identify(subject) + sample.labels, strict=True))
                    family.add_sample(metric.name + sample.suffix, labels, told_at(view.now, sample.value))
            if family.samples:
                yield family
    if meters:
        yield from meters.registry.collect()


def told_at(now: datetime, value: float | datetime) -> float:
    """A sample's value: a moment stands for the time since."""
    return (now - value).total_seconds() if isinstance(value, datetime) else value


def written(content_type: str, ready: Iterable[Family]) -> bytes:
    """Families, written by the client library."""

    class Collected:
        def collect(self) -> Iterable[Family]:
            return ready

    write = openmetrics.generate_latest if content_type == OPENMETRICS else exposition.generate_latest
    return bytes(write(Collected()))


def exposed(view: Evaluation, content_type: str, meters: Instrumentation | None = None, *, gzip: bool = False) -> bytes:
    """The exposition of a view, as a scrape gets it."""
    body = Exposition(
        lambda _before: view, lambda: view.now, (meters or Instrumentation(process=False)).exposition
    ).body(content_type, gzip=gzip)
    assert body.length == sum(map(len, body.parts))
    return b"".join(body.parts)


def seen(world: World, settings: Config | None = None) -> Evaluation:
    """What an exporter knows that has polled every project of a world just now."""
    now = world.clock()
    snapshot = Snapshot()
    for project in world.projects:
        found = scan(WorldSource(world), project, now, scan_options(), None)
        snapshot = snapshot.with_project(ProjectStatus(project).succeeded(found, now - now))
    return evaluate(snapshot, settings or config(collect=LABELS), EXPORTER_INFO, now)


def seen_again(world: World, later: timedelta) -> Evaluation:
    """What an exporter knows that has polled a world twice, some time apart."""
    snapshot = Snapshot()
    for span in (timedelta(), later):
        assert isinstance(world.clock, SimulatedClock)
        world.clock.advance(span)
        for project in world.projects:
            status = snapshot.projects.get(project) or ProjectStatus(project)
            found = scan(WorldSource(world), project, world.clock(), scan_options(), status.scan)
            snapshot = snapshot.with_project(status.succeeded(found, timedelta()))
    return evaluate(snapshot, config(collect=LABELS), EXPORTER_INFO, world.clock())


def told(ready: Iterable[Family], instance: str) -> list[str]:
    """The series of one instance, one per line: timestamps as dates, and of an enumeration only the current value."""
    lines = []
    for family in ready:
        for sample in family.samples:
            labels = dict(sample.labels)
            if labels.pop("instance_id", None) != instance:
                continue
            labels.pop("project")
            choice = family.type == "gauge" and {"state", "status"} & labels.keys()
            if choice and sample.value == 0:
                continue
            shown = ",".join(labels.values()) if family.name != "cloudsql_backup_instance_info" else ""
            value = _moment(sample.value) if "_timestamp_" in family.name else f"{sample.value:g}"
            name = sample.name.removeprefix("cloudsql_backup_") + (f"[{shown}]" if shown else "")
            lines.append(name if choice else f"{name} {value}")
    return lines


def series_of(view: Evaluation) -> Series:
    """Every sample of a view, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families(view)
        for sample in family.samples
    }


def _moment(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00").removesuffix(".000") + "Z"
