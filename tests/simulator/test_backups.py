"""The simulated `backups.list`: valid by Google's discovery document; what a deletion leaves, and for how long."""

import json
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from exporter.googleapis.cloudsql import BACKUPS_FIELDS
from exporter.simulator import WORLDS, Fault, SimulatedClock, World
from exporter.simulator.api import Request, respond
from exporter.simulator.backups import DeletedInstance
from exporter.simulator.faults import Faults
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.timeline import Unscheduled
from exporter.simulator.worlds import DELETED, Project
from tests.simulator.discovery import document, validator
from tests.simulator.requests import get
from tests.support.builders import DAY, HOUR, MINUTE, NOW, world

Item = dict[str, Any]
PATH = "/v1/projects/museum/backups"
BACKUPS = validator(document("sqladmin.v1"), "ListBackupsResponse")


def museum(*deleted: DeletedInstance) -> World:
    return world({"museum": Project({"healthy": SCENARIOS["healthy"]}, deleted=deleted)})


def advance(simulated: World, span: timedelta) -> None:
    assert isinstance(simulated.clock, SimulatedClock)
    simulated.clock.advance(span)


def backups_of(simulated: World, name: str) -> list[Item]:
    items: list[Item] = get(simulated, PATH, pageSize="2000").get("backups", [])
    return [item for item in items if item["instance"] == name]


def test_backups_are_valid_by_the_discovery_document_at_any_time() -> None:
    simulated = world(WORLDS["demo"]())
    seen: Counter[tuple[str, str, bool]] = Counter()
    for _ in range(6):
        for path in (PATH, "/sql/v1beta4/projects/shop-prod/backups"):
            listing = get(simulated, path, pageSize="2000")
            BACKUPS.validate(listing)
            names = [item["name"] for item in listing["backups"]]
            assert len(set(names)) == len(names)
            seen.update((item["type"], item["state"], "instanceDeletionTime" in item) for item in listing["backups"])
        advance(simulated, 20 * HOUR)
    for kind in ("AUTOMATED", "ON_DEMAND"):
        assert seen[kind, "SUCCESSFUL", True], kind
        assert seen[kind, "SUCCESSFUL", False], kind
    assert seen["FINAL", "SUCCESSFUL", True]
    assert seen["AUTOMATED", "FAILED", True]
    assert seen["AUTOMATED", "RUNNING", False]
    assert seen["AUTOMATED", "DELETING", False]


def test_pages_contain_500_backups_by_default_and_2000_at_most() -> None:
    healthy = replace(SCENARIOS["healthy"], backups={"backupRetentionSettings": {"retainedBackups": 365}})
    simulated = world({"museum": Project({f"i{number}": healthy for number in range(80)})})
    sizes = {size: len(get(simulated, PATH, **size_query(size))["backups"]) for size in (None, 1000, 2000, 5000)}
    assert sizes == {None: 500, 1000: 1000, 2000: 2000, 5000: 2000}
    first = get(simulated, PATH, pageSize="2000")
    second = get(simulated, PATH, pageSize="2000", pageToken=first["nextPageToken"])
    assert len({item["name"] for item in first["backups"] + second["backups"]}) == 80 * 30
    assert "nextPageToken" not in second


def size_query(size: int | None) -> dict[str, str]:
    return {} if size is None else {"pageSize": str(size)}


def test_every_backup_contains_its_instance_unless_fields_are_selected() -> None:
    simulated = museum(*DELETED)
    assert all(item["instanceSettings"]["databaseVersion"] for item in backups_of(simulated, "former-final"))
    masked = get(simulated, PATH, pageSize="2000", fields=BACKUPS_FIELDS)["backups"]
    settings = [item["instanceSettings"] for item in masked if "instanceSettings" in item]
    assert {frozenset(instance) for instance in settings} == {frozenset({"region", "settings"})}


def test_final_backup_is_listed_until_its_expiry() -> None:
    simulated = museum(DeletedInstance("a", 29 * DAY, SCENARIOS["final-backup"]))
    (item,) = backups_of(simulated, "a")
    assert (item["type"], item["state"]) == ("FINAL", "SUCCESSFUL")
    assert datetime.fromisoformat(item["instanceDeletionTime"]) == NOW - 29 * DAY
    assert datetime.fromisoformat(item["expiryTime"]) == NOW + DAY
    advance(simulated, DAY + HOUR)
    assert backups_of(simulated, "a") == [item]  # expired, and still listed
    advance(simulated, HOUR)
    assert backups_of(simulated, "a") == []


def test_retained_automated_backups_expire_one_a_day_and_on_demand_ones_never() -> None:
    scenario = replace(SCENARIOS["backups-retained"], unscheduled=(Unscheduled(9 * DAY + 17 * MINUTE),))
    simulated = museum(DeletedInstance("a", timedelta(), scenario))
    advance(simulated, 3 * HOUR)
    left = []
    for _ in range(9):
        left.append(Counter(item["type"] for item in backups_of(simulated, "a")))
        advance(simulated, DAY)
    assert [types["AUTOMATED"] for types in left] == [7, 6, 5, 4, 3, 2, 1, 0, 0]
    assert {types["ON_DEMAND"] for types in left} == {1}


@pytest.mark.parametrize("scenario", ["healthy", "deletion-unguarded"])
def test_nothing_is_left_by_default(scenario: str) -> None:
    assert backups_of(museum(DeletedInstance("a", HOUR, SCENARIOS[scenario])), "a") == []


def test_instance_exists_until_its_deletion() -> None:
    simulated = museum(DeletedInstance("a", -6 * HOUR))
    names = [item["name"] for item in get(simulated, "/v1/projects/museum/instances")["items"]]
    runs = get(simulated, "/v1/projects/museum/instances/a/backupRuns")["items"]
    before = backups_of(simulated, "a")
    assert names == ["a", "healthy"]
    assert {item["backupRun"].rpartition("/")[2] for item in before} == {run["id"] for run in runs}
    assert not any("instanceDeletionTime" in item for item in before)
    advance(simulated, 6 * HOUR)
    assert [item["name"] for item in get(simulated, "/v1/projects/museum/instances")["items"]] == ["healthy"]
    assert respond(Request(simulated, "/v1/projects/museum/instances/a/backupRuns", {})).status == 404
    assert {item["name"] for item in backups_of(simulated, "a")} == {item["name"] for item in before}
    assert {item["instanceDeletionTime"] for item in backups_of(simulated, "a")} == {"2026-11-23T18:00:00Z"}


def test_filter_is_refused_rather_than_ignored() -> None:
    assert respond(Request(museum(), PATH, {"filter": "type:FINAL"})).status == 400


def test_faults_affect_backups() -> None:
    simulated = museum(DeletedInstance("a", HOUR, SCENARIOS["high-availability"]), *DELETED)

    def faulty(kind: str, **fields: Any) -> Item:
        faults = Faults()
        faults.add(Fault(kind, method="backups.list", **fields))
        request = Request(simulated, PATH, {"pageSize": "2000"})
        body: Item = json.loads(faults.apply(request, respond(request)).body)
        return body

    listed = get(simulated, PATH, pageSize="2000")["backups"]
    assert faulty("unordered")["backups"] == listed[::-1]
    unreachable = faulty("unreachable-region", region="europe-west1")
    BACKUPS.validate(unreachable)
    assert [warning["region"] for warning in unreachable["warnings"]] == ["europe-west1"]
    regions = {item.get("instanceSettings", {}).get("region") for item in unreachable["backups"]}
    assert "europe-west1" not in regions
    assert {"status", "backup_run", "dataDiskSizeGB"} <= faulty("published-names")["backups"][0].keys()
    assert len(faulty("odd-items")["backups"]) == len(listed) + 10
