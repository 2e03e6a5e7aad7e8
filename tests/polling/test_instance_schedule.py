"""The schedule of requests about recovery times: evenly spread, and never ahead of polls."""

import heapq
from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import count, pairwise

import pytest

from exporter.facts.model import InstanceId
from exporter.googleapis.retry import RateLimiter, UnusedSlots
from exporter.polling.instance_schedule import Schedule
from exporter.polling.recovery_times import CONCURRENCY, MAX_WAIT

EVERY = 3600.0
NAMES = [InstanceId("shop", f"db-{number}") for number in range(10)]


def schedule_of(*instances: InstanceId, due: float = 0) -> Schedule:
    schedule = Schedule(EVERY)
    for instance in instances:
        schedule.add(instance, due)
    return schedule


def asked(schedule: Schedule, begin: float, end: float, step: float = 1) -> list[tuple[float, str]]:
    """When each instance is asked, by a single thread that tries at every step, and always succeeds."""
    found = []
    for number in range(int((end - begin) / step)):
        now = begin + number * step
        while isinstance(instance := schedule.take(now), InstanceId):
            found.append((now, instance.name))
            schedule.asked(instance, now, failed=False)
    return found


def test_requests_are_spread_evenly_and_repeated_after_the_interval() -> None:
    requests = asked(schedule_of(*NAMES), 0, 2 * EVERY)
    assert [at for at, _ in requests] == [number * EVERY / 10 for number in range(20)]
    assert [name for _, name in requests] == [instance.name for instance in NAMES] * 2


def test_new_instances_are_not_asked_in_a_burst_after_idle_time() -> None:
    schedule = schedule_of(NAMES[0])
    asked(schedule, 0, EVERY / 2)
    for instance in NAMES[1:]:
        schedule.add(instance, EVERY / 2)
    times = [at for at, _ in asked(schedule, EVERY / 2, EVERY)]
    assert times[0] == EVERY / 2
    assert {later - earlier for earlier, later in pairwise(times)} == {EVERY / 10}


def test_what_could_not_be_asked_in_time_is_made_up_for_within_limits() -> None:
    """After 5 minutes without a slot, those of 5 minutes follow at once; after an hour, those of a tenth of it."""
    instances = [InstanceId("shop", f"db-{number}") for number in range(3600)]
    for blocked, at_once in ((300, 301), (3600, 361)):
        schedule = schedule_of(*instances)
        assert isinstance(schedule.take(0), InstanceId)
        requests = asked(schedule, blocked, blocked + 1)
        assert len(requests) == pytest.approx(at_once, abs=1)


def test_failed_request_is_repeated_sooner_at_first() -> None:
    schedule = schedule_of(NAMES[0])
    delays = []
    now = 0.0
    for failed in (True, True, True, True, False, True):
        assert schedule.take(now) == NAMES[0]
        schedule.asked(NAMES[0], now, failed=failed)
        delay = schedule.take(now)
        assert isinstance(delay, float)
        delays.append(delay / EVERY)
        now += EVERY
    assert delays == [1, 1, 1, 1, 1, 1]  # a single instance is asked once per interval at most
    schedule = schedule_of(*NAMES)
    for share in (1 / 4, 1 / 2, 1, 1):
        schedule.asked(NAMES[0], 0, failed=True)
        assert schedule._due[NAMES[0]] == share * EVERY


def test_failures_do_not_raise_the_number_of_requests() -> None:
    """docs/scaling.md: one request per instance and interval."""
    schedule = schedule_of(*NAMES)
    for hour in range(48):
        requests = 0
        for second in range(3600):
            while isinstance(instance := schedule.take(hour * 3600 + second), InstanceId):
                requests += 1
                schedule.asked(instance, hour * 3600 + second, failed=True)
        assert requests <= len(NAMES) + 1


def test_removed_instance_is_not_asked_again() -> None:
    schedule = schedule_of(*NAMES)
    first = schedule.take(0)
    assert isinstance(first, InstanceId)
    for instance in NAMES:
        schedule.remove(instance)
    schedule.asked(first, 1, failed=False)
    assert schedule.take(9e9) == float("inf")
    assert first not in schedule


# A simulated clock


Process = Generator[float, None, None]


class Simulation:
    """Processes that wait for simulated seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Process]] = []
        self._numbers = count()
        monkeypatch.setattr("exporter.googleapis.retry.time.monotonic", lambda: self.now)

    def add(self, process: Process, at: float = 0) -> None:
        heapq.heappush(self._events, (at, next(self._numbers), process))

    def run(self, end: float) -> None:
        while self._events and self._events[0][0] < end:
            self.now, _, process = heapq.heappop(self._events)
            for delay in process:
                self.add(process, self.now + delay)
                break


LATENCY, INTERVAL, PER_MINUTE = 0.3, 300.0, 300


@dataclass
class Fleet:
    """Quiet polls of two requests on 8 workers and, if there are instances, recovery times of these."""

    projects: int
    instances: int = 0
    polls: list[tuple[float, float]] = field(default_factory=list)  # when each was due, and when it ended
    read: dict[InstanceId, list[float]] = field(default_factory=dict)

    def run(self, simulation: Simulation, hours: float) -> "Fleet":
        limiter = RateLimiter(PER_MINUTE)
        for number in range(int(hours * 3600 / INTERVAL)):
            queue = list(range(self.projects))
            for _worker in range(8):
                simulation.add(self._worker(simulation, limiter, queue, number * INTERVAL), number * INTERVAL)
        if self.instances:
            schedule = schedule_of(*(InstanceId("shop", f"db-{number}") for number in range(self.instances)))
            slots = UnusedSlots(limiter)
            for _reader in range(CONCURRENCY):
                simulation.add(self._reader(simulation, schedule, slots))
        simulation.run(hours * 3600)
        return self

    def _worker(self, simulation: Simulation, limiter: RateLimiter, queue: list[int], due: float) -> Process:
        while queue:
            queue.pop()
            for _request in range(2):
                yield limiter.reserve()
                yield LATENCY
            self.polls.append((due, simulation.now))

    def _reader(self, simulation: Simulation, schedule: Schedule, slots: UnusedSlots) -> Process:
        while True:
            found = schedule.take(simulation.now)
            if not isinstance(found, InstanceId):
                yield min(found, MAX_WAIT)
                continue
            while delay := slots.take():
                yield delay
            self.read.setdefault(found, []).append(simulation.now)
            yield LATENCY
            schedule.asked(found, simulation.now, failed=False)


def test_10_000_instances_at_300_requests_per_minute_do_not_delay_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polls take 120 requests per minute: every instance is read within its hour, and no poll ends a moment later."""
    without = Fleet(projects=300).run(Simulation(monkeypatch), hours=2.5)
    fleet = Fleet(projects=300, instances=10_000).run(Simulation(monkeypatch), hours=2.5)
    assert fleet.polls == without.polls
    assert max(end - due for due, end in fleet.polls) < INTERVAL
    assert len(fleet.read) == 10_000
    gaps = [later - earlier for times in fleet.read.values() for earlier, later in pairwise(times)]
    assert len(gaps) > 10_000
    assert max(gaps) < EVERY + 2 * INTERVAL
    assert max(times[0] for times in fleet.read.values()) < EVERY + 2 * INTERVAL


def test_recovery_times_get_what_polls_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polls take 280 of 300 requests per minute, and end within their interval as without; a few are left."""
    without = Fleet(projects=700).run(Simulation(monkeypatch), hours=1)
    fleet = Fleet(projects=700, instances=10_000).run(Simulation(monkeypatch), hours=1)
    assert fleet.polls == without.polls
    assert max(end - due for due, end in fleet.polls) < INTERVAL
    assert len(fleet.read) == pytest.approx(20 * 60, rel=0.02)
