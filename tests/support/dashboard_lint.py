"""The rules of grafana/dashboard-linter, each under its name there, for dashboards that ask only Prometheus.

Its two rules about LogQL have nothing to look at. Titles, descriptions and units are wanted of every kind of panel, not
only of those that the original looks at.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

import promql_parser

from tests.support.dashboards import Dashboard, filled, panels
from tests.support.promql import below, selectors

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
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
}  # those of its list in use
FUNCTIONS = ("label_names", "label_values", "metrics", "query_result")
RATES = ("rate", "irate")
RATE_INTERVAL = timedelta(seconds=667)  # stands for the variable: nobody writes that by hand
COUNTED = (*RATES, "increase")


class Complaint(NamedTuple):
    """What a rule found wrong; `panel` and `target` where it is about these."""

    rule: str
    message: str
    panel: str = ""
    target: int | None = None


def complaints(dashboard: Dashboard) -> list[Complaint]:
    """What every rule finds wrong with a dashboard."""
    found = [Complaint(rule, message) for rule, look in OF_DASHBOARD.items() for message in look(dashboard)]
    for panel in panels(dashboard):
        title = panel.get("title", "")
        found += [Complaint(rule, message, title) for rule, look in OF_PANEL.items() for message in look(panel)]
        for index, target in enumerate(panel.get("targets", ())):
            wrong = _wrong_syntax(target["expr"])
            told = [("target-promql-rule", wrong)] if wrong else _told_of_target(target["expr"])
            found += [Complaint(rule, message, title, index) for rule, message in told]
    return found


def excepted(complaint: Complaint, title: str, exclusions: Mapping[str, Any]) -> bool:
    """Whether a `.lint` file lets it pass."""
    exclusion = exclusions.get(complaint.rule)
    if exclusion is None:
        return False
    return any(
        entry.get("dashboard", title) == title
        and entry.get("panel", complaint.panel) == complaint.panel
        and entry.get("targetIdx", complaint.target) == complaint.target
        for entry in exclusion.get("entries", [{}])
    )


def _template_datasource(dashboard: Dashboard) -> Iterator[str]:
    sources = [(v["name"], v.get("label"), v.get("query")) for v in _variables(dashboard) if v["type"] == "datasource"]
    if sources != [("datasource", "Data source", "prometheus")]:
        yield f"the templated data source should be datasource, labelled 'Data source', not {sources}"


def _template(name: str) -> Callable[[Dashboard], Iterator[str]]:
    def look(dashboard: Dashboard) -> Iterator[str]:
        variable = next((v for v in _variables(dashboard) if v["name"] == name), None)
        if variable is None:
            yield f"is missing the {name} template"
            return
        wanted = {
            "type": "query",
            "label": name.title(),
            "datasource": SOURCE,
            "multi": True,
            "allValue": ".+",
        }
        yield from (
            f"{key} of {name} should be {value!r}" for key, value in wanted.items() if variable.get(key) != value
        )

    return look


def _template_label_promql(dashboard: Dashboard) -> Iterator[str]:
    for variable in _asking(dashboard):
        call = re.fullmatch(r"([a-z_]+)\((.+?)(?:,\s*\w+)?\)", variable["query"])
        if not call or call[1] not in FUNCTIONS:
            yield f"{variable['name']} asks by no known function: {variable['query']}"
        elif wrong := _wrong_syntax(call[2]):
            yield f"{variable['name']}: {wrong}"


def _template_reload(dashboard: Dashboard) -> Iterator[str]:
    yield from (f"{v['name']} does not refresh on time change" for v in _asking(dashboard) if v.get("refresh") != 2)


def _uneditable(dashboard: Dashboard) -> Iterator[str]:
    if dashboard.get("editable") is not False:
        yield "the dashboard can be edited"


def _panel_datasource(panel: dict[str, Any]) -> Iterator[str]:
    used = [panel.get("datasource"), *(target.get("datasource") for target in panel.get("targets", ()))]
    yield from (f"uses {source}" for source in used if source != SOURCE)


def _panel_title_description(panel: dict[str, Any]) -> Iterator[str]:
    yield from (f"has no {key}" for key in ("title", "description") if not panel.get(key))


def _panel_units(panel: dict[str, Any]) -> Iterator[str]:
    config = panel["fieldConfig"]
    properties = [prop for override in config.get("overrides", ()) for prop in override["properties"]]
    if config["defaults"].get("mappings") or any(prop["id"] == "mappings" for prop in properties):
        return
    units = [config["defaults"].get("unit"), *(prop["value"] for prop in properties if prop["id"] == "unit")]
    yield from (f"has no unit, or an unknown one: {unit}" for unit in units if unit not in UNITS)


def _panel_no_targets(panel: dict[str, Any]) -> Iterator[str]:
    if not panel.get("targets"):
        yield "asks nothing"


def _told_of_target(expression: str) -> list[tuple[str, str]]:
    return [(rule, message) for rule, look in OF_TARGET.items() for message in look(expression)]


def _target_rate_interval(expression: str) -> Iterator[str]:
    for call in _calls(expression):
        ranges = {node.range for node in below(call) if isinstance(node, promql_parser.MatrixSelector)}
        if call.func.name in RATES and ranges != {RATE_INTERVAL}:
            yield f"{call.func.name} should be over $__rate_interval"


def _target_matcher(label: str) -> Callable[[str], Iterator[str]]:
    def look(expression: str) -> Iterator[str]:
        for selector in selectors(_parsed(expression)):
            told = {matcher.name: matcher.value for matcher in selector.matchers.matchers}
            if told.get(label) != _filling(label):
                yield f'{selector.name} is not selected by {label}=~"${label}"'

    return look


def _target_counter_agg(expression: str) -> Iterator[str]:
    counted = Counter(
        selector.name for call in _calls(expression) if call.func.name in COUNTED for selector in selectors(call)
    )
    named = Counter(selector.name for selector in selectors(_parsed(expression)))
    for name in named - counted:
        if str(name).endswith("_total"):
            yield f"counter {name} is not inside rate, irate or increase"


OF_DASHBOARD: Mapping[str, Callable[[Dashboard], Iterator[str]]] = {
    "template-datasource-rule": _template_datasource,
    "template-job-rule": _template("job"),
    "template-instance-rule": _template("instance"),
    "template-label-promql-rule": _template_label_promql,
    "template-on-time-change-reload-rule": _template_reload,
    "uneditable-dashboard": _uneditable,
}
OF_PANEL: Mapping[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    "panel-datasource-rule": _panel_datasource,
    "panel-title-description-rule": _panel_title_description,
    "panel-units-rule": _panel_units,
    "panel-no-targets-rule": _panel_no_targets,
}
OF_TARGET: Mapping[str, Callable[[str], Iterator[str]]] = {
    "target-rate-interval-rule": _target_rate_interval,
    "target-job-rule": _target_matcher("job"),
    "target-instance-rule": _target_matcher("instance"),
    "target-counter-agg-rule": _target_counter_agg,
}


def _variables(dashboard: Dashboard) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = dashboard["templating"]["list"]
    return listed


def _asking(dashboard: Dashboard) -> list[dict[str, Any]]:
    return [variable for variable in _variables(dashboard) if variable["type"] == "query"]


def _filling(name: str) -> str:
    return f"the-{name}"


def _parsed(expression: str) -> Any:
    values = {name: _filling(name) for name in ("job", "project", "instance", "team")}
    interval = f"{RATE_INTERVAL.total_seconds():.0f}s"
    return promql_parser.parse(filled(expression, values | {"__rate_interval": interval}))


def _wrong_syntax(expression: str) -> str:
    try:
        _parsed(expression)
    except (ValueError, KeyError) as error:
        return str(error)
    return ""


def _calls(expression: str) -> Iterator[Any]:
    return (node for node in below(_parsed(expression)) if isinstance(node, promql_parser.Call))
