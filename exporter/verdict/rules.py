"""The verdict rules: findings, each with the state it leads to, and exemptions. Pure.

docs/verdicts.md describes them. A threshold is exceeded beyond its value, not at it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from exporter.config import Expected, Policy
from exporter.facts.backup_plans import InstancePlan
from exporter.facts.collected import NOTHING, InstanceFacts
from exporter.facts.history import History, RecoveryPointSource
from exporter.facts.model import (
    ActivationPolicy,
    BackupType,
    Instance,
    InstanceState,
    InstanceType,
    RunStatus,
    SuspensionReason,
)
from exporter.verdict.windows import DAY, WINDOW, last_opening, window_missed

RESOLUTION = timedelta(microseconds=1)


class Protection(StrEnum):
    """The state of an instance's protection."""

    PROTECTED = "protected"
    AT_RISK = "at_risk"
    UNPROTECTED = "unprotected"
    EXEMPT = "exempt"
    UNKNOWN = "unknown"


WORST_FIRST = (
    Protection.UNPROTECTED,
    Protection.UNKNOWN,
    Protection.AT_RISK,
    Protection.PROTECTED,
    Protection.EXEMPT,
)


class Exemption(StrEnum):
    """Reason why no automated backup is expected of an instance, the first that applies."""

    IGNORED = "ignored"
    CREATING = "creating"
    READ_REPLICA = "read_replica"
    READ_POOL = "read_pool"
    EXTERNAL = "external"
    GREEN = "green"
    STOPPED = "stopped"
    SUSPENDED = "suspended"
    MANAGED_ELSEWHERE = "managed_elsewhere"
    NEW = "new"


class Finding(StrEnum):
    """A problem with the backups of an instance."""

    DATA_UNREADABLE = "data_unreadable"
    BACKUPS_DISABLED = "backups_disabled"
    NEVER_SUCCEEDED = "never_succeeded"
    STALE_CRITICAL = "stale_critical"
    STALE = "stale"
    LAST_RUN_FAILED = "last_run_failed"
    OVERDUE = "overdue"
    STUCK = "stuck"
    SLOW = "slow"
    PITR_DISABLED = "pitr_disabled"
    RETENTION_LOW = "retention_low"
    LOCATION_NOT_ALLOWED = "location_not_allowed"
    DELETION_UNGUARDED = "deletion_unguarded"


@dataclass(frozen=True, slots=True)
class Case:
    """The facts about one instance, when they were read, its policy, and the time at which it is judged."""

    instance: Instance
    history: History
    policy: Policy
    now: datetime
    read_at: datetime
    collected: InstanceFacts = NOTHING

    @property
    def plan(self) -> InstancePlan | None:
        """The backup plan by which the instance is judged instead of its runs; None for an instance without."""
        return self.collected.plan

    @property
    def recovery_point(self) -> datetime | None:
        """The time up to which a restore loses nothing; None while nothing can be restored."""
        return self.plan.recovery_point if self.plan else self.history.recovery_point

    @property
    def recovery_point_source(self) -> RecoveryPointSource | None:
        """What the recovery point rests on."""
        if self.plan:
            return RecoveryPointSource.VAULT if self.plan.recovery_point else None
        return self.history.recovery_point_source

    @property
    def within_grace(self) -> bool:
        """Whether the instance was created recently; false if the time of creation is not known."""
        created = self.instance.created
        return created is not None and self.now - created <= self.policy.grace

    def older_than(self, age: timedelta) -> bool:
        """Whether the recovery point is older than that."""
        point = self.recovery_point
        return point is not None and self.now - point > age


Boundaries = Callable[[Case], Iterable[datetime]]


def _never(_case: Case) -> Iterable[datetime]:
    return ()


def _end_of_grace(case: Case) -> Iterable[datetime]:
    if case.instance.created:
        yield case.instance.created + case.policy.grace


def _window_boundaries(case: Case) -> Iterable[datetime]:
    """The last times before the backup window closes, and before it opens."""
    if case.instance.backups.window_start is not None:
        opened = last_opening(case.instance.backups.window_start, case.now)
        yield opened + WINDOW - RESOLUTION
        yield opened + DAY - RESOLUTION


@dataclass(frozen=True, slots=True)
class Rule:
    """A finding, the state it leads to, and when it holds.

    `changes_after` yields the times after which `holds` may change although the facts stay the same; a verdict is not
    cached beyond them.
    """

    finding: Finding
    state: Protection
    holds: Callable[[Case], bool]
    changes_after: Boundaries = _never


def _age_rule(finding: Finding, state: Protection, threshold: Callable[[Policy], timedelta]) -> Rule:
    """A rule about the age of the recovery point."""

    def boundary(case: Case) -> Iterable[datetime]:
        if case.recovery_point:
            yield case.recovery_point + threshold(case.policy)

    return Rule(finding, state, lambda case: case.older_than(threshold(case.policy)), boundary)


def _data_unreadable(case: Case) -> bool:
    return SuspensionReason.KMS_KEY_ISSUE in case.instance.suspension_reasons


def _backups_disabled(case: Case) -> bool:
    return case.instance.backups.enabled is False and case.instance.can_have_backups


def _waits(case: Case) -> bool:
    """Whether an instance may still be without a backup."""
    return case.within_grace and case.policy.expected is not Expected.ALWAYS


def _never_succeeded(case: Case) -> bool:
    return case.history.newest_success is None and not _waits(case)


def _last_run_failed(case: Case) -> bool:
    newest = case.history.of(BackupType.AUTOMATED).newest_completed
    return newest is not None and newest.status is RunStatus.FAILED


def _overdue(case: Case) -> bool:
    if case.instance.backups.enabled is False:
        return False
    return _reported_overdue(case) or window_missed(case.instance, case.history, case.now, case.read_at)


def _reported_overdue(case: Case) -> bool:
    newest = case.history.of(BackupType.AUTOMATED).newest
    return newest is not None and newest.status is RunStatus.OVERDUE


def _stuck(case: Case) -> bool:
    return any(case.now - run.effective_start > case.policy.max_duration for run in case.history.in_progress)


def _duration_limits(case: Case) -> Iterable[datetime]:
    return (run.effective_start + case.policy.max_duration for run in case.history.in_progress)


def _slow(case: Case) -> bool:
    newest = case.history.newest_success
    duration = newest.duration if newest else None
    return duration is not None and duration > case.policy.max_duration


def _pitr_disabled(case: Case) -> bool:
    return case.policy.require_pitr and not case.instance.backups.pitr_enabled


def _retention_low(case: Case) -> bool:
    required, configured = case.policy.min_retained, case.instance.backups.retained_backups
    return required is not None and configured is not None and configured < required


def _location_not_allowed(case: Case) -> bool:
    allowed, newest = case.policy.allowed_locations, case.history.newest_success
    return bool(allowed is not None and newest and newest.location and newest.location not in allowed)


def _deletion_unguarded(case: Case) -> bool:
    guards = case.instance.deletion
    return case.policy.require_deletion_guard and not (
        guards.protected or guards.backups_retained or guards.final_backup
    )


def _no_plan(case: Case) -> bool:
    return case.plan is not None and case.plan.read and not case.plan.protects


def _no_backup_by_plan(case: Case) -> bool:
    return case.plan is not None and case.plan.read and case.recovery_point is None and not _waits(case)


def _rule_of_plan_failed(case: Case) -> bool:
    return case.plan is not None and bool(case.plan.failed_rules)


_DATA_UNREADABLE = Rule(Finding.DATA_UNREADABLE, Protection.UNPROTECTED, _data_unreadable)
_STALE_CRITICAL = _age_rule(Finding.STALE_CRITICAL, Protection.UNPROTECTED, lambda policy: policy.critical_age)
_STALE = _age_rule(Finding.STALE, Protection.AT_RISK, lambda policy: policy.max_age)

RULES = (  # the worst finding comes first
    _DATA_UNREADABLE,
    Rule(Finding.BACKUPS_DISABLED, Protection.UNPROTECTED, _backups_disabled),
    Rule(Finding.NEVER_SUCCEEDED, Protection.UNPROTECTED, _never_succeeded, _end_of_grace),
    _STALE_CRITICAL,
    _STALE,
    Rule(Finding.LAST_RUN_FAILED, Protection.AT_RISK, _last_run_failed),
    Rule(Finding.OVERDUE, Protection.AT_RISK, _overdue, _window_boundaries),
    Rule(Finding.STUCK, Protection.AT_RISK, _stuck, _duration_limits),
    Rule(Finding.SLOW, Protection.AT_RISK, _slow),
    Rule(Finding.PITR_DISABLED, Protection.AT_RISK, _pitr_disabled),
    Rule(Finding.RETENTION_LOW, Protection.AT_RISK, _retention_low),
    Rule(Finding.LOCATION_NOT_ALLOWED, Protection.AT_RISK, _location_not_allowed),
    Rule(Finding.DELETION_UNGUARDED, Protection.AT_RISK, _deletion_unguarded),
)


PLAN_RULES = (  # the same for an instance that is judged by its backup plan
    _DATA_UNREADABLE,
    Rule(Finding.BACKUPS_DISABLED, Protection.UNPROTECTED, _no_plan),
    Rule(Finding.NEVER_SUCCEEDED, Protection.UNPROTECTED, _no_backup_by_plan, _end_of_grace),
    _STALE_CRITICAL,
    _STALE,
    Rule(Finding.LAST_RUN_FAILED, Protection.AT_RISK, _rule_of_plan_failed),
)


def exemption(case: Case) -> Exemption | None:
    """The first exemption that applies. Changes with time at the end of the grace only."""
    instance = case.instance
    if case.policy.expected is Expected.NEVER:
        return Exemption.IGNORED
    if instance.state is InstanceState.PENDING_CREATE:
        return Exemption.CREATING
    if case.policy.expected is Expected.ALWAYS:
        return None
    if by_type := _EXEMPT_TYPES.get(instance.type):
        return by_type
    if _data_unreadable(case):
        return None
    if instance.activation is ActivationPolicy.NEVER:
        return Exemption.STOPPED
    if instance.state is InstanceState.SUSPENDED:
        return Exemption.SUSPENDED
    if instance.has_backup_plan and case.plan is None:
        return Exemption.MANAGED_ELSEWHERE
    if case.within_grace and not _has_conclusive_run(case):
        return Exemption.NEW
    return None


_EXEMPT_TYPES = {
    InstanceType.READ_REPLICA_INSTANCE: Exemption.READ_REPLICA,
    InstanceType.READ_POOL_INSTANCE: Exemption.READ_POOL,
    InstanceType.ON_PREMISES_INSTANCE: Exemption.EXTERNAL,
    InstanceType.GREEN_INSTANCE: Exemption.GREEN,
}


def _has_conclusive_run(case: Case) -> bool:
    """Whether there is a success, or a failed or overdue automated run; or a success or failure by the backup plan.

    A skipped run, or a failed run on demand, says nothing about a new instance: it still waits for its first backup.
    """
    if case.plan:
        return case.recovery_point is not None or _rule_of_plan_failed(case)
    return case.history.newest_success is not None or _last_run_failed(case) or _reported_overdue(case)


OTHER_BOUNDARIES: tuple[Boundaries, ...] = (
    _end_of_grace,  # of the exemption NEW
    _window_boundaries,  # of the next due time
)
