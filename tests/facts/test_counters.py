"""Counters: each outcome of a run counts once, also when the run is listed twice, late or no longer."""

from dataclasses import replace
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from exporter.facts.counters import EXPIRE_AFTER, Counters, Durations
from exporter.facts.model import BackupRun, BackupType, RunStatus
from exporter.facts.packed_runs import PackedRuns
from tests.support.builders import DAY, HOUR, MINUTE, NOW, SECOND, run

S = RunStatus
AUTOMATED, ON_DEMAND = BackupType.AUTOMATED, BackupType.ON_DEMAND


def completed(counters: Counters, backup_type: BackupType = AUTOMATED) -> dict[str, int]:
    return {status.value: count for status, count in counters.completed.get(backup_type, {}).items()}


def initial(runs: list[BackupRun], now: datetime = NOW) -> Counters:
    return Counters.initial(PackedRuns.of(runs).headers(), now)


def updated(counters: Counters, runs: list[BackupRun], now: datetime = NOW) -> Counters:
    packed = PackedRuns.of(runs)
    return counters.updated(packed, packed.headers(), now)


def counters_after(*listings: list[BackupRun], now: datetime = NOW) -> Counters:
    """The counters after these listings in turn; the first listing is the first sight of the instance."""
    counters = initial(listings[0], now)
    for listing in listings[1:]:
        counters = updated(counters, listing, now)
    return counters


OLD = [run(S.FAILED, ago=32 * HOUR), run(ago=56 * HOUR)]
LAST = {S.FAILED: run(S.FAILED), S.SUCCESSFUL: run(), S.RUNNING: run(S.RUNNING), S.SKIPPED: run(S.SKIPPED)}


def test_runs_completed_before_first_sight_are_not_counted() -> None:
    assert completed(counters_after(OLD)) == {}
    assert completed(counters_after(OLD, OLD)) == {}


def test_run_in_progress_at_first_sight_is_counted_on_completion() -> None:
    assert completed(counters_after([LAST[S.RUNNING], *OLD], [LAST[S.FAILED], *OLD])) == {"FAILED": 1}


def test_retried_window_counts_one_failure_and_one_success() -> None:
    listings = [[LAST[status]] for status in (S.FAILED, S.FAILED, S.RUNNING, S.FAILED, S.RUNNING, S.SUCCESSFUL)]
    assert completed(counters_after([], *listings)) == {"FAILED": 1, "SUCCESSFUL": 1}


def test_retry_success_counts_after_failure_before_first_sight() -> None:
    assert completed(counters_after([LAST[S.FAILED]], [LAST[S.SUCCESSFUL]])) == {"SUCCESSFUL": 1}


def test_unchanged_listing_returns_same_counters() -> None:
    counters = counters_after(OLD, [LAST[S.FAILED], *OLD])
    assert updated(counters, [LAST[S.FAILED], *OLD], NOW) is counters


def test_run_that_is_listed_again_is_not_counted_twice() -> None:
    counters = counters_after([], [LAST[S.FAILED]], [], [LAST[S.FAILED]])
    assert completed(counters) == {"FAILED": 1}
    assert counters.missing_since == {}


def test_deleted_run_does_not_decrease_counters() -> None:
    assert completed(counters_after([], [LAST[S.SUCCESSFUL]], [run(S.DELETED)])) == {"SUCCESSFUL": 1}


def test_late_listed_run_older_than_a_day_is_not_counted() -> None:
    """A listing can be silently incomplete; runs that ended more than a day before first sight are history."""
    assert completed(counters_after([], OLD)) == {}


def test_late_listed_run_within_a_day_is_counted() -> None:
    """Listings lag, and clocks differ."""
    assert completed(counters_after([], [run(S.FAILED, ago=20 * HOUR)])) == {"FAILED": 1}


def test_skip_is_counted_if_window_opened_before_first_sight() -> None:
    assert completed(counters_after([], [run(S.SKIPPED, ago=3 * HOUR)])) == {"SKIPPED": 1}


def test_run_missing_for_a_week_expires_and_is_never_recounted() -> None:
    counters = counters_after([], [LAST[S.FAILED]], [])
    at_limit = updated(counters, [], NOW + EXPIRE_AFTER)
    expired = updated(counters, [], NOW + EXPIRE_AFTER + SECOND)
    assert (len(at_limit.outcomes), len(expired.outcomes)) == (1, 0)
    assert completed(updated(expired, [LAST[S.FAILED]], NOW + 8 * DAY)) == {"FAILED": 1}
    assert completed(updated(expired, [run(S.FAILED, ago=-7 * DAY)], NOW + 8 * DAY)) == {"FAILED": 2}


def test_errors_are_counted_by_code_label() -> None:
    without_code = run(S.FAILED, ago=2 * HOUR, code="unspecified")
    assert counters_after([], [LAST[S.FAILED], without_code]).errors == {
        AUTOMATED: {"INTERNAL_ERROR": 1, "unspecified": 1}
    }


def test_durations_include_only_successful_runs() -> None:
    without_end = replace(run(ago=2 * HOUR), end=None)
    counters = counters_after([], [run(took=7 * MINUTE), run(S.FAILED, ago=5 * HOUR), without_end])
    assert counters.durations == {AUTOMATED: Durations(1, 420.0)}
    assert completed(counters) == {"SUCCESSFUL": 2, "FAILED": 1}


def test_types_are_counted_separately_and_known_from_first_run() -> None:
    on_demand = run(S.FAILED, ago=30 * HOUR, kind=ON_DEMAND)
    counters = counters_after([on_demand], [on_demand, run(S.FAILED, ago=HOUR, kind=ON_DEMAND), LAST[S.SUCCESSFUL]])
    assert (completed(counters), completed(counters, ON_DEMAND)) == ({"SUCCESSFUL": 1}, {"FAILED": 1})
    assert set(counters_after([on_demand]).completed) == {ON_DEMAND}


def test_counters_are_immutable() -> None:
    counters = initial(OLD)
    before = repr(counters)
    updated(counters, [LAST[S.FAILED]], NOW)
    assert repr(counters) == before


window_run = st.sampled_from([S.ENQUEUED, S.RUNNING, S.FAILED, S.SUCCESSFUL, S.SKIPPED, S.DELETED]).map(run)
window_listing = st.lists(window_run, max_size=1)


@given(st.lists(window_listing, min_size=1, max_size=8))
def test_counters_never_decrease_and_count_each_outcome_once(listings: list[list[BackupRun]]) -> None:
    counters, previous = initial(listings[0]), 0
    for runs in listings[1:]:
        counters = updated(counters, runs, NOW)
        total = sum(completed(counters).values())
        assert total >= previous
        previous = total
    later_statuses = {run.status for runs in listings[1:] for run in runs if run.status.completed}
    initial_statuses = {run.status for run in listings[0]}
    assert set(completed(counters)) == {status.value for status in later_statuses - initial_statuses}
    assert all(count == 1 for count in completed(counters).values())
