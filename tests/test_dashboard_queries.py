"""Every query of the dashboards against Debian's Prometheus that scraped the real exporter: data, or nothing when down.

The world is the demo's, moved on for a day and more until now, so that backups happened and failed under watch.
"""

import json
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from exporter.simulator import Fault, named
from tests.builders import HOUR, waiting
from tests.dashboards import FILES, Query, annotations, filled, loaded, queries
from tests.promql import RULES, hurried
from tests.real_programs import fetch, prometheus, query
from tests.stage import Stage

EVERYTHING = {"job": ".+", "project": ".+", "instance": ".+", "team": ".*"}
# No instance has a reason for every panel of its own: these have, together.
INSTANCES = ("failing", "on-demand-only", "high-availability", "replica", "flapping")
CHOICES = [EVERYTHING, *({**EVERYTHING, "project": "museum", "instance": name} for name in INSTANCES)]
SHOWN_WHILE_DOWN = {
    "Up": "it says that the exporter is down",
}


@dataclass
class Scene:
    """A Prometheus, and the exporter that it scrapes."""

    url: str
    stage: Stage
    exporter: int

    def answers(self, asked: Query) -> bool:
        """Whether any choice of the variables brings a number."""
        found = (query(self.url, filled(asked.expression, choice)) for choice in CHOICES)
        return any(sample["value"][1] != "NaN" for samples in found for sample in samples)

    def marks(self, asked: Query) -> bool:
        """Whether an annotation marked something lately; what looks back five minutes looks back as many seconds."""
        expression = filled(asked.expression.replace("5m", "5s"), EVERYTHING)
        now = time.time()
        asking = urllib.parse.urlencode({"query": expression, "start": now - 300, "end": now, "step": "1s"})
        return bool(json.loads(fetch(f"{self.url}api/v1/query_range?{asking}").text)["data"]["result"])

    def silent(self, expression: str) -> bool:
        """Whether a query answers nothing."""
        return not query(self.url, expression)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("dashboards")
    projects = {name: content for name, content in named("demo").items() if not content.refuses}
    until = datetime.now(UTC)
    targets = [{"search": "state:ACTIVE"}]
    stage = Stage(folder, projects, until - timedelta(hours=30), targets=targets, poll={"interval": "40ms"})
    rules = folder / RULES.name
    rules.write_text(hurried(RULES.read_text()))
    exporter = stage.nursery.born()
    assert stage.caught_up()
    with prometheus(stage.url, folder / "prometheus", rule_files=[str(rules)]) as url:
        assert waiting(lambda: bool(query(url, "cloudsql_backup_protection")))
        stage.nursery.killed(exporter)  # a restart is worth an annotation
        exporter = stage.nursery.born()
        # What fails is news only where the exporter was seen well a while before.
        assert waiting(lambda: bool(query(url, "min_over_time(up[6s]) == 1 and count_over_time(up[6s]) > 5")))
        while stage.clock() < datetime.now(UTC) - timedelta(minutes=5):
            stage.clock.advance(min(HOUR, datetime.now(UTC) - stage.clock()).total_seconds())
            assert stage.caught_up()
        assert waiting(lambda: bool(query(url, 'ALERTS{alertstate="firing", instance_id="failing"}')))
        stage.simulator.faults.add(Fault("forbidden", "museum"))
        refused = 'cloudsql_backup_exporter_api_requests_total{code="403"}'
        assert waiting(lambda: bool(query(url, f"rate({refused}[1m]) > 0")))
        stage.simulator.faults.clear()
        assert waiting(lambda: not query(url, "last_over_time(cloudsql_backup_exporter_project_up[1m]) == 0"))
        yield Scene(url, stage, exporter)
    stage.close()


ASKED = [asked for file in FILES for asked in queries(loaded(file))]
ANNOTATIONS = [asked for file in FILES for asked in annotations(loaded(file))]
VARIABLES = [
    (file.stem, variable["name"], variable["query"])
    for file in FILES
    for variable in loaded(file)["templating"]["list"]
    if variable["type"] == "query"
]


def test_every_query_returns_data(scene: Scene) -> None:
    assert [asked for asked in ASKED if not waiting(lambda: scene.answers(asked), seconds=5)] == []  # noqa: B023 (asked at once)


def test_every_annotation_marks_something(scene: Scene) -> None:
    assert [asked for asked in ANNOTATIONS if not scene.marks(asked)] == []


def test_every_variable_has_values(scene: Scene) -> None:
    for dashboard, name, asked in VARIABLES:
        selector, label = asked.removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
        match = urllib.parse.quote(filled(selector, EVERYTHING))
        values = json.loads(fetch(f"{scene.url}api/v1/label/{label}/values?match[]={match}").text)["data"]
        assert values, (dashboard, name)


def test_a_team_that_owns_nothing_is_shown_nothing(scene: Scene) -> None:
    nobody = {**EVERYTHING, "team": "nobody"}
    for_teams = [asked for asked in ASKED if "$team" in asked.expression]
    assert len(for_teams) > 30
    assert [asked for asked in for_teams if not scene.silent(filled(asked.expression, nobody))] == []


def test_nothing_is_shown_while_the_exporter_is_down(scene: Scene) -> None:
    """The last of the tests: it ends the exporter."""
    scene.stage.nursery.killed(scene.exporter)
    assert waiting(lambda: bool(query(scene.url, "up == 0")))
    shown = [
        asked
        for asked in (*ASKED, *ANNOTATIONS)
        if asked.asker not in SHOWN_WHILE_DOWN
        if not waiting(lambda: scene.silent(filled(asked.expression, EVERYTHING)), seconds=15)  # noqa: B023 (asked at once)
    ]
    assert shown == []
