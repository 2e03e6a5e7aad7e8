"""The verdict on one instance: (instance, its runs, policy, now) -> Assessment. Pure.

Written to be read beside the rules in docs/verdicts.md. A threshold is exceeded beyond its value, not at it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from exporter.config import Expected, Policy
from exporter.history import History
from exporter.model import (
    ActivationPolicy,
    BackupTier,
    BackupType,
    Instance,
    InstanceState,
    InstanceType,
    RunStatus,
)

WINDOW = timedelta(hours=4)  # Cloud SQL opens a backup window of four hours once a day
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


class Protection(StrEnum):
    """The state of an instance's protection."""

    PROTECTED = "protected"
    AT_RISK = "at_risk"
    UNPROTECTED = "unprotected"
    EXEMPT = "exempt"
    UNKNOWN = "unknown"


class Exemption(StrEnum):
    """Why no automated backup is expected of an instance."""

    READ_REPLICA = "read_replica"
    READ_POOL = "read_pool"
    EXTERNAL = "external"
    GREEN = "green"
    STOPPED = "stopped"
    SUSPENDED = "suspended"
    CREATING = "creating"
    NEW = "new"
    MANAGED_ELSEWHERE = "managed_elsewhere"
    IGNORED = "ignored"


class Finding(StrEnum):
    """A problem that holds; the worst comes first."""

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

    @property
    def leads_to(self) -> Protection:
        """The state that this problem alone leads to."""
        return Protection.UNPROTECTED if self in _UNPROTECTING else Protection.AT_RISK


_UNPROTECTING = frozenset({Finding.BACKUPS_DISABLED, Finding.NEVER_SUCCEEDED, Finding.STALE_CRITICAL})


@dataclass(frozen=True, slots=True)
class Assessment:
    """The verdict on one instance, beside the facts it rests on."""

    instance: Instance
    history: History
    policy: Policy
    state: Protection
    findings: tuple[Finding, ...]
    exemption: Exemption | None
    next_due: datetime | None


@dataclass(frozen=True, slots=True)
class Freshness:
    """When facts were read, and how old they may become."""

    read_at: datetime
    stale_after: timedelta


@dataclass(frozen=True, slots=True)
class _Case:
    instance: Instance
    history: History
    policy: Policy
    now: datetime
    read_at: datetime

    @property
    def within_grace(self) -> bool:
        """Created a moment ago; false where the moment of creation is not known."""
        created = self.instance.created
        return created is not None and self.now - created <= self.policy.grace

    @property
    def recovery_point_age(self) -> timedelta | None:
        point = self.history.recovery_point
        return None if point is None else self.now - point


def assess(
    instance: Instance, history: History, policy: Policy, now: datetime, freshness: Freshness | None = None
) -> Assessment:
    """Judge one instance by facts of a certain freshness; by those of this moment where none is given.

    Where the facts are older than they may be, the state is unknown, whatever they say.
    """
    freshness = freshness or Freshness(now, DAY)
    case = _Case(instance, history, policy, now, freshness.read_at)
    exemption = _exemption(case)
    findings = () if exemption else tuple(finding for finding, holds in _RULES.items() if holds(case))
    if now - freshness.read_at > freshness.stale_after:
        state = Protection.UNKNOWN
    elif exemption:
        state = Protection.EXEMPT
    else:
        state = findings[0].leads_to if findings else Protection.PROTECTED
    awaited = exemption in (None, Exemption.NEW, Exemption.CREATING) and instance.backups.enabled is not False
    due = _next_due(instance, history, now) if awaited else None
    return Assessment(instance, history, policy, state, findings, exemption, due)


def holds_through(
    instance: Instance, history: History, policy: Policy, now: datetime, freshness: Freshness
) -> datetime:
    """A moment until which, itself included, `assess` gives the same verdict as now, the facts being the same.

    The verdict may well hold longer: whoever keeps it asks again then.
    """
    limits = [
        now + DAY,
        freshness.read_at + freshness.stale_after,
        *(run.began + policy.max_duration for run in history.in_progress),
    ]
    if instance.created:
        limits.append(instance.created + policy.grace)
    if history.recovery_point:
        limits += [history.recovery_point + policy.max_age, history.recovery_point + policy.critical_age]
    if instance.backups.window_start is not None:
        opened = _last_opening(instance.backups.window_start, now)
        limits += [boundary - TICK for boundary in (opened + WINDOW, opened + DAY)]
    return min(limit for limit in limits if limit >= now)


def _exemption(case: _Case) -> Exemption | None:
    instance = case.instance
    if instance.state is InstanceState.PENDING_CREATE and case.policy.expected is not Expected.NEVER:
        return Exemption.CREATING
    if case.policy.expected is Expected.ALWAYS:
        return None
    if case.policy.expected is Expected.NEVER:
        return Exemption.IGNORED
    if by_type := _EXEMPT_TYPES.get(instance.type):
        return by_type
    if instance.activation is ActivationPolicy.NEVER:
        return Exemption.STOPPED
    if instance.state is InstanceState.SUSPENDED:
        return Exemption.SUSPENDED
    if instance.backups.tier in (BackupTier.ENHANCED, BackupTier.ADVANCED):
        return Exemption.MANAGED_ELSEWHERE
    if case.within_grace and not _told(case):
        return Exemption.NEW
    return None


_EXEMPT_TYPES = {
    InstanceType.READ_REPLICA_INSTANCE: Exemption.READ_REPLICA,
    InstanceType.READ_POOL_INSTANCE: Exemption.READ_POOL,
    InstanceType.ON_PREMISES_INSTANCE: Exemption.EXTERNAL,
    InstanceType.GREEN_INSTANCE: Exemption.GREEN,
}


def _told(case: _Case) -> bool:
    """Whether the runs of a new instance tell something: a success, or a failed or overdue automated run.

    A skipped run, or a failed run on demand, would leave it without a backup and without a finding: it is waiting.
    """
    return case.history.newest_success is not None or _last_run_failed(case) or _called_overdue(case)


def _backups_disabled(case: _Case) -> bool:
    return case.instance.backups.enabled is False and case.instance.can_have_backups


def _never_succeeded(case: _Case) -> bool:
    waits = case.within_grace and case.policy.expected is not Expected.ALWAYS
    return case.history.newest_success is None and not waits


def _stale_critical(case: _Case) -> bool:
    age = case.recovery_point_age
    return age is not None and age > case.policy.critical_age


def _stale(case: _Case) -> bool:
    age = case.recovery_point_age
    return age is not None and age > case.policy.max_age


def _last_run_failed(case: _Case) -> bool:
    newest = case.history.of(BackupType.AUTOMATED).newest_ended
    return newest is not None and newest.status is RunStatus.FAILED


def _overdue(case: _Case) -> bool:
    return _called_overdue(case) or _window_missed(case)


def _called_overdue(case: _Case) -> bool:
    newest = case.history.of(BackupType.AUTOMATED).newest
    return newest is not None and newest.status is RunStatus.OVERDUE


def _window_missed(case: _Case) -> bool:
    """No automated run belongs to the 24 hours before the last window closed, as far as the facts can tell."""
    opens = case.instance.backups.window_start
    if opens is None:
        return False
    closed = _last_opening(opens, min(case.now, case.read_at) - WINDOW) + WINDOW
    existed = case.instance.created is None or case.instance.created <= closed - WINDOW
    return existed and not any(run.since < closed for run in case.history.automated_since(closed - DAY))


def _stuck(case: _Case) -> bool:
    return any(case.now - run.began > case.policy.max_duration for run in case.history.in_progress)


def _slow(case: _Case) -> bool:
    newest = case.history.newest_success
    took = newest.duration if newest else None
    return took is not None and took > case.policy.max_duration


def _pitr_disabled(case: _Case) -> bool:
    return case.policy.require_pitr and not case.instance.backups.pitr_enabled


def _retention_low(case: _Case) -> bool:
    least, kept = case.policy.min_retained, case.instance.backups.retained_backups
    return least is not None and kept is not None and kept < least


def _location_not_allowed(case: _Case) -> bool:
    allowed, newest = case.policy.allowed_locations, case.history.newest_success
    return bool(allowed is not None and newest and newest.location and newest.location not in allowed)


_RULES: dict[Finding, Callable[[_Case], bool]] = {
    Finding.BACKUPS_DISABLED: _backups_disabled,
    Finding.NEVER_SUCCEEDED: _never_succeeded,
    Finding.STALE_CRITICAL: _stale_critical,
    Finding.STALE: _stale,
    Finding.LAST_RUN_FAILED: _last_run_failed,
    Finding.OVERDUE: _overdue,
    Finding.STUCK: _stuck,
    Finding.SLOW: _slow,
    Finding.PITR_DISABLED: _pitr_disabled,
    Finding.RETENTION_LOW: _retention_low,
    Finding.LOCATION_NOT_ALLOWED: _location_not_allowed,
}


def _last_opening(opens: timedelta, moment: datetime) -> datetime:
    """The last moment, not after `moment`, at which a daily window that opens at `opens` after midnight UTC opened."""
    today = moment.replace(hour=0, minute=0, second=0, microsecond=0) + opens
    return today if today <= moment else today - DAY


def _next_due(instance: Instance, history: History, now: datetime) -> datetime | None:
    """The end of the window in which the next automated run must begin; None where the window is not known.

    The window that is open now is the next one until a run of it has begun.
    """
    opens = instance.backups.window_start
    if opens is None:
        return None
    opened = _last_opening(opens, now)
    begun = any(run.status is not RunStatus.ENQUEUED for run in history.automated_since(opened))
    still_open = now < opened + WINDOW
    return opened + WINDOW if still_open and not begun else opened + DAY + WINDOW
