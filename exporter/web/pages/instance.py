"""The page of one instance: verdict, history, configuration and what to do. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from exporter.config import Policy, format_duration
from exporter.facts.counters import Counters
from exporter.facts.model import BackupRun, BackupType, Instance
from exporter.facts.record import Record
from exporter.verdict.assess import Verdict
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.reasons import EXEMPTIONS, reason
from exporter.verdict.rules import RULES, Finding, Protection
from exporter.web.pages.charts import (
    Calendar,
    Chart,
    calendar,
    duration_chart,
    format_time_of_day,
    size_chart,
    start_chart,
)
from exporter.web.pages.days import DAY, DayCell, DayKind, RecordedDays, day_cells
from exporter.web.pages.links import Command, Sites, commands, dashboard, new_silence, runbook
from exporter.web.pages.status import Row, status_row, with_windows_missed
from exporter.web.pages.verdicts import alert, is_current, step
from exporter.web.pages.words import state_word

CALENDAR = timedelta(days=364)  # before today
SHORTEST_CALENDAR = timedelta(days=55)
_STATES = {rule.finding: rule.state for rule in RULES}


@dataclass(frozen=True, slots=True)
class FindingLine:
    """A finding with its rule in words, what to do, and its runbook."""

    finding: Finding
    state: Protection
    reason: str
    next_step: str
    runbook: str


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A policy: which one it is, and its requirements."""

    title: str
    requirements: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Count:
    """A counter: of runs by status, of errors by code, or a duration."""

    backup_type: str
    what: str
    value: str


@dataclass(frozen=True, slots=True)
class InstancePage:
    """What the page of an instance shows. `runs` and `days` have the newest first."""

    row: Row
    current: bool
    facts_read_at: datetime
    findings: Sequence[FindingLine]
    exemption: str
    policy: PolicyText
    calendar: Calendar
    days: Sequence[DayCell]
    charts: Sequence[Chart]
    runs: Sequence[BackupRun]
    configuration: Sequence[tuple[str, str]]
    counts: Sequence[Count]
    counted_since: datetime
    commands: Sequence[Command]
    dashboard: str
    silence: str

    @property
    def verdict(self) -> Verdict:
        """The verdict on the instance."""
        return self.row.verdict


def instance_page(
    evaluation: Evaluation, verdict: Verdict, record: Record, recorded: RecordedDays, sites: Sites
) -> InstancePage:
    """The page of an instance, by its record and the recorded days of the last year."""
    now, statuses = evaluation.now, {status.project: status for status in evaluation.projects}
    runs = list(verdict.history.runs)
    existing = [run for run in runs if not run.status.deleted]
    today = now.date()
    first = max(today - CALENDAR, min(_first_day(recorded, existing, today), today - SHORTEST_CALENDAR))
    cells = day_cells(recorded, verdict.history.runs, first, today, today)
    automated = verdict.history.of(BackupType.AUTOMATED)
    charts = (
        duration_chart(existing, now, verdict.policy.max_duration, automated.usual_duration),
        size_chart(existing, now, automated.usual_size),
        start_chart(existing, now, verdict.instance.backups.window_start),
    )
    identity = verdict.instance.id
    return InstancePage(
        row=status_row(verdict, cells, evaluation, statuses),
        current=is_current(verdict, evaluation, statuses),
        facts_read_at=evaluation.facts_read_at(verdict),
        findings=[_finding_line(finding, verdict, cells, evaluation) for finding in verdict.findings],
        exemption=EXEMPTIONS[verdict.exemption] if verdict.exemption else "",
        policy=policy_text(verdict.policy, evaluation.config.policies),
        calendar=calendar(cells),
        days=[cell for cell in reversed(cells) if cell.kind is not DayKind.NOT_OBSERVED or cell.state],
        charts=[chart for chart in charts if chart],
        runs=runs,
        configuration=configuration(verdict.instance),
        counts=counts(record.counters),
        counted_since=record.counters.first_seen,
        commands=commands(verdict),
        dashboard=dashboard(identity, sites),
        silence=new_silence(identity, sites),
    )


def _first_day(recorded: RecordedDays, runs: Sequence[BackupRun], today: date) -> date:
    days = [recorded[0][0].day] if recorded else []
    days += [runs[-1].scheduled.date()] if runs else []
    return min(days, default=today)


def _finding_line(finding: Finding, verdict: Verdict, cells: Sequence[DayCell], evaluation: Evaluation) -> FindingLine:
    return FindingLine(
        finding,
        _STATES[finding],
        with_windows_missed(reason(finding, verdict, evaluation.now), verdict, cells, evaluation),
        step(finding, verdict),
        runbook(alert(finding, verdict)),
    )


def policy_text(policy: Policy, policies: Sequence[Policy]) -> PolicyText:
    """A policy in words; the configuration contains `policies`."""
    position = next((number for number, other in enumerate(policies, 1) if other is policy), None)
    title = f"Policy {position} of {len(policies)}" if position else "The default policy: no other matches"
    if position:
        match = policy.match
        parts = [f"project: {match.project.pattern}", f"instance: {match.instance.pattern}"]
        parts += [f"label {name}: {value}" for name, value in match.labels.items()]
        title += f", which matches {', '.join(parts)}"
    return PolicyText(
        title,
        [
            ("expected", policy.expected),
            ("max_age", format_duration(policy.max_age)),
            ("critical_age", format_duration(policy.critical_age)),
            ("max_duration", format_duration(policy.max_duration)),
            ("grace", format_duration(policy.grace)),
            ("require_pitr", _yes_no(policy.require_pitr)),
            ("max_pitr_lag", format_duration(policy.max_pitr_lag)),
            ("require_deletion_guard", _yes_no(policy.require_deletion_guard)),
            ("min_retained", str(policy.min_retained or "any number")),
            ("allowed_locations", ", ".join(policy.allowed_locations) if policy.allowed_locations else "any location"),
        ],
    )


def configuration(instance: Instance) -> list[tuple[str, str]]:
    """The configuration of an instance; empty where the API does not tell."""
    backups, deletion = instance.backups, instance.deletion
    window = backups.window_start
    days = backups.transaction_log_retention
    labels = ", ".join(f"{name}={value}" for name, value in sorted(instance.user_labels.items()))
    lines: list[tuple[str, str | None]] = [
        ("Automated backups", _on_off(backups.enabled)),
        ("Backup window", None if window is None else f"{_clock(window)} to {_clock(window + timedelta(hours=4))} UTC"),
        ("Retained backups", None if backups.retained_backups is None else str(backups.retained_backups)),
        ("Backup location", backups.location),
        ("Backup tier", state_word(backups.tier)),
        ("Point-in-time recovery", _on_off(backups.pitr_enabled)),
        ("Transaction log retention", None if days is None else format_duration(days)),
        ("Deletion protection", _on_off(deletion.protected)),
        ("Backups kept on deletion", _on_off(deletion.backups_retained)),
        ("Final backup on deletion", _on_off(deletion.final_backup)),
        ("Type", state_word(instance.type)),
        ("State", state_word(instance.state) + (", disk full" if instance.disk_full else "")),
        ("Activation policy", state_word(instance.activation)),
        ("Suspension reasons", ", ".join(map(state_word, instance.suspension_reasons))),
        ("Database version", instance.database_version),
        ("Edition", state_word(instance.edition)),
        ("Region", instance.region),
        ("Availability", state_word(instance.availability)),
        ("Created", f"{instance.created:%Y-%m-%d %H:%M} UTC" if instance.created else None),
        ("User labels", labels),
    ]
    return [(name, text or "") for name, text in lines if text not in (None, "", "unknown")]


def counts(counters: Counters) -> list[Count]:
    """The counters of an instance, as on /metrics."""
    found: list[Count] = []
    for backup_type, by_status in counters.completed.items():
        word = state_word(backup_type)
        found += [Count(word, f"{state_word(status)} runs", str(number)) for status, number in by_status.items()]
        errors = counters.errors.get(backup_type, {})
        found += [Count(word, f"failed runs with the error {label}", str(number)) for label, number in errors.items()]
        durations = counters.durations.get(backup_type)
        if durations and durations.count:
            mean = timedelta(seconds=durations.seconds / durations.count)
            found.append(Count(word, "mean duration of successful runs", format_duration(mean)))
    return found


def _clock(time_of_day: timedelta) -> str:
    return format_time_of_day((time_of_day % DAY).total_seconds())


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def _on_off(value: bool | None) -> str | None:
    return None if value is None else "on" if value else "off"
