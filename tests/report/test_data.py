"""The rows and totals of a report."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest

from exporter.facts.daily import InstanceDay, ProjectDay, start_of
from exporter.facts.model import RunStatus
from exporter.report.data import Period, Report, ReportDay, Totals, report
from exporter.state.reader import SavedInstance
from exporter.web.pages.days import DayKind
from tests.support.builders import DAY, HOUR, NOW

TODAY = NOW.date()
GOOD = InstanceDay("protected", RunStatus.SUCCESSFUL, 8 * 3600, True, int(NOW.timestamp()) - 86_400, 90_000)


def saved(
    days: dict[int, InstanceDay],
    name: str = "orders",
    hours: float = 24,
    created: datetime | None = None,
    **fields: bool,
) -> SavedInstance:
    """An instance with days by their distance from today, of which the first hours were observed."""
    recorded = [
        (ProjectDay(day, hours * 3600, start_of(day) + hours * HOUR), instance_day)
        for day, instance_day in sorted((TODAY - ago * DAY, found) for ago, found in days.items())
    ]
    first, last = (recorded[0][0].day, recorded[-1][0].day) if recorded else (None, None)
    read = frozenset(project.day for project, _ in recorded)
    return SavedInstance("shop", name, recorded, fields.get("present", True), created, first, last, first, read)


def make(*folders: list[SavedInstance], days: int = 3, now: datetime = NOW) -> Report:
    """The report on the last days."""
    return report(folders, Period(TODAY - (days - 1) * DAY, TODAY, now), "1.2.3")


def the_days(*folders: list[SavedInstance]) -> list[ReportDay]:
    (instance,) = make(*folders).instances
    return list(instance.days)


def test_each_instance_has_every_day_and_a_day_without_observation_has_nothing_else() -> None:
    result = make([saved({1: GOOD})], [saved({}, name="billing")])
    assert [(instance.instance_id, [day.day for day in instance.days]) for instance in result.instances] == [
        (name, [TODAY - 2 * DAY, TODAY - DAY, TODAY]) for name in ("billing", "orders")
    ]
    unobserved = ReportDay(TODAY, "not observed", None, None, None, None, None)
    assert result.instances[1].days[2] == unobserved
    assert result.instances[1].days[1] == ReportDay(
        TODAY - DAY, "protected", 1.0, 1, "successful", 90_000, True, DayKind.SUCCESSFUL
    )


def test_exempt_and_unobserved_days_count_in_no_total() -> None:
    missed, exempt = replace(GOOD, within_policy=False), InstanceDay("exempt")
    result = make([saved({0: GOOD, 1: missed}), saved({0: exempt, 1: GOOD}, "users")])
    assert [instance.totals for instance in result.instances] == [Totals(2, 1), Totals(1, 1)]
    assert (result.projects, result.fleet) == ({"shop": Totals(3, 2)}, Totals(3, 2))


def test_due_counts_windows_up_to_now() -> None:
    assert [day.due for day in the_days([saved({0: GOOD, 1: GOOD}, hours=1)])] == [None, 1, 1]
    early = make([saved({0: GOOD}, hours=1)], now=NOW - 5 * HOUR)
    assert early.instances[0].days[2].due == 0


@pytest.mark.parametrize("reverse", [False, True])
def test_parts_of_several_folders_are_one_day(reverse: bool) -> None:
    """A shard saw the day until noon, with the run in progress; another one from then on."""
    until_noon = replace(GOOD, state="at_risk", outcome=RunStatus.RUNNING, worst_age=100_000, within_policy=False)
    first = [saved({0: until_noon, 1: GOOD}, hours=12)]
    second = [saved({0: replace(GOOD, observed_from=43_200)}, hours=23)]
    folders = [second, first] if reverse else [first, second]
    assert the_days(*folders)[1:] == [
        ReportDay(TODAY - DAY, "protected", 0.5, 1, "successful", 90_000, True, DayKind.SUCCESSFUL),
        ReportDay(TODAY, "at_risk", 0.958, 1, "successful", 126_000, False, DayKind.SUCCESSFUL),
    ]


def test_outcome_of_a_day_is_that_of_the_folder_that_observed_it_last() -> None:
    back_and_forth = [saved({1: replace(GOOD, outcome=RunStatus.RUNNING), 0: GOOD}, hours=6)]
    other = [saved({1: replace(GOOD, outcome=RunStatus.FAILED)}, hours=20)]
    assert [
        [day.outcome for day in the_days(*folders)] for folders in ((back_and_forth, other), (other, back_and_forth))
    ] == [
        [None, "failed", "successful"],
    ] * 2


def test_shares_of_several_folders_add_up_to_one_at_most() -> None:
    (day,) = [day for day in the_days([saved({0: GOOD})], [saved({0: InstanceDay("exempt")})]) if day.observed]
    assert (day.observed_share, day.state, day.outcome, day.within_policy) == (1.0, "protected", "successful", True)


def test_instances_created_later_are_left_out_and_gone_ones_are_not() -> None:
    created = [saved({}, name="later", created=NOW + DAY), saved({}, name="today", created=NOW)]
    gone = saved({1: GOOD}, name="gone", present=False)
    instances = {instance.instance_id: instance for instance in make([*created, gone]).instances}
    assert {name: (found.created, found.last_seen) for name, found in instances.items()} == {
        "today": (TODAY, None),
        "gone": (None, TODAY - DAY),
    }


def test_an_instance_that_was_deleted_after_the_period_is_not_left_out() -> None:
    """It was recorded before the period and after it; the exporter did not run in between."""
    later = replace(saved({}, present=False), first_day=TODAY - 40 * DAY, last_day=TODAY + 9 * DAY)
    (instance,) = make([later]).instances
    assert (instance.last_seen, [day.observed for day in instance.days]) == (TODAY + 9 * DAY, [False] * 3)


def test_an_instance_that_was_created_again_after_the_period_is_not_left_out() -> None:
    again = replace(saved({}, created=NOW + 5 * DAY), first_day=TODAY - 40 * DAY, last_day=TODAY + 9 * DAY)
    assert [instance.last_seen for instance in make([again]).instances] == [None]
    assert make([replace(again, first_day=TODAY + 5 * DAY)]).instances == []


def test_a_project_was_read_only_if_every_folder_with_the_instance_says_so() -> None:
    days = frozenset({TODAY, TODAY - DAY})
    one, other = replace(saved({1: GOOD}), project_days=days), saved({1: GOOD})
    assert make([one], [other]).instances[0].project_days == {TODAY - DAY}
    assert make([one]).instances[0].project_days == days


def test_an_instance_that_moved_to_another_shard_is_not_gone() -> None:
    (instance,) = make([saved({2: GOOD}, present=False)], [saved({0: GOOD})]).instances
    assert instance.last_seen is None


def test_a_report_without_instances_is_empty() -> None:
    assert (make([]).instances, make([]).projects, make([]).fleet) == ([], {}, Totals(0, 0))


def test_a_long_period_has_every_day() -> None:
    period = Period(date(2024, 1, 1), date(2026, 11, 23), NOW)
    assert len(period.days()) == (date(2026, 11, 23) - date(2024, 1, 1)) // timedelta(days=1) + 1
