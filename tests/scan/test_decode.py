"""The fast path returns what the tolerant parser returns, or leaves the item to it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.facts.model import BackupType, RunStatus
from exporter.facts.packed_runs import PackedRuns, RunRow
from exporter.scan import decode, parse
from tests.support.builders import NOW, encoded
from tests.support.strategies import RUN_ITEM, json_values, plausible

LATEST = NOW + timedelta(days=1)
INSTANCE_ITEM: dict[str, Any] = {
    "name": "pg-1",
    "region": "europe-west1",
    "state": "RUNNABLE",
    "instanceType": "CLOUD_SQL_INSTANCE",
    "databaseVersion": "POSTGRES_16",
    "createTime": "2025-10-19T12:00:00.123Z",
    "settings": {
        "activationPolicy": "ALWAYS",
        "edition": "ENTERPRISE",
        "availabilityType": "ZONAL",
        "userLabels": {"team": "shop", "empty": ""},
        "backupConfiguration": {
            "enabled": True,
            "startTime": "04:00",
            "location": "eu",
            "backupTier": "STANDARD",
            "binaryLogEnabled": False,
            "pointInTimeRecoveryEnabled": True,
            "transactionLogRetentionDays": 7,
            "backupRetentionSettings": {"retainedBackups": 7, "retentionUnit": "COUNT"},
        },
        "deletionProtectionEnabled": True,
        "retainBackupsOnDelete": False,
        "finalBackupConfig": {"enabled": True, "retentionDays": 30},
    },
    "suspensionReason": ["BILLING_ISSUE", "KMS_KEY_ISSUE"],
    "outOfDiskReport": {"sqlOutOfDiskState": "SOFT_SHUTDOWN", "sqlMinRecommendedIncreaseSizeGb": 10},
}

MISSING = object()
ODD_VALUES: list[object] = [
    MISSING,
    None,
    *RunStatus,
    *BackupType,
    "2026-11-22T03:00:00Z",
    "2026-11-22t03:00:00z",
    "2026-11-22 03:00:00Z",
    "2026-11-22T03:00:00.1234565Z",
    "2026-11-22T03:00:00.9999999Z",
    "2026-11-22T03:00:00.12345678901234567890Z",
    "2026-11-22T03:00:00+00:00",
    "2026-11-22T03:00:00+0100",
    "2026-11-22T03:00:00-23:59",
    "2026-11-22T03:00:00",
    "2026-11-22T03:00:60Z",
    "2026-11-22T24:00:00Z",
    "2026-W47-7T03:00:00Z",
    "0001-01-01T00:00:00+01:00",
    "1999-12-31T23:59:59.9999999Z",
    "1999-12-31T23:59:59.999999Z",
    "2000-01-01T00:00:00Z",
    LATEST.isoformat(),
    (LATEST + timedelta(microseconds=1)).isoformat(),
    "9999-12-31T23:59:59.9999999Z",
    "٢٠٢٦-11-22T03:00:00Z",
    *["0", "007", "-1", "+1", " 1", "1_0", "1.0", "٧", "²", str(2**63 - 1), str(2**63), "0" * 19 + "1", "9" * 5000],
    *[0, 1, -1, 7.0, 1.5, True, False, 10_000, 2**63 - 1, 2**63, float("nan"), [], {}],
    *["PAUSED", "", "UNKNOWN", "ENTERPRISE_PLUS", "MYSQL_8_4"],
    *["eu", "a:b", "a:", "é", "😀", "\ud800", "\udc00x", '"\\/\n', "x" * 600],
    *[["KMS_KEY_ISSUE", "PAUSED", "KMS_KEY_ISSUE"], ["KMS_KEY_ISSUE", None], ["KMS_KEY_ISSUE", 1], ["\ud800"]],
    *["00:00", "23:59", "24:00", "4:00", "04:00\n", "٠٤:٠٠"],
]


def paths(item: dict[str, Any]) -> list[tuple[str, ...]]:
    inner = [(key, *path) for key, value in item.items() if isinstance(value, dict) for path in paths(value)]
    return [*((key,) for key in [*item, "dueTime", "other"]), *inner]


def with_value(item: Any, path: tuple[str, ...], value: object) -> Any:
    if not path:
        return value
    if not isinstance(item, dict):
        return item
    changed = with_value(item.get(path[0]), path[1:], value)
    return {key: field for key, field in (item | {path[0]: changed}).items() if field is not MISSING}


@st.composite
def variants(draw: st.DrawFn, item: dict[str, Any]) -> Any:
    """The item with other values in up to two fields."""
    for path in draw(st.lists(st.sampled_from(paths(item)), max_size=2)):
        item = with_value(item, path, draw(st.sampled_from(ODD_VALUES) | plausible))
    return item


@st.composite
def json_texts(draw: st.DrawFn, item: dict[str, Any]) -> bytes:
    """JSON in several forms: variants of the item, a few other values, and a few texts that are not quite JSON."""
    odds = draw(st.integers(0, 9))
    value = draw(variants(item) if odds else json_values)
    text = json.dumps(value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
    if odds == 1:
        at, added = draw(st.integers(0, len(text))), ["", "\\", '"', ",", "0", "\x01", "NaN", "[" * 5000, '"id": "1", ']
        text = text[:at] + draw(st.sampled_from(added)) + text[at + draw(st.integers(0, 2)) :]
    return text.encode(errors="surrogatepass")


def check_run(text: bytes) -> None:
    """Compare representations: they show types, too."""
    decoded = decode.backup_run(text, latest=LATEST)
    if decoded is not None:
        parsed = parse.backup_run(parse.json_value(text), latest=LATEST)
        name, run = parsed.fact
        assert repr(decoded) == repr((name, RunRow.of(run)))
        assert parsed.unreadable == ()


def check_instance(text: bytes) -> None:
    decoded = decode.instance(text, project="p", latest=LATEST)
    if decoded is not None:
        assert repr(parse.Parsed(decoded)) == repr(parse.instance(parse.json_value(text), project="p", latest=LATEST))


@settings(max_examples=500)
@given(json_texts(RUN_ITEM))
def test_a_decoded_run_is_the_run_that_the_tolerant_parser_returns(text: bytes) -> None:
    check_run(text)


@settings(max_examples=500)
@given(json_texts(INSTANCE_ITEM))
def test_a_decoded_instance_is_the_instance_that_the_tolerant_parser_returns(text: bytes) -> None:
    check_instance(text)


@pytest.mark.parametrize(("item", "check"), [(RUN_ITEM, check_run), (INSTANCE_ITEM, check_instance)])
def test_no_odd_value_in_any_field_makes_a_difference(item: dict[str, Any], check: Callable[[bytes], None]) -> None:
    for path in paths(item):
        for value in ODD_VALUES:
            check(encoded(with_value(item, path, value)))


@pytest.mark.parametrize("status", [status for status in RunStatus if status.isupper()])
@pytest.mark.parametrize("missing", ["kind", "error", "enqueuedTime", "startTime", "endTime", "location"])
def test_items_as_the_api_returns_them_are_decoded_fast(status: RunStatus, missing: str) -> None:
    item = {key: value for key, value in RUN_ITEM.items() if key != missing} | {"status": status}
    assert decode.backup_run(encoded(item), latest=LATEST) is not None
    assert decode.instance(encoded(INSTANCE_ITEM), project="p", latest=LATEST) is not None


@given(
    st.datetimes(datetime(2000, 1, 2), datetime(2026, 11, 20)),  # noqa: DTZ001 (hypothesis takes naive limits)
    st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
def test_timestamps_in_any_time_zone_are_those_of_the_standard_library(naive: datetime, zone: timezone) -> None:
    expected = naive.replace(tzinfo=zone)
    item = RUN_ITEM | {"windowStartTime": expected.isoformat()}
    decoded = decode.backup_run(encoded(item), latest=LATEST)
    assert decoded is not None
    assert decoded[1].scheduled == expected.timestamp()
    scheduled = parse.backup_run(item, latest=LATEST).fact[1].scheduled
    assert (scheduled, scheduled.tzinfo) == (expected, UTC)


def test_rows_are_packed_as_their_runs() -> None:
    run = parse.backup_run(RUN_ITEM, latest=LATEST).fact[1]
    assert RunRow.of(run).run == run
    assert RunRow.of(run).order == (run.scheduled.timestamp(), run.effective_start.timestamp(), run.id)
    assert PackedRuns.of([run]) == PackedRuns.of_rows([RunRow.of(run)])
