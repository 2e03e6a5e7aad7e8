"""Rows of the state file: encoding loses nothing, and damaged rows raise ValueError."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.facts.counters import Counters
from exporter.facts.history import history
from exporter.facts.model import BackupRun, Instance
from exporter.facts.packed_runs import PackedRuns
from exporter.facts.record import ProjectScan, Record, RemovedInstance
from exporter.state import rows
from tests.support.builders import DAY, INSTANCE, NOW, run
from tests.support.strategies import some_runs

timestamps = st.integers(-500_000, 500_000).map(lambda seconds: NOW + seconds * DAY / 86_400)
instances = st.builds(
    lambda region, user_labels: replace(INSTANCE, region=region, user_labels=user_labels),
    region=st.none() | st.text(max_size=5),
    user_labels=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
)


def counters_after(before: list[BackupRun], after: list[BackupRun]) -> Counters:
    packed = PackedRuns.of(after)
    return Counters.initial(PackedRuns.of(before).headers(), NOW).updated(packed, packed.headers(), NOW)


def record_of(instance: Instance, before: list[BackupRun], after: list[BackupRun]) -> Record:
    expired = PackedRuns.of(replace(run, location=None, error=None) for run in before)
    return Record(instance, history(after, expired=expired), counters_after(before, after))


records = st.builds(record_of, instances, some_runs, some_runs)
removed_instances = st.builds(RemovedInstance, st.builds(counters_after, some_runs, some_runs), timestamps)


@given(records | removed_instances)
def test_record_round_trip(record: Record | RemovedInstance) -> None:
    assert rows.decode_record(*rows.encode_record(record)) == record


@given(
    st.builds(
        ProjectScan,
        read_at=timestamps,
        full_listing_at=timestamps,
        newest_first=st.booleans(),
        records=st.dictionaries(st.text(max_size=5), records, max_size=2),
        unreachable_regions=st.lists(st.text(max_size=5), max_size=2).map(tuple),
        carried_over=st.dictionaries(st.text(max_size=5), timestamps, max_size=2),
    ),
    st.dictionaries(st.text(min_size=6, max_size=8), removed_instances, max_size=2),
)
def test_scan_round_trip(scan: ProjectScan, removed: dict[str, RemovedInstance]) -> None:
    scan = replace(scan, removed=removed)
    assert rows.decode_scan(rows.encode_scan(scan), {**scan.records, **scan.removed}) == scan


@given(st.data())
def test_any_damage_to_packed_runs_raises_value_error(data: st.DataObject) -> None:
    body, packed = rows.encode_record(record_of(INSTANCE, [], [run(), run(ago=2 * DAY)]))
    position = data.draw(st.integers(0, len(packed) - 1))
    damaged = bytearray(packed)
    damaged[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r"the runs of .*orders do not match their checksum"):
        rows.decode_record(body, bytes(damaged))


def test_missing_packed_runs_raise_value_error() -> None:
    body, _ = rows.encode_record(record_of(INSTANCE, [], [run()]))
    with pytest.raises(ValueError, match="do not match their checksum"):
        rows.decode_record(body, b"")


@pytest.mark.parametrize("length", [0, 1, 100])
def test_truncated_row_raises_value_error(length: int) -> None:
    body, packed = rows.encode_record(record_of(INSTANCE, [], [run()]))
    with pytest.raises(ValueError, match="Invalid JSON"):
        rows.decode_record(body[:length], packed)


def test_record_without_instance_raises_value_error() -> None:
    body, packed = rows.encode_record(record_of(INSTANCE, [], [run()]))
    without_instance = json.dumps(json.loads(body) | {"instance": None}).encode()
    with pytest.raises(ValueError, match="a record without its instance"):
        rows.decode_record(without_instance, packed)
