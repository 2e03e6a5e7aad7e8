"""One project's scan: raw items from a source, through `parse`, into facts. One broken item never loses another.

Between full listings only what is new is read, and what did not change stays the very same object.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from exporter import parse
from exporter.history import History, history
from exporter.model import NO_CODE, BackupRun, Instance, PollResult
from exporter.runs import Runs
from exporter.tally import FORGET_AFTER, Account, first_account, next_account, without_forgotten

ALL_INSTANCES = "-"  # the API's wildcard
UNNAMED_REGION = "unknown"
MOST_NEWEST_PAGES = 10  # beyond that a full listing, in longer pages, costs less
CLOCK_SKEW = timedelta(days=1)  # a time further ahead than this is not believed

T = TypeVar("T")
Listed = dict[str, dict[str, BackupRun]]  # by instance name and run id


class SourceError(Exception):
    """A source could not answer. `result` is the closed word for it; the text says what happened and what to do."""

    def __init__(
        self, result: PollResult, message: str, *, refused: bool = False, retry_after: float | None = None
    ) -> None:
        # JSON can carry what neither a page nor a terminal can.
        super().__init__("".join(c if c.isprintable() else "?" for c in message.encode(errors="replace").decode()))
        self.result = result
        self.refused = refused  # the request as such was turned down; a narrower one may not be
        self.retry_after = retry_after  # seconds that the API asks to be left alone


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing: items as the API gave them, and the regions it said it could not reach."""

    items: list[object]
    unreachable_regions: tuple[str, ...] = ()


class Source(Protocol):
    """Where facts come from. Every method raises SourceError."""

    def instances(self, project: str) -> Iterator[Page]:
        """Every instance of a project."""

    def backup_runs(self, project: str, instance: str, *, newest: bool = False) -> Iterator[Page]:
        """Every backup run of an instance, or of all for ALL_INSTANCES; `newest` if only a few are wanted."""

    def backup_run(self, project: str, instance: str, run_id: str) -> object | None:
        """One backup run; None where it is gone."""

    def projects(self, query: str) -> Iterator[str]:
        """The ids of the active projects that a Cloud Resource Manager search finds."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one instance: its facts, what its runs say, and what has been counted of them."""

    instance: Instance
    history: History
    account: Account


@dataclass(frozen=True, slots=True)
class Departed:
    """The account of an instance that is gone, kept for a while in case it comes back."""

    account: Account
    at: datetime


@dataclass(frozen=True, slots=True)
class ProjectScan:
    """What one successful reading of a project said of its selected instances.

    `carried` are those that could not be read this time, with the moment they last were. `ordered`: the
    last full listing of runs was newest first, so that what is new can be found at its beginning.
    """

    taken: datetime
    listed_in_full: datetime
    ordered: bool = True
    records: Mapping[str, Record] = field(default_factory=dict)
    unreachable_regions: tuple[str, ...] = ()
    carried: Mapping[str, datetime] = field(default_factory=dict)
    departed: Mapping[str, Departed] = field(default_factory=dict)


class CodeLabels:
    """Label values for error codes: the first `limit` different codes as they are, the rest `other`."""

    def __init__(self, limit: int = 50) -> None:
        self._limit = limit
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def label(self, code: str) -> str:
        """The label value of a code; `unspecified` where there is none."""
        code = code or NO_CODE
        with self._lock:
            if code not in self._known and len(self._known) >= self._limit:
                return "other"
            self._known.add(code)
        return code


@dataclass(frozen=True, slots=True)
class Rules:
    """How a project is to be read. `unreadable` is told the kind of each item and what could not be read of it."""

    selects: Callable[[Instance], bool]
    codes: CodeLabels
    unreadable: Callable[[str, str], None]
    full_listing_every: timedelta


def scan(
    source: Source, project: str, now: datetime, rules: Rules, previous: ProjectScan | None, *, full: bool = False
) -> ProjectScan:
    """Read a project, all of it where `full`, there is nothing to build on, or it is time. Raises SourceError."""
    reader = _Reader(project, now + CLOCK_SKEW, rules)
    instances, regions = reader.instances(source)
    before = previous.records if previous else {}
    newest = None
    if previous and not full and not _full_is_due(previous, now, rules, instances):
        newest = _newest(source, reader, {name: before[name] for name in instances})
    if previous and newest is not None:
        runs, ordered, refused, listed_in_full = newest, True, set[str](), previous.listed_in_full
    else:
        listed, ordered, refused = _full_listing(source, reader, instances)
        runs = {name: Runs.of(by_id.values()) for name, by_id in listed.items()}
        listed_in_full = now
    carried = _carried(previous, instances, regions, refused)
    departed = _departed(previous, {*instances, *carried}, now)
    records = {name: before[name] for name in carried}
    for name in runs.keys() - refused:
        account = departed[name].account if name in departed else None
        records[name] = _record(instances[name], runs[name], before.get(name), account, now)
    return ProjectScan(
        taken=now,
        listed_in_full=listed_in_full,
        ordered=ordered,
        records=records,
        unreachable_regions=tuple(sorted(regions)),
        carried=carried,
        departed={name: gone for name, gone in departed.items() if name not in records},
    )


class _Reader:
    """Items into facts, for one project at one moment."""

    def __init__(self, project: str, latest: datetime, rules: Rules) -> None:
        self.project, self._latest, self._rules = project, latest, rules
        self.unreadable = rules.unreadable
        self.one_by_one = False  # the wildcard was refused

    def instances(self, source: Source) -> tuple[dict[str, Instance], set[str]]:
        """The selected instances by name, and the regions out of reach."""
        instances: dict[str, Instance] = {}
        regions: set[str] = set()
        for page in source.instances(self.project):
            regions.update(page.unreachable_regions)
            for instance in self._readable("instance", page.items, self._instance):
                if self._rules.selects(instance):
                    instances[instance.id.name] = instance
        return instances, regions

    def runs(self, items: list[object]) -> Iterator[tuple[str, BackupRun]]:
        """Instance name and run, of every item that can be read."""
        for name, run in self._readable("backup_run", items, self._run):
            if run.error:
                label = self._rules.codes.label(run.error.code)
                yield name, replace(run, error=replace(run.error, label=label))
            else:
                yield name, run

    def _instance(self, item: object) -> parse.Parsed[Instance]:
        return parse.instance(item, project=self.project, latest=self._latest)

    def _run(self, item: object) -> parse.Parsed[tuple[str, BackupRun]]:
        return parse.backup_run(item, latest=self._latest)

    def _readable(self, kind: str, items: list[object], read: Callable[[object], parse.Parsed[T]]) -> Iterator[T]:
        for item in items:
            try:
                parsed = read(item)
            except parse.UnreadableItemError as error:
                self.unreadable(kind, str(error))
                continue
            if parsed.unreadable:
                self.unreadable(kind, ", ".join(parsed.unreadable))
            yield parsed.fact


def _full_is_due(previous: ProjectScan, now: datetime, rules: Rules, instances: Mapping[str, Instance]) -> bool:
    """By the clock, for want of an order to rely on, or because instances are new or back in reach."""
    known = previous.records.keys() - previous.carried.keys()
    late = abs(now - previous.listed_in_full) >= rules.full_listing_every
    return late or not previous.ordered or bool(instances.keys() - known)


def _carried(
    previous: ProjectScan | None, instances: Mapping[str, Instance], regions: set[str], refused: set[str]
) -> dict[str, datetime]:
    """Instances known from before that could not be read now, and when they last were.

    Their region is out of reach, or their runs alone are refused.
    """

    def unread(name: str, region: str | None) -> bool:
        hidden = name not in instances and (region in regions or UNNAMED_REGION in regions)
        return hidden or name in refused

    if previous is None:
        return {}
    return {
        name: previous.carried.get(name, previous.taken)
        for name, record in previous.records.items()
        if unread(name, record.instance.region)
    }


def _departed(previous: ProjectScan | None, present: set[str], now: datetime) -> dict[str, Departed]:
    """Accounts of instances that are gone, those of the last week, and of those that are back."""
    if previous is None:
        return {}
    gone = {name: Departed(r.account, now) for name, r in previous.records.items() if name not in present}
    return {
        name: departed for name, departed in {**previous.departed, **gone}.items() if now - departed.at <= FORGET_AFTER
    }


def _record(instance: Instance, runs: Runs, before: Record | None, account: Account | None, now: datetime) -> Record:
    """The record of an instance after this reading; the same object as before where nothing changed."""
    if before is None:
        opened = next_account(account, runs, now) if account else first_account(runs, now)
        return Record(instance, history(runs), opened)
    if runs == before.history.runs:
        told, counted = before.history, without_forgotten(before.account, now)
    else:
        told, counted = history(runs), next_account(before.account, runs, now)
    unchanged = told is before.history and counted is before.account and instance == before.instance
    return before if unchanged else Record(instance, told, counted)


def _full_listing(source: Source, reader: _Reader, instances: Mapping[str, Instance]) -> tuple[Listed, bool, set[str]]:
    """All runs of these instances, whether they came newest first, and the instances whose runs are refused."""
    runs: Listed = {name: {} for name in instances}
    refused: set[str] = set()
    ordered, last = True, None
    for page in _run_pages(source, reader, instances, refused):
        for name, run in reader.runs(page.items):
            if run.enqueued:  # a run that was never enqueued has no place in that order that could be checked
                ordered = ordered and (last is None or run.enqueued <= last)
                last = run.enqueued
            if name in runs:
                _keep_newer(runs[name], run)
    return runs, ordered and not reader.one_by_one, refused


def _run_pages(source: Source, reader: _Reader, instances: Mapping[str, Instance], refused: set[str]) -> Iterator[Page]:
    """All runs of a project in one listing; instance by instance where the project refuses the wildcard.

    A single instance may be refused, say because it was deleted since it was listed: it is put into `refused`.
    """
    if not instances:
        return
    wildcard = source.backup_runs(reader.project, ALL_INSTANCES)
    try:
        first = next(wildcard, None)
    except SourceError as error:
        if not error.refused:
            raise
    else:
        yield from () if first is None else (first,)
        yield from wildcard
        return
    reader.one_by_one = True
    answered = False
    for name in (name for name, instance in instances.items() if instance.can_have_backups):
        try:
            yield from source.backup_runs(reader.project, name)
            answered = True
        except SourceError as error:
            if not error.refused or (error.result is PollResult.FORBIDDEN and not answered):
                raise
            reader.unreadable("instance", f"{name}: {error}")
            refused.add(name)


def _newest(source: Source, reader: _Reader, before: Mapping[str, Record]) -> dict[str, Runs] | None:
    """The runs known before, brought up to date by the newest pages and by a look at each run in progress below.

    What did not change stays the same object. None where that cannot be done, or not cheaply: then the listing is to
    be read in full.
    """
    known = {name: record.history.runs for name, record in before.items()}
    fresh: Listed = {}
    if before and not any(known.values()):
        return None
    for number, page in enumerate(source.backup_runs(reader.project, ALL_INSTANCES, newest=True) if before else ()):
        listed = [(name, run) for name, run in reader.runs(page.items) if name in known]
        for name, run in listed:
            _keep_newer(fresh.setdefault(name, {}), run)
        if listed and all(known[name].with_id(run.id) == fresh[name][run.id] for name, run in listed):
            break  # newest first: what follows is older than what is known already
        if number + 1 >= MOST_NEWEST_PAGES:
            return None
    deeper = _looked_at(source, reader, before, fresh)
    if deeper is None:
        return None
    for name in {*fresh, *deeper}:
        found = deeper.get(name, {})
        seen = fresh.get(name, {}) | {run_id: run for run_id, run in found.items() if run}
        gone = {run_id for run_id, run in found.items() if run is None}
        known[name] = _brought_up_to_date(known[name], seen, gone)
    return known


def _looked_at(
    source: Source, reader: _Reader, before: Mapping[str, Record], fresh: Listed
) -> dict[str, dict[str, BackupRun | None]] | None:
    """The runs in progress that are not among the fresh ones, as they are now: None where one is gone.

    None for all where looking at single runs is refused: the permission for it is optional.
    """
    looked_at: dict[str, dict[str, BackupRun | None]] = {}
    for name, record in before.items():
        for run_id in {run.id for run in record.history.in_progress} - fresh.get(name, {}).keys():
            try:
                item = source.backup_run(reader.project, name, run_id)
            except SourceError as error:
                if error.refused:
                    return None
                raise
            found = {run.id: run for _, run in reader.runs([] if item is None else [item])}
            looked_at.setdefault(name, {})[run_id] = found.get(run_id)
    return looked_at


def _brought_up_to_date(known: Runs, fresh: Mapping[str, BackupRun], gone: set[str]) -> Runs:
    """The same object where nothing is new."""
    if not gone and all(known.with_id(run_id) == run for run_id, run in fresh.items()):
        return known
    kept = {run.id: run for run in known if run.id not in gone}
    return Runs.of({**kept, **fresh}.values())


def _keep_newer(by_id: dict[str, BackupRun], run: BackupRun) -> None:
    """A run can be met twice, when a listing shifts between pages or a window is tried again: the later word holds."""
    known = by_id.get(run.id)
    if known is None or run.order >= known.order:
        by_id[run.id] = run
