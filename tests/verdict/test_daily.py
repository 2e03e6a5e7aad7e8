"""The daily record: what it says about a day, whenever polls happen and whatever happens in between."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from exporter.config import Policy
from exporter.facts.backup_plans import AssociationState, InstancePlan, PlanAssociation, PlanRule, RuleStatus
from exporter.facts.collected import InstanceFacts
from exporter.facts.daily import DailyRecord, InstanceDay
from exporter.facts.history import history
from exporter.facts.model import (
    ActivationPolicy,
    BackupRun,
    BackupTier,
    BackupType,
    Instance,
    InstanceState,
    RunStatus,
)
from exporter.verdict.assess import Freshness, Verdict, assess
from exporter.verdict.daily import observe
from tests.support.builders import DAY, HOUR, INSTANCE, MINUTE, NOW, SECOND, SETTINGS, run

MIDNIGHT = NOW.replace(hour=0)
S = RunStatus


class Days:
    """A project with one instance that is polled at given times; keeps every day that was recorded."""

    def __init__(self) -> None:
        self.record: DailyRecord | None = None
        self.facts: tuple[Instance, Sequence[BackupRun], datetime] | None = None
        self.days: dict[int, DailyRecord] = {}

    def poll(
        self, now: datetime, *runs: BackupRun, instance: Instance | None = INSTANCE, running: bool = True
    ) -> "Days":
        """A poll that reads the runs; `running` is false for the first one after a start."""
        known, last = self.facts, self.record.project.observed_until if self.record else now
        self.facts = None if instance is None else (instance, runs, now)
        return self._observe(now, known, now - last if running else timedelta())

    def failed_poll(self, now: datetime) -> "Days":
        """A poll that reads nothing: the facts remain those of the last one."""
        assert self.record
        return self._observe(now, self.facts, now - self.record.project.observed_until)

    def day(self, number: int = 23) -> InstanceDay:
        """The instance on a day of November."""
        return self.days[number].instances["orders"]

    def share(self, number: int = 23) -> float:
        """The share of a day that was observed."""
        return round(self.days[number].project.share(self.day(number)), 3)

    def worst_age(self, number: int = 23) -> timedelta:
        """The worst age of the recovery point on a day."""
        return timedelta(seconds=self.days[number].project.worst_age(self.day(number)) or 0)

    def due(self, number: int = 23, now: datetime = MIDNIGHT) -> int:
        """The number of windows that closed on a day, up to a time or to the last observation."""
        return self.days[number].project.due(self.day(number), now)

    def _observe(
        self, now: datetime, known: tuple[Instance, Sequence[BackupRun], datetime] | None, elapsed: timedelta
    ) -> "Days":
        def judge(facts: tuple[Instance, Sequence[BackupRun], datetime] | None, timestamp: datetime) -> list[Verdict]:
            if facts is None:
                return []
            instance, runs, read_at = facts
            return [assess(instance, history(runs), Policy(), timestamp, Freshness(read_at, HOUR))]

        histories = {} if known is None else {known[0].id.name: history(known[1])}
        for record in observe(
            self.record, lambda timestamp: judge(known, timestamp), judge(self.facts, now), now, elapsed, histories
        ):
            self.record = record
            self.days[record.project.day.day] = record
            for (day, name), outcome in record.later_outcomes.items():
                if before := self.days.get(day.day):
                    changed = {**before.instances, name: replace(before.instances[name], outcome=outcome)}
                    self.days[day.day] = replace(before, instances=changed)
        return self


def test_day_of_a_healthy_instance() -> None:
    """Polled every five minutes; the window is 04:00 to 08:00, the run at 04:00 takes seven minutes."""
    days, yesterday, today = Days(), run(ago=32 * HOUR), run()
    now = MIDNIGHT
    while now < MIDNIGHT + DAY:
        days.poll(now, *([today] if now >= MIDNIGHT + 4 * HOUR + 10 * MINUTE else []), yesterday)
        now += 5 * MINUTE
    assert (days.day().state, days.day().outcome, days.day().within_policy) == ("protected", S.SUCCESSFUL, True)
    assert (days.share(), days.due()) == (0.997, 1)  # up to 23:55
    assert days.worst_age() == DAY + 10 * MINUTE


def test_time_in_which_the_exporter_was_not_running_is_not_observed() -> None:
    days = Days().poll(MIDNIGHT, run(ago=32 * HOUR)).poll(MIDNIGHT + 6 * HOUR, run(), run(ago=32 * HOUR))
    days.poll(MIDNIGHT + 18 * HOUR, run(), running=False).poll(MIDNIGHT + 21 * HOUR, run())
    assert days.share() == 0.375
    assert days.worst_age() == DAY + 2 * HOUR


def test_age_of_an_old_recovery_point_does_not_grow_while_the_exporter_is_down() -> None:
    """A backup was made in the meantime."""
    days = Days().poll(MIDNIGHT, run(ago=32 * HOUR)).poll(MIDNIGHT + HOUR, run(ago=32 * HOUR))
    days.poll(MIDNIGHT + 20 * HOUR, run(), run(ago=32 * HOUR), running=False)
    assert days.worst_age() == 21 * HOUR
    assert days.day().within_policy


def test_time_in_which_the_api_fails_is_observed_as_unknown() -> None:
    days = Days().poll(MIDNIGHT, run(ago=32 * HOUR)).failed_poll(MIDNIGHT + HOUR)
    assert (days.day().state, days.day().within_policy) == ("protected", True)
    days.failed_poll(MIDNIGHT + 2 * HOUR)
    assert (days.day().state, days.day().within_policy, days.share()) == ("unknown", False, 0.083)


def test_worst_state_of_the_day_remains() -> None:
    failed = run(S.FAILED)
    days = Days().poll(NOW, failed, run(ago=32 * HOUR)).poll(NOW + HOUR, replace(failed, status=S.SUCCESSFUL, end=NOW))
    assert (days.day().state, days.day().outcome) == ("at_risk", S.SUCCESSFUL)


def test_recovery_point_beyond_max_age_is_not_within_policy() -> None:
    days = Days().poll(NOW, run(ago=29 * HOUR)).poll(NOW + 2 * HOUR, run(ago=-HOUR), run(ago=29 * HOUR))
    assert days.day().within_policy is False
    assert days.worst_age() == 31 * HOUR


def test_observation_across_midnight_belongs_to_both_days() -> None:
    """The recovery point passes max_age at 23:00; the backup after midnight is not known before the next day."""
    before_midnight = MIDNIGHT + DAY - 2 * HOUR
    old, new = run(ago=-11 * HOUR + 30 * HOUR), run(ago=-13 * HOUR)
    days = Days().poll(before_midnight, old).poll(before_midnight + 5 * HOUR, new, old)
    assert (days.share(23), days.share(24)) == (round(2 / 24, 3), round(3 / 24, 3))
    assert days.day(23).within_policy is days.day(24).within_policy is False  # it was old until the poll
    assert days.worst_age(23) == 31 * HOUR - timedelta(seconds=1)  # the last moment of the day


def test_run_that_ends_after_midnight_belongs_to_the_day_of_its_window() -> None:
    late = run(S.RUNNING, ago=-11 * HOUR)
    days = Days().poll(MIDNIGHT + DAY - MINUTE, late, run()).poll(MIDNIGHT + DAY + HOUR, replace(late, status=S.FAILED))
    assert days.day(23).outcome is S.FAILED
    assert days.day(24).outcome is None


@pytest.mark.parametrize("status", [S.DELETED, S.VANISHED])
def test_outcome_remains_when_its_run_is_deleted(status: RunStatus) -> None:
    days = Days().poll(NOW, run()).poll(NOW + HOUR, replace(run(), status=status), run(ago=32 * HOUR))
    assert days.day().outcome is S.SUCCESSFUL


def test_exempt_day_has_no_policy_and_nothing_due() -> None:
    days = Days().poll(NOW, instance=replace(INSTANCE, state=InstanceState.SUSPENDED))
    assert (days.day().state, days.day().within_policy, days.due()) == ("exempt", None, 0)


def test_instance_is_observed_from_its_first_sight_to_its_removal() -> None:
    days = Days().poll(MIDNIGHT, instance=None).poll(MIDNIGHT + 6 * HOUR, run(ago=32 * HOUR))
    days.poll(MIDNIGHT + 12 * HOUR, instance=None).poll(MIDNIGHT + 18 * HOUR, instance=None)
    assert days.share() == 0.25


def test_window_in_which_an_instance_was_created_is_not_due() -> None:
    new = replace(INSTANCE, created=MIDNIGHT + 5 * HOUR)
    assert Days().poll(NOW, instance=new).due() == 0
    assert Days().poll(MIDNIGHT + 7 * HOUR, run()).due() == 0  # not closed yet
    assert Days().poll(MIDNIGHT + 8 * HOUR, run()).due() == 1


def test_window_that_closed_while_the_exporter_was_down_was_due_but_not_while_observed() -> None:
    days = Days().poll(MIDNIGHT, run(ago=32 * HOUR)).poll(MIDNIGHT + 6 * HOUR, run(), run(ago=32 * HOUR))
    assert [days.due(now=MIDNIGHT + 8 * HOUR - SECOND), days.due(now=MIDNIGHT + 8 * HOUR)] == [0, 1]
    assert days.days[23].project.due_while_observed(days.day()) == 0


@pytest.mark.parametrize(
    ("opens", "at", "due"),
    [
        (12 * HOUR, 10 * HOUR, 2),  # moved after the first window had closed
        (12 * HOUR, 7 * HOUR, 1),  # moved while the first was open
        (2 * HOUR, 10 * HOUR, 1),  # to a time that had passed already
        (4 * HOUR, 10 * HOUR, 1),
        (None, 10 * HOUR, 1),
        (None, 7 * HOUR, 0),
    ],
)
def test_every_window_that_closed_was_due(opens: timedelta | None, at: timedelta, due: int) -> None:
    moved = replace(INSTANCE, backups=replace(SETTINGS, window_start=opens))
    days = Days().poll(MIDNIGHT, run(ago=32 * HOUR)).poll(MIDNIGHT + at, run(), instance=moved)
    assert days.poll(MIDNIGHT + 20 * HOUR, run(), instance=moved).due() == due


def test_window_of_an_instance_that_was_not_expected_to_run_is_not_due() -> None:
    stopped = replace(INSTANCE, activation=ActivationPolicy.NEVER)
    days = Days().poll(MIDNIGHT, instance=stopped).poll(MIDNIGHT + 9 * HOUR, run(ago=32 * HOUR))
    assert days.poll(MIDNIGHT + 20 * HOUR, run(ago=32 * HOUR)).due() == 0
    days = Days().poll(MIDNIGHT, run(ago=32 * HOUR)).poll(MIDNIGHT + 9 * HOUR, run(), instance=stopped)
    assert days.poll(MIDNIGHT + 20 * HOUR, run(), instance=stopped).due() == 1


def test_after_the_removal_of_an_instance_nothing_is_due_and_its_recovery_point_does_not_age() -> None:
    days = Days().poll(MIDNIGHT, run(ago=32 * HOUR)).poll(MIDNIGHT + 6 * HOUR, instance=None)
    days.poll(MIDNIGHT + 20 * HOUR, instance=None)
    assert (days.due(now=MIDNIGHT + DAY), days.worst_age()) == (0, 26 * HOUR)
    days = Days().poll(MIDNIGHT, run(ago=32 * HOUR)).poll(MIDNIGHT + 9 * HOUR, instance=None)
    assert days.due() == 1


def test_time_between_removal_and_return_of_an_instance_is_not_observed() -> None:
    days = Days().poll(MIDNIGHT, run(ago=32 * HOUR)).poll(MIDNIGHT + 6 * HOUR, instance=None)
    days.poll(MIDNIGHT + 12 * HOUR, run(), run(ago=32 * HOUR)).poll(MIDNIGHT + 15 * HOUR, run(), run(ago=32 * HOUR))
    assert days.share() == 0.375


@pytest.mark.parametrize("gap", [10 * HOUR, 2 * DAY, 9 * DAY])
def test_outcome_of_a_run_that_ended_while_the_exporter_was_down(gap: timedelta) -> None:
    running, late = run(S.RUNNING, ago=8 * HOUR), run(S.RUNNING, ago=24 * HOUR)
    days = Days().poll(MIDNIGHT - MINUTE, late).poll(NOW, running, late)
    ended = replace(running, status=S.FAILED), replace(late, status=S.SUCCESSFUL)
    days.poll(NOW + gap, *ended, running=False)
    assert (days.day(22).outcome, days.day(23).outcome) == (S.SUCCESSFUL, S.FAILED)
    assert days.share() == 0.5


def test_outcomes_of_days_on_which_the_api_could_not_be_read() -> None:
    days = Days().poll(MIDNIGHT, run(ago=32 * HOUR))
    for hours in range(6, 3 * 24, 6):
        days.failed_poll(MIDNIGHT + hours * HOUR)
    assert (days.day(23).outcome, days.day(24).outcome) == (None, None)
    days.poll(MIDNIGHT + 3 * DAY, run(), run(S.FAILED, ago=8 * HOUR - DAY), run(ago=32 * HOUR))
    assert (days.day(23).outcome, days.day(24).outcome, days.day(25).outcome) == (S.SUCCESSFUL, S.FAILED, None)


def test_outcome_of_a_failed_run_remains_while_another_run_of_the_day_is_listed() -> None:
    failed, on_demand = run(S.FAILED), run(ago=4 * HOUR, kind=BackupType.ON_DEMAND)
    late = run(S.RUNNING, ago=32 * HOUR)
    days = Days().poll(MIDNIGHT - HOUR, late).poll(NOW, failed, on_demand, late)
    days.poll(NOW + DAY, on_demand, replace(late, status=S.SUCCESSFUL), run(ago=-16 * HOUR))
    assert (days.day(22).outcome, days.day(23).outcome) == (S.SUCCESSFUL, S.FAILED)


def test_nothing_is_recorded_while_the_clock_is_behind() -> None:
    days = Days().poll(NOW, run())
    before = days.record
    assert days.poll(NOW - HOUR, running=False).record is before
    assert days.poll(NOW + HOUR, run(), running=False).share() == 0


def test_unchanged_verdict_keeps_the_day() -> None:
    verdict = assess(INSTANCE, history([run()]), Policy(), NOW)
    (first,) = observe(None, lambda _timestamp: [], [verdict], NOW, timedelta())
    (second,) = observe(first, lambda _timestamp: [verdict], [verdict], NOW + MINUTE, MINUTE)
    assert second.instances["orders"] is first.instances["orders"]
    assert second.project.observed == 60


def test_backup_by_a_plan_is_the_outcome_of_its_day() -> None:
    """A failure has no time, so that it is no outcome of any day."""
    enhanced = replace(INSTANCE, backups=replace(SETTINGS, tier=BackupTier.ENHANCED))

    def judge(now: datetime, *rules: PlanRule) -> list[Verdict]:
        association = PlanAssociation("a", "gold", "vault", AssociationState.ACTIVE, rules)
        facts = InstanceFacts(plan=InstancePlan(association=association))
        return [assess(enhanced, history([run()]), Policy(), now, None, facts)]

    succeeded = PlanRule("daily", RuleStatus.SUCCEEDED, NOW - 8 * HOUR)
    failed = PlanRule("daily", RuleStatus.FAILED, NOW - 8 * HOUR)
    (first,) = observe(None, judge, judge(NOW, succeeded), NOW, timedelta())
    later = NOW + DAY
    *_, second = observe(first, lambda now: judge(now, failed), judge(later, failed), later, DAY)
    days = [record.instances["orders"] for record in (first, second)]
    assert [(day.outcome, day.window_closes, day.state) for day in days] == [
        (S.SUCCESSFUL, None, "protected"),
        (None, None, "at_risk"),
    ]
    morning = MIDNIGHT + 2 * DAY + 10 * MINUTE  # ten minutes ago it was the day before
    late = PlanRule("daily", RuleStatus.SUCCEEDED, morning - 20 * MINUTE)
    *_, third = observe(second, lambda now: judge(now, failed), judge(morning, late), morning, morning - later)
    assert third.later_outcomes == {(later.date(), "orders"): S.SUCCESSFUL}
    *_, fourth = observe(third, lambda now: judge(now, late), judge(morning, late), morning, timedelta())
    assert fourth.later_outcomes == third.later_outcomes
