"""Dashboard files: each dashboard once for provisioning, and once for import by hand or from grafana.com."""

import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.source import exporter, fleet, instance
from grafana.source.runbooks import BASE_URL

FOLDER = Path(__file__).parent.parent
DASHBOARDS = (fleet.build, instance.build, exporter.build)
MIN_GRAFANA_VERSION = "12.0.0"  # for schema version 42
PANEL_NAMES = {
    "bargauge": "Bar gauge",
    "stat": "Stat",
    "state-timeline": "State timeline",
    "table": "Table",
    "timeseries": "Time series",
}


def files() -> dict[Path, str]:
    """Return the content of every file, by path."""
    contents = {}
    for build in DASHBOARDS:
        plain = _plain(build())
        contents[FOLDER / "dashboards" / f"{plain['uid']}.json"] = _text(plain)
        contents[FOLDER / "import" / f"{plain['uid']}.json"] = _text(_importable(plain))
    return contents


def _plain(dashboard: Dashboard) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dashboard, cls=JSONEncoder))
    for item in (*plain["links"], *plain["annotations"]["list"]):
        item.pop("placement", None)  # the only value that the SDK knows hides them in a menu
    return plain


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _importable(dashboard: dict[str, Any]) -> dict[str, Any]:
    """Return a dashboard with inputs for the import: the data source and the address of the runbooks."""
    inputs = [
        {
            "name": "DS_PROMETHEUS",
            "label": "Prometheus",
            "description": "Prometheus server that scrapes the exporter",
            "type": "datasource",
            "pluginId": "prometheus",
            "pluginName": "Prometheus",
        },
        {
            "name": "VAR_RUNBOOKS",
            "label": "Runbooks",
            "description": "Base URL of the runbooks (docs/runbooks/)",
            "type": "constant",
            "value": BASE_URL,
        },
    ]
    panel_types = {panel["type"] for panel in dashboard["panels"]} - {"row"}
    requires = [
        {"type": "grafana", "id": "grafana", "name": "Grafana", "version": MIN_GRAFANA_VERSION},
        {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
        *({"type": "panel", "id": kind, "name": PANEL_NAMES[kind], "version": ""} for kind in sorted(panel_types)),
    ]
    values = {"datasource": _current("${DS_PROMETHEUS}"), "runbooks": _current("${VAR_RUNBOOKS}")}
    variables = [variable | values.get(variable["name"], {}) for variable in dashboard["templating"]["list"]]
    for variable in variables:
        if variable["name"] == "runbooks":
            variable["query"] = "${VAR_RUNBOOKS}"
    return {"__inputs": inputs, "__requires": requires, **dashboard, "id": None, "templating": {"list": variables}}


def _current(value: str) -> dict[str, Any]:
    return {"current": {"selected": False, "text": value, "value": value}}
