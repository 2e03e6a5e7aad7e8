"""The fast path returns what the tolerant parser returns, or leaves the item to it."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given, settings
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
    },
}

timestamps = st.sampled_from(
    [
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
    ]
)
numbers = st.sampled_from(
    ["0", "007", "-1", "+1", " 1", "1_0", "1.0", "", "٧", "²", str(2**63 - 1), str(2**63), "0" * 19 + "1", "9" * 5000]
) | st.sampled_from([0, 1, -1, 7.0, 1.5, True, 10_000, 2**63 - 1, 2**63])
words = st.sampled_from([*RunStatus, *BackupType, "PAUSED", "", "unknown", "UNKNOWN", "ENTERPRISE_PLUS", "MYSQL_8_4"])
texts = st.sampled_from(["", "eu", "a:b", "a:", "é", "😀", "\ud800", "\udc00x", '"\\/\n', "x" * 600])
times_of_day = st.sampled_from(["00:00", "23:59", "24:00", "4:00", "04:00\n", "٠٤:٠٠"])
values = st.none() | timestamps | numbers | words | texts | times_of_day | plausible


def mutated(item: Any) -> st.SearchStrategy[Any]:
    """The item with some fields, at any depth, replaced or missing, and others added."""
    if not isinstance(item, dict):
        return st.just(item) | st.just(item) | values
    fields = {key: mutated(value) for key, value in item.items()}
    whole = st.fixed_dictionaries(fields) | st.fixed_dictionaries({}, optional=fields)
    changed = st.dictionaries(st.sampled_from([*item, "dueTime", "other"]), values, max_size=1)
    return st.builds(lambda base, change: base | change, whole, changed)


def json_texts(items: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """JSON in several forms; some are not quite JSON."""
    written = st.builds(
        lambda item, ascii_only, indent: json.dumps(item, ensure_ascii=ascii_only, indent=indent),
        items,
        st.booleans(),
        st.sampled_from([None, 1]),
    )
    damaged = st.builds(
        lambda text, at, removed, added: text[: at % len(text)] + added + text[at % len(text) + removed :],
        written,
        st.integers(0, 1000),
        st.integers(0, 2),
        st.sampled_from(["", "\\", '"', ",", "0", "\\ud800", "\x01", "null", "NaN", "[" * 5000, '"id": "1", ']),
    )
    return (written | written | damaged).map(lambda text: text.encode(errors="surrogatepass"))


def tolerant_run(text: bytes) -> parse.Parsed[tuple[str, RunRow]]:
    parsed = parse.backup_run(parse.json_value(text), latest=LATEST)
    name, run = parsed.fact
    return parse.Parsed((name, RunRow.of(run)), parsed.unreadable)


@settings(max_examples=500)
@given(json_texts(mutated(RUN_ITEM) | mutated(RUN_ITEM) | json_values))
@example(encoded(RUN_ITEM))
def test_a_decoded_run_is_the_run_that_the_tolerant_parser_returns(text: bytes) -> None:
    decoded = decode.backup_run(text, latest=LATEST)
    if decoded is not None:
        assert repr(parse.Parsed(decoded)) == repr(tolerant_run(text))


@settings(max_examples=500)
@given(json_texts(mutated(INSTANCE_ITEM) | mutated(INSTANCE_ITEM) | json_values))
@example(encoded(INSTANCE_ITEM))
def test_a_decoded_instance_is_the_instance_that_the_tolerant_parser_returns(text: bytes) -> None:
    decoded = decode.instance(text, project="p", latest=LATEST)
    if decoded is not None:
        tolerant = parse.instance(parse.json_value(text), project="p", latest=LATEST)
        assert repr(parse.Parsed(decoded)) == repr(tolerant)


@pytest.mark.parametrize("status", [status for status in RunStatus if status is not RunStatus.UNKNOWN])
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
