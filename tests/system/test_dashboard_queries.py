"""Every query of the dashboards against Debian's Prometheus that scraped the real exporter: data, or nothing when down.

The world is the demo's, moved on for three days until now, so that backups happened and failed under watch. There are
two replicas of the exporter, one of which has been refused by the API ever since; and a target of another kind.
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
from tests.support.dashboards import FILES, Query, annotations, filled, loaded, panels, queries
from tests.support.forked_exporter import ExporterForker
from tests.support.processes import fetch, free_port, is_up, prometheus, query
from tests.support.promql import RULES, with_short_waits
from tests.support.testbed import TestBed

EVERYTHING = {"job": ".+", "project": ".+", "instance": ".+", "team": ".*"}
# No instance has a reason for every panel of its own: these have, together.
INSTANCES = ("failing", "on-demand-only", "high-availability", "replica", "flapping")
CHOICES = [EVERYTHING, *({**EVERYTHING, "project": "museum", "instance": name} for name in INSTANCES)]
SHOWN_WHILE_DOWN = {
    "Up": "it says that the exporter is down",
}
ASKED = [asked for file in FILES for asked in queries(loaded(file))]
ANNOTATIONS = [asked for file in FILES for asked in annotations(loaded(file))]
VARIABLES = [
    (file.stem, variable["name"], variable["query"])
    for file in FILES
    for variable in loaded(file)["templating"]["list"]
    if variable["type"] == "query"
]
FLEET = loaded(FILES[0].with_name("cloudsql-backup-fleet.json"))
INSTANCE = loaded(FILES[0].with_name("cloudsql-backup-instance.json"))


class Bystander(BaseHTTPRequestHandler):
    """A target of another kind, under the same Prometheus."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"process_start_time_seconds 1\nprocess_resident_memory_bytes 1\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name the base class gives it)
        pass


class Replica:
    """A second exporter, whose way to the API can be cut."""

    def __init__(self, stage: TestBed, folder: Path) -> None:
        self.api = Simulator(stage.world)
        self.api.start()
        config = json.loads(json.dumps(stage.config))
        config["cloudsql"]["endpoint"] = self.api.url
        config["state"]["path"] = str(folder / "replica")
        self.address = f"127.0.0.1:{free_port()}"
        self.nursery = ExporterForker(folder / "clock", json.dumps(config), self.address)
        self.process = self.nursery.spawn()
        assert eventually(lambda: is_up(f"http://{self.address}/-/ready"))

    def close(self) -> None:
        self.nursery.close()
        self.api.stop()


@dataclass
class Scene:
    """A Prometheus, and the exporters that it scrapes."""

    url: str
    stage: TestBed
    exporter: int
    blind: Replica

    def values(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """What a query answers, with everything chosen."""
        found = query(self.url, filled(expression, EVERYTHING))
        return [(sample["metric"], float(sample["value"][1])) for sample in found]

    def answers(self, asked: Query) -> bool:
        """Whether any choice of the variables brings a number; what looks at every hour looks at every second."""
        with_short_waits = asked.expression.replace("[7d:1h]", "[5m:1s]")
        found = (query(self.url, filled(with_short_waits, choice)) for choice in CHOICES)
        return any(sample["value"][1] != "NaN" for samples in found for sample in samples)

    def marks(self, asked: Query) -> bool:
        """Whether an annotation marked something in the last minutes, step by short step."""
        expression = filled(asked.expression, {**EVERYTHING, "__interval": "5s", "__interval_ms": "5000"})
        now = time.time()
        asking = urllib.parse.urlencode({"query": expression, "start": now - 300, "end": now, "step": "1s"})
        return bool(json.loads(fetch(f"{self.url}api/v1/query_range?{asking}").text)["data"]["result"])

    def silent(self, expression: str) -> bool:
        """Whether a query answers nothing."""
        return not query(self.url, expression)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("dashboards")
    projects = {name: content for name, content in parse_world("demo").items() if not content.refuses}
    start = datetime.now(UTC) - timedelta(days=3)
    stage = TestBed(folder, projects, start, targets=[{"search": "state:ACTIVE"}], poll={"interval": "40ms"})
    exporter = stage.forker.spawn()
    assert stage.caught_up()
    replica = Replica(stage, folder)
    bystander = HTTPServer(("127.0.0.1", 0), Bystander)
    threading.Thread(target=bystander.serve_forever, args=(0.05,), daemon=True).start()
    rules = folder / RULES.name
    rules.write_text(with_short_waits(RULES.read_text()))
    targets = {
        "cloudsql-backup": [stage.url.removeprefix("http://").rstrip("/"), replica.address],
        "other": [f"127.0.0.1:{bystander.server_address[1]}"],
    }
    scraped = [{"job_name": job, "static_configs": [{"targets": named}]} for job, named in targets.items()]
    with prometheus("", folder / "prometheus", rule_files=[str(rules)], scrape_configs=scraped) as url:
        assert eventually(lambda: len(query(url, "count by (instance) (cloudsql_backup_protection)")) == 2)
        replica.api.faults.add(Fault("forbidden"))
        stage.forker.kill(exporter)  # a restart is worth an annotation
        exporter = stage.forker.spawn()
        # What fails is news only where the exporter was seen well a while before.
        assert eventually(lambda: len(query(url, "min_over_time(up[6s]) == 1 and count_over_time(up[6s]) > 5")) == 3)
        while stage.clock() < datetime.now(UTC) - timedelta(minutes=5):
            stage.clock.advance(min(HOUR, datetime.now(UTC) - stage.clock()).total_seconds())
            assert stage.caught_up()
        assert eventually(lambda: bool(query(url, 'ALERTS{alertstate="firing", instance_id="failing"}')))
        stage.simulator.faults.add(Fault("forbidden", "museum"))
        denied = 'cloudsql_backup_exporter_api_requests_total{code="403"}'
        assert eventually(lambda: len(query(url, f"rate({denied}[1m]) > 0")) > 1)
        stage.simulator.faults.clear()
        up_again = "count(last_over_time(cloudsql_backup_exporter_project_up[1m]) == 1) == 3"
        assert eventually(lambda: bool(query(url, up_again)))
        yield Scene(url, stage, exporter, replica)
    bystander.shutdown()
    bystander.server_close()
    replica.close()
    stage.close()


def test_every_query_returns_data(scene: Scene) -> None:
    assert [asked for asked in ASKED if not eventually(lambda: scene.answers(asked), seconds=5)] == []  # noqa: B023 (asked at once)


def test_every_annotation_marks_something(scene: Scene) -> None:
    assert [asked for asked in ANNOTATIONS if not scene.marks(asked)] == []


def test_every_variable_has_values(scene: Scene) -> None:
    for dashboard, name, asked in VARIABLES:
        selector, label = asked.removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
        match = urllib.parse.quote(filled(selector, EVERYTHING))
        values = json.loads(fetch(f"{scene.url}api/v1/label/{label}/values?match[]={match}").text)["data"]
        assert values, (dashboard, name)


def test_the_columns_of_tables_are_there(scene: Scene) -> None:
    for dashboard in map(loaded, FILES):
        for panel in (panel for panel in panels(dashboard) if panel["type"] == "table"):
            targets = panel["targets"]
            columns = {"Value" if len(targets) == 1 else f"Value #{target['refId']}" for target in targets}
            for target in targets:
                answers = [query(scene.url, filled(target["expr"], choice)) for choice in CHOICES]
                columns |= {label for samples in answers for sample in samples for label in sample["metric"]}
            if "finding" in columns:
                columns.add("finding (uniqueValues)")  # as a grouping calls it
            *_, kept, organized = panel["transformations"]
            headings = organized["options"]["renameByName"]
            assert set(kept["options"]["include"]["names"]) == headings.keys() <= columns, panel["title"]
            named = {o["matcher"]["options"] for o in panel["fieldConfig"]["overrides"]} - {"/.*/"}
            assert named <= set(headings.values()), panel["title"]


def test_every_instance_lies_between_two_bounds(scene: Scene) -> None:
    """Of each distribution the counts add up to all that have a value."""
    distributions = [p for p in panels(FLEET) if p["type"] == "bargauge" and len(p["targets"]) > 1]
    assert len(distributions) == 3
    for panel in distributions:
        counts = [scene.values(target["expr"])[0][1] for target in panel["targets"]]
        everything = panel["targets"][0]["expr"].split("or 0 * ")[1]
        assert sum(counts) == scene.values(everything)[0][1] > 0, panel["title"]


def _target(dashboard: dict[str, object], title: str, index: int = 0) -> str:
    panel = next(panel for panel in panels(dashboard) if panel["title"] == title)
    expression: str = panel["targets"][index]["expr"]
    return expression


def test_of_two_replicas_the_one_that_knows_is_believed(scene: Scene) -> None:
    sighted = scene.stage.url.removeprefix("http://").rstrip("/")
    known = {
        (labels["project"], labels["instance_id"]): labels["state"]
        for labels, _ in scene.values(f'cloudsql_backup_protection{{instance="{sighted}"}} == 1')
    }
    blind = scene.values(f'cloudsql_backup_protection{{instance="{scene.blind.address}", state="unknown"}}')
    assert {value for _, value in blind} == {1.0}
    states = Counter(known.values())
    for state in ("unprotected", "at_risk", "unknown", "protected", "exempt"):
        title = state.capitalize().replace("_", " ")
        assert [value for _, value in scene.values(_target(FLEET, title))] == [states[state]], title
    backed_up = sum(states.values()) - states["exempt"]
    share = scene.values(_target(FLEET, "Protected share"))[0][1]
    assert share == pytest.approx(states["protected"] / backed_up)
    told = {
        (labels["project"], labels["instance_id"]): value
        for labels, value in scene.values(_target(INSTANCE, "Verdict"))
    }
    assert told == {name: float(STATE_CODES[state]) for name, state in known.items()}
    knows = f'max(cloudsql_backup_recovery_point_age_seconds{{instance="{sighted}", instance_id="flapping"}})'
    lost = _target(INSTANCE, "Would lose").replace("$instance", "flapping")
    assert scene.values(lost)[0][1] == pytest.approx(scene.values(knows)[0][1], abs=5)
    troubled = {name for name, state in known.items() if state in ("unprotected", "at_risk")}
    for index, target in enumerate(FLEET["panels"][8]["targets"]):
        rows = [(labels["project"], labels["instance_id"]) for labels, _ in scene.values(target["expr"])]
        assert set(rows) <= troubled, index
        assert target["refId"] == "B" or len(rows) == len(set(rows)), index  # B names every reason
        assert target["refId"] not in "AI" or set(rows) == troubled, index


def test_a_team_that_owns_nothing_is_shown_nothing(scene: Scene) -> None:
    nobody = {**EVERYTHING, "team": "nobody"}
    for_teams = [asked for asked in ASKED if "$team" in asked.expression]
    assert len(for_teams) > 30
    assert [asked for asked in for_teams if not scene.silent(filled(asked.expression, nobody))] == []


def test_what_befalls_a_project_stands_among_what_needs_attention(scene: Scene) -> None:
    scene.stage.simulator.faults.add(Fault("forbidden", "museum"))
    denied = 'cloudsql_backup_exporter_project_up{project="museum"} == 0'
    assert eventually(lambda: len(scene.values(denied)) == 2)

    def told() -> set[tuple[str, str, str]]:
        """Rows of whole projects."""
        rows = scene.values(_target(FLEET, "Needs attention, worst first", 8))
        named = ((row["project"], row["instance_id"], row["runbook"]) for row, _ in rows)
        return {row for row in named if row[1].startswith("(")}

    assert told() == {("museum", "(all)", "project_not_read")}
    scene.stage.clock.advance(2 * 3600)  # beyond `stale_after`
    assert eventually(lambda: told() == {("museum", "(those unknown)", "facts_too_old")})
    states = [value for _, value in scene.values(_target(FLEET, "Needs attention, worst first"))]
    assert 2.0 in states
    scene.stage.simulator.faults.clear()
    assert eventually(lambda: told() == set())


def test_nothing_is_shown_while_no_exporter_is_up(scene: Scene) -> None:
    """The last of the tests: it ends the exporters. The other target goes on."""
    scene.stage.forker.kill(scene.exporter)
    scene.blind.nursery.kill(scene.blind.process)
    assert eventually(lambda: len(query(scene.url, "up == 0")) == 2)
    assert query(scene.url, 'up{job="other"} == 1')
    shown = [
        asked
        for asked in (*ASKED, *ANNOTATIONS)
        if asked.asker not in SHOWN_WHILE_DOWN
        if not eventually(lambda: scene.silent(filled(asked.expression, EVERYTHING)), seconds=15)  # noqa: B023 (asked at once)
    ]
    assert shown == []
