"""Search for projects and test of permissions, against the simulated API and a server with prepared responses."""

import json

import pytest

from exporter.config import SearchTarget
from exporter.facts.model import PollResult
from exporter.googleapis.permissions import WRITE_PERMISSIONS
from exporter.scan.source import SourceError
from exporter.simulator import Fault, Simulator
from exporter.simulator.worlds import Folder, Project
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


def test_folders_and_projects_directly_in_a_parent_are_listed() -> None:
    folders = {"folders/10": Folder(), "folders/11": Folder("folders/10"), "folders/12": Folder("folders/11")}
    folders["folders/13"] = Folder("folders/10", state="DELETE_REQUESTED")
    projects = {"direct": Project(parent="folders/10"), "deeper": Project(parent="folders/11"), "other": Project()}
    with Simulator(world(projects, folders=folders)) as simulator:
        source = google_source(simulator.url)
        assert list(source.folders_in("folders/10")) == ["folders/11"]
        assert list(source.projects_in("folders/10")) == ["direct"]
        assert list(source.folders_in("organizations/1")) == ["folders/10"]
        assert list(source.projects_in("organizations/1")) == ["other"]


def test_children_of_other_parents_are_left_out() -> None:
    """The API documents neither how a value is compared, nor that every field is returned."""
    projects = [
        {"projectId": name, "state": "ACTIVE", "parent": parent} for name, parent in (("a", "folders/1"), ("b", 7))
    ]
    folders = [
        {"name": "folders/2"},
        {"name": "folders/3", "parent": "folders/9"},
        {"name": "folders/4", "state": "NEW"},
    ]
    body = json.dumps({"projects": [*projects, {"projectId": "c", "state": "ACTIVE"}], "folders": folders}).encode()
    with serve(type("Handler", (FixedResponse,), {"body": body})) as url:
        assert list(google_source(url).projects_in("folders/1")) == ["a", "c"]
        assert list(google_source(url).folders_in("folders/1")) == ["folders/2"]


def test_denied_search_for_folders_names_the_permission() -> None:
    with Simulator(world(PROJECTS)) as simulator:
        simulator.faults.add(Fault("forbidden", method="folders.search"))
        with pytest.raises(SourceError, match=r"grant resourcemanager\.folders\.get") as raised:
            list(google_source(simulator.url).folders_in("folders/10"))
    assert raised.value.missing_permission == "resourcemanager.folders.get"


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
