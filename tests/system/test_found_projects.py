"""From the simulated APIs to metrics, pages and JSON: the projects of an organization, and failures on the way."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from exporter.config import Config
from exporter.runtime import Exporter, system_clock
from exporter.simulator import Fault, SimulatedClock, Simulator, World
from exporter.simulator.worlds import Project, organization
from exporter.verdict.summary import missing_permissions, problems
from exporter.web import application
from tests.support.builders import eventually
from tests.support.expositions import series_of
from tests.support.processes import fetch
from tests.support.web import serving

QUERY = "organizations/1"
STATES = {"read": 3, "empty": 5, "api_disabled": 4, "failing": 1}
FOUND = sum(STATES.values())


@dataclass
class Running:
    """An exporter that polls every 50 ms, and projects without instances every 400 ms."""

    exporter: Exporter

    def value(self, name: str, **labels: str) -> float | None:
        """The value of a metric about the exporter."""
        series = series_of(self.exporter.evaluate())
        return series.get((f"cloudsql_backup_exporter_{name}", frozenset(labels.items())))

    def states(self) -> dict[str, float | None]:
        """The number of projects in each state."""
        return {state: self.value("projects", state=state) for state in STATES}


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    monkeypatch.setattr("exporter.googleapis.retry.INITIAL_BACKOFF", 0.001)
    clock = SimulatedClock(system_clock(), speed=1)
    with Simulator(World(organization(10), clock)) as simulator:
        yield simulator


@contextmanager
def running(
    simulator: Simulator, state: Path | None = None, *, start: bool = True, **target: object
) -> Iterator[Running]:
    settings = Config.model_validate(
        {
            "cloudsql": {"endpoint": simulator.url, "credentials": "anonymous", "requests_per_minute": 60_000},
            "targets": [{"organization": "1", "refresh": "50ms", **target}],
            "poll": {"interval": "50ms", "empty_interval": "400ms", "timeout": "3s"},
            "state": {"path": str(state) if state else None},
        }
    )
    exporter = Exporter(lambda: settings, system_clock, process_metrics=False)
    try:
        if start:
            exporter.start()
        yield Running(exporter)
    finally:
        exporter.close()


@pytest.mark.parametrize("discover", ["inventory", "walk"])
def test_projects_of_an_organization_reach_metrics_pages_and_json(simulator: Simulator, discover: str) -> None:
    with running(simulator, discover=discover) as result:
        assert eventually(lambda: result.states() == STATES), result.states()
        found = [result.value(name, query=QUERY) for name in ("search_up", "search_projects")]
        assert found == [1, FOUND]
        up = [result.value("project_up", project=name) for name in ("other-0000", "other-0004", "sealed", "museum")]
        assert up == [1, None, 0, 1]
        evaluation = result.exporter.evaluate()
        assert [subject for subject, _, _ in missing_permissions(evaluation)] == ["sealed"]
        assert len(problems(evaluation)) == 1
        with serving(application(result.exporter)) as server:
            page = fetch(f"{server.urls[0]}exporter").text
            document = json.loads(fetch(f"{server.urls[0]}api/v1/status?limit=1").text)
        assert "3 with instances, 5 without instances, 4 without the API, 1 failing" in page
        by_name = {project["project"]: project for project in document["projects"]}
        assert (by_name["other-0004"]["state"], by_name["other-0004"]["message"]) == ("api_disabled", "")
        (search,) = document["searches"]
        assert (search["query"], search["method"], len(search["projects"])) == (QUERY, discover, FOUND)


@pytest.mark.parametrize("kind", ["forbidden", "api-disabled"])
def test_auto_walks_while_the_inventory_refuses(simulator: Simulator, kind: str) -> None:
    simulator.faults.add(Fault(kind, method="searchAllResources"))
    with running(simulator) as result:
        assert eventually(lambda: result.states() == STATES), result.states()
        assert result.exporter.snapshot.searches[QUERY].method == "walk"
        simulator.faults.clear()
        assert eventually(lambda: result.exporter.snapshot.searches[QUERY].method == "inventory")
        assert eventually(lambda: result.states() == STATES), result.states()


@pytest.mark.parametrize(
    ("discover", "method", "kind"),
    [
        ("inventory", "searchAllResources", "forbidden"),
        ("auto", "searchAllResources", "quota"),
        ("walk", "folders.search", "unavailable"),
        ("walk", "folders.search", "forbidden"),
        ("walk", "projects.search", "html"),
    ],
)
def test_failure_of_a_search_affects_no_poll(simulator: Simulator, discover: str, method: str, kind: str) -> None:
    """Found projects are still polled, with all their verdicts; the failure is in search_up."""
    with running(simulator, discover=discover) as result:
        assert eventually(lambda: result.states() == STATES), result.states()
        simulator.faults.add(Fault(kind, method=method))
        assert eventually(lambda: result.value("search_up", query=QUERY) == 0)
        polls = result.value("polls_total", project="museum", result="success") or 0
        assert eventually(lambda: (result.value("polls_total", project="museum", result="success") or 0) > polls + 1)
        assert eventually(lambda: (result.states(), result.value("search_projects", query=QUERY)) == (STATES, FOUND))
        search = dict(result.exporter.evaluate().searches)[QUERY]
        assert method in search.message
        assert (search.missing_permission is not None) is (kind == "forbidden")
        simulator.faults.clear()
        assert eventually(lambda: result.value("search_up", query=QUERY) == 1)


def test_found_projects_survive_a_restart_while_no_api_answers(simulator: Simulator, tmp_path: Path) -> None:
    with running(simulator, tmp_path) as result:
        assert eventually(lambda: result.states() == STATES), result.states()
        verdicts = len(result.exporter.evaluate().verdicts)
    simulator.faults.add(Fault("unavailable"))
    with running(simulator, tmp_path, start=False) as result:
        assert (len(result.exporter.evaluate().verdicts), result.exporter.ready()) == (verdicts, True)
        assert {**result.states(), "failing": 1} == STATES  # that project was never read
        assert (result.value("search_up", query=QUERY), result.value("search_projects", query=QUERY)) == (None, FOUND)
        result.exporter.start()
        assert eventually(lambda: result.value("search_up", query=QUERY) == 0)
        assert (len(result.exporter.evaluate().verdicts), result.value("search_projects", query=QUERY)) == (
            verdicts,
            FOUND,
        )


def test_new_project_and_new_instance_are_noticed_while_the_inventory_lags(simulator: Simulator) -> None:
    with running(simulator) as result:
        assert eventually(lambda: result.states() == STATES), result.states()
        instances = simulator.world.projects["shop-prod"].instances
        changed = {name: project for name, project in simulator.world.projects.items() if name != "other-0000"}
        simulator.faults.add(Fault("stale-inventory", method="searchAllResources"))
        simulator.world.projects = {**changed, "other-0000": Project(instances), "newest": Project(instances)}
        assert eventually(lambda: result.states() == {**STATES, "read": 5, "empty": 4}), result.states()
