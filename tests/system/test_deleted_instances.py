"""Deleted instances from the simulated API over HTTP to metrics, page and JSON, also while their API method fails."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest

from exporter.runtime import Exporter
from exporter.simulator import Fault, SimulatedClock, Simulator
from exporter.simulator.backups import DeletedInstance
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from exporter.web import application
from tests.support.builders import DAY, HOUR, MINUTE, NOW, config, world
from tests.support.expositions import Series, series_of
from tests.support.processes import fetch
from tests.support.web import serving

PREFIX = "cloudsql_backup_deleted_instance_"
FAULTS = {  # by kind: a part of the message
    "unauthenticated": "401",
    "forbidden": "grant cloudsql.backupRuns.list (roles/cloudsql.viewer has it)",
    "api-disabled": "gcloud services enable sqladmin.googleapis.com",
    "not-found": "404",
    "quota": "429",
    "server-error": "500",
    "unavailable": "503 Error 503 Service Unavailable",
    "slow": "no response in time",
    "cut": "incomplete",
    "reset": "cannot be reached",
    "html": "not the expected JSON",
    "wrong-json": "its kind is 'sql#somethingElse'",
}


@dataclass
class Setup:
    """A simulated API, and an exporter that lists everything with each poll, of which the test decides."""

    simulator: Simulator
    exporter: Exporter

    def poll(self, later: timedelta = MINUTE) -> Series:
        """All series after a poll some time later."""
        clock = self.simulator.world.clock
        assert isinstance(clock, SimulatedClock)
        clock.advance(later)
        return series_of(self.exporter.poll_all(lambda _finished, _total: None))


@contextmanager
def running(*deleted: DeletedInstance) -> Iterator[Setup]:
    project = Project({"healthy": SCENARIOS["healthy"]}, deleted=deleted)
    with Simulator(world({"museum": project})) as simulator:
        settings = config(
            simulator.url,
            poll={"interval": "100ms", "timeout": "3s", "full_listing_every": "1ms"},
            collect={"deleted_instances": True},
        )
        exporter = Exporter(lambda: settings, simulator.world.clock, process_metrics=False)
        yield Setup(simulator, exporter)
        exporter.stop()


@pytest.fixture(scope="module")
def shared_setup() -> Iterator[Setup]:
    """A setup that several tests use one after another, with backups that are left for longer than all of them take."""
    final = DeletedInstance("final", 2 * DAY, SCENARIOS["final-backup"])
    with running(final, DeletedInstance("retained", DAY)) as setup:
        yield setup


@pytest.fixture
def setup(shared_setup: Setup) -> Setup:
    shared_setup.simulator.faults.clear()
    return shared_setup


def deleted_series(series: Series) -> Series:
    return {key: value for key, value in series.items() if key[0].startswith(PREFIX)}


def value(series: Series, name: str, instance: str, deleted: str) -> float | None:
    labels = {"project": "museum", "instance_id": instance, "deleted": deleted}
    return series.get((PREFIX + name, frozenset(labels.items())))


COLLECT_UP = (
    "cloudsql_backup_exporter_collect_up",
    frozenset({"project": "museum", "what": "deleted_instances"}.items()),
)
PROJECT_UP = ("cloudsql_backup_exporter_project_up", frozenset({"project": "museum"}.items()))


def test_deletion_and_expiry_appear_in_metrics_page_and_json() -> None:
    final = DeletedInstance("final", -HOUR, SCENARIOS["final-backup"])
    with running(final, DeletedInstance("retained", 2 * DAY)) as setup:
        check_deletion_and_expiry(setup)


def check_deletion_and_expiry(setup: Setup) -> None:
    series = setup.poll(timedelta())
    assert {dict(labels)["instance_id"] for _, labels in deleted_series(series)} == {"retained"}
    retained = ("retained", "2026-11-21T12:00:00Z")
    assert value(series, "timestamp_seconds", *retained) == (NOW - 2 * DAY).timestamp()
    assert value(series, "last_expiry_timestamp_seconds", *retained) == (NOW + 5 * DAY).timestamp()

    series = setup.poll(HOUR)
    final = ("final", "2026-11-23T13:00:00Z")
    assert value(series, "retained", *final) == 1
    assert value(series, "retained_size_bytes", *final) == 12 * 2**30
    assert value(series, "newest_backup_timestamp_seconds", *final) == NOW.timestamp() + 3600 - 312
    assert value(series, "last_expiry_timestamp_seconds", *final) == (NOW + HOUR + 30 * DAY).timestamp()

    setup.poll(28 * DAY)
    with serving(application(setup.exporter)) as server:
        text = fetch(f"{server.urls[0]}deleted").text
        document = json.loads(fetch(f"{server.urls[0]}api/v1/deleted-instances").text)
        metrics = fetch(f"{server.urls[0]}metrics").text
    assert "expires soon" in text
    assert "gcloud sql backups patch projects/museum/backups/" in text
    assert [instance["instance_id"] for instance in document["instances"]] == ["final"]  # the retained ones are gone
    labels = 'deleted="2026-11-23T13:00:00Z",instance_id="final",project="museum"'
    assert f"{PREFIX}retained{{{labels}}} 1.0" in metrics
    assert deleted_series(setup.poll(3 * DAY)) == {}


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_failing_method_affects_nothing_else(setup: Setup, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    before = setup.poll()
    setup.simulator.faults.add(Fault(kind, method="backups.list", seconds=5 if kind == "slow" else 0))
    for _ in range(2):
        series = setup.poll()
    assert (series[COLLECT_UP], series[PROJECT_UP]) == (0, 1)
    assert deleted_series(series) == deleted_series(before) != {}
    messages = [message for message in caplog.messages if FAULTS[kind] in message]
    assert len(messages) == 1
    assert messages[0].startswith("backups.list of project 'museum'")
    with serving(application(setup.exporter)) as server:
        page = fetch(f"{server.urls[0]}deleted").text
        (project,) = json.loads(fetch(f"{server.urls[0]}api/v1/status").text)["projects"]
    assert "What the exporter knows is incomplete" in page
    assert project["up"]
    setup.simulator.faults.clear()
    series = setup.poll()
    assert series[COLLECT_UP] == 1
    read_at = value(series, "read_timestamp_seconds", "final", "2026-11-21T12:00:00Z")
    assert read_at == setup.simulator.world.clock().timestamp()


def test_unreachable_region_hides_no_deleted_instance(setup: Setup) -> None:
    before = setup.poll()
    setup.simulator.faults.add(Fault("unreachable-region", method="backups.list", region="europe-west1"))
    after = setup.poll(DAY)
    assert after[COLLECT_UP] == 1
    assert deleted_series(after) == deleted_series(before) != {}
    setup.simulator.faults.clear()
    retained = ("retained", "2026-11-22T12:00:00Z")
    assert value(setup.poll(), "retained", *retained) == (value(before, "retained", *retained) or 0) - 1


@pytest.mark.parametrize("kind", ["odd-items", "published-names", "unordered"])
def test_odd_listing_has_the_same_result(setup: Setup, kind: str) -> None:
    before, unreadable = deleted_series(setup.poll()), setup.exporter.api_usage().unreadable_items.get("backup", 0)
    setup.simulator.faults.add(Fault(kind, method="backups.list"))
    after = deleted_series(setup.poll())
    assert {key: number for key, number in after.items() if "read_timestamp" not in key[0]} == {
        key: number for key, number in before.items() if "read_timestamp" not in key[0]
    }
    unreadable = setup.exporter.api_usage().unreadable_items.get("backup", 0) - unreadable
    assert unreadable == (10 if kind == "odd-items" else 0)
