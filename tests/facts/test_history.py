"""History of an instance: last runs, consecutive failures and recovery point."""

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.facts.history import RecoveryPointSource, history, with_vanished
from exporter.facts.model import BackupRun, BackupType, RunStatus
from exporter.facts.packed_runs import PackedRuns
from exporter.facts.record import Record
from tests.support.builders import DAY, HOUR, INSTANCE, MINUTE, NOW, run
from tests.support.strategies import some_runs

S = RunStatus
ON_DEMAND = BackupType.ON_DEMAND


def daily_runs(*statuses: RunStatus) -> list[BackupRun]:
    """One automated run a day, newest first."""
    return [run(status, ago=8 * HOUR + day * DAY) for day, status in enumerate(statuses)]


def automated(*statuses: RunStatus) -> tuple[RunStatus | None, RunStatus | None, int]:
    result = history(daily_runs(*statuses)).of(BackupType.AUTOMATED)
    return (
        result.newest.status if result.newest else None,
        result.newest_completed.status if result.newest_completed else None,
        result.consecutive_failures,
    )


def test_running_backup_does_not_hide_last_failure() -> None:
    assert automated(S.RUNNING, S.FAILED, S.FAILED, S.SUCCESSFUL) == (S.RUNNING, S.FAILED, 2)


def test_consecutive_failures_end_at_success_or_skip_but_not_at_overdue() -> None:
    assert automated(S.FAILED, S.OVERDUE, S.FAILED, S.SKIPPED, S.FAILED) == (S.FAILED, S.FAILED, 2)


def test_deleted_run_is_never_the_last_run() -> None:
    assert automated(S.DELETED, S.DELETION_PENDING, S.DELETION_FAILED, S.FAILED) == (S.FAILED, S.FAILED, 1)


def test_run_of_unknown_status_is_newest_but_not_completed() -> None:
    assert automated(S.UNKNOWN, S.SUCCESSFUL) == (S.UNKNOWN, S.SUCCESSFUL, 0)


def test_type_is_known_if_all_its_runs_are_deleted() -> None:
    result = history(daily_runs(S.DELETED))
    assert list(result.by_type) == [BackupType.AUTOMATED]
    assert result.by_type[BackupType.AUTOMATED].newest is None
    assert result.recovery_point is None


def test_types_have_separate_histories() -> None:
    result = history([run(S.FAILED, ago=8 * HOUR), run(S.SUCCESSFUL, ago=HOUR, kind=ON_DEMAND)])
    assert result.of(BackupType.AUTOMATED).consecutive_failures == 1
    assert result.of(ON_DEMAND).consecutive_failures == 0
    assert result.recovery_point == NOW - HOUR


def test_recovery_point_is_latest_start_of_a_success() -> None:
    delayed = replace(run(ago=9 * HOUR), start=NOW - 6 * HOUR)  # its window opened first, but it started last
    on_demand = run(ago=7 * HOUR, kind=ON_DEMAND)
    assert history([on_demand, delayed]).recovery_point == NOW - 6 * HOUR


def test_skip_after_success_moves_recovery_point_forward() -> None:
    result = history(daily_runs(S.SKIPPED, S.SKIPPED, S.SUCCESSFUL))
    assert (result.recovery_point, result.recovery_point_source) == (NOW - 8 * HOUR, RecoveryPointSource.SKIPPED_RUN)


def test_skip_before_success_does_not_move_recovery_point() -> None:
    result = history(daily_runs(S.SUCCESSFUL, S.SKIPPED))
    assert (result.recovery_point, result.recovery_point_source) == (NOW - 8 * HOUR, RecoveryPointSource.BACKUP)


def test_skips_without_success_give_no_recovery_point() -> None:
    result = history(daily_runs(S.SKIPPED, S.SKIPPED))
    assert (result.recovery_point, result.recovery_point_source) == (None, None)


def test_skip_after_deleted_backup_does_not_move_recovery_point() -> None:
    """The deleted backup held the newest data: only the older backup can be restored."""
    assert history(daily_runs(S.SKIPPED, S.DELETED, S.SUCCESSFUL)).recovery_point == NOW - 8 * HOUR - 2 * DAY


def test_backup_that_started_after_the_success_and_was_deleted_ends_skipping_even_if_enqueued_before_it() -> None:
    """It waited in the queue while the success ran, held newer data, and is gone: the skip refers to it."""
    success = run(ago=30 * HOUR)
    deleted = replace(run(S.DELETED, ago=31 * HOUR, kind=ON_DEMAND), start=NOW - 29 * HOUR)
    assert history([run(S.SKIPPED), deleted, success]).recovery_point == NOW - 30 * HOUR


def test_recovery_point_falls_back_to_enqueued_then_scheduled() -> None:
    without_start = replace(run(ago=8 * HOUR), start=None, enqueued=NOW - 7 * HOUR)
    assert history([without_start]).recovery_point == NOW - 7 * HOUR
    assert history([replace(without_start, enqueued=None)]).recovery_point == NOW - 8 * HOUR


def test_duration_is_unknown_if_run_ends_before_its_start() -> None:
    assert replace(run(), end=NOW - 9 * HOUR).duration is None
    assert run(took=7 * MINUTE).duration == 7 * MINUTE


def test_retained_bytes_sums_sizes_only_if_every_run_reports_one() -> None:
    older, without_size = run(ago=32 * HOUR), replace(run(ago=32 * HOUR), size_bytes=None)
    assert history([run(), older]).of(BackupType.AUTOMATED).retained_bytes == 2 * 2**30
    assert history([run(), without_size]).of(BackupType.AUTOMATED).retained_bytes is None
    assert (
        history([run(), replace(without_size, status=RunStatus.FAILED)]).of(BackupType.AUTOMATED).retained_bytes
        == 2**30
    )


def usual(*durations: int | None, newest: int = 1000) -> timedelta | None:
    """The usual duration after successes of so many minutes, newest first, before a newest one."""
    ages = (8 * HOUR + day * DAY for day in range(1, len(durations) + 1))
    before = [
        replace(run(ago=ago), end=None) if m is None else run(ago=ago, took=m * MINUTE)
        for ago, m in zip(ages, durations, strict=True)
    ]
    return history([run(took=newest * MINUTE), *before]).of(BackupType.AUTOMATED).usual_duration


def test_usual_duration_is_the_median_of_the_successes_before_the_newest() -> None:
    assert usual(*range(1, 8)) == 4 * MINUTE
    assert usual(*range(1, 9)) == 4.5 * MINUTE
    assert usual(3, 90, 3, 3, 4, 4, 4) == 4 * MINUTE


def test_usual_duration_takes_7_to_14_of_the_successes_that_report_one() -> None:
    assert usual(*range(1, 7)) is None
    assert usual(*range(1, 7), None) is None
    assert usual(*range(1, 7), None, 7) == 4 * MINUTE
    assert usual(*range(1, 15)) == 7.5 * MINUTE
    assert usual(*range(1, 15), 1000, 1000) == 7.5 * MINUTE
    assert usual(None, *range(1, 15), 1000) == 7.5 * MINUTE


def test_only_successes_of_the_type_are_usual() -> None:
    others = [replace(run(S.FAILED, ago=8 * HOUR + day * DAY, took=3 * HOUR), size_bytes=1) for day in range(20)]
    others += [run(S.DELETED, ago=7 * HOUR + day * DAY, took=3 * HOUR) for day in range(20)]
    on_demand = [run(ago=6 * HOUR + day * DAY, took=2 * HOUR, kind=ON_DEMAND) for day in range(8)]
    result = history([*others, *on_demand, *(run(ago=day * DAY) for day in range(9))])
    automated_runs, demanded = result.of(BackupType.AUTOMATED), result.of(ON_DEMAND)
    assert (automated_runs.usual_duration, automated_runs.usual_size) == (7 * MINUTE, 2**30)
    assert (demanded.usual_duration, demanded.usual_size) == (2 * HOUR, 2**30)


def test_usual_size_is_the_median_of_the_reported_sizes() -> None:
    sizes = [None, 1, None, 2, 3, 4, None, 5, 6, 8, 9]
    runs = [replace(run(ago=day * DAY), size_bytes=size) for day, size in enumerate(sizes)]
    assert history(runs).of(BackupType.AUTOMATED).usual_size == 4.5
    assert history(runs[:-2]).of(BackupType.AUTOMATED).usual_size is None


def seen(days: int, retained: int) -> Record:
    """An instance that was read on each of some days, with a backup on each and so many of them listed; the last was
    read at NOW. Each takes a minute longer than the one before; the first ten of them have no size."""
    runs = [run(ago=day * DAY, took=(days - day) * MINUTE, location="eu") for day in range(days)]
    sized = [replace(found, size_bytes=None) if number >= days - 10 else found for number, found in enumerate(runs)]
    listings = [sized[day : day + retained] for day in range(days - retained, -1, -1)]
    record = Record.first(INSTANCE, PackedRuns.of(listings[0]), NOW)
    for listing in listings[1:]:
        record = record.updated(INSTANCE, PackedRuns.of(listing), NOW)
    return record


@pytest.mark.parametrize(
    ("days", "retained", "minutes"),
    [
        (7, 7, None),
        (8, 7, 4),  # 1 to 7 minutes before the newest
        (30, 7, 26),  # 23 to 29
        (30, 3, 26),
        (30, 8, 26),
        (30, 10, 25),  # 21 to 29: enough are listed
        (30, 1, 26),
    ],
)
def test_backups_that_expire_still_show_what_is_usual(days: int, retained: int, minutes: int | None) -> None:
    """The Enterprise edition retains 7 backups: only 6 are listed before the newest one."""
    of_type = seen(days, retained).history.of(BackupType.AUTOMATED)
    assert of_type.usual_duration == (None if minutes is None else minutes * MINUTE)
    assert of_type.usual_size == (2**30 if days == 30 else None)
    assert of_type.retained == retained


def test_only_expired_backups_that_are_needed_are_kept() -> None:
    assert [len(seen(30, retained).history.expired) for retained in (1, 7, 8, 20)] == [7, 1, 0, 0]


def test_a_backup_that_is_listed_again_does_not_count_twice() -> None:
    before = seen(8, 7)
    again = before.updated(INSTANCE, PackedRuns.of([*before.history.runs, *before.history.expired]), NOW)
    assert (len(again.history.expired), again.history.of(BackupType.AUTOMATED).usual_duration) == (0, 4 * MINUTE)


def test_backups_of_an_earlier_instance_of_the_name_do_not_count() -> None:
    before = seen(30, 7)
    recreated = replace(INSTANCE, created=NOW)
    after = before.updated(recreated, PackedRuns.of(before.history.runs[:6]), NOW)
    assert (len(after.history.expired), after.history.of(BackupType.AUTOMATED).usual_duration) == (0, None)


def test_a_deleted_newest_backup_is_not_one_before_the_newest() -> None:
    before = seen(14, 7)
    after = before.updated(INSTANCE, PackedRuns.of(before.history.runs[1:]), NOW)
    assert after.history.of(BackupType.AUTOMATED).usual_duration is None


@pytest.mark.parametrize("status", [RunStatus.SUCCESSFUL, RunStatus.DELETED])
def test_skipped_run_after_a_vanished_backup_does_not_move_the_recovery_point(status: RunStatus) -> None:
    """The data that it refers to is gone; it was not in the older backup."""
    oldest, newer, skipped = run(ago=56 * HOUR), run(status, ago=32 * HOUR), run(RunStatus.SKIPPED)
    listed = with_vanished(PackedRuns.of([oldest, newer]), PackedRuns.of([oldest, skipped]))
    assert history(listed).recovery_point == oldest.start
    assert with_vanished(listed, PackedRuns.of([oldest, skipped])) == listed
    assert history([oldest, skipped]).recovery_point == skipped.scheduled  # nothing shows that a backup was deleted


def test_vanished_backup_is_not_a_run_of_its_type() -> None:
    oldest, on_demand = run(ago=56 * HOUR), run(ago=32 * HOUR, kind=BackupType.ON_DEMAND)
    after = history(with_vanished(PackedRuns.of([oldest, on_demand]), PackedRuns.of([oldest])))
    assert [run.status for run in after.runs] == [RunStatus.VANISHED, RunStatus.SUCCESSFUL]
    assert after.by_type.keys() == {BackupType.AUTOMATED}
    assert after.of(BackupType.AUTOMATED).newest == oldest


@pytest.mark.parametrize(
    ("known", "listed"),
    [
        ([run(), run(ago=32 * HOUR)], [run()]),  # expired: no older backup remains
        ([run(ago=56 * HOUR), run(ago=32 * HOUR)], []),  # nothing remains
        ([run(ago=56 * HOUR), run(RunStatus.FAILED, ago=32 * HOUR)], [run(ago=56 * HOUR)]),  # it held no data
        ([run(ago=56 * HOUR), run(ago=32 * HOUR)], [run(ago=56 * HOUR), run()]),  # a newer backup holds all data
    ],
)
def test_irrelevant_vanished_run_is_forgotten(known: list[BackupRun], listed: list[BackupRun]) -> None:
    assert with_vanished(PackedRuns.of(known), PackedRuns.of(listed)) == PackedRuns.of(listed)


@given(some_runs, st.randoms())
def test_history_does_not_depend_on_listing_order(runs: list[BackupRun], random: Random) -> None:
    shuffled = list(runs)
    random.shuffle(shuffled)
    assert history(shuffled) == history(runs)
