"""What can be said at one moment: a snapshot, judged by the policies. Pure; every scrape and page starts from one."""

from dataclasses import dataclass
from datetime import datetime

from exporter.assess import Assessment, Freshness, assess
from exporter.config import Config
from exporter.scan import Record
from exporter.snapshot import ProjectStatus, SearchStatus, Snapshot


@dataclass(frozen=True, slots=True)
class ExporterFacts:
    """What the exporter says of itself."""

    version: str
    revision: str
    python_version: str
    reload_successful: bool
    reload_succeeded_at: datetime
    state_persistent: bool


@dataclass(frozen=True, slots=True)
class View:
    """All verdicts at `now`, sorted by project and instance, beside the state of the polls they rest on."""

    now: datetime
    assessments: tuple[Assessment, ...]
    records: tuple[Record, ...]
    projects: tuple[ProjectStatus, ...]
    searches: tuple[tuple[str, SearchStatus], ...]
    exporter: ExporterFacts


def view(snapshot: Snapshot, config: Config, exporter: ExporterFacts, now: datetime) -> View:
    """Judge every instance of a snapshot."""
    projects = tuple(snapshot.projects[name] for name in sorted(snapshot.projects))
    return View(
        now=now,
        assessments=tuple(verdict for project in projects for verdict in _verdicts(project, config, now)),
        records=tuple(r for p in projects if p.scan for _, r in sorted(p.scan.records.items())),
        projects=projects,
        searches=tuple(sorted(snapshot.searches.items())),
        exporter=exporter,
    )


def _verdicts(project: ProjectStatus, config: Config, now: datetime) -> list[Assessment]:
    scan = project.scan
    if scan is None:
        return []
    verdicts = []
    for name, record in sorted(scan.records.items()):
        freshness = Freshness(scan.carried.get(name, scan.taken), config.poll.stale_after)
        policy = config.policy_for(record.instance)
        verdicts.append(assess(record.instance, record.history, policy, now, freshness))
    return verdicts
