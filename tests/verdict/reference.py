"""A second implementation of the verdict, written from its specification alone, to compare the exporter's with.

It imports only the types of facts and policies and is slow. It was written before the exporter's implementation was
read. Where the specification leaves a choice, a comment begins with "Choice:"; one that was adapted to the exporter's
afterwards names the decision in docs/decisions or the section of docs/verdicts.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from exporter.config import Policy
from exporter.facts.backup_plans import InstancePlan
from exporter.facts.model import BackupRun, Instance

DAY = timedelta(hours=24)
WINDOW = timedelta(hours=4)

ENDED = {"SUCCESSFUL", "FAILED", "SKIPPED", "OVERDUE"}
IN_PROGRESS = {"ENQUEUED", "RUNNING"}
DELETED = {"DELETED", "DELETION_PENDING", "DELETION_FAILED", "vanished"}

STATE_OF_FINDING = {
    "backups_disabled": "unprotected",
    "never_succeeded": "unprotected",
    "stale_critical": "unprotected",
    "data_unreadable": "unprotected",
    "stale": "at_risk",
    "last_run_failed": "at_risk",
    "overdue": "at_risk",
    "stuck": "at_risk",
    "slow": "at_risk",
    "pitr_disabled": "at_risk",
    "retention_low": "at_risk",
    "location_not_allowed": "at_risk",
    "deletion_unguarded": "at_risk",
}


@dataclass(frozen=True)
class ReferenceRuns:
    """What is exported about the runs of one backup type. None stands for an absent series."""

    retained: int
    retained_size_bytes: int | None
    oldest_retained: datetime | None
    consecutive_failures: int
    newest_status: str | None
    newest_completed_status: str | None


@dataclass(frozen=True)
class ReferenceVerdict:
    """The verdict in plain words."""

    state: str
    findings: frozenset[str]
    exemption: str | None
    recovery_point: datetime | None
    next_due: datetime | None
    runs: dict[str, ReferenceRuns]


def reference_verdict(
    instance: Instance,
    runs: Sequence[BackupRun],
    policy: Policy,
    now: datetime,
    read_at: datetime,
    stale_after: timedelta,
    *,
    plan: InstancePlan | None,
) -> ReferenceVerdict:
    """Return the verdict on an instance by facts read at `read_at`; its runs may come in any order.

    With a plan, the instance is in the enhanced tier, and backup plans are collected.
    """
    runs = sorted(runs, key=lambda run: run.order)
    exemption = _exemption(instance, runs, policy, now, plan)
    findings = set()
    if not exemption:
        findings = (
            _findings_by_plan(instance, plan, policy, now) if plan else _findings(instance, runs, policy, now, read_at)
        )
    # Choice: without any facts about the plan nothing is known, whenever they were first asked for (decision 39).
    never_read = plan is not None and not plan.read
    return ReferenceVerdict(
        state=_state(exemption, findings, never_read or now - read_at > stale_after),
        findings=frozenset(findings),
        exemption=exemption,
        recovery_point=_recovery_point_of_plan(plan) if plan else _recovery_point(runs),
        # Choice: the schedule of a plan is not the backup window of the instance (decision 39).
        next_due=None if plan else _next_due(instance, runs, exemption, now),
        runs={
            backup_type: _runs_of_type([run for run in runs if run.type.lower() == backup_type])
            # A run that is no longer listed only shows that a backup was deleted.
            for backup_type in {run.type.lower() for run in runs if run.status != "vanished"}
        },
    )


def _state(exemption: str | None, findings: set[str], facts_are_stale: bool) -> str:
    if facts_are_stale:
        return "unknown"
    if exemption:
        return "exempt"
    states = {STATE_OF_FINDING[finding] for finding in findings}
    if "unprotected" in states:
        return "unprotected"
    return "at_risk" if states else "protected"


def _exemption(
    instance: Instance, runs: Sequence[BackupRun], policy: Policy, now: datetime, plan: InstancePlan | None
) -> str | None:
    if policy.expected == "never":
        return "ignored"
    if instance.state == "PENDING_CREATE":
        return "creating"
    if policy.expected == "always":
        return None
    kinds = {
        "READ_REPLICA_INSTANCE": "read_replica",
        "READ_POOL_INSTANCE": "read_pool",
        "ON_PREMISES_INSTANCE": "external",
        "GREEN_INSTANCE": "green",
    }
    if instance.type.value in kinds:
        return kinds[instance.type.value]
    if _key_is_revoked(instance):  # replaces the exemptions that follow
        return None
    if instance.activation == "NEVER":
        return "stopped"
    if instance.state == "SUSPENDED":
        return "suspended"
    if plan:
        # Choice: a backup succeeded if the API tells up to when (decision 39).
        conclusive = _recovery_point_of_plan(plan) or _failed_rules(plan)
        return None if _is_past_grace(instance, policy, now) or conclusive else "new"
    # Choice: replicas and external servers are never in the tier themselves; they are exempt before.
    if instance.backups.tier in ("ENHANCED", "ADVANCED"):
        return "managed_elsewhere"
    return "new" if _is_new(instance, runs, policy, now) else None


def _is_new(instance: Instance, runs: Sequence[BackupRun], policy: Policy, now: datetime) -> bool:
    if _is_past_grace(instance, policy, now) or _restorable(runs):
        return False
    # The specification says "no automated run that failed or is overdue". Taken literally, an instance whose run
    # failed and whose next one was skipped, or whose OVERDUE run is no longer the newest, would be protected without
    # any backup. So the runs decide that `last_run_failed` and `overdue` are about (decision 2).
    return not (_last_run_failed(runs) or _newest_is_overdue(runs))


def _automated(runs: Sequence[BackupRun]) -> list[BackupRun]:
    return [run for run in runs if run.type == "AUTOMATED" and run.status not in DELETED]


def _last_run_failed(runs: Sequence[BackupRun]) -> bool:
    ended = [run for run in _automated(runs) if run.status in ENDED]
    return bool(ended) and ended[-1].status == "FAILED"


def _newest_is_overdue(runs: Sequence[BackupRun]) -> bool:
    automated = _automated(runs)
    return bool(automated) and automated[-1].status == "OVERDUE"


def _is_past_grace(instance: Instance, policy: Policy, now: datetime) -> bool:
    if policy.expected == "always":  # waives the grace
        return True
    # Choice: an instance of unknown age is not new.
    return instance.created is None or now - instance.created > policy.grace


def _key_is_revoked(instance: Instance) -> bool:
    return "KMS_KEY_ISSUE" in instance.suspension_reasons


def _restorable(runs: Sequence[BackupRun]) -> list[BackupRun]:
    """Return the runs that can be restored, oldest first."""
    return [run for run in runs if run.status == "SUCCESSFUL"]


def _findings(
    instance: Instance, runs: Sequence[BackupRun], policy: Policy, now: datetime, read_at: datetime
) -> set[str]:
    backups, deletion = instance.backups, instance.deletion
    restorable = _restorable(runs)
    # Choice: the newest is the one that started last (docs/verdicts.md, "The recovery point").
    newest_success = _started_last(restorable) if restorable else None
    in_progress = [run for run in runs if run.status in IN_PROGRESS]
    recovery_point = _recovery_point(runs)
    primary = instance.type not in ("READ_REPLICA_INSTANCE", "READ_POOL_INSTANCE", "ON_PREMISES_INSTANCE")

    # Choice: a count or a location that the API does not give breaks no rule.
    holds = {
        "backups_disabled": backups.enabled is False and primary,
        "never_succeeded": _is_past_grace(instance, policy, now) and not restorable,
        "stale_critical": recovery_point and now - recovery_point > policy.critical_age,
        "stale": recovery_point and now - recovery_point > policy.max_age,
        "last_run_failed": _last_run_failed(runs),
        # Choice: backups count as enabled where the API does not say whether they are (docs/verdicts.md, "Findings").
        "overdue": backups.enabled is not False
        and (_newest_is_overdue(runs) or _last_closed_window_was_missed(instance, runs, read_at)),
        # Choice: in progress since its start, or since it was enqueued if it has not started (decision 8).
        "stuck": any(now - (run.start or run.enqueued or run.scheduled) > policy.max_duration for run in in_progress),
        "slow": newest_success
        and newest_success.start
        and newest_success.end
        and newest_success.end - newest_success.start > policy.max_duration,
        # Choice: off is what the API does not report as enabled (docs/verdicts.md, "Findings").
        "pitr_disabled": policy.require_pitr and not backups.pitr_enabled,
        "retention_low": policy.min_retained is not None
        and backups.retained_backups is not None
        and backups.retained_backups < policy.min_retained,
        "location_not_allowed": policy.allowed_locations is not None
        and newest_success
        and newest_success.location
        and newest_success.location not in policy.allowed_locations,
        "deletion_unguarded": policy.require_deletion_guard
        and not deletion.protected
        and not deletion.backups_retained
        and not deletion.final_backup,
        "data_unreadable": _key_is_revoked(instance),
    }
    return {finding for finding, condition in holds.items() if condition}


def _findings_by_plan(instance: Instance, plan: InstancePlan, policy: Policy, now: datetime) -> set[str]:
    recovery_point = _recovery_point_of_plan(plan)
    active = plan.association is not None and plan.association.state.value in ("ACTIVE", "CREATING", "UPDATING")
    past_grace = _is_past_grace(instance, policy, now)
    holds = {
        "backups_disabled": plan.read and not active,
        "never_succeeded": plan.read and past_grace and not recovery_point,
        "stale_critical": recovery_point and now - recovery_point > policy.critical_age,
        "stale": recovery_point and now - recovery_point > policy.max_age,
        "last_run_failed": _failed_rules(plan),
        # Choice: a revoked key is a fact about the instance, and its backups cannot be restored either (decision 39).
        "data_unreadable": _key_is_revoked(instance),
    }
    return {finding for finding, condition in holds.items() if condition}


def _failed_rules(plan: InstancePlan) -> list[str]:
    rules = plan.association.rules if plan.association else ()
    return [rule.id for rule in rules if rule.status.value in ("FAILED", "PERMISSION_DENIED")]


def _recovery_point_of_plan(plan: InstancePlan) -> datetime | None:
    """Return the newest consistency time of any rule."""
    rules = plan.association.rules if plan.association else ()
    return max((rule.last_success for rule in rules if rule.last_success), default=None)


def _recovery_point(runs: Sequence[BackupRun]) -> datetime | None:
    """Return the moment up to which a restore loses nothing."""
    restorable = _restorable(runs)
    if not restorable:
        return None
    recovery_point = newest_start = _started_last(restorable).effective_start
    for run in runs:
        if run.status in DELETED and run.effective_start > newest_start:
            break  # a later SKIPPED run refers to the data of this backup, which is gone
        if run.status == "SKIPPED":
            recovery_point = max(recovery_point, run.window_start or run.scheduled)
    return recovery_point


def _started_last(runs: Sequence[BackupRun]) -> BackupRun:
    """Return the run that holds the newest data, not necessarily that of the latest window."""
    return max(reversed(runs), key=lambda run: run.effective_start)


def _openings(instance: Instance, around: datetime) -> list[datetime]:
    """Return when the windows near a moment open, oldest first; none where the window is not known."""
    if instance.backups.window_start is None:
        return []
    midnight = datetime(around.year, around.month, around.day, tzinfo=UTC)
    openings = [midnight + days * DAY + instance.backups.window_start for days in range(-4, 5)]
    # The window in which an instance was created is not its first.
    return [opening for opening in openings if instance.created is None or instance.created <= opening]


def _had_run(runs: Sequence[BackupRun], opening: datetime) -> bool:
    closing = opening + WINDOW
    for run in runs:  # also deleted ones: the window was not missed
        if run.type != "AUTOMATED":
            continue
        window_start = run.window_start or run.scheduled
        after_whole_minute = timedelta(seconds=window_start.second, microseconds=window_start.microsecond)
        if opening <= window_start < closing:
            return True
        if closing - DAY <= window_start < closing and after_whole_minute <= timedelta(seconds=2):
            return True
    return False


def _last_closed_window_was_missed(instance: Instance, runs: Sequence[BackupRun], read_at: datetime) -> bool:
    """Whether a window was missed is judged by facts read after it closed."""
    closed = [opening for opening in _openings(instance, read_at) if opening + WINDOW <= read_at]
    return bool(closed) and not _had_run(runs, closed[-1])


def _next_due(instance: Instance, runs: Sequence[BackupRun], exemption: str | None, now: datetime) -> datetime | None:
    """Return the end of the window in which the next automated run must begin.

    Choice: none for an instance of which no automated backup is expected, other than a new one or one that is being
    created (decision 7); backups count as enabled where the API does not say whether they are.
    """
    if instance.backups.enabled is False or exemption not in (None, "new", "creating"):
        return None
    begun = [run for run in runs if run.status != "ENQUEUED"]
    for opening in _openings(instance, now):
        # Choice: a run in the 24 hours before, of a window that was moved since, takes the place of the open window
        # but not of one that has yet to open.
        is_open = opening <= now < opening + WINDOW
        if opening > now or (is_open and not _had_run(begun, opening)):
            return opening + WINDOW
    return None


def _runs_of_type(runs: Sequence[BackupRun]) -> ReferenceRuns:
    retained = _restorable(runs)
    sizes = [run.size_bytes for run in retained]
    known_sizes = [size for size in sizes if size is not None]
    counted = [run for run in runs if run.status not in DELETED]
    ended = [run for run in counted if run.status in ENDED]
    consecutive_failures = 0
    for run in reversed(ended):
        if run.status in ("SUCCESSFUL", "SKIPPED"):
            break
        if run.status == "FAILED":
            consecutive_failures += 1
    return ReferenceRuns(
        retained=len(retained),
        # Choice: absent where nothing is retained.
        retained_size_bytes=sum(known_sizes) if sizes and len(known_sizes) == len(sizes) else None,
        oldest_retained=retained[0].end if retained else None,
        consecutive_failures=consecutive_failures,
        newest_status=counted[-1].status.lower() if counted else None,
        newest_completed_status=ended[-1].status.lower() if ended else None,
    )
