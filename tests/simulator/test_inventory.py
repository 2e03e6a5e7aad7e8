"""The simulated Cloud Asset Inventory: scopes, types, permissions, delay; valid by Google's discovery document."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from exporter.simulator import Fault, SimulatedClock, World
from exporter.simulator.api import Request, respond
from exporter.simulator.faults import Faults
from exporter.simulator.inventory import INSTANCE, PROJECT
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import FOLDERS, Project, organization
from tests.simulator.discovery import document, validator
from tests.simulator.requests import get
from tests.support.builders import HOUR, NOW, SECOND, world

RESPONSE = validator(document("cloudasset.v1"), "SearchAllResourcesResponse")
WORLD = world(organization(10))


def found(scope: str, **query: str) -> list[str]:
    response = get(WORLD, f"/v1/{scope}:searchAllResources", pageSize="500", **query)
    RESPONSE.validate(response)
    results: list[dict[str, Any]] = response.get("results", [])
    return [result["name"].split("googleapis.com/projects/")[1] for result in results]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("organizations/1", sorted(organization(10))),
        ("folders/10", ["other-0001", "other-0002", "other-0003", "other-0006", "other-0007", "other-0008"]),
        ("folders/12", ["other-0003", "other-0008"]),
        ("folders/90", []),
    ],
)
def test_projects_at_any_depth_below_a_scope_are_found(scope: str, expected: list[str]) -> None:
    demo = {"folders/10": ["shop-prod", "warehouse-prod"], "folders/12": ["warehouse-prod"]}.get(scope, [])
    assert found(scope, assetTypes=PROJECT) == [*expected, *demo]


def test_types_can_be_repeated_and_be_regular_expressions() -> None:
    assert found("folders/12", assetTypes=f"{PROJECT},{INSTANCE}") == found("folders/12")
    assert found("folders/12", assetTypes="sqladmin.*") == found("folders/12", assetTypes=INSTANCE)
    assert found("folders/12", assetTypes=INSTANCE)[0] == "warehouse-prod/instances/archive"


@pytest.mark.parametrize(
    ("scope", "query", "status"),
    [
        ("organizations/2", {}, (403, "PERMISSION_DENIED")),
        ("folders/404", {}, (403, "PERMISSION_DENIED")),
        ("organizations/1", {"assetTypes": "compute.*"}, (400, "INVALID_ARGUMENT")),
    ],
)
def test_errors_have_no_list_of_reasons(scope: str, query: dict[str, str], status: tuple[int, str]) -> None:
    response = respond(Request(WORLD, f"/v1/{scope}:searchAllResources", query))
    error: Any = response.body["error"]
    assert ((response.status, error["status"]), "errors" in error) == (status, False)


def test_permission_on_a_folder_covers_what_is_below_it() -> None:
    narrow = World(organization(0), WORLD.clock, FOLDERS, inventory_scopes=frozenset({"folders/11"}))
    statuses = {
        scope: respond(Request(narrow, f"/v1/{scope}:searchAllResources", {})).status
        for scope in ("organizations/1", "folders/10", "folders/11", "folders/12")
    }
    assert statuses == {"organizations/1": 403, "folders/10": 403, "folders/11": 200, "folders/12": 200}


def test_pages_have_at_most_500_items_and_only_the_masked_fields() -> None:
    large = world({f"project-{number:04}": Project() for number in range(1001)})
    path, query = "/v1/organizations/1:searchAllResources", {"pageSize": "1000", "readMask": "name,state"}
    sizes, token = [], dict[str, str]()
    while True:
        page = get(large, path, **query, **token)
        assert all(result.keys() == {"name", "state"} for result in page["results"])
        sizes.append(len(page["results"]))
        if "nextPageToken" not in page:
            break
        token = {"pageToken": page["nextPageToken"]}
    assert sizes == [500, 500, 1]


def test_new_instance_is_in_the_inventory_after_seven_hours() -> None:
    clock = SimulatedClock(NOW, speed=0)
    new = replace(SCENARIOS["healthy"], created_ago=timedelta())
    simulated = World({"shop-prod": Project({"orders": new})}, clock)
    path = "/v1/organizations/1:searchAllResources"
    clock.advance(7 * HOUR - SECOND)
    assert get(simulated, path, assetTypes=INSTANCE) == {}
    clock.advance(SECOND)
    assert len(get(simulated, path, assetTypes=INSTANCE)["results"]) == 1


def test_failed_synchronisation_omits_instances() -> None:
    faults = Faults()
    faults.add(Fault("stale-inventory", method="searchAllResources"))
    request = Request(WORLD, "/v1/folders/12:searchAllResources", {"pageSize": "500"})
    body = faults.apply(request, respond(request)).body
    assert b"projects/warehouse-prod" in body
    assert b"/instances/" not in body
