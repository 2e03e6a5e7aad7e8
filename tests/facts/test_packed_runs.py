"""Packed runs: packing loses nothing."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.facts.model import BackupRun, BackupType, RunError, RunStatus
from exporter.facts.packed_runs import _STATUSES, _TYPES, PackedRuns
from exporter.scan.parse import EARLIEST
from tests.support.builders import DAY, NOW, run

timestamps = st.datetimes(EARLIEST.replace(tzinfo=None), NOW.replace(tzinfo=None)).map(
    lambda timestamp: timestamp.replace(tzinfo=NOW.tzinfo)
)
texts = st.text(max_size=5)
any_run = st.builds(
    BackupRun,
    id=st.integers(0, 2**63 - 1).map(str),
    type=st.sampled_from(BackupType),
    status=st.sampled_from(RunStatus),
    scheduled=timestamps,
    window_start=st.none() | timestamps,
    enqueued=st.none() | timestamps,
    start=st.none() | timestamps,
    end=st.none() | timestamps,
    error=st.none() | st.builds(RunError, texts, texts, texts),
    location=st.none() | texts,
    size_bytes=st.none() | st.integers(0, 2**63 - 1),
)


@given(st.lists(any_run, max_size=6, unique_by=lambda run: run.id))
def test_packed_runs_round_trip_newest_first(runs: list[BackupRun]) -> None:
    packed = PackedRuns.of(runs)
    assert list(packed) == sorted(runs, key=lambda run: run.order, reverse=True)
    assert PackedRuns(packed.packed, packed.texts) == packed == PackedRuns.of(reversed(runs))
    assert [
        (str(header.number), header.type, header.status, header.size_bytes, header.scheduled, header.effective_start)
        for header in packed.headers()
    ] == [
        (run.id, run.type, run.status, run.size_bytes, run.scheduled.timestamp(), run.effective_start.timestamp())
        for run in packed
    ]
    assert [header.duration for header in packed.headers()] == [
        None if run.duration is None else pytest.approx(run.duration.total_seconds(), abs=1e-5) for run in packed
    ]
    assert list(packed.since(NOW - 9000 * DAY)) == [run for run in packed if run.scheduled >= NOW - 9000 * DAY]
    assert all(packed.with_id(run.id) == run for run in runs)


def test_packed_runs_are_equal_only_if_runs_are() -> None:
    assert PackedRuns.of([run()]) != PackedRuns.of([run(RunStatus.FAILED)])
    assert PackedRuns.of([run(RunStatus.FAILED, code="A")]) != PackedRuns.of([run(RunStatus.FAILED, code="B")])
    assert PackedRuns.of([run()]).with_id("1") is None


def test_every_type_and_status_has_a_position() -> None:
    assert sorted(_TYPES) == sorted(BackupType)
    assert sorted(_STATUSES) == sorted(RunStatus)


def test_packed_run_takes_less_than_100_bytes() -> None:
    packed = PackedRuns.of(run(ago=day * DAY) for day in range(30))
    assert len(packed.packed) / len(packed) < 100


@given(st.lists(any_run, max_size=6, unique_by=lambda run: run.id), timestamps)
def test_spans_are_those_of_the_runs_that_started_since_a_time(runs: list[BackupRun], earliest: datetime) -> None:
    packed = PackedRuns.of(runs)
    assert list(packed.spans(earliest.timestamp())) == [
        (run.type, run.status, run.scheduled.timestamp(), run.start.timestamp(), run.end and run.end.timestamp())
        for run in packed.since(earliest)
        if run.start
    ]
