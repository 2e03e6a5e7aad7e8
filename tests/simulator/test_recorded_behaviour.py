"""The simulated API behaves as the real one in recorded responses, and as its documentation says."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from exporter.simulator import Fault, SimulatedClock, World
from exporter.simulator.api import Request, respond
from exporter.simulator.faults import Faults
from exporter.simulator.scenarios import SCENARIOS, Scenario
from exporter.simulator.timeline import HEALTHY, MISSED, Attempt, Run, Unscheduled
from exporter.simulator.worlds import Project, fleet
from tests.simulator.requests import get
from tests.support.builders import DAY, HOUR, MINUTE, NOW, SECOND, world

Item = dict[str, Any]


def museum(*scenarios: str | Scenario) -> World:
    chosen = [SCENARIOS[scenario] if isinstance(scenario, str) else scenario for scenario in scenarios]
    return world({"museum": Project({scenario.name: scenario for scenario in chosen})})


def runs_of(simulated: World, instance: str = "-", project: str = "museum") -> list[Item]:
    listing = get(simulated, f"/v1/projects/{project}/instances/{instance}/backupRuns", maxResults="1000")
    items: list[Item] = listing.get("items", [])
    return items


def instance_of(scenario: str) -> Item:
    (item,) = get(museum(scenario), "/v1/projects/museum/instances")["items"]
    assert isinstance(item, dict)
    return item


def advance(simulated: World, span: timedelta) -> None:
    assert isinstance(simulated.clock, SimulatedClock)
    simulated.clock.advance(span)


def time_of(run: Item, field: str = "windowStartTime") -> datetime:
    return datetime.fromisoformat(run[field])


def test_scheduled_runs_start_their_window_shortly_after_the_minute() -> None:
    """0.1 to 0.9 s after it; different for each instance and day, and the same in every world."""
    scenarios = {name: replace(SCENARIOS["healthy"], backups=thirty_retained()) for name in ("orders", "payments")}
    runs = runs_of(world({"museum": Project(scenarios)}))
    delays = [time_of(run) - time_of(run).replace(second=0, microsecond=0) for run in runs]
    assert len(runs) == 2 * 30
    assert timedelta(seconds=0.1) <= min(delays)
    assert max(delays) <= timedelta(seconds=0.9)
    assert len(set(delays)) > 50
    assert {time_of(run).strftime("%H:%M") for run in runs} == {"04:00"}
    later = world({"museum": Project(scenarios)})
    advance(later, HOUR)
    assert runs_of(later) == runs


def thirty_retained() -> dict[str, object]:
    return {"backupRetentionSettings": {"retentionUnit": "COUNT", "retainedBackups": 30}}


def test_id_is_the_window_start_in_milliseconds() -> None:
    for run in runs_of(museum(*SCENARIOS)):
        assert int(run["id"]) == round(time_of(run).timestamp() * 1000)


@pytest.mark.parametrize("second", [0, 1, 37, 59])
def test_unscheduled_runs_are_enqueued_when_their_window_starts_at_any_time(second: int) -> None:
    """Never within two seconds after the minute, whenever the world starts: that is how scheduled runs look."""
    names = ("unscheduled", "pitr-enabled", "on-demand-only", "deleting")
    start = NOW.replace(second=second, microsecond=500_000)
    simulated = World({"museum": Project({name: SCENARIOS[name] for name in names})}, SimulatedClock(start, 0))
    unscheduled = [run for run in runs_of(simulated) if run["enqueuedTime"] == run["windowStartTime"]]
    assert sorted((run["instance"], run["type"]) for run in unscheduled) == [
        ("deleting", "FINAL"),
        ("on-demand-only", "ON_DEMAND"),
        ("on-demand-only", "ON_DEMAND"),
        ("pitr-enabled", "AUTOMATED"),
        ("unscheduled", "AUTOMATED"),
    ]
    assert all(time_of(run).second > 2 for run in unscheduled)
    assert all(run["type"] == "AUTOMATED" for run in runs_of(simulated) if run not in unscheduled)


def test_newest_run_of_the_scenario_unscheduled_is_outside_its_window() -> None:
    """It is automated and in the day before the last window closed, as the real one, but not in that window."""
    (newest, *_) = runs_of(museum("unscheduled"))
    assert (newest["type"], newest["status"], newest["windowStartTime"]) == (
        "AUTOMATED",
        "SUCCESSFUL",
        "2026-11-22T12:30:56.929Z",
    )
    assert instance_of("unscheduled")["settings"]["backupConfiguration"]["startTime"] == "07:00"


def test_skipped_run_has_no_start_and_end() -> None:
    skipped = [run for run in runs_of(museum("idle")) if run["status"] == "SKIPPED"]
    assert len(skipped) == 6
    for run in skipped:
        assert time_of(run, "enqueuedTime") > time_of(run)
        assert {"startTime", "endTime", "error", "backupKind", "maxChargeableBytes"} & run.keys() == set()


def test_sizes_are_missing_from_every_run_of_some_instances_and_some_runs_of_others() -> None:
    kinds = {"all": 0, "some": 0, "none": 0}
    simulated = world(fleet(100, 1))
    for instance in simulated.projects["team-000-prod"].instances:
        runs = runs_of(simulated, instance, "team-000-prod")
        sized = ["maxChargeableBytes" in run for run in runs if run["status"] == "SUCCESSFUL"]
        if sized:
            kinds["all" if all(sized) else "some" if any(sized) else "none"] += 1
    assert kinds["all"] > 30
    assert kinds["some"] > 10
    assert kinds["none"] > 10


def test_list_of_instances_has_no_kind_but_its_items_have() -> None:
    body = get(museum("healthy"), "/v1/projects/museum/instances")
    assert body.keys() == {"items"}
    assert body["items"][0]["kind"] == "sql#instance"


def test_deleted_run_is_no_longer_listed() -> None:
    deleted_in_an_hour = replace(HEALTHY, deleted_after=9 * HOUR)
    simulated = museum(Scenario("a", "", lambda window: deleted_in_an_hour if window == 0 else HEALTHY))
    newest, *others = runs_of(simulated)
    path = f"/v1/projects/museum/instances/a/backupRuns/{newest['id']}"
    assert get(simulated, path) == newest
    advance(simulated, HOUR + SECOND)
    assert newest not in runs_of(simulated)
    assert others == runs_of(simulated)[: len(others)]
    assert respond(Request(simulated, path, {})).status == 404
    assert [run["status"] for run in runs_of(museum("deleted"))][:4] == [
        "DELETION_PENDING",
        "DELETED",
        "DELETED",
        "SUCCESSFUL",
    ]
    assert {run["status"] for run in runs_of(museum("vanished"))} == {"SUCCESSFUL"}


def test_flags_that_are_off_are_absent_or_false() -> None:
    """Both were recorded."""
    healthy, unguarded = instance_of("healthy"), instance_of("deletion-unguarded")
    assert "pointInTimeRecoveryEnabled" not in healthy["settings"]["backupConfiguration"]
    assert {"retainBackupsOnDelete", "finalBackupConfig"} & healthy["settings"].keys() == set()
    assert "deletionProtectionEnabled" not in instance_of("backups-retained")["settings"]
    assert unguarded["settings"]["backupConfiguration"]["binaryLogEnabled"] is False
    assert unguarded["settings"]["deletionProtectionEnabled"] is False
    assert unguarded["settings"]["retainBackupsOnDelete"] is False


def test_fields_of_instances_say_what_a_deletion_leaves() -> None:
    fields = ("deletionProtectionEnabled", "retainBackupsOnDelete", "finalBackupConfig")
    assert {
        name: [field for field in fields if instance_of(name)["settings"].get(field)]
        for name in ("healthy", "deletion-unguarded", "backups-retained", "final-backup", "deleting")
    } == {
        "healthy": ["deletionProtectionEnabled"],
        "deletion-unguarded": [],
        "backups-retained": ["retainBackupsOnDelete"],
        "final-backup": ["finalBackupConfig"],
        "deleting": ["finalBackupConfig"],
    }


def test_revoked_key_suspends_an_instance_whose_backups_are_all_successful() -> None:
    instance = instance_of("key-revoked")
    assert (instance["state"], instance["suspensionReason"]) == ("SUSPENDED", ["KMS_KEY_ISSUE"])
    assert {run["status"] for run in runs_of(museum("key-revoked"))} == {"SUCCESSFUL"}


def test_full_disk_is_reported() -> None:
    assert instance_of("disk-full")["outOfDiskReport"]["sqlOutOfDiskState"] == "SOFT_SHUTDOWN"
    assert instance_of("high-availability")["outOfDiskReport"]["sqlOutOfDiskState"] == "NORMAL"
    assert "outOfDiskReport" not in instance_of("healthy")


def test_window_in_which_an_instance_was_created_has_no_run() -> None:
    simulated = museum("created-in-window")
    assert instance_of("created-in-window")["createTime"] == "2026-11-23T11:14:00Z"
    advance(simulated, 22 * HOUR)
    assert runs_of(simulated) == []
    advance(simulated, 13 * MINUTE)
    assert [run["status"] for run in runs_of(simulated)] == ["RUNNING"]


@pytest.mark.parametrize("kind", ["api-disabled", "quota"])
def test_errors_have_details_or_not(kind: str) -> None:
    def errors() -> Iterator[Item]:
        for details in (True, False):
            faults = Faults()
            faults.add(Fault(kind, details=details))
            request = Request(museum("healthy"), "/v1/projects/museum/instances", {})
            yield json.loads(faults.apply(request, respond(request)).body)["error"]

    full, short = errors()
    assert full.pop("details")
    assert full == short


def test_project_with_the_api_disabled_has_no_details_as_recorded() -> None:
    simulated = world({"new": Project(access_error="accessNotConfigured")})
    error = get(simulated, "/v1/projects/new/instances")["error"]
    assert (error["status"], error["errors"][0]["reason"]) == ("PERMISSION_DENIED", "accessNotConfigured")
    assert "details" not in error


def test_times_with_and_without_milliseconds_are_listed_in_order() -> None:
    now = Run((Attempt(after=timedelta()),))
    at_once = (Unscheduled(HOUR, run=now), Unscheduled(HOUR - timedelta(milliseconds=5), run=now))
    runs = runs_of(museum(Scenario("a", "", lambda _window: MISSED, unscheduled=at_once)))
    assert [run["windowStartTime"] for run in runs] == ["2026-11-23T11:00:00.005Z", "2026-11-23T11:00:00Z"]


def test_expected_counts_contain_unscheduled_automated_runs() -> None:
    unscheduled = (Unscheduled(-HOUR, "AUTOMATED"), Unscheduled(-2 * HOUR))
    simulated = museum(replace(SCENARIOS["healthy"], unscheduled=unscheduled))
    advance(simulated, DAY)
    assert simulated.completed_runs("museum", "healthy", NOW, NOW + DAY) == ["SUCCESSFUL", "SUCCESSFUL"]


def test_unscheduled_automated_runs_expire_with_the_others() -> None:
    unscheduled = (Unscheduled(HOUR, "AUTOMATED"), Unscheduled(2 * HOUR))
    runs = runs_of(museum(replace(SCENARIOS["healthy"], unscheduled=unscheduled)))
    assert [run["type"] for run in runs] == ["AUTOMATED", "ON_DEMAND", *["AUTOMATED"] * 6]
