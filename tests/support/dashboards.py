"""The shipped dashboards and their queries."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

GRAFANA = Path(__file__).parents[2] / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
Dashboard = dict[str, Any]
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")


class Query(NamedTuple):
    """A PromQL expression and the panel or annotation that contains it."""

    dashboard: str
    owner: str  # title of the panel, or name of the annotation
    target: int
    expression: str


def load(file: Path) -> Dashboard:
    """Return a dashboard as Grafana reads it."""
    dashboard: Dashboard = json.loads(file.read_text(encoding="utf-8"))
    return dashboard


def panels(dashboard: Dashboard) -> list[dict[str, Any]]:
    """Return every panel, without row headings."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(dashboard: Dashboard) -> Iterator[Query]:
    """Yield the queries of all panels."""
    for panel in panels(dashboard):
        for index, target in enumerate(panel["targets"]):
            yield Query(dashboard["title"], panel["title"], index, target["expr"])


def annotations(dashboard: Dashboard) -> list[Query]:
    """Return the queries of all annotations."""
    return [
        Query(dashboard["title"], annotation["name"], 0, annotation["expr"])
        for annotation in dashboard["annotations"]["list"]
    ]


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """Return a text with values in place of its variables. Raises KeyError for a variable without a value."""
    variables = {"__rate_interval": "5m", "__range": "6h", "__interval": "5m", "__interval_ms": "300000", **values}
    return _VARIABLE.sub(lambda match: variables[match[1] or match[2]] if _is_variable(match[0]) else match[0], text)


def _is_variable(text: str) -> bool:
    return not text[1:].isdecimal()  # $1 is a group of label_replace
