"""The simulated recovery times: valid by Google's discovery document, and bounded by logs and backups."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from exporter.simulator import SimulatedClock, World
from exporter.simulator.recovery_times import Logs
from exporter.simulator.scenarios import SCENARIOS, Scenario
from exporter.simulator.timeline import MISSED
from exporter.simulator.worlds import Project
from tests.simulator.discovery import document, validator
from tests.simulator.requests import get
from tests.support.builders import DAY, HOUR, MINUTE, NOW, world

RESPONSE = validator(document("sqladmin.v1"), "SqlInstancesGetLatestRecoveryTimeResponse")
POSTGRES = replace(SCENARIOS["pitr-lagging"], logs=Logs())


def world_of(scenario: Scenario) -> World:
    return world({"museum": Project({"orders": scenario})})


def answer(simulated: World, version: str = "v1") -> dict[str, Any]:
    return get(simulated, f"/{version}/projects/museum/instances/orders/getLatestRecoveryTime")


def window(simulated: World) -> tuple[timedelta, timedelta]:
    """How long ago the earliest and the latest recovery time are."""
    body = answer(simulated)
    times = (body["earliestRecoveryTime"], body["latestRecoveryTime"])
    earliest, latest = (simulated.clock() - datetime.fromisoformat(time) for time in times)
    return earliest, latest


def advance(simulated: World, span: timedelta) -> None:
    assert isinstance(simulated.clock, SimulatedClock)
    simulated.clock.advance(span)


@pytest.mark.parametrize("version", ["v1", "sql/v1beta4"])
@pytest.mark.parametrize("scenario", ["high-availability", "pitr-without-earliest", "pitr-window-short"])
def test_response_is_valid_by_the_discovery_document(version: str, scenario: str) -> None:
    body = answer(world_of(SCENARIOS[scenario]), version)
    RESPONSE.validate(body)
    assert body["kind"] == "sql#getLatestRecoveryTime"
    times = [text for key, text in body.items() if key != "kind"]
    assert times
    assert all(len(text.partition(".")[2]) == len("123456789Z") for text in times)


def test_window_lasts_from_the_oldest_backup_or_log_to_the_newest_log() -> None:
    """With Google's defaults, 7 backups and 7 days of logs, it is shorter than 7 days just before a backup."""
    simulated = world_of(POSTGRES)
    windows = []
    for _hour in range(48):
        earliest, latest = window(simulated)
        assert latest == 3 * MINUTE
        windows.append(earliest)
        advance(simulated, HOUR)
    assert 6 * DAY < min(windows) < 7 * DAY
    assert max(windows) < 7 * DAY + HOUR


def test_logs_are_purged_once_a_day() -> None:
    """The backups of 30 days are longer ago than the logs, of which 3 to 4 days remain."""
    backups = {**POSTGRES.backups, "transactionLogRetentionDays": 3, "backupRetentionSettings": {"retainedBackups": 30}}
    simulated = world_of(replace(POSTGRES, backups=backups))
    assert window(simulated)[0] == 3 * DAY + 12 * HOUR
    advance(simulated, 12 * HOUR - MINUTE)
    assert window(simulated)[0] == 4 * DAY - MINUTE
    advance(simulated, MINUTE)
    assert window(simulated)[0] == 3 * DAY


def test_latest_recovery_time_stands_still_where_no_logs_are_written() -> None:
    simulated = world_of(SCENARIOS["pitr-lagging"])
    before = answer(simulated)
    advance(simulated, 6 * HOUR)
    assert answer(simulated)["latestRecoveryTime"] == before["latestRecoveryTime"]


@pytest.mark.parametrize(
    "scenario",
    [
        replace(POSTGRES, backups={}),
        replace(POSTGRES, backups={"binaryLogEnabled": True}),  # the flag of another engine
        replace(POSTGRES, windows=lambda _window: MISSED),
        replace(POSTGRES, instance={"instanceType": "READ_REPLICA_INSTANCE"}),
        replace(POSTGRES, logs=Logs(begun_ago=HOUR, stopped_ago=2 * HOUR)),
        SCENARIOS["pitr-logs-on-disk"],
    ],
    ids=["off", "other engine", "no backup", "replica", "no logs", "logs on disk"],
)
def test_there_is_nothing_to_recover_to_without_logs_and_a_backup(scenario: Scenario) -> None:
    assert answer(world_of(scenario))["error"]["code"] == 400


def test_time_of_the_world_bounds_the_times() -> None:
    body = answer(world_of(SCENARIOS["pitr-window-short"]))
    assert datetime.fromisoformat(body["earliestRecoveryTime"]).replace(microsecond=0) == NOW - 2 * DAY
