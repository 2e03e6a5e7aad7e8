"""Cells of days: the worst run wins, and "no run" differs from "not observed"."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from exporter.facts.daily import InstanceDay, ProjectDay, start_of
from exporter.facts.model import BackupRun, BackupType, RunStatus
from exporter.facts.packed_runs import PackedRuns
from exporter.web.pages.days import LETTERS, MEANINGS, DayCell, DayKind, day_cells, description, windows_missed
from tests.support.builders import DAY, HOUR, NOW, run

TODAY = NOW.date()
YESTERDAY = TODAY - DAY
CLOSES = 8 * 3600  # seconds after midnight


def project_day(day: date, until: timedelta = DAY) -> ProjectDay:
    return ProjectDay(day, until.total_seconds(), start_of(day) + until)


def cell(
    day: date = YESTERDAY, recorded: InstanceDay | None = None, *runs: BackupRun, until: timedelta = DAY
) -> DayCell:
    """The cell of one day."""
    days = [(project_day(day, until), recorded)] if recorded else []
    (found,) = day_cells(days, PackedRuns.of(runs), day, day, TODAY)
    return found


@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        ([RunStatus.SUCCESSFUL], DayKind.SUCCESSFUL),
        ([RunStatus.SKIPPED], DayKind.SKIPPED),
        ([RunStatus.SKIPPED, RunStatus.SUCCESSFUL], DayKind.SKIPPED),
        ([RunStatus.SUCCESSFUL, RunStatus.RUNNING], DayKind.IN_PROGRESS),
        ([RunStatus.ENQUEUED], DayKind.IN_PROGRESS),
        ([RunStatus.UNKNOWN, RunStatus.SUCCESSFUL], DayKind.UNKNOWN),
        ([RunStatus.OVERDUE, RunStatus.SUCCESSFUL], DayKind.OVERDUE),
        ([RunStatus.SUCCESSFUL, RunStatus.FAILED, RunStatus.OVERDUE], DayKind.FAILED),
        ([RunStatus.DELETED], DayKind.NOT_OBSERVED),
        ([], DayKind.NOT_OBSERVED),
    ],
)
def test_the_worst_listed_run_of_a_day_wins(statuses: list[RunStatus], kind: DayKind) -> None:
    runs = [run(status, DAY + number * HOUR) for number, status in enumerate(statuses)]
    assert cell(YESTERDAY, None, *runs).kind is kind


def test_a_run_belongs_to_the_day_of_its_window_start() -> None:
    midnight = NOW - start_of(TODAY)
    runs = [run(ago=midnight), run(RunStatus.FAILED, ago=midnight + timedelta(microseconds=1))]
    cells = day_cells([], PackedRuns.of(runs), YESTERDAY, TODAY, TODAY)
    assert [found.kind for found in cells] == [DayKind.FAILED, DayKind.SUCCESSFUL]


def test_a_run_that_is_no_longer_listed_is_taken_from_the_record() -> None:
    assert cell(recorded=InstanceDay("at_risk", RunStatus.FAILED)).kind is DayKind.FAILED


def test_a_listed_run_replaces_an_outcome_that_was_recorded_before_it_ended() -> None:
    recorded = InstanceDay("protected", RunStatus.RUNNING)
    assert cell(YESTERDAY, recorded, run(ago=DAY)).kind is DayKind.SUCCESSFUL


EXPECTED = InstanceDay("protected", window_closes=CLOSES)
OVER_MIDNIGHT = InstanceDay("protected", window_closes=2 * 3600)  # opens at 22:00


@pytest.mark.parametrize(
    ("day", "recorded", "until", "kind"),
    [
        (YESTERDAY, EXPECTED, DAY, DayKind.NO_RUN),
        (YESTERDAY, EXPECTED, 8 * HOUR, DayKind.NO_RUN),
        (YESTERDAY, EXPECTED, 8 * HOUR - timedelta(seconds=1), DayKind.NOT_OBSERVED),
        (TODAY, EXPECTED, 12 * HOUR, DayKind.NO_RUN),
        (TODAY, EXPECTED, 7 * HOUR, DayKind.PENDING),
        (YESTERDAY, OVER_MIDNIGHT, DAY, DayKind.NO_RUN),
        (YESTERDAY, OVER_MIDNIGHT, 22 * HOUR, DayKind.NOT_OBSERVED),
        (TODAY, OVER_MIDNIGHT, 12 * HOUR, DayKind.PENDING),
        (YESTERDAY, replace(EXPECTED, state="unknown"), DAY, DayKind.UNKNOWN),
        (YESTERDAY, InstanceDay("exempt"), DAY, DayKind.EXEMPT),
        (TODAY, InstanceDay("exempt", window_closes=CLOSES), HOUR, DayKind.EXEMPT),
        (YESTERDAY, InstanceDay("unprotected"), DAY, DayKind.NO_RUN),  # backups are disabled
        (TODAY, InstanceDay("unprotected"), HOUR, DayKind.PENDING),
        (YESTERDAY, None, DAY, DayKind.NOT_OBSERVED),
    ],
)
def test_a_day_without_a_run_tells_why(
    day: date, recorded: InstanceDay | None, until: timedelta, kind: DayKind
) -> None:
    assert cell(day, recorded, until=until).kind is kind


def test_a_backup_on_demand_of_an_exempt_instance_is_shown() -> None:
    assert cell(YESTERDAY, InstanceDay("exempt"), run(ago=DAY, kind=BackupType.ON_DEMAND)).kind is DayKind.SUCCESSFUL


def test_a_cell_has_the_numbers_of_the_record() -> None:
    point = int((start_of(YESTERDAY) - 6 * HOUR).timestamp())
    recorded = InstanceDay("at_risk", RunStatus.FAILED, CLOSES, False, point, None, 3600)
    found = cell(YESTERDAY, recorded, until=13 * HOUR)
    assert found == DayCell(YESTERDAY, DayKind.FAILED, "at_risk", 0.5, 19 * HOUR, within_policy=False)
    assert (found.text, found.letter) == ("Nov 22: failed, at risk", "✖")


def test_days_in_words_are_grouped() -> None:
    runs = [run(ago=DAY), run(ago=2 * DAY), run(RunStatus.FAILED, ago=3 * DAY)]
    cells = day_cells([], PackedRuns.of(runs), TODAY - 3 * DAY, TODAY, TODAY)
    assert description(cells) == "Nov 20: failed; Nov 21 to Nov 22: successful; Nov 23: not observed"


@pytest.mark.parametrize(
    ("kinds", "missed"),
    [
        ([DayKind.NO_RUN, DayKind.SUCCESSFUL, DayKind.NO_RUN, DayKind.OVERDUE, DayKind.PENDING], 2),
        ([DayKind.NO_RUN, DayKind.NO_RUN, DayKind.NO_RUN], 2),
        ([DayKind.NOT_OBSERVED, DayKind.NO_RUN, DayKind.PENDING], 1),
        ([DayKind.NO_RUN, DayKind.FAILED, DayKind.NO_RUN], 0),
        ([], 0),
    ],
)
def test_missed_windows_are_counted_from_the_last_closed_one(kinds: list[DayKind], missed: int) -> None:
    days = [DayCell(TODAY - number * DAY, kind) for number, kind in enumerate(reversed(kinds))]
    assert windows_missed(days[::-1], YESTERDAY) == missed


def test_cells_are_consecutive_days_oldest_first() -> None:
    cells = day_cells([], PackedRuns.of(()), TODAY - 13 * DAY, TODAY, TODAY)
    assert [found.day for found in cells] == [TODAY - number * DAY for number in range(13, -1, -1)]


def test_each_kind_has_a_letter_of_its_own_and_a_meaning() -> None:
    assert set(MEANINGS) == set(LETTERS) == set(DayKind)
    assert len(set(LETTERS.values())) == len(set(MEANINGS.values())) == len(DayKind)
