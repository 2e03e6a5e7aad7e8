"""The recovery point by transaction logs, and the findings about recovery times, at their thresholds."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from exporter.config import Policy
from exporter.facts.collected import NOTHING, InstanceFacts
from exporter.facts.history import RecoveryPointSource, history
from exporter.facts.model import ActivationPolicy, Instance, InstanceState, InstanceType, RunStatus
from exporter.facts.record import ProjectScan, Record
from exporter.facts.recovery_times import RecoveryTimes
from exporter.facts.snapshot import ProjectStatus, Snapshot
from exporter.verdict.assess import Freshness, assess, valid_until
from exporter.verdict.changes import began, next_change
from exporter.verdict.evaluate import evaluate
from exporter.verdict.reasons import FINDINGS
from exporter.verdict.rules import RESOLUTION, Finding, Protection
from tests.support.builders import (
    DAY,
    EXPORTER_INFO,
    HOUR,
    INSTANCE,
    MINUTE,
    NOW,
    SETTINGS,
    config,
    run,
    verdict_on,
)

F, S = Finding, RunStatus
DEFAULTS = replace(
    INSTANCE, backups=replace(SETTINGS, pitr_enabled=True, transaction_log_retention=7 * DAY, retained_backups=7)
)
LATEST = NOW - 3 * MINUTE


def times(
    window: timedelta | None = 7 * DAY, latest: datetime | None = LATEST, read_at: datetime = NOW
) -> RecoveryTimes:
    return RecoveryTimes(read_at, latest - window if latest and window is not None else None, latest)


def facts(*arguments: object, changed: datetime | None = None, **more: object) -> InstanceFacts:
    return InstanceFacts(times(*arguments, **more), changed)  # type: ignore[arg-type] # those of times


def findings(collected: InstanceFacts, instance: Instance = DEFAULTS, **more: object) -> tuple[Finding, ...]:
    return verdict_on(run(), instance=instance, collected=collected, **more).findings  # type: ignore[arg-type] # as there


# The recovery point


def test_recovery_point_is_the_latest_of_backup_and_log() -> None:
    verdict = verdict_on(run(), instance=DEFAULTS, collected=facts())
    assert (verdict.recovery_point, verdict.recovery_point_source) == (LATEST, RecoveryPointSource.LOG)
    earlier = verdict_on(run(), instance=DEFAULTS, collected=facts(latest=NOW - 9 * HOUR))
    assert (earlier.recovery_point, earlier.recovery_point_source) == (NOW - 8 * HOUR, RecoveryPointSource.BACKUP)
    skipped = verdict_on(run(S.SKIPPED), run(ago=32 * HOUR), instance=DEFAULTS, collected=facts(latest=NOW - 9 * HOUR))
    assert skipped.recovery_point_source is RecoveryPointSource.SKIPPED_RUN


def test_failed_backups_are_no_emergency_while_logs_continue() -> None:
    runs = [run(S.FAILED, ago=days * DAY + 8 * HOUR) for days in range(5)] + [run(ago=5 * DAY + 8 * HOUR)]
    without = verdict_on(*runs, instance=DEFAULTS)
    assert without.findings == (F.STALE_CRITICAL, F.STALE, F.LAST_RUN_FAILED)
    verdict = verdict_on(*runs, instance=DEFAULTS, collected=facts())
    assert (verdict.state, verdict.findings) == (Protection.AT_RISK, (F.LAST_RUN_FAILED,))


def test_old_recovery_times_do_not_keep_an_instance_protected() -> None:
    """The recovery point is a fixed time: it ages while recovery times cannot be read."""
    runs = (run(ago=5 * DAY),)
    instance = replace(DEFAULTS, backups=replace(DEFAULTS.backups, window_start=None))
    for age, expected in ((30 * HOUR, ()), (30 * HOUR + RESOLUTION, (F.STALE,))):
        collected = facts(latest=NOW - age, read_at=NOW - age + 3 * MINUTE)
        verdict = verdict_on(*runs, instance=instance, collected=collected)
        assert verdict.findings == expected


@pytest.mark.parametrize(
    "instance",
    [
        replace(DEFAULTS, backups=replace(DEFAULTS.backups, pitr_enabled=False)),
        replace(DEFAULTS, backups=replace(DEFAULTS.backups, pitr_enabled=None)),
        replace(DEFAULTS, type=InstanceType.READ_REPLICA_INSTANCE),
    ],
    ids=["off", "unknown", "replica"],
)
def test_log_does_not_count_without_point_in_time_recovery_of_a_primary(instance: Instance) -> None:
    verdict = verdict_on(run(), instance=instance, collected=facts())
    assert verdict.recovery_point_source is RecoveryPointSource.BACKUP


def test_log_is_of_no_use_without_a_backup() -> None:
    verdict = verdict_on(run(S.DELETED), instance=DEFAULTS, collected=facts())
    assert (verdict.recovery_point, verdict.recovery_point_source) == (None, None)
    assert F.NEVER_SUCCEEDED in verdict.findings


def test_log_that_ends_before_it_begins_does_not_count() -> None:
    verdict = verdict_on(run(), instance=DEFAULTS, collected=facts(-MINUTE))
    assert verdict.recovery_point_source is RecoveryPointSource.BACKUP
    assert verdict_on(run(), instance=DEFAULTS, collected=facts(None)).recovery_point == LATEST


# Lag and window


def test_lag_beyond_max_pitr_lag() -> None:
    policy = Policy.model_validate({"max_pitr_lag": "1h"})
    for lag, expected in ((HOUR, ()), (HOUR + RESOLUTION, (F.PITR_LAGGING,)), (-HOUR, ())):
        assert findings(facts(latest=NOW - lag), policy=policy) == expected
    assert findings(facts(latest=None)) == ()
    assert findings(facts(latest=NOW - 2 * HOUR, read_at=NOW - 2 * HOUR)) == ()  # it was current when it was asked


@pytest.mark.parametrize(
    ("days", "retained", "expected"),
    [(7, 7, 5), (7, 8, 6), (7, 30, 6), (14, 8, 6), (1, 7, 0), (35, 36, 34)],
)
def test_window_shorter_than_logs_and_backups_should_give(days: int, retained: int, expected: int) -> None:
    backups = replace(DEFAULTS.backups, transaction_log_retention=days * DAY, retained_backups=retained)
    instance = replace(DEFAULTS, backups=backups)
    assert findings(facts(expected * DAY), instance) == ()
    assert findings(facts(expected * DAY - RESOLUTION), instance) == (F.PITR_WINDOW_SHORT,)


@pytest.mark.parametrize(
    "backups",
    [
        replace(DEFAULTS.backups, transaction_log_retention=None),
        replace(DEFAULTS.backups, retained_backups=None),
        replace(DEFAULTS.backups, retained_backups=1),
        replace(DEFAULTS.backups, retained_backups=0),
    ],
    ids=["unknown days", "unknown backups", "one backup", "no backup"],
)
def test_window_is_not_judged_without_settings_that_give_one(backups: object) -> None:
    instance = replace(DEFAULTS, backups=backups)  # type: ignore[arg-type] # settings
    assert findings(facts(timedelta()), instance) == ()
    assert findings(facts(None)) == ()


def test_window_of_a_new_instance_or_setting_is_not_judged() -> None:
    """With 6 days expected, they are new for 7 days."""
    short = timedelta(hours=1)
    for age, expected in ((7 * DAY, ()), (7 * DAY + RESOLUTION, (F.PITR_WINDOW_SHORT,))):
        assert findings(facts(short), replace(DEFAULTS, created=NOW - age)) == expected
        assert findings(facts(short, changed=NOW - age)) == expected
    assert findings(facts(short), replace(DEFAULTS, created=None)) == (F.PITR_WINDOW_SHORT,)


@pytest.mark.parametrize(
    "instance",
    [
        replace(DEFAULTS, activation=ActivationPolicy.NEVER),
        *(replace(DEFAULTS, state=state) for state in InstanceState if state is not InstanceState.RUNNABLE),
        replace(DEFAULTS, type=InstanceType.READ_REPLICA_INSTANCE),
        replace(DEFAULTS, backups=replace(DEFAULTS.backups, pitr_enabled=False)),
    ],
    ids=lambda instance: f"{instance.activation} {instance.state} {instance.type} {instance.backups.pitr_enabled}",
)
def test_recovery_times_of_an_instance_that_is_not_running_are_not_judged(instance: Instance) -> None:
    """Also where the policy expects backups in any case."""
    always = Policy.model_validate({"expected": "always"})
    judged = findings(facts(timedelta(hours=1), latest=NOW - 3 * HOUR), instance, policy=always)
    assert not {F.PITR_LAGGING, F.PITR_WINDOW_SHORT} & set(judged)


def test_nothing_is_judged_while_recovery_times_are_unknown() -> None:
    assert findings(NOTHING) == findings(InstanceFacts(settings_changed=NOW - DAY)) == ()


# Time, and words


def test_verdict_changes_when_a_setting_is_no_longer_new() -> None:
    changed = NOW - 7 * DAY + 2 * HOUR
    collected = facts(timedelta(hours=1), changed=changed)
    verdict = verdict_on(run(), instance=DEFAULTS, collected=collected)
    at = changed + 7 * DAY
    assert valid_until(verdict, NOW) == at
    for now, state in ((at, Protection.PROTECTED), (at + RESOLUTION, Protection.AT_RISK)):
        freshness = Freshness(now, DAY)
        assert assess(DEFAULTS, verdict.history, Policy(), now, freshness, collected).state is state
    change = next_change(verdict, NOW)
    assert change
    assert (change.at, change.state) == (at + RESOLUTION, Protection.AT_RISK)


def test_state_by_a_lag_began_when_the_lag_exceeded_its_limit() -> None:
    verdict = verdict_on(run(), instance=DEFAULTS, collected=facts(latest=NOW - 3 * HOUR))
    assert began(verdict, NOW, Freshness(NOW, DAY)) == NOW - 2 * HOUR
    short = verdict_on(run(), instance=DEFAULTS, collected=facts(timedelta(hours=1)))
    assert began(short, NOW, Freshness(NOW, DAY)) is None  # not known


def test_reasons_say_how_far_and_by_which_setting() -> None:
    lagging = verdict_on(run(), instance=DEFAULTS, collected=facts(latest=NOW - 3 * HOUR))
    assert FINDINGS[F.PITR_LAGGING](lagging, NOW) == (
        "point-in-time recovery was 3h behind when read, more than max_pitr_lag (1h)"
    )
    short = verdict_on(run(), instance=DEFAULTS, collected=facts(2 * DAY))
    assert FINDINGS[F.PITR_WINDOW_SHORT](short, NOW) == (
        "point-in-time recovery reaches back 2d only, with 7d of logs and 7 backups to retain"
    )


def test_evaluation_follows_new_recovery_times_of_the_same_scan() -> None:
    record = Record.first(DEFAULTS, history([run(ago=5 * DAY)]).runs, NOW)
    project_scan = ProjectScan(NOW, NOW, records={"orders": record})
    status = ProjectStatus("shop-prod", scan=project_scan)
    states, evaluation = [], None
    for known in ({}, {"orders": times()}, {"orders": times(latest=NOW - 4 * DAY)}):
        collected = replace(status.collected, recovery_times=known)
        snapshot = Snapshot().with_project(replace(status, collected=collected))
        evaluation = evaluate(snapshot, config(), EXPORTER_INFO, NOW, evaluation)
        states.append(evaluation.verdicts[0].recovery_point)
    assert states == [NOW - 5 * DAY, LATEST, NOW - 4 * DAY]
