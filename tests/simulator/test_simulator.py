"""The simulated API says what Google's discovery document allows, and speaks as the real one does."""

import gzip
import json
import urllib.request
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft4Validator

from exporter.googleapis.cloudsql import INSTANCE_FIELDS, RUN_FIELDS, RUNS_FIELDS
from exporter.simulator import WORLDS, Simulator, World
from exporter.simulator.api import Request, respond
from tests.support.builders import DAY, HOUR, world

DISCOVERY = json.loads((files("googleapiclient") / "discovery_cache/documents/sqladmin.v1.json").read_text())


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """A discovery schema as JSON schema that allows no key beyond those declared."""
    result = {key: value for key, value in schema.items() if key in ("type", "enum", "pattern")}
    if "$ref" in schema:
        return strict(DISCOVERY["schemas"][schema["$ref"]])
    if "items" in schema:
        result["items"] = strict(schema["items"])
    if "properties" in schema:
        result["properties"] = {key: strict(inner) for key, inner in schema["properties"].items() if key not in DEEP}
        result["additionalProperties"] = False
    if isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = strict(schema["additionalProperties"])
    if schema.get("format") == "int64":
        result["pattern"] = r"^-?\d{1,19}$"
    if schema.get("format") == "google-datetime":
        result["pattern"] = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"
    return result


DEEP = {"scheduledMaintenance", "replicationCluster", "deploymentInfo", "serverCaCert"}  # parts no answer has

INSTANCES = Draft4Validator(strict(DISCOVERY["schemas"]["InstancesListResponse"]))
RUNS = Draft4Validator(strict(DISCOVERY["schemas"]["BackupRunsListResponse"]))
RUN = Draft4Validator(strict(DISCOVERY["schemas"]["BackupRun"]))


def demo() -> World:
    return world(WORLDS["demo"]())


def get(asked: World, path: str, **query: str) -> dict[str, Any]:
    return respond(Request(asked, path, query)).body


def test_every_answer_is_valid_by_the_discovery_document_at_every_hour_of_two_days() -> None:
    asked = demo()
    statuses = set()
    for _hour in range(48):
        for project in ("shop-prod", "warehouse-prod", "museum"):
            INSTANCES.validate(get(asked, f"/v1/projects/{project}/instances"))
            listed = get(asked, f"/v1/projects/{project}/instances/-/backupRuns", maxResults="1000")
            RUNS.validate(listed)
            statuses |= {run["status"] for run in listed["items"]}
        asked.clock.advance(HOUR)  # type: ignore[attr-defined] # a simulated clock
    assert {"RUNNING", "SUCCESSFUL", "FAILED", "SKIPPED", "OVERDUE", "DELETED"} <= statuses


def test_a_key_that_is_not_declared_would_be_seen() -> None:
    listed = get(demo(), "/v1/projects/museum/instances/-/backupRuns")
    listed["items"][0]["colour"] = "green"
    assert not RUNS.is_valid(listed)


@pytest.mark.parametrize("mask", [INSTANCE_FIELDS, RUNS_FIELDS, RUN_FIELDS])
def test_the_fields_the_exporter_asks_for_are_declared(mask: str) -> None:
    """The real API refuses a mask with a field that it does not know."""
    listing = "InstancesListResponse" if "settings" in mask else "BackupRunsListResponse"
    response = listing if "items" in mask else "BackupRun"

    def declared(schema: dict[str, Any]) -> Iterator[str]:
        schema = DISCOVERY["schemas"][schema["$ref"]] if "$ref" in schema else schema
        yield from schema.get("properties", {})
        for name, inner in schema.get("properties", {}).items():
            if name in ("items", "settings", "error"):
                yield from declared(inner.get("items", inner))

    names = {name for name in mask.replace("(", ",").replace(")", ",").split(",") if name}
    assert names - set(declared({"$ref": response})) == set()


def test_pages_put_together_are_the_whole_listing_and_an_unasked_size_is_twenty() -> None:
    asked, path = demo(), "/v1/projects/museum/instances/-/backupRuns"
    whole = get(asked, path, maxResults="1000")["items"]
    pages: list[list[dict[str, Any]]] = []
    token: dict[str, str] = {}
    while True:
        page = get(asked, path, **token)
        pages.append(page["items"])
        if "nextPageToken" not in page:
            break
        token = {"pageToken": page["nextPageToken"]}
    assert [run for page in pages for run in page] == whole
    assert {len(page) for page in pages[:-1]} == {20}


def test_runs_are_listed_newest_first_by_when_they_were_enqueued() -> None:
    runs = get(demo(), "/v1/projects/museum/instances/-/backupRuns", maxResults="1000")["items"]
    enqueued = [run["enqueuedTime"] for run in runs if "enqueuedTime" in run]
    assert enqueued == sorted(enqueued, reverse=True)


def test_one_run_can_be_had_by_its_id_and_fields_are_picked() -> None:
    asked, path = demo(), "/sql/v1beta4/projects/museum/instances/healthy/backupRuns"
    newest = get(asked, path)["items"][0]
    assert get(asked, f"{path}/{newest['id']}") == newest
    RUN.validate(newest)
    assert get(asked, path, fields="items(id,status),nextPageToken")["items"][0] == {
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
    ],
)
def test_a_refusal_has_the_shape_of_the_real_ones(path: str, query: dict[str, str], status: int, reason: str) -> None:
    denied = respond(Request(demo(), path, query))
    error: Any = denied.body["error"]
    assert (denied.status, error["code"], error["errors"][0]["reason"]) == (status, status, reason)


def test_an_empty_list_is_left_out() -> None:
    asked = demo()
    assert get(asked, "/v1/projects/museum/instances/never/backupRuns") == {"kind": "sql#backupRunsList"}


def test_expired_backups_leave_the_listing_and_the_world_moves_on() -> None:
    asked, path = demo(), "/v1/projects/museum/instances/healthy/backupRuns"
    before = [run["id"] for run in get(asked, path)["items"]]
    asked.clock.advance(DAY)  # type: ignore[attr-defined] # a simulated clock
    after = [run["id"] for run in get(asked, path)["items"]]
    assert len(before) == len(after) == 7
    assert after[1:] == before[:-1]


@pytest.mark.parametrize(("agent", "encoding"), [("client (gzip)", "gzip"), ("client", None)])
def test_gzip_is_for_those_who_ask_as_google_wants_it(agent: str, encoding: str | None) -> None:
    with Simulator(demo()) as simulator:
        request = urllib.request.Request(  # noqa: S310 (http on loopback)
            f"{simulator.url}v1/projects/museum/instances", headers={"Accept-Encoding": "gzip", "User-Agent": agent}
        )
        with urllib.request.urlopen(request) as reply:  # noqa: S310 (http on loopback)
            body = reply.read()
            assert reply.headers["Content-Encoding"] == encoding
    assert json.loads(gzip.decompress(body) if encoding else body)["kind"] == "sql#instancesList"
