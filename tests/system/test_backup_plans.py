"""Backup plans from the simulated API over HTTP to metrics, pages, JSON and the advice of `status`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from exporter.cli.problems import grants, problems
from exporter.metrics.exposition import TEXT
from exporter.runtime import Exporter
from exporter.simulator import Fault, SimulatedClock, Simulator
from exporter.simulator.backup_plans import GOLD
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from exporter.web import application
from tests.support.builders import HOUR, MINUTE, config, world
from tests.support.expositions import Series, series_of
from tests.support.processes import fetch
from tests.support.web import serving

PREFIX = "cloudsql_backup_"
PAGE = "instances/museum/enhanced-failing"


@dataclass
class Setup:
    """A simulated API and an exporter that polls it when it is told to."""

    simulator: Simulator
    exporter: Exporter
    url: str

    def poll(self) -> None:
        """Poll every project once."""
        self.exporter.poll_all(lambda _done, _total: None)

    def advance_beyond_stale_after(self) -> None:
        """Let the facts become too old."""
        clock = self.simulator.world.clock
        assert isinstance(clock, SimulatedClock)
        clock.advance(HOUR + MINUTE)

    def series(self) -> Series:
        """All series. The scrape itself must succeed."""
        assert self.exporter.exposition(TEXT).length
        return series_of(self.exporter.evaluate())

    def value(self, name: str, **labels: str) -> float | None:
        """The value of one series of the project; None if there is none."""
        return self.series().get((PREFIX + name, frozenset({"project": "museum", **labels}.items())))

    def page(self, path: str) -> str:
        """The text of a page."""
        return fetch(self.url + path).text


@pytest.fixture
def setup() -> Iterator[Setup]:
    """Two instances of the enhanced tier, one of which is in another region, and one of the standard tier."""
    instances = {
        "enhanced-failing": SCENARIOS["enhanced-failing"],
        "far": replace(SCENARIOS["enhanced"], instance={"region": "us-east1"}),
        "healthy": SCENARIOS["healthy"],
    }
    with Simulator(world({"museum": Project(instances), "vaults": Project(plans=(GOLD,))})) as simulator:
        settings = config(simulator.url, collect={"backup_dr": True}, poll={"interval": "1ms"})
        exporter = Exporter(lambda: settings, simulator.world.clock, process_metrics=False)
        with serving(application(exporter)) as server:
            yield Setup(simulator, exporter, server.urls[0])
        exporter.close()


def test_plan_is_in_metrics_page_and_json(setup: Setup) -> None:
    setup.poll()
    instance = {"instance_id": "enhanced-failing"}
    assert setup.value("exporter_collect_up", what="backup_dr") == 1
    assert setup.value("plan_info", **instance, plan="gold", vault="eu") == 1
    statuses = {
        status: setup.value("plan_rule_status", **instance, rule="daily", status=status)
        for status in ("succeeded", "failed", "permission_denied", "first_backup_pending", "unknown")
    }
    assert statuses == dict.fromkeys(statuses, 0) | {"failed": 1}
    assert setup.value("plan_rule_retention_seconds", **instance, rule="monthly") == 365 * 86400
    assert setup.value("plan_rule_failures_total", **instance, rule="daily") == 0
    assert setup.value("recovery_point_source", **instance, source="vault") == 1
    assert setup.value("finding", **instance, finding="last_run_failed") == 1
    page = setup.page(PAGE)
    for text in (
        "backupPlans/gold",
        "backupVaults/eu",
        "INTERNAL",
        "CloudSQLBackupPlanRuleFailed.md",
        "trigger-backup",
    ):
        assert text in page
    plan = json.loads(setup.page(f"api/v1/{PAGE}"))["plan"]
    assert (plan["plan"], plan["vault"], plan["state"]) == (GOLD.name, GOLD.vault_name, "active")
    assert [(rule["rule"], rule["status"], rule["retention_seconds"]) for rule in plan["rules"]] == [
        ("daily", "failed", 35 * 86400),
        ("monthly", "succeeded", 365 * 86400),
    ]
    assert (plan["rules"][0]["error"]["code"], plan["rules"][1]["error"]) == ("INTERNAL", None)
    assert json.loads(setup.page("api/v1/instances/museum/healthy"))["plan"] is None
    assert problems(setup.exporter.evaluate()) == []


@pytest.mark.parametrize("kind", ["forbidden", "api-disabled", "unavailable", "html"])
def test_api_that_cannot_be_read_makes_verdicts_unknown_after_a_while(setup: Setup, kind: str) -> None:
    setup.poll()
    before = {key: value for key, value in setup.series().items() if "exporter" not in key[0]}
    setup.simulator.faults.add(Fault(kind, method="backupPlanAssociations.list"))
    setup.poll()
    assert (setup.value("exporter_project_up"), setup.value("exporter_collect_up", what="backup_dr")) == (1, 0)
    assert {key: value for key, value in setup.series().items() if "exporter" not in key[0]} == before

    setup.advance_beyond_stale_after()
    setup.poll()
    evaluation = setup.exporter.evaluate()
    states = {verdict.instance.id.name: str(verdict.state) for verdict in evaluation.verdicts}
    assert states == {"enhanced-failing": "unknown", "far": "unknown", "healthy": "protected"}
    assert "ts backup plan was last read 1h 1m ago" in setup.page(PAGE)
    assert "roles/backupdr.viewer" in setup.page(PAGE)
    if kind in ("forbidden", "api-disabled"):
        assert "roles/backupdr.viewer" in setup.page("exporter")
        assert "roles/backupdr.viewer" in "\n".join(problems(evaluation))
    if kind == "forbidden":
        permission, command = grants(evaluation)[1:3]
        assert permission == "  museum: backupdr.backupPlanAssociations.list"
        assert "add-iam-policy-binding museum --member=MEMBER --role=roles/backupdr.viewer" in command

    setup.simulator.faults.clear()
    setup.poll()
    assert setup.value("exporter_collect_up", what="backup_dr") == 1
    assert "unknown" not in {verdict.state for verdict in setup.exporter.evaluate().verdicts}


def test_plans_project_that_cannot_be_read_costs_the_retention_only(setup: Setup) -> None:
    setup.simulator.faults.add(Fault("forbidden", method="backupPlans.list"))
    setup.poll()
    evaluation = setup.exporter.evaluate()
    assert [str(verdict.state) for verdict in evaluation.verdicts] == ["at_risk", "protected", "protected"]
    assert setup.value("plan_rule_retention_seconds", instance_id="far", rule="daily") is None
    assert setup.value("plan_rule_status", instance_id="far", rule="daily", status="succeeded") == 1
    assert problems(evaluation) == []
    assert grants(evaluation)[1] == "  vaults: backupdr.backupPlans.list"
    assert "add-iam-policy-binding vaults" in setup.page("exporter")


def test_unreachable_region_keeps_the_facts_of_its_instances(setup: Setup) -> None:
    setup.poll()
    setup.simulator.faults.add(Fault("unreachable-region", method="backupPlanAssociations.list", region="us-east1"))
    setup.advance_beyond_stale_after()
    setup.poll()
    evaluation = setup.exporter.evaluate()
    assert [str(verdict.state) for verdict in evaluation.verdicts] == ["at_risk", "unknown", "protected"]
    assert setup.value("recovery_point_source", instance_id="far", source="vault") == 1
    assert "Backup and DR cannot reach us-east1" in "\n".join(problems(evaluation))


def test_items_that_cannot_be_read_change_nothing(setup: Setup) -> None:
    setup.poll()
    before = {key: value for key, value in setup.series().items() if "exporter" not in key[0]}
    for method in ("backupPlanAssociations.list", "backupPlans.list"):
        setup.simulator.faults.add(Fault("odd-items", method=method))
    setup.poll()
    assert {key: value for key, value in setup.series().items() if "exporter" not in key[0]} == before
    unreadable = setup.exporter.api_usage().unreadable_items
    assert unreadable["backup_plan_association"] == 10
    assert unreadable["backup_plan"] >= 10
