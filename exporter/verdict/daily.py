"""The daily record of a project, extended by one observation after another. Pure.

A project is observed from its first poll on, while the exporter runs. Between two polls, time alone can only worsen a
verdict; so the worst of that time is the verdict at its end, by the facts that were known until then.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from types import MappingProxyType

from exporter.facts.daily import DailyRecord, InstanceDay, ProjectDay, closed, next_midnight, start_of
from exporter.facts.history import History
from exporter.facts.model import RunStatus
from exporter.facts.packed_runs import PackedRuns, RunHeader
from exporter.verdict.assess import Verdict
from exporter.verdict.rules import RESOLUTION, WORST_FIRST, Finding, Protection
from exporter.verdict.windows import DAY, WINDOW

WORST_OUTCOME_FIRST = (
    RunStatus.FAILED,
    RunStatus.OVERDUE,
    RunStatus.UNKNOWN,
    RunStatus.RUNNING,
    RunStatus.ENQUEUED,
    RunStatus.SKIPPED,
    RunStatus.SUCCESSFUL,
)

Judge = Callable[[datetime], Collection[Verdict]]


def observe(
    record: DailyRecord | None,
    known: Judge,
    verdicts: Collection[Verdict],
    now: datetime,
    elapsed: timedelta,
    histories: Mapping[str, History] = MappingProxyType({}),
) -> list[DailyRecord]:
    """The record after a time of observation, `elapsed`, that ends now, preceded by those of the days that ended in it.

    `known` returns the verdicts at a time by the facts known until now, `verdicts` are those by the facts known from
    now on; `histories` are those known until now, by instance. While the clock is behind the record, nothing is
    recorded.
    """
    record = record or DailyRecord(ProjectDay(now.date(), 0, now))
    if now < record.project.observed_until:
        return [record]
    ended, judged = [], record.judged
    start = now - elapsed
    while start.date() < now.date():
        midnight = next_midnight(start)
        last = midnight - RESOLUTION
        record = _extended(_on(record, start.date()), known(last), last, midnight - start)
        ended.append(record)
        start = midnight
    record = _on(record, now.date())
    if elapsed:
        record = _extended(record, known(now), now, now - start)
    record = _extended(record, verdicts, now, timedelta())
    today = now.date()
    if later := {**_later_outcomes(histories, verdicts, today), **_later_backups(judged, verdicts, today)}:
        record = replace(record, later_outcomes={**record.later_outcomes, **later})
    return [*ended, _without_removed(record, {verdict.instance.id.name for verdict in verdicts})]


def outcomes(runs: PackedRuns, first: date) -> dict[date, RunStatus]:
    """The worst status of the listed runs whose window starts on a day, from a first day on."""
    worst: dict[date, RunStatus] = {}
    earliest = start_of(first).timestamp()
    for header in takewhile(lambda header: header.scheduled >= earliest, runs.headers()):
        if not header.status.deleted:
            day = _day(header)
            worst[day] = min(header.status, worst.get(day, header.status), key=WORST_OUTCOME_FIRST.index)
    return worst


def _later_outcomes(
    histories: Mapping[str, History], verdicts: Collection[Verdict], today: date
) -> dict[tuple[date, str], RunStatus]:
    """The outcomes of the days before today of which a run is new, or has another status than it was known to have."""
    later: dict[tuple[date, str], RunStatus] = {}
    for verdict in verdicts:
        name = verdict.instance.id.name
        known = histories.get(name)
        if known is None or known is verdict.history:
            continue
        statuses = {header.number: header.status for header in known.runs.headers()}
        changed = {
            _day(header)
            for header in verdict.history.runs.headers()
            if statuses.get(header.number) is not header.status
        }
        for day, outcome in outcomes(verdict.history.runs, min(changed, default=today)).items():
            if day in changed and day < today:
                later[day, name] = outcome
    return later


def _later_backups(
    judged: Mapping[str, object], verdicts: Collection[Verdict], today: date
) -> dict[tuple[date, str], RunStatus]:
    """The days before today of backups by a plan that are new since an instance was last judged."""
    later: dict[tuple[date, str], RunStatus] = {}
    for verdict in verdicts:
        before, plan = judged.get(verdict.instance.id.name), verdict.collected.plan
        if plan and isinstance(before, Verdict) and before.collected.plan and before.collected.plan.read:
            known = {rule.last_success for rule in before.collected.plan.rules}
            for time in {rule.last_success for rule in plan.rules} - known:
                if time and time.date() < today:
                    later[time.date(), verdict.instance.id.name] = RunStatus.SUCCESSFUL
    return later


def _day(header: RunHeader) -> date:
    return datetime.fromtimestamp(header.scheduled, UTC).date()


def _on(record: DailyRecord, day: date) -> DailyRecord:
    """The record on a day: a new one, unless it is the day of the record."""
    if record.project.day == day:
        return record
    return DailyRecord(ProjectDay(day, 0, start_of(day)))


def _extended(
    record: DailyRecord, verdicts: Collection[Verdict], timestamp: datetime, observed: timedelta
) -> DailyRecord:
    """The record with the verdicts at a time, at the end of a further time of observation."""
    seconds = record.project.observed + observed.total_seconds()
    project = ProjectDay(record.project.day, seconds, timestamp)
    observed_from = int(record.project.observed)
    instances, judged = dict(record.instances), dict(record.judged)
    for verdict in verdicts:
        name = verdict.instance.id.name
        if judged.get(name) is verdict:
            continue
        judged[name] = verdict
        day = instances.get(name) or InstanceDay(
            verdict.state, window_closes=_window_closes(verdict, project.day), observed_from=observed_from
        )
        extended = _with_verdict(day, verdict, record.project, timestamp)
        if extended != day or name not in instances:
            instances[name] = extended
    return DailyRecord(project, instances, record.later_outcomes, judged)


def _with_verdict(before: InstanceDay, verdict: Verdict, project: ProjectDay, now: datetime) -> InstanceDay:
    """The day of an instance with another verdict; `project` is the day of its project up to then."""
    point = verdict.recovery_point
    recovery_point = int(point.timestamp()) if point else None
    worst_age = before.worst_age
    if before.recovery_point is not None and before.recovery_point != recovery_point:
        worst_age = max(int(project.observed_until.timestamp()) - before.recovery_point, worst_age or 0)
    within_policy = before.within_policy
    if verdict.state is not Protection.EXEMPT:
        met = point is not None and Finding.STALE not in verdict.findings and verdict.state is not Protection.UNKNOWN
        within_policy = met and within_policy is not False
    window_closes, windows_closed = _window_closes(verdict, project.day), before.windows_closed
    if window_closes != before.window_closes:  # what has closed was due; what had closed already is not due any more
        windows_closed += closed(project.day, before.window_closes, now)
        window_closes = None if closed(project.day, window_closes, now) else window_closes
    absent = 0 if before.observed_until is None else int(project.observed) - before.observed_until
    return InstanceDay(
        state=min(verdict.state, Protection(before.state), key=WORST_FIRST.index),
        outcome=_outcome(verdict, project.day) or before.outcome,
        window_closes=window_closes,
        windows_closed=windows_closed,
        within_policy=within_policy,
        recovery_point=recovery_point,
        worst_age=worst_age,
        observed_from=before.observed_from + absent,
    )


def _outcome(verdict: Verdict, day: date) -> RunStatus | None:
    """The worst status of the runs whose window starts on a day; a success for a backup by the plan on that day."""
    if verdict.collected.plan:
        times = (rule.last_success for rule in verdict.collected.plan.rules)
        return RunStatus.SUCCESSFUL if any(time and time.date() == day for time in times) else None
    statuses = [
        run.status
        for run in verdict.history.runs.since(start_of(day))
        if run.scheduled.date() == day and not run.status.deleted
    ]
    return min(statuses, key=WORST_OUTCOME_FIRST.index, default=None)


def _window_closes(verdict: Verdict, day: date) -> int | None:
    """When a window in which a run is expected closes on a day, in seconds after midnight."""
    opens, created = verdict.instance.backups.window_start, verdict.instance.created
    if opens is None or verdict.next_due is None:
        return None
    closes = (opens + WINDOW) % DAY
    if created and created > start_of(day) + closes - WINDOW:
        return None
    return int(closes.total_seconds())


def _without_removed(record: DailyRecord, names: Collection[str]) -> DailyRecord:
    """The record with the end of the observation of instances that are no longer there."""
    project = record.project
    removed = {name for name, day in record.instances.items() if name not in names and day.observed_until is None}
    if not removed:
        return record
    ended = {
        name: replace(
            day,
            window_closes=day.window_closes if closed(project.day, day.window_closes, project.observed_until) else None,
            recovery_point=None,
            worst_age=project.worst_age(day),
            observed_until=int(project.observed),
        )
        for name, day in record.instances.items()
        if name in removed
    }
    judged = {name: verdict for name, verdict in record.judged.items() if name not in removed}
    return replace(record, instances={**record.instances, **ended}, judged=judged)
