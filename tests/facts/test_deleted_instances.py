"""What is left of deleted instances: number and size of their backups, and when the last one expires."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from exporter.facts.deleted_instances import Backup, BackupState, DeletedInstance, LastExpiry, deleted_instances
from exporter.facts.model import BackupType, InstanceId
from tests.support.builders import DAY, HOUR, NOW, SECOND

DELETED = NOW - 3 * DAY
AUTOMATED, ON_DEMAND, FINAL = BackupType.AUTOMATED, BackupType.ON_DEMAND, BackupType.FINAL


def backup(kind: BackupType = AUTOMATED, ago: timedelta = 4 * DAY, **fields: Any) -> Backup:
    """A successful backup that started some time ago, of an instance that retained seven."""
    defaults: dict[str, Any] = {
        "name": f"projects/p/backups/{kind}-{ago}",
        "instance": "orders",
        "deleted": DELETED,
        "type": kind,
        "state": BackupState.SUCCESSFUL,
        "start": NOW - ago,
        "size_bytes": 5,
        "retained_backups": 7,
    }
    return Backup(**{**defaults, **fields})


def dated(expiry: datetime | None, kind: BackupType = FINAL, **fields: Any) -> Backup:
    return backup(kind, expires=True, expiry=expiry, **fields)


def single(*backups: Backup) -> DeletedInstance:
    (found,) = deleted_instances("p", backups, NOW)
    return found


def expiry(*backups: Backup) -> tuple[datetime | None, LastExpiry | None]:
    found = single(*backups)
    return found.last_expiry, found.last_expiry_status


def test_deleted_instance_is_summarized() -> None:
    oldest = backup(ago=6 * DAY, region="europe-west1", location="eu", user_labels={"team": "a"})
    newest = dated(NOW + DAY, ago=3 * DAY, size_bytes=7, location="us")
    assert single(newest, oldest) == DeletedInstance(
        id=InstanceId("p", "orders"),
        deleted=DELETED,
        read_at=NOW,
        retained=2,
        retained_bytes=12,
        newest=NOW - 3 * DAY,
        newest_name="projects/p/backups/FINAL-3 days, 0:00:00",
        newest_type=FINAL,
        last_expiry=DELETED + 7 * DAY,
        last_expiry_status=LastExpiry.ESTIMATED,
        places=("eu", "europe-west1", "us"),
        user_labels={"team": "a"},
    )


@pytest.mark.parametrize("state", [state for state in BackupState if state is not BackupState.SUCCESSFUL])
def test_only_successful_backups_can_be_restored(state: BackupState) -> None:
    other = backup(ago=HOUR, state=state, size_bytes=None, expires=True, expiry=NOW + 300 * DAY)
    assert single(backup(), other).retained == 1
    assert single(backup(), other).newest == NOW - 4 * DAY
    assert expiry(backup(), other) == (DELETED + 7 * DAY, LastExpiry.ESTIMATED)
    nothing = single(other)
    assert (nothing.retained, nothing.retained_bytes, nothing.newest) == (0, None, None)
    assert (nothing.last_expiry, nothing.last_expiry_status) == (None, None)


def test_total_size_is_unknown_unless_every_restorable_backup_reports_one() -> None:
    failed = backup(ago=HOUR, state=BackupState.FAILED, size_bytes=None)
    assert single(backup(), backup(ago=5 * DAY), failed).retained_bytes == 10
    assert single(backup(), backup(ago=5 * DAY, size_bytes=None)).retained_bytes is None


def test_a_name_can_be_used_again() -> None:
    found = deleted_instances("p", [backup(), backup(deleted=DELETED - DAY, ago=9 * DAY), backup(instance="a")], NOW)
    assert [instance.key for instance in found] == [("a", DELETED), ("orders", DELETED - DAY), ("orders", DELETED)]


def test_time_of_the_deletion_has_whole_seconds() -> None:
    parts = [backup(deleted=DELETED + timedelta(milliseconds=number), ago=number * DAY) for number in (4, 999)]
    assert (single(*parts).deleted, single(*parts).retained) == (DELETED, 2)
    assert len(deleted_instances("p", [backup(), backup(deleted=DELETED + SECOND)], NOW)) == 2


def test_backup_that_is_listed_twice_counts_once() -> None:
    assert single(backup(), backup()).retained == 1
    assert single(backup(state=BackupState.RUNNING), backup()).retained == 1  # the later version counts
    assert single(backup(name=""), backup(name="")).retained == 2  # without a name nothing tells them apart


@pytest.mark.parametrize(
    ("backups", "expected"),
    [
        ([dated(NOW + DAY)], (NOW + DAY, LastExpiry.REPORTED)),
        ([dated(NOW + DAY), dated(NOW + 2 * DAY, ago=HOUR)], (NOW + 2 * DAY, LastExpiry.REPORTED)),
        ([dated(NOW - HOUR)], (NOW - HOUR, LastExpiry.REPORTED)),  # expired, and still listed
        ([backup()], (DELETED + 7 * DAY, LastExpiry.ESTIMATED)),
        ([backup(), backup(ago=5 * DAY)], (DELETED + 7 * DAY, LastExpiry.ESTIMATED)),
        ([backup(deleted=NOW - 30 * DAY)], (NOW - 23 * DAY, LastExpiry.ESTIMATED)),
        ([dated(NOW + DAY, AUTOMATED)], (NOW + DAY, LastExpiry.REPORTED)),
        ([dated(NOW + DAY), backup()], (DELETED + 7 * DAY, LastExpiry.ESTIMATED)),
        ([dated(NOW + 5 * DAY), backup()], (NOW + 5 * DAY, LastExpiry.REPORTED)),
        ([dated(NOW + DAY, ON_DEMAND)], (NOW + DAY, LastExpiry.REPORTED)),
        ([backup(ON_DEMAND)], (None, LastExpiry.NEVER)),
        ([backup(ON_DEMAND), dated(NOW + DAY), backup(FINAL, ago=HOUR)], (None, LastExpiry.NEVER)),
        ([backup(retained_backups=None)], (None, LastExpiry.UNKNOWN)),
        ([backup(retained_backups=None), dated(NOW + DAY, retained_backups=None)], (None, LastExpiry.UNKNOWN)),
        ([backup(FINAL)], (None, LastExpiry.UNKNOWN)),
        ([backup(BackupType.UNKNOWN)], (None, LastExpiry.UNKNOWN)),
        ([dated(None, ON_DEMAND)], (None, LastExpiry.UNKNOWN)),  # unreadable, which is not never
        ([dated(None), dated(NOW + DAY, ago=HOUR)], (None, LastExpiry.UNKNOWN)),
    ],
)
def test_last_expiry_is_reported_estimated_never_or_unknown_in_any_order(
    backups: list[Backup], expected: tuple[datetime | None, LastExpiry | None]
) -> None:
    for ordered in permutations(backups):
        assert expiry(*ordered) == expected


def test_retention_is_that_of_the_newest_backup_that_tells() -> None:
    older = backup(ago=9 * DAY, retained_backups=30)
    silent = backup(ago=2 * HOUR, retained_backups=None)
    failed = backup(ago=HOUR, retained_backups=5, state=BackupState.FAILED)
    assert expiry(older, backup(), silent)[0] == DELETED + 7 * DAY
    assert expiry(older, backup(), silent, failed)[0] == DELETED + 5 * DAY


def test_missing_start_is_no_newest_backup() -> None:
    silent = backup(start=None, ago=HOUR)
    assert single(silent).newest is None
    assert single(silent, backup()).newest == NOW - 4 * DAY
    assert single(replace(silent, user_labels={"a": "b"}), backup()).user_labels == {"a": "b"}
