"""The shipped dashboards are up to date, well-formed, and use existing metrics."""

import copy
import json
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard as Model
from grafana_foundation_sdk.models.dashboard import Panel

from exporter.verdict.rules import Finding
from grafana.source.files import files
from grafana.source.runbooks import PROJECT_RUNBOOKS, RUNBOOKS
from tests.support.comparison import missing_paths
from tests.support.dashboard_lint import DASHBOARD_RULES, PANEL_RULES, TARGET_RULES, is_excluded, violations
from tests.support.dashboards import FILES, GRAFANA, Dashboard, Query, annotations, interpolate, load, panels, queries
from tests.support.deploy_tools import kubectl
from tests.support.promql import RULES, known, selectors, unknown

ROOT = GRAFANA.parent
EXCLUSIONS = yaml.safe_load((GRAFANA / "dashboards" / ".lint").read_text())["exclusions"]
VALUES = dict.fromkeys(("job", "project", "instance", "team"), "x")
each_dashboard = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
register_default_plugins()


def all_queries(dashboard: Dashboard) -> list[Query]:
    """Return the queries of panels and annotations."""
    return [*queries(dashboard), *annotations(dashboard)]


def test_generated_files_are_up_to_date() -> None:
    written = {file: file.read_text(encoding="utf-8") for file in GRAFANA.glob("*/*.json")}
    assert written == files(), "run `make dashboards`"


@each_dashboard
def test_dashboards_pass_the_linter(file: Path) -> None:
    dashboard = load(file)
    assert [v for v in violations(dashboard) if not is_excluded(v, dashboard["title"], EXCLUSIONS)] == []


def test_each_exclusion_is_needed_and_has_a_reason() -> None:
    found = [(v, dashboard["title"]) for dashboard in map(load, FILES) for v in violations(dashboard)]
    for rule, exclusion in EXCLUSIONS.items():
        assert exclusion["reason"]
        for entry in exclusion.get("entries", [{}]):
            only = {rule: {"entries": [entry]}}
            assert any(is_excluded(violation, title, only) for violation, title in found), (rule, entry)


Defect = Callable[[Dashboard], Any]


def _in_first_panel(**properties: object) -> Defect:
    return lambda dashboard: panels(dashboard)[0].update(properties)


def _in_first_query(expression: str) -> Defect:
    return lambda dashboard: panels(dashboard)[0]["targets"][0].update(expr=expression)


def _in_variable(index: int, **properties: object) -> Defect:
    return lambda dashboard: dashboard["templating"]["list"][index].update(properties)


DEFECTS: dict[str, Defect] = {
    "template-datasource-rule": _in_variable(0, label="Where from"),
    "template-job-rule": _in_variable(1, allValue=".*"),
    "template-instance-rule": lambda dashboard: dashboard["templating"]["list"].pop(4),
    "template-label-promql-rule": _in_variable(1, query="values(up, job)"),
    "template-on-time-change-reload-rule": _in_variable(1, refresh=1),
    "uneditable-dashboard": lambda dashboard: dashboard.update(editable=True),
    "panel-datasource-rule": _in_first_panel(datasource={"type": "prometheus", "uid": "mine"}),
    "panel-title-description-rule": _in_first_panel(description=""),
    "panel-units-rule": _in_first_panel(fieldConfig={"defaults": {"unit": "fortnights"}}),
    "panel-no-targets-rule": _in_first_panel(targets=[]),
    "target-promql-rule": _in_first_query("sum(up"),
    "target-rate-interval-rule": _in_first_query('rate(up{job=~"$job"}[5m])'),
    "target-job-rule": _in_first_query("up"),
    "target-instance-rule": _in_first_query('process_start_time_seconds{job=~"$job"}'),
    "target-counter-agg-rule": _in_first_query('sum(cloudsql_backup_runs_total{job=~"$job"})'),
}


def test_every_rule_has_a_defect() -> None:
    assert {*DASHBOARD_RULES, *PANEL_RULES, *TARGET_RULES, "target-promql-rule"} == DEFECTS.keys()


@pytest.mark.parametrize("rule", DEFECTS)
def test_each_rule_detects_its_defect(rule: str) -> None:
    valid = load(GRAFANA / "dashboards" / "cloudsql-backup-fleet.json")
    defective = copy.deepcopy(valid)
    DEFECTS[rule](defective)
    assert rule in {violation.rule for violation in set(violations(defective)) - set(violations(valid))}


def round_trip(dashboard: Dashboard) -> Dashboard:
    encoded: Dashboard = json.loads(json.dumps(Model.from_json(copy.deepcopy(dashboard)), cls=JSONEncoder))
    return encoded


@each_dashboard
def test_sdk_knows_every_key(file: Path) -> None:
    dashboard = load(file)
    assert missing_paths(dashboard, round_trip(dashboard)) == []


@each_dashboard
def test_overrides_set_known_properties(file: Path) -> None:
    for panel in panels(load(file)):
        for override in panel["fieldConfig"].get("overrides", ()):
            for option in override["properties"]:
                custom, _, name = option["id"].rpartition(".")
                defaults = {"custom": {name: option["value"]}} if custom else {name: option["value"]}
                minimal = {"type": panel["type"], "fieldConfig": {"defaults": defaults}}
                assert (
                    missing_paths(minimal, json.loads(json.dumps(Panel.from_json(minimal), cls=JSONEncoder))) == []
                ), option["id"]


def test_sdk_drops_a_misspelt_key() -> None:
    dashboard = load(FILES[0])
    panels(dashboard)[0]["options"]["colourMode"] = "value"
    dashboard["panels"][1]["fieldConfig"]["defaults"]["untis"] = "s"
    missing = missing_paths(dashboard, round_trip(dashboard))
    assert [path.rsplit(".", 1)[1] for path in missing] == ["colourMode", "untis"]


@each_dashboard
def test_queries_use_existing_series(file: Path) -> None:
    series = known()
    unknown_names = {query: unknown(interpolate(query.expression, VALUES), series) for query in all_queries(load(file))}
    assert {query: names for query, names in unknown_names.items() if names} == {}


def missing_matchers(query: Query, variables: set[str], series: dict[str, set[str]]) -> list[str]:
    """Return the variables that selectors of a query could use as matchers, but do not."""
    values = {name: f"the-{name}" for name in VALUES}
    return [
        f"{selector.name} without ${variable}"
        for selector in selectors(promql_parser.parse(interpolate(query.expression, values)))
        for label, variable in (("job", "job"), ("project", "project"), ("instance_id", "instance"))
        if variable in variables and label in series[selector.name]
        if values[variable] not in {matcher.value for matcher in selector.matchers.matchers if matcher.name == label}
    ]


@each_dashboard
def test_every_selector_uses_the_variables(file: Path) -> None:
    dashboard = load(file)
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    # Series of recording rules have no target labels, and only the labels that they are aggregated by.
    series = {
        name: labels if ":" not in name else {"project"} & LEVELS[name.split(":")[0]]
        for name, labels in known().items()
    }
    series["ALERTS"] = {"project", "instance_id"}
    assert [missing for query in all_queries(dashboard) for missing in missing_matchers(query, variables, series)] == []
    for query in all_queries(dashboard):
        interpolate(query.expression, dict.fromkeys(variables, "x"))  # raises KeyError for an undefined variable


LEVELS: defaultdict[str, set[str]] = defaultdict(set, {"project": {"project"}, "project_state": {"project"}})


@each_dashboard
def test_panels_fill_their_rows_and_do_not_overlap(file: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in load(file)["panels"]:
        x, y, w, h = (panel["gridPos"][key] for key in "xywh")
        cells = {(column, row) for column in range(x, x + w) for row in range(y, y + h)}
        assert not cells & taken, panel["title"]
        taken |= cells
    height = max(row for _, row in taken) + 1
    assert len(taken) == 24 * height, "there are gaps"


@each_dashboard
def test_import_files_have_inputs_for_data_source_and_runbooks(file: Path) -> None:
    provisioned, importable = load(file), load(GRAFANA / "import" / file.name)
    names = {given["name"] for given in importable.pop("__inputs")}
    assert {f"${{{name}}}" for name in names} == {
        variable["current"]["value"]
        for variable in importable["templating"]["list"]
        if variable["name"] in ("datasource", "runbooks")
    }
    required = {item["id"] for item in importable.pop("__requires") if item["type"] == "panel"}
    assert required == {panel["type"] for panel in panels(provisioned)}
    assert importable.pop("id") is None
    assert {**importable, "templating": 0} == {**provisioned, "templating": 0}


def test_links_between_dashboards_keep_variables_and_time_range() -> None:
    names = [[variable["name"] for variable in load(file)["templating"]["list"]] for file in FILES]
    assert names == [["datasource", "job", "project", "team", "instance", "runbooks"]] * 3
    for link in (link for file in FILES for link in load(file)["links"] if link["type"] == "dashboards"):
        assert link["includeVars"]
        assert link["keepTime"]


def test_alerting_rules_link_to_existing_dashboards() -> None:
    uids = {load(file)["uid"] for file in FILES}
    linked = {part.split("?")[0].strip("'") for part in RULES.read_text().split("/d/")[1:] for part in part.split()[:1]}
    assert linked == uids


def test_each_finding_has_a_runbook() -> None:
    assert RUNBOOKS.keys() == set(Finding)
    pages = {page.stem for page in (ROOT / "docs" / "runbooks").glob("*.md")}
    assert {runbook.alert for runbook in (*RUNBOOKS.values(), *PROJECT_RUNBOOKS.values())} <= pages


def test_provisioning_files_are_valid() -> None:
    dashboards = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "cloudsql-backup.yaml").read_text())
    assert [provider["type"] for provider in dashboards["providers"]] == ["file"]
    datasources = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yaml").read_text())
    assert [source["type"] for source in datasources["datasources"]] == ["prometheus"]


def test_kustomization_creates_a_config_map_per_dashboard() -> None:
    kustomize = subprocess.run([kubectl(), "kustomize", GRAFANA], capture_output=True, text=True, check=True)  # noqa: S603 (fixed)
    config_maps = list(yaml.safe_load_all(kustomize.stdout))
    assert all(config_map["kind"] == "ConfigMap" for config_map in config_maps)
    assert all(config_map["metadata"]["labels"] == {"grafana_dashboard": "1"} for config_map in config_maps)
    assert all(len(json.dumps(config_map)) < 2**20 for config_map in config_maps), "larger than a ConfigMap may be"
    contents = {name: text for config_map in config_maps for name, text in config_map["data"].items()}
    assert contents == {file.name: file.read_text(encoding="utf-8") for file in FILES}
