"""The beat, and the workers that poll projects on it. Each project is polled for itself: none waits for another."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TypeVar

from exporter.config import Config, InstanceSelector, ProjectTarget, SearchTarget
from exporter.ledger import Ledger
from exporter.model import Clock, Instance, PollResult
from exporter.scan import CodeLabels, Page, ProjectScan, Rules, Source, SourceError, scan
from exporter.shard import Shard
from exporter.snapshot import ProjectStatus, SearchStatus, Snapshot

log = logging.getLogger(__name__)

BEAT = "beat"
ALL = Shard()

T = TypeVar("T")
Selectors = tuple[InstanceSelector, ...]
Targeted = dict[str, Selectors]


def beat(act: Callable[[], None], every: timedelta, stop: threading.Event) -> None:
    """Act at once, then on a fixed beat, until `stop` is set; a late beat is dropped, never piled up."""
    due = time.monotonic()
    while not stop.is_set():
        act()
        due = max(due + every.total_seconds(), time.monotonic())
        stop.wait(due - time.monotonic())


@dataclass(frozen=True, slots=True)
class Outside:
    """What a poller needs of the world around it.

    `source` makes a Source that is patient until a moment of the monotonic clock; `unreadable` is told the kind of
    each item that could not be read in whole; `published` that there is something new in the snapshot; `stop` ends
    polling, and every waiting of the source.
    """

    source: Callable[[float], Source]
    clock: Clock
    ledger: Ledger
    codes: CodeLabels
    unreadable: Callable[[str], None]
    published: Callable[[], None]
    stop: threading.Event


class Poller:
    """Keeps `snapshot` current. Each poll replaces its project's entry; nothing is ever changed in place."""

    def __init__(self, config: Config, outside: Outside, snapshot: Snapshot, shard: Shard = ALL) -> None:
        """Poll nothing yet. `snapshot` is what was known before."""
        self._config, self._outside, self._shard = config, outside, shard
        self.snapshot = _held(snapshot, shard)
        self._stop = outside.stop
        self._jobs: queue.SimpleQueue[tuple[str, Callable[[], None]]] = queue.SimpleQueue()
        self._pending: set[str] = set()  # jobs waiting or under way
        self._targeted: Targeted = {}
        self._asked: Targeted = {}  # projects that polls were begun of, with the selectors of the last one
        self._tried: set[str] = set()  # jobs that came to an end, well or badly
        self._unreadable: set[tuple[str, str, str]] = set()  # project, kind, field: said once
        self._searched: dict[str, float] = {}  # when, on the monotonic clock
        self._answered = {query for query, status in snapshot.searches.items() if status.up or status.projects}
        self._was_ready = any(status.scan for status in snapshot.projects.values())
        self._lock = threading.Condition()
        self._turn = threading.Lock()  # to compute: workers wait for the API at once, but read what it said in turns
        self._signs_of_life: dict[str, float] = {}
        self._retarget()

    def start(self) -> None:
        """Poll now and on the beat, in the background, until `stop`."""
        self._signs_of_life = {BEAT: time.monotonic()}
        self._start_workers()
        every = self._config.poll.interval
        threading.Thread(target=beat, args=(self._round, every, self._stop), name=BEAT, daemon=True).start()

    def stop(self) -> Snapshot:
        """Start no further poll; what is under way is left behind. Returns what is known, which is final now."""
        with self._lock:
            self._stop.set()
            return self.snapshot

    def poll_once(self, progress: Callable[[int, int], None] = lambda _done, _total: None) -> Snapshot:
        """Poll every target once, and wait for all; `progress` is told how many polls are done, of how many."""
        self._start_workers()
        self._round()
        with self._lock:
            while self._pending:
                self._lock.wait(timeout=0.1)
                progress(len(self._tried), len(self._tried | self._pending))
        return self.stop()

    @property
    def ready(self) -> bool:
        """Facts are there to serve: kept ones, or from a first poll of every project; once ready, a new one waits."""
        with self._lock:
            known = any(status.scan for status in self.snapshot.projects.values())
            self._was_ready = known and (self._was_ready or self._targeted.keys() <= self._tried)
            return self._was_ready

    def healthy(self) -> bool:
        """The beat goes on, and polls under way show signs of life."""
        beat_allowed = 2 * self._config.poll.interval.total_seconds() + 60
        # Pacing and Retry-After may hold a poll for as long as its interval; this is about a poll that hangs.
        poll_allowed = beat_allowed + 4 * self._config.poll.timeout.total_seconds() + 600
        now = time.monotonic()
        signs = self._signs_of_life.copy()
        return all(now - seen < (beat_allowed if name == BEAT else poll_allowed) for name, seen in signs.items())

    def alive(self) -> None:
        """Take a sign of life from the thread that calls: a request it made was answered, or failed."""
        worker = threading.current_thread().name
        if worker in self._signs_of_life:
            self._signs_of_life[worker] = time.monotonic()

    def _start_workers(self) -> None:
        for number in range(self._config.poll.concurrency):
            threading.Thread(target=self._work, name=f"poll-{number}", daemon=True).start()

    def _round(self) -> None:
        """Ask for a poll of everything that is targeted and not still being polled."""
        self._signs_of_life[BEAT] = time.monotonic()
        for target in self._config.targets:
            if isinstance(target, SearchTarget) and self._search_due(target):
                self._submit(f"search {target.search}", partial(self._search, target))
        self._prune()
        for project in self._targeted:
            self._ask(project)

    def _prune(self) -> None:
        """Find out what is targeted, and forget what is so no longer."""
        queries = {target.search for target in self._config.targets if isinstance(target, SearchTarget)}
        with self._lock:
            self._retarget()
            complete = queries <= self._answered  # else a project may yet turn out to be targeted
            if complete:
                self.snapshot = self.snapshot.only(self._targeted, queries)
        if complete:
            self._outside.ledger.forget(self._targeted, self._outside.clock())
        self._outside.published()

    def _retarget(self) -> None:
        """Find every project that a target names or a search found, with the selectors of all those targets."""
        targeted: Targeted = {}
        for target in self._config.targets:
            for project in filter(self._shard.holds_project, self._projects_of(target)):
                targeted[project] = (*targeted.get(project, ()), target.instances)
        self._targeted = targeted

    def _projects_of(self, target: ProjectTarget | SearchTarget) -> tuple[str, ...]:
        if isinstance(target, ProjectTarget):
            return (target.project,)
        if target.search in self._answered:
            return self.snapshot.searches[target.search].projects
        return self._kept_projects()

    def _search_due(self, target: SearchTarget) -> bool:
        before = self._searched.get(target.search)
        status = self.snapshot.searches.get(target.search)
        fresh = before is not None and time.monotonic() - before < target.refresh.total_seconds()
        return not (fresh and status and status.up)

    def _ask(self, project: str) -> None:
        self._submit(project, partial(self._poll, project))

    def _submit(self, key: str, job: Callable[[], None]) -> None:
        with self._lock:
            if key in self._pending:
                return
            self._pending.add(key)
        self._jobs.put((key, job))

    def _work(self) -> None:
        worker = threading.current_thread().name
        while not self._stop.is_set():
            try:
                key, job = self._jobs.get(timeout=1)
            except queue.Empty:
                continue
            self._signs_of_life[worker] = time.monotonic()
            try:
                job()
            except Exception:  # what was read could not be kept: the last facts grow old, and the worker goes on
                log.exception("a fault of the exporter; please report it", extra={"job": key})
            self._signs_of_life.pop(worker, None)
            with self._lock:
                self._pending.discard(key)
                self._tried.add(key)
                if self._targeted.get(key) not in (None, self._asked.get(key)):  # a search changed what to read of it
                    self._ask(key)
                self._lock.notify_all()

    def _poll(self, project: str) -> None:
        with self._lock:
            selectors = self._targeted.get(project, ())
            full = self._asked.get(project) != selectors
            self._asked[project] = selectors
            before = self.snapshot.projects.get(project) or self._unseen(project)
        began = time.monotonic()
        outcome = _attempted(lambda: self._scan(project, selectors, before.scan, full=full))
        duration = timedelta(seconds=time.monotonic() - began)
        if not self._wanted(project):
            return
        if isinstance(outcome, SourceError):
            after = before.failed(outcome, duration)
        else:
            after = before.succeeded(outcome, duration)
            self._outside.ledger.save(project, outcome)  # before anybody sees it: what was shown never goes back
        with self._lock:
            if self._wanted(project):
                self.snapshot = self.snapshot.with_project(after)
        self._outside.published()
        _log_change(before, after)

    def _unseen(self, project: str) -> ProjectStatus:
        """A project that was not targeted just now: what is still kept of it goes on, its counters above all."""
        return ProjectStatus(project, scan=self._outside.ledger.kept(project))

    def _wanted(self, project: str) -> bool:
        """Whether anybody still wants to know."""
        with self._lock:
            return not self._stop.is_set() and project in self._targeted

    def _scan(self, project: str, selectors: Selectors, before: ProjectScan | None, *, full: bool) -> ProjectScan:
        def selects(instance: Instance) -> bool:
            return self._shard.holds(instance.id) and any(selector.selects(instance) for selector in selectors)

        def unreadable(kind: str, field: str) -> None:
            self._outside.unreadable(kind)
            first = (project, kind, field) not in self._unreadable
            self._unreadable.add((project, kind, field))
            level = logging.WARNING if first else logging.DEBUG
            log.log(level, "an item cannot be read in whole", extra={"project": project, "kind": kind, "field": field})

        rules = Rules(selects, self._outside.codes, unreadable, self._config.poll.full_listing_every)
        source, now = Waiting(self._patient_source(), self._turn), self._outside.clock()
        with self._turn:
            return scan(source, project, now, rules, before, full=full)

    def _patient_source(self) -> Source:
        """A source that gives up when the next poll would be due."""
        return self._outside.source(time.monotonic() + self._config.poll.interval.total_seconds())

    def _search(self, target: SearchTarget) -> None:
        found = _attempted(lambda: tuple(sorted(set(self._patient_source().projects(target.search)))))
        self._searched[target.search] = time.monotonic()
        with self._lock:
            before = self.snapshot.searches.get(target.search)
            if isinstance(found, SourceError):
                status = SearchStatus(False, before.projects if before else (), str(found))
            else:
                status = SearchStatus(True, found)
                self._answered.add(target.search)
            self.snapshot = self.snapshot.with_search(target.search, status)
        if before is None or before.message != status.message:
            level = logging.INFO if status.up else logging.ERROR
            log.log(level, status.message or "search answered", extra={"projects": len(status.projects)})
        self._prune()
        with self._lock:
            for project, selectors in self._targeted.items():
                if self._asked.get(project) != selectors:
                    self._ask(project)

    def _kept_projects(self) -> tuple[str, ...]:
        """What a search may have found before a restart: the known projects that nothing else is known to target."""
        if not self.snapshot.searches and not self._tried:
            return ()  # no search has been tried yet: it will tell
        named = {target.project for target in self._config.targets if isinstance(target, ProjectTarget)}
        found = {name for query in self._answered for name in self.snapshot.searches[query].projects}
        return tuple(name for name in self.snapshot.projects if name not in named | found)


class Waiting:
    """A source whose asker gives up its turn to compute while it waits for an answer, and takes it again to read it.

    Threads that compute at once gain nothing, the interpreter runs one at a time, but each takes its share from a
    scrape that comes meanwhile.
    """

    def __init__(self, source: Source, turn: threading.Lock) -> None:
        self._source, self._turn = source, turn

    def instances(self, project: str) -> Iterator[Page]:
        """As the source."""
        return self._pages(self._source.instances(project))

    def backup_runs(self, project: str, instance: str, *, newest: bool = False) -> Iterator[Page]:
        """As the source."""
        return self._pages(self._source.backup_runs(project, instance, newest=newest))

    def backup_run(self, project: str, instance: str, run_id: str) -> object | None:
        """As the source."""
        return self._outside_turn(lambda: self._source.backup_run(project, instance, run_id))

    def projects(self, query: str) -> Iterator[str]:
        """As the source."""
        return self._source.projects(query)

    def _pages(self, pages: Iterator[Page]) -> Iterator[Page]:
        while page := self._outside_turn(lambda: next(pages, None)):
            yield page

    def _outside_turn(self, wait: Callable[[], T]) -> T:
        self._turn.release()
        try:
            return wait()
        finally:
            self._turn.acquire()


def _held(snapshot: Snapshot, shard: Shard) -> Snapshot:
    """What is a shard's of a snapshot that was kept when there were more or fewer shards."""
    return replace(
        snapshot,
        projects={
            name: replace(status, scan=status.scan and _held_of(status.scan, shard))
            for name, status in snapshot.projects.items()
            if shard.holds_project(name)
        },
    )


def _held_of(scan: ProjectScan, shard: Shard) -> ProjectScan:
    held = {name: record for name, record in scan.records.items() if shard.holds(record.instance.id)}
    return scan if len(held) == len(scan.records) else replace(scan, records=held)


def _attempted(read: Callable[[], T]) -> T | SourceError:
    """What was read, or why not. The edge of the poll loop: a fault of ours is a failed poll, logged and counted."""
    try:
        return read()
    except SourceError as error:
        return error
    except Exception as error:
        log.exception("a poll ended in a fault of the exporter; please report it")
        return SourceError(PollResult.BAD_RESPONSE, f"a fault of the exporter: {error!r}")


def _log_change(before: ProjectStatus, after: ProjectStatus) -> None:
    """Say once, when it changes, how polls of a project end and how its runs are listed."""
    if after.scan and not after.scan.ordered and (before.scan is None or before.scan.ordered):
        text = "what is new cannot be told from a part of the listing: the project is listed in full at every poll"
        log.warning(text, extra={"project": after.project})
    if after.unreachable_regions != before.unreachable_regions:
        regions = ", ".join(after.unreachable_regions) or "none"
        log.warning("regions that the API cannot reach: %s", regions, extra={"project": after.project})
    if before.result is after.result:
        return
    if after.result is PollResult.SUCCESS and after.scan:
        level = logging.INFO if after.scan.records else logging.WARNING
        log.log(level, "project is read", extra={"project": after.project, "instances": len(after.scan.records)})
    else:
        log.error(after.message, extra={"project": after.project, "result": after.result})
