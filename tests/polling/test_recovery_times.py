"""Reading recovery times: who is asked, and what is known after failures, changes and restarts."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from exporter.config import Config
from exporter.facts.collected import Collected, Collection, CollectionStatus
from exporter.facts.model import PollResult
from exporter.facts.record import ProjectScan
from exporter.facts.recovery_times import RecoveryTimes
from exporter.facts.snapshot import ProjectStatus, Snapshot
from exporter.metrics.code_labels import CodeLabels
from exporter.polling.poller import ALL, Poller, PollerDependencies
from exporter.polling.recovery_times import RecoveryTimesReader
from exporter.polling.shard import Shard
from exporter.polling.workers import WorkerPool
from exporter.scan.incremental import scan
from exporter.scan.source import Page, SourceError
from exporter.simulator import SimulatedClock, World
from exporter.simulator.recovery_times import Logs
from exporter.simulator.scenarios import SCENARIOS, Scenario
from exporter.simulator.worlds import Project
from exporter.state.ledger import Ledger, MemoryLedger
from exporter.state.sqlite import SqliteLedger
from exporter.verdict.evaluate import evaluate
from tests.support.builders import (
    DAY,
    EXPORTER_INFO,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    WorldSource,
    config,
    eventually,
    scan_options,
    world,
)

PITR = replace(SCENARIOS["pitr-lagging"], logs=Logs())


class FaultySource(WorldSource):
    """A source whose recovery times can be made to raise an error, by instance; `*` stands for all."""

    def __init__(self, simulated: World) -> None:
        super().__init__(simulated)
        self.errors: dict[str, SourceError] = {}

    def recovery_times(self, project: str, instance: str) -> bytes | None:
        item = super().recovery_times(project, instance)
        error = self.errors.get(instance) or self.errors.get("*")
        if error:
            raise error
        return item


class Reading:
    """A project that is polled, and whose recovery times are read."""

    def __init__(self, *names: str, every: timedelta = HOUR, monotonic: Callable[[], float] | None = None) -> None:
        self.world = world({"museum": Project(dict.fromkeys(names, PITR))})
        self.source = FaultySource(self.world)
        self.stop = threading.Event()
        self.every = every
        self.monotonic = monotonic or (lambda: self.world.clock().timestamp())
        self.unreadable: list[tuple[str, str, str]] = []
        self.reader = self.restart()
        self.scan: ProjectScan | None = None
        self.known = Collected()

    def restart(self) -> RecoveryTimesReader:
        self.reader = RecoveryTimesReader(
            self.every,
            lambda _project: self.source,
            self.world.clock,
            self.stop,
            lambda *item: self.unreadable.append(item),
            monotonic=self.monotonic,
        )
        return self.reader

    def change(self, name: str, scenario: Scenario) -> None:
        self.world.projects = {"museum": Project({**self.world.projects["museum"].instances, name: scenario})}

    def advance(self, span: timedelta = timedelta()) -> None:
        assert isinstance(self.world.clock, SimulatedClock)
        self.world.clock.advance(span)

    def poll(self) -> Collected:
        before = self.scan
        self.scan = scan(self.source, "museum", self.world.clock(), scan_options(), before)
        self.known = self.reader.collected("museum", before, self.scan, self.known)
        return self.known

    def read(self) -> Collected:
        """Poll, read what is due, and return what is known after another poll."""
        self.poll()
        self.reader.read_due(lambda _finished, _total: None)
        return self.poll()

    def requests(self) -> list[str]:
        return [path.split("/")[5] for path in self.source.requests if path.endswith("getLatestRecoveryTime")]


def status(known: Collected) -> CollectionStatus | None:
    return known.status.get(Collection.RECOVERY_TIMES)


UNAVAILABLE = SourceError(PollResult.SERVER_ERROR, "503 Service Unavailable")
FORBIDDEN = SourceError(PollResult.FORBIDDEN, "grant it", missing_permission="cloudsql.instances.get")


def test_recovery_times_are_known_after_a_round() -> None:
    reading = Reading("orders")
    assert (reading.poll().recovery_times, status(reading.known)) == ({}, None)
    times = reading.read().recovery_times["orders"]
    assert times.read_at == NOW
    assert times.lag == pytest.approx(3 * MINUTE, abs=SECOND)
    assert status(reading.known) == CollectionStatus(up=True)
    assert reading.known.of("orders").recovery_times is times


def test_unchanged_facts_are_the_same_object() -> None:
    reading = Reading("orders")
    before = reading.read()
    reading.advance(MINUTE)
    assert reading.poll() is before


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        (PITR, True),
        (SCENARIOS["pitr-without-earliest"], True),
        (SCENARIOS["healthy"], False),
        (replace(PITR, instance={"state": "MAINTENANCE"}), False),
        (replace(PITR, instance={"state": "SUSPENDED"}), False),
        (replace(PITR, instance={"state": "PENDING_CREATE"}), False),
        (replace(PITR, settings={"activationPolicy": "NEVER"}), False),
        (replace(PITR, instance={"instanceType": "READ_REPLICA_INSTANCE"}), False),
        (replace(PITR, instance={"instanceType": "READ_POOL_INSTANCE"}), False),
        (replace(PITR, instance={"instanceType": "ON_PREMISES_INSTANCE"}), False),
        (replace(PITR, instance={"instanceType": "GREEN_INSTANCE"}), False),
    ],
    ids=[
        *("PostgreSQL", "MySQL", "off", "maintenance", "suspended", "creating", "stopped"),
        *("replica", "pool", "external", "green"),
    ],
)
def test_only_running_primaries_with_point_in_time_recovery_are_asked(scenario: Scenario, expected: bool) -> None:
    reading = Reading()
    reading.change("orders", scenario)
    reading.read()
    assert bool(reading.requests()) is expected
    assert (status(reading.known) is not None) is expected


def test_instance_without_recovery_times_is_unknown_and_no_failure() -> None:
    reading = Reading("orders")
    known = reading.read().recovery_times
    reading.change("orders", replace(PITR, backups={**PITR.backups, "transactionalLogStorageState": "DISK"}))
    reading.advance(HOUR)
    assert reading.read().recovery_times == known
    assert status(reading.known) == CollectionStatus(up=True)
    assert len(reading.requests()) == 2


@pytest.mark.parametrize("error", [UNAVAILABLE, FORBIDDEN])
def test_failure_keeps_what_is_known_with_its_age_for_two_days(error: SourceError) -> None:
    reading = Reading("orders", "payments")
    known = reading.read().recovery_times
    reading.source.errors["*"] = error
    for _hour in range(48):
        reading.advance(HOUR)
        reading.read()
    assert reading.known.recovery_times == known
    assert status(reading.known) == CollectionStatus(False, str(error), error.missing_permission)
    assert len(reading.requests()) == 2 * 49
    reading.source.errors.clear()
    reading.advance(HOUR)
    assert reading.read().recovery_times["orders"].read_at == NOW + 2 * DAY + HOUR
    assert status(reading.known) == CollectionStatus(up=True)


def test_one_failing_instance_is_a_failure_until_it_is_read() -> None:
    reading = Reading("orders", "payments")
    reading.source.errors["orders"] = UNAVAILABLE
    assert list(reading.read().recovery_times) == ["payments"]
    assert status(reading.known) == CollectionStatus(False, "503 Service Unavailable")
    reading.source.errors["payments"] = FORBIDDEN
    reading.read()
    assert status(reading.known) == CollectionStatus(False, "503 Service Unavailable")  # the first message remains


def test_after_a_restart_a_failure_ends_with_a_round_without_one() -> None:
    reading = Reading("orders", "payments")
    reading.source.errors["*"] = UNAVAILABLE
    reading.read()
    reading.restart()
    assert status(reading.poll()) == CollectionStatus(False, "503 Service Unavailable")
    reading.source.errors.clear()
    reading.read()
    assert status(reading.known) == CollectionStatus(up=True)


def test_internal_error_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    reading = Reading("orders")
    reading.source.errors["orders"] = ZeroDivisionError("broken")  # type: ignore[assignment] # not a SourceError
    found = status(reading.read())
    assert found
    assert found.message == "internal error: ZeroDivisionError('broken')"
    assert "internal error, please report it" in caplog.text


def test_recovery_times_are_asked_again_after_the_interval_also_after_a_restart() -> None:
    reading = Reading("orders")
    reading.read()
    reading.restart()
    reading.advance(30 * MINUTE)
    reading.read()
    assert len(reading.requests()) == 1
    reading.restart()
    reading.advance(30 * MINUTE)
    reading.read()
    assert len(reading.requests()) == 2


def test_removed_instance_is_forgotten() -> None:
    reading = Reading("orders", "payments")
    reading.read()
    reading.world.projects = {"museum": Project({"orders": PITR})}
    assert list(reading.read().recovery_times) == ["orders"]
    assert reading.requests().count("payments") == 1


def test_instances_of_projects_that_are_no_longer_targets_are_not_asked() -> None:
    reading = Reading("orders")
    reading.poll()
    reading.reader.only(["shop"])
    reading.reader.read_due(lambda _finished, _total: None)
    assert reading.requests() == []


def test_recovery_times_end_with_point_in_time_recovery() -> None:
    """Its logs are deleted with it; those of later belong to another window."""
    reading = Reading("orders")
    reading.read()
    reading.change("orders", SCENARIOS["healthy"])
    assert reading.poll().recovery_times == {}
    reading.change("orders", PITR)
    assert reading.poll().recovery_times == {}


def test_stopped_instance_keeps_its_recovery_times() -> None:
    reading = Reading("orders")
    known = reading.read().recovery_times
    reading.change("orders", replace(PITR, settings={"activationPolicy": "NEVER"}))
    reading.advance(HOUR)
    assert reading.read().recovery_times == known
    assert len(reading.requests()) == 1


def test_instance_of_the_same_name_does_not_inherit_recovery_times() -> None:
    reading = Reading("orders")
    reading.read()
    reading.change("orders", replace(PITR, created_ago=-HOUR))
    reading.advance(2 * HOUR)
    assert reading.poll().recovery_times == {}


CHANGES: dict[str, tuple[Scenario, bool]] = {
    "days of logs": (replace(PITR, backups={**PITR.backups, "transactionLogRetentionDays": 5}), True),
    "retained backups": (
        replace(PITR, backups={**PITR.backups, "backupRetentionSettings": {"retainedBackups": 9}}),
        True,
    ),
    "point-in-time recovery": (replace(PITR, backups={"pointInTimeRecoveryEnabled": False}), True),
    "automated backups": (replace(PITR, backups={**PITR.backups, "enabled": False}), True),
    "version": (replace(PITR, instance={"databaseVersion": "POSTGRES_17"}), True),
    "stop": (replace(PITR, settings={"activationPolicy": "NEVER"}), True),
    "label": (replace(PITR, settings={"userLabels": {"env": "test"}}), False),
    "location": (replace(PITR, backups={**PITR.backups, "location": "us"}), False),
    "unknown days of logs": (replace(PITR, backups={**PITR.backups, "transactionLogRetentionDays": None}), False),
}


@pytest.mark.parametrize("change", CHANGES)
def test_change_of_a_setting_of_the_window_is_seen_while_watching(change: str) -> None:
    scenario, expected = CHANGES[change]
    reading = Reading("orders", "payments")
    assert reading.poll().settings_changed == {}
    reading.restart()  # the change is seen also after a restart
    reading.change("orders", scenario)
    reading.advance(HOUR)
    assert reading.poll().settings_changed == ({"orders": NOW + HOUR} if expected else {})
    reading.advance(HOUR)
    assert reading.poll().settings_changed == ({"orders": NOW + HOUR} if expected else {})
    assert reading.known.of("payments").settings_changed is None


def test_response_that_is_not_fully_readable_is_reported() -> None:
    reading = Reading("orders", "payments")

    class OddSource(FaultySource):
        def recovery_times(self, project: str, instance: str) -> bytes | None:
            assert project
            latest = "soon" if instance == "orders" else NOW.isoformat()
            return f'{{"earliestRecoveryTime": 5, "latestRecoveryTime": "{latest}"}}'.encode()

    reading.source = OddSource(reading.world)
    assert reading.read().recovery_times == {"payments": RecoveryTimes(NOW, latest=NOW)}
    assert sorted(reading.unreadable) == [
        ("museum", "recovery_times", "earliestRecoveryTime"),
        ("museum", "recovery_times", "earliestRecoveryTime, latestRecoveryTime"),
    ]


def test_recovery_times_are_read_in_the_background_until_stopped() -> None:
    reading = Reading("orders", "payments", every=timedelta(milliseconds=20), monotonic=time.monotonic)
    reading.poll()
    threads = threading.active_count()
    reading.reader.start()
    assert eventually(lambda: len(reading.requests()) >= 10)
    assert reading.poll().recovery_times.keys() == {"orders", "payments"}
    reading.stop.set()
    assert eventually(lambda: threading.active_count() <= threads)
    number = len(reading.requests())
    assert not eventually(lambda: len(reading.requests()) > number, seconds=0.1)


def test_answers_after_the_stop_are_discarded() -> None:
    reading = Reading("orders")
    reading.poll()
    reading.stop.set()
    reading.reader.read_due(lambda _finished, _total: None)
    assert reading.requests() == []
    assert status(reading.poll()) is None


def test_progress_counts_requests() -> None:
    reading = Reading(*(f"db-{number}" for number in range(10)))
    reading.poll()
    calls: list[tuple[int, int]] = []
    reading.reader.read_due(lambda finished, total: calls.append((finished, total)))
    assert calls[-1] == (10, 10)


# In the poller


def build_poller(source: WorldSource, settings: Config, ledger: Ledger, known: Snapshot, shard: Shard = ALL) -> Poller:
    stop = threading.Event()
    dependencies = PollerDependencies(
        source=lambda _deadline, _account: source,
        directory=lambda _deadline, _account: source,
        clock=source.world.clock,
        ledger=ledger,
        workers=WorkerPool(2, stop),
        code_label=CodeLabels().label,
        on_unreadable=lambda _kind: None,
        on_change=lambda: None,
        stop=stop,
    )
    return Poller(settings, dependencies, known, shard)


ON = config(projects=("museum",), collect={"recovery_times": True})
OFF = config(projects=("museum",))


def poll_once(source: WorldSource, settings: Config = ON, known: Snapshot | None = None) -> Snapshot:
    return build_poller(source, settings, MemoryLedger(), known or Snapshot()).poll_once()


def test_poll_once_reads_recovery_times_and_counts_their_requests() -> None:
    source = Reading("orders", "payments").source
    ledger, calls = MemoryLedger(), list[tuple[int, int]]()
    poller = build_poller(source, ON, ledger, Snapshot())
    snapshot = poller.poll_once(lambda finished, total: calls.append((finished, total)))
    collected = snapshot.projects["museum"].collected
    assert collected.recovery_times.keys() == {"orders", "payments"}
    assert ledger.collected("museum") == collected
    assert (calls[0][1], calls[-1]) == (1, (2, 2))
    (verdict,) = (v for v in evaluate(snapshot, ON, EXPORTER_INFO, NOW).verdicts if v.instance.id.name == "orders")
    assert verdict.recovery_point_source == "log"


def test_recovery_times_are_published_with_the_next_poll_also_if_it_fails() -> None:
    reading = Reading("orders")
    settings = config(
        projects=("museum",),
        poll={"interval": "20ms"},
        collect={"recovery_times": True, "recovery_times_every": "10ms"},
    )
    poller = build_poller(reading.source, settings, MemoryLedger(), Snapshot())
    poller.start()
    assert eventually(lambda: "museum" in poller.snapshot.projects)

    def failing_instances(project: str) -> Iterator[Page]:
        raise SourceError(PollResult.SERVER_ERROR, project)

    reading.source.instances = failing_instances  # type: ignore[method-assign] # from now on
    assert eventually(lambda: not poller.snapshot.projects["museum"].up)
    assert eventually(lambda: "orders" in poller.snapshot.projects["museum"].collected.recovery_times)
    poller.stop()


def test_reload_keeps_what_was_read_since_the_last_poll() -> None:
    reading = Reading("orders")
    poller = build_poller(reading.source, ON, MemoryLedger(), Snapshot())  # polls every 5 minutes
    poller.start()
    reader = poller._recovery_times
    assert reader
    assert eventually(lambda: bool(reader._outcomes))
    after = poll_once(reading.source, known=poller.stop())
    assert after.projects["museum"].collected.recovery_times.keys() == {"orders"}
    assert reading.requests() == ["orders"]


def test_recovery_times_are_dropped_when_they_are_switched_off() -> None:
    source = Reading("orders").source
    known = poll_once(source)
    off = build_poller(source, OFF, MemoryLedger(), known)
    assert off.snapshot.projects["museum"].collected == Collected()
    assert off.snapshot.projects["museum"].collected.status == {}
    assert off.poll_once().projects["museum"].collected == Collected()


def test_no_recovery_times_are_requested_while_they_are_off() -> None:
    reading = Reading("orders")
    poll_once(reading.source, OFF)
    assert reading.requests() == []


def test_shard_asks_only_its_own_instances() -> None:
    names = [f"db-{number}" for number in range(20)]
    asked_by = []
    for index in range(2):
        reading = Reading(*names)
        build_poller(reading.source, ON, MemoryLedger(), Snapshot(), Shard(index, 2, "instance")).poll_once()
        asked_by.append(set(reading.requests()))
    assert asked_by[0] | asked_by[1] == set(names)
    assert not asked_by[0] & asked_by[1]


def test_recovery_times_survive_a_restart_with_their_age(tmp_path: Path) -> None:
    reading = Reading("orders", "payments")
    ledger = SqliteLedger.open(tmp_path)
    saved = build_poller(reading.source, ON, ledger, Snapshot()).poll_once().projects["museum"]
    ledger.close()
    reading.advance(HOUR / 2)
    reopened = SqliteLedger.open(tmp_path)
    assert reopened.collected("museum") == saved.collected
    restored = ProjectStatus("museum", scan=reopened.last_scan("museum"), collected=reopened.collected("museum"))
    reopened.close()
    reading.source.requests.clear()
    known = poll_once(reading.source, known=Snapshot({"museum": restored}))
    assert known.projects["museum"].collected.recovery_times["orders"].read_at == NOW
    assert reading.requests() == []
