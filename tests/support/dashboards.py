"""The dashboards that ship, and what of them asks something."""

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
    """A PromQL expression, and who asks it."""

    dashboard: str
    asker: str  # the title of a panel, or the name of an annotation
    target: int
    expression: str


def loaded(file: Path) -> Dashboard:
    """A dashboard as Grafana reads it."""
    dashboard: Dashboard = json.loads(file.read_text(encoding="utf-8"))
    return dashboard


def panels(dashboard: Dashboard) -> list[dict[str, Any]]:
    """Every panel but the headings of rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(dashboard: Dashboard) -> Iterator[Query]:
    """Everything that panels ask."""
    for panel in panels(dashboard):
        for index, target in enumerate(panel["targets"]):
            yield Query(dashboard["title"], panel["title"], index, target["expr"])


def annotations(dashboard: Dashboard) -> list[Query]:
    """Everything that annotations ask."""
    listed = dashboard["annotations"]["list"]
    return [Query(dashboard["title"], annotation["name"], 0, annotation["expr"]) for annotation in listed]


def filled(text: str, values: Mapping[str, str]) -> str:
    """A text with variables in their place; one without a value is an error."""
    known = {"__rate_interval": "5m", "__range": "6h", "__interval": "5m", "__interval_ms": "300000", **values}
    return _VARIABLE.sub(lambda found: known[found[1] or found[2]] if _is_variable(found[0]) else found[0], text)


def _is_variable(text: str) -> bool:
    return not text[1:].isdecimal()  # $1 is a group of label_replace
