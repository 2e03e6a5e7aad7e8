"""Charts as coordinates."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.facts.model import BackupType, RunStatus
from exporter.web.pages.charts import (
    BOTTOM,
    CELL,
    HEIGHT,
    LEFT,
    RIGHT,
    STEP,
    TOP,
    WIDTH,
    Chart,
    calendar,
    duration_chart,
    size_chart,
    start_chart,
)
from exporter.web.pages.days import DayCell, DayKind
from tests.support.builders import DAY, HOUR, MINUTE, NOW, run

SIX_HOURS = 6 * HOUR


def test_later_is_further_right_and_longer_is_higher() -> None:
    chart = duration_chart([run(took=20 * MINUTE), run(ago=2 * DAY, took=10 * MINUTE)], NOW, SIX_HOURS)
    assert chart
    later, earlier = chart.points
    assert later.x > earlier.x
    assert later.y < earlier.y
    assert later.text == "2026-11-23 04:00: 20m, successful (automated)"


def test_axes_have_readable_values() -> None:
    chart = duration_chart([run(took=21 * MINUTE), run(ago=9 * DAY)], NOW, SIX_HOURS)
    assert chart
    assert [tick.text for tick in chart.values] == ["0s", "5m", "10m", "15m", "20m"]
    assert [tick.text for tick in chart.dates] == ["Nov 15", "Nov 17", "Nov 19", "Nov 21", "Nov 23"]
    size = size_chart([replace(run(), size_bytes=5 * 2**30)], NOW)
    assert size
    assert [tick.text for tick in size.values] == ["0 B", "1.0 GiB", "2.0 GiB", "3.0 GiB", "4.0 GiB", "5.0 GiB"]


def test_the_limit_is_drawn_where_it_does_not_flatten_the_chart() -> None:
    near, far = (duration_chart([run(took=took)], NOW, SIX_HOURS) for took in (4 * HOUR, HOUR))
    assert near
    assert near.limit
    assert near.limit.text == "limit 6h"
    assert far
    assert far.limit is None
    assert far.description == "Duration of each run; the policy allows 6h"


def test_the_usual_value_is_drawn_at_its_height() -> None:
    charts = (
        duration_chart([run(took=20 * MINUTE)], NOW, SIX_HOURS, 10 * MINUTE),
        size_chart([replace(run(), size_bytes=2**31)], NOW, 2.0**30),
    )
    for chart, text in zip(charts, ("usual 10m", "usual 1.0 GiB"), strict=True):
        assert chart
        assert chart.usual
        assert chart.usual.text == text
        assert chart.usual.position - chart.points[0].y == pytest.approx(
            HEIGHT - BOTTOM - chart.usual.position, abs=0.2
        )


def test_failed_runs_are_crosses_and_other_types_squares() -> None:
    runs = [run(RunStatus.FAILED), run(kind=BackupType.ON_DEMAND, ago=HOUR), run(ago=DAY)]
    chart = duration_chart(runs, NOW, SIX_HOURS)
    assert chart
    assert [(point.shape, point.style) for point in chart.points] == [
        ("cross", "failed"),
        ("square", "successful"),
        ("circle", "successful"),
    ]


def test_start_times_are_drawn_from_midnight_at_the_top_with_the_window() -> None:
    chart = start_chart([run(), run(RunStatus.RUNNING, ago=HOUR)], NOW, 4 * HOUR)
    assert chart
    plot = HEIGHT - TOP - BOTTOM
    (band,) = chart.bands
    assert (band.y, band.height) == (
        round(TOP + plot * 4 / 24, 1),
        round(TOP + plot * 8 / 24, 1) - round(TOP + plot * 4 / 24, 1),
    )
    assert chart.points[0].y == band.y
    assert chart.points[0].text == "2026-11-23 04:00: started 04:00, successful (automated)"
    assert chart.points[1].style == "in_progress"


def test_a_window_over_midnight_is_two_bands() -> None:
    chart = start_chart([run()], NOW, 22 * HOUR)
    assert chart
    assert [band.y for band in chart.bands] == [round(TOP + (HEIGHT - TOP - BOTTOM) * 22 / 24, 1), TOP]


def test_without_values_there_is_no_chart() -> None:
    skipped = [run(RunStatus.SKIPPED)]
    assert duration_chart(skipped, NOW, SIX_HOURS) is None
    assert size_chart(skipped, NOW) is None
    assert start_chart(skipped, NOW, None) is None


times = st.timedeltas(timedelta(0), 400 * DAY)


@given(st.lists(st.tuples(times, st.timedeltas(timedelta(0), 30 * DAY), st.integers(0, 2**60)), min_size=1))
def test_every_point_and_tick_lies_within_the_plot(values: list[tuple[timedelta, timedelta, int]]) -> None:
    runs = [replace(run(ago=ago, took=took), size_bytes=size) for ago, took, size in values]
    charts = (duration_chart(runs, NOW, SIX_HOURS), size_chart(runs, NOW), start_chart(runs, NOW, 22 * HOUR))
    for chart in filter(None, charts):
        assert_within_plot(chart)


def assert_within_plot(chart: Chart) -> None:
    assert all(
        LEFT <= x <= WIDTH - RIGHT for x in [point.x for point in chart.points] + [t.position for t in chart.dates]
    )
    assert all(
        TOP <= y <= HEIGHT - BOTTOM for y in [point.y for point in chart.points] + [t.position for t in chart.values]
    )
    assert 2 <= len(chart.values) <= 7
    assert len(chart.dates) <= 8


def cells(first: date, days: int) -> list[DayCell]:
    return [DayCell(first + number * DAY, DayKind.SUCCESSFUL) for number in range(days)]


def test_the_calendar_has_weeks_as_columns_from_monday() -> None:
    monday = date(2026, 11, 23)
    drawn = calendar(cells(monday - 2 * DAY, 4)).cells
    left, top = drawn[2].x - STEP, drawn[2].y
    assert [(cell.x, cell.y) for cell in drawn] == [
        (left, top + 5 * STEP),
        (left, top + 6 * STEP),
        (left + STEP, top),
        (left + STEP, top + STEP),
    ]


def test_the_calendar_names_months_and_fits_a_year() -> None:
    drawn = calendar(cells(date(2025, 11, 24), 365))
    names = [month.text for month in drawn.months]
    assert names == ["Dec", "Jan 2026", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov"]
    assert all(cell.x + CELL <= drawn.width and cell.y + CELL <= drawn.height for cell in drawn.cells)
    assert len({(cell.x, cell.y) for cell in drawn.cells}) == 365
