"""The same alerts fire under Google Cloud Managed Service for Prometheus as under Prometheus.

Two real Prometheus servers scrape one exporter: one as usual with the shipped rules; the other with the target labels
and rules of Managed Service for Prometheus. Only the durations of the rules are shortened, in both.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser
import pytest
import yaml

from exporter.simulator import Fault, parse_world
from scripts.manifests import COMPONENTS
from tests.support.builders import eventually
from tests.support.kubernetes import RESERVED_LABELS
from tests.support.processes import fetch, is_up, prometheus
from tests.support.promql import RULES, selectors, with_short_waits
from tests.support.testbed import TestBed

CLUSTER_RULES = COMPONENTS / "managed-prometheus" / "cluster-rules.yaml"
# What ClusterRules are confined to, and the target labels of a pod. Source: rules_config.go and pod_config.go in
# pkg/operator/apis/monitoring/v1 of GoogleCloudPlatform/prometheus-engine.
SCOPE = {"project_id": "monitoring-prod", "location": "europe-west1", "cluster": "prod"}
TARGET = {
    **SCOPE,
    "namespace": "monitoring",
    "job": "cloudsql-backup-exporter",
    "instance": "cloudsql-backup-exporter-0:http",
    "pod": "cloudsql-backup-exporter-0",
    "container": "exporter",
    "top_level_controller_name": "cloudsql-backup-exporter",
    "top_level_controller_type": "StatefulSet",
}
METRIC = re.compile(r"\b([a-z_:]*cloudsql_backup[a-z0-9_:]*)(\{)?")
FAULTS = (
    Fault("forbidden", "shop-prod"),
    Fault("unreachable-region", "museum"),
    Fault("server-error", method="projects.search"),
)
POLICY = {
    "match": {"project": "museum"},
    "require_pitr": True,
    "require_deletion_guard": True,
    "min_retained": 30,
    "allowed_locations": ["us"],
}
# All that can fire within seconds: the others need days, several shards or a failed reload.
EXPECTED = {
    "CloudSQLBackupConsecutiveFailures",
    "CloudSQLBackupDataUnreadable",
    "CloudSQLBackupDeletionUnguarded",
    "CloudSQLBackupDisabled",
    "CloudSQLBackupErrorBudgetBurn",
    "CloudSQLBackupLastRunFailed",
    "CloudSQLBackupLocationNotAllowed",
    "CloudSQLBackupNeverSucceeded",
    "CloudSQLBackupOverdue",
    "CloudSQLBackupPITRDisabled",
    "CloudSQLBackupProjectPartial",
    "CloudSQLBackupProjectUnreadable",
    "CloudSQLBackupRetentionLow",
    "CloudSQLBackupSearchFailed",
    "CloudSQLBackupSlow",
    "CloudSQLBackupStale",
    "CloudSQLBackupStaleCritical",
    "CloudSQLBackupStateNotPersistent",
    "CloudSQLBackupStuck",
    "CloudSQLBackupUnknown",
}


def cluster_rules() -> list[dict[str, Any]]:
    """Return the groups of the generated rules, with short durations."""
    groups: list[dict[str, Any]] = yaml.safe_load(with_short_waits(CLUSTER_RULES.read_text()))["spec"]["groups"]
    return groups


def scoped(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rules as Managed Service for Prometheus evaluates ClusterRules: selectors and results have the scope."""
    matchers = ",".join(f'{name}="{value}"' for name, value in SCOPE.items())
    for rule in (rule for group in groups for rule in group["rules"]):
        rule["expr"] = METRIC.sub(lambda metric: f"{metric[1]}{{{matchers}{',' if metric[2] else '}'}", rule["expr"])
        rule["labels"] = rule.get("labels", {}) | SCOPE
    return groups


Alert = tuple[str, str]  # name; labels and annotations as JSON


def firing(url: str) -> set[Alert]:
    """Return the firing alerts, without what is specific to the target."""
    found = set()
    for alert in json.loads(fetch(f"{url}api/v1/alerts").text)["data"]["alerts"]:
        if alert["state"] == "firing":
            instance = alert["labels"].get("instance", "no instance")
            labels = {name: value for name, value in alert["labels"].items() if name not in RESERVED_LABELS}
            content = json.dumps([labels, alert["annotations"]], sort_keys=True)
            found.add((labels["alertname"], content.replace(instance, "INSTANCE")))
    return found


def rule_errors(url: str) -> list[str]:
    """Return the errors of rules, and rules that have not been evaluated."""
    groups = json.loads(fetch(f"{url}api/v1/rules").text)["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert rules
    return [f"{rule['name']}: {rule.get('lastError')}" for rule in rules if rule["health"] != "ok"]


@dataclass
class Servers:
    """Prometheus, and a Prometheus that does as Managed Service for Prometheus; both scrape one exporter."""

    native: str
    managed: str
    testbed: TestBed
    exporter: int

    def agree_on(self, names: set[str]) -> bool:
        """Whether both fire the same alerts, and among them these."""
        alerts = firing(self.native)
        return names <= {name for name, _ in alerts} and firing(self.managed) == alerts


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("managed")
    projects = {name: project for name, project in parse_world("demo").items() if not project.access_error}
    targets = [*({"project": name} for name in projects), {"search": "labels.env=prod", "refresh": "1s"}]
    testbed = TestBed(folder, projects, policies=[POLICY], state={"path": None}, targets=targets)
    exporter = testbed.forker.spawn()
    assert eventually(lambda: is_up(f"{testbed.url}-/ready"))
    for fault in FAULTS:
        testbed.simulator.faults.add(fault)
    testbed.clock.advance(2 * 3600)  # what cannot be read is unknown now
    native_rules, managed_rules = folder / "native.yml", folder / "managed.yml"
    native_rules.write_text(with_short_waits(RULES.read_text()))
    managed_rules.write_text(json.dumps({"groups": scoped(cluster_rules())}))
    target = {"targets": [testbed.url.removeprefix("http://").rstrip("/")], "labels": TARGET}
    scrape = {"job_name": "pod-monitoring", "honor_labels": False, "static_configs": [target]}
    with (
        prometheus(testbed.url, folder / "native", rule_files=[str(native_rules)]) as native,
        prometheus(
            testbed.url, folder / "managed", rule_files=[str(managed_rules)], scrape_configs=[scrape]
        ) as managed,
    ):
        yield Servers(native, managed, testbed, exporter)
    testbed.close()


def test_every_selector_has_the_scope() -> None:
    for rule in (rule for group in scoped(cluster_rules()) for rule in group["rules"]):
        for selector in selectors(promql_parser.parse(rule["expr"])):
            assert {matcher.name for matcher in selector.matchers.matchers} >= SCOPE.keys(), rule["expr"]


def test_same_alerts_fire(servers: Servers) -> None:
    eventually(lambda: servers.agree_on(EXPECTED), seconds=60)
    native, managed = firing(servers.native), firing(servers.managed)
    assert {name for name, _ in native} >= EXPECTED
    assert managed == native
    assert rule_errors(servers.native) == rule_errors(servers.managed) == []


def test_absence_of_the_exporter_fires(servers: Servers) -> None:
    servers.testbed.forker.kill(servers.exporter)
    assert eventually(lambda: servers.agree_on({"CloudSQLBackupExporterAbsent"}), seconds=60)
