"""Verdicts in words: a sentence for each finding and exemption."""

from collections.abc import Callable
from datetime import datetime

from exporter.config import format_duration
from exporter.facts.backup_plans import UNREAD, last_segment
from exporter.verdict.assess import Verdict
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.rules import Exemption, Finding, Protection


def recovery_point_age(verdict: Verdict, now: datetime) -> str:
    """The age of the recovery point as text; empty if there is none."""
    point = verdict.recovery_point
    return format_duration(now - point) if point else ""


def _loss(verdict: Verdict, now: datetime) -> str:
    """What a restore would lose; a backup that cannot be read is merely old."""
    age = recovery_point_age(verdict, now)
    unreadable = Finding.DATA_UNREADABLE in verdict.findings
    return f"the recovery point is {age} old" if unreadable else f"a restore would lose {age}"


def _last_error(verdict: Verdict) -> str:
    runs = [history.newest_completed for history in verdict.history.by_type.values()]
    return next((f": {run.error.code}" for run in runs if run and run.error and run.error.code), "")


def _lag(verdict: Verdict) -> str:
    times = verdict.collected.recovery_times
    return format_duration(times.lag) if times and times.lag is not None else ""


def _window(verdict: Verdict) -> str:
    times = verdict.collected.recovery_times
    return format_duration(times.window) if times and times.window is not None else ""


def _log_retention(verdict: Verdict) -> str:
    retention = verdict.instance.backups.transaction_log_retention
    return format_duration(retention) if retention is not None else ""


def no_run_in(windows: int) -> str:
    """The sentence that the last backup windows, as many as given, had no automated run."""
    return f"no automated run in the last {f'{windows} backup windows' if windows > 1 else 'backup window'}"


FINDINGS: dict[Finding, Callable[[Verdict, datetime], str]] = {
    Finding.DATA_UNREADABLE: lambda _v, _now: (
        "the encryption key is revoked or access to it denied: neither the data nor its backups can be read"
    ),
    Finding.BACKUPS_DISABLED: lambda _v, _now: "automated backups are disabled",
    Finding.NEVER_SUCCEEDED: lambda _v, _now: "there is no backup to restore",
    Finding.STALE_CRITICAL: lambda v, now: (
        f"{_loss(v, now)}, more than critical_age ({format_duration(v.policy.critical_age)})"
    ),
    Finding.STALE: lambda v, now: f"{_loss(v, now)}, more than max_age ({format_duration(v.policy.max_age)})",
    Finding.LAST_RUN_FAILED: lambda v, _now: f"the last automated run failed{_last_error(v)}",
    Finding.OVERDUE: lambda _v, _now: no_run_in(1),
    Finding.STUCK: lambda v, _now: f"a run has been in progress for more than {format_duration(v.policy.max_duration)}",
    Finding.SLOW: lambda v, _now: f"the last backup took more than {format_duration(v.policy.max_duration)}",
    Finding.PITR_DISABLED: lambda _v, _now: "point-in-time recovery is off, and the policy requires it",
    Finding.PITR_LAGGING: lambda v, _now: (
        f"point-in-time recovery was {_lag(v)} behind when read, "
        f"more than max_pitr_lag ({format_duration(v.policy.max_pitr_lag)})"
    ),
    Finding.PITR_WINDOW_SHORT: lambda v, _now: (
        f"point-in-time recovery reaches back {_window(v)} only, "
        f"with {_log_retention(v)} of logs and {v.instance.backups.retained_backups} backups to retain"
    ),
    Finding.RETENTION_LOW: lambda v, _now: (
        f"retains {v.instance.backups.retained_backups} backups, fewer than {v.policy.min_retained}"
    ),
    Finding.LOCATION_NOT_ALLOWED: lambda v, _now: (
        f"the newest backup is stored in {v.history.newest_success and v.history.newest_success.location}"
    ),
    Finding.DELETION_UNGUARDED: lambda _v, _now: (
        "deleting the instance would leave nothing: no deletion protection, no retained backups and no final backup"
    ),
}


def _failed_rules(verdict: Verdict) -> str:
    rules = verdict.collected.plan.failed_rules if verdict.collected.plan else ()
    codes = ((rule.id, rule.error.code if rule.error else "") for rule in rules)
    return ", ".join(f"{rule} ({code})" if code else rule for rule, code in codes)


def _no_plan(verdict: Verdict) -> str:
    association = verdict.collected.plan.association if verdict.collected.plan else None
    if association is None:
        return "no backup plan is associated with the instance"
    return f"the association with backup plan {last_segment(association.plan)} is {association.state.lower()}"


PLAN_FINDINGS: dict[Finding, Callable[[Verdict, datetime], str]] = {  # in other words for an instance with a plan
    Finding.BACKUPS_DISABLED: lambda v, _now: _no_plan(v),
    Finding.NEVER_SUCCEEDED: lambda _v, _now: "no backup plan has made a backup to restore",
    Finding.LAST_RUN_FAILED: lambda v, _now: f"the last backup failed by these rules of its plan: {_failed_rules(v)}",
}

EXEMPTIONS: dict[Exemption, str] = {
    Exemption.IGNORED: "the policy expects no backups",
    Exemption.CREATING: "being created",
    Exemption.READ_REPLICA: "a read replica: its primary is backed up",
    Exemption.READ_POOL: "a read pool: its primary is backed up",
    Exemption.EXTERNAL: "an external server: Cloud SQL does not back it up",
    Exemption.GREEN: "the green instance of a blue-green deployment",
    Exemption.STOPPED: "stopped by its owner",
    Exemption.SUSPENDED: "suspended",
    Exemption.MANAGED_ELSEWHERE: "backed up by Backup and DR",
    Exemption.NEW: "new: its first backup is still to come",
}


def reasons(verdict: Verdict, evaluation: Evaluation) -> tuple[str, ...]:
    """The reasons for a verdict, one sentence each; empty for a protected instance."""
    sentences = [reason(finding, verdict, evaluation.now) for finding in verdict.findings if _is_new(finding, verdict)]
    if verdict.exemption:
        sentences.append(EXEMPTIONS[verdict.exemption])
    if verdict.state is Protection.UNKNOWN:
        sentences.insert(0, _why_unknown(verdict, evaluation))
    return tuple(sentences)


def reason(finding: Finding, verdict: Verdict, now: datetime) -> str:
    """The sentence for a finding."""
    words = PLAN_FINDINGS.get(finding) if verdict.collected.plan else None
    return (words or FINDINGS[finding])(verdict, now)


def _why_unknown(verdict: Verdict, evaluation: Evaluation) -> str:
    if verdict.collected.plan is UNREAD:
        return "its backup plan has not been read yet: Backup and DR has to be readable (roles/backupdr.viewer)"
    read_at = evaluation.facts_read_at(verdict)
    age = format_duration(evaluation.now - read_at)
    scan = evaluation.by_project[verdict.instance.id.project].scan
    if read_at < scan.facts_read_at(verdict.instance.id.name):
        what = f"its backup plan was last read {age} ago, longer than poll.stale_after"
        return f"{what}: Backup and DR has to be readable (roles/backupdr.viewer); this is the last known verdict"
    return f"last read {age} ago, longer than poll.stale_after; this is the last known verdict"


def _is_new(finding: Finding, verdict: Verdict) -> bool:
    """False for `stale` beside `stale_critical`, which says more."""
    return finding is not Finding.STALE or Finding.STALE_CRITICAL not in verdict.findings
