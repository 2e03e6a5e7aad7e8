"""The running exporter: configuration, poller and exposition wired together."""

import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from exporter import __version__, privileges
from exporter.config import Config, ConfigError
from exporter.facts.daily import InstanceDay, ProjectDay
from exporter.facts.exporter_info import ExporterInfo
from exporter.facts.model import Clock
from exporter.facts.record import ProjectScan
from exporter.facts.snapshot import Snapshot
from exporter.googleapis import CredentialsError, GoogleApis, RateLimiter, Retrying
from exporter.metrics.code_labels import CodeLabels
from exporter.metrics.exposition import Body, Exposition
from exporter.metrics.instrumentation import Instrumentation, MethodStatistics
from exporter.polling import recovery_times
from exporter.polling.poller import ALL, Poller, PollerDependencies
from exporter.polling.shard import Shard
from exporter.polling.workers import WorkerPool
from exporter.privileges import WriteAccess
from exporter.state.ledger import Ledger
from exporter.state.sqlite import open_ledger
from exporter.verdict.evaluate import Evaluation, evaluate

log = logging.getLogger(__name__)

RENDER_DEBOUNCE = 0.2  # seconds during which the changes of further polls are collected before rendering
RENDER_SHARE = 0.1  # of the time, at most, for rendering in the background; a scrape renders at once what is new
PRIVILEGES_SHARE = 0.01  # of the rate limit, for requests about privileges; polls may need the rest


@dataclass(frozen=True, slots=True)
class ApiUsage:
    """Requests to the API since the start, and their rate limit: as configured, and at present."""

    requests_per_minute: int
    current_rate: float
    methods: Sequence[MethodStatistics]
    unreadable_items: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Shared:
    """Parts that outlive a reload of the configuration."""

    clock: Clock
    shard: Shard
    ledger: Ledger
    instrumentation: Instrumentation
    code_labels: CodeLabels
    changed: threading.Event  # set when there is something to render
    observed: dict[str, float]  # when each project was last polled, on the monotonic clock
    due: dict[str, float]  # when each project without instances is due, likewise


@dataclass(frozen=True, slots=True)
class _Running:
    """Parts that a reload of the configuration replaces, together."""

    config: Config
    rate_limiter: RateLimiter
    apis: GoogleApis
    poller: Poller
    info: ExporterInfo
    write_access: WriteAccess


class Exporter:
    """Polls in the background and serves, at any time and without waiting for the API, what is known."""

    def __init__(
        self,
        read_config: Callable[[], Config],
        clock: Clock,
        shard: Shard = ALL,
        *,
        web_config_successful: Callable[[], bool] = lambda: True,
        process_metrics: bool = True,
        use_saved_state: bool = True,
    ) -> None:
        """Read configuration, credentials and saved state; does not poll yet.

        `web_config_successful` tells whether the last load of the web configuration file succeeded. Without
        `use_saved_state`, state is in memory only.
        Raises ConfigError, CredentialsError or StateInUseError.
        """
        self._read_config, self._web_config_successful = read_config, web_config_successful
        config = read_config()
        self._shared = _Shared(
            clock,
            shard,
            open_ledger(config.state.path if use_saved_state else None, config.state.history),
            Instrumentation(process=process_metrics),
            CodeLabels(),
            threading.Event(),
            {},
            {},
        )
        self._reloading, self._stopped = threading.Lock(), threading.Event()
        rate_limiter = RateLimiter(config.cloudsql.requests_per_minute)
        apis, dependencies = _connect(config, self._shared, rate_limiter)
        poller = Poller(config, dependencies, _restored_snapshot(self._shared), shard)
        self._running = _Running(
            config,
            rate_limiter,
            apis,
            poller,
            _exporter_info(config, self._shared),
            _write_access(config, apis, poller),
        )
        self._unneeded_privileges: tuple[str, ...] = ()
        self._exposition = Exposition(self.evaluate, clock, self._shared.instrumentation.exposition)
        self._rendered_snapshot: Snapshot | None = None

    def start(self) -> None:
        """Start polling in the background, and keep the exposition rendered."""
        self._render()
        threading.Thread(target=self._keep_rendered, name="render", daemon=True).start()
        self._running.poller.start()

    def stop(self) -> None:
        """Stop polling at once; polls in progress are abandoned."""
        self._stopped.set()
        self._shared.changed.set()
        self._running.poller.stop()

    def close(self) -> None:
        """Stop, and release the state folder."""
        self.stop()
        self._shared.ledger.close()

    def poll_once(self, progress: Callable[[int, int], None]) -> Evaluation:
        """Poll every target once, stop, and evaluate the result; see Poller.poll_all for `progress`."""
        self._running.poller.poll_once(progress)
        return self.evaluate()

    def poll_all(self, progress: Callable[[int, int], None]) -> Evaluation:
        """Poll every target once and evaluate the result; may be repeated until `stop`, instead of `start`."""
        self._running.poller.poll_all(progress)
        return self.evaluate()

    def watch_privileges(self) -> None:
        """Log the privileges that the exporter does not need; those of the credentials once the API returned them."""
        privileges.log_privileges_of_process(self.config.state.path)
        threading.Thread(target=self._watch_write_access, name="privileges", daemon=True).start()

    def check_privileges(self, seconds: float) -> None:
        """Add the privileges that the exporter does not need to evaluations; ask the API for at most some seconds."""
        write_access, projects = self._running.write_access, _polled_projects(self.snapshot)

        def ask() -> None:
            while write_access.ask_next(projects):
                pass

        asking = threading.Thread(target=ask, name="privileges", daemon=True)
        asking.start()
        asking.join(seconds)
        self._unneeded_privileges = (*privileges.of_process(self.config.state.path), *write_access.found())

    def reload(self) -> None:
        """Reload the configuration and restart polling.

        If it is invalid the current one stays in force and the error is raised: ConfigError or CredentialsError.
        """
        with self._reloading:
            running = self._running
            try:
                config = self._read_config()
                rate_limiter = running.rate_limiter
                if config.cloudsql.requests_per_minute != rate_limiter.requests_per_minute:
                    rate_limiter = RateLimiter(config.cloudsql.requests_per_minute)
                apis, dependencies = _connect(config, self._shared, rate_limiter)
            except (ConfigError, CredentialsError):
                self._running = replace(running, info=replace(running.info, reload_successful=False))
                self._exposition.render()
                raise
            config = running.config if config == running.config else config  # keeps cached verdicts valid
            if config.state != running.config.state:
                log.warning("state.path changes at the next start, not on reload")
            poller = Poller(config, dependencies, running.poller.stop(), self._shared.shard)
            if config is running.config:  # they hold for the same configuration only
                poller.verdicts = running.poller.verdicts
            info, write_access = _exporter_info(config, self._shared), _write_access(config, apis, poller)
            self._running = _Running(config, rate_limiter, apis, poller, info, write_access)
            running.apis.close()
            self._exposition.render()
            poller.start()
            log.info("configuration reloaded")

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._running.config

    @property
    def snapshot(self) -> Snapshot:
        """Everything known, before it is judged."""
        return self._running.poller.snapshot

    def days(self, project: str, instance: str, first: date, last: date) -> Sequence[tuple[ProjectDay, InstanceDay]]:
        """The days of an instance in the daily record, from one to another, oldest first."""
        return self._shared.ledger.days(project, instance, first, last)

    def api_usage(self) -> ApiUsage:
        """Requests to the API since the start, and their rate limit."""
        instrumentation, rate_limiter = self._shared.instrumentation, self._running.rate_limiter
        return ApiUsage(
            rate_limiter.requests_per_minute,
            rate_limiter.current_rate,
            instrumentation.methods(),
            instrumentation.unreadable_items(),
        )

    def ready(self) -> bool:
        """Whether there are facts to serve."""
        return self._running.poller.update_readiness()

    def healthy(self) -> bool:
        """Whether the poll loop works."""
        return self._running.poller.healthy()

    def evaluate(self, before: Evaluation | None = None) -> Evaluation:
        """Everything known, judged as of now; faster with an earlier evaluation."""
        running = self._running
        info = replace(
            running.info,
            state_persistent=self._shared.ledger.persistent,
            reload_successful=running.info.reload_successful and self._web_config_successful(),
            unneeded_privileges=self._unneeded_privileges,
        )
        poller = running.poller
        return evaluate(poller.snapshot, running.config, info, self._shared.clock(), before, poller.verdicts)

    def exposition(self, content_type: str, *, gzip: bool = False) -> Body:
        """Everything known, as the body of a scrape's response."""
        if self._rendered_snapshot is not self.snapshot:  # a poll has just ended
            self._render()
        return self._exposition.body(content_type, gzip=gzip)

    def quick_exposition(self, content_type: str, *, gzip: bool = False) -> Body | None:
        """Return the same within a few milliseconds, or None if it takes longer."""
        if self._rendered_snapshot is not self.snapshot:
            return None
        return self._exposition.quick_body(content_type, gzip=gzip)

    def refresh_exposition(self) -> None:
        """Render the exposition again, in the background."""
        self._shared.changed.set()

    def _render(self) -> None:
        snapshot = self.snapshot
        self._exposition.render()
        self._rendered_snapshot = snapshot

    def _keep_rendered(self) -> None:
        """Render the changes of polls, together where several end at about the same time."""
        while self._shared.changed.wait() and not self._stopped.is_set():
            self._shared.changed.clear()
            start = time.monotonic()
            try:
                self._render()
            except Exception:  # the edge of this thread: the next scrape has the same error, and answers 500
                log.exception("internal error, please report it")
            self._stopped.wait(max(RENDER_DEBOUNCE, (time.monotonic() - start) / RENDER_SHARE))

    def _watch_write_access(self) -> None:
        """Ask about one project after another, until one is found in which the credentials may write."""
        while not self._stopped.wait(max(60 / (PRIVILEGES_SHARE * self.config.cloudsql.requests_per_minute), 1)):
            write_access = self._running.write_access
            if not any(write_access.found()) and write_access.ask_next(_polled_projects(self.snapshot)):
                for text in write_access.found():
                    log.warning(text)


def system_clock() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


def _connect(config: Config, shared: _Shared, rate_limiter: RateLimiter) -> tuple[GoogleApis, PollerDependencies]:
    """The APIs and the other dependencies of a poller with this configuration. Raises CredentialsError."""
    stop = threading.Event()
    workers = WorkerPool(config.poll.concurrency, stop)

    def observe(method: str, code: str, seconds: float) -> None:
        shared.instrumentation.request(method, code, seconds)
        workers.heartbeat()

    retrying = Retrying(rate_limiter, stop, shared.instrumentation.retry)
    connections = config.poll.concurrency + (recovery_times.CONCURRENCY if config.collect.recovery_times else 0)
    accounts = {target.impersonate for target in config.targets if target.impersonate}
    apis = GoogleApis(config.cloudsql, config.poll.timeout, connections, retrying, observe, accounts)
    return apis, PollerDependencies(
        source=apis.source,
        directory=apis.source,
        clock=shared.clock,
        ledger=shared.ledger,
        workers=workers,
        code_label=shared.code_labels.label,
        on_unreadable=shared.instrumentation.unreadable,
        on_change=shared.changed.set,
        stop=stop,
        monotonic=time.monotonic if shared.clock is system_clock else lambda: shared.clock().timestamp(),
        observed=shared.observed,
        due=shared.due,
    )


def _write_access(config: Config, apis: GoogleApis, poller: Poller) -> WriteAccess:
    def ask(project: str) -> Sequence[str]:
        status = poller.snapshot.projects.get(project)
        return apis.write_permissions(project, status.account if status else None)

    return WriteAccess(None if config.cloudsql.credentials.kind == "anonymous" else ask)


def _polled_projects(snapshot: Snapshot) -> list[str]:
    """The projects whose last poll succeeded."""
    return [project for project, status in snapshot.projects.items() if status.up]


def _restored_snapshot(shared: _Shared) -> Snapshot:
    """The saved state; its error codes keep their labels."""
    scans = shared.ledger.scans()
    shared.code_labels.restore(label for scan in scans.values() for label in _error_labels(scan))
    collected = {project: shared.ledger.collected(project) for project in scans}
    return Snapshot.restored(scans, collected, shared.ledger.searches())


def _error_labels(scan: ProjectScan) -> set[str]:
    return {label for record in scan.records.values() for counts in record.counters.errors.values() for label in counts}


def _exporter_info(config: Config, shared: _Shared) -> ExporterInfo:
    return ExporterInfo(
        version=__version__,
        revision=os.environ.get("CLOUDSQL_BACKUP_EXPORTER_REVISION", ""),
        python_version=platform.python_version(),
        shard_index=shared.shard.index,
        shard_total=shared.shard.total,
        stale_after=config.poll.stale_after,
        requests_per_minute=config.cloudsql.requests_per_minute,
        reload_successful=True,
        last_successful_reload=shared.clock(),
        state_persistent=shared.ledger.persistent,
    )
