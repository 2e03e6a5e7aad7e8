"""A simulated quarter: the real poller and ledger with an injected clock, and what a witness of the simulation saw.

The witness knows the plan of each instance, the times of polls and the raw listings of the simulated API. It uses no
code of the exporter: its record of the days is a second implementation of what docs/report.md says.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from exporter.facts.model import PollResult
from exporter.facts.snapshot import ProjectStatus, Snapshot
from exporter.metrics.code_labels import CodeLabels
from exporter.polling.poller import Poller, PollerDependencies
from exporter.polling.workers import WorkerPool
from exporter.scan.source import Page, SourceError
from exporter.simulator import SimulatedClock, World
from exporter.simulator.scenarios import Scenario
from exporter.simulator.timeline import HEALTHY, MISSED, OVERDUE, SKIPPED, Attempt, Run, failing
from exporter.simulator.worlds import Project
from exporter.state.sqlite import SqliteLedger, open_ledger
from tests.support.builders import DAY, HOUR, NOW, SECOND, WorldSource, config

PROJECT = "shop"
DAYS = 91
INTERVAL = 3 * HOUR
STALE_AFTER, MAX_AGE, CRITICAL_AGE, GRACE, WINDOW = 4 * HOUR, 30 * HOUR, 54 * HOUR, 30 * HOUR, 4 * HOUR
WORST_FIRST = ("unprotected", "unknown", "at_risk", "protected", "exempt")
MIDNIGHT = NOW.replace(hour=0)

# Hours since the start, at noon of day 0.
DOWN = ((400, 450), (699, 700), (960, 966), (1200, 1442), (1803, 1809))  # from, to; the exporter starts at the latter
API_FAILS = ((250, 254), (600, 660), (964, 974))  # from, to
LATE_FROM, OLD_UNTIL = 30 * 24 + 1, 50 * 24 + 9  # creation and deletion of an instance


@dataclass(frozen=True)
class Plan:
    """An instance whose window opens at a time of each day; the run of a day is a healthy one unless `runs` has it."""

    opens: timedelta
    runs: Mapping[int, Run] = field(default_factory=dict)  # by number of days since the first
    usual: Run = HEALTHY
    stopped: bool = False

    def run(self, day: int) -> Run:
        """The run of the window that opens on a day."""
        return self.runs.get(day, self.usual)

    def scenario(self, clock: SimulatedClock) -> Scenario:
        """The instance in the simulator, which has forgotten what happened long ago: listings are shorter."""

        def recent(day: int) -> bool:
            return day in self.runs or (clock() - MIDNIGHT) // DAY - day < 12

        offset = 0 if self.opens <= NOW - MIDNIGHT else -1  # the day on which window 0 opened
        return Scenario(
            "planned",
            "runs by a plan",
            lambda window: self.run(window + offset) if recent(window + offset) else MISSED,
            opened_ago=NOW - (MIDNIGHT + offset * DAY + self.opens),
            settings={"activationPolicy": "NEVER"} if self.stopped else {},
        )


LONG_FAILURE = Run((Attempt(takes=3 * HOUR, error="INTERNAL_ERROR"),))
PLANS = {
    "orders": Plan(
        4 * HOUR, {10: failing("E"), 11: failing("E"), 12: failing("E"), 40: failing("E"), 58: failing("E")}
    ),
    "ledger": Plan(9 * HOUR, {20: MISSED, 21: MISSED, 22: MISSED, 70: OVERDUE}),
    "invoices": Plan(22 * HOUR, {5: LONG_FAILURE, 6: failing("E"), 33: MISSED}, Run((Attempt(takes=3 * HOUR),))),
    "sessions": Plan(HOUR, {0: HEALTHY, 30: HEALTHY}, SKIPPED),
    "stopped": Plan(4 * HOUR, stopped=True),
    "late": Plan(14 * HOUR, {45: failing("E")}),
    "old": Plan(6 * HOUR),
}


class Day(NamedTuple):
    """What happened to an instance on a day."""

    state: str
    observed_share: float
    due: int
    outcome: str
    worst_age_seconds: int | None
    within_policy: bool | None


class FailingSource(WorldSource):
    """A source of a world that may be down."""

    down = False

    def instances(self, project: str) -> Iterator[Page]:
        if self.down:
            raise SourceError(PollResult.SERVER_ERROR, "the API is down")
        yield from super().instances(project)


@dataclass
class Facts:
    """What the API said at a poll that succeeded: when that was, and the runs of each instance."""

    read_at: datetime
    runs: Mapping[str, list[dict[str, Any]]]


class Witness:
    """Keeps, from the plan and the raw listings, what happened to each instance on each day that was watched."""

    def __init__(self) -> None:
        self.facts: Facts | None = None
        self.watched: datetime | None = None  # the last poll of the process that is running
        self.states: dict[tuple[str, date], list[str]] = {}
        self.ages: dict[tuple[str, date], list[int]] = {}
        self.met: dict[tuple[str, date], list[bool]] = {}
        self.seconds: dict[tuple[str, date], float] = {}
        self.outcomes: dict[tuple[str, date], str] = {}

    def polled(self, now: datetime, world: World, *, failed: bool) -> None:
        """A poll, which the API answers or not; time since the one before was watched."""
        if self.watched and self.facts:
            start = self.watched
            while start.date() < now.date():
                midnight = datetime(start.year, start.month, start.day, tzinfo=UTC) + DAY
                self._watch(start, midnight, midnight - SECOND)
                start = midnight
            self._watch(start, now, now)
        if not failed:
            runs: dict[str, list[dict[str, Any]]] = {str(item["name"]): [] for item in world.instances(PROJECT)}
            for run in world.backup_runs(PROJECT):
                runs[str(run["instance"])].append(run)
            self.facts = Facts(now, runs)
            for name, listed in runs.items():
                for run in listed:
                    self.outcomes[name, time(str(run["windowStartTime"])).date()] = str(run["status"]).lower()
        if self.facts:
            self._watch(now, now, now)
        self.watched = now

    def stopped(self) -> None:
        """The exporter was stopped."""
        self.watched = None

    def record(self, now: datetime) -> dict[tuple[str, date], Day]:
        """Every day that was watched."""
        return {
            (name, day): Day(
                min(states, key=WORST_FIRST.index),
                round(self.seconds[name, day] / 86400, 3),
                windows_closed(name, day, now),
                self.outcomes.get((name, day), "none"),
                max(self.ages.get((name, day), ()), default=None),
                all(self.met[name, day]) if (name, day) in self.met else None,
            )
            for (name, day), states in self.states.items()
        }

    def _watch(self, start: datetime, end: datetime, judged_at: datetime) -> None:
        assert self.facts
        for name, runs in self.facts.runs.items():
            key = name, judged_at.date()
            self.seconds[key] = self.seconds.get(key, 0.0) + (end - start).total_seconds()
            point = recovery_point(runs)
            if point:
                self.ages.setdefault(key, []).append(int(judged_at.timestamp()) - int(point.timestamp()))
            fresh = judged_at - self.facts.read_at <= STALE_AFTER
            self.states.setdefault(key, []).append(self._state(name, runs, point, judged_at) if fresh else "unknown")
            if self.states[key][-1] != "exempt":
                self.met.setdefault(key, []).append(fresh and point is not None and judged_at - point <= MAX_AGE)

    def _state(self, name: str, runs: list[dict[str, Any]], point: datetime | None, now: datetime) -> str:
        assert self.facts
        if PLANS[name].stopped:
            return "exempt"
        if name == "late" and point is None and now - (NOW + LATE_FROM * HOUR) <= GRACE:
            return "exempt"  # new
        if point is None or now - point > CRITICAL_AGE:
            return "unprotected"
        ended = [run for run in runs if run["status"] not in ("ENQUEUED", "RUNNING")]
        newest = max(ended, key=lambda run: str(run["windowStartTime"]))
        newest_of_all = max(runs, key=lambda run: str(run["windowStartTime"]))
        opened = MIDNIGHT + PLANS[name].opens
        while opened + DAY + WINDOW <= self.facts.read_at:
            opened += DAY
        missed = (
            exists_from(name) <= opened
            and opened + WINDOW <= self.facts.read_at
            and not any(opened <= time(run["windowStartTime"]) < opened + WINDOW for run in runs)
        )
        troubled = missed or newest["status"] == "FAILED" or newest_of_all["status"] == "OVERDUE"
        return "at_risk" if troubled or now - point > MAX_AGE else "protected"


def time(text: str) -> datetime:
    """A time as the API writes it."""
    return datetime.fromisoformat(text)


def recovery_point(runs: list[dict[str, Any]]) -> datetime | None:
    """The start of the newest successful run, or the window start of a later SKIPPED one."""
    starts = [time(run["startTime"]) for run in runs if run["status"] == "SUCCESSFUL"]
    if not starts:
        return None
    return max([*starts, *(time(run["windowStartTime"]) for run in runs if run["status"] == "SKIPPED")])


def exists_from(name: str) -> datetime:
    """When an instance was created."""
    return NOW + LATE_FROM * HOUR if name == "late" else NOW - 400 * DAY


def windows_closed(name: str, day: date, now: datetime) -> int:
    """The number of windows of an instance that closed on a day, while it was there."""
    plan = PLANS[name]
    if plan.stopped:
        return 0
    closes = datetime(day.year, day.month, day.day, tzinfo=UTC) + (plan.opens + WINDOW) % DAY
    exists_until = NOW + (OLD_UNTIL + 1) * HOUR if name == "old" else now  # the poll that no longer lists it
    return int(closes - WINDOW >= exists_from(name) and closes <= min(exists_until, now))


def simulate(folder: Path) -> tuple[dict[tuple[str, date], Day], datetime]:
    """Run the exporter for a quarter with its state in a folder. Returns the witness' record, and the time after."""
    clock = SimulatedClock(NOW, 0)
    scenarios = {name: plan.scenario(clock) for name, plan in PLANS.items()}
    world = World({PROJECT: Project({name: found for name, found in scenarios.items() if name != "late"})}, clock)
    world.projects = dict(world.projects)
    source, witness = FailingSource(world), Witness()
    settings = config(projects=(PROJECT,), poll={"interval": "3h", "stale_after": "4h"}, policies=[{"grace": "30h"}])
    polls = [hour for hour in range(1, DAYS * 24 - 12, INTERVAL // HOUR) if not any(a < hour < b for a, b in DOWN)]
    starts = {next(hour for hour in polls if hour >= up and hour > down) for down, up in DOWN}
    running: list[list[int]] = [[]]
    for hour in polls:
        if hour in starts:
            running.append([])
        running[-1].append(hour)
    for hours in running:
        with closing(open_ledger(folder)) as ledger:
            assert isinstance(ledger, SqliteLedger)
            ledger._connection.execute("PRAGMA synchronous = OFF")  # nobody pulls the plug: tests are faster
            snapshot = Snapshot({p: ProjectStatus(p, scan=scan) for p, scan in ledger.scans().items()})
            observed: dict[str, float] = {}
            for hour in hours:
                clock.advance(NOW + hour * HOUR - clock())
                world.projects[PROJECT] = Project(
                    {
                        name: replace(scenario, created_ago=-LATE_FROM * HOUR) if name == "late" else scenario
                        for name, scenario in scenarios.items()
                        if not (name == "late" and hour < LATE_FROM) and not (name == "old" and hour >= OLD_UNTIL)
                    }
                )
                source.down = any(start <= hour < end for start, end in API_FAILS)
                stop = threading.Event()
                poller = Poller(settings, _dependencies(source, clock, ledger, observed, stop), snapshot)
                poller._poll(PROJECT)  # without threads, which take most of the time
                snapshot = poller.snapshot
                witness.polled(clock(), world, failed=source.down)
        witness.stopped()
    return witness.record(clock()), clock()


def _dependencies(
    source: FailingSource, clock: SimulatedClock, ledger: Any, observed: dict[str, float], stop: Any
) -> PollerDependencies:
    return PollerDependencies(
        source=lambda _deadline, _account: source,
        directory=lambda _deadline, _account: source,
        clock=clock,
        ledger=ledger,
        workers=WorkerPool(1, stop),
        code_label=CodeLabels().label,
        on_unreadable=lambda _kind: None,
        on_change=lambda: None,
        stop=stop,
        monotonic=lambda: clock().timestamp(),
        observed=observed,
    )
