"""`--project` polls only the selected projects, and all that selects their instances."""

import json
from pathlib import Path

import pytest

from exporter.cli.selection import open_exporter, unknown_projects
from exporter.simulator import Fault, Simulator
from exporter.verdict.evaluate import Evaluation

NAMED = [{"project": "museum"}, {"project": "shop-prod"}]
SEARCH = [{"search": "state:ACTIVE"}]
RESTRICTED = [{"project": "shop-prod", "instances": {"include": ["orders"]}}]


def poll(simulator: Simulator, folder: Path, targets: object, projects: tuple[str, ...]) -> Evaluation:
    settings = {"cloudsql": {"endpoint": simulator.url, "credentials": "anonymous"}, "targets": targets}
    (folder / "c.yaml").write_text(json.dumps(settings))
    exporter = open_exporter(folder / "c.yaml", projects)
    evaluation = exporter.poll_all(lambda _finished, _total: None)
    exporter.close()
    return evaluation


def polled(simulator: Simulator) -> set[str]:
    """The projects whose instances or runs were requested, and `search` for a search."""
    paths = [request.partition("?")[0] for request in simulator.requests]
    return {"search" if "search" in path else path.split("/")[3] for path in paths}


@pytest.mark.parametrize(
    ("targets", "projects", "expected"),
    [
        (NAMED, (), {"museum", "shop-prod"}),
        (NAMED, ("shop-prod",), {"shop-prod"}),
        ([*NAMED, *SEARCH], ("shop-prod",), {"shop-prod"}),
        (SEARCH, ("shop-prod",), {"search", "shop-prod"}),
        ([*RESTRICTED, *SEARCH], ("shop-prod",), {"search", "shop-prod"}),
        (NAMED, ("nosuch",), set()),
    ],
)
def test_only_selected_projects_are_polled(
    simulator: Simulator, tmp_path: Path, targets: object, projects: tuple[str, ...], expected: set[str]
) -> None:
    evaluation = poll(simulator, tmp_path, targets, projects)
    assert polled(simulator) == expected
    assert {status.project for status in evaluation.projects} == expected - {"search"}


def test_instances_that_only_a_search_selects_are_included(simulator: Simulator, tmp_path: Path) -> None:
    restricted = poll(simulator, tmp_path, RESTRICTED, ("shop-prod",))
    both = poll(simulator, tmp_path, [*RESTRICTED, *SEARCH], ("shop-prod",))
    assert (len(restricted.verdicts), len(both.verdicts)) == (1, 9)


def test_failed_search_matters_only_if_it_may_select_more(simulator: Simulator, tmp_path: Path) -> None:
    simulator.faults.add(Fault("forbidden", method="projects.search"))
    complete = poll(simulator, tmp_path, [*NAMED, *SEARCH], ("shop-prod",))
    assert complete.searches == ()
    ((_, search),) = poll(simulator, tmp_path, [*RESTRICTED, *SEARCH], ("shop-prod",)).searches
    assert search.up is False


def test_unknown_projects_are_those_that_no_target_names_or_finds(simulator: Simulator, tmp_path: Path) -> None:
    selected = ("nosuch", "shop-prod", "nosuch")
    assert unknown_projects(poll(simulator, tmp_path, SEARCH, selected), selected) == ["nosuch"]
