"""The JSON API, over real sockets: responses, errors, and the OpenAPI document that describes them."""

import copy
import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
from starlette.routing import Route

from exporter.facts.counters import Counters
from exporter.facts.daily import InstanceDay, ProjectDay
from exporter.facts.model import PollResult, RunStatus
from exporter.facts.record import ProjectScan, Record
from exporter.facts.snapshot import ProjectStatus, Snapshot
from exporter.runtime import Exporter
from exporter.simulator import WORLDS, Simulator
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import DELETED, Project
from exporter.verdict.evaluate import evaluate
from exporter.verdict.listing import SORT_KEYS
from exporter.verdict.rules import WORST_FIRST, Protection
from exporter.web import application
from exporter.web.api.content import instance_document
from exporter.web.api.documents import Day
from tests.support.builders import DAY, EXPORTER_INFO, NOW, config, run, verdict_on, world
from tests.support.hostile import HOSTILE_NAMES
from tests.support.processes import Response, fetch
from tests.support.web import serving

PROJECTS = ("museum", "shop-prod", "sealed")
POLICIES = [{"match": {"instance": "nothing"}}, {"match": {"instance": "stale"}, "max_age": "26h", "grace": "0s"}]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The URL of an exporter that has polled three projects, one of which it may not read."""
    with Simulator(world(WORLDS["demo"]())) as simulator:
        collect = {"deleted_instances": True, "backup_dr": True}
        settings = config(simulator.url, PROJECTS, policies=POLICIES, collect=collect)
        exporter = Exporter(lambda: settings, simulator.world.clock, process_metrics=False)
        exporter.poll_once(lambda _done, _total: None)
        with serving(application(exporter)) as server:
            yield server.urls[0]


def get(url: str, path: str) -> Any:
    """The JSON document at a path, which must be there."""
    response = fetch(url + path)
    assert (response.status, response.headers["content-type"]) == (200, "application/json")
    return json.loads(response.text)


def error(response: Response) -> tuple[int, str]:
    """The status and the message of an error."""
    document = json.loads(response.text)
    assert (response.headers["content-type"], list(document)) == ("application/json", ["error"])
    return response.status, document["error"]


def test_status_lists_instances_worst_first_with_the_polls_they_rest_on(url: str) -> None:
    status = get(url, "api/v1/status")
    states = [instance["state"] for instance in status["instances"]]
    assert states == sorted(states, key=list(WORST_FIRST).index)
    assert status["now"] == "2026-11-23T12:00:00Z"
    assert sum(status["totals"].values()) == status["selected"] == len(states)
    assert [(project["project"], project["result"], project["up"]) for project in status["projects"]] == [
        ("museum", "success", True),
        ("sealed", "forbidden", False),
        ("shop-prod", "success", True),
    ]
    assert "grant cloudsql.instances.list" in status["projects"][1]["message"]


def test_an_instance_of_the_status_has_numbers_with_units_and_times_as_text(url: str) -> None:
    (failing,) = get(url, "api/v1/status?project=museum&q=failing&state=unprotected")["instances"]
    assert failing["findings"] == ["stale_critical", "stale", "last_run_failed"]
    assert failing["last_runs"] == {"automated": "failed"}
    assert failing["reasons"][0].startswith("a restore would lose ")
    age = NOW - datetime.fromisoformat(failing["recovery_point"])
    assert failing["recovery_point_age_seconds"] == pytest.approx(age.total_seconds(), abs=1)
    assert (failing["policy_max_age_seconds"], failing["policy_critical_age_seconds"]) == (30 * 3600, 54 * 3600)
    assert failing["read_at"] == "2026-11-23T12:00:00Z"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=exempt,unknown&project=shop-prod", {"exempt"}),
        ("state=at_risk&state=unprotected", {"at_risk", "unprotected"}),
        ("state=protected", {"protected"}),
    ],
)
def test_status_is_filtered_by_state(url: str, query: str, expected: set[str]) -> None:
    status = get(url, f"api/v1/status?{query}")
    assert {instance["state"] for instance in status["instances"]} == expected
    assert status["totals"] == get(url, "api/v1/status")["totals"]


def test_pages_of_the_status_add_up_to_all_of_it(url: str) -> None:
    everything = get(url, "api/v1/status?sort=-recovery_point")["instances"]
    pages = [
        get(url, f"api/v1/status?sort=-recovery_point&limit=7&offset={offset}")["instances"]
        for offset in range(0, len(everything), 7)
    ]
    assert [instance for page in pages for instance in page] == everything


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "state=green",
            "state: unknown state 'green'; the states are unprotected, unknown, at_risk, protected, exempt",
        ),
        ("state=exempt,%3Cb%3E", "state: unknown state '<b>'; the states are"),
        ("limit=-1", "limit: '-1' is not a whole number"),
        ("offset=x", "offset: 'x' is not a whole number"),
        ("sort=age", "sort: cannot sort by 'age'"),
    ],
)
def test_an_invalid_parameter_returns_400_and_names_it(url: str, query: str, message: str) -> None:
    status, text = error(fetch(f"{url}api/v1/status?{query}"))
    assert (status, text[: len(message)]) == (400, message)


def test_an_instance_has_its_runs_newest_first_with_policy_and_counters(url: str) -> None:
    instance = get(url, "api/v1/instances/museum/failing")
    starts = [run["window_start"] for run in instance["runs"]]
    assert starts == sorted(starts, reverse=True)
    newest = instance["runs"][0]
    assert (newest["status"], newest["backup_type"]) == ("failed", "automated")
    assert newest["error"]["code"] == "DISK_SNAPSHOT_FAILED"
    assert newest["duration_seconds"] > 0
    assert instance["policy"]["number"] is None
    assert instance["configuration"]["backups_enabled"] is True
    assert instance["backups"]["automated"]["consecutive_failures"] >= 3
    assert instance["backups"]["automated"]["run_duration_seconds_count"] == 0
    (listed,) = get(url, "api/v1/status?project=museum&q=failing&state=unprotected")["instances"]
    assert {name: instance[name] for name in listed} == listed


def test_an_instance_has_the_usual_duration_and_size_as_metrics_and_page_have(url: str) -> None:
    automated = get(url, "api/v1/instances/museum/high-availability")["backups"]["automated"]
    assert (automated["usual_duration_seconds"], automated["usual_size_bytes"]) == (420, 12.5 * 2**30)
    metrics = fetch(f"{url}metrics").text
    labels = '{backup_type="automated",instance_id="high-availability",project="museum"}'
    for name in ("usual_duration_seconds", "usual_size_bytes"):
        (value,) = re.findall(rf"^cloudsql_backup_{name}{labels} (\S+)$", metrics, re.MULTILINE)
        assert float(value) == automated[name]
    page = fetch(f"{url}instances/museum/high-availability").text
    assert "<dt>Usual</dt><dd>7m and 12.5 GiB:" in page
    assert ">usual 7m</text>" in page
    few = get(url, "api/v1/instances/museum/healthy")["backups"]["automated"]  # 7 backups are retained
    assert (few["retained"], few["usual_duration_seconds"], few["usual_size_bytes"]) == (7, None, None)


def test_an_instance_tells_since_when_its_state_holds_and_when_it_changes(url: str) -> None:
    failing = get(url, "api/v1/instances/museum/failing")
    critical_at = datetime.fromisoformat(failing["recovery_point"]) + timedelta(hours=54)
    assert (datetime.fromisoformat(failing["since"]), failing["next_change"]) == (critical_at, None)
    healthy = get(url, "api/v1/instances/shop-prod/orders")
    change = healthy["next_change"]
    assert (healthy["state"], healthy["since"], change["state"]) == ("protected", None, "at_risk")
    assert NOW < datetime.fromisoformat(change["at"]) <= NOW + timedelta(hours=30)


def test_an_instance_tells_the_number_of_its_policy(url: str) -> None:
    policy = get(url, "api/v1/instances/museum/stale")["policy"]
    assert (policy["number"], policy["max_age_seconds"], policy["grace_seconds"]) == (2, 26 * 3600, 0)


def test_an_instance_has_the_days_of_its_daily_record(url: str) -> None:
    (day,) = get(url, "api/v1/instances/shop-prod/orders")["days"]
    assert (day["day"], day["state"], day["observed_share"], day["within_policy"]) == (
        *("2026-11-23", "protected", 0.0, True),
    )


def test_a_day_of_the_daily_record_has_the_columns_of_the_report() -> None:
    instance_day = InstanceDay("at_risk", RunStatus.FAILED, 8 * 3600, within_policy=False, worst_age=7200)
    project_day = ProjectDay(NOW.date(), 43_200.0, NOW)
    verdict = verdict_on(run())
    scan = ProjectScan(NOW, NOW, records={"orders": Record(verdict.instance, verdict.history, Counters(NOW))})
    status = ProjectStatus("shop-prod", PollResult.SUCCESS, scan=scan)
    evaluation = evaluate(Snapshot({"shop-prod": status}), config(), EXPORTER_INFO, NOW)
    days = [(project_day, instance_day), (project_day, InstanceDay("exempt"))]
    document = instance_document(evaluation, evaluation.verdicts[0], scan.records["orders"], days)
    assert document.days == [
        Day(NOW.date(), Protection.AT_RISK, 0.5, 1, "failed", 7200, within_policy=False),
        Day(NOW.date(), Protection.EXEMPT, 0.5, 0, "none", None, within_policy=None),
    ]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("museum/nothing", "there is no instance 'nothing' in project 'museum', or no target selects it"),
        ("museum/failing/", "there is no instance 'failing/' in project 'museum', or no target selects it"),
        ("elsewhere/failing", "project 'elsewhere' is not among the targets, or has not been polled yet"),
        ("sealed/db", "project 'sealed' has not been read yet: "),
        ("museum/%3Cscript%3E", "there is no instance '<script>' in project 'museum', or no target selects it"),
    ],
)
def test_an_unknown_instance_returns_404_and_says_why(url: str, path: str, message: str) -> None:
    status, text = error(fetch(f"{url}api/v1/instances/{path}"))
    assert (status, text[: len(message)]) == (404, message)


def test_deleted_instances_are_listed_with_what_is_left_of_them(url: str) -> None:
    document = get(url, "api/v1/deleted-instances?project=museum")
    found = {f"{of['instance_id']} {of['deleted']}": of for of in document["instances"]}
    assert len(found) == len(DELETED)
    assert (document["now"], document["collected"]) == ("2026-11-23T12:00:00Z", True)
    final = found["former-final 2026-10-26T12:00:00Z"]
    assert final.pop("newest_backup_name").startswith("projects/museum/backups/")
    assert final == {
        "project": "museum",
        "instance_id": "former-final",
        "deleted": "2026-10-26T12:00:00Z",
        "retained": 1,
        "retained_size_bytes": 12 * 2**30,
        "newest_backup": "2026-10-26T11:54:48Z",
        "newest_backup_type": "final",
        "last_expiry": "2026-11-25T12:00:00Z",
        "last_expiry_status": "reported",
        "labels": {"env": "prod", "team": "storefront"},
        "read_at": "2026-11-23T12:00:00Z",
    }
    nothing = found["former-failing 2026-11-19T12:00:00Z"]
    assert nothing["retained"] == 0
    assert {nothing[name] for name in ("newest_backup", "newest_backup_name", "last_expiry", "last_expiry_status")} == {
        None
    }
    projects = [of["project"] for of in get(url, "api/v1/deleted-instances")["instances"]]
    assert set(projects) == {"museum", "shop-prod"}
    assert get(url, "api/v1/deleted-instances?project=nowhere")["instances"] == []


@pytest.mark.parametrize("path", ["api/v1/instances/museum", "api/v1/instances/", "api/v1/openapi", "api/v1/"])
def test_other_paths_of_the_api_return_404(url: str, path: str) -> None:
    assert fetch(url + path).status == 404


def test_methods_that_change_something_return_405(url: str) -> None:
    for path in ("api/v1/status", "api/v1/instances/museum/failing", "api/v1/openapi.json"):
        assert {fetch(url + path, method).status for method in ("POST", "PUT", "PATCH", "DELETE")} == {405}
        assert (fetch(url + path, "HEAD").status, fetch(url + path, "HEAD").text) == (200, "")


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_every_name_is_found_by_its_path_and_by_its_text(name: str) -> None:
    museum = world({"museum": Project({name: SCENARIOS["healthy"], "other": SCENARIOS["healthy"]})})
    with Simulator(museum) as simulator:
        exporter = Exporter(lambda: config(simulator.url), simulator.world.clock, process_metrics=False)
        exporter.poll_once(lambda _done, _total: None)
        with serving(application(exporter)) as server:
            found = get(server.urls[0], f"api/v1/instances/museum/{quote(name, safe='')}")
            listed = get(server.urls[0], f"api/v1/status?q={quote(name, safe='')}")
    assert found["instance_id"] == name
    assert [instance["instance_id"] for instance in listed["instances"]] == [name]


def test_a_project_that_can_no_longer_be_read_has_unknown_instances_and_says_since_when(simulator: Simulator) -> None:
    now = NOW
    exporter = Exporter(lambda: config(simulator.url, ("shop-prod",)), lambda: now, process_metrics=False)
    exporter.poll_once(lambda _done, _total: None)
    now = NOW + DAY
    with serving(application(exporter)) as server:
        status = get(server.urls[0], "api/v1/status?state=unknown")
    assert status["totals"]["unknown"] == status["selected"] == len(status["instances"]) > 0
    assert status["instances"][0]["read_at"] == "2026-11-23T12:00:00Z"
    assert "longer than poll.stale_after" in status["instances"][0]["reasons"][0]


def strict(openapi: dict[str, Any]) -> dict[str, Any]:
    """The document with schemas that allow no property they do not describe."""
    document = copy.deepcopy(openapi)
    for schema in document["components"]["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return document


def validate(openapi: dict[str, Any], path: str, response: Response) -> None:
    """Raise an error unless the response is as the operation describes it."""
    described = openapi["paths"][path]["get"]["responses"][str(response.status)]["content"]["application/json"]
    schema = {**strict(openapi), **described["schema"]}
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(json.loads(response.text))


def test_responses_are_as_the_openapi_document_describes_them(url: str) -> None:
    openapi = get(url, "api/v1/openapi.json")
    status = fetch(f"{url}api/v1/status")
    validate(openapi, "/api/v1/status", status)
    validate(openapi, "/api/v1/status", fetch(f"{url}api/v1/status?limit=x"))
    validate(openapi, "/api/v1/openapi.json", fetch(f"{url}api/v1/openapi.json"))
    validate(openapi, "/api/v1/deleted-instances", fetch(f"{url}api/v1/deleted-instances"))
    path = "/api/v1/instances/{project}/{instance}"
    validate(openapi, path, fetch(f"{url}api/v1/instances/museum/nothing"))
    instances = json.loads(status.text)["instances"]
    assert len(instances) > len(SCENARIOS)
    for instance in instances:
        validate(openapi, path, fetch(f"{url}api/v1/instances/{instance['project']}/{instance['instance_id']}"))


def test_the_openapi_document_rejects_a_response_that_it_does_not_describe(url: str) -> None:
    openapi = get(url, "api/v1/openapi.json")
    response = fetch(f"{url}api/v1/status")
    for change in ({"extra": 1}, {"now": 5}, {"totals": {"protected": -1}}):
        changed = Response(200, json.dumps({**json.loads(response.text), **change}), response.headers)
        with pytest.raises(jsonschema.ValidationError):
            validate(openapi, "/api/v1/status", changed)


def test_the_openapi_document_describes_the_routes_of_the_api_and_their_parameters(url: str) -> None:
    openapi = get(url, "api/v1/openapi.json")
    assert openapi["openapi"] == "3.1.0"
    exporter = Exporter(config, lambda: NOW, process_metrics=False)
    routes = [route.path for route in application(exporter).routes if isinstance(route, Route)]
    served = {route.replace(":path", "") for route in routes if route.startswith("/api/")}
    assert set(openapi["paths"]) == served
    for path, operations in openapi["paths"].items():
        (operation,) = operations.values()
        in_path = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path))
    for parameter in openapi["paths"]["/api/v1/status"]["get"]["parameters"]:
        choices = parameter["schema"].get("enum") or parameter["schema"].get("items", {}).get("enum") or [1]
        for choice in choices:
            assert fetch(f"{url}api/v1/status?{parameter['name']}={choice}").status == 200


def test_numbers_carry_their_unit_in_their_name(url: str) -> None:
    """Numbers without a unit are counts."""
    schemas = get(url, "api/v1/openapi.json")["components"]["schemas"]
    types = {
        name: {schema.get("type"), *(option.get("type") for option in schema.get("anyOf", ()))}
        for document in schemas.values()
        for name, schema in document.get("properties", {}).items()
    }
    numbers = {name for name, of in types.items() if "number" in of}
    assert numbers
    assert all(name.endswith(("_bytes", "_seconds", "_seconds_sum", "_share")) for name in numbers), numbers
    assert {name for name, of in types.items() if "integer" in of and not name.endswith("_bytes")} == {
        *("selected", "number", "min_retained", "retention_backups", "retained", "consecutive_failures", "due"),
        *("run_duration_seconds_count", "failures_total"),
    }


def test_the_page_about_the_api_names_every_parameter_sort_key_and_state(url: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / "http-api.md").read_text(encoding="utf-8")
    parameters = get(url, "api/v1/openapi.json")["paths"]["/api/v1/status"]["get"]["parameters"]
    words = {parameter["name"] for parameter in parameters} | set(SORT_KEYS) | set(WORST_FIRST)
    assert {word for word in words if f"`{word}`" not in text} == set()
