"""Nothing is lost and nothing is counted twice, whatever moment the exporter dies at.

Time moves only while the last poll that was kept is less than three quarters of an hour old: no exporter can count
what the API no longer says, such as the failure of a window that succeeded while nobody looked.
"""

import random
import shutil
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from exporter.simulator.scenarios import SCENARIOS, Scenario
from exporter.simulator.timeline import OVERDUE, SKIPPED, Attempt, Run, failing
from exporter.simulator.worlds import Project
from tests.support.builders import HOUR, eventually
from tests.support.processes import prometheus, query
from tests.support.testbed import TestBed, Totals

KILLS = 100

OUTCOMES = (
    failing("INTERNAL_ERROR"),
    SKIPPED,
    OVERDUE,
    Run((Attempt(),)),
    Run((Attempt(takes=timedelta(minutes=3), error="INTERNAL_ERROR"), Attempt(after=timedelta(minutes=90)))),
)


def _mixed(number: int) -> Scenario:
    """Every outcome in turn, windows all around the clock, each instance a step further than the last."""
    return Scenario(
        f"mixed-{number}",
        "every outcome in turn",
        lambda window: OUTCOMES[(window + number) % len(OUTCOMES)],
        opened_ago=(number * 2 + 1) * HOUR,
    )


PROJECTS = {
    "shop-prod": Project({f"mixed-{number}": _mixed(number) for number in range(12)}),
    "warehouse-prod": Project({"flapping": SCENARIOS["flapping"], "failing": SCENARIOS["failing"]}),
}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[TestBed]:
    stage = TestBed(tmp_path, PROJECTS)
    yield stage
    stage.close()


def without_zeros(totals: Totals) -> Totals:
    return {key: value for key, value in totals.items() if value}


def test_a_hundred_kills_at_random_moments_lose_nothing_and_count_nothing_twice(stage: TestBed) -> None:
    moments = random.Random(20261123)
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(0.005):
            stage.move()

    first = stage.nursery.spawn()
    assert stage.caught_up()
    stage.nursery.kill(first)
    time = threading.Thread(target=go_on)
    time.start()
    for _ in range(KILLS):
        process = stage.nursery.spawn()
        ended.wait(moments.uniform(0.02, 0.35))
        stage.nursery.kill(process)
    process = stage.nursery.spawn()
    assert eventually(lambda: sum(stage.made().values()) > 60, seconds=60)
    ended.set()
    time.join()
    assert stage.caught_up()
    made = stage.made()
    eventually(lambda: without_zeros(stage.totals()) == made, seconds=5)  # what is kept is shown a moment later
    told = without_zeros(stage.totals())
    stage.nursery.kill(process)
    assert told == made
    assert {status for _, status in made} == {"successful", "failed", "skipped", "overdue"}


def test_increase_in_prometheus_is_the_number_of_failures_over_a_restart_and_a_lost_state_folder(
    stage: TestBed, tmp_path: Path
) -> None:
    expression = 'round(sum(increase(cloudsql_backup_runs_total{status="failed"}[1d])))'

    def days(number: int) -> None:
        until = stage.clock() + timedelta(days=number)
        while stage.clock() < until:
            assert eventually(stage.move)
        assert stage.caught_up()

    def failures() -> int:
        return int(sum(count for (_, status), count in stage.made().items() if status == "failed"))

    def told(url: str) -> int:
        """What Prometheus says once it has scraped what is there now, a few times."""
        threading.Event().wait(1.5)
        (result,) = query(url, expression)
        return int(result["value"][1])

    process = stage.nursery.spawn()
    assert stage.caught_up()
    with prometheus(stage.url, tmp_path / "prometheus", scrape_every="100ms") as url:
        assert eventually(lambda: bool(query(url, 'up{job="cloudsql-backup"} == 1')))
        assert told(url) == 0
        days(1)
        before_restart = failures()
        assert told(url) == before_restart > 3
        stage.nursery.kill(process)
        process = stage.nursery.spawn()
        assert eventually(lambda: bool(query(url, 'up{job="cloudsql-backup"} == 1')))
        days(1)
        after_restart = failures()
        assert told(url) == after_restart > before_restart
        stage.nursery.kill(process)
        shutil.rmtree(stage.state)
        process = stage.nursery.spawn()
        assert stage.caught_up()
        assert told(url) == after_restart  # nothing old is counted again
        days(1)
        assert after_restart < told(url) <= failures()
        stage.nursery.kill(process)
