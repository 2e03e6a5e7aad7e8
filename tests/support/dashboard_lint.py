"""The rules of grafana/dashboard-linter, under their original names, for dashboards that query only Prometheus.

Its two rules about LogQL do not apply. Titles, descriptions and units are required of every panel type, not only of
those that the original checks.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

import promql_parser

from tests.support.dashboards import Dashboard, interpolate, panels
from tests.support.promql import below, selectors

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {
    "none",
    "short",
    "percentunit",
    "bytes",
    "s",
    "reqps",
    "cps",
    "dateTimeAsIso",
    "dthms",
}  # the subset of its list that is in use
VARIABLE_FUNCTIONS = ("label_names", "label_values", "metrics", "query_result")
RATE_FUNCTIONS = ("rate", "irate")
RATE_INTERVAL = timedelta(seconds=667)  # a placeholder for the variable that does not occur otherwise
COUNTER_FUNCTIONS = (*RATE_FUNCTIONS, "increase")


class Violation(NamedTuple):
    """A violation of a rule by a dashboard, a panel or a target."""

    rule: str
    message: str
    panel: str = ""
    target: int | None = None


def violations(dashboard: Dashboard) -> list[Violation]:
    """Return the violations of all rules by a dashboard."""
    found = [Violation(rule, message) for rule, check in DASHBOARD_RULES.items() for message in check(dashboard)]
    for panel in panels(dashboard):
        title = panel.get("title", "")
        found += [Violation(rule, message, title) for rule, check in PANEL_RULES.items() for message in check(panel)]
        for index, target in enumerate(panel.get("targets", ())):
            found += [Violation(rule, message, title, index) for rule, message in _of_target(target["expr"])]
    return found


def is_excluded(violation: Violation, title: str, exclusions: Mapping[str, Any]) -> bool:
    """Return whether a `.lint` file excludes a violation by the dashboard with this title."""
    exclusion = exclusions.get(violation.rule)
    if exclusion is None:
        return False
    return any(
        entry.get("dashboard", title) == title
        and entry.get("panel", violation.panel) == violation.panel
        and entry.get("targetIdx", violation.target) == violation.target
        for entry in exclusion.get("entries", [{}])
    )


def _template_datasource(dashboard: Dashboard) -> Iterator[str]:
    sources = [(v["name"], v.get("label"), v.get("query")) for v in _variables(dashboard) if v["type"] == "datasource"]
    if sources != [("datasource", "Data source", "prometheus")]:
        yield f"the templated data source should be datasource, labelled 'Data source', not {sources}"


def _template(name: str) -> Callable[[Dashboard], Iterator[str]]:
    def check(dashboard: Dashboard) -> Iterator[str]:
        variable = next((v for v in _variables(dashboard) if v["name"] == name), None)
        if variable is None:
            yield f"is missing the {name} template"
            return
        expected = {
            "type": "query",
            "label": name.title(),
            "datasource": DATASOURCE,
            "multi": True,
            "allValue": ".+",
        }
        yield from (
            f"{key} of {name} should be {value!r}" for key, value in expected.items() if variable.get(key) != value
        )

    return check


def _template_label_promql(dashboard: Dashboard) -> Iterator[str]:
    for variable in _query_variables(dashboard):
        call = re.fullmatch(r"([a-z_]+)\((.+?)(?:,\s*\w+)?\)", variable["query"])
        if not call or call[1] not in VARIABLE_FUNCTIONS:
            yield f"{variable['name']} uses an unknown function: {variable['query']}"
        elif error := _syntax_error(call[2]):
            yield f"{variable['name']}: {error}"


def _template_reload(dashboard: Dashboard) -> Iterator[str]:
    yield from (
        f"{v['name']} does not refresh on time change" for v in _query_variables(dashboard) if v.get("refresh") != 2
    )


def _uneditable(dashboard: Dashboard) -> Iterator[str]:
    if dashboard.get("editable") is not False:
        yield "the dashboard is editable"


def _panel_datasource(panel: dict[str, Any]) -> Iterator[str]:
    used = [panel.get("datasource"), *(target.get("datasource") for target in panel.get("targets", ()))]
    yield from (f"uses {source}" for source in used if source != DATASOURCE)


def _panel_title_description(panel: dict[str, Any]) -> Iterator[str]:
    yield from (f"has no {key}" for key in ("title", "description") if not panel.get(key))


def _panel_units(panel: dict[str, Any]) -> Iterator[str]:
    config = panel["fieldConfig"]
    properties = [prop for override in config.get("overrides", ()) for prop in override["properties"]]
    if config["defaults"].get("mappings") or any(prop["id"] == "mappings" for prop in properties):
        return
    units = [config["defaults"].get("unit"), *(prop["value"] for prop in properties if prop["id"] == "unit")]
    yield from (f"has no unit, or an unknown unit: {unit}" for unit in units if unit not in UNITS)


def _panel_no_targets(panel: dict[str, Any]) -> Iterator[str]:
    if not panel.get("targets"):
        yield "has no targets"


def _of_target(expression: str) -> list[tuple[str, str]]:
    if error := _syntax_error(expression):
        return [("target-promql-rule", error)]
    return [(rule, message) for rule, check in TARGET_RULES.items() for message in check(expression)]


def _target_rate_interval(expression: str) -> Iterator[str]:
    for call in _calls(expression):
        ranges = {node.range for node in below(call) if isinstance(node, promql_parser.MatrixSelector)}
        if call.func.name in RATE_FUNCTIONS and ranges != {RATE_INTERVAL}:
            yield f"{call.func.name} should be over $__rate_interval"


def _target_matcher(label: str) -> Callable[[str], Iterator[str]]:
    def check(expression: str) -> Iterator[str]:
        for selector in selectors(_parsed(expression)):
            matchers = {matcher.name: matcher.value for matcher in selector.matchers.matchers}
            if matchers.get(label) != _placeholder(label):
                yield f'{selector.name} is not selected by {label}=~"${label}"'

    return check


def _target_counter_agg(expression: str) -> Iterator[str]:
    counted = Counter(
        selector.name
        for call in _calls(expression)
        if call.func.name in COUNTER_FUNCTIONS
        for selector in selectors(call)
    )
    named = Counter(selector.name for selector in selectors(_parsed(expression)))
    for name in named - counted:
        if str(name).endswith("_total"):
            yield f"counter {name} is not inside rate, irate or increase"


DASHBOARD_RULES: Mapping[str, Callable[[Dashboard], Iterator[str]]] = {
    "template-datasource-rule": _template_datasource,
    "template-job-rule": _template("job"),
    "template-instance-rule": _template("instance"),
    "template-label-promql-rule": _template_label_promql,
    "template-on-time-change-reload-rule": _template_reload,
    "uneditable-dashboard": _uneditable,
}
PANEL_RULES: Mapping[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    "panel-datasource-rule": _panel_datasource,
    "panel-title-description-rule": _panel_title_description,
    "panel-units-rule": _panel_units,
    "panel-no-targets-rule": _panel_no_targets,
}
TARGET_RULES: Mapping[str, Callable[[str], Iterator[str]]] = {
    "target-rate-interval-rule": _target_rate_interval,
    "target-job-rule": _target_matcher("job"),
    "target-instance-rule": _target_matcher("instance"),
    "target-counter-agg-rule": _target_counter_agg,
}


def _variables(dashboard: Dashboard) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = dashboard["templating"]["list"]
    return listed


def _query_variables(dashboard: Dashboard) -> list[dict[str, Any]]:
    return [variable for variable in _variables(dashboard) if variable["type"] == "query"]


def _placeholder(name: str) -> str:
    return f"the-{name}"


def _parsed(expression: str) -> Any:
    values = {name: _placeholder(name) for name in ("job", "project", "instance", "team")}
    interval = f"{RATE_INTERVAL.total_seconds():.0f}s"
    return promql_parser.parse(interpolate(expression, values | {"__rate_interval": interval}))


def _syntax_error(expression: str) -> str:
    try:
        _parsed(expression)
    except (ValueError, KeyError) as error:
        return str(error)
    return ""


def _calls(expression: str) -> Iterator[Any]:
    return (node for node in below(_parsed(expression)) if isinstance(node, promql_parser.Call))
