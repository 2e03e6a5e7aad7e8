"""The running exporter: configuration, poller and clock held together, for whoever serves or prints what it knows."""

import logging
import os
import platform
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from exporter import __version__
from exporter.cloudsql import CloudSqlApi, CredentialsError
from exporter.config import Config, ConfigError
from exporter.poll import Clock, Poller
from exporter.render import Meters, exposition_bytes, families
from exporter.scan import CodeLabels
from exporter.snapshot import Snapshot
from exporter.view import ExporterFacts, View, view

log = logging.getLogger(__name__)


class Exporter:
    """Polls on its beat and answers, at any moment and without waiting for the API, what is known."""

    def __init__(self, read_config: Callable[[], Config], clock: Clock, *, process_metrics: bool = True) -> None:
        """Read configuration and credentials; raises ConfigError or CredentialsError. Polls nothing yet."""
        self._read_config, self._clock = read_config, clock
        self._meters = Meters(process=process_metrics)
        self._codes = CodeLabels()
        self.config = read_config()
        self._poller = self._new_poller(self.config, Snapshot())
        self._facts = ExporterFacts(
            version=__version__,
            revision=os.environ.get("CLOUDSQL_BACKUP_EXPORTER_REVISION", ""),
            python_version=platform.python_version(),
            reload_successful=True,
            reload_succeeded_at=clock(),
        )

    def start(self) -> None:
        """Begin to poll in the background."""
        self._poller.start()

    def stop(self) -> None:
        """Stop polling at once; a poll under way is left behind."""
        self._poller.stop()

    def poll_once(self, progress: Callable[[int, int], None]) -> View:
        """Poll every target once and judge what was read."""
        self._poller.poll_once(progress)
        return self.view()

    def reload(self) -> None:
        """Read the configuration anew and poll by it. Where it cannot be used the old one stays, and the error rises.

        Raises ConfigError or CredentialsError.
        """
        try:
            config = self._read_config()
            poller = self._new_poller(config, self._poller.snapshot)
        except (ConfigError, CredentialsError):
            self._facts = replace(self._facts, reload_successful=False)
            raise
        self._poller.stop()
        self.config, self._poller = config, poller
        self._facts = replace(self._facts, reload_successful=True, reload_succeeded_at=self._clock())
        poller.start()
        log.info("the configuration was read anew")

    @property
    def ready(self) -> bool:
        """Facts are there to serve."""
        return self._poller.ready

    @property
    def healthy(self) -> bool:
        """The poll loop goes on."""
        return self._poller.healthy()

    def view(self) -> View:
        """Everything known, judged at this moment."""
        return view(self._poller.snapshot, self.config, self._facts, self._clock())

    def exposition(self, content_type: str) -> bytes:
        """Everything known, as a scrape wants it."""
        return exposition_bytes(content_type, families(self.view(), self.config.collect.user_labels), self._meters)

    def _new_poller(self, config: Config, snapshot: Snapshot) -> Poller:
        def observe(method: str, code: str, seconds: float) -> None:
            self._meters.request(method, code, seconds)
            poller.alive()

        api = CloudSqlApi(config.cloudsql, config.poll.timeout, observe)
        poller = Poller(config, api, self._clock, self._codes, self._meters.unreadable, snapshot)
        return poller


def system_clock() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)
