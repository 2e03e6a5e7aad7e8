"""The API's bad days, over real HTTP: what `/metrics` shows during each and after it.

Two projects are watched; the trouble meets one of them. At no time does a scrape fail, and at no time is an instance
called protected whose project has not been read within `stale_after`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from exporter.config import Config
from exporter.metrics.exposition import TEXT
from exporter.runtime import Exporter
from exporter.simulator import KINDS, WORLDS, Fault, SimulatedClock, Simulator, World
from tests.support.builders import HOUR, MINUTE, NOW, config, eventually, world
from tests.support.expositions import Series, series_of

PREFIX = "cloudsql_backup_"
TROUBLED, SOUND = "shop-prod", "warehouse-prod"


@dataclass
class Setup:
    """A simulated API, an exporter that polls it, and their common clock."""

    simulator: Simulator
    exporter: Exporter
    clock: SimulatedClock

    def series(self) -> Series:
        """What a scrape says now; the scrape itself must succeed."""
        assert self.exporter.exposition(TEXT).length
        return series_of(self.exporter.evaluate())

    def value(self, name: str, **labels: str) -> float | None:
        """One sample, or None where there is none."""
        return self.series().get((PREFIX + name, frozenset(labels.items())))

    def states(self, project: str) -> dict[str, int]:
        """How many instances of a project are in which state."""
        states: dict[str, int] = {}
        for verdict in self.exporter.evaluate().verdicts:
            if verdict.instance.id.project == project:
                states[verdict.state] = states.get(verdict.state, 0) + 1
        return states

    def up(self, project: str) -> float | None:
        """The project_up of a project."""
        return self.value("exporter_project_up", project=project)

    def polls(self, project: str, result: str) -> float:
        """How many polls of a project ended so."""
        return self.value("exporter_polls_total", project=project, result=result) or 0

    def polled_again(self, project: str, result: str = "success") -> bool:
        """Whether a whole poll comes to end so from now on."""
        before = self.polls(project, result)
        return eventually(lambda: self.polls(project, result) >= before + 2)


def settings(url: str) -> Config:
    return config(url, (TROUBLED, SOUND), poll={"interval": "200ms", "timeout": "500ms", "stale_after": "1h"})


@pytest.fixture
def setup() -> Iterator[Setup]:
    shop: World = world(WORLDS["demo"]())
    assert isinstance(shop.clock, SimulatedClock)
    with Simulator(shop) as simulator:
        exporter = Exporter(lambda: settings(simulator.url), shop.clock)
        exporter.start()
        assert eventually(exporter.ready)
        yield Setup(simulator, exporter, shop.clock)
        exporter.stop()


WELL = {"protected": 8, "exempt": 1}
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
NO_FAILURES = {"unordered", "unreachable-region", "no-wildcard", "expired-token"}  # these have tests of their own


def test_every_fault_has_its_test() -> None:
    assert RESULTS.keys() | NO_FAILURES == KINDS.keys()


@pytest.mark.parametrize("kind", sorted(RESULTS))
def test_a_failing_project_is_down_keeps_its_facts_turns_unknown_and_comes_back(setup: Setup, kind: str) -> None:
    before = {key: value for key, value in setup.series().items() if "exporter" not in key[0]}
    setup.simulator.faults.add(Fault(kind, project=TROUBLED, seconds=1 if kind == "slow" else 0))
    assert eventually(lambda: setup.polls(TROUBLED, RESULTS[kind]) >= 1)

    assert (setup.up(TROUBLED), setup.up(SOUND)) == (0, 1)
    assert {key: value for key, value in setup.series().items() if "exporter" not in key[0]} == before
    seen = setup.value("exporter_project_last_success_timestamp_seconds", project=TROUBLED)
    assert seen == NOW.timestamp()

    setup.clock.advance(HOUR + MINUTE)
    assert setup.polled_again(SOUND)
    assert setup.states(TROUBLED) == {"unknown": 9}
    assert "unknown" not in setup.states(SOUND)
    assert setup.value("exporter_project_last_success_timestamp_seconds", project=TROUBLED) == seen

    setup.simulator.faults.clear()
    assert setup.polled_again(TROUBLED)
    assert (setup.up(TROUBLED), setup.states(TROUBLED)) == (1, WELL)


def test_quota_trouble_with_retry_after_is_asked_again_when_told(setup: Setup) -> None:
    """A second of waiting does not fit into a poll of 200 ms, so the poll fails; nothing is asked in between."""
    setup.simulator.faults.add(Fault("quota", project=TROUBLED, seconds=1))
    assert eventually(lambda: setup.polls(TROUBLED, "quota") >= 2)
    assert setup.value("exporter_project_up", project=SOUND) == 1


def test_trouble_that_passes_within_a_poll_is_no_failure(setup: Setup) -> None:
    patient = config(setup.simulator.url, (TROUBLED,), poll={"interval": "10s"})
    exporter = Exporter(lambda: patient, setup.clock)
    setup.simulator.faults.add(Fault("unavailable", project=TROUBLED, times=1))
    exporter.start()
    assert eventually(exporter.ready)
    exporter.stop()
    told = b"".join(exporter.exposition(TEXT).parts).decode()
    assert 'cloudsql_backup_exporter_api_retries_total{method="instances.list"} 1.0' in told
    assert 'cloudsql_backup_exporter_polls_total{project="shop-prod",result="success"} 1.0' in told


def test_an_unreachable_region_leaves_its_instances_their_facts_until_they_are_too_old(setup: Setup) -> None:
    setup.simulator.faults.add(Fault("unreachable-region", project=TROUBLED, region="europe-west4"))
    assert setup.polled_again(TROUBLED)
    assert setup.value("exporter_project_partial", project=TROUBLED) == 1
    assert (setup.up(TROUBLED), setup.states(TROUBLED)) == (1, WELL)

    setup.clock.advance(HOUR + MINUTE)
    assert setup.polled_again(TROUBLED)
    assert setup.states(TROUBLED) == {"protected": 7, "exempt": 1, "unknown": 1}

    setup.simulator.faults.clear()
    assert setup.polled_again(TROUBLED)
    assert setup.value("exporter_project_partial", project=TROUBLED) == 0
    assert setup.states(TROUBLED) == WELL


def test_listings_out_of_order_change_nothing_but_how_much_is_read(
    setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    setup.simulator.faults.add(Fault("unordered", project=TROUBLED))
    setup.clock.advance(timedelta(hours=7))  # a full listing is due, and finds it out
    assert setup.polled_again(TROUBLED)
    assert setup.up(TROUBLED) == 1
    scan = setup.exporter.snapshot.projects[TROUBLED].scan
    assert scan is not None
    assert not scan.newest_first
    assert caplog.text.count("the project is listed in full at every poll") == 1


def test_without_the_wildcard_a_project_is_read_all_the_same(setup: Setup) -> None:
    setup.simulator.faults.add(Fault("no-wildcard", project=TROUBLED))
    setup.clock.advance(timedelta(hours=7))
    assert setup.polled_again(TROUBLED)
    assert (setup.up(TROUBLED), len(setup.exporter.evaluate().verdicts)) == (1, 14)


def test_an_expired_page_token_fails_the_poll_and_keeps_the_facts(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.googleapis.cloudsql.PAGE_SIZE", 3)
    setup.simulator.faults.add(Fault("expired-token", project=TROUBLED))
    assert eventually(lambda: setup.polls(TROUBLED, "bad_response") >= 1)
    assert setup.states(TROUBLED) == WELL
    setup.simulator.faults.clear()
    assert setup.polled_again(TROUBLED)


def test_an_api_that_refuses_connections_takes_every_project_down_and_lets_them_come_back(setup: Setup) -> None:
    port = int(setup.simulator.url.rstrip("/").rpartition(":")[2])
    setup.simulator.stop()
    assert eventually(lambda: min(setup.polls(p, "unreachable") for p in (TROUBLED, SOUND)) >= 1)
    assert (setup.up(TROUBLED), setup.up(SOUND), setup.states(TROUBLED)) == (0, 0, WELL)
    setup.clock.advance(HOUR + MINUTE)
    assert setup.states(TROUBLED) == {"unknown": 9}
    with Simulator(setup.simulator.world, port=port):
        assert eventually(lambda: (setup.up(TROUBLED), setup.up(SOUND)) == (1, 1))
        assert setup.states(TROUBLED) == WELL


def test_a_project_in_trouble_does_not_slow_another(setup: Setup) -> None:
    """One worker of eight waits for the slow project; polls of the sound one go on."""
    setup.simulator.faults.add(Fault("slow", project=TROUBLED, seconds=30))
    assert eventually(lambda: setup.polls(TROUBLED, "timeout") >= 1)
    during = setup.polls(SOUND, "success")
    assert eventually(lambda: setup.polls(SOUND, "success") >= during + 5)
    assert setup.polls(TROUBLED, "success") >= 1
