"""The simulated API: responses valid by Google's discovery document, paging, errors and compression."""

import gzip
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from exporter.googleapis.cloudsql import (
    BACKUPS_FIELDS,
    INSTANCE_FIELDS,
    RECOVERY_TIMES_FIELDS,
    RUN_FIELDS,
    RUNS_FIELDS,
)
from exporter.simulator import WORLDS, Simulator, World
from exporter.simulator.api import Mask, Request, parse_mask, respond
from exporter.simulator.scenarios import SCENARIOS
from tests.simulator.discovery import document, validator
from tests.simulator.requests import get
from tests.support.builders import DAY, HOUR, world

DISCOVERY = document("sqladmin.v1")
INSTANCES = validator(DISCOVERY, "InstancesListResponse")
RUNS = validator(DISCOVERY, "BackupRunsListResponse")
RECOVERY_TIMES = validator(DISCOVERY, "SqlInstancesGetLatestRecoveryTimeResponse")
RUN = validator(DISCOVERY, "BackupRun")


def demo() -> World:
    return world(WORLDS["demo"]())


def test_responses_are_valid_by_the_discovery_document_at_any_time() -> None:
    simulated = demo()
    statuses = set()
    for _hour in range(48):
        for project in ("shop-prod", "warehouse-prod", "museum"):
            INSTANCES.validate(get(simulated, f"/v1/projects/{project}/instances"))
            listing = get(simulated, f"/v1/projects/{project}/instances/-/backupRuns", maxResults="1000")
            RUNS.validate(listing)
            statuses |= {run["status"] for run in listing["items"]}
        simulated.clock.advance(HOUR)  # type: ignore[attr-defined] # a simulated clock
    assert {"RUNNING", "SUCCESSFUL", "FAILED", "SKIPPED", "OVERDUE", "DELETED", "DELETION_PENDING"} <= statuses


def test_undeclared_key_is_invalid() -> None:
    listing = get(demo(), "/v1/projects/museum/instances/-/backupRuns")
    listing["items"][0]["colour"] = "green"
    assert not RUNS.is_valid(listing)


@pytest.mark.parametrize(
    ("mask", "schema"),
    [
        (INSTANCE_FIELDS, "InstancesListResponse"),
        (RUNS_FIELDS, "BackupRunsListResponse"),
        (RUN_FIELDS, "BackupRun"),
        (RECOVERY_TIMES_FIELDS, "SqlInstancesGetLatestRecoveryTimeResponse"),
        (BACKUPS_FIELDS, "ListBackupsResponse"),
    ],
)
def test_requested_fields_are_declared(mask: str, schema: str) -> None:
    """The real API rejects a field mask with an unknown field."""

    def undeclared(wanted: Mask, schema: dict[str, Any]) -> Iterator[str]:
        schema = schema.get("items", schema)
        schema = DISCOVERY["schemas"][schema["$ref"]] if "$ref" in schema else schema
        for name, inner in wanted.items():
            if name not in schema.get("properties", {}):
                yield name
            else:
                yield from undeclared(inner, schema["properties"][name])

    assert list(undeclared(parse_mask(mask), {"$ref": schema})) == []
    assert list(undeclared(parse_mask("items(settings(colour))"), {"$ref": "InstancesListResponse"})) == ["colour"]


def test_pages_add_up_to_the_full_listing_with_20_items_by_default() -> None:
    simulated, path = demo(), "/v1/projects/museum/instances/-/backupRuns"
    full_listing = get(simulated, path, maxResults="1000")["items"]
    pages: list[list[dict[str, Any]]] = []
    token: dict[str, str] = {}
    while True:
        page = get(simulated, path, **token)
        pages.append(page["items"])
        if "nextPageToken" not in page:
            break
        token = {"pageToken": page["nextPageToken"]}
    assert [run for page in pages for run in page] == full_listing
    assert {len(page) for page in pages[:-1]} == {20}


def test_runs_are_listed_by_enqueued_time_newest_first() -> None:
    runs = get(demo(), "/v1/projects/museum/instances/-/backupRuns", maxResults="1000")["items"]
    enqueued = [run["enqueuedTime"] for run in runs if "enqueuedTime" in run]
    assert enqueued == sorted(enqueued, reverse=True)


def test_run_is_returned_by_id_and_fields_are_selected() -> None:
    simulated, path = demo(), "/sql/v1beta4/projects/museum/instances/healthy/backupRuns"
    newest = get(simulated, path)["items"][0]
    assert get(simulated, f"{path}/{newest['id']}") == newest
    RUN.validate(newest)
    assert get(simulated, path, fields="items(id,status),nextPageToken")["items"][0] == {
        "id": newest["id"],
        "status": "SUCCESSFUL",
    }


@pytest.mark.parametrize(
    ("path", "query", "status", "reason"),
    [
        ("/v1/projects/sealed/instances", {}, 403, "notAuthorized"),
        ("/v1/projects/nowhere/instances", {}, 403, "notAuthorized"),
        ("/v1/projects/museum/instances/nobody/backupRuns", {}, 404, "instanceDoesNotExist"),
        ("/v1/projects/museum/instances/healthy/backupRuns/1", {}, 404, "backupRunDoesNotExist"),
        ("/v1/projects/museum/instances", {"pageToken": "%%%"}, 400, "invalidPageToken"),
        ("/v1/projects/museum/instances", {"maxResults": "many"}, 400, "invalidParameter"),
        ("/v2/anything", {}, 404, "notFound"),
        ("/v1/projects/museum/instances/-/getLatestRecoveryTime", {}, 404, "instanceDoesNotExist"),
        ("/v1/projects/museum/instances/healthy/getLatestRecoveryTime", {}, 400, "invalidRequest"),
        ("/v1/projects/museum/instances/pitr-logs-on-disk/getLatestRecoveryTime", {}, 400, "invalidRequest"),
        ("/v1/projects/museum/instances/replica/getLatestRecoveryTime", {}, 400, "invalidRequest"),
        (
            "/v1/projects/museum/instances/high-availability/getLatestRecoveryTime",
            {"sourceInstanceDeletionTime": "2026-11-02T09:00:00Z"},
            400,
            "invalidRequest",
        ),
        ("/v1/projects/sealed/instances/orders/getLatestRecoveryTime", {}, 403, "notAuthorized"),
    ],
)
def test_errors_have_the_form_of_real_ones(path: str, query: dict[str, str], status: int, reason: str) -> None:
    response = respond(Request(demo(), path, query))
    error: Any = response.body["error"]
    assert (response.status, error["code"], error["errors"][0]["reason"]) == (status, status, reason)


@pytest.mark.parametrize(
    ("project", "asked", "expected"),
    [
        ("museum", ["cloudsql.instances.list", "cloudsql.instances.delete"], ["cloudsql.instances.list"]),
        ("museum", ["cloudsql.instances.delete"], None),
        ("museum", [], None),
        ("sealed", ["cloudsql.instances.list"], ["cloudsql.instances.list"]),
    ],
)
def test_permissions_of_the_caller_are_tested(project: str, asked: list[str], expected: list[str] | None) -> None:
    path = f"/v3/projects/{project}:testIamPermissions"
    response = respond(Request(demo(), path, {}, {"permissions": asked}))
    validator(document("cloudresourcemanager.v3"), "TestIamPermissionsResponse").validate(response.body)
    assert (response.status, response.body) == (200, {"permissions": expected} if expected else {})


@pytest.mark.parametrize(
    ("project", "body", "status"),
    [
        ("museum", {"permissions": ["cloudsql.*"]}, 400),
        ("museum", {"permissions": "cloudsql.instances.list"}, 400),
        ("museum", "", 400),
        ("nowhere", {"permissions": ["cloudsql.instances.list"]}, 403),
        ("museum", None, 404),
    ],
)
def test_invalid_test_of_permissions_is_rejected(project: str, body: object, status: int) -> None:
    assert respond(Request(demo(), f"/v3/projects/{project}:testIamPermissions", {}, body)).status == status


@pytest.mark.parametrize("body", [b"null", b"{", b"\xff"])
def test_body_that_is_no_json_object_is_a_bad_request(simulator: Simulator, body: bytes) -> None:
    url = f"{simulator.url}v3/projects/museum:testIamPermissions"
    with pytest.raises(urllib.error.HTTPError, match="400") as raised:
        urllib.request.urlopen(url, data=body)  # noqa: S310 (http on loopback)
    raised.value.close()


def test_empty_list_is_omitted() -> None:
    simulated = demo()
    assert get(simulated, "/v1/projects/museum/instances/never/backupRuns") == {"kind": "sql#backupRunsList"}


def test_listing_gains_new_runs_and_drops_expired_ones() -> None:
    simulated, path = demo(), "/v1/projects/museum/instances/healthy/backupRuns"
    before = [run["id"] for run in get(simulated, path)["items"]]
    simulated.clock.advance(DAY)  # type: ignore[attr-defined] # a simulated clock
    after = [run["id"] for run in get(simulated, path)["items"]]
    assert len(before) == len(after) == 7
    assert after[1:] == before[:-1]


@pytest.mark.parametrize(("agent", "encoding"), [("client (gzip)", "gzip"), ("client", None)])
def test_gzip_only_for_user_agents_that_contain_gzip(simulator: Simulator, agent: str, encoding: str | None) -> None:
    request = urllib.request.Request(  # noqa: S310 (http on loopback)
        f"{simulator.url}v1/projects/museum/instances", headers={"Accept-Encoding": "gzip", "User-Agent": agent}
    )
    with urllib.request.urlopen(request) as response:  # noqa: S310 (http on loopback)
        body = response.read()
        assert response.headers["Content-Encoding"] == encoding
    assert len(json.loads(gzip.decompress(body) if encoding else body)["items"]) == len(SCENARIOS)
