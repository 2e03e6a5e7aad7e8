"""The poller: one project's trouble stays that project's, facts outlive failures, and what is gone goes."""

import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from exporter.config import Config
from exporter.facts.model import PollResult
from exporter.facts.record import ProjectScan
from exporter.facts.snapshot import ProjectStatus, Snapshot
from exporter.metrics.code_labels import CodeLabels
from exporter.polling.poller import Poller, PollerDependencies, run_every
from exporter.polling.workers import WorkerPool
from exporter.scan.source import Page, SourceError
from exporter.simulator import WORLDS, SimulatedClock, World
from exporter.state.ledger import Ledger, MemoryLedger
from exporter.verdict.evaluate import Evaluation, evaluate
from exporter.verdict.rules import Protection
from tests.support.builders import EXPORTER_INFO, HOUR, NOW, SECOND, WorldSource, config, eventually, world


class FaultySource(WorldSource):
    """A source whose projects can be made to fail, hang, or break the exporter."""

    def __init__(self, asked: World) -> None:
        super().__init__(asked)
        self.moods: dict[str, Exception | threading.Event] = {}

    def instances(self, project: str) -> Iterator[Page]:
        mood = self.moods.get(project)
        if isinstance(mood, threading.Event):
            mood.wait(30)
        elif mood:
            raise mood
        yield from super().instances(project)

    def projects(self, query: str) -> Iterator[str]:
        if mood := self.moods.get(query):
            assert isinstance(mood, Exception)
            raise mood
        yield from super().projects(query)


FORBIDDEN = SourceError(PollResult.FORBIDDEN, "grant something")


@pytest.fixture
def source() -> FaultySource:
    return FaultySource(world(WORLDS["demo"]()))


def poller(source: FaultySource, settings: Config, ledger: Ledger | None = None) -> Poller:
    return Poller(settings, dependencies(source, settings, ledger or MemoryLedger()), Snapshot())


def dependencies(source: FaultySource, settings: Config, ledger: Ledger) -> PollerDependencies:
    stop = threading.Event()
    return PollerDependencies(
        source=lambda _deadline: source,
        clock=source.world.clock,
        ledger=ledger,
        workers=WorkerPool(settings.poll.concurrency, stop),
        code_label=CodeLabels().label,
        on_unreadable=lambda _kind: None,
        on_change=lambda: None,
        stop=stop,
    )


def polled(source: FaultySource, settings: Config, before: Poller | None = None) -> Poller:
    after = poller(source, settings)
    after.snapshot = before.snapshot if before else after.snapshot
    after.poll_once()
    return after


def seen(told: Poller, settings: Config, now: datetime = NOW) -> Evaluation:
    return evaluate(told.snapshot, settings, EXPORTER_INFO, now)


BOTH = config(projects=("museum", "shop-prod"))


def test_one_project_that_fails_does_not_touch_another(source: FaultySource) -> None:
    source.moods["museum"] = FORBIDDEN
    told = polled(source, BOTH).snapshot.projects
    assert (told["museum"].result, told["museum"].message) == (PollResult.FORBIDDEN, "grant something")
    assert told["museum"].scan is None
    assert told["shop-prod"].up
    assert len(told["shop-prod"].scan.records) == 9  # type: ignore[union-attr] # it is up


def test_a_failed_poll_keeps_the_last_facts_and_they_grow_old(source: FaultySource) -> None:
    first = polled(source, BOTH)
    source.moods["museum"] = FORBIDDEN
    second = polled(source, BOTH, first)
    assert second.snapshot.projects["museum"].scan is first.snapshot.projects["museum"].scan
    assert second.snapshot.projects["museum"].polls[PollResult.FORBIDDEN] == 1
    assert second.snapshot.projects["museum"].polls[PollResult.SUCCESS] == 1

    def states(now: datetime) -> set[Protection]:
        return {v.state for v in seen(second, BOTH, now).verdicts if v.instance.id.project == "museum"}

    assert Protection.UNKNOWN not in states(NOW + HOUR)
    assert states(NOW + HOUR + SECOND) == {Protection.UNKNOWN}


def test_a_fault_of_the_exporter_is_a_failed_poll_and_not_silence(source: FaultySource) -> None:
    source.moods["museum"] = ZeroDivisionError("ours")
    told = polled(source, BOTH).snapshot.projects["museum"]
    assert told.result is PollResult.BAD_RESPONSE
    assert "a fault of the exporter" in told.message


def test_a_project_that_hangs_holds_up_nobody_and_is_not_polled_twice_at_once(source: FaultySource) -> None:
    hang = threading.Event()
    source.moods["museum"] = hang
    settings = config(projects=("museum", "shop-prod"), poll={"interval": "50ms"})
    told = poller(source, settings)
    told.start()

    def polls() -> int:
        status = told.snapshot.projects.get("shop-prod")
        return sum(status.polls.values()) if status else 0

    went_on = eventually(lambda: polls() >= 5)
    hung, ready = "museum" not in told.snapshot.projects, told.update_readiness()
    hang.set()
    came_back = eventually(told.update_readiness)
    told.stop()
    assert (went_on, hung, ready, came_back) == (True, True, False, True)


def test_what_a_stopped_poller_still_learns_is_no_longer_wanted(source: FaultySource) -> None:
    hang = threading.Event()
    source.moods["museum"] = hang
    told = poller(source, config(projects=("museum",)))
    told.start()
    told.stop()
    hang.set()
    assert not eventually(lambda: bool(told.snapshot.projects), seconds=0.5)


def test_projects_found_by_a_search_are_polled_and_those_no_longer_found_are_forgotten(source: FaultySource) -> None:
    settings = Config.model_validate({"targets": [{"search": "state:ACTIVE", "refresh": "1ms"}]})
    first = polled(source, settings)
    assert sorted(first.snapshot.projects) == ["museum", "sealed", "shop-prod", "warehouse-prod"]
    source.world.projects = {"museum": source.world.projects["museum"]}
    second = polled(source, settings, first)
    assert sorted(second.snapshot.projects) == ["museum"]


def test_a_search_that_fails_keeps_what_it_found_and_says_so(source: FaultySource) -> None:
    settings = Config.model_validate({"targets": [{"search": "state:ACTIVE", "refresh": "1ms"}]})
    first = polled(source, settings)
    source.moods["state:ACTIVE"] = FORBIDDEN
    second = polled(source, settings, first)
    search = second.snapshot.searches["state:ACTIVE"]
    assert (search.up, search.message, len(search.projects)) == (False, "grant something", 4)
    assert second.snapshot.projects["museum"].polls[PollResult.SUCCESS] == 2


def test_a_project_named_by_two_targets_is_polled_once_with_the_instances_of_both(source: FaultySource) -> None:
    settings = Config.model_validate(
        {
            "targets": [
                {"project": "shop-prod", "instances": {"include": ["orders"]}},
                {"project": "shop-prod", "instances": {"include": ["pay.*"]}},
            ]
        }
    )
    told = polled(source, settings).snapshot.projects["shop-prod"]
    assert told.scan is not None
    assert sorted(told.scan.records) == ["orders", "payments"]
    assert sum(told.polls.values()) == 1


def test_the_snapshot_is_replaced_and_never_changed(source: FaultySource) -> None:
    first = polled(source, BOTH)
    held, before = first.snapshot, dict(first.snapshot.projects)
    second = polled(source, BOTH, first)
    assert second.snapshot is not held
    assert dict(held.projects) == before


def test_progress_is_told(source: FaultySource) -> None:
    told: list[tuple[int, int]] = []
    poller(source, BOTH).poll_once(lambda done, total: told.append((done, total)))
    assert told[-1] == (2, 2)


def test_the_poller_is_healthy_until_its_beat_stops(source: FaultySource, monkeypatch: pytest.MonkeyPatch) -> None:
    told = poller(source, config(projects=("museum",), poll={"interval": "1s"}))
    told.start()
    assert told.healthy()
    told.stop()
    later = time.monotonic() + 63
    monkeypatch.setattr("exporter.polling.poller.time.monotonic", lambda: later)
    assert not told.healthy()


def test_the_beat_acts_at_once_and_ends_as_soon_as_it_is_told() -> None:
    acts, stop = [], threading.Event()

    def act() -> None:
        acts.append(1)
        if len(acts) == 3:
            stop.set()

    run_every(act, timedelta(milliseconds=1), stop)
    assert len(acts) == 3


def test_a_late_beat_is_dropped_and_not_piled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each act takes three beats of time; waits are never negative and never add up."""
    now, waits = [0.0], []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            if len(waits) == 4:
                self.set()
            return self.is_set()

    def act() -> None:
        now[0] += 3

    monkeypatch.setattr("exporter.polling.poller.time.monotonic", lambda: now[0])
    run_every(act, timedelta(seconds=1), Stop())
    assert waits == [0, 0, 0, 0]


def test_the_simulated_clock_is_the_exporters_clock() -> None:
    clock = SimulatedClock(NOW, speed=0)
    source = FaultySource(World(WORLDS["healthy"](), clock))
    clock.advance(3 * HOUR)
    told = polled(source, config(projects=("shop-prod",))).snapshot.projects["shop-prod"]
    assert told.last_success == NOW + 3 * HOUR


def test_a_fault_of_the_exporter_in_a_search_is_a_failed_search_and_polls_go_on(source: FaultySource) -> None:
    settings = Config.model_validate(
        {"targets": [{"search": "state:ACTIVE"}, {"project": "museum"}], "poll": {"concurrency": 1}}
    )
    source.moods["state:ACTIVE"] = ZeroDivisionError("ours")
    told = polled(source, settings).snapshot
    assert not told.searches["state:ACTIVE"].up
    assert "a fault of the exporter" in told.searches["state:ACTIVE"].message
    assert told.projects["museum"].up


def test_a_project_that_a_search_finds_while_it_is_polled_is_read_again_with_the_instances_of_both(
    source: FaultySource,
) -> None:
    """Its own target wants one instance, the search wants all."""
    settings = Config.model_validate(
        {
            "targets": [
                {"project": "shop-prod", "instances": {"include": ["orders"]}},
                {"search": "state:ACTIVE"},
            ]
        }
    )
    hang = threading.Event()
    source.moods["shop-prod"] = hang
    told = poller(source, settings)
    told.start()
    assert eventually(lambda: bool(told.snapshot.searches))
    hang.set()
    assert eventually(
        lambda: (s := told.snapshot.projects.get("shop-prod")) is not None and s.up and told.update_readiness()
    )
    told.stop()
    scan = told.snapshot.projects["shop-prod"].scan
    assert scan is not None
    assert len(scan.records) == 9


def test_kept_facts_are_ready_at_once_and_outlive_a_search_that_fails(source: FaultySource) -> None:
    settings = Config.model_validate({"targets": [{"search": "state:ACTIVE"}]})
    kept = polled(source, settings).snapshot.projects["museum"].scan
    restarted = poller(source, settings)
    restarted.snapshot = Snapshot({"museum": ProjectStatus("museum", scan=kept)})
    assert restarted.update_readiness()
    source.moods["state:ACTIVE"] = FORBIDDEN
    restarted.poll_once()
    assert restarted.snapshot.projects["museum"].up


def test_a_fault_while_facts_are_kept_ends_neither_the_worker_nor_the_wait(source: FaultySource) -> None:
    """Every save fails in a way nobody thought of; polls go on, and none is asked for twice at once."""

    class Broken(MemoryLedger):
        def save(self, project: str, scan: ProjectScan) -> None:
            raise ZeroDivisionError(project, scan)

    settings = config(projects=("museum", "shop-prod"), poll={"concurrency": 1})
    told = poller(source, settings, Broken())
    told.poll_once()
    assert told.snapshot.projects == {}
    assert source.requests.count("/v1/projects/museum/instances") == 1


def test_a_project_that_is_targeted_again_goes_on_counting_where_it_was(source: FaultySource) -> None:
    ledger = MemoryLedger()
    both, other = BOTH, config(projects=("shop-prod",))
    assert isinstance(source.world.clock, SimulatedClock)
    first = poller(source, both, ledger)
    before = first.poll_once()
    without = Poller(other, dependencies(source, other, ledger), before)
    assert "museum" not in without.poll_once().projects
    source.world.clock.advance(3 * HOUR)
    again = Poller(both, dependencies(source, both, ledger), without.snapshot).poll_once().projects["museum"].scan
    assert again is not None
    assert again.records["running"].counters.completed == {"AUTOMATED": {"SUCCESSFUL": 1}}


def test_once_ready_a_new_project_that_hangs_does_not_make_it_unready(source: FaultySource) -> None:
    known = polled(source, config(projects=("museum",))).snapshot
    source.moods["shop-prod"] = threading.Event()
    reloaded = Poller(BOTH, dependencies(source, BOTH, MemoryLedger()), known)
    reloaded.start()
    assert reloaded.update_readiness()
    reloaded.stop()
