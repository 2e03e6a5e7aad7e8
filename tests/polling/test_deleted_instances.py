"""The collection of deleted instances in polls: its requests, failures, selection, and what is kept."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from exporter.facts.collected import Collection, CollectionStatus
from exporter.facts.model import PollResult
from exporter.facts.snapshot import ProjectStatus, Snapshot
from exporter.polling.poller import Poller
from exporter.polling.shard import Shard
from exporter.scan.source import Page, SourceError
from exporter.simulator import SimulatedClock
from exporter.simulator.backups import DeletedInstance
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import DELETED, Project
from exporter.state.ledger import Ledger, MemoryLedger
from exporter.state.sqlite import open_ledger
from tests.polling.test_poller import FaultySource, dependencies
from tests.support.builders import DAY, HOUR, NOW, config, world

FORBIDDEN = SourceError(PollResult.FORBIDDEN, "grant it", missing_permission="cloudsql.backupRuns.list")
BACKUPS = "/v1/projects/museum/backups"


class Source(FaultySource):
    """A source of the museum with deleted instances, whose backups can be made to fail by `faults["backups"]`."""

    def __init__(self, *deleted: DeletedInstance) -> None:
        super().__init__(world({"museum": Project({"healthy": SCENARIOS["healthy"]}, deleted=deleted or DELETED)}))

    def backups(self, project: str) -> Iterator[Page]:
        if fault := self.faults.get("backups"):
            assert isinstance(fault, Exception)
            raise fault
        yield from super().backups(project)

    def advance(self, span: timedelta) -> None:
        assert isinstance(self.world.clock, SimulatedClock)
        self.world.clock.advance(span)


class Polls:
    """Polls of the museum, one by one, with the state of a ledger as at a start."""

    def __init__(
        self, source: Source, ledger: Ledger | None = None, shard: Shard | None = None, **sections: Any
    ) -> None:
        self.source, ledger = source, ledger or MemoryLedger()
        settings = config(**{"collect": {"deleted_instances": True}, **sections})
        statuses = [
            ProjectStatus(name, scan=scan, collected=ledger.collected(name)) for name, scan in ledger.scans().items()
        ]
        snapshot = Snapshot({status.project: status for status in statuses})
        self.poller = Poller(settings, dependencies(source, settings, ledger), snapshot, shard or Shard())

    def poll(self) -> list[str]:
        """Poll once; returns the paths of the requests."""
        del self.source.requests[:]
        self.poller.poll_all()
        return list(self.source.requests)

    @property
    def status(self) -> ProjectStatus:
        return self.poller.snapshot.projects["museum"]

    @property
    def outcome(self) -> CollectionStatus | None:
        return self.status.collected.status.get(Collection.DELETED_INSTANCES)

    def names(self) -> list[str]:
        """The names of the deleted instances."""
        return [instance.id.name for instance in self.status.collected.deleted_instances]


NAMES = sorted(deleted.name for deleted in DELETED)


def test_backups_are_read_at_the_first_poll_and_with_each_full_listing() -> None:
    polls = Polls(Source())
    read = []
    for _ in range(5):
        read.append(BACKUPS in polls.poll())
        polls.source.advance(3 * HOUR)
    assert read == [True, False, True, False, True]
    assert polls.names() == NAMES
    assert polls.outcome == CollectionStatus(up=True)


@pytest.mark.parametrize(("instances", "requests"), [(1, 1), (66, 1), (67, 2)])
def test_it_takes_a_request_per_2000_backups(instances: int, requests: int) -> None:
    """docs/scaling.md: 30 backups of each instance, and a final one of a deleted one."""
    source = Source(DeletedInstance("a", DAY, SCENARIOS["final-backup"]))
    thirty = {"backupRetentionSettings": {"retainedBackups": 30}}
    scenario = replace(SCENARIOS["healthy"], backups=thirty)
    existing = {f"i{number}": scenario for number in range(instances)}
    source.world.projects = {"museum": replace(source.world.projects["museum"], instances=existing)}
    assert Polls(source).poll().count(BACKUPS) == requests


def test_without_it_no_request_is_made_and_nothing_is_collected() -> None:
    polls = Polls(Source(), collect={})
    assert BACKUPS not in polls.poll()
    assert (polls.names(), polls.outcome) == ([], None)


def test_failure_fails_no_poll_keeps_the_facts_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    polls = Polls(Source())
    polls.poll()
    first = polls.status.collected.deleted_instances
    polls.source.faults["backups"] = FORBIDDEN
    for _ in range(3):
        polls.source.advance(7 * HOUR)
        polls.poll()
    assert polls.status.up
    assert polls.status.last_success == NOW + 21 * HOUR
    assert polls.status.collected.deleted_instances is first
    assert polls.outcome == CollectionStatus(False, "grant it", "cloudsql.backupRuns.list")
    assert caplog.messages.count("grant it") == 1
    polls.source.faults.clear()
    polls.source.advance(7 * HOUR)
    polls.poll()
    assert polls.outcome == CollectionStatus(up=True)
    assert {instance.read_at for instance in polls.status.collected.deleted_instances} == {NOW + 28 * HOUR}


def test_it_is_read_by_the_second_poll_if_the_first_one_failed(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    Polls(Source(), ledger).poll()
    ledger.close()
    polls = Polls(Source(), open_ledger(tmp_path))
    polls.source.faults["museum"] = FORBIDDEN
    polls.poll()
    assert polls.outcome is None
    del polls.source.faults["museum"]
    assert BACKUPS in polls.poll()
    assert BACKUPS not in polls.poll()


def test_facts_survive_a_restart_with_their_age(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    Polls(Source(), ledger).poll()
    ledger.close()
    source = Source()
    source.advance(9 * HOUR)
    source.faults["backups"] = FORBIDDEN
    polls = Polls(source, open_ledger(tmp_path))
    for _ in range(2):
        assert polls.names() == NAMES
        assert {instance.read_at for instance in polls.status.collected.deleted_instances} == {NOW}
        polls.poll()


def test_facts_are_dropped_when_it_is_switched_off(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    Polls(Source(), ledger).poll()
    polls = Polls(Source(), ledger, collect={})
    assert polls.names() == []
    ledger.close()
    assert Polls(Source(), open_ledger(tmp_path), collect={}).names() == []
    on = Polls(Source())
    on.poll()
    off = Poller(config(), dependencies(on.source, config(), MemoryLedger()), on.poller.stop())  # by a reload
    assert off.snapshot.projects["museum"].collected.status == {}


@pytest.mark.parametrize(
    ("instances", "expected"),
    [
        (
            {"include": ["former-.*"], "exclude": [".*-failing"]},
            [n for n in NAMES if n not in ("brand-new", "former-failing")],
        ),
        ({"labels": {"team": "storefront"}}, [name for name in NAMES if name != "former-unknown"]),  # has no settings
        ({"labels": {"team": "nobody"}}, []),
    ],
)
def test_targets_select_deleted_instances_like_existing_ones(instances: dict[str, Any], expected: list[str]) -> None:
    polls = Polls(Source(), targets=[{"project": "museum", "instances": instances}])
    polls.poll()
    assert polls.names() == expected


def test_each_deleted_instance_belongs_to_one_shard(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    Polls(Source(), ledger).poll()
    ledger.close()
    found = []
    for index in range(3):
        polls = Polls(Source(), open_ledger(tmp_path / str(index)), Shard(index, 3, "instance"))
        polls.poll()
        found.append(polls.names())
    assert sorted(name for names in found for name in names) == NAMES
    assert all(found)
    restored = Polls(Source(), open_ledger(tmp_path), Shard(1, 3, "instance"))  # saved when there was one shard
    assert restored.names() == found[1]


def test_unreadable_items_are_counted_and_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    polls = Polls(Source(DeletedInstance("a", DAY, fields={"location": 7}), DeletedInstance("b", DAY)))
    polls.poll()
    polls.source.advance(7 * HOUR)
    polls.poll()
    assert polls.names() == ["a", "b"]
    assert [(record.kind, record.field) for record in caplog.records if "unreadable" in record.message] == [  # type: ignore[attr-defined] # extra
        ("backup", "location")
    ]
