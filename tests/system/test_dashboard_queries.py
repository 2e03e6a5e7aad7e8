"""Every dashboard query against a Prometheus that scrapes the exporter: data while it is up, nothing while it is down.

The demo world runs for three simulated days up to now, so that backup runs complete and fail while being observed.
Prometheus scrapes two replicas of the exporter, one of which the API refuses, and an unrelated target.
"""

import json
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from exporter.simulator import Fault, Simulator, parse_world
from grafana.source.instance import STATE_CODES
from tests.support.builders import HOUR, eventually
from tests.support.dashboards import FILES, Query, annotations, interpolate, load, panels, queries
from tests.support.forked_exporter import ExporterForker
from tests.support.processes import fetch, free_port, is_up, prometheus, query
from tests.support.promql import RULES, with_short_waits
from tests.support.testbed import TestBed

EVERYTHING = {"job": ".+", "project": ".+", "instance": ".+", "team": ".*"}
# No single instance has data for every panel of the Instance dashboard; these have together.
INSTANCES = ("failing", "on-demand-only", "high-availability", "replica", "flapping", "enhanced-failing")
SELECTIONS = [EVERYTHING, *({**EVERYTHING, "project": "museum", "instance": name} for name in INSTANCES)]
SHOWN_WHILE_DOWN = {
    "Up": "shows that the exporter is down",
}
PANEL_QUERIES = [panel_query for file in FILES for panel_query in queries(load(file))]
ANNOTATION_QUERIES = [annotation for file in FILES for annotation in annotations(load(file))]
VARIABLES = [
    (file.stem, variable["name"], variable["query"])
    for file in FILES
    for variable in load(file)["templating"]["list"]
    if variable["type"] == "query"
]
FLEET = load(FILES[0].with_name("cloudsql-backup-fleet.json"))
INSTANCE = load(FILES[0].with_name("cloudsql-backup-instance.json"))


class OtherTarget(BaseHTTPRequestHandler):
    """An unrelated target of the same Prometheus."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"process_start_time_seconds 1\nprocess_resident_memory_bytes 1\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name the base class gives it)
        pass


class Replica:
    """A second exporter, with a simulated API of its own that can refuse requests."""

    def __init__(self, stage: TestBed, folder: Path) -> None:
        self.api = Simulator(stage.world)
        self.api.start()
        config = json.loads(json.dumps(stage.config))
        config["cloudsql"]["endpoint"] = self.api.url
        config["state"]["path"] = str(folder / "replica")
        self.address = f"127.0.0.1:{free_port()}"
        self.forker = ExporterForker(folder / "clock", json.dumps(config), self.address)
        self.process = self.forker.spawn()
        assert eventually(lambda: is_up(f"http://{self.address}/-/ready"))

    def close(self) -> None:
        self.forker.close()
        self.api.stop()


@dataclass
class Environment:
    """A Prometheus and the exporters that it scrapes."""

    url: str
    stage: TestBed
    exporter: int
    refused_replica: Replica

    def values(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return labels and values of the result of a query, with All selected in every variable."""
        result = query(self.url, interpolate(expression, EVERYTHING))
        return [(sample["metric"], float(sample["value"][1])) for sample in result]

    def returns_data(self, panel_query: Query) -> bool:
        """Return whether any selection has a value. Subqueries with a step of an hour get a step of a second."""
        expression = panel_query.expression.replace("[7d:1h]", "[5m:1s]")
        results = (query(self.url, interpolate(expression, selection)) for selection in SELECTIONS)
        return any(sample["value"][1] != "NaN" for samples in results for sample in samples)

    def has_annotations(self, annotation: Query) -> bool:
        """Return whether there were annotations in the last 5 minutes, at a step of a second."""
        expression = interpolate(annotation.expression, {**EVERYTHING, "__interval": "5s", "__interval_ms": "5000"})
        now = time.time()
        parameters = urllib.parse.urlencode({"query": expression, "start": now - 300, "end": now, "step": "1s"})
        return bool(json.loads(fetch(f"{self.url}api/v1/query_range?{parameters}").text)["data"]["result"])

    def is_empty(self, expression: str) -> bool:
        """Return whether the result of a query is empty."""
        return not query(self.url, expression)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    folder = tmp_path_factory.mktemp("dashboards")
    projects = {name: content for name, content in parse_world("demo").items() if not content.access_error}
    start = datetime.now(UTC) - timedelta(days=3)
    collect = {
        "user_labels": ["team"],
        "recovery_times": True,
        "recovery_times_every": "1s",
        "deleted_instances": True,
        "backup_dr": True,
    }
    targets = [{"search": "state:ACTIVE"}]
    poll = {"interval": "40ms", "empty_interval": "40ms"}
    stage = TestBed(folder, projects, start, targets=targets, poll=poll, collect=collect)
    exporter = stage.forker.spawn()
    assert stage.caught_up()
    replica = Replica(stage, folder)
    other = HTTPServer(("127.0.0.1", 0), OtherTarget)
    threading.Thread(target=other.serve_forever, args=(0.05,), daemon=True).start()
    rules = folder / RULES.name
    rules.write_text(with_short_waits(RULES.read_text()))
    scraped = {
        "cloudsql-backup": [stage.url.removeprefix("http://").rstrip("/"), replica.address],
        "other": [f"127.0.0.1:{other.server_address[1]}"],
    }
    scrape_configs = [
        {"job_name": job, "static_configs": [{"targets": addresses}]} for job, addresses in scraped.items()
    ]
    with prometheus("", folder / "prometheus", rule_files=[str(rules)], scrape_configs=scrape_configs) as url:
        assert eventually(lambda: len(query(url, "count by (instance) (cloudsql_backup_protection)")) == 2)
        replica.api.faults.add(Fault("forbidden"))
        stage.forker.kill(exporter)  # for the annotation of restarts
        exporter = stage.forker.spawn()
        # Failures are only counted if the exporter was up for a while before.
        assert eventually(lambda: len(query(url, "min_over_time(up[6s]) == 1 and count_over_time(up[6s]) > 5")) == 3)
        while stage.clock() < datetime.now(UTC) - timedelta(minutes=5):
            stage.clock.advance(min(HOUR, datetime.now(UTC) - stage.clock()).total_seconds())
            assert stage.caught_up()
        assert eventually(lambda: bool(query(url, 'ALERTS{alertstate="firing", instance_id="failing"}')))
        stage.simulator.faults.add(Fault("forbidden", "museum"))
        denied = 'cloudsql_backup_exporter_api_requests_total{code="403"}'
        assert eventually(lambda: len(query(url, f"rate({denied}[1m]) > 0")) > 1)
        stage.simulator.faults.clear()
        up_again = f"count(last_over_time(cloudsql_backup_exporter_project_up[1m]) == 1) == {len(projects)}"
        assert eventually(lambda: bool(query(url, up_again)))
        yield Environment(url, stage, exporter, replica)
    other.shutdown()
    other.server_close()
    replica.close()
    stage.close()


def test_every_query_returns_data(environment: Environment) -> None:
    without_data = [
        panel_query
        for panel_query in PANEL_QUERIES
        if not eventually(lambda: environment.returns_data(panel_query), seconds=5)  # noqa: B023 (called within the iteration)
    ]
    assert without_data == []


def test_every_annotation_query_returns_data(environment: Environment) -> None:
    assert [annotation for annotation in ANNOTATION_QUERIES if not environment.has_annotations(annotation)] == []


def test_every_variable_has_values(environment: Environment) -> None:
    for dashboard, name, variable_query in VARIABLES:
        selector, label = variable_query.removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
        match = urllib.parse.quote(interpolate(selector, EVERYTHING))
        values = json.loads(fetch(f"{environment.url}api/v1/label/{label}/values?match[]={match}").text)["data"]
        assert values, (dashboard, name)


def test_table_columns_exist(environment: Environment) -> None:
    for dashboard in map(load, FILES):
        for panel in (panel for panel in panels(dashboard) if panel["type"] == "table"):
            targets = panel["targets"]
            columns = {"Value" if len(targets) == 1 else f"Value #{target['refId']}" for target in targets}
            for target in targets:
                results = [query(environment.url, interpolate(target["expr"], selection)) for selection in SELECTIONS]
                columns |= {label for samples in results for sample in samples for label in sample["metric"]}
            *joins, _merge, filter_fields, organize = panel["transformations"]
            joined = {
                name for join in joins for name, field in join["options"]["fields"].items() if field["aggregations"]
            }
            columns |= {f"{label} (uniqueValues)" for label in joined & columns}  # the names that groupBy gives them
            headings = organize["options"]["renameByName"]
            assert set(filter_fields["options"]["include"]["names"]) == headings.keys() <= columns, panel["title"]
            overridden = {o["matcher"]["options"] for o in panel["fieldConfig"]["overrides"]} - {"/.*/"}
            assert overridden <= set(headings.values()), panel["title"]


def test_distributions_count_every_instance(environment: Environment) -> None:
    """The buckets of each distribution add up to the number of instances that have a value."""
    distributions = [p for p in panels(FLEET) if p["type"] == "bargauge" and len(p["targets"]) > 1]
    assert len(distributions) == 3
    for panel in distributions:
        counts = [environment.values(target["expr"])[0][1] for target in panel["targets"]]
        total = panel["targets"][0]["expr"].split("or 0 * ")[1]
        assert sum(counts) == environment.values(total)[0][1] > 0, panel["title"]


def _target(dashboard: dict[str, object], title: str, index: int = 0) -> str:
    panel = next(panel for panel in panels(dashboard) if panel["title"] == title)
    expression: str = panel["targets"][index]["expr"]
    return expression


def test_the_replica_that_can_read_a_project_wins(environment: Environment) -> None:
    working = environment.stage.url.removeprefix("http://").rstrip("/")
    states = {
        (labels["project"], labels["instance_id"]): labels["state"]
        for labels, _ in environment.values(f'cloudsql_backup_protection{{instance="{working}"}} == 1')
    }
    denied = environment.values(
        f'cloudsql_backup_protection{{instance="{environment.refused_replica.address}", state="unknown"}}'
    )
    assert {value for _, value in denied} == {1.0}
    counts = Counter(states.values())
    for state in ("unprotected", "at_risk", "unknown", "protected", "exempt"):
        title = state.capitalize().replace("_", " ")
        assert [value for _, value in environment.values(_target(FLEET, title))] == [counts[state]], title
    expected = sum(counts.values()) - counts["exempt"]
    share = environment.values(_target(FLEET, "Protected share"))[0][1]
    assert share == pytest.approx(counts["protected"] / expected)
    verdicts = {
        (labels["project"], labels["instance_id"]): value
        for labels, value in environment.values(_target(INSTANCE, "Verdict"))
    }
    assert verdicts == {name: float(STATE_CODES[state]) for name, state in states.items()}
    age = f'max(cloudsql_backup_recovery_point_age_seconds{{instance="{working}", instance_id="flapping"}})'
    loss = _target(INSTANCE, "Loss on restore").replace("$instance", "flapping")
    assert environment.values(loss)[0][1] == pytest.approx(environment.values(age)[0][1], abs=5)
    affected = {name for name, state in states.items() if state in ("unprotected", "at_risk")}
    for index, target in enumerate(FLEET["panels"][8]["targets"]):
        rows = [(labels["project"], labels["instance_id"]) for labels, _ in environment.values(target["expr"])]
        assert set(rows) <= affected, index
        assert target["refId"] == "B" or len(rows) == len(set(rows)), index  # B has a row per finding
        assert target["refId"] not in "AI" or set(rows) == affected, index


def test_an_unknown_team_has_no_data(environment: Environment) -> None:
    nobody = {**EVERYTHING, "team": "nobody"}
    team_queries = [panel_query for panel_query in PANEL_QUERIES if "$team" in panel_query.expression]
    assert len(team_queries) > 30
    assert [q for q in team_queries if not environment.is_empty(interpolate(q.expression, nobody))] == []


def test_failing_and_unknown_projects_need_attention(environment: Environment) -> None:
    environment.stage.simulator.faults.add(Fault("forbidden", "museum"))
    denied = 'cloudsql_backup_exporter_project_up{project="museum"} == 0'
    assert eventually(lambda: len(environment.values(denied)) == 2)

    def project_rows() -> set[tuple[str, str, str]]:
        """Return the rows of whole projects."""
        rows = environment.values(_target(FLEET, "Needs attention, worst first", 8))
        names = ((row["project"], row["instance_id"], row["runbook"]) for row, _ in rows)
        return {name for name in names if name[1].startswith("(")}

    assert project_rows() == {("museum", "(all instances)", "project_failing")}
    environment.stage.clock.advance(2 * 3600)  # beyond `stale_after`
    assert eventually(lambda: project_rows() == {("museum", "(unknown instances)", "facts_too_old")})
    ranks = [value for _, value in environment.values(_target(FLEET, "Needs attention, worst first"))]
    assert 2.0 in ranks
    environment.stage.simulator.faults.clear()
    assert eventually(lambda: project_rows() == set())


def test_queries_return_nothing_while_no_exporter_is_up(environment: Environment) -> None:
    """Must run last: it kills the exporters. The other target stays up."""
    environment.stage.forker.kill(environment.exporter)
    environment.refused_replica.forker.kill(environment.refused_replica.process)
    assert eventually(lambda: len(query(environment.url, "up == 0")) == 2)
    assert query(environment.url, 'up{job="other"} == 1')
    shown = [
        shown_query
        for shown_query in (*PANEL_QUERIES, *ANNOTATION_QUERIES)
        if shown_query.owner not in SHOWN_WHILE_DOWN
        if not eventually(lambda: environment.is_empty(interpolate(shown_query.expression, EVERYTHING)), seconds=15)  # noqa: B023 (called within the iteration)
    ]
    assert shown == []
