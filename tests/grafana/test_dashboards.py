"""The dashboards that ship: current, well-formed, and about metrics that exist."""

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

from exporter.verdict import rules as verdict_rules
from exporter.verdict.rules import Finding, Protection
from grafana.source.assembly import BLIND, RUNBOOKS, UNREAD
from grafana.source.attention import CRITICAL
from grafana.source.files import files
from tests.support.dashboard_lint import OF_DASHBOARD, OF_PANEL, OF_TARGET, complaints, excepted
from tests.support.dashboards import FILES, GRAFANA, Dashboard, Query, annotations, filled, loaded, panels, queries
from tests.support.promql import RULES, known, selectors, unknown

ROOT = GRAFANA.parent
EXCLUSIONS = yaml.safe_load((GRAFANA / "dashboards" / ".lint").read_text())["exclusions"]
VALUES = dict.fromkeys(("job", "project", "instance", "team"), "x")
by_name = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
register_default_plugins()


def asked(dashboard: Dashboard) -> list[Query]:
    """Everything that panels and annotations ask."""
    return [*queries(dashboard), *annotations(dashboard)]


def test_the_files_are_current() -> None:
    written = {file: file.read_text(encoding="utf-8") for file in GRAFANA.glob("*/*.json")}
    assert written == files(), "run `make dashboards`"


@by_name
def test_no_rule_of_the_linter_is_broken(file: Path) -> None:
    dashboard = loaded(file)
    assert [c for c in complaints(dashboard) if not excepted(c, dashboard["title"], EXCLUSIONS)] == []


def test_each_exception_is_needed_and_has_a_reason() -> None:
    found = [(c, dashboard["title"]) for dashboard in map(loaded, FILES) for c in complaints(dashboard)]
    for rule, exclusion in EXCLUSIONS.items():
        assert exclusion["reason"]
        for entry in exclusion.get("entries", [{}]):
            only = {rule: {"entries": [entry]}}
            assert any(excepted(complaint, title, only) for complaint, title in found), (rule, entry)


Spoil = Callable[[Dashboard], Any]


def _of_first_panel(**more: object) -> Spoil:
    return lambda dashboard: panels(dashboard)[0].update(more)


def _asking(expression: str) -> Spoil:
    return lambda dashboard: panels(dashboard)[0]["targets"][0].update(expr=expression)


def _of_variable(place: int, **more: object) -> Spoil:
    return lambda dashboard: dashboard["templating"]["list"][place].update(more)


SPOILED: dict[str, Spoil] = {
    "template-datasource-rule": _of_variable(0, label="Where from"),
    "template-job-rule": _of_variable(1, allValue=".*"),
    "template-instance-rule": lambda dashboard: dashboard["templating"]["list"].pop(4),
    "template-label-promql-rule": _of_variable(1, query="values(up, job)"),
    "template-on-time-change-reload-rule": _of_variable(1, refresh=1),
    "uneditable-dashboard": lambda dashboard: dashboard.update(editable=True),
    "panel-datasource-rule": _of_first_panel(datasource={"type": "prometheus", "uid": "mine"}),
    "panel-title-description-rule": _of_first_panel(description=""),
    "panel-units-rule": _of_first_panel(fieldConfig={"defaults": {"unit": "fortnights"}}),
    "panel-no-targets-rule": _of_first_panel(targets=[]),
    "target-promql-rule": _asking("sum(up"),
    "target-rate-interval-rule": _asking('rate(up{job=~"$job"}[5m])'),
    "target-job-rule": _asking("up"),
    "target-instance-rule": _asking('process_start_time_seconds{job=~"$job"}'),
    "target-counter-agg-rule": _asking('sum(cloudsql_backup_runs_total{job=~"$job"})'),
}


def test_every_rule_is_seen_complaining() -> None:
    assert {*OF_DASHBOARD, *OF_PANEL, *OF_TARGET, "target-promql-rule"} == SPOILED.keys()


@pytest.mark.parametrize("rule", SPOILED)
def test_each_rule_sees_what_it_is_for(rule: str) -> None:
    sound = loaded(GRAFANA / "dashboards" / "cloudsql-backup-fleet.json")
    spoiled = copy.deepcopy(sound)
    SPOILED[rule](spoiled)
    assert rule in {complaint.rule for complaint in set(complaints(spoiled)) - set(complaints(sound))}


def lost(before: object, after: object, at: str = "") -> list[str]:
    """The keys and items of one JSON value that another has not, or otherwise."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [path for key in before for path in lost(before[key], after.get(key), f"{at}.{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [path for i, (a, b) in enumerate(zip(before, after, strict=True)) for path in lost(a, b, f"{at}[{i}]")]
    return [] if before == after else [at]


def through_the_sdk(dashboard: Dashboard) -> Dashboard:
    again: Dashboard = json.loads(json.dumps(Model.from_json(copy.deepcopy(dashboard)), cls=JSONEncoder))
    return again


@by_name
def test_the_sdk_knows_every_key(file: Path) -> None:
    dashboard = loaded(file)
    assert lost(dashboard, through_the_sdk(dashboard)) == []


@by_name
def test_overrides_set_what_is_there_to_be_set(file: Path) -> None:
    for panel in panels(loaded(file)):
        for override in panel["fieldConfig"].get("overrides", ()):
            for given in override["properties"]:
                kind, _, name = given["id"].rpartition(".")
                spot = {"custom": {name: given["value"]}} if kind else {name: given["value"]}
                bare = {"type": panel["type"], "fieldConfig": {"defaults": spot}}
                assert lost(bare, json.loads(json.dumps(Panel.from_json(bare), cls=JSONEncoder))) == [], given["id"]


def test_a_misspelt_key_is_lost_in_the_sdk() -> None:
    dashboard = loaded(FILES[0])
    panels(dashboard)[0]["options"]["colourMode"] = "value"
    dashboard["panels"][1]["fieldConfig"]["defaults"]["untis"] = "s"
    missing = lost(dashboard, through_the_sdk(dashboard))
    assert [path.rsplit(".", 1)[1] for path in missing] == ["colourMode", "untis"]


@by_name
def test_queries_are_about_series_that_exist(file: Path) -> None:
    series = known()
    wrong = {query: unknown(filled(query.expression, VALUES), series) for query in asked(loaded(file))}
    assert {query: names for query, names in wrong.items() if names} == {}


def uncarried(query: Query, variables: set[str], series: dict[str, set[str]]) -> list[str]:
    """The variables of a dashboard that its selectors could carry, and do not."""
    values = {name: f"the-{name}" for name in VALUES}
    return [
        f"{found.name} without ${variable}"
        for found in selectors(promql_parser.parse(filled(query.expression, values)))
        for label, variable in (("job", "job"), ("project", "project"), ("instance_id", "instance"))
        if variable in variables and label in series[found.name]
        if values[variable] not in {matcher.value for matcher in found.matchers.matchers if matcher.name == label}
    ]


@by_name
def test_every_selector_carries_the_variables(file: Path) -> None:
    dashboard = loaded(file)
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    # What the rules record has no target, and what it is summed up over is no label of it any more.
    series = {
        name: labels if ":" not in name else {"project"} & LEVELS[name.split(":")[0]]
        for name, labels in known().items()
    }
    series["ALERTS"] = {"project", "instance_id"}
    assert [wrong for query in asked(dashboard) for wrong in uncarried(query, variables, series)] == []
    for query in asked(dashboard):
        filled(query.expression, dict.fromkeys(variables, "x"))  # raises KeyError for one that is not there


LEVELS: defaultdict[str, set[str]] = defaultdict(set, {"project": {"project"}, "project_state": {"project"}})


@by_name
def test_panels_fill_their_rows_and_do_not_overlap(file: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in loaded(file)["panels"]:
        x, y, w, h = (panel["gridPos"][key] for key in "xywh")
        cells = {(column, row) for column in range(x, x + w) for row in range(y, y + h)}
        assert not cells & taken, panel["title"]
        taken |= cells
    height = max(row for _, row in taken) + 1
    assert len(taken) == 24 * height, "there are holes"


@by_name
def test_importing_asks_for_the_data_source_and_the_place_of_runbooks(file: Path) -> None:
    plain, asking = loaded(file), loaded(GRAFANA / "import" / file.name)
    names = {given["name"] for given in asking.pop("__inputs")}
    assert {f"${{{name}}}" for name in names} == {
        variable["current"]["value"]
        for variable in asking["templating"]["list"]
        if variable["name"] in ("datasource", "runbooks")
    }
    required = {needed["id"] for needed in asking.pop("__requires") if needed["type"] == "panel"}
    assert required == {panel["type"] for panel in panels(plain)}
    assert asking.pop("id") is None
    assert {**asking, "templating": 0} == {**plain, "templating": 0}


def test_every_dashboard_keeps_every_choice_for_the_next() -> None:
    names = [[variable["name"] for variable in loaded(file)["templating"]["list"]] for file in FILES]
    assert names == [["datasource", "job", "project", "team", "instance", "runbooks"]] * 3
    for link in (link for file in FILES for link in loaded(file)["links"] if link["type"] == "dashboards"):
        assert link["includeVars"]
        assert link["keepTime"]


def test_rules_and_dashboards_agree_on_addresses() -> None:
    uids = {loaded(file)["uid"] for file in FILES}
    named = {part.split("?")[0].strip("'") for part in RULES.read_text().split("/d/")[1:] for part in part.split()[:1]}
    assert named == uids


def test_each_finding_leads_to_its_runbook() -> None:
    assert RUNBOOKS.keys() == {*Finding, BLIND, UNREAD}
    pages = {page.stem for page in (ROOT / "docs" / "runbooks").glob("*.md")}
    assert {f"CloudSQLBackup{name}" for name, _ in RUNBOOKS.values()} <= pages


def test_what_leaves_an_instance_unprotected_is_named_first() -> None:
    assert set(CRITICAL) == {rule.finding for rule in verdict_rules.RULES if rule.state is Protection.UNPROTECTED}


def test_provisioning_names_what_is_there() -> None:
    provided = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "cloudsql-backup.yaml").read_text())
    assert [provider["type"] for provider in provided["providers"]] == ["file"]
    sources = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yaml").read_text())
    assert [source["type"] for source in sources["datasources"]] == ["prometheus"]


def test_the_sidecar_of_kubernetes_is_given_every_dashboard() -> None:
    made = subprocess.run(["kubectl", "kustomize", str(GRAFANA)], capture_output=True, text=True, check=True)  # noqa: S603, S607
    maps = list(yaml.safe_load_all(made.stdout))
    assert all(each["kind"] == "ConfigMap" for each in maps)
    assert all(each["metadata"]["labels"] == {"grafana_dashboard": "1"} for each in maps)
    assert all(len(json.dumps(each)) < 2**20 for each in maps), "a ConfigMap holds a MiB"
    given = {name: text for each in maps for name, text in each["data"].items()}
    assert given == {file.name: file.read_text(encoding="utf-8") for file in FILES}
