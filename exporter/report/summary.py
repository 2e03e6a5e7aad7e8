"""What a report says in short, for people: which databases missed their objective, when and why, what was not observed.

Pure.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby, takewhile
from math import floor
from typing import TypeVar

from exporter.config import format_duration
from exporter.report.data import DAY, Report, ReportDay, ReportInstance
from exporter.report.unobserved import GAPS, reason
from exporter.verdict.rules import Protection
from exporter.web.pages.days import DayKind

T = TypeVar("T")

NEARLY_WHOLE = 0.99  # the share of a day up to which it is listed as observed in part
DAYS_OF_CAUSE = 3  # days before the first that was missed in which the cause may lie

_NO_CAUSE = (DayKind.SUCCESSFUL, DayKind.SKIPPED, DayKind.EXEMPT)
_CAUSES: Mapping[DayKind, str] = {
    DayKind.FAILED: "the backup failed",
    DayKind.OVERDUE: "the backup did not run in its window",
    DayKind.UNKNOWN: "the result of the backup is not known",
    DayKind.IN_PROGRESS: "the backup did not end",
    DayKind.NO_RUN: "no backup ran",
    DayKind.PENDING: "no backup had run yet",
    DayKind.NOT_OBSERVED: "no backup is known, and not all of the day was observed",
}


@dataclass(frozen=True, slots=True)
class Period:
    """Consecutive days, and what is to be said about them."""

    days: str
    number: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A database and some of its days."""

    instance: ReportInstance
    periods: Sequence[Period]


@dataclass(frozen=True, slots=True)
class Gap:
    """Days that were not observed, or only in part, and the databases of which this holds, by project.

    The text of the period is the reason, or the share that was observed.
    """

    period: Period
    all_databases: bool
    names: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Summary:
    """A report in short.

    Only databases to which a policy applied on an observed day are `judged`. `unprotected` were so on days on which
    they met their objective, for example since their key was revoked. `exempt` were so on every observed day,
    `exempt_days` are those of all databases. `gone` were there at the beginning of the period.
    """

    judged: int
    met: int
    missed: Sequence[Entry]
    unprotected: Sequence[Entry]
    exempt: Sequence[ReportInstance]
    exempt_days: Sequence[Entry]
    not_observed: Sequence[ReportInstance]
    gone: Sequence[ReportInstance]
    gaps: Sequence[Gap]
    partial: Sequence[Gap]


def summary(report: Report) -> Summary:
    """A report in short."""
    judged = [instance for instance in report.instances if instance.totals.days_observed]
    missed = [Entry(instance, missed_periods(instance)) for instance in judged if instance.totals.days_missed]
    others = [instance for instance in report.instances if not instance.totals.days_observed]
    return Summary(
        judged=len(judged),
        met=len(judged) - len(missed),
        missed=missed,
        unprotected=[Entry(instance, periods) for instance in judged if (periods := _unprotected(instance))],
        exempt=[instance for instance in others if any(day.observed for day in instance.days)],
        exempt_days=[Entry(instance, periods) for instance in report.instances if (periods := _exempt(instance))],
        not_observed=[instance for instance in others if not any(day.observed for day in instance.days)],
        gone=[instance for instance in report.instances if instance.last_seen],
        gaps=_gaps(report, lambda _instance, _day, reason: reason),
        partial=_gaps(report, lambda instance, day, _reason: _share_of_part(instance, day, report.today)),
    )


def missed_periods(instance: ReportInstance) -> list[Period]:
    """The days on which a database missed its objective, and why; consecutive ones together."""
    positions = [position for position, day in enumerate(instance.days) if day.within_policy is False]
    return [
        Period(
            days_text([instance.days[position].day for position in period]),
            len(period),
            _reason(instance.days, period[0], period[-1] + 1),
        )
        for period in _consecutive(positions, lambda position: instance.days[position].day)
    ]


def days_text(days: Sequence[date]) -> str:
    """Consecutive days."""
    return f"{days[0]}" if len(days) == 1 else f"{days[0]} to {days[-1]}"


def percent(share: float | None) -> str:
    """A share in percent, with a decimal; not rounded up."""
    return "" if share is None else f"{floor(share * 1000 + 1e-6) / 10:.1f} %"


def at_most(seconds: int) -> str:
    """A duration in up to two units, rounded up: it is never longer than the text says."""
    unit = 3600 if seconds > 86400 else 60 if seconds > 3600 else 1
    return format_duration(timedelta(seconds=-(-seconds // unit) * unit))


def _reason(days: Sequence[ReportDay], start: int, end: int) -> str:
    """Why the objective was missed on the days from one position up to another: the runs, and what would be lost."""
    missed = days[start:end]
    unread = [day for day in missed if day.state == Protection.UNKNOWN]
    parts = [f"the exporter could not read the backups{_on(unread, missed)}"] if unread else []
    if len(unread) < len(missed):
        parts += _causes(days, start, end)
        ages = [day.worst_age_seconds for day in missed if day.worst_age_seconds is not None]
        if ages:
            parts.append(f"a restore would have lost up to {at_most(max(ages))} of changes")
        nothing = [day for day in missed if day.worst_age_seconds is None]
        if nothing:
            parts.append(f"nothing could be restored{_on(nothing, missed)}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _causes(days: Sequence[ReportDay], start: int, end: int) -> Iterator[str]:
    """The days without a good run, from shortly before the first that was missed, and the run that ended this."""
    before = takewhile(lambda day: day.kind not in _NO_CAUSE, reversed(days[max(0, start - DAYS_OF_CAUSE) : start]))
    candidates = [*reversed(list(before)), *days[start:end]]
    causes = [day for day in candidates if day.kind not in _NO_CAUSE]
    causes = [day for day in causes if day.observed] or causes
    for cause, group in groupby(causes, key=_cause):
        yield f"{cause}{_on(list(group), ())}"
    good = [day for day in days[start:end] if day.kind is DayKind.SUCCESSFUL]
    after = [day for day in good if not causes or day.day > causes[-1].day]
    if after:
        yield f"the backup of {_short(after[0].day)} succeeded" + ("" if causes else ", later than the policy allows")


def _cause(day: ReportDay) -> str:
    if not day.observed:
        return "nothing was observed"
    if day.kind is DayKind.NO_RUN and not day.due:  # the record does not tell why, for example backups are off
        return "no backup ran, and none was due"
    return _CAUSES[day.kind]


def _on(some: Sequence[ReportDay], days: Sequence[ReportDay]) -> str:
    """The dates of some of the days; empty if they are all of them."""
    if len(some) == len(days):
        return ""
    periods = _consecutive(some, lambda day: day.day)
    return " on " + ", ".join(
        _short(period[0].day) + (f" to {_short(period[-1].day)}" if period[1:] else "") for period in periods
    )


def _short(day: date) -> str:
    return f"{day:%b} {day.day}"


def _unprotected(instance: ReportInstance) -> list[Period]:
    return _periods(day.day for day in instance.days if day.within_policy and day.state == Protection.UNPROTECTED)


def _exempt(instance: ReportInstance) -> list[Period]:
    """The days on which a database was exempt; a single period if it was exempt on every observed day."""
    observed = [day for day in instance.days if day.observed]
    exempt = [day.day for day in observed if day.within_policy is None]
    if exempt and len(exempt) == len(observed):
        return [Period("every observed day", len(exempt))]
    return _periods(exempt)


def _periods(days: Iterable[date]) -> list[Period]:
    return [Period(days_text(period), len(period)) for period in _consecutive(list(days), lambda day: day)]


def _share_of_part(instance: ReportInstance, day: ReportDay, today: date) -> str | None:
    """The share that was observed of a day, if it is over and the database was there from its beginning to its end."""
    share = day.observed_share
    partial = share is not None and share < NEARLY_WHOLE
    return percent(share) if partial and day.day not in (today, instance.created, instance.last_seen) else None


def _gaps(report: Report, note_of: Callable[[ReportInstance, ReportDay, str | None], str | None]) -> list[Gap]:
    """The days with a note, of databases that were there; consecutive days of the same databases together.

    A note depends on the reason for which the day was not observed, if it was not.
    """
    by_note: dict[str, dict[date, list[ReportInstance]]] = {}
    existing: dict[date, int] = {}
    for instance in report.instances:
        for day in instance.days:
            why = None if day.observed else reason(instance, day.day, report.today)
            if why is None or why in GAPS:
                existing[day.day] = existing.get(day.day, 0) + 1
                if (note := note_of(instance, day, why)) is not None:
                    by_note.setdefault(note, {}).setdefault(day.day, []).append(instance)
    gaps: list[tuple[date, Gap]] = []
    for note, by_day in by_note.items():
        for instances, group in groupby(sorted(by_day.items(), key=lambda item: item[0]), key=lambda item: item[1]):
            for days in _consecutive([day for day, _ in group], lambda day: day):
                every = all(len(instances) == existing[day] for day in days)
                gap = Gap(Period(days_text(days), len(days), note), every, _by_project(instances))
                gaps.append((days[0], gap))
    return [gap for _, gap in sorted(gaps, key=lambda found: found[0])]


def _by_project(instances: Sequence[ReportInstance]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for instance in instances:
        names.setdefault(instance.project, []).append(instance.instance_id)
    return names


def _consecutive(days: Sequence[T], date_of: Callable[[T], date]) -> Iterator[list[T]]:
    """Groups of consecutive days."""
    for _, group in groupby(enumerate(days), key=lambda item: date_of(item[1]) - item[0] * DAY):
        yield [day for _, day in group]
