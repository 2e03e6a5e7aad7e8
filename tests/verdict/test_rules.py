"""The verdict rules, one by one; every threshold just before, at and after."""

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
    Instance,
    InstanceState,
    InstanceType,
    RunStatus,
)
from exporter.verdict.assess import Freshness, assess
from exporter.verdict.rules import Exemption, Finding, Protection
from tests.support.builders import DAY, HOUR, INSTANCE, MINUTE, NOW, SECOND, SETTINGS, run, verdict
from tests.support.strategies import some_runs

S, F, E, P = RunStatus, Finding, Exemption, Protection
AROUND = pytest.mark.parametrize(("off", "beyond"), [(-SECOND, False), (0 * SECOND, False), (SECOND, True)])
NO_WINDOW = replace(INSTANCE, backups=replace(SETTINGS, window_start=None))  # for rules that no window may disturb


def policy(**keys: object) -> Policy:
    return Policy.model_validate(keys)


def test_an_instance_backed_up_last_night_is_protected() -> None:
    told = verdict(run())
    assert (told.state, told.findings, told.exemption) == (P.PROTECTED, (), None)


def test_backups_disabled() -> None:
    off = replace(INSTANCE, backups=replace(SETTINGS, enabled=False))
    told = verdict(run(), instance=off)
    assert (told.state, told.findings, told.next_due) == (P.UNPROTECTED, (F.BACKUPS_DISABLED,), None)


def test_backups_that_nobody_says_are_off_are_not_called_off() -> None:
    assert verdict(run(), instance=replace(INSTANCE, backups=replace(SETTINGS, enabled=None))).findings == ()


@AROUND
def test_stale_beyond_max_age(off: timedelta, beyond: bool) -> None:
    told = verdict(run(ago=30 * HOUR + off), instance=NO_WINDOW)
    assert told.findings == ((F.STALE,) if beyond else ())
    assert told.state is (P.AT_RISK if beyond else P.PROTECTED)


@AROUND
def test_stale_critical_beyond_critical_age(off: timedelta, beyond: bool) -> None:
    told = verdict(run(ago=54 * HOUR + off), instance=NO_WINDOW)
    assert told.findings == ((F.STALE_CRITICAL, F.STALE) if beyond else (F.STALE,))
    assert told.state is (P.UNPROTECTED if beyond else P.AT_RISK)


@AROUND
def test_never_succeeded_beyond_its_grace(off: timedelta, beyond: bool) -> None:
    told = verdict(instance=replace(NO_WINDOW, created=NOW - 30 * HOUR - off))
    assert told.findings == ((F.NEVER_SUCCEEDED,) if beyond else ())
    assert told.exemption is (None if beyond else E.NEW)
    assert told.state is (P.UNPROTECTED if beyond else P.EXEMPT)


def test_never_succeeded_where_the_moment_of_creation_is_not_known() -> None:
    assert verdict(instance=replace(NO_WINDOW, created=None)).findings == (F.NEVER_SUCCEEDED,)


@pytest.mark.parametrize("status", [S.DELETED, S.DELETION_PENDING, S.DELETION_FAILED, S.SKIPPED, S.UNKNOWN])
def test_never_succeeded_where_nothing_can_be_restored(status: RunStatus) -> None:
    assert verdict(run(status)).findings == (F.NEVER_SUCCEEDED,)


def test_last_run_failed_also_while_the_next_one_runs() -> None:
    told = verdict(run(S.RUNNING, ago=HOUR), run(S.FAILED), run(ago=20 * HOUR))
    assert (told.state, told.findings) == (P.AT_RISK, (F.LAST_RUN_FAILED,))


def test_last_run_failed_is_ended_by_a_skip_and_not_by_a_backup_on_demand() -> None:
    assert verdict(run(S.SKIPPED, ago=HOUR), run(S.FAILED), run(ago=20 * HOUR)).findings == ()
    by_hand = run(ago=HOUR, kind=BackupType.ON_DEMAND)
    assert verdict(by_hand, run(S.FAILED), run(ago=20 * HOUR)).findings == (F.LAST_RUN_FAILED,)


def test_a_failed_run_on_demand_is_no_finding() -> None:
    assert verdict(run(S.FAILED, ago=HOUR, kind=BackupType.ON_DEMAND), run()).findings == ()


def test_overdue_by_the_word_of_the_api() -> None:
    told = verdict(run(S.OVERDUE), run(ago=28 * HOUR))
    assert (told.state, told.findings) == (P.AT_RISK, (F.OVERDUE,))
    assert verdict(run(S.RUNNING, ago=HOUR), run(S.OVERDUE), run(ago=28 * HOUR)).findings == ()


@pytest.mark.parametrize(
    ("off", "missed"), [(-SECOND, False), (0 * SECOND, True), (SECOND, True)], ids=["before", "at", "after"]
)
def test_overdue_once_a_window_closed_without_a_run(off: timedelta, missed: bool) -> None:
    """The window is 04:00 to 08:00; the last run belongs to yesterday's."""
    now = NOW.replace(hour=8) + off
    told = verdict(run(ago=32 * HOUR), now=now)
    assert told.findings == ((F.OVERDUE,) if missed else ())


@pytest.mark.parametrize("status", [S.FAILED, S.SKIPPED, S.RUNNING, S.DELETED, S.UNKNOWN])
def test_a_run_of_whatever_status_shows_that_its_window_was_not_missed(status: RunStatus) -> None:
    assert F.OVERDUE not in verdict(run(status), run(ago=28 * HOUR)).findings


def test_a_window_is_not_kept_by_a_backup_on_demand() -> None:
    assert verdict(run(ago=6 * HOUR, kind=BackupType.ON_DEMAND), run(ago=32 * HOUR)).findings == (F.OVERDUE,)


def test_a_missed_window_stays_missed_until_the_next_has_closed() -> None:
    """The contract's 24 hours end when the last window closed; a run of the window now open comes too late for it."""
    at_five = NOW.replace(hour=5) + DAY  # the next window opened an hour ago
    assert F.OVERDUE in verdict(run(ago=32 * HOUR), run(ago=-17 * HOUR), now=at_five).findings


@AROUND
def test_a_window_that_opened_before_the_instance_existed_is_not_missed(off: timedelta, beyond: bool) -> None:
    created = NOW.replace(hour=4) + off
    by_hand = run(ago=HOUR, kind=BackupType.ON_DEMAND)
    told = verdict(by_hand, instance=replace(INSTANCE, created=created))
    assert told.findings == (() if beyond else (F.OVERDUE,))


def test_no_window_can_be_missed_where_none_is_known() -> None:
    assert verdict(run(ago=20 * HOUR), instance=NO_WINDOW).findings == ()


@AROUND
@pytest.mark.parametrize("status", [S.RUNNING, S.ENQUEUED])
def test_stuck_beyond_max_duration(status: RunStatus, off: timedelta, beyond: bool) -> None:
    told = verdict(run(status, ago=6 * HOUR + off), run(ago=28 * HOUR))
    assert told.findings == ((F.STUCK,) if beyond else ())


def test_a_stuck_run_on_demand_counts_too() -> None:
    assert verdict(run(S.RUNNING, ago=7 * HOUR, kind=BackupType.ON_DEMAND), run()).findings == (F.STUCK,)


@AROUND
def test_slow_beyond_max_duration(off: timedelta, beyond: bool) -> None:
    told = verdict(run(took=6 * HOUR + off))
    assert told.findings == ((F.SLOW,) if beyond else ())


def test_slow_is_about_the_newest_success_only() -> None:
    assert verdict(run(), run(ago=32 * HOUR, took=9 * HOUR)).findings == ()


def test_pitr_disabled() -> None:
    off, on = (replace(INSTANCE, backups=replace(SETTINGS, pitr_enabled=held)) for held in (False, True))
    required = policy(require_pitr=True)
    assert verdict(run(), instance=off, policy=required).findings == (F.PITR_DISABLED,)
    assert verdict(run(), instance=on, policy=required).findings == ()
    assert verdict(run(), instance=off).findings == ()


@pytest.mark.parametrize(("kept", "low"), [(6, True), (7, False), (8, False), (None, False)])
def test_retention_low_below_min_retained(kept: int | None, low: bool) -> None:
    told = verdict(
        run(),
        instance=replace(INSTANCE, backups=replace(SETTINGS, retained_backups=kept)),
        policy=policy(min_retained=7),
    )
    assert told.findings == ((F.RETENTION_LOW,) if low else ())


@pytest.mark.parametrize(("location", "outside"), [("us", True), ("eu", False), (None, False)])
def test_location_not_allowed(location: str | None, outside: bool) -> None:
    told = verdict(run(location=location), policy=policy(allowed_locations=["eu", "europe-west1"]))
    assert told.findings == ((F.LOCATION_NOT_ALLOWED,) if outside else ())


def test_the_state_is_that_of_the_worst_finding() -> None:
    told = verdict(run(S.FAILED), run(ago=56 * HOUR))
    assert (told.state, told.findings) == (P.UNPROTECTED, (F.STALE_CRITICAL, F.STALE, F.LAST_RUN_FAILED))


def typed(kind: InstanceType) -> Instance:
    return replace(INSTANCE, type=kind)


EXEMPT = {
    E.READ_REPLICA: typed(InstanceType.READ_REPLICA_INSTANCE),
    E.READ_POOL: typed(InstanceType.READ_POOL_INSTANCE),
    E.EXTERNAL: typed(InstanceType.ON_PREMISES_INSTANCE),
    E.GREEN: typed(InstanceType.GREEN_INSTANCE),
    E.STOPPED: replace(INSTANCE, activation=ActivationPolicy.NEVER),
    E.SUSPENDED: replace(INSTANCE, state=InstanceState.SUSPENDED),
    E.CREATING: replace(INSTANCE, state=InstanceState.PENDING_CREATE),
    E.NEW: replace(INSTANCE, created=NOW - HOUR),
    E.MANAGED_ELSEWHERE: replace(INSTANCE, backups=replace(SETTINGS, tier=BackupTier.ENHANCED)),
    E.IGNORED: INSTANCE,
}


@pytest.mark.parametrize("reason", list(Exemption))
def test_an_exempt_instance_has_its_reason_and_no_findings(reason: Exemption) -> None:
    expected = "never" if reason is E.IGNORED else "auto"
    told = verdict(instance=EXEMPT[reason], policy=policy(expected=expected))
    assert (told.state, told.findings, told.exemption) == (P.EXEMPT, (), reason)
    assert (told.next_due is not None) == (reason in (E.NEW, E.CREATING))


@pytest.mark.parametrize("reason", [reason for reason in Exemption if reason is not E.IGNORED])
def test_expected_always_overrides_every_exemption_but_creating(reason: Exemption) -> None:
    told = verdict(instance=EXEMPT[reason], policy=policy(expected="always"))
    if reason is E.CREATING:
        assert (told.state, told.exemption) == (P.EXEMPT, E.CREATING)
    else:
        assert (told.state, told.exemption) == (P.UNPROTECTED, None)
        assert F.NEVER_SUCCEEDED in told.findings


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
    ids=lambda made: f"{made.type}-{made.status}" if isinstance(made, BackupRun) else "",
)
def test_a_new_instance_is_exempt_until_a_run_tells_something(
    first: BackupRun, exempt: bool, findings: tuple[Finding, ...]
) -> None:
    told = verdict(first, instance=NEW)
    assert (told.exemption is E.NEW, told.findings) == (exempt, findings)


OLD = Freshness(NOW - HOUR - SECOND, HOUR)


@AROUND
def test_unknown_beyond_stale_after(off: timedelta, beyond: bool) -> None:
    told = assess(INSTANCE, history([run()]), Policy(), NOW, Freshness(NOW - HOUR - off, HOUR))
    assert told.state is (P.UNKNOWN if beyond else P.PROTECTED)


def test_facts_read_before_a_window_closed_cannot_tell_that_it_was_missed() -> None:
    """A run may have begun since; the next poll will tell."""
    runs, closed = history([run(ago=32 * HOUR)]), NOW.replace(hour=8)
    before = assess(INSTANCE, runs, Policy(), closed + MINUTE, Freshness(closed - MINUTE, HOUR))
    after = assess(INSTANCE, runs, Policy(), closed + MINUTE, Freshness(closed, HOUR))
    assert (before.findings, after.findings) == ((), (F.OVERDUE,))


def test_expired_facts_make_every_verdict_unknown_and_keep_what_was_found() -> None:
    told = assess(INSTANCE, history([run(S.FAILED), run(ago=20 * HOUR)]), Policy(), NOW, OLD)
    assert (told.state, told.findings) == (P.UNKNOWN, (F.LAST_RUN_FAILED,))
    replica = assess(EXEMPT[E.READ_REPLICA], history([]), Policy(), NOW, OLD)
    assert (replica.state, replica.exemption) == (P.UNKNOWN, E.READ_REPLICA)


def at(hour: int, day: int = 23) -> datetime:
    return NOW.replace(day=day, hour=hour)


def test_a_new_instance_waits_on_after_a_failure_that_a_skip_has_followed() -> None:
    told = verdict(run(S.SKIPPED, ago=HOUR), run(S.FAILED, ago=2 * HOUR), instance=NEW)
    assert (told.state, told.exemption) == (P.EXEMPT, E.NEW)


@pytest.mark.parametrize(
    ("now", "runs", "due"),
    [
        (at(3), [], at(8)),  # before the window
        (at(4), [], at(8)),  # it opens
        (at(7), [], at(8)),  # it is open, and nothing has begun
        (at(7), [run(ago=8 * HOUR)], at(8, 24)),  # a run of it has begun: the next is tomorrow's
        (at(7), [run(S.ENQUEUED, ago=8 * HOUR)], at(8)),  # one waits for its turn
        (at(8), [], at(8, 24)),  # it has closed: what did not come is overdue, not due
        (at(12), [run(ago=8 * HOUR)], at(8, 24)),
    ],
)
def test_the_next_run_is_due_at_the_end_of_its_window(now: datetime, runs: list[BackupRun], due: datetime) -> None:
    assert verdict(*runs, now=now).next_due == due


@given(some_runs, st.integers(0, 1000), st.integers(0, 1000), st.sampled_from(["auto", "always"]))
def test_what_is_protected_can_be_restored_and_is_fresh(
    runs: list[BackupRun], age: int, grace: int, expected: str
) -> None:
    """Never green when a backup is missing, whatever the runs, the age of the instance and its grace."""
    young = replace(NO_WINDOW, created=NOW - age * HOUR)
    told = verdict(*runs, instance=young, policy=policy(expected=expected, grace=f"{grace}h"))
    if told.state is P.PROTECTED:
        assert told.history.recovery_point is not None
        assert NOW - told.history.recovery_point <= told.policy.max_age
    assert (told.state is P.EXEMPT) == (told.exemption is not None)
    assert not (told.exemption and told.findings)


def test_verdicts_age_by_themselves() -> None:
    """The same facts, looked at later."""
    states = [verdict(run(), instance=NO_WINDOW, now=NOW + later).state for later in (0 * HOUR, DAY, 3 * DAY)]
    assert states == [P.PROTECTED, P.AT_RISK, P.UNPROTECTED]


def test_a_run_in_progress_for_minutes_is_no_finding() -> None:
    assert verdict(run(S.RUNNING, ago=10 * MINUTE), run(ago=8 * HOUR)).findings == ()
