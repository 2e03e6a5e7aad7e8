"""GoogleSource against the simulated API over HTTP: scans, pages, unreachable regions and searches."""

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from exporter.facts.model import PollResult
from exporter.googleapis.cloudsql import BACKUPS_FIELDS, _page
from exporter.scan.parse import json_value
from exporter.scan.source import UNKNOWN_REGION, Source, SourceError
from exporter.simulator import WORLDS, Fault, Simulator
from exporter.simulator.worlds import Project
from tests.googleapis.helpers import FixedResponse, google_source, scan_project, serve
from tests.support.builders import WorldSource, encoded, world


@pytest.mark.parametrize("version", ["v1", "v1beta4"])
def test_scan_over_http_equals_the_simulated_world(simulator: Simulator, version: str) -> None:
    result = scan_project(google_source(simulator.url, api_version=version), "museum")
    assert result == scan_project(WorldSource(simulator.world), "museum")
    prefix = "/v1/" if version == "v1" else "/sql/v1beta4/"
    assert all(path.startswith(prefix) for path in simulator.requests)


def test_world_source_equals_http(simulator: Simulator) -> None:
    """Tests without a network rely on this."""
    expected = scan_project(WorldSource(simulator.world), "warehouse-prod")
    assert scan_project(google_source(simulator.url), "warehouse-prod") == expected


def test_scan_makes_one_request_for_instances_and_one_for_all_runs(simulator: Simulator) -> None:
    scan_project(google_source(simulator.url), "museum")
    assert [path.split("?")[0] for path in simulator.requests] == [
        "/v1/projects/museum/instances",
        "/v1/projects/museum/instances/-/backupRuns",
    ]


def test_every_page_is_requested(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.googleapis.cloudsql.PAGE_SIZE", 7)
    assert scan_project(google_source(simulator.url), "museum") == scan_project(WorldSource(simulator.world), "museum")
    assert len(simulator.requests) > 20


def test_expired_page_token_fails_the_listing(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.googleapis.cloudsql.PAGE_SIZE", 7)
    simulator.faults.add(Fault("expired-token"))
    with pytest.raises(SourceError, match="token has expired"):
        scan_project(google_source(simulator.url), "museum")


def test_domain_scoped_project_id_is_accepted() -> None:
    with Simulator(world({"example.com:shop": Project(WORLDS["healthy"]()["shop-prod"].instances)})) as simulator:
        assert len(scan_project(google_source(simulator.url), "example.com:shop").records) == 8


def test_instances_are_listed_singly_if_wildcard_is_denied(simulator: Simulator) -> None:
    simulator.faults.add(Fault("no-wildcard"))
    result = scan_project(google_source(simulator.url), "shop-prod")
    assert result.records == scan_project(WorldSource(simulator.world), "shop-prod").records
    assert not result.newest_first  # one listing after another is in no order across instances
    assert sum("backupRuns" in path for path in simulator.requests) == 1 + 8  # all but the replica


def test_instance_deleted_during_scan_has_no_runs(simulator: Simulator) -> None:
    """The first listing of one instance returns 404; the others succeed."""
    simulator.faults.add(Fault("no-wildcard", times=1))
    simulator.faults.add(Fault("not-found", method="backupRuns.list", times=1))
    simulator.faults.add(Fault("slow", method="instances.list"))
    result = scan_project(google_source(simulator.url), "shop-prod")
    assert sum(bool(record.history.runs) for record in result.records.values()) >= 6


def test_unreachable_region_is_reported(simulator: Simulator) -> None:
    simulator.faults.add(Fault("unreachable-region", region="europe-west4"))
    assert scan_project(google_source(simulator.url), "shop-prod").unreachable_regions == ("europe-west4",)


@pytest.mark.parametrize("version", ["v1", "v1beta4"])
def test_recovery_times_over_http_are_those_of_the_simulated_world(simulator: Simulator, version: str) -> None:
    source = google_source(simulator.url, api_version=version)
    for instance in ("pitr-window-short", "pitr-without-earliest"):
        times = source.recovery_times("museum", instance)
        assert times == encoded(simulator.world.recovery_times("museum", instance))
    assert len(simulator.requests) == 2


@pytest.mark.parametrize("instance", ["healthy", "pitr-logs-on-disk", "nobody"])
def test_400_and_404_about_an_instance_are_answers(simulator: Simulator, instance: str) -> None:
    assert google_source(simulator.url).recovery_times("museum", instance) is None


@pytest.mark.parametrize(
    ("fault", "result"),
    [
        ("forbidden", PollResult.FORBIDDEN),
        ("api-disabled", PollResult.API_DISABLED),
        ("quota", PollResult.QUOTA),
        ("unavailable", PollResult.SERVER_ERROR),
        ("html", PollResult.BAD_RESPONSE),
        ("wrong-json", PollResult.BAD_RESPONSE),
        ("cut", PollResult.BAD_RESPONSE),
    ],
)
def test_failed_request_for_recovery_times_is_no_answer(simulator: Simulator, fault: str, result: PollResult) -> None:
    simulator.faults.add(Fault(fault, method="instances.getLatestRecoveryTime"))
    with pytest.raises(SourceError) as raised:
        google_source(simulator.url).recovery_times("museum", "high-availability")
    assert raised.value.result is result
    assert raised.value.missing_permission == ("cloudsql.instances.get" if fault == "forbidden" else None)


@pytest.mark.parametrize("status", [302, 400, 404, 409])
def test_page_of_a_proxy_says_nothing_about_an_instance(status: int) -> None:
    handler = type("Handler", (FixedResponse,), {"status": status, "body": b"<html>Error</html>"})
    with serve(handler) as url, pytest.raises(SourceError, match="Error"):
        google_source(url).recovery_times("museum", "orders")


def backups(source: Source) -> list[dict[str, Any]]:
    items = [json_value(item) for page in source.backups("museum") for item in page.items]
    return [item for item in items if isinstance(item, dict)]


@pytest.mark.parametrize(("version", "prefix"), [("v1", "/v1"), ("v1beta4", "/sql/v1beta4")])
def test_backups_are_listed_with_their_fields_only(simulator: Simulator, version: str, prefix: str) -> None:
    """Without `fields`, each would contain its whole instance."""
    listed = backups(google_source(simulator.url, api_version=version))
    (request,) = map(urlsplit, simulator.requests)
    assert request.path == f"{prefix}/projects/museum/backups"
    assert dict(parse_qsl(request.query)) == {"pageSize": "2000", "fields": BACKUPS_FIELDS, "alt": "json"}
    complete = {item["name"]: item for item in simulator.world.backups("museum")}
    assert len(listed) == len(complete)
    for item in listed:
        expected = complete[item["name"]]
        assert {**item, "instanceSettings": None} == {**{key: expected[key] for key in item}, "instanceSettings": None}
        assert item.get("instanceSettings", {"region": 0, "settings": 0}).keys() == {"region", "settings"}


def test_every_page_of_backups_is_requested(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.googleapis.cloudsql.BACKUPS_PAGE_SIZE", 90)
    everything = backups(WorldSource(simulator.world))
    assert [item["name"] for item in backups(google_source(simulator.url))] == [item["name"] for item in everything]
    assert len(simulator.requests) == len(everything) // 90 + 1


@pytest.mark.parametrize(
    ("warnings", "regions"),
    [
        ([], ()),
        ([{"code": "REGION_UNREACHABLE", "region": "europe-west9"}], ("europe-west9",)),
        ([{"code": "REGION_UNREACHABLE"}], (UNKNOWN_REGION,)),
        ([{"code": "SQL_API_WARNING_CODE_UNSPECIFIED", "message": "an error"}], (UNKNOWN_REGION,)),
        (["?"], (UNKNOWN_REGION,)),
    ],
)
def test_any_warning_means_that_backups_may_be_missing(warnings: list[object], regions: tuple[str, ...]) -> None:
    body = json.dumps({"backups": [{}], "warnings": warnings}).encode()
    page, _ = _page(body, "museum", key="backups")
    assert (page.unreachable_regions, page.items, page.last) == (regions, [b"{}"], True)


def test_response_of_another_kind_is_no_empty_list_of_backups() -> None:
    assert _page(b"{}", "museum", key="backups")[0].items == []
    with pytest.raises(ValueError, match="its kind is"):
        _page(b'{"kind": "sql#instancesList", "items": []}', "museum", key="backups")
    with pytest.raises(SourceError, match="backups in a response about museum is not a list"):
        _page(b'{"backups": {}}', "museum", key="backups")
