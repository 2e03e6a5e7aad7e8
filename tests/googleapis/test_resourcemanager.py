"""The search for projects, against the simulated API and against a server with prepared responses."""

import json

import pytest

from exporter.config import SearchTarget
from exporter.simulator import Simulator
from exporter.simulator.worlds import Project
from tests.googleapis.helpers import FixedResponse, google_source, serve
from tests.support.builders import world

PROJECTS = {
    "shop-prod": Project(labels={"env": "prod"}),
    "former-shop": Project(labels={"env": "prod"}, state="DELETE_REQUESTED"),
    "shop-test": Project(labels={"env": "test"}),
}


@pytest.mark.parametrize(
    ("query", "expected"),
    [("labels.env=prod", ["shop-prod"]), ("state:ACTIVE", ["shop-prod", "shop-test"]), ("id:former-shop", [])],
)
def test_search_returns_active_projects_that_match(query: str, expected: list[str]) -> None:
    assert SearchTarget(search=query).search == query
    with Simulator(world(PROJECTS)) as simulator:
        assert list(google_source(simulator.url).projects(query)) == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"state": "ACTIVE"}, ["shop-prod"]),
        ({"state": "DELETE_REQUESTED"}, []),
        ({"state": "STATE_UNSPECIFIED"}, []),
        ({"state": "NEWER_WORD"}, []),
        ({"state": None}, []),
        ({}, []),
    ],
)
def test_only_projects_that_are_said_to_be_active_are_returned(state: dict[str, object], expected: list[str]) -> None:
    body = json.dumps({"projects": [{"projectId": "shop-prod", **state}]}).encode()
    with serve(type("Handler", (FixedResponse,), {"body": body})) as url:
        assert list(google_source(url).projects("labels.env=prod")) == expected


def test_every_page_is_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.googleapis.resourcemanager.PAGE_SIZE", 1)
    with Simulator(world(PROJECTS)) as simulator:
        assert list(google_source(simulator.url).projects("state:ACTIVE")) == ["shop-prod", "shop-test"]
        assert len(simulator.requests) == 2
