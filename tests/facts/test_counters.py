"""Counters: each run once per outcome, whatever comes twice, late, or not any more."""

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


def counted(account: Counters, kind: BackupType = AUTOMATED) -> dict[str, int]:
    return {status.value: count for status, count in account.completed.get(kind, {}).items()}


def first(runs: list[BackupRun], now: datetime = NOW) -> Counters:
    return Counters.initial(PackedRuns.of(runs).headers(), now)


def after(counters: Counters, runs: list[BackupRun], now: datetime = NOW) -> Counters:
    packed = PackedRuns.of(runs)
    return counters.updated(packed, packed.headers(), now)


def seen(*listings: list[BackupRun], now: datetime = NOW) -> Counters:
    """The account after these listings, one after the other; the first is the first sight."""
    account = first(listings[0], now)
    for listing in listings[1:]:
        account = after(account, listing, now)
    return account


OLD = [run(S.FAILED, ago=32 * HOUR), run(ago=56 * HOUR)]
LAST = {S.FAILED: run(S.FAILED), S.SUCCESSFUL: run(), S.RUNNING: run(S.RUNNING), S.SKIPPED: run(S.SKIPPED)}


def test_what_is_in_the_history_at_first_sight_is_not_counted() -> None:
    assert counted(seen(OLD)) == {}
    assert counted(seen(OLD, OLD)) == {}


def test_a_run_that_was_in_progress_at_first_sight_is_counted_when_it_ends() -> None:
    assert counted(seen([LAST[S.RUNNING], *OLD], [LAST[S.FAILED], *OLD])) == {"FAILED": 1}


def test_a_retried_window_counts_once_as_failed_and_once_as_successful() -> None:
    listings = [[LAST[status]] for status in (S.FAILED, S.FAILED, S.RUNNING, S.FAILED, S.RUNNING, S.SUCCESSFUL)]
    assert counted(seen([], *listings)) == {"FAILED": 1, "SUCCESSFUL": 1}


def test_a_window_that_had_failed_at_first_sight_counts_when_its_retry_succeeds() -> None:
    assert counted(seen([LAST[S.FAILED]], [LAST[S.SUCCESSFUL]])) == {"SUCCESSFUL": 1}


def test_listing_a_run_again_counts_nothing_and_changes_nothing() -> None:
    account = seen(OLD, [LAST[S.FAILED], *OLD])
    assert after(account, [LAST[S.FAILED], *OLD], NOW) is account


def test_a_run_that_leaves_the_listing_and_comes_back_is_not_counted_again() -> None:
    account = seen([], [LAST[S.FAILED]], [], [LAST[S.FAILED]])
    assert counted(account) == {"FAILED": 1}
    assert account.missing_since == {}


def test_a_deleted_run_takes_nothing_from_the_counters() -> None:
    assert counted(seen([], [LAST[S.SUCCESSFUL]], [run(S.DELETED)])) == {"SUCCESSFUL": 1}


def test_an_old_run_that_is_listed_late_is_not_counted() -> None:
    """A listing can be silently incomplete; what ended a day and more before the first sight is no news."""
    assert counted(seen([], OLD)) == {}


def test_a_run_that_ended_within_a_day_before_the_first_sight_and_was_not_listed_then_is_counted() -> None:
    """Listings lag, and clocks differ."""
    assert counted(seen([], [run(S.FAILED, ago=20 * HOUR)])) == {"FAILED": 1}


def test_a_window_skipped_after_the_first_sight_is_counted_though_it_opened_before() -> None:
    assert counted(seen([], [run(S.SKIPPED, ago=3 * HOUR)])) == {"SKIPPED": 1}


def test_what_has_left_for_a_week_is_forgotten_and_never_counted_again() -> None:
    account = seen([], [LAST[S.FAILED]], [])
    at_the_limit = after(account, [], NOW + EXPIRE_AFTER)
    expired = after(account, [], NOW + EXPIRE_AFTER + SECOND)
    assert (len(at_the_limit.outcomes), len(expired.outcomes)) == (1, 0)
    assert counted(after(expired, [LAST[S.FAILED]], NOW + 8 * DAY)) == {"FAILED": 1}
    assert counted(after(expired, [run(S.FAILED, ago=-7 * DAY)], NOW + 8 * DAY)) == {"FAILED": 2}


def test_errors_are_counted_by_the_label_of_their_code() -> None:
    uncoded = run(S.FAILED, ago=2 * HOUR, code="unspecified")
    assert seen([], [LAST[S.FAILED], uncoded]).errors == {AUTOMATED: {"INTERNAL_ERROR": 1, "unspecified": 1}}


def test_durations_are_those_of_successful_runs() -> None:
    endless = replace(run(ago=2 * HOUR), end=None)
    account = seen([], [run(took=7 * MINUTE), run(S.FAILED, ago=5 * HOUR), endless])
    assert account.durations == {AUTOMATED: Durations(1, 420.0)}
    assert counted(account) == {"SUCCESSFUL": 2, "FAILED": 1}


def test_types_are_counted_apart_and_known_from_their_first_run() -> None:
    by_hand = run(S.FAILED, ago=30 * HOUR, kind=ON_DEMAND)
    account = seen([by_hand], [by_hand, run(S.FAILED, ago=HOUR, kind=ON_DEMAND), LAST[S.SUCCESSFUL]])
    assert (counted(account), counted(account, ON_DEMAND)) == ({"SUCCESSFUL": 1}, {"FAILED": 1})
    assert set(seen([by_hand]).completed) == {ON_DEMAND}


def test_an_account_is_replaced_and_never_changed() -> None:
    counters = first(OLD)
    before = repr(counters)
    after(counters, [LAST[S.FAILED]], NOW)
    assert repr(counters) == before


one_run = st.sampled_from([S.ENQUEUED, S.RUNNING, S.FAILED, S.SUCCESSFUL, S.SKIPPED, S.DELETED]).map(run)
listing = st.lists(one_run, max_size=1)


@given(st.lists(listing, min_size=1, max_size=8))
def test_counters_never_go_down_and_count_each_outcome_once(listings: list[list[BackupRun]]) -> None:
    account, last = first(listings[0]), 0
    for runs in listings[1:]:
        account = after(account, runs, NOW)
        total = sum(counted(account).values())
        assert total >= last
        last = total
    shown = {run.status for runs in listings[1:] for run in runs if run.status.completed}
    at_first = {run.status for run in listings[0]}
    assert set(counted(account)) == {status.value for status in shown - at_first}
    assert all(count == 1 for count in counted(account).values())
