"""The report on a simulated quarter with failures, restarts and gaps equals what a witness of the simulation saw."""

from contextlib import closing
from datetime import date

import pytest

from exporter.report.data import Period, Report, report
from exporter.state.reader import SavedState
from tests.report.simulated_quarter import DAYS, PLANS, Day, simulate
from tests.support.builders import DAY, NOW


@pytest.fixture(scope="module")
def quarter(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, dict[tuple[str, date], Day]]:
    folder = tmp_path_factory.mktemp("quarter")
    expected, now = simulate(folder)
    first = NOW.date()
    with closing(SavedState.of_folder(folder)) as state:
        saved = state.instances(first, first + (DAYS - 1) * DAY)
    return report([saved], Period(first, first + (DAYS - 1) * DAY, now), "1.0"), expected


@pytest.mark.parametrize("name", PLANS)
def test_report_equals_the_record_of_the_witness(
    quarter: tuple[Report, dict[tuple[str, date], Day]], name: str
) -> None:
    result, expected = quarter
    (instance,) = [instance for instance in result.instances if instance.instance_id == name]
    assert [day.day for day in instance.days] == [result.first + number * DAY for number in range(DAYS)]
    reported = {
        day.day: Day(
            day.state,
            day.observed_share or 0.0,
            day.due or 0,
            day.outcome or "",
            day.worst_age_seconds,
            day.within_policy,
        )
        for day in instance.days
        if day.observed
    }
    assert reported == {day: found for (of, day), found in expected.items() if of == name}
