"""Cloud Asset Inventory: projects and projects with instances, against the simulated API and prepared responses."""

import json

import pytest

from exporter.facts.model import PollResult
from exporter.scan.source import SourceError
from exporter.simulator import Fault, Simulator
from exporter.simulator.worlds import Project, organization
from tests.googleapis.helpers import FixedResponse, google_source, serve
from tests.support.builders import world

ACTIVE = sorted(name for name, project in organization(30).items() if project.state == "ACTIVE")


def test_active_projects_and_those_with_instances_are_found_on_several_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.googleapis.cloudasset.PAGE_SIZE", 13)
    with Simulator(world(organization(30))) as simulator:
        source = google_source(simulator.url)
        assert list(source.projects_below("organizations/1")) == ACTIVE
        assert len(simulator.requests) == 3
        assert sorted(set(source.projects_with_instances("organizations/1"))) == [
            "museum",
            "shop-prod",
            "warehouse-prod",
        ]
    assert all("assetTypes=" in path and "pageSize=13" in path for path in simulator.requests)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"name": "//cloudresourcemanager.googleapis.com/projects/shop", "state": "ACTIVE"}, ["shop"]),
        ({"name": "//cloudresourcemanager.googleapis.com/projects/shop"}, ["shop"]),
        ({"name": "//cloudresourcemanager.googleapis.com/projects/shop", "state": "DELETE_REQUESTED"}, []),
        ({"name": "//x/projects/123", "state": "ACTIVE", "additionalAttributes": {"projectId": "shop"}}, ["shop"]),
        ({"name": "//x/projects/shop", "additionalAttributes": "none"}, ["shop"]),
        ({"name": "//x/projects/123", "state": "ACTIVE"}, "an item has no project id: //x/projects/123"),
        ({"state": "ACTIVE"}, "an item has no project id: None"),
    ],
)
def test_project_id_is_read_from_attributes_or_name(item: object, expected: list[str] | str) -> None:
    body = json.dumps({"results": [item, "no object"]}).encode()
    with serve(type("Handler", (FixedResponse,), {"body": body})) as url:
        listing = google_source(url).projects_below("folders/1")
        if isinstance(expected, list):
            assert list(listing) == expected
        else:
            with pytest.raises(SourceError, match=expected):
                list(listing)


@pytest.mark.parametrize(
    ("fault", "result", "advice"),
    [
        ("forbidden", PollResult.FORBIDDEN, "grant cloudasset.assets.searchAllResources (roles/cloudasset.viewer has"),
        ("api-disabled", PollResult.API_DISABLED, "gcloud services enable cloudasset.googleapis.com in the project of"),
        ("quota", PollResult.QUOTA, "raise refresh of the target"),
        ("unavailable", PollResult.SERVER_ERROR, "503 Error 503"),
        ("html", PollResult.BAD_RESPONSE, "not the expected JSON"),
        ("cut", PollResult.BAD_RESPONSE, "incomplete"),
        ("reset", PollResult.UNREACHABLE, "cannot be reached"),
        ("wrong-json", PollResult.BAD_RESPONSE, "does not end"),
    ],
)
def test_failure_says_what_to_do(fault: str, result: PollResult, advice: str) -> None:
    with Simulator(world({"shop": Project()})) as simulator:
        simulator.faults.add(Fault(fault, method="searchAllResources"))
        with pytest.raises(SourceError) as raised:
            list(google_source(simulator.url).projects_below("organizations/1"))
    assert raised.value.result is result
    assert str(raised.value).startswith("searchAllResources of organizations/1: ")
    assert advice in str(raised.value)


def test_endpoint_can_be_configured() -> None:
    with Simulator(world({"shop": Project()})) as simulator:
        source = google_source("https://127.0.0.1:1/", cloud_asset_endpoint=simulator.url)
        assert list(source.projects_below("organizations/1")) == ["shop"]
