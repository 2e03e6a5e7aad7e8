"""What can be said at one moment: a snapshot, judged by the policies. Pure; every scrape and page starts from one."""

from dataclasses import dataclass
from datetime import datetime

from exporter.assess import Assessment, assess
from exporter.config import Config
from exporter.snapshot import ProjectStatus, SearchStatus, Snapshot


@dataclass(frozen=True, slots=True)
class ExporterFacts:
    """What the exporter says of itself."""

    version: str
    revision: str
    python_version: str
    reload_successful: bool
    reload_succeeded_at: datetime


@dataclass(frozen=True, slots=True)
class View:
    """All verdicts at `now`, sorted by project and instance, beside the state of the polls they rest on."""

    now: datetime
    assessments: tuple[Assessment, ...]
    projects: tuple[ProjectStatus, ...]
    searches: tuple[tuple[str, SearchStatus], ...]
    exporter: ExporterFacts


def view(snapshot: Snapshot, config: Config, exporter: ExporterFacts, now: datetime) -> View:
    """Judge every instance of a snapshot."""
    projects = tuple(snapshot.projects[name] for name in sorted(snapshot.projects))
    return View(
        now=now,
        assessments=tuple(verdict for project in projects for verdict in _verdicts(project, config, now)),
        projects=projects,
        searches=tuple(sorted(snapshot.searches.items())),
        exporter=exporter,
    )


def _verdicts(project: ProjectStatus, config: Config, now: datetime) -> list[Assessment]:
    scan = project.scan
    if scan is None:
        return []
    expired = now - scan.taken > config.poll.stale_after
    return [
        assess(instance, scan.histories[name], config.policy_for(instance), now, facts_expired=expired)
        for name, instance in sorted(scan.instances.items())
    ]
