"""What Grafana takes: each dashboard as a file to provision, and as one to import by hand or from grafana.com."""

import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.source import exporter, fleet, instance
from grafana.source.assembly import RUNBOOKS_AT

FOLDER = Path(__file__).parent.parent
DASHBOARDS = (fleet.build, instance.build, exporter.build)
GRAFANA = "12.0.0"  # the oldest that the schema suits
PANELS = {
    "bargauge": "Bar gauge",
    "stat": "Stat",
    "state-timeline": "State timeline",
    "table": "Table",
    "timeseries": "Time series",
}


def files() -> dict[Path, str]:
    """The text of every file, by where it belongs."""
    written = {}
    for build in DASHBOARDS:
        plain = _plain(build())
        written[FOLDER / "dashboards" / f"{plain['uid']}.json"] = _text(plain)
        written[FOLDER / "import" / f"{plain['uid']}.json"] = _text(_importable(plain))
    return written


def _plain(dashboard: Dashboard) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dashboard, cls=JSONEncoder))
    for shown in (*plain["links"], *plain["annotations"]["list"]):
        shown.pop("placement", None)  # the SDK's only word for it puts them out of sight, into a menu
    return plain


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _importable(dashboard: dict[str, Any]) -> dict[str, Any]:
    """The dashboard with what Grafana asks for when somebody imports it: the data source, and where runbooks are."""
    inputs = [
        {
            "name": "DS_PROMETHEUS",
            "label": "Prometheus",
            "description": "The Prometheus that scrapes the exporter",
            "type": "datasource",
            "pluginId": "prometheus",
            "pluginName": "Prometheus",
        },
        {
            "name": "VAR_RUNBOOKS",
            "label": "Runbooks",
            "description": "Where the pages of docs/runbooks/ are served",
            "type": "constant",
            "value": RUNBOOKS_AT,
        },
    ]
    used = {panel["type"] for panel in dashboard["panels"]} - {"row"}
    requires = [
        {"type": "grafana", "id": "grafana", "name": "Grafana", "version": GRAFANA},
        {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
        *({"type": "panel", "id": kind, "name": PANELS[kind], "version": ""} for kind in sorted(used)),
    ]
    asked = {"datasource": _asked("${DS_PROMETHEUS}"), "runbooks": _asked("${VAR_RUNBOOKS}")}
    variables = [variable | asked.get(variable["name"], {}) for variable in dashboard["templating"]["list"]]
    for variable in variables:
        if variable["name"] == "runbooks":
            variable["query"] = "${VAR_RUNBOOKS}"
    return {"__inputs": inputs, "__requires": requires, **dashboard, "id": None, "templating": {"list": variables}}


def _asked(value: str) -> dict[str, Any]:
    return {"current": {"selected": False, "text": value, "value": value}}
