"""Expositions of simulated worlds: as families, bytes, series and readable lines."""

import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from prometheus_client import exposition as text
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics

from exporter.config import Config, InstanceSelector
from exporter.facts.snapshot import ProjectStatus, Snapshot
from exporter.metrics import catalogue
from exporter.metrics.exposition import OPENMETRICS, Exposition
from exporter.metrics.instrumentation import Instrumentation
from exporter.metrics.metric import Age, Number, number
from exporter.polling.backup_plans import plans_collector
from exporter.polling.collect import Round, collect
from exporter.polling.deleted_instances import deleted_instances_collector
from exporter.polling.recovery_times import RecoveryTimesReader
from exporter.polling.shard import Shard
from exporter.scan.incremental import scan
from exporter.simulator import SimulatedClock, World
from exporter.verdict.evaluate import Evaluation, evaluate
from tests.support.builders import EXPORTER_INFO, WorldSource, config, scan_options

COLLECT = {"user_labels": ["team", "env"], "recovery_times": True, "deleted_instances": True}
ALL_COLLECTIONS = {**COLLECT, "backup_dr": True}
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def families(evaluation: Evaluation, instrumentation: Instrumentation | None = None) -> Iterator[Family]:
    """All metric families as objects of the client library, the reference for the exporter's own rendering."""
    for section in catalogue.sections(evaluation.config.collect.user_labels):
        for metric in section.metrics:
            family = Family(metric.name.removesuffix("_total"), metric.help, metric.type)
            names = section.identity + metric.labels
            for subject in section.subjects(evaluation):
                for sample in metric.read(subject):
                    labels = dict(zip(names, section.identify(subject) + sample.labels, strict=True))
                    family.add_sample(metric.name + sample.suffix, labels, sample_value(evaluation.now, sample.value))
            if family.samples:
                yield family
    if instrumentation:
        yield from instrumentation.registry.collect()


def sample_value(now: datetime, value: Number | Age) -> float:
    """The exposed value of a sample."""
    return number(now - value.since if isinstance(value, Age) else value)


def encode_families(content_type: str, collected: Iterable[Family]) -> bytes:
    """A whole exposition of the families, as the client library encodes it."""

    class Collector:
        def collect(self) -> Iterable[Family]:
            return collected

    write = openmetrics.generate_latest if content_type == OPENMETRICS else text.generate_latest
    return bytes(write(Collector()))


def render_exposition(
    evaluation: Evaluation, content_type: str, instrumentation: Instrumentation | None = None, *, gzip: bool = False
) -> bytes:
    """The exposition of an evaluation, as a scrape receives it."""
    direct_metrics = (instrumentation or Instrumentation(process=False)).exposition
    exposition = Exposition(lambda _before: evaluation, lambda: evaluation.now, direct_metrics)
    body = exposition.body(content_type, gzip=gzip)
    assert body.length == sum(map(len, body.parts))
    return b"".join(body.parts)


def polled(world: World, status: ProjectStatus, settings: Config) -> ProjectStatus:
    """The status of a project after another poll, which selects every instance."""
    source, now = WorldSource(world), world.clock()
    project_scan = scan(source, status.project, now, scan_options(), status.scan)
    collectors = [
        deleted_instances_collector(lambda _project: (InstanceSelector(),), Shard(), lambda *_: None),
        plans_collector(lambda *_: None),
    ]
    enabled = [collector for collector in collectors if collector.collection in settings.collect.collections]
    collected = collect(enabled, Round(source, status, project_scan, now))
    if settings.collect.recovery_times:
        every = settings.collect.recovery_times_every
        reader = RecoveryTimesReader(every, lambda _project: source, world.clock, threading.Event(), unreadable)
        collected = reader.collected(status.project, status.scan, project_scan, collected)
        reader.read_due(lambda _finished, _total: None)
        collected = reader.collected(status.project, project_scan, project_scan, collected)
    return status.succeeded(project_scan, timedelta(), collected)


def evaluate_world(world: World, settings: Config | None = None) -> Evaluation:
    """The evaluation after one poll of every project of a world."""
    settings = settings or config(collect=COLLECT)
    snapshot = Snapshot({name: polled(world, ProjectStatus(name), settings) for name in world.projects})
    return evaluate(snapshot, settings, EXPORTER_INFO, world.clock())


def unreadable(project: str, kind: str, fields: str) -> None:
    """Fail for a response that is not fully readable."""
    raise AssertionError((project, kind, fields))


def evaluate_world_twice(world: World, later: timedelta) -> Evaluation:
    """The evaluation after two polls of every project of a world, `later` apart."""
    snapshot, settings = Snapshot(), config(collect=ALL_COLLECTIONS)
    for elapsed in (timedelta(), later):
        assert isinstance(world.clock, SimulatedClock)
        world.clock.advance(elapsed)
        for project in world.projects:
            status = snapshot.projects.get(project) or ProjectStatus(project)
            snapshot = snapshot.with_project(polled(world, status, settings))
    return evaluate(snapshot, settings, EXPORTER_INFO, world.clock())


def series_lines(collected: Iterable[Family], instance: str) -> list[str]:
    """The series of one instance, one per line: timestamps as dates, and only the current value of an enumeration."""
    lines = []
    for family in collected:
        for sample in family.samples:
            labels = dict(sample.labels)
            if labels.pop("instance_id", None) != instance:
                continue
            labels.pop("project")
            enumeration = family.type == "gauge" and {"state", "status"} & labels.keys()
            if enumeration and sample.value == 0:
                continue
            label_text = ",".join(labels.values()) if family.name != "cloudsql_backup_instance_info" else ""
            value = _date(sample.value) if "_timestamp_" in family.name else f"{sample.value:g}"
            name = sample.name.removeprefix("cloudsql_backup_") + (f"[{label_text}]" if label_text else "")
            lines.append(name if enumeration else f"{name} {value}")
    return lines


def series_of(evaluation: Evaluation) -> Series:
    """Every sample of an evaluation, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families(evaluation)
        for sample in family.samples
    }


def _date(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00").removesuffix(".000") + "Z"
