"""Records of instances and the scan of a project. Immutable: unchanged parts keep their identity."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from exporter.facts.counters import Counters
from exporter.facts.history import History, expired_runs, history, with_vanished
from exporter.facts.model import Instance
from exporter.facts.packed_runs import PackedRuns


@dataclass(frozen=True, slots=True)
class Record:
    """One instance: its settings, the history of its runs, and the counters over them."""

    instance: Instance
    history: History
    counters: Counters

    @classmethod
    def first(cls, instance: Instance, runs: PackedRuns, now: datetime, saved: Counters | None = None) -> "Record":
        """The record of an instance that was not there before; `saved` are its counters if it was, some time ago."""
        headers = runs.headers()
        counters = saved.updated(runs, headers, now) if saved else Counters.initial(headers, now)
        return cls(instance, history(runs, headers), counters)

    def updated(self, instance: Instance, runs: PackedRuns, now: datetime) -> "Record":
        """The record after another reading; the same object where nothing changed."""
        if runs != self.history.runs:
            runs = with_vanished(self.history.runs, runs)
        if runs == self.history.runs:
            after, counters = self.history, self.counters.without_expired(now)
        else:
            headers = runs.headers()
            recreated = instance.created != self.instance.created
            expired = PackedRuns() if recreated else expired_runs(self.history, runs)
            after, counters = history(runs, headers, expired), self.counters.updated(runs, headers, now)
        instance = self.instance if instance == self.instance else instance
        unchanged = after is self.history and counters is self.counters and instance is self.instance
        return self if unchanged else Record(instance, after, counters)


@dataclass(frozen=True, slots=True)
class RemovedInstance:
    """The counters of an instance that is gone, stored for a while in case it comes back."""

    counters: Counters
    removed_at: datetime


@dataclass(frozen=True, slots=True)
class ResponseDigests:
    """Digests of fully readable responses, by which unchanged ones need not be parsed again. Not saved.

    `instances` is that of the listing of instances, which was parsed to `selected`; `newest_runs` that of the first
    page of the newest runs, all of which are known, and which contains every run in progress.
    """

    instances: bytes
    selected: Mapping[str, Instance]
    newest_runs: bytes | None = None


@dataclass(frozen=True, slots=True)
class ProjectScan:
    """Result of one successful reading of a project's selected instances.

    `listed` is the number of all its instances, selected or not; None for a scan saved by an earlier release.
    `carried_over` are instances that could not be read this time, with the time at which they last were.
    `newest_first`: the last full listing of runs was in that order, so that new runs are at its beginning.
    """

    read_at: datetime
    full_listing_at: datetime
    newest_first: bool = True
    records: Mapping[str, Record] = field(default_factory=dict)
    unreachable_regions: tuple[str, ...] = ()
    carried_over: Mapping[str, datetime] = field(default_factory=dict)
    removed: Mapping[str, RemovedInstance] = field(default_factory=dict)
    digests: ResponseDigests | None = field(default=None, compare=False)
    listed: int | None = None

    @property
    def empty(self) -> bool:
        """The project has no instance, as far as the API can tell."""
        return not (self.listed or self.records or self.unreachable_regions)

    @property
    def had_instances_at(self) -> datetime | None:
        """When the project last was known to have selected instances; None: not within the last days."""
        return self.read_at if self.records else max((gone.removed_at for gone in self.removed.values()), default=None)

    def facts_read_at(self, instance_name: str) -> datetime:
        """When the facts about an instance were read."""
        return self.carried_over.get(instance_name, self.read_at)
