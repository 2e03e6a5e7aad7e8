"""Packed runs: nothing is lost by packing."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.facts.model import BackupRun, BackupType, RunError, RunStatus
from exporter.facts.packed_runs import _STATUSES, _TYPES, PackedRuns
from exporter.scan.parse import EARLIEST
from tests.support.builders import DAY, NOW, run

moments = st.datetimes(EARLIEST.replace(tzinfo=None), NOW.replace(tzinfo=None)).map(
    lambda moment: moment.replace(tzinfo=NOW.tzinfo)
)
words = st.text(max_size=5)
anything = st.builds(
    BackupRun,
    id=st.integers(0, 2**63 - 1).map(str),
    type=st.sampled_from(BackupType),
    status=st.sampled_from(RunStatus),
    scheduled=moments,
    window_start=st.none() | moments,
    enqueued=st.none() | moments,
    start=st.none() | moments,
    end=st.none() | moments,
    error=st.none() | st.builds(RunError, words, words, words),
    location=st.none() | words,
    size_bytes=st.none() | st.integers(0, 2**63 - 1),
)


@given(st.lists(anything, max_size=6, unique_by=lambda run: run.id))
def test_runs_come_out_as_they_went_in_newest_first(given_runs: list[BackupRun]) -> None:
    packed = PackedRuns.of(given_runs)
    assert list(packed) == sorted(given_runs, key=lambda run: run.order, reverse=True)
    assert PackedRuns(packed.packed, packed.texts) == packed == PackedRuns.of(reversed(given_runs))
    assert [
        (str(g.number), g.type, g.status, g.size_bytes, g.scheduled, g.effective_start) for g in packed.headers()
    ] == [
        (r.id, r.type, r.status, r.size_bytes, r.scheduled.timestamp(), r.effective_start.timestamp()) for r in packed
    ]
    assert list(packed.since(NOW - 9000 * DAY)) == [run for run in packed if run.scheduled >= NOW - 9000 * DAY]
    assert all(packed.with_id(run.id) == run for run in given_runs)


def test_another_run_makes_other_runs() -> None:
    assert PackedRuns.of([run()]) != PackedRuns.of([run(RunStatus.FAILED)])
    assert PackedRuns.of([run(RunStatus.FAILED, code="A")]) != PackedRuns.of([run(RunStatus.FAILED, code="B")])
    assert PackedRuns.of([run()]).with_id("1") is None


def test_every_word_has_a_place_of_its_own() -> None:
    assert sorted(_TYPES) == sorted(BackupType)
    assert sorted(_STATUSES) == sorted(RunStatus)


def test_a_run_takes_about_a_hundred_bytes() -> None:
    packed = PackedRuns.of(run(ago=day * DAY) for day in range(30))
    assert len(packed.packed) / len(packed) < 100
