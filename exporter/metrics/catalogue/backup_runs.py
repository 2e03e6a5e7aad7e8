"""Metrics about the backup runs of each instance: the verdict, the state of its runs, and counters."""

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import TypeVar

from exporter.facts.counters import Durations
from exporter.facts.history import TypeHistory
from exporter.facts.model import NO_CODE, BackupRun, BackupType, RunStatus, span
from exporter.facts.record import Record
from exporter.metrics.metric import Age, Metric, Number, Sample, gauge
from exporter.verdict.assess import Verdict
from exporter.verdict.rules import Protection

E = TypeVar("E", bound=StrEnum)

RUN_STATUSES = tuple(status for status in RunStatus if not status.deleted)
COMPLETED_STATUSES = tuple(status for status in RunStatus if status.completed)


def _by_type(name: str, help_text: str, read: Callable[[TypeHistory], Number | None]) -> Metric[Verdict]:
    """A gauge with one sample for each backup type that the instance has runs of."""

    def samples(verdict: Verdict) -> list[Sample]:
        return [
            Sample((backup_type.lower(),), value)
            for backup_type, history in verdict.history.by_type.items()
            if (value := read(history)) is not None
        ]

    return Metric(name, help_text, ("backup_type",), samples)


def _of_run(
    run: Callable[[TypeHistory], BackupRun | None], read: Callable[[BackupRun], Number | None]
) -> Callable[[TypeHistory], Number | None]:
    def value(history: TypeHistory) -> Number | None:
        found = run(history)
        return read(found) if found else None

    return value


def _one_of(values: Iterable[E], current: E, *labels: str) -> tuple[Sample, ...]:
    """1 for the current value, 0 for all others, after some labels of the metric."""
    return tuple(Sample((*labels, value.lower()), float(value is current)) for value in values)


def _status(
    name: str, help_text: str, statuses: tuple[RunStatus, ...], run: Callable[[TypeHistory], BackupRun | None]
) -> Metric[Verdict]:
    # The samples for each type and status, made once.
    choices = {of: {status: _one_of(statuses, status, of.lower()) for status in RunStatus} for of in BackupType}

    def samples(verdict: Verdict) -> Iterator[Sample]:
        for backup_type, history in verdict.history.by_type.items():
            if found := run(history):
                yield from choices[backup_type][found.status]

    return Metric(name, help_text, ("backup_type", "status"), samples, enumerated=True)


def _newest(history: TypeHistory) -> BackupRun | None:
    return history.newest


def _completed(history: TypeHistory) -> BackupRun | None:
    return history.newest_completed


def _success(history: TypeHistory) -> BackupRun | None:
    return history.newest_success


_STATES = {state: _one_of(Protection, state) for state in Protection}


def _protection(verdict: Verdict) -> Iterable[Sample]:
    return _STATES[verdict.state]


def _findings(verdict: Verdict) -> Iterator[Sample]:
    for finding in verdict.findings:
        yield Sample((finding,), 1.0)


def _exempt(verdict: Verdict) -> Iterator[Sample]:
    if verdict.exemption:
        yield Sample((verdict.exemption,), 1.0)


def _last_error(verdict: Verdict) -> Iterator[Sample]:
    for backup_type, history in verdict.history.by_type.items():
        run = history.newest_completed
        if run and run.error:
            yield Sample((backup_type.lower(), run.error.label), 1.0)


def _recovery_point_source(verdict: Verdict) -> Iterator[Sample]:
    if verdict.recovery_point_source:
        yield Sample((verdict.recovery_point_source,), 1.0)


VERDICT = (
    Metric(
        "cloudsql_backup_protection",
        "State of the instance's backup protection: 1 for the current state, 0 for all others.",
        ("state",),
        _protection,
        enumerated=True,
    ),
    Metric("cloudsql_backup_finding", "1 while the finding applies, else absent.", ("finding",), _findings),
    Metric(
        "cloudsql_backup_exempt",
        "1 while no automated backup is expected, with the reason, else absent.",
        ("reason",),
        _exempt,
    ),
)

RUNS: tuple[Metric[Verdict], ...] = (
    _status(
        "cloudsql_backup_last_run_status",
        "Status of the newest run: 1 for its status, 0 for all others.",
        RUN_STATUSES,
        _newest,
    ),
    _status(
        "cloudsql_backup_last_completed_status",
        "Status of the newest completed run: 1 for its status, 0 for all others.",
        COMPLETED_STATUSES,
        _completed,
    ),
    _by_type(
        "cloudsql_backup_last_run_window_start_timestamp_seconds",
        "Window start of the newest run.",
        _of_run(_newest, lambda run: run.window_start),
    ),
    _by_type(
        "cloudsql_backup_last_run_enqueued_timestamp_seconds",
        "When the newest run was enqueued.",
        _of_run(_newest, lambda run: run.enqueued),
    ),
    _by_type(
        "cloudsql_backup_last_run_start_timestamp_seconds",
        "When the newest run started.",
        _of_run(_newest, lambda run: run.start),
    ),
    _by_type(
        "cloudsql_backup_last_run_end_timestamp_seconds",
        "When the newest run ended.",
        _of_run(_newest, lambda run: run.end),
    ),
    _by_type(
        "cloudsql_backup_last_success_timestamp_seconds",
        "When the newest successful run ended.",
        _of_run(_success, lambda run: run.end),
    ),
    _by_type(
        "cloudsql_backup_last_success_duration_seconds",
        "Duration of the newest successful run.",
        _of_run(_success, lambda run: run.duration),
    ),
    _by_type(
        "cloudsql_backup_last_success_size_bytes",
        "Chargeable size of the newest successful run, where reported.",
        _of_run(_success, lambda run: run.size_bytes),
    ),
    _by_type(
        "cloudsql_backup_usual_duration_seconds",
        "Median duration of the successful runs before the newest one, at most 14; absent below 7.",
        lambda history: history.usual_duration,
    ),
    _by_type(
        "cloudsql_backup_usual_size_bytes",
        "Median chargeable size of the successful runs before the newest one that report it, at most 14; absent below "
        "7.",
        lambda history: history.usual_size,
    ),
    _by_type(
        "cloudsql_backup_last_completed_duration_seconds",
        "Duration of the newest completed run.",
        _of_run(_completed, lambda run: run.duration),
    ),
    _by_type(
        "cloudsql_backup_last_run_queue_seconds",
        "Time from enqueued to start of the newest run.",
        _of_run(_newest, lambda run: span(run.enqueued, run.start)),
    ),
    _by_type(
        "cloudsql_backup_last_run_delay_seconds",
        "Time from window start to start of the newest run.",
        _of_run(_newest, lambda run: span(run.window_start, run.start)),
    ),
    Metric(
        "cloudsql_backup_last_completed_error",
        "1 while the newest completed run is a failed one, with its error code, else absent.",
        ("backup_type", "code"),
        _last_error,
    ),
    _by_type(
        "cloudsql_backup_consecutive_failures",
        "Failed runs since the last successful or skipped run.",
        lambda history: history.consecutive_failures,
    ),
    _by_type(
        "cloudsql_backup_in_progress",
        "1 while a run is enqueued or running.",
        lambda history: bool(history.in_progress),
    ),
    _by_type("cloudsql_backup_retained", "Backups that can be restored now.", lambda history: history.retained),
    _by_type(
        "cloudsql_backup_retained_size_bytes",
        "Total chargeable size of the backups that can be restored now; absent unless each of them reports it.",
        lambda history: history.retained_bytes,
    ),
    _by_type(
        "cloudsql_backup_oldest_retained_timestamp_seconds",
        "When the oldest backup that can be restored now ended.",
        lambda history: history.oldest_retained_end,
    ),
    gauge(
        "cloudsql_backup_recovery_point_timestamp_seconds",
        "Time up to which a restore loses no data: start of the newest successful run, or window start of a later "
        "skipped run; consistency time of the newest backup by a backup plan.",
        lambda verdict: verdict.recovery_point,
    ),
    Metric(
        "cloudsql_backup_recovery_point_source",
        "1 for what the recovery point rests on, others absent.",
        ("source",),
        _recovery_point_source,
    ),
    gauge(
        "cloudsql_backup_next_due_timestamp_seconds",
        "When the next automated run must have begun: the end of its backup window.",
        lambda verdict: verdict.next_due,
    ),
)


def _success_age(verdict: Verdict) -> Iterator[Sample]:
    for backup_type, history in verdict.history.by_type.items():
        if history.newest_success and history.newest_success.end:
            yield Sample((backup_type.lower(),), Age(history.newest_success.end))


def _recovery_point_age(verdict: Verdict) -> Iterator[Sample]:
    if verdict.recovery_point:
        yield Sample((), Age(verdict.recovery_point))


AGES: tuple[Metric[Verdict], ...] = (
    Metric(
        "cloudsql_backup_last_success_age_seconds",
        "Time since the newest successful run ended.",
        ("backup_type",),
        _success_age,
    ),
    Metric(
        "cloudsql_backup_recovery_point_age_seconds",
        "Time since the recovery point, the data that a restore would lose.",
        (),
        _recovery_point_age,
    ),
)


def _counted_types(record: Record) -> list[BackupType]:
    """Automated from first sight if the instance can have backups; other types once there was a run of them."""
    automated = {BackupType.AUTOMATED} if record.instance.can_have_backups else set()
    return sorted({*automated, *record.counters.completed})


_OUTCOMES = {of: [(status, (of.lower(), status.lower())) for status in COMPLETED_STATUSES] for of in BackupType}


def _totals(record: Record) -> Iterator[Sample]:
    for backup_type in _counted_types(record):
        completed = record.counters.completed.get(backup_type, {})
        for status, labels in _OUTCOMES[backup_type]:
            yield Sample(labels, completed.get(status, 0))


def _errors(record: Record) -> Iterator[Sample]:
    for backup_type in _counted_types(record):
        for code, count in {NO_CODE: 0, **record.counters.errors.get(backup_type, {})}.items():
            yield Sample((backup_type.lower(), code), count)


def _durations(record: Record) -> Iterator[Sample]:
    for backup_type in _counted_types(record):
        durations = record.counters.durations.get(backup_type, Durations())
        yield Sample((backup_type.lower(),), durations.count, "_count")
        yield Sample((backup_type.lower(),), durations.seconds, "_sum")


COUNTERS: tuple[Metric[Record], ...] = (
    Metric(
        "cloudsql_backup_runs_total",
        "Completed runs since the instance was first seen, each counted once per outcome.",
        ("backup_type", "status"),
        _totals,
        "counter",
    ),
    Metric(
        "cloudsql_backup_errors_total",
        "Failed runs since the instance was first seen, by error code.",
        ("backup_type", "code"),
        _errors,
        "counter",
    ),
    Metric(
        "cloudsql_backup_run_duration_seconds",
        "Duration of runs that completed successfully since the instance was first seen.",
        ("backup_type",),
        _durations,
        "summary",
    ),
)
