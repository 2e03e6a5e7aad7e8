"""What the runs of an instance say, in whatever order they come."""

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from exporter.facts.history import history
from exporter.facts.model import BackupRun, BackupType, RunStatus
from tests.support.builders import DAY, HOUR, MINUTE, NOW, run
from tests.support.strategies import some_runs

S = RunStatus
ON_DEMAND = BackupType.ON_DEMAND


def days(*statuses: RunStatus) -> list[BackupRun]:
    """One automated run a day, newest first."""
    return [run(status, ago=8 * HOUR + day * DAY) for day, status in enumerate(statuses)]


def automated(*statuses: RunStatus) -> tuple[RunStatus | None, RunStatus | None, int]:
    told = history(days(*statuses)).of(BackupType.AUTOMATED)
    return (
        told.newest.status if told.newest else None,
        told.newest_completed.status if told.newest_completed else None,
        told.consecutive_failures,
    )


def test_a_running_backup_does_not_hide_a_failed_one() -> None:
    assert automated(S.RUNNING, S.FAILED, S.FAILED, S.SUCCESSFUL) == (S.RUNNING, S.FAILED, 2)


def test_failures_are_counted_back_to_a_success_or_a_skip_and_overdue_runs_neither_count_nor_end_it() -> None:
    assert automated(S.FAILED, S.OVERDUE, S.FAILED, S.SKIPPED, S.FAILED) == (S.FAILED, S.FAILED, 2)


def test_deleted_runs_are_nobodys_last_run() -> None:
    assert automated(S.DELETED, S.DELETION_PENDING, S.DELETION_FAILED, S.FAILED) == (S.FAILED, S.FAILED, 1)


def test_a_word_not_known_is_the_newest_run_but_no_end() -> None:
    assert automated(S.UNKNOWN, S.SUCCESSFUL) == (S.UNKNOWN, S.SUCCESSFUL, 0)


def test_a_type_is_known_even_where_all_its_runs_were_deleted() -> None:
    told = history(days(S.DELETED))
    assert list(told.by_type) == [BackupType.AUTOMATED]
    assert told.by_type[BackupType.AUTOMATED].newest is None
    assert told.recovery_point is None


def test_types_are_told_apart() -> None:
    told = history([run(S.FAILED, ago=8 * HOUR), run(S.SUCCESSFUL, ago=HOUR, kind=ON_DEMAND)])
    assert told.of(BackupType.AUTOMATED).consecutive_failures == 1
    assert told.of(ON_DEMAND).consecutive_failures == 0
    assert told.recovery_point == NOW - HOUR


def test_the_recovery_point_is_the_start_of_the_success_that_began_last_whatever_its_window() -> None:
    late = replace(run(ago=9 * HOUR), start=NOW - 6 * HOUR)  # its window opened first, but it began last
    by_hand = run(ago=7 * HOUR, kind=ON_DEMAND)
    assert history([by_hand, late]).recovery_point == NOW - 6 * HOUR


def test_a_skipped_run_carries_the_recovery_point_forward() -> None:
    assert history(days(S.SKIPPED, S.SKIPPED, S.SUCCESSFUL)).recovery_point == NOW - 8 * HOUR


def test_a_skipped_run_before_the_success_does_not_move_it_back() -> None:
    assert history(days(S.SUCCESSFUL, S.SKIPPED)).recovery_point == NOW - 8 * HOUR


def test_skips_with_nothing_to_restore_make_no_recovery_point() -> None:
    assert history(days(S.SKIPPED, S.SKIPPED)).recovery_point is None


def test_a_skip_that_refers_to_a_deleted_backup_carries_nothing() -> None:
    """The newest data was in the deleted one: only the older backup can be restored."""
    assert history(days(S.SKIPPED, S.DELETED, S.SUCCESSFUL)).recovery_point == NOW - 8 * HOUR - 2 * DAY


def test_without_a_start_the_recovery_point_is_the_latest_moment_known_before_it() -> None:
    unstarted = replace(run(ago=8 * HOUR), start=None, enqueued=NOW - 7 * HOUR)
    assert history([unstarted]).recovery_point == NOW - 7 * HOUR
    assert history([replace(unstarted, enqueued=None)]).recovery_point == NOW - 8 * HOUR


def test_a_run_that_ends_before_it_starts_took_nobody_knows_how_long() -> None:
    assert replace(run(), end=NOW - 9 * HOUR).duration is None
    assert run(took=7 * MINUTE).duration == 7 * MINUTE


def test_sizes_are_summed_where_reported() -> None:
    unsized = replace(run(ago=32 * HOUR), size_bytes=None)
    assert history([run(), unsized]).of(BackupType.AUTOMATED).retained_bytes == 2**30
    assert history([unsized]).of(BackupType.AUTOMATED).retained_bytes is None


@given(some_runs, st.randoms())
def test_the_order_of_the_listing_changes_nothing(runs: list[BackupRun], random: Random) -> None:
    shuffled = list(runs)
    random.shuffle(shuffled)
    assert history(shuffled) == history(runs)
