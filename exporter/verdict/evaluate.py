"""Evaluation of a snapshot: all verdicts at one time. Pure. Scrapes and pages are made from it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from operator import is_
from types import MappingProxyType
from typing import TypeVar

from exporter.config import Config
from exporter.facts.backup_plans import UNREAD
from exporter.facts.collected import Collected, InstanceFacts
from exporter.facts.deleted_instances import DeletedInstance
from exporter.facts.exporter_info import ExporterInfo
from exporter.facts.model import Instance
from exporter.facts.record import ProjectScan, Record
from exporter.facts.snapshot import ProjectStatus, SearchStatus, Snapshot
from exporter.verdict.assess import Freshness, Verdict, assess, valid_until
from exporter.verdict.rules import Protection

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class ProjectVerdicts:
    """The verdicts on a project's instances by name, and until when they are valid.

    `valid_until` is the time up to which each stays the same, by the facts it rests on or by later ones that say the
    same; it has passed if one of these times lies between `evaluated_at` and when the facts were read. Up to
    `all_valid_until` none changes by the same facts.
    """

    scan: ProjectScan
    collected: Collected
    evaluated_at: datetime
    verdicts: Mapping[str, Verdict]
    valid_until: Mapping[str, datetime]
    all_valid_until: datetime

    def facts_read_at(self, instance_name: str) -> datetime:
        """When the facts that the verdict on an instance rests on were read, the oldest of them."""
        return _facts_read_at(self.scan, self.collected, instance_name, self.verdicts[instance_name].collected)

    def rests_on(self, scan: ProjectScan | None, collected: Collected) -> bool:
        """Whether these are the verdicts by exactly these facts."""
        return self.scan is scan and self.collected is collected


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All verdicts at `now`, sorted by project and instance, with the status of the polls they rest on.

    Unchanged parts are the same objects as in the evaluation before, so that caches can compare with `is`.
    """

    now: datetime
    config: Config
    verdicts: tuple[Verdict, ...]
    records: tuple[Record, ...]
    projects: tuple[ProjectStatus, ...]
    searches: tuple[tuple[str, SearchStatus], ...]
    exporter: ExporterInfo
    by_project: Mapping[str, ProjectVerdicts]

    @property
    def deleted_instances(self) -> tuple[DeletedInstance, ...]:
        """The deleted instances of which backups are left, sorted by project, name and time of deletion."""
        return tuple(chain.from_iterable(status.collected.deleted_instances for status in self.projects))

    def is_current(self, now: datetime) -> bool:
        """Whether every verdict is still the same at a later time, by the same facts."""
        return self.now <= now and all(now <= project.all_valid_until for project in self.by_project.values())

    def facts_read_at(self, verdict: Verdict) -> datetime:
        """When the facts that a verdict rests on were read."""
        return self.by_project[verdict.instance.id.project].facts_read_at(verdict.instance.id.name)


def evaluate(
    snapshot: Snapshot,
    config: Config,
    exporter: ExporterInfo,
    now: datetime,
    before: Evaluation | None = None,
    latest: Mapping[str, ProjectVerdicts] = MappingProxyType({}),
) -> Evaluation:
    """Assess every instance of a snapshot; with an earlier evaluation, only those whose verdict may have changed.

    `latest` are the verdicts after the last poll of each project, by the same configuration.
    """
    cached = before.by_project if before and before.config is config else {}
    projects = tuple(snapshot.projects[name] for name in sorted(snapshot.projects))

    def known(status: ProjectStatus) -> ProjectVerdicts | None:
        candidates = [cached.get(status.project), latest.get(status.project)]
        current = (found for found in candidates if found and found.rests_on(status.scan, status.collected))
        return next(current, candidates[0])

    by_project = {p.project: project_verdicts(p.scan, p.collected, config, now, known(p)) for p in projects if p.scan}
    searches = tuple(sorted(snapshot.searches.items(), key=lambda search: search[0]))
    if before and _same_instances(before.by_project, by_project):
        verdicts, records = before.verdicts, before.records
    else:
        verdicts = tuple(chain.from_iterable(project.verdicts.values() for project in by_project.values()))
        records = tuple(p.scan.records[name] for p in by_project.values() for name in p.verdicts)
    if before:
        projects, searches = _same_or_new(before.projects, projects), _same_or_new(before.searches, searches)
    return Evaluation(now, config, verdicts, records, projects, searches, exporter, by_project)


def _same_instances(before: Mapping[str, ProjectVerdicts], after: Mapping[str, ProjectVerdicts]) -> bool:
    """Whether all projects have the same verdicts and records. No instance is looked at: there may be many."""
    return before.keys() == after.keys() and all(
        known.verdicts is found.verdicts and known.scan.records is found.scan.records
        for known, found in ((before[name], after[name]) for name in after)
    )


def _same_or_new(before: tuple[T, ...], after: tuple[T, ...]) -> tuple[T, ...]:
    """The tuple from before, if it consists of the same objects."""
    return before if _are_same(before, after) else after


def _are_same(before: Collection[object], after: Collection[object]) -> bool:
    return len(before) == len(after) and all(map(is_, before, after))


def project_verdicts(
    scan: ProjectScan, collected: Collected, config: Config, now: datetime, before: ProjectVerdicts | None
) -> ProjectVerdicts:
    """The verdicts on a project's instances; the same object as before where all of them are still valid."""
    cached = before if before and before.evaluated_at <= now else None  # else the clock was set back
    if cached and cached.rests_on(scan, collected) and now <= cached.all_valid_until:
        return cached
    verdicts: dict[str, Verdict] = {}
    until: dict[str, datetime] = {}
    changes = [datetime.max.replace(tzinfo=now.tzinfo)]  # the next possible one of each verdict, by the same facts
    for name, record in sorted(scan.records.items()):
        facts = _instance_facts(collected, record.instance, config)
        read_at = _facts_read_at(scan, collected, name, facts)
        expiry = read_at + config.poll.stale_after
        known = cached.verdicts.get(name) if cached else None
        if (
            cached
            and known
            and known.instance is record.instance
            and known.history is record.history
            and known.collected == facts
            and cached.facts_read_at(name) <= read_at
            and now <= cached.valid_until[name]
            and (known.state is Protection.UNKNOWN) is (now > expiry)
        ):
            verdicts[name], until[name] = known, cached.valid_until[name]
        else:
            policy = known.policy if known and known.instance is record.instance else config.policy_for(record.instance)
            freshness = Freshness(read_at, config.poll.stale_after)
            verdict = assess(record.instance, record.history, policy, now, freshness, facts)
            verdicts[name] = known if known == verdict else verdict
            until[name] = valid_until(verdict, min(now, read_at))
        changes.append(until[name] if now <= until[name] else valid_until(verdicts[name], now))
        if now <= expiry:
            changes.append(expiry)
    same = cached.verdicts if cached and _are_same(cached.verdicts.values(), verdicts.values()) else verdicts
    return ProjectVerdicts(scan, collected, now, same, until, min(changes))


def _instance_facts(collected: Collected, instance: Instance, config: Config) -> InstanceFacts:
    """The facts by which an instance is judged; a backup plan where it has one, and plans are collected."""
    facts = collected.of(instance.id.name)
    plan = (facts.plan or UNREAD) if config.collect.backup_dr and instance.has_backup_plan else None
    return facts if plan is facts.plan else replace(facts, plan=plan)


def _facts_read_at(scan: ProjectScan, collected: Collected, name: str, facts: InstanceFacts) -> datetime:
    """When facts were read: the instance and its runs or, if it is judged by a plan, that if it was read earlier."""
    read_at = scan.facts_read_at(name)
    plan_read_at = collected.plans.facts_read_at(name) if collected.plans and facts.plan else None
    return min(read_at, plan_read_at) if plan_read_at else read_at
