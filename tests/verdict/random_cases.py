"""Random instances with realistic and adversarial histories, for comparing two implementations of the verdict.

What Google's API was seen to return: scheduled runs begin 0.1 to 0.9 s after a minute, runs on demand and runs outside
the schedule at any second, sizes are often missing, SKIPPED runs have no start or end, deleted runs disappear.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TypeVar

from exporter.config import Policy
from exporter.config.schema import DEFAULT_POLICY, Expected
from exporter.facts.backup_plans import (
    UNREAD,
    AssociationState,
    InstancePlan,
    PlanAssociation,
    PlanRule,
    RuleStatus,
)
from exporter.facts.model import (
    ActivationPolicy,
    BackupRun,
    BackupSettings,
    BackupTier,
    BackupType,
    DeletionSettings,
    Instance,
    InstanceId,
    InstanceState,
    InstanceType,
    RunError,
    RunStatus,
    SuspensionReason,
)
from tests.support.builders import DAY, HOUR, MINUTE, SECOND

T = TypeVar("T")

TODAY = datetime(2026, 11, 24, tzinfo=UTC)
WINDOW = 4 * HOUR
MICROSECOND = timedelta(microseconds=1)
NO_TIME = timedelta()
OFFSETS = (-MINUTE, -SECOND, -MICROSECOND, NO_TIME, NO_TIME, MICROSECOND, SECOND, MINUTE)
SCHEDULE_DELAYS = (*(n * timedelta(milliseconds=100) for n in range(10)), SECOND, 2 * SECOND, 2 * SECOND + MICROSECOND)
S = RunStatus
# What a window left behind, with retries oldest first.
NIGHTS: tuple[tuple[RunStatus, ...], ...] = (
    *((S.SUCCESSFUL,),) * 8,
    *((S.SKIPPED,),) * 4,
    *((S.FAILED,),) * 3,
    *((),) * 3,
    (S.FAILED, S.SUCCESSFUL),
    (S.FAILED, S.FAILED),
    (S.OVERDUE,),
    (S.OVERDUE, S.SUCCESSFUL),
    (S.DELETED,),
    (S.VANISHED,),
    (S.DELETION_PENDING,),
    (S.DELETION_FAILED,),
    (S.UNKNOWN,),
    (S.RUNNING,),
    (S.ENQUEUED,),
)


@dataclass(frozen=True)
class RandomCase:
    """The arguments of a verdict."""

    instance: Instance
    runs: Sequence[BackupRun]
    policy: Policy
    now: datetime
    read_at: datetime
    stale_after: timedelta
    plan: InstancePlan | None = None


def random_case(random: Random) -> RandomCase:
    """Draw one instance with its history, and a time at which something is about to change."""
    policy = _policy(random)
    instance = _instance(random, policy)
    runs = list(_runs(random, instance, policy))
    now = _time_near_a_boundary(random, instance, runs, policy)
    stale_after = random.choice((10 * MINUTE, HOUR, DAY))
    if random.random() < 0.95:  # otherwise the clocks disagree
        runs = [run for run in runs if run.scheduled <= now]
    if instance.created and instance.created > now:
        instance = replace(instance, created=now - random.choice((NO_TIME, MICROSECOND, HOUR, DAY)))
    case = RandomCase(instance, runs, policy, now, _read_at(random, instance, now, stale_after), stale_after)
    return _with_plan(random, case) if random.random() < 0.2 else case


def _with_plan(random: Random, case: RandomCase) -> RandomCase:
    """The case with an instance of the enhanced tier, which is judged by its backup plan unless it is a replica."""
    tier = random.choice((BackupTier.ENHANCED, BackupTier.ENHANCED, BackupTier.ADVANCED))
    instance = replace(case.instance, backups=replace(case.instance.backups, tier=tier))
    if not instance.can_have_backups:
        return replace(case, instance=instance)
    return replace(case, instance=instance, plan=_plan(random, case.policy, case.now))


def _plan(random: Random, policy: Policy, now: datetime) -> InstancePlan:
    if random.random() < 0.05:
        return UNREAD
    if random.random() < 0.1:
        return InstancePlan()
    state = _mostly(random, AssociationState.ACTIVE, AssociationState)
    rules = (_plan_rule(random, policy, now, number) for number in range(random.choice((0, 1, 1, 1, 2, 3))))
    return InstancePlan(association=PlanAssociation("association", "gold", "vault", state, tuple(rules)))


def _plan_rule(random: Random, policy: Policy, now: datetime, number: int) -> PlanRule:
    ages = (HOUR, random.random() * 4 * DAY, policy.max_age, policy.max_age, policy.critical_age, policy.critical_age)
    last_success = now - random.choice(ages) - random.choice(OFFSETS) if random.random() < 0.75 else None
    if last_success is None:
        return PlanRule(f"rule-{number}", random.choice((RuleStatus.FIRST_BACKUP_PENDING, *RuleStatus)))
    return PlanRule(f"rule-{number}", _mostly(random, RuleStatus.SUCCEEDED, RuleStatus), last_success)


def _policy(random: Random) -> Policy:
    if random.random() < 0.3:
        return DEFAULT_POLICY
    max_age = random.choice((HOUR, 12 * HOUR, 26 * HOUR, 30 * HOUR, 7 * DAY))
    return DEFAULT_POLICY.model_copy(
        update={
            "expected": random.choice((*(Expected.AUTO,) * 8, Expected.ALWAYS, Expected.ALWAYS, Expected.NEVER)),
            "max_age": max_age,
            "critical_age": max_age + random.choice((NO_TIME, SECOND, DAY, 30 * DAY)),
            "max_duration": random.choice((MINUTE, HOUR, 6 * HOUR, 3 * DAY)),
            "grace": random.choice((NO_TIME, HOUR, 30 * HOUR, 3 * DAY, 30 * DAY)),
            "require_pitr": random.random() < 0.3,
            "require_deletion_guard": random.random() < 0.3,
            "min_retained": random.choice((None, None, 1, 7, 8, 365)),
            "allowed_locations": random.choice((None, None, ("eu",), ("eu", "us"), ("asia",))),
        }
    )


def _instance(random: Random, policy: Policy) -> Instance:
    window_start = random.choice((None, NO_TIME, 3 * HOUR, 4 * HOUR + 30 * MINUTE, 12 * HOUR, 23 * HOUR, 21 * HOUR))
    opening = TODAY - random.randrange(4) * DAY + (window_start or NO_TIME)
    created = random.choice(
        (
            *(TODAY - 400 * DAY,) * 6,
            None,
            opening + random.choice(OFFSETS),
            opening + WINDOW + random.choice(OFFSETS),
            opening + random.random() * WINDOW,
            opening - random.random() * 20 * HOUR,
            TODAY - policy.grace + random.choice(OFFSETS),
        )
    )
    return Instance(
        id=InstanceId("shop-prod", "orders"),
        type=_mostly(random, InstanceType.CLOUD_SQL_INSTANCE, InstanceType),
        state=_mostly(random, InstanceState.RUNNABLE, InstanceState),
        activation=_mostly(random, ActivationPolicy.ALWAYS, ActivationPolicy),
        created=created,
        backups=BackupSettings(
            enabled=_mostly(random, True, (True, False, None)),
            window_start=window_start,
            tier=_mostly(random, BackupTier.STANDARD, BackupTier),
            pitr_enabled=random.choice((True, False, None)),
            retained_backups=random.choice((None, 1, 7, 8, 365)),
        ),
        deletion=DeletionSettings(*(random.choice((True, False, False, None)) for _ in range(3))),
        suspension_reasons=_suspension_reasons(random),
        disk_full=random.random() < 0.05,
    )


def _suspension_reasons(random: Random) -> tuple[SuspensionReason, ...]:
    if random.random() < 0.85:
        return ()
    return tuple(random.sample(list(SuspensionReason), random.randint(1, 2)))


def _mostly(random: Random, usual: T, others: Iterable[T]) -> T:
    return usual if random.random() < 0.85 else random.choice(list(others))


def _runs(random: Random, instance: Instance, policy: Policy) -> Iterator[BackupRun]:
    window_start = instance.backups.window_start or 3 * HOUR
    former_window_start = random.choice((window_start, window_start, random.randrange(24 * 60) * MINUTE))
    moved = random.randrange(5)
    draws = _RunDraws(random, policy)
    for days_ago in range(random.choice((0, 1, 1, 2, 3, 4, 5)), -2, -1):
        opening = TODAY - days_ago * DAY + (former_window_start if days_ago >= moved else window_start)
        if random.random() < 0.85:
            yield from draws.night(opening)
        if random.random() < 0.15:  # outside the schedule
            yield draws.run(opening + random.random() * DAY, BackupType.AUTOMATED)
        if random.random() < 0.2:
            other_types = (*(BackupType.ON_DEMAND,) * 3, BackupType.FINAL, BackupType.UNKNOWN)
            yield draws.run(opening + random.random() * DAY, random.choice(other_types))


@dataclass(frozen=True)
class _RunDraws:
    random: Random
    policy: Policy

    def night(self, opening: datetime) -> Iterator[BackupRun]:
        begin = opening + self.random.choice((0, 0, 0, 12, 61, 239, 240)) * MINUTE
        begin += self.random.choice(SCHEDULE_DELAYS)
        for attempt, status in enumerate(self.random.choice(NIGHTS)):
            yield self.run(begin, BackupType.AUTOMATED, status, later=attempt * 20 * MINUTE)

    def run(
        self, window_start: datetime, kind: BackupType, status: RunStatus | None = None, later: timedelta = NO_TIME
    ) -> BackupRun:
        random = self.random
        status = status or random.choice((*(S.SUCCESSFUL,) * 6, *S))
        window_start = window_start.replace(microsecond=window_start.microsecond // 1000 * 1000 + random.randrange(2))
        enqueued = window_start + later + random.choice((NO_TIME, timedelta(milliseconds=40), 3 * MINUTE, 2 * HOUR))
        start = enqueued + random.choice((timedelta(milliseconds=40), MINUTE, 3 * HOUR))
        duration = random.choice((7 * MINUTE, 7 * MINUTE, HOUR, self.policy.max_duration + random.choice(OFFSETS)))
        never_started = status in (S.SKIPPED, S.OVERDUE, S.ENQUEUED)
        times = {
            "window_start": self._maybe(window_start),
            "enqueued": self._maybe(enqueued),
            "start": None if never_started else self._maybe(start),
            "end": None if never_started or status is S.RUNNING else self._maybe(start + duration),
        }
        return BackupRun(
            id=str(random.randrange(10**12, 10**13)),
            type=kind,
            status=status,
            scheduled=times["window_start"] or times["enqueued"] or times["start"] or window_start,
            **times,
            error=RunError("INTERNAL_ERROR", "it failed", "INTERNAL_ERROR") if status is S.FAILED else None,
            location=random.choice(("eu", "eu", "us", None)),
            size_bytes=random.choice((None, 0, 2**30, 2**30, 2**31)),
        )

    def _maybe(self, timestamp: datetime) -> datetime | None:
        return timestamp if self.random.random() < 0.93 else None


def _time_near_a_boundary(random: Random, instance: Instance, runs: Sequence[BackupRun], policy: Policy) -> datetime:
    if random.random() < 0.3:
        return TODAY + random.random() * DAY
    boundaries = []
    if instance.backups.window_start is not None:
        opening = TODAY + random.choice((-DAY, NO_TIME)) + instance.backups.window_start
        boundaries += [opening, opening + WINDOW]
    if instance.created and TODAY - 2 * DAY < instance.created + policy.grace < TODAY + 2 * DAY:
        boundaries += [instance.created + policy.grace] * 2
    for run in runs[-4:]:
        since = run.effective_start if run.status is not S.SKIPPED else run.scheduled
        thresholds = (policy.max_age, policy.critical_age, policy.max_duration)
        boundaries += [since + threshold for threshold in thresholds if threshold < 8 * DAY]
    return random.choice(boundaries or [TODAY]) + random.choice(OFFSETS)


def _read_at(random: Random, instance: Instance, now: datetime, stale_after: timedelta) -> datetime:
    choices = [now, now, now - stale_after + random.choice(OFFSETS), now - random.random() * 2 * stale_after]
    if instance.backups.window_start is not None:
        closing = now.replace(hour=0, minute=0, second=0, microsecond=0) + instance.backups.window_start + WINDOW
        choices += [closing + random.choice((-MICROSECOND, NO_TIME, MICROSECOND))]
    return min(now, max(random.choice(choices), now - 2 * stale_after))
