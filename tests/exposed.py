"""What `/metrics` says, in a shape that tests can compare and people can read."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from prometheus_client.metrics_core import Metric as Family

from exporter.config import Config
from exporter.render import families
from exporter.scan import scan
from exporter.simulator import SimulatedClock, World
from exporter.snapshot import ProjectStatus, Snapshot
from exporter.view import View, view
from tests.builders import FACTS, WorldSource, config, rules

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def seen(world: World, settings: Config | None = None) -> View:
    """What an exporter knows that has polled every project of a world just now."""
    now = world.clock()
    snapshot = Snapshot()
    for project in world.projects:
        found = scan(WorldSource(world), project, now, rules(), None)
        snapshot = snapshot.with_project(ProjectStatus(project).succeeded(found, now - now))
    return view(snapshot, settings or config(), FACTS, now)


def seen_again(world: World, later: timedelta) -> View:
    """What an exporter knows that has polled a world twice, some time apart."""
    snapshot = Snapshot()
    for span in (timedelta(), later):
        assert isinstance(world.clock, SimulatedClock)
        world.clock.advance(span)
        for project in world.projects:
            status = snapshot.projects.get(project) or ProjectStatus(project)
            found = scan(WorldSource(world), project, world.clock(), rules(), status.scan)
            snapshot = snapshot.with_project(status.succeeded(found, timedelta()))
    return view(snapshot, config(), FACTS, world.clock())


def told(ready: Iterable[Family], instance: str) -> list[str]:
    """The series of one instance, a line each: moments as dates, and of a choice only what holds."""
    lines = []
    for family in ready:
        for sample in family.samples:
            labels = dict(sample.labels)
            if labels.pop("instance_id", None) != instance:
                continue
            labels.pop("project_id")
            choice = {"state", "status"} & labels.keys()
            if choice and sample.value == 0:
                continue
            shown = ",".join(labels.values()) if family.name != "cloudsql_backup_instance_info" else ""
            value = _moment(sample.value) if "_timestamp_" in family.name else f"{sample.value:g}"
            name = family.name.removeprefix("cloudsql_backup_") + (f"[{shown}]" if shown else "")
            lines.append(name if choice else f"{name} {value}")
    return lines


def series_of(view: View) -> Series:
    """Every sample of a view, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families(view)
        for sample in family.samples
    }


def _moment(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00").removesuffix(".000") + "Z"
