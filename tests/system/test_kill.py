"""No run is lost and none is counted twice, whenever the exporter is killed.

The clock is advanced only while the oldest saved poll is at most 40 minutes old: no exporter can count what the API no
longer reports, such as a failure that was followed by a successful retry between two polls.
"""

import random
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from exporter.simulator.backup_plans import GOLD, PERMISSION_DENIED, Association
from exporter.simulator.scenarios import SCENARIOS, Scenario
from exporter.simulator.timeline import OVERDUE, SKIPPED, Attempt, Run, failing
from exporter.simulator.worlds import Project
from tests.support.builders import HOUR, eventually
from tests.support.processes import prometheus, query
from tests.support.testbed import TestBed, Totals

KILLS = 100

PLAN = replace(GOLD, project="museum")
OUTCOMES = (
    failing("INTERNAL_ERROR"),
    SKIPPED,
    OVERDUE,
    Run((Attempt(),)),
    Run((Attempt(takes=timedelta(minutes=3), error="INTERNAL_ERROR"), Attempt(after=timedelta(minutes=90)))),
)


def _mixed(number: int) -> Scenario:
    """Every outcome in turn. Each instance starts with another one and has its window at another time."""
    return Scenario(
        f"mixed-{number}",
        "every outcome in turn",
        lambda window: OUTCOMES[(window + number) % len(OUTCOMES)],
        opened_ago=(number * 2 + 1) * HOUR,
    )


def _planned(number: int) -> Scenario:
    """Two rules of a backup plan, which fail in turn, once with two attempts."""

    def daily(window: int) -> Run:
        return OUTCOMES[3 * ((window + number) % 2)]

    def nightly(window: int) -> Run:
        return (OUTCOMES[3], failing(PERMISSION_DENIED), OUTCOMES[4])[(window + number) % 3]

    rules = {"daily": daily, "nightly": nightly}
    associations = (Association(rules, plan=PLAN),)
    return replace(SCENARIOS["enhanced"], associations=associations, opened_ago=(number * 7 + 2) * HOUR)


PROJECTS = {
    "shop-prod": Project({f"mixed-{number}": _mixed(number) for number in range(12)}),
    "warehouse-prod": Project({"flapping": SCENARIOS["flapping"], "failing": SCENARIOS["failing"]}),
    "museum": Project({f"planned-{number}": _planned(number) for number in range(3)}, plans=(PLAN,)),
}


@pytest.fixture
def testbed(tmp_path: Path) -> Iterator[TestBed]:
    testbed = TestBed(tmp_path, PROJECTS, collect={"backup_dr": True})
    yield testbed
    testbed.close()


def without_zeros(totals: Totals) -> Totals:
    return {key: value for key, value in totals.items() if value}


def test_a_hundred_kills_lose_no_run_and_count_none_twice(testbed: TestBed) -> None:
    randomness = random.Random(20261123)
    stopped = threading.Event()

    def advance_clock() -> None:
        while not stopped.wait(0.005):
            testbed.advance()

    first = testbed.forker.spawn()
    assert testbed.caught_up()
    testbed.forker.kill(first)
    clock_thread = threading.Thread(target=advance_clock)
    clock_thread.start()
    for _ in range(KILLS):
        pid = testbed.forker.spawn()
        stopped.wait(randomness.uniform(0.02, 0.35))
        testbed.forker.kill(pid)
    pid = testbed.forker.spawn()
    assert eventually(lambda: sum(testbed.expected_totals().values()) > 60, seconds=60)
    stopped.set()
    clock_thread.join()
    assert testbed.caught_up()
    expected = testbed.expected_totals()
    eventually(lambda: without_zeros(testbed.totals()) == expected, seconds=5)  # exposed soon after it is saved
    totals, failures = without_zeros(testbed.totals()), testbed.plan_rule_failures()
    expected_failures = testbed.expected_plan_rule_failures()
    testbed.forker.kill(pid)
    assert totals == expected
    assert failures == expected_failures
    assert min(failures.values()) > 0
    assert {status for _, status in expected} == {"successful", "failed", "skipped", "overdue"}


def test_increase_counts_failures_across_restart_and_lost_state(testbed: TestBed, tmp_path: Path) -> None:
    expression = 'round(sum(increase(cloudsql_backup_runs_total{status="failed"}[1d])))'

    def advance_one_day() -> None:
        end = testbed.clock() + timedelta(days=1)
        while testbed.clock() < end:
            assert eventually(testbed.advance)
        assert testbed.caught_up()

    def failures() -> int:
        return int(sum(count for (_, status), count in testbed.expected_totals().items() if status == "failed"))

    def increase(url: str) -> int:
        """The result in Prometheus after a few more scrapes."""
        threading.Event().wait(1.5)
        (result,) = query(url, expression)
        return int(result["value"][1])

    pid = testbed.forker.spawn()
    assert testbed.caught_up()
    with prometheus(testbed.url, tmp_path / "prometheus", scrape_every="100ms") as url:
        assert eventually(lambda: bool(query(url, 'up{job="cloudsql-backup"} == 1')))
        assert increase(url) == 0
        advance_one_day()
        before_restart = failures()
        assert increase(url) == before_restart > 3
        testbed.forker.kill(pid)
        pid = testbed.forker.spawn()
        assert eventually(lambda: bool(query(url, 'up{job="cloudsql-backup"} == 1')))
        advance_one_day()
        after_restart = failures()
        assert increase(url) == after_restart > before_restart
        testbed.forker.kill(pid)
        shutil.rmtree(testbed.state)
        pid = testbed.forker.spawn()
        assert testbed.caught_up()
        assert increase(url) == after_restart  # no run is counted again
        advance_one_day()
        assert after_restart < increase(url) <= failures()
        testbed.forker.kill(pid)
