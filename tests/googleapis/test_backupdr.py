"""Backup and DR API, against the simulated API and a server with prepared responses."""

import json
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from exporter.config import CloudSql
from exporter.facts.model import PollResult
from exporter.googleapis import GoogleApis
from exporter.googleapis.backupdr import ASSOCIATIONS_FIELDS, PLANS_FIELDS
from exporter.googleapis.source import GoogleSource
from exporter.scan.source import UNKNOWN_REGION, Page, SourceError
from exporter.simulator import Fault, Simulator
from tests.googleapis.helpers import TIMEOUT, FixedResponse, google_source, ignore, retrying, serve

Listing = Callable[[GoogleSource, str], Iterator[Page]]
LISTINGS: dict[str, Listing] = {
    "backupPlanAssociations.list": lambda source, project: source.backup_plan_associations(project),
    "backupPlans.list": lambda source, project: source.backup_plans(project),
}


def test_listings_ask_for_every_location_and_only_for_what_is_read(simulator: Simulator) -> None:
    source = google_source(simulator.url)
    assert len([item for page in source.backup_plan_associations("museum") for item in page.items]) == 7
    (page,) = source.backup_plans("vaults")
    assert json.loads(page.items[0])["backupVault"] == "projects/vaults/locations/europe-west1/backupVaults/eu"
    requests = [urlsplit(request) for request in simulator.requests]
    assert [request.path for request in requests] == [
        "/v1/projects/museum/locations/-/backupPlanAssociations",
        "/v1/projects/vaults/locations/-/backupPlans",
    ]
    assert [parse_qs(request.query)["fields"] for request in requests] == [[ASSOCIATIONS_FIELDS], [PLANS_FIELDS]]


def test_every_page_is_requested(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.googleapis.backupdr.PAGE_SIZE", 2)
    pages = list(google_source(simulator.url).backup_plan_associations("museum"))
    assert ([len(page.items) for page in pages], [page.last for page in pages]) == ([2, 2, 2, 1], [False] * 3 + [True])


@pytest.mark.parametrize("method", LISTINGS)
@pytest.mark.parametrize(
    ("fault", "result", "message"),
    [
        (Fault("forbidden"), PollResult.FORBIDDEN, "grant backupdr.{method} (roles/backupdr.viewer has it)"),
        (
            Fault("api-disabled"),
            PollResult.API_DISABLED,
            "gcloud services enable backupdr.googleapis.com --project=museum, and grant roles/backupdr.viewer there",
        ),
        (Fault("quota"), PollResult.QUOTA, "requests_per_minute"),
        (Fault("unavailable"), PollResult.SERVER_ERROR, "503"),
        (Fault("html"), PollResult.BAD_RESPONSE, "not the expected JSON"),
        (Fault("wrong-json"), PollResult.BAD_RESPONSE, "of project 'museum': "),
        (Fault("cut"), PollResult.BAD_RESPONSE, "incomplete"),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_fault_becomes_source_error_with_result_and_advice(
    simulator: Simulator, method: str, fault: Fault, result: PollResult, message: str
) -> None:
    simulator.faults.add(fault)
    with pytest.raises(SourceError) as raised:
        list(LISTINGS[method](google_source(simulator.url), "museum"))
    assert raised.value.result is result
    assert message.format(method=method) in str(raised.value)
    assert raised.value.missing_permission == (f"backupdr.{method}" if result is PollResult.FORBIDDEN else None)


def fixed(content: object) -> type[FixedResponse]:
    return type("Handler", (FixedResponse,), {"body": json.dumps(content).encode()})


@pytest.mark.parametrize(
    ("unreachable", "regions"),
    [
        (["europe-west9"], ("europe-west9",)),
        (["projects/p/locations/europe-west9", "us-east1"], ("europe-west9", "us-east1")),
        (["", "-", 7, "a\nb"], (UNKNOWN_REGION,) * 4),
        (None, ()),
    ],
)
def test_unreachable_locations_are_regions(unreachable: object, regions: tuple[str, ...]) -> None:
    with serve(fixed({"unreachable": unreachable})) as url:
        (page,) = google_source(url).backup_plan_associations("p")
    assert (page.items, page.unreachable_regions, page.last) == ([], regions, True)


@pytest.mark.parametrize(
    "content",
    [{"kind": "sql#instancesList"}, {"items": []}, {"backupPlanAssociations": {}}, {"unreachable": "x"}, [], None],
)
def test_object_that_is_no_listing_is_a_bad_response(content: object) -> None:
    with serve(fixed(content)) as url, pytest.raises(SourceError) as raised:
        list(google_source(url).backup_plan_associations("p"))
    assert raised.value.result is PollResult.BAD_RESPONSE


def test_empty_object_is_an_empty_listing() -> None:
    with serve(fixed({})) as url:
        assert list(google_source(url).backup_plans("p")) == [Page([], (), last=True)]


@pytest.mark.parametrize(
    ("settings", "base"),
    [
        ({}, "https://backupdr.googleapis.com/"),
        ({"endpoint": "https://sqladmin.example/"}, "https://backupdr.googleapis.com/"),
        ({"endpoint": "http://127.0.0.1:1/"}, "http://127.0.0.1:1/"),
        (
            {"endpoint": "http://127.0.0.1:1/", "backup_dr_endpoint": "https://backupdr.example"},
            "https://backupdr.example/",
        ),
    ],
)
def test_requests_go_to_the_endpoint_of_the_configuration(settings: dict[str, str], base: str) -> None:
    """A simulated Admin API serves Backup and DR too."""
    section = CloudSql.model_validate({"credentials": "anonymous", **settings})
    apis = GoogleApis(section, TIMEOUT, 1, retrying(), ignore)
    assert (
        apis.source(0)
        ._apis.backup_dr._plans.list(parent="projects/p/locations/-")
        .uri.startswith(f"{base}v1/projects/p/")
    )
