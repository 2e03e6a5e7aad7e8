"""Parsing of API items: each becomes one fact, or raises UnreadableItemError."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.facts.model import BackupRun, BackupType, Instance, RunError, RunStatus, SuspensionReason
from exporter.scan import parse
from tests.support.builders import NOW
from tests.support.strategies import RUN_ITEM, json_values, plausible

LATEST = NOW + timedelta(days=1)


def parse_run(item: object) -> BackupRun:
    return parse.backup_run(item, latest=LATEST).fact[1]


def unreadable_fields(item: object) -> tuple[str, ...]:
    return parse.backup_run(item, latest=LATEST).unreadable


def timestamp(day: int, hour: int, minute: int = 0, second: int = 0, microsecond: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, second, microsecond, tzinfo=UTC)


def test_run_is_parsed_field_by_field() -> None:
    assert parse.backup_run(RUN_ITEM, latest=LATEST) == parse.Parsed(
        (
            "pg-1",
            BackupRun(
                id="1795316400000",
                type=BackupType.AUTOMATED,
                status=RunStatus.FAILED,
                scheduled=timestamp(22, 3),
                window_start=timestamp(22, 3),
                enqueued=timestamp(22, 3, 1, 0, 100000),
                start=timestamp(22, 3, 1, 0, 140123),
                end=timestamp(22, 3, 5, 0, 900000),
                error=RunError("INTERNAL_ERROR", "it failed"),
                location="us",
                size_bytes=1048576,
            ),
        )
    )


def test_v1beta3_run_is_automated_with_id_from_due_time() -> None:
    item = {
        "kind": "sql#backupRun",
        "instance": "shop-prod:pg-1",
        "backupConfiguration": "a1b2",
        "dueTime": "2012-11-15T16:19:00.094Z",
        "status": "SKIPPED",
    }
    name, run = parse.backup_run(item, latest=LATEST).fact
    assert (name, run.type, run.status) == ("pg-1", BackupType.AUTOMATED, RunStatus.SKIPPED)
    assert run.window_start == datetime(2012, 11, 15, 16, 19, 0, 94000, tzinfo=UTC)
    assert run.id == "1352996340094"


@pytest.mark.parametrize("status", ["PAUSED", "SQL_BACKUP_RUN_STATUS_UNSPECIFIED", "successful"])
def test_unknown_status_and_type_are_readable(status: str) -> None:
    item = RUN_ITEM | {"status": status, "type": "WEEKLY"}
    assert (parse_run(item).status, parse_run(item).type) == (RunStatus.UNKNOWN, BackupType.UNKNOWN)
    assert unreadable_fields(item) == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("startTime", "yesterday"),
        ("startTime", "2026-11-22"),
        ("startTime", "2026-11-22T03:01:00"),
        ("startTime", "2026-13-22T03:01:00Z"),
        ("startTime", "0001-01-01T00:00:00Z"),
        ("startTime", "9999-12-31T23:59:59Z"),
        ("startTime", 1795316400),
        ("maxChargeableBytes", "-1"),
        ("maxChargeableBytes", "9" * 5000),
        ("maxChargeableBytes", 2**63),
        ("maxChargeableBytes", True),
        ("maxChargeableBytes", 1.5),
        ("location", 7),
        ("location", "\ud800"),
        ("status", 7),
        ("status", None),
        ("type", None),
        ("error", "INTERNAL_ERROR"),
    ],
)
def test_unreadable_field_is_reported_and_others_are_parsed(field: str, value: object) -> None:
    item = RUN_ITEM | {field: value}
    assert unreadable_fields(item) == (field,)
    assert parse_run(item).id == "1795316400000"
    assert parse_run(item).end == timestamp(22, 3, 5, 0, 900000)


def test_run_without_timestamps_is_scheduled_by_its_id() -> None:
    item = {"id": "1795316400000", "instance": "pg-1", "status": "FAILED", "type": "AUTOMATED"}
    assert parse_run(item).scheduled == timestamp(22, 3)
    assert parse_run(item).window_start is None


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (None, "not an object"),
        ("text", "not an object"),
        ([], "not an object"),
        ({}, "instance"),
        ({"instance": 3}, "instance"),
        ({"instance": "pg-1"}, "windowStartTime"),
        ({"instance": "pg-1", "id": "17", "status": "FAILED"}, "windowStartTime"),
        ({"instance": "pg-1", "endTime": "2026-11-22T03:05:00Z"}, "windowStartTime"),
    ],
)
def test_run_without_instance_or_time_is_rejected(item: object, message: str) -> None:
    with pytest.raises(parse.UnreadableItemError, match=message):
        parse.backup_run(item, latest=LATEST)


def test_pitr_is_binary_log_for_mysql_and_own_flag_for_others() -> None:
    backup_configuration = {
        "binaryLogEnabled": True,
        "pointInTimeRecoveryEnabled": False,
        "startTime": "23:30",
        "enabled": True,
    }

    def pitr(version: str) -> bool | None:
        item = {"name": "a", "databaseVersion": version, "settings": {"backupConfiguration": backup_configuration}}
        return parse.instance(item, project="p", latest=LATEST).fact.backups.pitr_enabled

    assert (pitr("MYSQL_8_4"), pitr("POSTGRES_16"), pitr("SQLSERVER_2022_WEB")) == (True, False, False)


FLAGS: dict[str, Callable[[Instance], bool | None]] = {
    "deletionProtectionEnabled": lambda instance: instance.deletion.protected,
    "retainBackupsOnDelete": lambda instance: instance.deletion.backups_retained,
    "finalBackupConfig.enabled": lambda instance: instance.deletion.final_backup,
    "backupConfiguration.pointInTimeRecoveryEnabled": lambda instance: instance.backups.pitr_enabled,
}


@pytest.mark.parametrize("name", FLAGS)
def test_absent_flag_is_off_within_returned_settings_and_else_unknown(name: str) -> None:
    """An unreadable flag is unknown, and so is one within an unreadable object."""
    *outer, inner = name.split(".")

    def flag(settings: object) -> bool | None:
        item = {"name": "a", "settings": settings}
        return FLAGS[name](parse.instance(item, project="p", latest=LATEST).fact)

    def within(value: object) -> object:
        return {outer[0]: {inner: value}} if outer else {inner: value}

    assert [flag(within(value)) for value in (True, False, None, "on")] == [True, False, False, None]
    assert (flag({}), flag(None), flag("none")) == (False, None, None)
    if outer:
        assert (flag({outer[0]: {}}), flag({outer[0]: None}), flag({outer[0]: "none"})) == (False, False, None)


def test_suspension_reasons_are_words_each_once() -> None:
    item = {"name": "a", "suspensionReason": ["KMS_KEY_ISSUE", "ASTEROID", "KMS_KEY_ISSUE", 7]}
    parsed = parse.instance(item, project="p", latest=LATEST)
    assert parsed.fact.suspension_reasons == (SuspensionReason.KMS_KEY_ISSUE, SuspensionReason.UNKNOWN)
    assert parsed.unreadable == ("suspensionReason",)


@pytest.mark.parametrize(("state", "full"), [("SOFT_SHUTDOWN", True), ("NORMAL", False), (None, False)])
def test_disk_full(state: str | None, full: bool) -> None:
    item = {"name": "a", "outOfDiskReport": {"sqlOutOfDiskState": state}}
    assert parse.instance(item, project="p", latest=LATEST).fact.disk_full is full
    assert parse.instance({"name": "a"}, project="p", latest=LATEST).fact.disk_full is False


@pytest.mark.parametrize("start", ["24:00", "4:00", "04:60", "noon", 4, "٠٤:٠٠"])
def test_invalid_window_start_is_reported_as_unreadable(start: object) -> None:
    item = {"name": "a", "settings": {"backupConfiguration": {"startTime": start}}}
    parsed = parse.instance(item, project="p", latest=LATEST)
    assert parsed.fact.backups.window_start is None
    assert parsed.unreadable == ("settings.backupConfiguration.startTime",)


def test_non_text_label_is_reported_and_others_are_parsed() -> None:
    item = {"name": "a", "settings": {"userLabels": {"team": "shop", "tier": 1}}}
    parsed = parse.instance(item, project="p", latest=LATEST)
    assert parsed.unreadable == ("settings.userLabels.tier",)
    assert parsed.fact.user_labels == {"team": "shop", "tier": ""}


@given(st.dictionaries(st.sampled_from([*RUN_ITEM, "dueTime"]), plausible) | json_values)
def test_any_run_item_parses_or_raises_unreadable_item_error(item: Any) -> None:
    try:
        name, run = parse.backup_run(item, latest=LATEST).fact
    except parse.UnreadableItemError:
        return
    assert name.encode()
    assert parse.EARLIEST <= run.scheduled <= LATEST
    assert json.dumps([run.id, run.location, run.size_bytes])


@given(
    st.fixed_dictionaries(
        {"name": plausible},
        optional={
            "settings": plausible
            | st.dictionaries(st.sampled_from(["userLabels", "backupConfiguration", "edition"]), plausible),
            "createTime": plausible,
            "databaseVersion": plausible,
        },
    )
)
def test_any_instance_item_parses_or_raises_unreadable_item_error(item: Any) -> None:
    try:
        fact = parse.instance(item, project="p", latest=LATEST).fact
    except parse.UnreadableItemError:
        return
    assert str(fact.id).encode()
