"""The page of backup windows."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from html import unescape
from urllib.parse import quote

import pytest

from exporter.facts.counters import Counters
from exporter.facts.history import history
from exporter.facts.model import BackupRun, BackupType, InstanceId, PollResult, RunStatus
from exporter.facts.record import ProjectScan, Record
from exporter.facts.snapshot import ProjectStatus, Snapshot
from exporter.runtime import Exporter
from exporter.simulator import WORLDS, Simulator
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from exporter.verdict.evaluate import evaluate
from exporter.web import application
from exporter.web.pages.windows import MAX_ROWS, MAX_TOO_SHORT, WindowsPage, windows_page
from tests.support.builders import DAY, EXPORTER_INFO, HOUR, INSTANCE, MINUTE, NOW, SETTINGS, config, run, world
from tests.support.hostile import HOSTILE_NAMES
from tests.support.processes import fetch
from tests.support.web import serving

Fleet = dict[str, dict[str, tuple[timedelta | None, list[BackupRun]]]]


def page(fleet: Fleet, project: str | None = None) -> WindowsPage:
    """The page of a fleet: by project and instance, the start of the window and the runs."""
    statuses = {}
    for name, instances in fleet.items():
        records = {
            instance: Record(
                replace(INSTANCE, id=InstanceId(name, instance), backups=replace(SETTINGS, window_start=opens)),
                history(runs),
                Counters(NOW),
            )
            for instance, (opens, runs) in instances.items()
        }
        statuses[name] = ProjectStatus(name, PollResult.SUCCESS, scan=ProjectScan(NOW, NOW, records=records))
    return windows_page(evaluate(Snapshot(statuses), config(), EXPORTER_INFO, NOW), project)


def of_one(opens: timedelta | None, *runs: BackupRun) -> WindowsPage:
    """The page of a project with one instance."""
    return page({"shop-prod": {"orders": (opens, list(runs))}}, "shop-prod")


@pytest.mark.parametrize(
    ("opens", "window", "bars"),
    [
        (4 * HOUR, "04:00 to 08:00", [(4, 4)]),
        (20 * HOUR, "20:00 to 00:00", [(20, 4)]),
        (22 * HOUR + 30 * MINUTE, "22:30 to 02:30", [(22.5, 1.5), (0, 2.5)]),
        (None, "", []),
    ],
)
def test_a_window_is_drawn_also_across_midnight(
    opens: timedelta | None, window: str, bars: list[tuple[float, float]]
) -> None:
    (row,) = of_one(opens, run()).instances
    assert row.window == window
    assert [(bar.start, bar.width) for bar in row.windows] == bars


def test_runs_are_drawn_at_their_time_of_day_also_across_midnight() -> None:
    (row,) = of_one(
        4 * HOUR,
        run(ago=8 * HOUR, took=30 * MINUTE),
        run(RunStatus.FAILED, ago=13 * HOUR, took=2 * HOUR),
        run(RunStatus.RUNNING, ago=HOUR),
        run(RunStatus.SKIPPED, ago=32 * HOUR),
        run(ago=8 * DAY),
    ).instances
    assert [(bar.start, bar.width, bar.style) for bar in row.runs] == [
        (11, 1, "in_progress"),
        (4, 0.5, "successful"),
        (23, 1, "failed"),
        (0, 1, "failed"),
    ]
    assert row.runs[2].text == "2026-11-22 23:00 to 01:00, failed"
    assert (row.number, row.longest) == (3, 2 * HOUR)
    assert row.summary == "window 04:00 to 08:00; 3 runs in the last 7 days"


@pytest.mark.parametrize(
    ("late", "runs"),
    [
        (0, [run(ago=8 * HOUR, took=4 * HOUR)]),
        (1, [run(ago=8 * HOUR, took=4 * HOUR + timedelta(milliseconds=1))]),
        (1, [run(RunStatus.RUNNING, ago=5 * HOUR)]),
        (0, [run(RunStatus.RUNNING, ago=3 * HOUR)]),
        (0, [run(ago=8 * HOUR, took=7 * HOUR, kind=BackupType.ON_DEMAND)]),
        (2, [run(ago=9 * HOUR, took=5 * HOUR), run(ago=33 * HOUR, took=5 * HOUR), run(ago=57 * HOUR)]),
        (0, [run(ago=8 * DAY, took=5 * HOUR)]),
    ],
)
def test_a_window_is_too_short_if_an_automated_run_ends_after_it(late: int, runs: list[BackupRun]) -> None:
    shown = of_one(3 * HOUR, *runs)
    assert [row.ended_late for row in shown.too_short] == ([late] if late else [])
    assert shown.number_too_short == (1 if late else 0)


def test_windows_and_runs_are_counted_by_hour() -> None:
    shown = page(
        {
            "a": {"x": (22 * HOUR + 30 * MINUTE, [run(ago=8 * HOUR, took=30 * MINUTE)])},
            "b": {"y": (4 * HOUR, [run(ago=8 * HOUR + 20 * MINUTE, took=40 * MINUTE), run(ago=32 * HOUR, took=HOUR)])},
        }
    )
    windows = {hour.hour: hour.windows for hour in shown.hours if hour.windows}
    assert windows == {22: 1, 23: 1, 0: 1, 1: 1, 2: 1, 4: 1, 5: 1, 6: 1, 7: 1}
    assert {hour.hour: hour.started for hour in shown.hours if hour.started} == {3: 1, 4: 2}
    assert {hour.hour: hour.most for hour in shown.hours if hour.most} == {3: 1, 4: 2}
    assert shown.hours[3].text == "03:00 to 04:00"
    assert shown.hours[23].text == "23:00 to 00:00"
    assert (shown.most_at_once, shown.most_at) == (2, NOW - 8 * HOUR)
    steps = 4 + 6 + 12  # of five minutes, in this hour: until 04:20, until 04:30 and, on another day, until 05:00
    assert shown.hours[4].mean == pytest.approx(steps / (7 * 12))


def test_the_charts_have_a_column_for_each_hour_that_reaches_the_top_at_most() -> None:
    windows, load = of_one(4 * HOUR, run(ago=8 * HOUR, took=2 * HOUR)).charts
    assert (windows.most, load.most) == (1, 1)
    assert [column.height for column in windows.columns] == [90.0 if 4 <= hour < 8 else 0 for hour in range(24)]
    assert all(0 <= column.y <= 90 and column.y + column.height == 90 for column in (*windows.columns, *load.columns))
    assert windows.columns[4].text == "04:00 to 05:00: 1 open windows"


def test_nothing_to_show_is_an_empty_page() -> None:
    shown = page({})
    assert (shown.total, shown.most_at_once, shown.most_at, shown.of_projects) == (0, 0, None, [])


def test_instances_without_an_expected_run_have_no_window_and_are_left_out_without_runs() -> None:
    assert of_one(None).total == 0
    disabled = replace(INSTANCE, backups=replace(SETTINGS, enabled=False))
    scan = ProjectScan(NOW, NOW, records={"orders": Record(disabled, history([run()]), Counters(NOW))})
    status = ProjectStatus("shop-prod", PollResult.SUCCESS, scan=scan)
    shown = windows_page(evaluate(Snapshot({"shop-prod": status}), config(), EXPORTER_INFO, NOW), "shop-prod")
    assert [(row.window, row.number) for row in shown.instances] == [("", 1)]


def test_a_large_fleet_is_shown_by_hour_and_project_and_its_rows_are_limited() -> None:
    late = (4 * HOUR, [run(ago=8 * HOUR, took=5 * HOUR)])
    fleet: Fleet = {f"p{number:03}": {"a": late} for number in range(MAX_ROWS + 1)}
    fleet["large"] = {f"i{number:03}": (5 * HOUR, [run()]) for number in range(MAX_ROWS + 1)}
    shown = page(fleet)
    assert shown.instances == []
    assert (len(shown.of_projects), shown.total_projects) == (MAX_ROWS, MAX_ROWS + 2)
    assert (len(shown.too_short), shown.number_too_short) == (MAX_TOO_SHORT, MAX_ROWS + 1)
    of_project = page(fleet, "large")
    assert (len(of_project.instances), of_project.total, of_project.of_projects) == (MAX_ROWS, MAX_ROWS + 1, [])


def test_rows_are_in_the_order_of_their_windows() -> None:
    fleet: Fleet = {
        "p": {"late": (9 * HOUR, [run()]), "none": (None, [run()]), "early": (HOUR, [run()]), "same": (HOUR, [])}
    }
    assert [row.name for row in page(fleet, "p").instances] == ["early", "same", "late", "none"]


@contextmanager
def served(projects: dict[str, Project]) -> Iterator[str]:
    """The URL of the page of an exporter that has polled these projects."""
    with Simulator(world(projects)) as simulator:
        settings = config(simulator.url, tuple(projects))
        exporter = Exporter(lambda: settings, simulator.world.clock, process_metrics=False)
        exporter.poll_once(lambda _done, _total: None)
        with serving(application(exporter)) as server:
            yield f"{server.urls[0]}windows"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The URL of the page for the demo world."""
    with served({name: project for name, project in WORLDS["demo"]().items() if name != "sealed"}) as url:
        yield url


def test_the_fleet_links_to_its_projects_whose_page_links_to_their_instances(url: str) -> None:
    fleet = fetch(url)
    assert fleet.status == 200
    assert 'href="windows?project=museum"' in fleet.text
    assert 'aria-current="page">Windows' in fleet.text
    museum = fetch(f"{url}?project=museum")
    assert museum.status == 200
    assert 'href="instances/museum/slow"' in museum.text
    assert "ended late" in museum.text
    assert museum.text.count("<svg") == museum.text.count("</svg>") > len(SCENARIOS) / 2


@pytest.mark.parametrize("project", ["%20", ""])
def test_an_empty_choice_of_a_project_shows_the_fleet(url: str, project: str) -> None:
    assert "<h1>Backup windows</h1>" in fetch(f"{url}?project={project}").text


def test_an_unknown_project_returns_404_and_suggests_others(url: str) -> None:
    response = fetch(f"{url}?project=musem")
    assert response.status == 404
    assert "Project musem is not among the targets" in response.text
    assert 'href="windows?project=museum"' in response.text


def test_the_page_has_neither_inline_styles_nor_scripts_and_the_headers_of_a_page(url: str) -> None:
    for query in ("", "?project=museum"):
        response = fetch(url + query)
        assert "unsafe-inline" not in response.headers["content-security-policy"]
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=)", response.text)


def test_other_methods_return_405(url: str) -> None:
    assert (fetch(url, "HEAD").status, fetch(url, "POST").status) == (200, 405)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_are_escaped_and_isolated_and_their_links_work(name: str) -> None:
    with served({"museum": Project({name: SCENARIOS["slow"]})}) as url:
        html = fetch(f"{url}?project=museum").text
        path = f"instances/museum/{quote(name, safe='')}"
        assert f'<a href="{path}"><bdi>' in html
        assert fetch(f"{url.removesuffix('windows')}{path}").status == 200
    assert "<script>alert" not in html
    assert name in [unescape(part) for part in re.findall(r"<bdi>(.*?)</bdi>", html)]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_an_unknown_hostile_project_is_escaped(url: str, name: str) -> None:
    response = fetch(f"{url}?project={quote(name, safe='')}")
    assert response.status == 404
    assert "<script>alert" not in response.text
