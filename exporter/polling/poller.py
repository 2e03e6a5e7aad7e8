"""The poller: schedules polls of projects and searches, and publishes their results in a snapshot."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from exporter.config import Config, ProjectTarget, SearchingTarget
from exporter.facts.collected import Collected
from exporter.facts.daily import DailyRecord
from exporter.facts.model import Clock
from exporter.facts.record import ProjectScan
from exporter.facts.snapshot import DiscoveryMethod, ProjectState, ProjectStatus, SearchStatus, Snapshot
from exporter.polling import collect
from exporter.polling.backup_plans import plans_collector
from exporter.polling.compute_lock import ComputeLockedSource
from exporter.polling.deleted_instances import deleted_instances_collector
from exporter.polling.discovery import Discovery, discover
from exporter.polling.empty_projects import EmptyProjects
from exporter.polling.log_changes import log_poll, log_search
from exporter.polling.recovery_times import RecoveryTimesReader
from exporter.polling.shard import Shard
from exporter.polling.shared_plans import SharedPlans
from exporter.polling.targets import Selectors, Targets, resolve, selects
from exporter.polling.workers import WorkerPool
from exporter.scan.incremental import ScanOptions, scan
from exporter.scan.source import ProjectDirectory, Source, SourceError
from exporter.state.ledger import Ledger
from exporter.verdict.assess import Verdict
from exporter.verdict.daily import observe
from exporter.verdict.evaluate import ProjectVerdicts, project_verdicts

log = logging.getLogger(__name__)

ALL = Shard()
DISCOVERY_TIMEOUT = timedelta(minutes=10)  # for retries: a walk through many folders takes some minutes


def run_every(job: Callable[[], None], interval: timedelta, stop: threading.Event) -> None:
    """Run a job now and then at a fixed interval until `stop` is set; late runs are skipped, not queued."""
    due = time.monotonic()
    while not stop.is_set():
        job()
        due = max(due + interval.total_seconds(), time.monotonic())
        stop.wait(due - time.monotonic())


@dataclass(frozen=True, slots=True)
class PollerDependencies:
    """Collaborators of a poller.

    `source` and `directory` have a deadline on the monotonic clock, and may impersonate a service account. `code_label`
    returns the label value of an error code. `on_unreadable` is called with the kind of each item that is not fully
    readable, `on_change` when the snapshot has changed. `stop`, which the workers set when they are stopped, ends
    polling and every wait of the source. `monotonic` is a clock in seconds; `observed` holds, by that clock, when the
    last poll of each project that is a target ended. `due` holds when each project without instances is due, on the
    process's clock.
    """

    source: Callable[[float, str | None], Source]
    directory: Callable[[float, str | None], ProjectDirectory]
    clock: Clock
    ledger: Ledger
    workers: WorkerPool
    code_label: Callable[[str], str]
    on_unreadable: Callable[[str], None]
    on_change: Callable[[], None]
    stop: threading.Event
    monotonic: Callable[[], float] = time.monotonic
    observed: dict[str, float] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)


class Poller:
    """Keeps `snapshot` current. Each poll replaces its project's entry; nothing is changed in place."""

    def __init__(
        self, config: Config, dependencies: PollerDependencies, snapshot: Snapshot, shard: Shard = ALL
    ) -> None:
        """Start from a snapshot that is already known. Does not poll yet."""
        self._config, self._shard = config, shard
        self._dependencies, self._workers, self._stop = dependencies, dependencies.workers, dependencies.stop
        self.snapshot = _only_shard(snapshot, shard).only_collected(config.collect.collections)
        self.verdicts: Mapping[str, ProjectVerdicts] = {}  # after the last poll of each project
        self._polled_selectors: dict[str, Selectors] = {}  # of the last poll of each project that was begun
        self._reported: set[tuple[str, str, str]] = set()  # unreadable project, kind and field: warned of once
        self._last_search: dict[str, float] = {}  # by query, on the monotonic clock
        self._empty = EmptyProjects(config, dependencies.clock, dependencies.due)
        self._paced = False  # polls of empty projects are spread; else all that are due come at once
        self._searching = [target for target in config.targets if not isinstance(target, ProjectTarget)]
        self._last_schedule: float | None = None
        self._was_ready = any(status.scan for status in snapshot.projects.values())
        self._lock = threading.RLock()
        self._compute_lock = threading.Lock()
        self._targets = self._resolve_targets()
        self._shared_plans = SharedPlans(config.poll.interval)
        self._collectors = self._make_collectors()
        self._recovery_times: RecoveryTimesReader | None = None
        if config.collect.recovery_times:
            self._recovery_times = RecoveryTimesReader(
                config.collect.recovery_times_every,
                lambda project: self._source(self._targets.accounts.get(project)),
                dependencies.clock,
                self._stop,
                self._report_unreadable,
            )

    def start(self) -> None:
        """Poll now and at every interval, in the background, until `stop`."""
        self._last_schedule, self._paced = time.monotonic(), True
        self._workers.start()
        arguments = (self._schedule_polls, self._config.poll.interval, self._stop)
        threading.Thread(target=run_every, args=arguments, name="scheduler", daemon=True).start()
        if self._recovery_times:
            self._recovery_times.start()
        if self._searching:
            threading.Thread(target=self._spread_polls, name="spread", daemon=True).start()

    def stop(self) -> Snapshot:
        """Start no further poll, and abandon those in progress. Returns the final snapshot."""
        with self._lock:
            self._workers.stop()
            self.snapshot = self._with_recovery_times(self.snapshot)
            for query in self.snapshot.searches:
                self._save_search(query)  # with what polls since then have found out
            return self.snapshot

    def poll_all(self, progress: Callable[[int, int], None] = lambda _finished, _total: None) -> None:
        """Poll every target once and wait; `progress` is called with the number of finished and of all polls.

        Then recovery times that are due are read at once, with the same progress. May be repeated until `stop`, instead
        of `start`.
        """
        self._workers.start()
        self._schedule_polls()
        self._workers.wait_idle(progress)
        if self._recovery_times:
            self._recovery_times.read_due(progress)
            for project in self.snapshot.projects:
                self._publish_recovery_times(project)

    def poll_once(self, progress: Callable[[int, int], None] = lambda _finished, _total: None) -> Snapshot:
        """Poll every target once and stop; returns the final snapshot."""
        self.poll_all(progress)
        return self.stop()

    def update_readiness(self) -> bool:
        """Whether there are facts to serve, saved ones or from a first poll of every project; it stays true then.

        A shard to which no project belongs is ready: an update of its StatefulSet would wait for it.
        """
        with self._lock:
            statuses = self.snapshot.projects.values()
            known = any(status.scan or status.state is ProjectState.API_DISABLED for status in statuses)
            regular = {project for project in self._targets.selectors if project not in self._empty}
            all_polled = regular <= self._workers.finished()
            self._was_ready = known and (self._was_ready or all_polled)
            unused = self._shard.total > 1 and self._targets.complete and not self._targets.selectors
            return self._was_ready or unused

    def healthy(self) -> bool:
        """Whether polls are scheduled, and those in progress are not stuck."""
        schedule_limit = 2 * self._config.poll.interval.total_seconds() + 60
        # The rate limit and Retry-After may delay a poll for as long as its interval; this is about one that hangs.
        poll_limit = schedule_limit + 4 * self._config.poll.timeout.total_seconds() + 600
        late = self._last_schedule is not None and time.monotonic() - self._last_schedule >= schedule_limit
        return not late and not self._workers.stuck(poll_limit)

    def _schedule_polls(self) -> None:
        """Submit a poll of everything that is targeted and not being polled already."""
        if self._last_schedule is not None:
            self._last_schedule = time.monotonic()
        for target in self._searching:
            if self._search_is_due(target):
                self._workers.submit(f"search {target.query}", partial(self._search, target))
        self._update_targets()
        with self._lock:
            due = [project for project in self._targets.selectors if self._is_due(project)]
        for project in due:
            self._workers.submit(project, partial(self._poll, project))

    def _is_due(self, project: str) -> bool:
        return project not in self._empty or (not self._paced and self._empty.is_due(project))

    def _spread_polls(self) -> None:
        """Submit polls of empty projects, spread evenly, until `stop`."""
        wait = 0.0
        while not self._stop.wait(min(wait, 1)):
            with self._lock:
                project, wait = self._empty.next_turn()
            if project:
                self._workers.submit(project, partial(self._poll, project))

    def _resolve_targets(self) -> Targets:
        # Before a first search has been tried, saved projects wait for its result.
        known = self.snapshot.projects if self.snapshot.searches or self._workers.finished() else ()
        targets = resolve(self._config.targets, self.snapshot.searches, known, self._shard)
        observed = self._dependencies.observed
        for project in list(observed):
            if project not in targets.selectors:  # should it be a target again, its first poll begins its observation
                del observed[project]
        return targets

    def _update_targets(self) -> None:
        """Resolve the targets, and forget projects and searches that are no longer among them."""
        with self._lock:
            targets = self._targets = self._resolve_targets()
            former: Set[str] = set()
            self._empty.keep_found(self._targets)
            if self._paced:
                self._empty.add_unpolled(self._targets, self._polled_selectors.keys(), self.snapshot)
            if targets.complete:
                queries = {target.query for target in self._searching}
                former = self.snapshot.searches.keys() - queries
                self.snapshot = self.snapshot.only(self._targets.selectors, queries)
                self.verdicts = {name: found for name, found in self.verdicts.items() if name in self.snapshot.projects}
        if targets.complete:
            if self._recovery_times:
                self._recovery_times.only(targets.selectors)
            self._dependencies.ledger.forget(targets.selectors, self._dependencies.clock())
        for query in former:
            self._dependencies.ledger.save_search(query, None)
        self._dependencies.on_change()

    def _search_is_due(self, target: SearchingTarget) -> bool:
        last = self._last_search.get(target.query)
        status = self.snapshot.searches.get(target.query)
        fresh = last is not None and time.monotonic() - last < target.refresh.total_seconds()
        return not (fresh and status and status.up)

    def _search(self, target: SearchingTarget) -> None:
        before = self.snapshot.searches.get(target.query, SearchStatus())
        timeout = max(self._config.poll.interval, DISCOVERY_TIMEOUT)
        directory = self._dependencies.directory(time.monotonic() + timeout.total_seconds(), target.impersonate)
        result = collect.result_or_error(lambda: discover(directory, target, before.projects))
        self._last_search[target.query] = time.monotonic()
        if self._stop.is_set():  # an error is only due to that
            return
        if isinstance(result, SourceError):
            result = Discovery(before.method or DiscoveryMethod.SEARCH, error=result)
        status = result.status(before, target.impersonate)
        with self._lock:
            self.snapshot = self.snapshot.with_search(target.query, status)
        self._save_search(target.query)
        log_search(target.query, before, status, result.reason)
        self._update_targets()
        with self._lock:
            changed = _changed_selectors(self._targets.selectors, self._polled_selectors)
            due = [project for project in changed if project not in self._empty]
            if self._paced and status.with_instances:
                due += self._empty.take_out(status.with_instances)
        for project in due:
            self._workers.submit(project, partial(self._poll, project), rerun=True)

    def _save_search(self, query: str) -> None:
        if self.snapshot.searches[query].answered:
            self._dependencies.ledger.save_search(query, self.snapshot.saved_search(query))

    def _poll(self, project: str) -> None:
        with self._lock:
            selectors = self._targets.selectors.get(project, ())
            full = self._polled_selectors.get(project) != selectors
            self._polled_selectors[project] = selectors
            before = self.snapshot.projects.get(project) or self._restored_status(project)
            found, account = project not in self._targets.named, self._targets.accounts.get(project)
            before = replace(before, found=found, account=account)
        start = time.monotonic()
        result = collect.result_or_error(lambda: self._scan(before, selectors, full=full))
        duration = timedelta(seconds=time.monotonic() - start)
        if not self._still_targeted(project):
            return
        if isinstance(result, SourceError):
            after = before.failed(result.result, str(result), duration, result.missing_permission)
        else:
            collected = self._collect(before, result)
            after = before.succeeded(result, duration, collected)
        after = self._recovery_times_read(before, after)
        with self._compute_lock:
            verdicts, days = self._observe(before, after)
        # Saved before it is published: a counter never decreases.
        scan = after.scan if after.scan is not before.scan else None
        self._dependencies.ledger.save(project, scan, days, after.collected)
        with self._lock:
            if self._still_targeted(project):
                self.snapshot = self.snapshot.with_project(after)
                self.verdicts = {**self.verdicts, project: verdicts} if verdicts else self.verdicts
                self._empty.update(after)
        self._dependencies.on_change()
        log_poll(before, after)
        collect.log_change(before, after)

    def _observe(self, before: ProjectStatus, after: ProjectStatus) -> tuple[ProjectVerdicts | None, list[DailyRecord]]:
        """The verdicts after a poll, and the daily record up to now; none for a project that was never read."""
        if not after.scan:
            return None, []
        project, dependencies = after.project, self._dependencies
        now, monotonic = dependencies.clock(), dependencies.monotonic()
        record = dependencies.ledger.daily_record(project)
        elapsed = timedelta()
        if record and project in dependencies.observed:
            passed = timedelta(seconds=monotonic - dependencies.observed[project])
            elapsed = max(elapsed, min(passed, now - record.project.observed_until))
        with self._lock:
            if self._still_targeted(project):
                dependencies.observed[project] = monotonic
        cached = self.verdicts.get(project)

        def known(timestamp: datetime) -> list[Verdict]:
            nonlocal cached
            if not before.scan:
                return []
            cached = project_verdicts(before.scan, before.collected, self._config, timestamp, cached)
            return list(cached.verdicts.values())

        verdicts = project_verdicts(after.scan, after.collected, self._config, now, cached)
        records = before.scan.records if before.scan else {}
        histories = {name: found.history for name, found in records.items()}
        return verdicts, observe(record, known, list(verdicts.verdicts.values()), now, elapsed, histories)

    def _restored_status(self, project: str) -> ProjectStatus:
        """A project that was not a target a moment ago; its saved scan is used, above all for the counters."""
        ledger = self._dependencies.ledger
        collected = ledger.collected(project).only(self._config.collect.collections)
        return ProjectStatus(project, scan=ledger.last_scan(project), collected=collected)

    def _still_targeted(self, project: str) -> bool:
        with self._lock:
            return not self._stop.is_set() and project in self._targets.selectors

    def _scan(self, before: ProjectStatus, selectors: Selectors, *, full: bool) -> ProjectScan:
        project = before.project
        options = ScanOptions(
            partial(selects, selectors, self._shard),
            self._dependencies.code_label,
            partial(self._report_unreadable, project),
            self._config.poll.full_listing_every,
        )
        source = self._source(before.account)
        with self._compute_lock:
            locked = ComputeLockedSource(source, self._compute_lock)
            return scan(locked, project, self._dependencies.clock(), options, before.scan, full=full)

    def _make_collectors(self) -> tuple[collect.Collector, ...]:
        collectors = (
            deleted_instances_collector(
                lambda project: self._polled_selectors.get(project, ()), self._shard, self._report_unreadable
            ),
            plans_collector(self._report_unreadable),
        )
        enabled = self._config.collect.collections
        return tuple(collector for collector in collectors if collector.collection in enabled)

    def _collect(self, before: ProjectStatus, scan: ProjectScan) -> Collected:
        if not self._collectors:
            return before.collected
        source = ComputeLockedSource(self._source(before.account), self._compute_lock, self._shared_plans)
        with self._compute_lock:
            return collect.collect(self._collectors, collect.Round(source, before, scan, self._dependencies.clock()))

    def _recovery_times_read(self, before: ProjectStatus, after: ProjectStatus) -> ProjectStatus:
        """The status after a poll, with the recovery times that have been read."""
        if not (self._recovery_times and after.scan):
            return after
        collected = self._recovery_times.collected(after.project, before.scan, after.scan, after.collected)
        return after if collected is after.collected else replace(after, collected=collected)

    def _with_recovery_times(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with the recovery times that have been read since the last poll of each project."""
        projects = {name: self._recovery_times_read(status, status) for name, status in snapshot.projects.items()}
        return replace(snapshot, projects=projects)

    def _publish_recovery_times(self, project: str) -> None:
        with self._lock:
            before = self.snapshot.projects[project]
            after = self._recovery_times_read(before, before)
            self.snapshot = self.snapshot.with_project(after)
        self._dependencies.ledger.save(project, None, collected=after.collected)
        collect.log_change(before, after)

    def _report_unreadable(self, project: str, kind: str, field: str) -> None:
        self._dependencies.on_unreadable(kind)
        level = logging.DEBUG if (project, kind, field) in self._reported else logging.WARNING
        self._reported.add((project, kind, field))
        log.log(level, "API item partly unreadable", extra={"project": project, "kind": kind, "field": field})

    def _source(self, account: str | None = None) -> Source:
        """A source that stops retrying when the next poll is due."""
        return self._dependencies.source(time.monotonic() + self._config.poll.interval.total_seconds(), account)


def _changed_selectors(targeted: Mapping[str, Selectors], polled: Mapping[str, Selectors]) -> list[str]:
    """The projects whose last poll, if any, had other selectors."""
    return [project for project, selectors in targeted.items() if polled.get(project) != selectors]


def _only_shard(snapshot: Snapshot, shard: Shard) -> Snapshot:
    """The part of a snapshot that belongs to a shard; it may be from a time with more or fewer shards."""
    return replace(
        snapshot,
        projects={
            name: replace(
                status,
                scan=status.scan and _only_instances_of(shard, status.scan),
                collected=_only_collected_of(shard, status.collected),
            )
            for name, status in snapshot.projects.items()
            if shard.holds_project(name)
        },
    )


def _only_instances_of(shard: Shard, scan: ProjectScan) -> ProjectScan:
    records = {name: record for name, record in scan.records.items() if shard.holds(record.instance.id)}
    return scan if len(records) == len(scan.records) else replace(scan, records=records)


def _only_collected_of(shard: Shard, collected: Collected) -> Collected:
    return replace(collected, deleted_instances=tuple(i for i in collected.deleted_instances if shard.holds(i.id)))
