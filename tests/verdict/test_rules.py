"""The verdict rules, one by one; every threshold before, at and after its value."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import Policy
from exporter.facts.history import history
from exporter.facts.model import (
    ActivationPolicy,
    BackupRun,
    BackupTier,
    BackupType,
    DeletionSettings,
    Instance,
    InstanceState,
    InstanceType,
    RunStatus,
    SuspensionReason,
)
from exporter.verdict.assess import Freshness, assess
from exporter.verdict.rules import Exemption, Finding, Protection
from tests.support.builders import DAY, HOUR, INSTANCE, MINUTE, NOW, SECOND, SETTINGS, run, verdict_on
from tests.support.strategies import some_runs

S, F, E, P = RunStatus, Finding, Exemption, Protection
AROUND_THRESHOLD = pytest.mark.parametrize(
    ("offset", "exceeded"), [(-SECOND, False), (0 * SECOND, False), (SECOND, True)]
)
NO_WINDOW = replace(INSTANCE, backups=replace(SETTINGS, window_start=None))  # excludes the rule about windows


def policy(**keys: object) -> Policy:
    return Policy.model_validate(keys)


def test_instance_with_recent_backup_is_protected() -> None:
    verdict = verdict_on(run())
    assert (verdict.state, verdict.findings, verdict.exemption) == (P.PROTECTED, (), None)


def test_backups_disabled() -> None:
    disabled = replace(INSTANCE, backups=replace(SETTINGS, enabled=False))
    verdict = verdict_on(run(), instance=disabled)
    assert (verdict.state, verdict.findings, verdict.next_due) == (P.UNPROTECTED, (F.BACKUPS_DISABLED,), None)


def test_unknown_backup_setting_is_not_backups_disabled() -> None:
    assert verdict_on(run(), instance=replace(INSTANCE, backups=replace(SETTINGS, enabled=None))).findings == ()


@AROUND_THRESHOLD
def test_stale_beyond_max_age(offset: timedelta, exceeded: bool) -> None:
    verdict = verdict_on(run(ago=30 * HOUR + offset), instance=NO_WINDOW)
    assert verdict.findings == ((F.STALE,) if exceeded else ())
    assert verdict.state is (P.AT_RISK if exceeded else P.PROTECTED)


@AROUND_THRESHOLD
def test_stale_critical_beyond_critical_age(offset: timedelta, exceeded: bool) -> None:
    verdict = verdict_on(run(ago=54 * HOUR + offset), instance=NO_WINDOW)
    assert verdict.findings == ((F.STALE_CRITICAL, F.STALE) if exceeded else (F.STALE,))
    assert verdict.state is (P.UNPROTECTED if exceeded else P.AT_RISK)


@AROUND_THRESHOLD
def test_never_succeeded_beyond_grace(offset: timedelta, exceeded: bool) -> None:
    verdict = verdict_on(instance=replace(NO_WINDOW, created=NOW - 30 * HOUR - offset))
    assert verdict.findings == ((F.NEVER_SUCCEEDED,) if exceeded else ())
    assert verdict.exemption is (None if exceeded else E.NEW)
    assert verdict.state is (P.UNPROTECTED if exceeded else P.EXEMPT)


def test_never_succeeded_without_grace_if_creation_time_is_unknown() -> None:
    assert verdict_on(instance=replace(NO_WINDOW, created=None)).findings == (F.NEVER_SUCCEEDED,)


@pytest.mark.parametrize("status", [S.DELETED, S.DELETION_PENDING, S.DELETION_FAILED, S.SKIPPED, S.UNKNOWN])
def test_never_succeeded_if_no_run_left_a_backup(status: RunStatus) -> None:
    assert verdict_on(run(status)).findings == (F.NEVER_SUCCEEDED,)


def test_last_run_failed_while_the_next_run_is_in_progress() -> None:
    verdict = verdict_on(run(S.RUNNING, ago=HOUR), run(S.FAILED), run(ago=20 * HOUR))
    assert (verdict.state, verdict.findings) == (P.AT_RISK, (F.LAST_RUN_FAILED,))


def test_skipped_run_clears_last_run_failed_and_on_demand_run_does_not() -> None:
    assert verdict_on(run(S.SKIPPED, ago=HOUR), run(S.FAILED), run(ago=20 * HOUR)).findings == ()
    on_demand = run(ago=HOUR, kind=BackupType.ON_DEMAND)
    assert verdict_on(on_demand, run(S.FAILED), run(ago=20 * HOUR)).findings == (F.LAST_RUN_FAILED,)


def test_failed_on_demand_run_is_no_finding() -> None:
    assert verdict_on(run(S.FAILED, ago=HOUR, kind=BackupType.ON_DEMAND), run()).findings == ()


def test_overdue_if_the_api_reports_it() -> None:
    verdict = verdict_on(run(S.OVERDUE), run(ago=28 * HOUR))
    assert (verdict.state, verdict.findings) == (P.AT_RISK, (F.OVERDUE,))
    assert verdict_on(run(S.RUNNING, ago=HOUR), run(S.OVERDUE), run(ago=28 * HOUR)).findings == ()


@pytest.mark.parametrize(
    ("offset", "missed"), [(-SECOND, False), (0 * SECOND, True), (SECOND, True)], ids=["before", "at", "after"]
)
def test_overdue_when_a_window_closes_without_a_run(offset: timedelta, missed: bool) -> None:
    """The window is 04:00 to 08:00; the last run was in the window of the day before."""
    now = NOW.replace(hour=8) + offset
    verdict = verdict_on(run(ago=32 * HOUR), now=now)
    assert verdict.findings == ((F.OVERDUE,) if missed else ())


@pytest.mark.parametrize("status", [S.FAILED, S.SKIPPED, S.RUNNING, S.DELETED, S.UNKNOWN])
def test_run_of_any_status_means_its_window_was_not_missed(status: RunStatus) -> None:
    assert F.OVERDUE not in verdict_on(run(status), run(ago=28 * HOUR)).findings


def test_on_demand_run_does_not_count_for_a_window() -> None:
    assert verdict_on(run(ago=6 * HOUR, kind=BackupType.ON_DEMAND), run(ago=32 * HOUR)).findings == (F.OVERDUE,)


def test_window_stays_missed_until_the_next_window_closes() -> None:
    """The 24 hours examined end when the last window closed; a run in the window now open does not count for it."""
    at_five = NOW.replace(hour=5) + DAY  # the next window opened an hour ago
    assert F.OVERDUE in verdict_on(run(ago=32 * HOUR), run(ago=-17 * HOUR), now=at_five).findings


@AROUND_THRESHOLD
def test_window_that_opened_before_creation_is_not_missed(offset: timedelta, exceeded: bool) -> None:
    created = NOW.replace(hour=4) + offset
    on_demand = run(ago=HOUR, kind=BackupType.ON_DEMAND)
    verdict = verdict_on(on_demand, instance=replace(INSTANCE, created=created))
    assert verdict.findings == (() if exceeded else (F.OVERDUE,))


def test_no_window_is_missed_if_the_window_is_unknown() -> None:
    assert verdict_on(run(ago=20 * HOUR), instance=NO_WINDOW).findings == ()


UNSCHEDULED = 11 * HOUR + 29 * MINUTE + timedelta(seconds=3, milliseconds=71)  # a recorded run began at 12:30:56.929


def test_unscheduled_run_does_not_hide_a_missed_window() -> None:
    """The window is 03:00 to 07:00, the last scheduled run in that of the day before; Google made a run at 00:30:56."""
    instance = replace(INSTANCE, backups=replace(SETTINGS, window_start=3 * HOUR))
    unscheduled = run(ago=UNSCHEDULED)
    verdict = verdict_on(unscheduled, run(ago=33 * HOUR), instance=instance)
    assert verdict.findings == (F.OVERDUE,)
    assert verdict.history.recovery_point == unscheduled.start


def test_unscheduled_run_within_the_window_is_the_run_of_the_window() -> None:
    assert verdict_on(run(ago=7 * HOUR + timedelta(seconds=3, milliseconds=71)), run(ago=32 * HOUR)).findings == ()


@AROUND_THRESHOLD
def test_run_before_the_window_counts_if_it_begins_like_a_scheduled_one(offset: timedelta, exceeded: bool) -> None:
    """At most 2 s after a whole minute: the window has been moved since."""
    moved = run(ago=10 * HOUR - 2 * SECOND - offset)
    assert verdict_on(moved, run(ago=32 * HOUR)).findings == ((F.OVERDUE,) if exceeded else ())


def test_overdue_does_not_hold_while_backups_are_disabled() -> None:
    disabled = replace(INSTANCE, backups=replace(SETTINGS, enabled=False))
    for runs in ([run(S.OVERDUE), run(ago=28 * HOUR)], [run(ago=32 * HOUR)]):
        assert F.OVERDUE not in verdict_on(*runs, instance=disabled).findings


@AROUND_THRESHOLD
@pytest.mark.parametrize("status", [S.RUNNING, S.ENQUEUED])
def test_stuck_beyond_max_duration(status: RunStatus, offset: timedelta, exceeded: bool) -> None:
    verdict = verdict_on(run(status, ago=6 * HOUR + offset), run(ago=28 * HOUR))
    assert verdict.findings == ((F.STUCK,) if exceeded else ())


def test_on_demand_run_can_be_stuck() -> None:
    assert verdict_on(run(S.RUNNING, ago=7 * HOUR, kind=BackupType.ON_DEMAND), run()).findings == (F.STUCK,)


@AROUND_THRESHOLD
def test_slow_beyond_max_duration(offset: timedelta, exceeded: bool) -> None:
    verdict = verdict_on(run(took=6 * HOUR + offset))
    assert verdict.findings == ((F.SLOW,) if exceeded else ())


def test_slow_considers_only_the_newest_success() -> None:
    assert verdict_on(run(), run(ago=32 * HOUR, took=9 * HOUR)).findings == ()


def test_pitr_disabled() -> None:
    disabled, enabled = (
        replace(INSTANCE, backups=replace(SETTINGS, pitr_enabled=setting)) for setting in (False, True)
    )
    required = policy(require_pitr=True)
    assert verdict_on(run(), instance=disabled, policy=required).findings == (F.PITR_DISABLED,)
    assert verdict_on(run(), instance=enabled, policy=required).findings == ()
    assert verdict_on(run(), instance=disabled).findings == ()


@pytest.mark.parametrize(("retained", "low"), [(6, True), (7, False), (8, False), (None, False)])
def test_retention_low_below_min_retained(retained: int | None, low: bool) -> None:
    verdict = verdict_on(
        run(),
        instance=replace(INSTANCE, backups=replace(SETTINGS, retained_backups=retained)),
        policy=policy(min_retained=7),
    )
    assert verdict.findings == ((F.RETENTION_LOW,) if low else ())


@pytest.mark.parametrize(("location", "outside"), [("us", True), ("eu", False), (None, False)])
def test_location_not_allowed(location: str | None, outside: bool) -> None:
    verdict = verdict_on(run(location=location), policy=policy(allowed_locations=["eu", "europe-west1"]))
    assert verdict.findings == ((F.LOCATION_NOT_ALLOWED,) if outside else ())


@pytest.mark.parametrize("guard", ["protected", "backups_retained", "final_backup"])
def test_deletion_unguarded_unless_one_guard_is_on(guard: str) -> None:
    off = DeletionSettings(protected=False, backups_retained=False, final_backup=False)
    unguarded, guarded = (replace(INSTANCE, deletion=settings) for settings in (off, replace(off, **{guard: True})))
    required = policy(require_deletion_guard=True)
    verdict = verdict_on(run(), instance=unguarded, policy=required)
    assert (verdict.state, verdict.findings) == (P.AT_RISK, (F.DELETION_UNGUARDED,))
    assert verdict_on(run(), instance=guarded, policy=required).findings == ()
    assert verdict_on(run(), instance=unguarded).findings == ()
    assert verdict_on(run(), policy=required).findings == (F.DELETION_UNGUARDED,)  # the API returned no settings


def without_key(instance: Instance) -> Instance:
    return replace(instance, suspension_reasons=(SuspensionReason.BILLING_ISSUE, SuspensionReason.KMS_KEY_ISSUE))


def test_data_unreadable_although_every_run_is_successful() -> None:
    verdict = verdict_on(run(), run(ago=32 * HOUR), instance=without_key(INSTANCE))
    assert (verdict.state, verdict.findings) == (P.UNPROTECTED, (F.DATA_UNREADABLE,))
    billing = replace(INSTANCE, suspension_reasons=(SuspensionReason.BILLING_ISSUE,))
    assert verdict_on(run(), instance=billing).findings == ()


@pytest.mark.parametrize("reason", list(Exemption))
def test_data_unreadable_replaces_some_exemptions(reason: Exemption) -> None:
    expected = "never" if reason is E.IGNORED else "auto"
    verdict = verdict_on(instance=without_key(EXEMPT[reason]), policy=policy(expected=expected))
    if reason in (E.STOPPED, E.SUSPENDED, E.MANAGED_ELSEWHERE, E.NEW):
        assert (verdict.state, verdict.exemption, verdict.findings[0]) == (P.UNPROTECTED, None, F.DATA_UNREADABLE)
    else:
        assert (verdict.state, verdict.exemption, verdict.findings) == (P.EXEMPT, reason, ())


def test_ignored_precedes_creating() -> None:
    assert verdict_on(instance=EXEMPT[E.CREATING], policy=policy(expected="never")).exemption is E.IGNORED


def test_state_follows_the_worst_finding() -> None:
    verdict = verdict_on(run(S.FAILED), run(ago=56 * HOUR))
    assert (verdict.state, verdict.findings) == (P.UNPROTECTED, (F.STALE_CRITICAL, F.STALE, F.LAST_RUN_FAILED))


def instance_of_type(kind: InstanceType) -> Instance:
    return replace(INSTANCE, type=kind)


EXEMPT = {
    E.READ_REPLICA: instance_of_type(InstanceType.READ_REPLICA_INSTANCE),
    E.READ_POOL: instance_of_type(InstanceType.READ_POOL_INSTANCE),
    E.EXTERNAL: instance_of_type(InstanceType.ON_PREMISES_INSTANCE),
    E.GREEN: instance_of_type(InstanceType.GREEN_INSTANCE),
    E.STOPPED: replace(INSTANCE, activation=ActivationPolicy.NEVER),
    E.SUSPENDED: replace(INSTANCE, state=InstanceState.SUSPENDED),
    E.CREATING: replace(INSTANCE, state=InstanceState.PENDING_CREATE),
    E.NEW: replace(INSTANCE, created=NOW - HOUR),
    E.MANAGED_ELSEWHERE: replace(INSTANCE, backups=replace(SETTINGS, tier=BackupTier.ENHANCED)),
    E.IGNORED: INSTANCE,
}


@pytest.mark.parametrize("reason", list(Exemption))
def test_exempt_instance_has_a_reason_and_no_findings(reason: Exemption) -> None:
    expected = "never" if reason is E.IGNORED else "auto"
    verdict = verdict_on(instance=EXEMPT[reason], policy=policy(expected=expected))
    assert (verdict.state, verdict.findings, verdict.exemption) == (P.EXEMPT, (), reason)
    assert (verdict.next_due is not None) == (reason in (E.NEW, E.CREATING))


@pytest.mark.parametrize("reason", [reason for reason in Exemption if reason is not E.IGNORED])
def test_expected_always_overrides_every_exemption_except_creating(reason: Exemption) -> None:
    verdict = verdict_on(instance=EXEMPT[reason], policy=policy(expected="always"))
    if reason is E.CREATING:
        assert (verdict.state, verdict.exemption) == (P.EXEMPT, E.CREATING)
    else:
        assert (verdict.state, verdict.exemption) == (P.UNPROTECTED, None)
        assert F.NEVER_SUCCEEDED in verdict.findings


NEW = replace(NO_WINDOW, created=NOW - 3 * HOUR)


@pytest.mark.parametrize(
    ("first", "exempt", "findings"),
    [
        (run(S.RUNNING, ago=HOUR), True, ()),
        (run(S.SKIPPED, ago=HOUR), True, ()),
        (run(S.FAILED, ago=HOUR, kind=BackupType.ON_DEMAND), True, ()),
        (run(S.SUCCESSFUL, ago=HOUR), False, ()),
        (run(S.SUCCESSFUL, ago=HOUR, kind=BackupType.ON_DEMAND), False, ()),
        (run(S.FAILED, ago=HOUR), False, (F.LAST_RUN_FAILED,)),
        (run(S.OVERDUE, ago=HOUR), False, (F.OVERDUE,)),
    ],
    ids=lambda value: f"{value.type}-{value.status}" if isinstance(value, BackupRun) else "",
)
def test_new_instance_is_exempt_until_its_first_conclusive_run(
    first: BackupRun, exempt: bool, findings: tuple[Finding, ...]
) -> None:
    verdict = verdict_on(first, instance=NEW)
    assert (verdict.exemption is E.NEW, verdict.findings) == (exempt, findings)


EXPIRED = Freshness(NOW - HOUR - SECOND, HOUR)


@AROUND_THRESHOLD
def test_unknown_beyond_stale_after(offset: timedelta, exceeded: bool) -> None:
    verdict = assess(INSTANCE, history([run()]), Policy(), NOW, Freshness(NOW - HOUR - offset, HOUR))
    assert verdict.state is (P.UNKNOWN if exceeded else P.PROTECTED)


def test_window_that_closed_after_the_last_poll_is_not_missed_yet() -> None:
    """A run may have started since the last poll."""
    runs, closed = history([run(ago=32 * HOUR)]), NOW.replace(hour=8)
    before = assess(INSTANCE, runs, Policy(), closed + MINUTE, Freshness(closed - MINUTE, HOUR))
    after = assess(INSTANCE, runs, Policy(), closed + MINUTE, Freshness(closed, HOUR))
    assert (before.findings, after.findings) == ((), (F.OVERDUE,))


def test_expired_facts_make_the_state_unknown_and_keep_the_findings() -> None:
    verdict = assess(INSTANCE, history([run(S.FAILED), run(ago=20 * HOUR)]), Policy(), NOW, EXPIRED)
    assert (verdict.state, verdict.findings) == (P.UNKNOWN, (F.LAST_RUN_FAILED,))
    replica = assess(EXEMPT[E.READ_REPLICA], history([]), Policy(), NOW, EXPIRED)
    assert (replica.state, replica.exemption) == (P.UNKNOWN, E.READ_REPLICA)


def at(hour: int, day: int = 23) -> datetime:
    return NOW.replace(day=day, hour=hour)


def test_new_instance_is_exempt_again_after_failed_then_skipped_run() -> None:
    verdict = verdict_on(run(S.SKIPPED, ago=HOUR), run(S.FAILED, ago=2 * HOUR), instance=NEW)
    assert (verdict.state, verdict.exemption) == (P.EXEMPT, E.NEW)


@pytest.mark.parametrize(
    ("now", "runs", "due"),
    [
        (at(3), [], at(8)),  # before the window
        (at(4), [], at(8)),  # it opens
        (at(7), [], at(8)),  # it is open, and no run has started
        (at(7), [run(ago=8 * HOUR)], at(8, 24)),  # its run has started: the next is due tomorrow
        (at(7), [run(S.ENQUEUED, ago=8 * HOUR)], at(8)),  # its run is enqueued
        (at(8), [], at(8, 24)),  # it has closed: a missing run is overdue, the next is due tomorrow
        (at(12), [run(ago=8 * HOUR)], at(8, 24)),
    ],
)
def test_next_run_is_due_at_the_end_of_its_window(now: datetime, runs: list[BackupRun], due: datetime) -> None:
    assert verdict_on(*runs, now=now).next_due == due


@pytest.mark.parametrize(("created", "due"), [(at(4), at(8)), (at(4) + SECOND, at(8, 24)), (at(5), at(8, 24))])
def test_window_in_which_the_instance_was_created_is_not_its_first(created: datetime, due: datetime) -> None:
    assert verdict_on(instance=replace(INSTANCE, created=created), now=at(6)).next_due == due


def test_unscheduled_run_does_not_begin_the_open_window() -> None:
    instance = replace(INSTANCE, backups=replace(SETTINGS, window_start=3 * HOUR))
    assert verdict_on(run(ago=UNSCHEDULED), instance=instance, now=at(4)).next_due == at(7)


@given(some_runs, st.integers(0, 1000), st.integers(0, 1000), st.sampled_from(["auto", "always"]))
def test_protected_instance_has_a_recent_recovery_point(
    runs: list[BackupRun], age: int, grace: int, expected: str
) -> None:
    """For any runs, age of the instance and grace."""
    instance = replace(NO_WINDOW, created=NOW - age * HOUR)
    verdict = verdict_on(*runs, instance=instance, policy=policy(expected=expected, grace=f"{grace}h"))
    if verdict.state is P.PROTECTED:
        assert verdict.history.recovery_point is not None
        assert NOW - verdict.history.recovery_point <= verdict.policy.max_age
    assert (verdict.state is P.EXEMPT) == (verdict.exemption is not None)
    assert not (verdict.exemption and verdict.findings)


def test_verdict_worsens_with_time_for_the_same_facts() -> None:
    states = [verdict_on(run(), instance=NO_WINDOW, now=NOW + later).state for later in (0 * HOUR, DAY, 3 * DAY)]
    assert states == [P.PROTECTED, P.AT_RISK, P.UNPROTECTED]


def test_run_in_progress_below_max_duration_is_no_finding() -> None:
    assert verdict_on(run(S.RUNNING, ago=10 * MINUTE), run(ago=8 * HOUR)).findings == ()
