"""A verdict as the pages show it: how current it is, since when it holds, and what would be lost. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from exporter.config import format_duration
from exporter.facts.backup_plans import UNREAD
from exporter.facts.counters import Counters
from exporter.facts.snapshot import ProjectStatus
from exporter.verdict.assess import Freshness, Verdict
from exporter.verdict.changes import Change, began, change_without_polls, next_change
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.reasons import reasons
from exporter.verdict.rules import Finding, Protection
from exporter.web.pages.words import ICONS, state_word


@dataclass(frozen=True, slots=True)
class Badge:
    """A state as word, icon and style; `stale` instead of a good state by facts that are not current."""

    word: str
    icon: str
    style: str


@dataclass(frozen=True, slots=True)
class Loss:
    """What a restore would lose now: `age` of the recovery point, None if nothing can be restored.

    `unreadable` if there may be backups, which cannot be read at present.
    """

    age: timedelta | None
    beyond: bool
    unreadable: bool = False

    @property
    def text(self) -> str:
        """The loss in words."""
        if self.age is not None:
            return format_duration(self.age)
        return f"everything{', until the key can be used again' if self.unreadable else ': nothing can be restored'}"


def is_current(verdict: Verdict, evaluation: Evaluation, statuses: Mapping[str, ProjectStatus]) -> bool:
    """Whether the last poll read the facts of a verdict, and polls still take place."""
    status = statuses[verdict.instance.id.project]
    read_at = evaluation.facts_read_at(verdict)
    unread = verdict.collected.plan is UNREAD
    return is_read(status, evaluation) and not unread and (status.scan is None or read_at >= status.scan.read_at)


def is_read(status: ProjectStatus, evaluation: Evaluation) -> bool:
    """Whether the last poll of a project succeeded, and was not too long ago for one that is polled regularly."""
    poll = evaluation.config.poll
    limit = max(2 * poll.interval, poll.stale_after / 2)
    return status.up and status.last_success is not None and evaluation.now - status.last_success <= limit


def badge(state: Protection, *, current: bool = True) -> Badge:
    """The badge of a state."""
    if not current and state in (Protection.PROTECTED, Protection.EXEMPT):
        return Badge(f"{state_word(state)} (stale)", ICONS["stale"], "stale")
    return Badge(state_word(state), ICONS[state], state)


def loss(verdict: Verdict, now: datetime) -> Loss:
    """What a restore would lose, and whether that is more than the policy allows."""
    point = verdict.recovery_point
    unreadable = Finding.DATA_UNREADABLE in verdict.findings
    age = now - point if point and not unreadable else None
    beyond = verdict.state is not Protection.EXEMPT and (age is None or age > verdict.policy.max_age)
    return Loss(age, beyond, unreadable)


def freshness(verdict: Verdict, evaluation: Evaluation) -> Freshness:
    """When the facts of a verdict were read, and up to which age they may be used."""
    return Freshness(evaluation.facts_read_at(verdict), evaluation.config.poll.stale_after)


def change(verdict: Verdict, evaluation: Evaluation, *, current: bool) -> Change | None:
    """The next change of a verdict's state without a new run; where polls fail, without a successful one."""
    expected = next_change(verdict, evaluation.now)
    expiry = None if current else change_without_polls(verdict, freshness(verdict, evaluation))
    return min((item for item in (expected, expiry) if item), key=lambda item: item.at, default=None)


def since(verdict: Verdict, evaluation: Evaluation) -> datetime | None:
    """When the state of a verdict began; None where the facts do not tell."""
    return began(verdict, evaluation.now, freshness(verdict, evaluation))


def reasons_with_age(verdict: Verdict, evaluation: Evaluation, *, current: bool) -> tuple[str, ...]:
    """The reasons for a verdict, of which the first says if it is merely the last known one."""
    sentences = reasons(verdict, evaluation)
    if current or verdict.state is Protection.UNKNOWN:
        return sentences
    return (f"not read by the last poll; {state_word(verdict.state)} by the last known facts", *sentences)


def without_success(verdict: Verdict, counters: Counters) -> tuple[str, str]:
    """Whether an instance without a backup ever had one, briefly and in full; empty for other instances."""
    if Finding.NEVER_SUCCEEDED not in verdict.findings:
        return "", ""
    if verdict.collected.plan:
        return "none", "none: its backup plan shows no successful backup"
    created = verdict.instance.created
    if counters.success_known or any(run.status.deleted for run in verdict.history.runs):
        return "none left", "none left: backups of the instance have been deleted"
    if not created or counters.forgotten_before or counters.first_seen - created > verdict.policy.grace:
        return "none known", "none known: the API lists no successful backup, and does not list deleted ones"
    delay = format_duration(max(counters.first_seen - created, timedelta()))
    seen = f"the exporter first saw the instance, {delay} after its creation"
    return "never", f"never: no backup has succeeded since {seen}"


def next_step(verdict: Verdict) -> str:
    """What to do about the worst finding; empty if there is none."""
    if verdict.state is Protection.UNKNOWN:
        return "Make the project readable again: see the error on the page Exporter."
    return step(verdict.findings[0], verdict) if verdict.findings else ""


def step(finding: Finding, verdict: Verdict) -> str:
    """What to do about a finding."""
    words = PLAN_NEXT_STEPS.get(finding) if verdict.collected.plan else None
    text = words or NEXT_STEPS[finding]
    if finding is not Finding.DATA_UNREADABLE and Finding.DATA_UNREADABLE in verdict.findings:
        return f"When the key can be used again: {text[0].lower()}{text[1:]}"
    return text


def alert(finding: Finding, verdict: Verdict) -> str:
    """The name of the alert on a finding, which is that of the runbook."""
    if finding is Finding.LAST_RUN_FAILED and verdict.collected.plan:
        return "CloudSQLBackupPlanRuleFailed"
    return ALERTS[finding]


NEXT_STEPS: Mapping[Finding, str] = {
    Finding.DATA_UNREADABLE: "Enable the key again, or restore access to it, before it is destroyed.",
    Finding.BACKUPS_DISABLED: "Create a backup now, then enable automated backups.",
    Finding.NEVER_SUCCEEDED: "Create a backup now, and find out why there is no automated one.",
    Finding.STALE_CRITICAL: "Create a backup now; then find out why automated runs fail.",
    Finding.STALE: "Create a backup now; then find out why automated runs fail.",
    Finding.LAST_RUN_FAILED: "Look up the error of the run; create a backup if it will not be retried soon.",
    Finding.OVERDUE: "Create a backup now; check for operations that block the instance.",
    Finding.STUCK: "Check the operations of the instance; a run that hangs blocks the next one.",
    Finding.SLOW: "Compare durations and sizes; a longer max_duration may be right for this instance.",
    Finding.PITR_DISABLED: "Enable point-in-time recovery.",
    Finding.PITR_LAGGING: "Check that the instance writes transaction logs: its disk, its load, its operations.",
    Finding.PITR_WINDOW_SHORT: "Check the retained backups; create a backup, from which a new window begins.",
    Finding.RETENTION_LOW: "Raise the number of retained backups.",
    Finding.LOCATION_NOT_ALLOWED: "Set the location of backups to an allowed one.",
    Finding.DELETION_UNGUARDED: "Enable deletion protection, retained backups or a final backup.",
}

PLAN_NEXT_STEPS: Mapping[Finding, str] = {  # for an instance that is judged by its backup plan
    Finding.BACKUPS_DISABLED: "Associate the instance with a backup plan, or resume the association.",
    Finding.NEVER_SUCCEEDED: "Create a backup by a rule of the plan now, and check why its schedule brings none.",
    Finding.STALE_CRITICAL: "Create a backup by a rule of the plan now; then find out why its schedule fails.",
    Finding.STALE: "Create a backup by a rule of the plan now; then find out why its schedule fails.",
    Finding.LAST_RUN_FAILED: "Look up the error of the rule; create a backup by it if the plan will not do so soon.",
}

# Findings by the name of the alert, which is that of the runbook.
ALERTS: Mapping[Finding, str] = {
    Finding.DATA_UNREADABLE: "CloudSQLBackupDataUnreadable",
    Finding.BACKUPS_DISABLED: "CloudSQLBackupDisabled",
    Finding.NEVER_SUCCEEDED: "CloudSQLBackupNeverSucceeded",
    Finding.STALE_CRITICAL: "CloudSQLBackupStaleCritical",
    Finding.STALE: "CloudSQLBackupStale",
    Finding.LAST_RUN_FAILED: "CloudSQLBackupLastRunFailed",
    Finding.OVERDUE: "CloudSQLBackupOverdue",
    Finding.STUCK: "CloudSQLBackupStuck",
    Finding.SLOW: "CloudSQLBackupSlow",
    Finding.PITR_DISABLED: "CloudSQLBackupPITRDisabled",
    Finding.PITR_LAGGING: "CloudSQLBackupPITRLagging",
    Finding.PITR_WINDOW_SHORT: "CloudSQLBackupPITRWindowShort",
    Finding.RETENTION_LOW: "CloudSQLBackupRetentionLow",
    Finding.LOCATION_NOT_ALLOWED: "CloudSQLBackupLocationNotAllowed",
    Finding.DELETION_UNGUARDED: "CloudSQLBackupDeletionUnguarded",
}
