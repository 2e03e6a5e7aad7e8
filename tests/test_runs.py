"""Packed runs: nothing is lost by packing."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.model import BackupRun, BackupType, RunError, RunStatus
from exporter.parse import EARLIEST
from exporter.runs import _STATUSES, _TYPES, Runs
from tests.builders import DAY, NOW, run

moments = st.datetimes(EARLIEST.replace(tzinfo=None), NOW.replace(tzinfo=None)).map(
    lambda moment: moment.replace(tzinfo=NOW.tzinfo)
)
words = st.text(max_size=5)
anything = st.builds(
    BackupRun,
    id=st.integers(0, 2**63 - 1).map(str),
    type=st.sampled_from(BackupType),
    status=st.sampled_from(RunStatus),
    since=moments,
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
    packed = Runs.of(given_runs)
    assert list(packed) == sorted(given_runs, key=lambda run: run.order, reverse=True)
    assert Runs(packed.packed, packed.texts) == packed == Runs.of(reversed(given_runs))
    assert [(str(g.number), g.type, g.status, g.size_bytes, g.since, g.began) for g in packed.glances()] == [
        (r.id, r.type, r.status, r.size_bytes, r.since.timestamp(), r.began.timestamp()) for r in packed
    ]
    assert list(packed.since(NOW - 9000 * DAY)) == [run for run in packed if run.since >= NOW - 9000 * DAY]
    assert all(packed.with_id(run.id) == run for run in given_runs)


def test_another_run_makes_other_runs() -> None:
    assert Runs.of([run()]) != Runs.of([run(RunStatus.FAILED)])
    assert Runs.of([run(RunStatus.FAILED, code="A")]) != Runs.of([run(RunStatus.FAILED, code="B")])
    assert Runs.of([run()]).with_id("1") is None


def test_every_word_has_a_place_of_its_own() -> None:
    assert sorted(_TYPES) == sorted(BackupType)
    assert sorted(_STATUSES) == sorted(RunStatus)


def test_a_run_takes_about_a_hundred_bytes() -> None:
    packed = Runs.of(run(ago=day * DAY) for day in range(30))
    assert len(packed.packed) / len(packed) < 100
