"""What is exported of the runs of each instance: the verdict on them, what they say, and what was counted of them."""

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import TypeVar

from exporter.assess import Assessment, Protection
from exporter.history import TypeHistory
from exporter.metric import PREFIX, Metric, Number, Sample, gauge, number
from exporter.model import NO_CODE, BackupRun, BackupType, RunStatus, span
from exporter.scan import Record
from exporter.tally import Durations

E = TypeVar("E", bound=StrEnum)

RUN_STATUSES = tuple(status for status in RunStatus if not status.deleted)
ENDED_STATUSES = tuple(status for status in RunStatus if status.ended)


def _by_type(name: str, meaning: str, read: Callable[[TypeHistory], Number]) -> Metric[Assessment]:
    """A gauge with one sample for each backup type that the instance has runs of."""

    def samples(verdict: Assessment) -> Iterator[Sample]:
        for backup_type, history in verdict.history.by_type.items():
            value = number(read(history))
            if value is not None:
                yield Sample((backup_type.lower(),), value)

    return Metric(PREFIX + name, meaning, ("backup_type",), samples)


def _of_run(
    run: Callable[[TypeHistory], BackupRun | None], read: Callable[[BackupRun], Number]
) -> Callable[[TypeHistory], Number]:
    def value(history: TypeHistory) -> Number:
        found = run(history)
        return read(found) if found else None

    return value


def _one_of(values: Iterable[E], held: E, *labels: str) -> tuple[Sample, ...]:
    """1 for the value that holds, 0 for the others, after some labels of the metric."""
    return tuple(Sample((*labels, value.lower()), float(value is held)) for value in values)


def _status(
    name: str, meaning: str, statuses: tuple[RunStatus, ...], run: Callable[[TypeHistory], BackupRun | None]
) -> Metric[Assessment]:
    # The samples of each type and status, made once.
    choices = {kind: {held: _one_of(statuses, held, kind.lower()) for held in RunStatus} for kind in BackupType}

    def samples(verdict: Assessment) -> Iterator[Sample]:
        for backup_type, history in verdict.history.by_type.items():
            if found := run(history):
                yield from choices[backup_type][found.status]

    return Metric(PREFIX + name, meaning, ("backup_type", "status"), samples)


def _newest(history: TypeHistory) -> BackupRun | None:
    return history.newest


def _ended(history: TypeHistory) -> BackupRun | None:
    return history.newest_ended


def _success(history: TypeHistory) -> BackupRun | None:
    return history.newest_success


_STATES = {state: _one_of(Protection, state) for state in Protection}


def _protection(verdict: Assessment) -> Iterable[Sample]:
    return _STATES[verdict.state]


def _findings(verdict: Assessment) -> Iterator[Sample]:
    for finding in verdict.findings:
        yield Sample((finding,), 1.0)


def _exempt(verdict: Assessment) -> Iterator[Sample]:
    if verdict.exemption:
        yield Sample((verdict.exemption,), 1.0)


def _last_error(verdict: Assessment) -> Iterator[Sample]:
    for backup_type, history in verdict.history.by_type.items():
        ended = history.newest_ended
        if ended and ended.error:
            yield Sample((backup_type.lower(), ended.error.label), 1.0)


VERDICT = (
    Metric(
        PREFIX + "protection",
        "State of the instance's backup protection: 1 for the state that holds, 0 for the others.",
        ("state",),
        _protection,
    ),
    Metric(PREFIX + "finding", "1 while the problem holds, else absent.", ("finding",), _findings),
    Metric(PREFIX + "exempt", "1 while no automated backup is expected, with the reason.", ("reason",), _exempt),
)

RUNS: tuple[Metric[Assessment], ...] = (
    _status("last_run_status", "Status of the newest run: 1 for its status.", RUN_STATUSES, _newest),
    _status(
        "last_completed_status", "Status of the newest run that has ended: 1 for its status.", ENDED_STATUSES, _ended
    ),
    _by_type(
        "last_run_window_start_timestamp_seconds",
        "When the window of the newest run opened.",
        _of_run(_newest, lambda run: run.window_start),
    ),
    _by_type(
        "last_run_enqueued_timestamp_seconds",
        "When the newest run was enqueued.",
        _of_run(_newest, lambda run: run.enqueued),
    ),
    _by_type(
        "last_run_start_timestamp_seconds", "When the newest run started.", _of_run(_newest, lambda run: run.start)
    ),
    _by_type("last_run_end_timestamp_seconds", "When the newest run ended.", _of_run(_newest, lambda run: run.end)),
    _by_type(
        "last_success_timestamp_seconds",
        "When the newest successful run ended.",
        _of_run(_success, lambda run: run.end),
    ),
    _by_type(
        "last_success_duration_seconds",
        "How long the newest successful run took.",
        _of_run(_success, lambda run: run.duration),
    ),
    _by_type(
        "last_success_size_bytes",
        "Chargeable size of the newest successful run, where reported.",
        _of_run(_success, lambda run: run.size_bytes),
    ),
    _by_type(
        "last_completed_duration_seconds",
        "How long the newest run that has ended took.",
        _of_run(_ended, lambda run: run.duration),
    ),
    _by_type(
        "last_run_queue_seconds",
        "How long the newest run waited from enqueued to start.",
        _of_run(_newest, lambda run: span(run.enqueued, run.start)),
    ),
    _by_type(
        "last_run_delay_seconds",
        "How long after its window opened the newest run started.",
        _of_run(_newest, lambda run: span(run.window_start, run.start)),
    ),
    Metric(
        PREFIX + "last_completed_error",
        "1 while the newest run that has ended is failed, with its error code, else absent.",
        ("backup_type", "code"),
        _last_error,
    ),
    _by_type(
        "consecutive_failures",
        "Failed runs since the last successful or skipped one.",
        lambda history: history.consecutive_failures,
    ),
    _by_type("in_progress", "1 while a run is enqueued or running.", lambda history: bool(history.in_progress)),
    _by_type("retained", "Backups that can be restored now.", lambda history: history.retained),
    _by_type(
        "retained_size_bytes",
        "Chargeable size of the backups that can be restored now, where reported.",
        lambda history: history.retained_bytes,
    ),
    _by_type(
        "oldest_retained_timestamp_seconds",
        "When the oldest backup that can be restored now ended.",
        lambda history: history.oldest_retained_end,
    ),
    gauge(
        "recovery_point_timestamp_seconds",
        "The moment up to which a restore loses nothing: start of the newest successful run, carried forward by "
        "later skipped runs.",
        lambda verdict: verdict.history.recovery_point,
    ),
    gauge(
        "next_due_timestamp_seconds",
        "When the next automated run must have begun: the end of its window.",
        lambda verdict: verdict.next_due,
    ),
)


def _success_age(verdict: Assessment) -> Iterator[Sample]:
    for backup_type, history in verdict.history.by_type.items():
        if history.newest_success and history.newest_success.end:
            yield Sample((backup_type.lower(),), history.newest_success.end)


def _recovery_point_age(verdict: Assessment) -> Iterator[Sample]:
    if verdict.history.recovery_point:
        yield Sample((), verdict.history.recovery_point)


AGES: tuple[Metric[Assessment], ...] = (
    Metric(
        PREFIX + "last_success_age_seconds",
        "Time since the newest successful run ended.",
        ("backup_type",),
        _success_age,
    ),
    Metric(
        PREFIX + "recovery_point_age_seconds",
        "Time since the recovery point: what a restore would lose.",
        (),
        _recovery_point_age,
    ),
)


def _counted_types(record: Record) -> list[BackupType]:
    """Automated from the first sight on, where there can be backups; other types once there was a run of them."""
    automated = {BackupType.AUTOMATED} if record.instance.can_have_backups else set()
    return sorted({*automated, *record.account.ended})


def _totals(record: Record) -> Iterator[Sample]:
    for backup_type in _counted_types(record):
        ended = record.account.ended.get(backup_type, {})
        for status in ENDED_STATUSES:
            yield Sample((backup_type.lower(), status.lower()), float(ended.get(status, 0)))


def _errors(record: Record) -> Iterator[Sample]:
    for backup_type in _counted_types(record):
        for code, count in {NO_CODE: 0, **record.account.errors.get(backup_type, {})}.items():
            yield Sample((backup_type.lower(), code), float(count))


def _durations(record: Record) -> Iterator[Sample]:
    for backup_type in _counted_types(record):
        told = record.account.durations.get(backup_type, Durations())
        yield Sample((backup_type.lower(),), float(told.count), "_count")
        yield Sample((backup_type.lower(),), told.seconds, "_sum")


COUNTERS: tuple[Metric[Record], ...] = (
    Metric(
        PREFIX + "runs_total",
        "Runs that came to an end since the instance was first seen, each counted once per outcome.",
        ("backup_type", "status"),
        _totals,
        "counter",
    ),
    Metric(
        PREFIX + "errors_total",
        "Failed runs since the instance was first seen, by error code.",
        ("backup_type", "code"),
        _errors,
        "counter",
    ),
    Metric(
        PREFIX + "run_duration_seconds",
        "How long successful runs took that ended since the instance was first seen.",
        ("backup_type",),
        _durations,
        "summary",
    ),
)
