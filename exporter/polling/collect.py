"""Collecting optional facts in the poll of a project, after its instances and backup runs were read."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from exporter.facts.collected import Collected, Collection, CollectionStatus
from exporter.facts.record import ProjectScan
from exporter.facts.snapshot import ProjectStatus
from exporter.scan.source import Source, SourceError

log = logging.getLogger(__name__)


class IncompleteRoundError(Exception):
    """A round that read some facts, which are in `collected`, but not all of them.

    `resource` is the project that could not be read.
    """

    def __init__(self, collected: Collected, error: SourceError, resource: str) -> None:
        super().__init__(str(error))
        self.collected = collected
        self.status = CollectionStatus(False, str(error), error.missing_permission, resource)


@dataclass(frozen=True, slots=True)
class Round:
    """What a collector needs for one round: the project before this poll, what the poll has read, and the time."""

    source: Source
    before: ProjectStatus
    scan: ProjectScan
    now: datetime

    @property
    def project(self) -> str:
        """The project that is polled."""
        return self.before.project

    @property
    def full_listing(self) -> bool:
        """Whether this is the first poll since the start, or lists all runs."""
        known = self.before.scan
        return self.before.result is None or not known or known.full_listing_at != self.scan.full_listing_at


@dataclass(frozen=True, slots=True)
class Collector:
    """How one collection is read: whether a poll has a round of it, and the facts after that.

    `read` raises SourceError or IncompleteRoundError.
    """

    collection: Collection
    due: Callable[[Round], bool]
    read: Callable[[Round, Collected], Collected]


def collect(collectors: Iterable[Collector], this_round: Round) -> Collected:
    """What is known after one round of each collector that is due. A failed one keeps the facts from before."""
    collected = this_round.before.collected
    for collector in collectors:
        if not collector.due(this_round):
            continue
        try:
            collected, status = collector.read(this_round, collected), CollectionStatus(up=True)
        except IncompleteRoundError as error:
            collected, status = error.collected, error.status
        except SourceError as error:
            status = CollectionStatus(False, str(error), error.missing_permission)
        except Exception as error:  # the edge of a collection: the poll itself goes on
            log.exception("internal error, please report it")
            status = CollectionStatus(False, f"internal error: {error!r}")
        collected = collected.with_status(collector.collection, status)
    return collected


def log_change(before: ProjectStatus, after: ProjectStatus) -> None:
    """Log once, when it changes, the result of each collection."""
    for collection, status in after.collected.status.items():
        known = before.collected.status.get(collection)
        if known and known.message == status.message:
            continue
        extra = {"project": after.project, "collect": collection}
        if status.up:
            log.info("collected", extra=extra)
        else:
            log.error(status.message, extra=extra)
