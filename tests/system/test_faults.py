"""API faults over real HTTP: the metrics during each fault and after it.

Two projects are polled and one of them is affected. No scrape ever fails, and no instance is ever reported as protected
by facts older than `stale_after`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from exporter.config import Config
from exporter.metrics.exposition import TEXT
from exporter.runtime import Exporter
from exporter.simulator import KINDS, Fault, SimulatedClock, Simulator
from tests.support.builders import HOUR, MINUTE, NOW, config, eventually
from tests.support.expositions import Series, series_of

PREFIX = "cloudsql_backup_"
AFFECTED, HEALTHY = "shop-prod", "warehouse-prod"


@dataclass
class Setup:
    """A simulated API, an exporter that polls it, and their common clock."""

    simulator: Simulator
    exporter: Exporter
    clock: SimulatedClock

    def series(self) -> Series:
        """All series at this time. The scrape itself must succeed."""
        assert self.exporter.exposition(TEXT).length
        return series_of(self.exporter.evaluate())

    def value(self, name: str, **labels: str) -> float | None:
        """The value of one series, or None if there is none."""
        return self.series().get((PREFIX + name, frozenset(labels.items())))

    def states(self, project: str) -> dict[str, int]:
        """The number of instances of a project by state."""
        states: dict[str, int] = {}
        for verdict in self.exporter.evaluate().verdicts:
            if verdict.instance.id.project == project:
                states[verdict.state] = states.get(verdict.state, 0) + 1
        return states

    def up(self, project: str) -> float | None:
        """The value of project_up for a project."""
        return self.value("exporter_project_up", project=project)

    def polls(self, project: str, result: str) -> float:
        """The number of polls of a project with a result."""
        return self.value("exporter_polls_total", project=project, result=result) or 0

    def polled_again(self, project: str, result: str = "success") -> bool:
        """Whether a poll that starts from now on ends with a result."""
        before = self.polls(project, result)
        return eventually(lambda: self.polls(project, result) >= before + 2)


def settings(url: str) -> Config:
    return config(url, (AFFECTED, HEALTHY), poll={"interval": "200ms", "timeout": "3s", "stale_after": "1h"})


@pytest.fixture
def setup(simulator: Simulator) -> Iterator[Setup]:
    clock = simulator.world.clock
    assert isinstance(clock, SimulatedClock)
    exporter = Exporter(lambda: settings(simulator.url), clock)
    exporter.start()
    try:
        assert eventually(exporter.ready)
        yield Setup(simulator, exporter, clock)
    finally:
        exporter.stop()


HEALTHY_STATES = {"protected": 8, "exempt": 1}
RESULTS = {
    "unauthenticated": "unauthenticated",
    "forbidden": "forbidden",
    "api-disabled": "api_disabled",
    "not-found": "not_found",
    "quota": "quota",
    "server-error": "server_error",
    "unavailable": "server_error",
    "slow": "timeout",
    "cut": "bad_response",
    "reset": "unreachable",
    "html": "bad_response",
    "wrong-json": "bad_response",
}
# Each has a test of its own; published-names is about backups: see test_deleted_instances.py.
NO_FAILURES = {"unordered", "unreachable-region", "no-wildcard", "expired-token", "odd-items", "published-names"} | {
    "stale-inventory"
}


def test_every_fault_has_a_test() -> None:
    assert RESULTS.keys() | NO_FAILURES == KINDS.keys()


@pytest.mark.parametrize("kind", sorted(RESULTS))
def test_failing_project_keeps_its_facts_until_stale_and_recovers(setup: Setup, kind: str) -> None:
    before = {key: value for key, value in setup.series().items() if "exporter" not in key[0]}
    setup.simulator.faults.add(Fault(kind, project=AFFECTED, seconds=5 if kind == "slow" else 0))
    assert eventually(lambda: setup.polls(AFFECTED, RESULTS[kind]) >= 1)

    assert (setup.up(AFFECTED), setup.up(HEALTHY)) == (0, 1)
    assert {key: value for key, value in setup.series().items() if "exporter" not in key[0]} == before
    last_success = setup.value("exporter_project_last_success_timestamp_seconds", project=AFFECTED)
    assert last_success == NOW.timestamp()

    setup.clock.advance(HOUR + MINUTE)
    assert setup.polled_again(HEALTHY)
    assert setup.states(AFFECTED) == {"unknown": 9}
    assert "unknown" not in setup.states(HEALTHY)
    assert setup.value("exporter_project_last_success_timestamp_seconds", project=AFFECTED) == last_success

    setup.simulator.faults.clear()
    assert setup.polled_again(AFFECTED)
    assert (setup.up(AFFECTED), setup.states(AFFECTED)) == (1, HEALTHY_STATES)


def test_429_fails_the_poll_if_retry_after_exceeds_the_interval(setup: Setup) -> None:
    """Retry-After is 1 s and the interval of polls 200 ms; the other project is not affected."""
    setup.simulator.faults.add(Fault("quota", project=AFFECTED, seconds=1))
    assert eventually(lambda: setup.polls(AFFECTED, "quota") >= 2)
    assert setup.value("exporter_project_up", project=HEALTHY) == 1


def test_poll_succeeds_if_a_retry_succeeds(simulator: Simulator) -> None:
    """No other exporter polls the simulator: the only faulty response is for this one."""
    long_interval = config(simulator.url, (AFFECTED,), poll={"interval": "10s"})
    exporter = Exporter(lambda: long_interval, simulator.world.clock)
    simulator.faults.add(Fault("unavailable", project=AFFECTED, times=1))
    exporter.start()
    assert eventually(exporter.ready)
    exporter.stop()
    exposition = b"".join(exporter.exposition(TEXT).parts).decode()
    assert 'cloudsql_backup_exporter_api_retries_total{method="instances.list"} 1.0' in exposition
    assert 'cloudsql_backup_exporter_polls_total{project="shop-prod",result="success"} 1.0' in exposition


def test_instances_of_an_unreachable_region_keep_their_facts_until_stale(setup: Setup) -> None:
    setup.simulator.faults.add(Fault("unreachable-region", project=AFFECTED, region="europe-west4"))
    assert setup.polled_again(AFFECTED)
    assert setup.value("exporter_project_partial", project=AFFECTED) == 1
    assert (setup.up(AFFECTED), setup.states(AFFECTED)) == (1, HEALTHY_STATES)

    setup.clock.advance(HOUR + MINUTE)
    assert setup.polled_again(AFFECTED)
    assert setup.states(AFFECTED) == {"protected": 7, "exempt": 1, "unknown": 1}

    setup.simulator.faults.clear()
    assert setup.polled_again(AFFECTED)
    assert setup.value("exporter_project_partial", project=AFFECTED) == 0
    assert setup.states(AFFECTED) == HEALTHY_STATES


def test_unordered_listing_causes_full_listings(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    setup.simulator.faults.add(Fault("unordered", project=AFFECTED))
    setup.clock.advance(timedelta(hours=7))  # a full listing is due, and detects the order
    assert setup.polled_again(AFFECTED)
    assert setup.up(AFFECTED) == 1
    scan = setup.exporter.snapshot.projects[AFFECTED].scan
    assert scan is not None
    assert not scan.newest_first
    assert caplog.text.count("backup runs are not listed newest first: listing in full on every poll") == 1


def test_items_that_cannot_be_read_affect_no_other(setup: Setup) -> None:
    setup.simulator.faults.add(Fault("odd-items", project=AFFECTED))
    setup.clock.advance(timedelta(hours=7))
    assert setup.polled_again(AFFECTED)
    assert (setup.up(AFFECTED), len(setup.exporter.evaluate().verdicts)) == (1, 14)
    assert setup.exporter.api_usage().unreadable_items.keys() >= {"instance", "backup_run"}


def test_project_is_read_without_the_wildcard(setup: Setup) -> None:
    setup.simulator.faults.add(Fault("no-wildcard", project=AFFECTED))
    setup.clock.advance(timedelta(hours=7))
    assert setup.polled_again(AFFECTED)
    assert (setup.up(AFFECTED), len(setup.exporter.evaluate().verdicts)) == (1, 14)


def test_expired_page_token_fails_the_poll_and_keeps_the_facts(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.googleapis.cloudsql.PAGE_SIZE", 3)
    setup.simulator.faults.add(Fault("expired-token", project=AFFECTED))
    assert eventually(lambda: setup.polls(AFFECTED, "bad_response") >= 1)
    assert setup.states(AFFECTED) == HEALTHY_STATES
    setup.simulator.faults.clear()
    assert setup.polled_again(AFFECTED)


def test_all_projects_fail_while_the_api_is_unreachable_and_recover(setup: Setup) -> None:
    port = int(setup.simulator.url.rstrip("/").rpartition(":")[2])
    setup.simulator.stop()
    assert eventually(lambda: min(setup.polls(p, "unreachable") for p in (AFFECTED, HEALTHY)) >= 1)
    assert (setup.up(AFFECTED), setup.up(HEALTHY), setup.states(AFFECTED)) == (0, 0, HEALTHY_STATES)
    setup.clock.advance(HOUR + MINUTE)
    assert setup.states(AFFECTED) == {"unknown": 9}
    with Simulator(setup.simulator.world, port=port):
        assert eventually(lambda: (setup.up(AFFECTED), setup.up(HEALTHY)) == (1, 1))
        assert setup.states(AFFECTED) == HEALTHY_STATES


def test_slow_project_does_not_delay_another(setup: Setup) -> None:
    """One of eight workers waits for the slow project; the healthy one is polled as before."""
    setup.simulator.faults.add(Fault("slow", project=AFFECTED, seconds=30))
    assert eventually(lambda: setup.polls(AFFECTED, "timeout") >= 1)
    during = setup.polls(HEALTHY, "success")
    assert eventually(lambda: setup.polls(HEALTHY, "success") >= during + 5)
    assert setup.polls(AFFECTED, "success") >= 1
