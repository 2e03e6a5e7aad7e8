"""What can be said at one moment: a snapshot, judged by the policies. Pure; every scrape and page starts from one."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from operator import is_
from typing import TypeVar

from exporter.assess import Assessment, Freshness, assess, holds_through
from exporter.config import Config
from exporter.scan import ProjectScan, Record
from exporter.shard import Shard
from exporter.snapshot import ProjectStatus, SearchStatus, Snapshot

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ExporterFacts:
    """What the exporter says of itself."""

    version: str
    revision: str
    python_version: str
    shard: Shard
    stale_after: timedelta
    requests_per_minute: int
    reload_successful: bool
    reload_succeeded_at: datetime
    state_persistent: bool


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The verdicts on a project's instances by name, and how long they hold: each for itself, and all of them."""

    scan: ProjectScan
    at: datetime
    verdicts: Mapping[str, Assessment]
    through: Mapping[str, datetime]
    all_through: datetime


@dataclass(frozen=True, slots=True)
class View:
    """All verdicts at `now`, sorted by project and instance, beside the state of the polls they rest on.

    What is as it was in the view before is the same object: whoever keeps what follows from it need not look again.
    """

    now: datetime
    config: Config
    assessments: tuple[Assessment, ...]
    records: tuple[Record, ...]
    projects: tuple[ProjectStatus, ...]
    searches: tuple[tuple[str, SearchStatus], ...]
    exporter: ExporterFacts
    judged: Mapping[str, Judged]

    def holds(self, now: datetime) -> bool:
        """Every verdict is still the same at a later moment, by the same facts."""
        return self.now <= now and all(now <= judged.all_through for judged in self.judged.values())

    def read_at(self, verdict: Assessment) -> datetime:
        """When the facts that a verdict rests on were read."""
        return _read_at(self.judged[verdict.instance.id.project].scan, verdict.instance.id.name)


def view(
    snapshot: Snapshot, config: Config, exporter: ExporterFacts, now: datetime, before: View | None = None
) -> View:
    """Judge every instance of a snapshot; where a view from before is given, only what is new or may have changed."""
    kept = before.judged if before and before.config is config else {}
    projects = tuple(snapshot.projects[name] for name in sorted(snapshot.projects))
    judged = {p.project: _judged(p.scan, config, now, kept.get(p.project)) for p in projects if p.scan}
    if before and before.judged == judged:
        assessments, records = before.assessments, before.records
    else:
        assessments = tuple(chain.from_iterable(project.verdicts.values() for project in judged.values()))
        records = tuple(p.scan.records[name] for p in judged.values() for name in p.verdicts)
    searches = tuple(sorted(snapshot.searches.items(), key=lambda search: search[0]))
    if before:
        assessments, records = _same_or(before.assessments, assessments), _same_or(before.records, records)
        projects, searches = _same_or(before.projects, projects), _same_or(before.searches, searches)
    return View(now, config, assessments, records, projects, searches, exporter, judged)


def _same_or(before: tuple[T, ...], after: tuple[T, ...]) -> tuple[T, ...]:
    """What was before, where that is made of the very same objects."""
    return before if len(before) == len(after) and all(map(is_, before, after)) else after


def _judged(scan: ProjectScan, config: Config, now: datetime, before: Judged | None) -> Judged:
    """The same object as before where all verdicts still hold."""
    kept = before if before and before.at <= now else None  # else the clock was set back
    same_facts = kept is not None and kept.scan is scan
    if kept and same_facts and now <= kept.all_through:
        return kept
    verdicts, through = {}, {}
    for name, record in sorted(scan.records.items()):
        known = kept.verdicts.get(name) if kept else None
        if kept and known and same_facts and now <= kept.through[name]:
            verdicts[name], through[name] = known, kept.through[name]
            continue
        policy = known.policy if known and known.instance is record.instance else config.policy_for(record.instance)
        freshness = Freshness(_read_at(scan, name), config.poll.stale_after)
        verdict = assess(record.instance, record.history, policy, now, freshness)
        verdicts[name] = known if known == verdict else verdict
        through[name] = holds_through(record.instance, record.history, policy, now, freshness)
    return Judged(scan, now, verdicts, through, min(through.values(), default=datetime.max.replace(tzinfo=now.tzinfo)))


def _read_at(scan: ProjectScan, name: str) -> datetime:
    return scan.carried.get(name, scan.taken)
