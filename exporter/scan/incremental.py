"""Scan of one project: pages of items from a source become records of instances.

Between full listings only what is new is read, and what did not change stays the same object. An item that cannot be
read never affects another.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import blake2b
from itertools import chain
from typing import TypeVar

from exporter.facts.counters import EXPIRE_AFTER
from exporter.facts.model import BackupRun, Instance, PollResult
from exporter.facts.packed_runs import PackedRuns, RunRow
from exporter.facts.record import ProjectScan, Record, RemovedInstance, ResponseDigests
from exporter.scan import decode, parse
from exporter.scan.source import ALL_INSTANCES, UNKNOWN_REGION, Page, Source, SourceError

MAX_NEWEST_PAGES = 10  # beyond that a full listing, in longer pages, is cheaper
CLOCK_SKEW = timedelta(days=1)  # timestamps further ahead than this are not plausible

T = TypeVar("T")
K = TypeVar("K", str, int)
R = TypeVar("R", BackupRun, RunRow)
RunsById = dict[str, BackupRun]


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """Options for reading a project.

    `code_label` returns the label value of an error code. `report_unreadable` is called with the kind of each item that
    is not fully readable, and what could not be read of it.
    """

    selects: Callable[[Instance], bool]
    code_label: Callable[[str], str]
    report_unreadable: Callable[[str, str], None]
    full_listing_every: timedelta


@dataclass(frozen=True, slots=True)
class Listing:
    """All runs of the selected instances; `denied` are the instances whose runs may not be read."""

    runs: Mapping[str, PackedRuns]
    full_at: datetime
    newest_first: bool = True
    denied: frozenset[str] = frozenset()
    newest_digest: bytes | None = None  # of the first page of the newest runs, if it is conclusive


@dataclass(frozen=True, slots=True)
class _InstanceListing:
    """The selected instances by name, and the unreachable regions; `digest` is None if an item is unreadable.

    `listed` is the number of all instances.
    """

    listed: int
    selected: Mapping[str, Instance]
    regions: frozenset[str]
    digest: bytes | None


def scan(
    source: Source,
    project: str,
    now: datetime,
    options: ScanOptions,
    previous: ProjectScan | None,
    *,
    full: bool = False,
) -> ProjectScan:
    """Read a project, in full if `full`, if there is no previous scan, or if it is due. Raises SourceError."""
    reader = _Reader(source, project, now, options)
    instances = reader.instances(previous.digests if previous and not full else None)
    listing = None
    if previous and not full and not _full_listing_is_due(previous, now, options, instances.selected):
        listing = _incremental_listing(reader, previous, instances.selected)
    return _project_scan(previous, instances, listing or _full_listing(reader, instances.selected), now)


def _project_scan(
    previous: ProjectScan | None, instance_listing: _InstanceListing, listing: Listing, now: datetime
) -> ProjectScan:
    instances, regions, digest = instance_listing.selected, instance_listing.regions, instance_listing.digest
    before = previous.records if previous else {}
    carried_over = _carried_over(previous, instances, regions, listing.denied)
    removed = _removed(previous, instances.keys() | carried_over.keys(), now)
    records = {name: before[name] for name in carried_over}
    for name in listing.runs.keys() - listing.denied:
        if name in before:
            records[name] = before[name].updated(instances[name], listing.runs[name], now)
        else:
            saved = removed[name].counters if name in removed else None
            records[name] = Record.first(instances[name], listing.runs[name], now, saved)
    same = len(records) == len(before) and all(before.get(name) is record for name, record in records.items())
    return ProjectScan(
        read_at=now,
        full_listing_at=listing.full_at,
        newest_first=listing.newest_first,
        records=before if same else records,
        unreachable_regions=tuple(sorted(regions)),
        carried_over=carried_over,
        removed={name: instance for name, instance in removed.items() if name not in records},
        digests=ResponseDigests(digest, instances, listing.newest_digest) if digest else None,
        listed=instance_listing.listed,
    )


class _Reader:
    """Reads the items of one project at one time, through `decode` and `parse`."""

    def __init__(self, source: Source, project: str, now: datetime, options: ScanOptions) -> None:
        self.source, self.project, self.now = source, project, now
        self._latest, self._options = now + CLOCK_SKEW, options
        self.fully_readable = True

    def report_unreadable(self, kind: str, text: str) -> None:
        """Report an item that is not fully readable."""
        self.fully_readable = False
        self._options.report_unreadable(kind, text)

    def instances(self, known: ResponseDigests | None) -> _InstanceListing:
        """The selected instances; of a response that is `known`, those that it was parsed to before."""
        pages = list(self.source.instances(self.project))
        regions = frozenset(region for page in pages for region in page.unreachable_regions)
        items = [item for page in pages for item in page.items]
        digest = _digest(items)
        if known and known.instances == digest:
            return _InstanceListing(len(items), known.selected, regions, digest)
        decode_instance = partial(decode.instance, project=self.project, latest=self._latest)
        parsed = self._readable("instance", items, decode_instance, self._parse_instance)
        selected = {instance.id.name: instance for instance in parsed if self._options.selects(instance)}
        return _InstanceListing(len(items), selected, regions, digest if self.fully_readable else None)

    def rows(self, items: list[bytes]) -> Iterator[tuple[str, RunRow]]:
        """Instance name and run, as a row, of every readable item."""
        decode_run = partial(decode.backup_run, latest=self._latest)
        for name, row in self._readable("backup_run", items, decode_run, self._parse_run):
            if row.error:
                yield name, row._replace(error=replace(row.error, label=self._options.code_label(row.error.code)))
            else:
                yield name, row

    def _parse_instance(self, item: object) -> parse.Parsed[Instance]:
        return parse.instance(item, project=self.project, latest=self._latest)

    def _parse_run(self, item: object) -> parse.Parsed[tuple[str, RunRow]]:
        parsed = parse.backup_run(item, latest=self._latest)
        name, run = parsed.fact
        return parse.Parsed((name, RunRow.of(run)), parsed.unreadable)

    def _readable(
        self,
        kind: str,
        items: list[bytes],
        decode_item: Callable[[bytes], T | None],
        parse_item: Callable[[object], parse.Parsed[T]],
    ) -> Iterator[T]:
        for item in items:
            fact = decode_item(item)
            if fact is None:
                try:
                    parsed = parse_item(parse.json_value(item))
                except parse.UnreadableItemError as error:
                    self.report_unreadable(kind, str(error))
                    continue
                if parsed.unreadable:
                    self.report_unreadable(kind, ", ".join(parsed.unreadable))
                fact = parsed.fact
            yield fact


def _full_listing_is_due(
    previous: ProjectScan, now: datetime, options: ScanOptions, instances: Mapping[str, Instance]
) -> bool:
    """By the clock, without an order to rely on, or because instances are new or reachable again."""
    known = previous.records.keys() - previous.carried_over.keys()
    late = abs(now - previous.full_listing_at) >= options.full_listing_every
    return late or not previous.newest_first or bool(instances.keys() - known)


def _carried_over(
    previous: ProjectScan | None,
    instances: Mapping[str, Instance],
    regions: frozenset[str],
    denied: frozenset[str],
) -> dict[str, datetime]:
    """Known instances that could not be read now, and when they last were: their region is unreachable, or denied."""
    if previous is None:
        return {}

    def unread(name: str, region: str | None) -> bool:
        unreachable = name not in instances and (region in regions or UNKNOWN_REGION in regions)
        return unreachable or name in denied

    return {
        name: previous.facts_read_at(name)
        for name, record in previous.records.items()
        if unread(name, record.instance.region)
    }


def _removed(previous: ProjectScan | None, present: set[str], now: datetime) -> dict[str, RemovedInstance]:
    """Instances that were there within the last week, some of which may be back."""
    if previous is None:
        return {}
    gone = {name: RemovedInstance(r.counters, now) for name, r in previous.records.items() if name not in present}
    removed = {**previous.removed, **gone}
    return {name: instance for name, instance in removed.items() if now - instance.removed_at <= EXPIRE_AFTER}


@dataclass(slots=True)
class _FullListing:
    """A full listing while its pages are read."""

    rows: dict[str, dict[int, RunRow]]
    newest_first: bool = True
    last_enqueued: float | None = None

    def add(self, listed: Iterator[tuple[str, RunRow]]) -> None:
        for name, row in listed:
            if row.enqueued:  # a run that was never enqueued has no place in that order that could be checked
                self.newest_first &= self.last_enqueued is None or row.enqueued <= self.last_enqueued
                self.last_enqueued = row.enqueued
            if name in self.rows:
                _put_latest(self.rows[name], row.number, row)

    def packed(self) -> dict[str, PackedRuns]:
        return {name: PackedRuns.of_rows(rows.values()) for name, rows in self.rows.items()}


def _full_listing(reader: _Reader, instances: Mapping[str, Instance]) -> Listing:
    """All runs of a project in one listing, or instance by instance where the project denies the wildcard."""
    listing = _FullListing({name: {} for name in instances})
    if not instances:
        return Listing({}, reader.now)
    pages = reader.source.backup_runs(reader.project, ALL_INSTANCES)
    try:
        first = next(pages, Page([]))
    except SourceError as error:
        if not error.denied:
            raise
        return _listing_by_instance(reader, instances)
    listing.add(reader.rows(first.items))
    for page in pages:
        listing.add(reader.rows(page.items))
    return Listing(listing.packed(), reader.now, listing.newest_first)


def _listing_by_instance(reader: _Reader, instances: Mapping[str, Instance]) -> Listing:
    """All runs, one listing per instance. A single instance may be denied, say because it has been deleted since."""
    listing = _FullListing({name: {} for name in instances})
    denied: set[str] = set()
    answered = False
    for name in (name for name, instance in instances.items() if instance.can_have_backups):
        try:
            for page in reader.source.backup_runs(reader.project, name):
                listing.add(reader.rows(page.items))
            answered = True
        except SourceError as error:
            if not error.denied or (error.result is PollResult.FORBIDDEN and not answered):
                raise
            reader.report_unreadable("instance", f"{name}: {error}")
            denied.add(name)
    return Listing(listing.packed(), reader.now, newest_first=False, denied=frozenset(denied))


@dataclass(slots=True)
class _Changes:
    """Runs of one instance that were read again, and the ids of runs that no longer exist."""

    runs: RunsById = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)


def _incremental_listing(reader: _Reader, previous: ProjectScan, instances: Mapping[str, Instance]) -> Listing | None:
    """The known runs, updated from the newest pages and from each older run in progress.

    Unchanged runs stay the same object. None where this is not possible or not cheap: a full listing is needed.
    """
    known = {name: previous.records[name].history.runs for name in instances}
    if known and not any(known.values()):
        return None
    if not known:
        return Listing({}, previous.full_listing_at)
    pages = reader.source.backup_runs(reader.project, ALL_INSTANCES, newest=True)
    first = next(pages, Page([]))
    digest = _digest(first.items)
    if previous.digests and previous.digests.newest_runs == digest:
        return Listing(known, previous.full_listing_at, newest_digest=digest)
    reader.fully_readable = True
    newest = _read_page(reader, first, known)
    older = (_read_page(reader, page, known) for page in pages)
    changes = _newest_changes(reader, chain([newest], older), known)
    if changes is None or not _refetch_in_progress(reader, previous, instances, changes):
        return None
    runs = known | {name: _merge(known[name], changed) for name, changed in changes.items()}
    in_progress = {(name, run.id) for name, c in changes.items() for run in c.runs.values() if run.status.in_progress}
    listed = {(name, run.id) for name, run in newest.runs}
    # Else the next poll must read more pages, report the items again, or request runs in progress singly.
    conclusive = reader.fully_readable and (newest.runs or newest.last) and in_progress <= listed
    return Listing(runs, previous.full_listing_at, newest_digest=digest if conclusive else None)


@dataclass(frozen=True, slots=True)
class _NewestPage:
    """A page of the newest runs: those of the selected instances, and when the oldest of all was enqueued."""

    runs: list[tuple[str, BackupRun]]
    oldest_enqueued: float
    last: bool


def _read_page(reader: _Reader, page: Page, known: Mapping[str, PackedRuns]) -> _NewestPage:
    rows = list(reader.rows(page.items))
    runs = [(name, row.run) for name, row in rows if name in known]
    return _NewestPage(runs, min((row.enqueued for _, row in rows if row.enqueued), default=math.inf), page.last)


def _newest_changes(
    reader: _Reader, pages: Iterable[_NewestPage], known: Mapping[str, PackedRuns]
) -> dict[str, _Changes] | None:
    """The changes on the newest pages, up to a page without anything new; None after too many pages."""
    changes: dict[str, _Changes] = {}
    oldest_enqueued: float | None = math.inf
    for number, page in enumerate(pages, 1):
        for name, run in page.runs:
            _put_latest(changes.setdefault(name, _Changes()).runs, run.id, run)
        oldest_enqueued = None if page.last else min(oldest_enqueued or 0, page.oldest_enqueued)
        if page.runs and all(known[name].with_id(run.id) == changes[name].runs[run.id] for name, run in page.runs):
            break  # newest first: what follows is older than what is known already
        if number >= MAX_NEWEST_PAGES:
            return None
    if reader.fully_readable:
        _add_gone(changes, known, oldest_enqueued)
    return changes


def _add_gone(changes: dict[str, _Changes], known: Mapping[str, PackedRuns], oldest_enqueued: float | None) -> None:
    """Add the known runs that should be on the pages that were read, but are not: they have been deleted.

    These are the runs enqueued after the oldest on the pages; all runs if it is None, because no page follows.
    """
    for name, runs in known.items():
        listed = changes[name].runs if name in changes else {}
        gone = {run_id for run_id in map(str, runs.numbers(enqueued_after=oldest_enqueued)) if run_id not in listed}
        if gone:
            changes.setdefault(name, _Changes()).gone |= gone


def _refetch_in_progress(
    reader: _Reader, previous: ProjectScan, instances: Mapping[str, Instance], changes: dict[str, _Changes]
) -> bool:
    """Read each run in progress that is not among the changes; False where single runs are denied.

    The permission for single runs is optional.
    """
    for name in instances:
        changed = changes.get(name) or _Changes()
        for run_id in {run.id for run in previous.records[name].history.in_progress} - changed.runs.keys():
            try:
                item = reader.source.backup_run(reader.project, name, run_id)
            except SourceError as error:
                if error.denied:
                    return False
                raise
            run = {run.id: run for run in (row.run for _, row in reader.rows([item] if item else []))}.get(run_id)
            if run is None:
                changed.gone.add(run_id)
            else:
                changed.runs[run_id] = run
            changes[name] = changed
    return True


def _merge(known: PackedRuns, changes: _Changes) -> PackedRuns:
    """The known runs with the changes; the same object where nothing is new."""
    if not changes.gone and all(known.with_id(run_id) == run for run_id, run in changes.runs.items()):
        return known
    remaining = {run.id: run for run in known if run.id not in changes.gone}
    return PackedRuns.of({**remaining, **changes.runs}.values())


def _digest(items: list[bytes]) -> bytes:
    return blake2b(b"\n".join(items), digest_size=16).digest()


def _put_latest(by_id: dict[K, R], run_id: K, run: R) -> None:
    """Add a run. A run can be listed twice, when pages shift or a window is retried: the later version counts."""
    known = by_id.get(run_id)
    if known is None or run.order >= known.order:
        by_id[run_id] = run
