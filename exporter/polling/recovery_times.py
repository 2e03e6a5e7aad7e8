"""Reads recovery times: one request per instance, spread evenly over time, in what polls leave of the rate limit."""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from exporter.facts.collected import Collected, CollectionStatus
from exporter.facts.collected import Collection as Kind
from exporter.facts.model import Clock, Instance, InstanceId, InstanceState
from exporter.facts.record import ProjectScan
from exporter.facts.recovery_times import RecoveryTimes
from exporter.polling.collect import result_or_error
from exporter.polling.instance_schedule import Schedule
from exporter.scan import parse
from exporter.scan.incremental import CLOCK_SKEW
from exporter.scan.source import Source, SourceError

CONCURRENCY = 4  # requests at once
MAX_WAIT = 1.0  # seconds until new instances are noticed

Outcome = RecoveryTimes | SourceError | None  # None: the API has no recovery times of the instance
Progress = Callable[[int, int], None]


class RecoveryTimesReader:
    """Reads the recovery times of running primaries with point-in-time recovery. Safe to share between threads."""

    def __init__(
        self,
        every: timedelta,
        source: Callable[[str], Source],
        clock: Clock,
        stop: threading.Event,
        report_unreadable: Callable[[str, str, str], None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read those of each instance once per `every`, until `stop` is set. Does not begin yet.

        `report_unreadable` is called with project, kind and fields of a response that is not fully readable.
        """
        self._monotonic = monotonic
        self._every, self._source, self._clock, self._stop = every, source, clock, stop
        self._report_unreadable = report_unreadable
        self._schedule = Schedule(every.total_seconds())
        self._outcomes: dict[InstanceId, Outcome] = {}  # of the last request about each instance
        self._instances: dict[str, frozenset[InstanceId]] = {}  # those that are asked, by project
        self._lock = threading.Lock()
        self._turn = threading.Lock()  # held by the thread that waits for the next instance

    def start(self) -> None:
        """Read in the background."""
        for number in range(CONCURRENCY):
            threading.Thread(target=self._work, name=f"recovery-times-{number}", daemon=True).start()

    def read_due(self, progress: Progress) -> None:
        """Read the recovery times of all instances that are due, and wait.

        `progress` is called with the number of finished and of all requests.
        """
        now = self._monotonic()
        with self._lock:
            total = self._schedule.number_due(now)
        finished = [0] * min(CONCURRENCY, total)  # by thread

        def work(number: int) -> None:
            while instance := self._take(now):
                self._read(instance)
                finished[number] += 1

        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(finished))]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)
                progress(sum(finished), total)
        if total:
            progress(sum(finished), total)

    def only(self, projects: Collection[str]) -> None:
        """Ask no longer about instances of other projects."""
        with self._lock:
            for project in self._instances.keys() - set(projects):
                self._forget(self._instances.pop(project))

    def collected(self, project: str, before: ProjectScan | None, scan: ProjectScan, known: Collected) -> Collected:
        """What is known after a poll of a project; the same object where nothing is new.

        `before` is the scan before the poll, `scan` the one after it. From now on the instances of `scan` are asked.
        """
        now = self._clock()
        changed = _settings_changed(known.settings_changed, before, scan, now)
        with self._lock:
            self._forget(_recreated(before, scan))
            kept = {name: known.recovery_times[name] for name in _kept(known, before, scan)}
            self._set_instances(project, scan, kept, now)
            instances = self._instances[project]
            outcomes = {i.name: self._outcomes[i] for i in sorted(instances) if i in self._outcomes}
        times = kept | {name: found for name, found in outcomes.items() if isinstance(found, RecoveryTimes)}
        if times != known.recovery_times or changed != known.settings_changed:
            known = replace(known, recovery_times=times, settings_changed=changed)
        before_status = known.status.get(Kind.RECOVERY_TIMES)
        status = _status(before_status, outcomes, len(instances))
        return known if status == before_status else known.with_status(Kind.RECOVERY_TIMES, status)

    def _set_instances(
        self, project: str, scan: ProjectScan, known: Mapping[str, RecoveryTimes], now: datetime
    ) -> None:
        """Ask about these instances of a project: the ones that are new when their known times get too old."""
        asked = frozenset(record.instance.id for record in scan.records.values() if _is_asked(record.instance))
        self._forget(self._instances.get(project, frozenset()) - asked)
        self._instances[project] = asked
        monotonic = self._monotonic()
        for instance in sorted(asked):
            if instance not in self._schedule:
                times = known.get(instance.name)
                wait = times.read_at + self._every - now if times else timedelta()
                self._schedule.add(instance, monotonic + min(max(wait, timedelta()), self._every).total_seconds())

    def _forget(self, instances: Iterable[InstanceId]) -> None:
        for instance in instances:
            self._schedule.remove(instance)
            self._outcomes.pop(instance, None)

    def _work(self) -> None:
        while instance := self._next():
            self._read(instance)

    def _next(self) -> InstanceId | None:
        """Wait for the next instance to ask about; None if reading has been stopped."""
        with self._turn:
            while not self._stop.is_set():
                with self._lock:
                    found = self._schedule.take(self._monotonic())
                if isinstance(found, InstanceId):
                    return found
                self._stop.wait(min(found, MAX_WAIT))
        return None

    def _take(self, due: float) -> InstanceId | None:
        """An instance that was due at a time; None if there is none, or reading has been stopped."""
        with self._lock:
            found = self._schedule.take(due, spread=False)
        return found if isinstance(found, InstanceId) and not self._stop.is_set() else None

    def _read(self, instance: InstanceId) -> None:
        outcome = result_or_error(lambda: self._recovery_times(instance))
        if self._stop.is_set():  # an error is only due to that
            return
        with self._lock:
            if instance in self._schedule:
                self._outcomes[instance] = outcome
            self._schedule.asked(instance, self._monotonic(), failed=isinstance(outcome, SourceError))

    def _recovery_times(self, instance: InstanceId) -> RecoveryTimes | None:
        item = self._source(instance.project).recovery_times(instance.project, instance.name)
        if item is None:
            return None
        now = self._clock()
        parsed = parse.recovery_times(parse.json_value(item), read_at=now, latest=now + CLOCK_SKEW)
        if parsed.unreadable:
            self._report_unreadable(instance.project, "recovery_times", ", ".join(parsed.unreadable))
        return parsed.fact if parsed.fact.earliest or parsed.fact.latest else None


def _is_asked(instance: Instance) -> bool:
    return instance.is_running_primary and bool(instance.backups.pitr_enabled)


def _can_have_logs(instance: Instance) -> bool:
    """Whether the logs of an instance can still exist: those of point-in-time recovery are deleted with it."""
    return instance.is_primary and instance.backups.pitr_enabled is not False


def _kept(known: Collected, before: ProjectScan | None, scan: ProjectScan) -> list[str]:
    """The instances whose known recovery times still hold: the same ones, whose logs have not been switched off."""
    recreated = {instance.name for instance in _recreated(before, scan)}
    return [
        name
        for name in known.recovery_times
        if name in scan.records and name not in recreated and _can_have_logs(scan.records[name].instance)
    ]


def _recreated(before: ProjectScan | None, scan: ProjectScan) -> list[InstanceId]:
    """The instances that replace others of the same name."""
    known = before.records if before and before is not scan else {}
    return [
        record.instance.id
        for name, record in scan.records.items()
        if name in known and _differ(known[name].instance.created, record.instance.created)
    ]


def _settings_changed(
    known: Mapping[str, datetime], before: ProjectScan | None, scan: ProjectScan, now: datetime
) -> Mapping[str, datetime]:
    """When each instance was last seen with other settings on which the recovery window depends."""
    if before is None or before is scan:
        return known
    changed = {
        name: now
        for name, record in scan.records.items()
        if name in before.records and _window_changed(before.records[name].instance, record.instance)
    }
    kept = {name: at for name, at in known.items() if name in scan.records}
    return {**kept, **changed} if changed or len(kept) < len(known) else known


def _window_changed(before: Instance, after: Instance) -> bool:
    """Whether settings differ after which the recovery window is, or begins, anew."""
    return before is not after and any(map(_differ, _window_settings(before), _window_settings(after)))


def _window_settings(instance: Instance) -> tuple[object, ...]:
    backups = instance.backups
    return (
        backups.enabled,
        backups.pitr_enabled,
        backups.transaction_log_retention,
        backups.retained_backups,
        instance.database_version,
        instance.activation,
        instance.state is InstanceState.SUSPENDED,
    )


def _differ(before: object, after: object) -> bool:
    """Whether two values that are known differ."""
    return before is not None and after is not None and before != after


def _status(
    before: CollectionStatus | None, outcomes: Mapping[str, Outcome], instances: int
) -> CollectionStatus | None:
    """The status by the last outcome for each instance that was asked, of a number of instances to ask.

    After a failure, it is up again when a whole round has none.
    """
    errors = [outcome for outcome in outcomes.values() if isinstance(outcome, SourceError)]
    if errors:
        error = next((error for error in errors if before and str(error) == before.message), errors[0])
        return CollectionStatus(False, str(error), error.missing_permission)
    if outcomes and (before is None or len(outcomes) == instances):
        return CollectionStatus(up=True)
    return before if instances else None
