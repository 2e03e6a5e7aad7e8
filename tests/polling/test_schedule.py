"""SpreadSchedule: an even pace under a simulated clock, and every project within the interval."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.polling.schedule import AT_ONCE, SpreadSchedule

HOUR = 3600.0


def turns(schedule: SpreadSchedule, start: float, end: float, longest_wait: float = HOUR) -> list[tuple[float, str]]:
    """The turns between two times of the simulated clock."""
    now, found = start, []
    while now < end:
        project, wait = schedule.next(now)
        if project:
            found.append((now, project))
        now += max(min(wait, longest_wait), 0.001)
    return found


def most_per_minute(times: list[float]) -> int:
    """The largest number of times within any 60 seconds."""
    first, most = 0, 0
    for last, time in enumerate(times):
        while time - times[first] >= 60:
            first += 1
        most = max(most, last - first + 1)
    return most


def gaps(times: Iterable[float]) -> list[float]:
    """The time between each two that follow each other."""
    return [later - earlier for earlier, later in pairwise(times)]


@pytest.mark.parametrize(
    "first_poll_every",
    [0.2, 0.0, HOUR],  # seconds: by 300 requests per minute, all at once, or never: they are due from the start
)
def test_5000_empty_projects_cost_84_requests_per_minute_at_most(first_poll_every: float) -> None:
    """Over two hours, from whatever the first polls were; each project is polled within the hour."""
    schedule, polled = SpreadSchedule(timedelta(hours=1)), defaultdict[str, list[float]](list)
    for number in range(5000):
        first = number * first_poll_every if first_poll_every < HOUR else -HOUR
        schedule.add(f"project-{number}", first + HOUR)
        polled[f"project-{number}"].append(max(first, 0))
    found = turns(schedule, 0, 2 * HOUR)
    assert most_per_minute([time for time, _ in found]) <= 84
    for time, project in found:
        polled[project].append(time)
    assert max(gap for times in polled.values() for gap in gaps(times)) <= HOUR + 5
    assert min(len(times) for times in polled.values()) >= 2


def test_single_project_is_polled_when_it_is_due_and_not_earlier() -> None:
    schedule = SpreadSchedule(timedelta(hours=1))
    schedule.add("shop", 1000.0)
    assert schedule.next(0) == (None, 1000.0)
    assert [time for time, _ in turns(schedule, 0, 3 * HOUR)] == pytest.approx([1000, 4600, 8200], abs=1)


@pytest.mark.parametrize(("count", "seconds"), [(AT_ONCE, 0.1), (AT_ONCE + 1, 60.1), (1000, 723.0)])
def test_few_late_projects_are_polled_at_once_and_more_of_them_one_by_one(count: int, seconds: float) -> None:
    schedule = SpreadSchedule(timedelta(hours=1))
    for number in range(count):
        schedule.add(f"project-{number:04}", number - 10_000.0)
    found = turns(schedule, 0, HOUR / 2)
    first_round = found[:count]
    assert [project for _, project in first_round] == [f"project-{number:04}" for number in range(count)]
    assert first_round[-1][0] <= seconds
    assert most_per_minute([time for time, _ in found]) <= 84


def test_schedule_without_projects_waits() -> None:
    schedule = SpreadSchedule(timedelta(hours=1))
    schedule.add("shop", 0)
    schedule.discard("shop")
    schedule.discard("unknown")
    assert ("shop" in schedule, schedule.next(0)) == (False, (None, HOUR))


def test_known_due_times_are_kept_up_to_date_and_apply_to_a_shorter_interval() -> None:
    due = {"shop": 3000.0, "museum": 100.0}
    SpreadSchedule(timedelta(hours=1), due).keep({"shop"})
    assert due == {"shop": 3000.0}
    schedule = SpreadSchedule(timedelta(minutes=5), due)
    assert schedule.next(0) == (None, 300.0)
    assert (schedule.is_due("shop", 2999), schedule.is_due("shop", 3000)) == (False, True)


@settings(max_examples=30)
@given(st.lists(st.floats(-5000, 3600), min_size=85, max_size=100), st.floats(1, 5000))
def test_pace_is_never_exceeded(due: list[float], interval: float) -> None:
    schedule = SpreadSchedule(timedelta(seconds=interval))
    for number, time in enumerate(due):
        schedule.add(f"project-{number}", time)
    times = [time for time, _ in turns(schedule, 0, 20, longest_wait=0.01)]
    pace = min(interval / len(due), 60 / AT_ONCE)
    assert all(gap >= pace * 0.999 for gap in gaps(times))
