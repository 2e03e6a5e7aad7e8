"""Rounds of optional collections in the poll of a project."""

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest

from exporter.facts.collected import Collected, Collection, CollectionStatus
from exporter.facts.model import PollResult
from exporter.facts.snapshot import ProjectStatus
from exporter.polling.collect import Collector, Round, collect, log_change
from exporter.scan.incremental import scan
from exporter.scan.source import SourceError
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from tests.support.builders import HOUR, NOW, WorldSource, scan_options, world

MUSEUM = world({"museum": Project({"healthy": SCENARIOS["healthy"]})})
SCAN = scan(WorldSource(MUSEUM), "museum", NOW, scan_options(), None)
BEFORE = ProjectStatus("museum").succeeded(SCAN, HOUR)
FORBIDDEN = SourceError(PollResult.FORBIDDEN, "grant the role", missing_permission="backupdr.backupPlans.list")


def collector(
    read: Callable[[], None], collection: Collection = Collection.BACKUP_DR, *, due: bool = True
) -> Collector:
    """A collector whose `read` has this effect."""

    def read_round(_round: Round, collected: Collected) -> Collected:
        read()
        return collected

    return Collector(collection, lambda _round: due, read_round)


def failing(error: Exception) -> Callable[[], None]:
    """An effect that raises an error."""

    def read() -> None:
        raise error

    return read


def this_round(before: ProjectStatus = BEFORE) -> Round:
    """A round in a poll that read the same scan again."""
    return Round(WorldSource(MUSEUM), before, SCAN, NOW)


def test_round_that_succeeds_has_no_message() -> None:
    collected = collect([collector(lambda: None)], this_round())
    assert collected.status == {Collection.BACKUP_DR: CollectionStatus(up=True)}


def test_failure_is_reported_and_does_not_end_the_round_of_others() -> None:
    collectors = [collector(failing(FORBIDDEN)), collector(lambda: None, Collection.DELETED_INSTANCES)]
    assert collect(collectors, this_round()).status == {
        Collection.BACKUP_DR: CollectionStatus(False, "grant the role", "backupdr.backupPlans.list"),
        Collection.DELETED_INSTANCES: CollectionStatus(up=True),
    }


def test_internal_error_is_logged_and_fails_the_collection_only(caplog: pytest.LogCaptureFixture) -> None:
    status = collect([collector(failing(ZeroDivisionError()))], this_round()).status[Collection.BACKUP_DR]
    assert (status.up, status.message) == (False, "internal error: ZeroDivisionError()")
    assert [record.message for record in caplog.records] == ["internal error, please report it"]


def test_collection_that_is_not_due_keeps_its_status() -> None:
    failed = Collected().with_status(Collection.BACKUP_DR, CollectionStatus(False, "grant the role"))
    before = replace(BEFORE, collected=failed)
    assert collect([collector(lambda: None, due=False)], this_round(before)) is failed


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (ProjectStatus("museum"), True),
        (ProjectStatus("museum", scan=SCAN), True),  # from the saved state
        (BEFORE, False),
        (BEFORE.succeeded(replace(SCAN, full_listing_at=NOW - HOUR), HOUR), True),
    ],
    ids=["first poll", "first poll after a start", "quiet poll", "full listing"],
)
def test_full_listing_is_the_first_poll_or_one_that_lists_all_runs(before: ProjectStatus, expected: bool) -> None:
    assert this_round(before).full_listing is expected


def test_result_is_logged_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    failed = BEFORE.succeeded(SCAN, HOUR, collect([collector(failing(FORBIDDEN))], this_round()))
    again = failed.succeeded(SCAN, HOUR, collect([collector(failing(FORBIDDEN))], this_round(failed)))
    recovered = again.succeeded(SCAN, HOUR, collect([collector(lambda: None)], this_round(again)))
    for before, after in ((BEFORE, failed), (failed, again), (again, recovered)):
        log_change(before, after)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("ERROR", "grant the role"),
        ("INFO", "collected"),
    ]
