"""The ledger: what MemoryLedger and SqliteLedger have in common, and what only MemoryLedger does."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from exporter.facts.counters import EXPIRE_AFTER
from exporter.facts.record import ProjectScan
from exporter.state.ledger import Ledger, MemoryLedger, expired_projects
from exporter.state.sqlite import open_ledger
from tests.support.builders import NOW, SECOND

SCAN = ProjectScan(read_at=NOW, full_listing_at=NOW)
LATER_SCAN = ProjectScan(read_at=NOW + SECOND, full_listing_at=NOW)


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with closing(open_ledger(tmp_path / "data" if request.param == "sqlite" else None)) as ledger:
        yield ledger


def test_new_ledger_is_empty(ledger: Ledger) -> None:
    assert (ledger.scans(), ledger.last_scan("museum")) == ({}, None)


def test_last_scan_is_the_saved_scan_of_its_project(ledger: Ledger) -> None:
    ledger.save("museum", SCAN)
    assert (ledger.last_scan("museum"), ledger.last_scan("other")) == (SCAN, None)


def test_saved_scan_replaces_the_one_before(ledger: Ledger) -> None:
    ledger.save("museum", SCAN)
    ledger.save("other", SCAN)
    ledger.save("museum", LATER_SCAN)
    assert (ledger.last_scan("museum"), ledger.last_scan("other")) == (LATER_SCAN, SCAN)


def test_untargeted_project_is_forgotten_after_a_week(ledger: Ledger) -> None:
    ledger.save("museum", SCAN)
    ledger.forget({"other"}, NOW + EXPIRE_AFTER)
    assert ledger.last_scan("museum") is SCAN
    ledger.forget({"other"}, NOW + EXPIRE_AFTER + SECOND)
    assert ledger.last_scan("museum") is None


def test_targeted_project_is_never_forgotten(ledger: Ledger) -> None:
    ledger.save("museum", SCAN)
    ledger.forget({"museum"}, NOW + 2 * EXPIRE_AFTER)
    assert ledger.last_scan("museum") is SCAN


def test_expired_projects_are_untargeted_and_older_than_a_week() -> None:
    scans = {"museum": SCAN, "other": SCAN, "later": LATER_SCAN}
    assert expired_projects(scans, {"other"}, NOW + EXPIRE_AFTER) == []
    assert expired_projects(scans, {"other"}, NOW + EXPIRE_AFTER + SECOND) == ["museum"]
    assert expired_projects(scans, (), NOW + EXPIRE_AFTER + 2 * SECOND) == ["museum", "other", "later"]


def test_ledger_without_folder_is_in_memory() -> None:
    ledger = open_ledger(None)
    ledger.save("museum", SCAN)
    assert isinstance(ledger, MemoryLedger)
    assert (ledger.scans(), ledger.persistent) == ({}, False)
