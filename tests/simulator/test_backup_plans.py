"""Backup plans and associations of the simulated API: valid by Google's discovery document, paging, states, errors."""

from typing import Any

import pytest

from exporter.googleapis.backupdr import ASSOCIATIONS_FIELDS, PLANS_FIELDS
from exporter.simulator import WORLDS, Fault, World
from exporter.simulator.api import Mask, Request, parse_mask, respond
from exporter.simulator.faults import Faults
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from tests.simulator.discovery import document, validator
from tests.simulator.requests import get
from tests.support.builders import DAY, HOUR, world

DISCOVERY = document("backupdr.v1")
ASSOCIATIONS = validator(DISCOVERY, "ListBackupPlanAssociationsResponse")
PLANS = validator(DISCOVERY, "ListBackupPlansResponse")
MUSEUM, VAULTS = "/v1/projects/museum/locations/-/backupPlanAssociations", "/v1/projects/vaults/locations/-/backupPlans"


def demo() -> World:
    return world(WORLDS["demo"]())


def rules(simulated: World, scenario: str) -> dict[str, tuple[str, str | None]]:
    """The state and the newest consistency time of each rule of an instance of the museum."""
    (found,) = (
        item for item in get(simulated, MUSEUM)["backupPlanAssociations"] if item["resource"].endswith(f"/{scenario}")
    )
    return {
        rule["ruleId"]: (rule["lastBackupState"], rule.get("lastSuccessfulBackupConsistencyTime"))
        for rule in found["rulesConfigInfo"]
    }


def test_responses_are_valid_by_the_discovery_document_at_any_time() -> None:
    simulated, states = demo(), set()
    for _ in range(12):
        listing = get(simulated, MUSEUM)
        ASSOCIATIONS.validate(listing)
        PLANS.validate(get(simulated, VAULTS))
        states |= {
            rule["lastBackupState"] for item in listing["backupPlanAssociations"] for rule in item["rulesConfigInfo"]
        }
        simulated.clock.advance(4 * HOUR)  # type: ignore[attr-defined] # a simulated clock
    assert states == {"SUCCEEDED", "FAILED", "PERMISSION_DENIED", "FIRST_BACKUP_PENDING"}
    listing["backupPlanAssociations"][0]["colour"] = "green"
    assert not ASSOCIATIONS.is_valid(listing)


@pytest.mark.parametrize(
    ("mask", "schema"),
    [(ASSOCIATIONS_FIELDS, "ListBackupPlanAssociationsResponse"), (PLANS_FIELDS, "ListBackupPlansResponse")],
)
def test_requested_fields_are_declared(mask: str, schema: str) -> None:
    """The real API rejects a field mask with an unknown field."""

    def check(wanted: Mask, schema: dict[str, Any]) -> None:
        schema = schema.get("items", schema)
        schema = DISCOVERY["schemas"][schema["$ref"]] if "$ref" in schema else schema
        for name, inner in wanted.items():
            assert name in schema["properties"]
            check(inner, schema["properties"][name])

    check(parse_mask(mask), {"$ref": schema})


def test_names_and_types_of_instances_are_spelled_in_several_ways() -> None:
    items = get(demo(), MUSEUM)["backupPlanAssociations"]
    assert {item["resourceType"] for item in items} == {
        "sqladmin.googleapis.com/Instance",
        "sql.googleapis.com/Instance",
    }
    assert {item["resource"].rpartition("/")[0] for item in items} == {
        "projects/museum/instances",
        "projects/123456789012/locations/europe-west1/instances",
    }


def test_state_of_a_rule_follows_its_runs() -> None:
    simulated = demo()
    before = rules(simulated, "enhanced")["daily"]
    assert before == ("SUCCEEDED", "2026-11-23T04:12:04Z")  # its window opened eight hours ago, at 04:00
    assert rules(simulated, "enhanced-failing") == {
        "daily": ("FAILED", "2026-11-20T04:12:04Z"),
        "monthly": ("SUCCEEDED", "2026-11-23T04:12:04Z"),
    }
    assert rules(simulated, "enhanced-denied") == {"daily": ("PERMISSION_DENIED", "2026-11-22T04:12:04Z")}
    assert rules(simulated, "enhanced-never") == {"daily": ("FIRST_BACKUP_PENDING", None)}
    simulated.clock.advance(DAY)  # type: ignore[attr-defined] # a simulated clock
    assert rules(simulated, "enhanced")["daily"] == ("SUCCEEDED", "2026-11-24T04:12:04Z")


def test_association_of_an_earlier_instance_has_its_creation_time() -> None:
    (item,) = (item for item in get(demo(), MUSEUM)["backupPlanAssociations"] if item["resource"].endswith("-reused"))
    properties = item["cloudSqlInstanceBackupPlanAssociationProperties"]
    assert properties == {"instanceCreateTime": "2026-01-27T12:00:00Z"}


def test_pages_add_up_and_a_location_selects() -> None:
    simulated = demo()
    full = get(simulated, MUSEUM)["backupPlanAssociations"]
    pages: list[list[dict[str, Any]]] = []
    token: dict[str, str] = {}
    while True:
        page = get(simulated, MUSEUM, pageSize="3", **token)
        pages.append(page["backupPlanAssociations"])
        if "nextPageToken" not in page:
            break
        token = {"pageToken": page["nextPageToken"]}
    assert [item for page in pages for item in page] == full
    assert len(pages) == 3
    assert get(simulated, MUSEUM.replace("-", "europe-west1", 1))["backupPlanAssociations"] == full
    assert get(simulated, MUSEUM.replace("-", "us-east1", 1)) == {}


@pytest.mark.parametrize(
    ("project", "reason"),
    [("denied", "IAM_PERMISSION_DENIED"), ("disabled", "SERVICE_DISABLED"), ("nowhere", "IAM_PERMISSION_DENIED")],
)
def test_errors_have_the_form_of_newer_apis(project: str, reason: str) -> None:
    simulated = world(
        {
            "denied": Project(backup_dr_error="IAM_PERMISSION_DENIED"),
            "disabled": Project(backup_dr_error="SERVICE_DISABLED"),
        }
    )
    response = respond(Request(simulated, f"/v1/projects/{project}/locations/-/backupPlans", {}))
    error: Any = response.body["error"]
    assert (response.status, error["status"], error["details"][0]["reason"]) == (403, "PERMISSION_DENIED", reason)
    assert "errors" not in error


def test_unreachable_region_is_named_and_its_items_are_missing() -> None:
    simulated, faults = world({"museum": Project({"enhanced": SCENARIOS["enhanced"]})}), Faults()
    faults.add(Fault("unreachable-region", region="europe-west1"))
    request = Request(simulated, MUSEUM, {})
    body = faults.apply(request, respond(request)).body
    assert body == b'{"backupPlanAssociations": [], "unreachable": ["europe-west1"]}'
