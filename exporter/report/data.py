"""The content of a report: one row for each instance and day, and totals. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from itertools import groupby

from exporter.facts.daily import InstanceDay, ProjectDay
from exporter.state.reader import SavedInstance
from exporter.verdict.rules import WORST_FIRST, Protection
from exporter.web.pages.days import DayKind, day_kind

NOT_OBSERVED = "not observed"
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ReportDay:
    """One instance on one day (UTC); everything but the day is empty where nothing was observed.

    `outcome` is the worst of the day's runs, as a word in lower case, or `none`. `within_policy` is also None while the
    instance is exempt. `kind` is what the calendar shows.
    """

    day: date
    state: str = NOT_OBSERVED
    observed_share: float | None = None
    due: int | None = None
    outcome: str | None = None
    worst_age_seconds: int | None = None
    within_policy: bool | None = None
    kind: DayKind = DayKind.NOT_OBSERVED

    @property
    def observed(self) -> bool:
        """Whether the instance was observed on the day, however short."""
        return self.observed_share is not None


@dataclass(frozen=True, slots=True)
class Totals:
    """Days on which a policy applied and that were observed, and those of them on which it was met."""

    days_observed: int
    days_within_policy: int

    @property
    def days_missed(self) -> int:
        """Observed days on which the policy was not met."""
        return self.days_observed - self.days_within_policy

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(self.days_observed + other.days_observed, self.days_within_policy + other.days_within_policy)


@dataclass(frozen=True)
class ReportInstance:
    """An instance with every day of the period.

    `created` is the day on which it was created, if that is known; `first_seen` is the first one on which it was
    observed, `last_seen` the last one, if it is gone since: neither need be in the period. `project_days` are the days
    of the period on which its project was read, `project_since` is the first recorded one of all.
    """

    project: str
    instance_id: str
    days: Sequence[ReportDay]
    created: date | None = None
    last_seen: date | None = None
    first_seen: date | None = None
    project_since: date | None = None
    project_days: frozenset[date] = frozenset()

    @cached_property
    def totals(self) -> Totals:
        """The number of days; days on which the instance was exempt or not observed count in neither."""
        judged = [day.within_policy for day in self.days if day.within_policy is not None]
        return Totals(len(judged), sum(judged))


@dataclass(frozen=True)
class Report:
    """A report on the days from `first` to `last`, both included; instances are sorted by project and name.

    `unread` are projects that are known, but of which nothing was ever read.
    """

    first: date
    last: date
    generated_at: datetime
    version: str
    instances: Sequence[ReportInstance]
    unread: Sequence[str] = ()

    @property
    def today(self) -> date:
        """The day on which the report is made; it is not over."""
        return self.generated_at.date()

    @cached_property
    def projects(self) -> Mapping[str, Totals]:
        """The totals of each project."""
        by_project = groupby(self.instances, key=lambda instance: instance.project)
        return {project: _sum(instance.totals for instance in instances) for project, instances in by_project}

    @cached_property
    def fleet(self) -> Totals:
        """The totals of all instances."""
        return _sum(self.projects.values())


@dataclass(frozen=True, slots=True)
class Period:
    """The days of a report, and the time at which it is made."""

    first: date
    last: date
    now: datetime

    def days(self) -> list[date]:
        """Every day."""
        return [self.first + number * DAY for number in range((self.last - self.first).days + 1)]


def report(
    folders: Iterable[Sequence[SavedInstance]], period: Period, version: str, unread: Iterable[str] = ()
) -> Report:
    """The report on what one or more state folders contain.

    Several folders are those of shards: where an instance moved from one to another, each has a part of its days. The
    worst state, the largest age and a missed policy count; shares add up, since a shard observes what others do not.
    """
    by_name: dict[tuple[str, str], list[SavedInstance]] = {}
    for instances in folders:
        for instance in instances:
            by_name.setdefault((instance.project, instance.name), []).append(instance)
    found = (_instance(by_name[key], period) for key in sorted(by_name))
    return Report(
        period.first, period.last, period.now, version, [instance for instance in found if instance], sorted(unread)
    )


def _instance(saved: Sequence[SavedInstance], period: Period) -> ReportInstance | None:
    """One instance; None if it was created after the period.

    Its project was read where each folder with the instance says so: another shard may have read other instances.
    """
    saved = sorted(saved, key=_last_observed)  # what was known last wins
    created = next((instance.created.date() for instance in reversed(saved) if instance.created), None)
    recorded = sorted((part for instance in saved for part in instance.days), key=lambda part: part[0].observed_until)
    first_seen = min((instance.first_day for instance in saved if instance.first_day), default=None)
    if created and created > period.last and not (first_seen and first_seen <= period.last):
        return None
    parts: dict[date, list[ReportDay]] = {}
    for project, instance_day in recorded:
        parts.setdefault(project.day, []).append(_day(project, instance_day, period.now))
    gone = not any(instance.present for instance in saved)
    last_seen = max((instance.last_day for instance in saved if instance.last_day), default=None)
    return ReportInstance(
        project=saved[0].project,
        instance_id=saved[0].name,
        days=[_merged(parts[day]) if day in parts else ReportDay(day) for day in period.days()],
        created=created,
        last_seen=last_seen if gone else None,
        first_seen=first_seen,
        project_since=min((instance.project_since for instance in saved if instance.project_since), default=None),
        project_days=frozenset.intersection(*(instance.project_days for instance in saved)),
    )


def _last_observed(instance: SavedInstance) -> float:
    """When an instance was last observed in the period, in Unix seconds; 0 where it was not."""
    return instance.days[-1][0].observed_until.timestamp() if instance.days else 0.0


def _day(project: ProjectDay, recorded: InstanceDay, now: datetime) -> ReportDay:
    return ReportDay(
        day=project.day,
        state=recorded.state,
        observed_share=round(project.share(recorded), 3),
        due=project.due(recorded, now),
        outcome=recorded.outcome.lower() if recorded.outcome else "none",
        worst_age_seconds=project.worst_age(recorded),
        within_policy=recorded.within_policy,
        kind=day_kind(project, recorded, recorded.outcome, now.date()),
    )


def _merged(days: Sequence[ReportDay]) -> ReportDay:
    """A day of which several folders have a part, the one that was observed last at the end."""
    if len(days) == 1:
        return days[0]
    judged = [day.within_policy for day in days if day.within_policy is not None]
    with_run = next((day for day in reversed(days) if day.outcome != "none"), days[-1])
    return ReportDay(
        day=days[0].day,
        state=min((Protection(day.state) for day in days), key=WORST_FIRST.index),
        observed_share=round(min(1.0, sum(day.observed_share or 0 for day in days)), 3),
        due=max(day.due or 0 for day in days),
        outcome=with_run.outcome,
        worst_age_seconds=max(
            (day.worst_age_seconds for day in days if day.worst_age_seconds is not None), default=None
        ),
        within_policy=all(judged) if judged else None,
        kind=with_run.kind,
    )


def _sum(totals: Iterable[Totals]) -> Totals:
    return sum(totals, Totals(0, 0))
