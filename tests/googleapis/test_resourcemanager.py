"""Search for projects and test of permissions, against the simulated API and a server with prepared responses."""

import json

import pytest

from exporter.config import SearchTarget
from exporter.facts.model import PollResult
from exporter.googleapis.permissions import WRITE_PERMISSIONS
from exporter.scan.source import SourceError
from exporter.simulator import Fault, Simulator
from exporter.simulator.worlds import Project
from tests.googleapis.helpers import FixedResponse, google_apis, google_source, serve
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


@pytest.mark.parametrize(
    ("granted", "expected"),
    [
        (["cloudsql.instances.list", "cloudsql.instances.delete"], ["cloudsql.instances.delete"]),
        (WRITE_PERMISSIONS[::-1], list(WRITE_PERMISSIONS)),
        (["cloudsql.instances.list"], []),
        ([], []),
    ],
)
def test_write_permissions_are_those_that_the_api_confirms(granted: list[str], expected: list[str]) -> None:
    with Simulator(world({"shop-prod": Project(permissions=frozenset(granted))})) as simulator:
        assert google_apis(simulator.url).write_permissions("shop-prod") == expected
        assert simulator.requests == ["/v3/projects/shop-prod:testIamPermissions?alt=json"]


@pytest.mark.parametrize(
    ("fault", "result", "advice"),
    [
        (Fault("forbidden"), PollResult.FORBIDDEN, "403"),
        (Fault("api-disabled"), PollResult.API_DISABLED, "cloudresourcemanager.googleapis.com in the project of the"),
        (Fault("html"), PollResult.BAD_RESPONSE, "not the expected JSON"),
    ],
)
def test_failed_test_of_permissions_names_no_missing_permission(
    monkeypatch: pytest.MonkeyPatch, fault: Fault, result: PollResult, advice: str
) -> None:
    monkeypatch.setattr("exporter.googleapis.source.ADVICE_DEADLINE", 0)
    with Simulator(world(PROJECTS)) as simulator:
        simulator.faults.add(fault)
        with pytest.raises(SourceError, match=advice) as raised:
            google_apis(simulator.url).write_permissions("shop-prod")
    assert (raised.value.result, raised.value.missing_permission) == (result, None)
