"""The running exporter: configuration, poller and clock held together, for whoever serves or prints what it knows."""

import logging
import os
import platform
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from exporter import __version__
from exporter.cloudsql import CloudSqlApi, CredentialsError
from exporter.config import Config, ConfigError
from exporter.exposition import Body, Exposition, Meters
from exporter.ledger import open_ledger
from exporter.manners import Manners, Pacer
from exporter.model import Clock
from exporter.poll import ALL, Outside, Poller
from exporter.scan import CodeLabels
from exporter.shard import Shard
from exporter.snapshot import ProjectStatus, Snapshot
from exporter.view import ExporterFacts, View, view

log = logging.getLogger(__name__)

GATHERED = 0.2  # seconds in which the news of polls is gathered before it is rendered


class Exporter:
    """Polls on its beat and answers, at any moment and without waiting for the API, what is known."""

    def __init__(
        self, read_config: Callable[[], Config], clock: Clock, shard: Shard = ALL, *, process_metrics: bool = True
    ) -> None:
        """Read configuration, credentials and kept state; raises ConfigError, CredentialsError or StateInUseError.

        Polls nothing yet, but knows what was kept from before.
        """
        self._read_config, self._clock, self._shard = read_config, clock, shard
        self._meters = Meters(process=process_metrics)
        self._codes = CodeLabels()
        self.config = read_config()
        self._pacer = Pacer(self.config.cloudsql.requests_per_minute)
        self._ledger = open_ledger(self.config.state.path)
        self._reloading = threading.Lock()
        self._news, self._stopped = threading.Event(), threading.Event()
        self._poller = Poller(self.config, self._connected(self.config), self._kept(), shard)
        self._facts = ExporterFacts(
            version=__version__,
            revision=os.environ.get("CLOUDSQL_BACKUP_EXPORTER_REVISION", ""),
            python_version=platform.python_version(),
            shard=shard,
            stale_after=self.config.poll.stale_after,
            requests_per_minute=self.config.cloudsql.requests_per_minute,
            reload_successful=True,
            reload_succeeded_at=clock(),
            state_persistent=self._ledger.persistent,
        )
        self._exposition = Exposition(self.view, clock, self._meters)
        self._shown: Snapshot | None = None  # what the exposition was last rendered of

    def start(self) -> None:
        """Begin to poll in the background, and keep the exposition rendered."""
        self._render()
        threading.Thread(target=self._keep_rendered, name="render", daemon=True).start()
        self._poller.start()

    def stop(self) -> None:
        """Stop polling at once; a poll under way is left behind."""
        self._stopped.set()
        self._news.set()
        self._poller.stop()

    def poll_once(self, progress: Callable[[int, int], None]) -> View:
        """Poll every target once and judge what was read."""
        self._poller.poll_once(progress)
        return self.view()

    def reload(self) -> None:
        """Read the configuration anew and poll by it. Where it cannot be used the old one stays, and the error rises.

        Raises ConfigError or CredentialsError.
        """
        with self._reloading:
            try:
                config = self._read_config()
                connected = self._connected(config)
            except (ConfigError, CredentialsError):
                self._facts = replace(self._facts, reload_successful=False)
                self._exposition.renew()
                raise
            config = self.config if config == self.config else config  # verdicts by the same policies stay as they are
            if config.state != self.config.state:
                log.warning("another state folder is used from the next start on")
            self.config, self._poller = config, Poller(config, connected, self._poller.stop(), self._shard)
            self._facts = replace(
                self._facts,
                stale_after=config.poll.stale_after,
                requests_per_minute=config.cloudsql.requests_per_minute,
                reload_successful=True,
                reload_succeeded_at=self._clock(),
            )
            self._exposition.renew()
            self._poller.start()
            log.info("the configuration was read anew")

    @property
    def snapshot(self) -> Snapshot:
        """Everything known, unjudged."""
        return self._poller.snapshot

    @property
    def ready(self) -> bool:
        """Facts are there to serve."""
        return self._poller.ready

    @property
    def healthy(self) -> bool:
        """The poll loop goes on."""
        return self._poller.healthy()

    def view(self, before: View | None = None) -> View:
        """Everything known, judged at this moment; faster where it can build on a view from before."""
        if self._facts.state_persistent != self._ledger.persistent:
            self._facts = replace(self._facts, state_persistent=self._ledger.persistent)
        return view(self.snapshot, self.config, self._facts, self._clock(), before)

    def exposition(self, content_type: str, *, gzip: bool = False) -> Body:
        """Everything known, as a scrape wants it."""
        if self._shown is not self.snapshot:  # a poll ended just now
            self._render()
        return self._exposition.body(content_type, gzip=gzip)

    def _render(self) -> None:
        snapshot = self.snapshot
        self._exposition.renew()
        self._shown = snapshot

    def _keep_rendered(self) -> None:
        """Render what polls bring, of many that end together at once."""
        while self._news.wait() and not self._stopped.is_set():
            self._news.clear()
            try:
                self._render()
            except Exception:  # the edge of this thread: the next scrape meets the same fault, and answers 500
                log.exception("a fault of the exporter; please report it")
            self._stopped.wait(GATHERED)

    def _connected(self, config: Config) -> Outside:
        """What a poller needs by this configuration. Raises CredentialsError."""

        def observe(method: str, code: str, seconds: float) -> None:
            self._meters.request(method, code, seconds)
            self._poller.alive()

        stop = threading.Event()
        if config.cloudsql.requests_per_minute != self.config.cloudsql.requests_per_minute:
            self._pacer = Pacer(config.cloudsql.requests_per_minute)
        manners = Manners(self._pacer, stop, self._meters.retry)
        api = CloudSqlApi(config.cloudsql, config.poll.timeout, manners, observe)
        return Outside(api.until, self._clock, self._ledger, self._codes, self._meters.unreadable, self._news.set, stop)

    def _kept(self) -> Snapshot:
        """What was known before a restart."""
        scans = self._ledger.load()
        for record in (record for scan in scans.values() for record in scan.records.values()):
            for code in (code for codes in record.account.errors.values() for code in codes if code != "other"):
                self._codes.label(code)
        return Snapshot({project: ProjectStatus(project, scan=scan) for project, scan in scans.items()})


def system_clock() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)
