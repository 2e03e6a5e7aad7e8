"""The poller: one project's trouble stays that project's, facts outlive failures, and what is gone goes."""

import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from exporter.assess import Protection
from exporter.config import Config
from exporter.ledger import Ledger, MemoryLedger
from exporter.model import PollResult
from exporter.poll import Outside, Poller, beat
from exporter.scan import CodeLabels, Page, ProjectScan, SourceError
from exporter.simulator import WORLDS, SimulatedClock, World
from exporter.snapshot import ProjectStatus, Snapshot
from exporter.view import View, view
from tests.builders import FACTS, HOUR, NOW, SECOND, WorldSource, config, waiting, world


class Moody(WorldSource):
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
def source() -> Moody:
    return Moody(world(WORLDS["demo"]()))


def poller(source: Moody, settings: Config, ledger: Ledger | None = None) -> Poller:
    kept, clock = ledger or MemoryLedger(), source.world.clock
    outside = Outside(
        lambda _until: source, clock, kept, CodeLabels(), lambda _kind: None, lambda: None, threading.Event()
    )
    return Poller(settings, outside, Snapshot())


def polled(source: Moody, settings: Config, before: Poller | None = None) -> Poller:
    after = poller(source, settings)
    after.snapshot = before.snapshot if before else after.snapshot
    after.poll_once()
    return after


def seen(told: Poller, settings: Config, now: datetime = NOW) -> View:
    return view(told.snapshot, settings, FACTS, now)


BOTH = config(projects=("museum", "shop-prod"))


def test_one_project_that_fails_does_not_touch_another(source: Moody) -> None:
    source.moods["museum"] = FORBIDDEN
    told = polled(source, BOTH).snapshot.projects
    assert (told["museum"].result, told["museum"].message) == (PollResult.FORBIDDEN, "grant something")
    assert told["museum"].scan is None
    assert told["shop-prod"].up
    assert len(told["shop-prod"].scan.records) == 9  # type: ignore[union-attr] # it is up


def test_a_failed_poll_keeps_the_last_facts_and_they_grow_old(source: Moody) -> None:
    first = polled(source, BOTH)
    source.moods["museum"] = FORBIDDEN
    second = polled(source, BOTH, first)
    assert second.snapshot.projects["museum"].scan is first.snapshot.projects["museum"].scan
    assert second.snapshot.projects["museum"].polls[PollResult.FORBIDDEN] == 1
    assert second.snapshot.projects["museum"].polls[PollResult.SUCCESS] == 1

    def states(now: datetime) -> set[Protection]:
        return {v.state for v in seen(second, BOTH, now).assessments if v.instance.id.project == "museum"}

    assert Protection.UNKNOWN not in states(NOW + HOUR)
    assert states(NOW + HOUR + SECOND) == {Protection.UNKNOWN}


def test_a_fault_of_the_exporter_is_a_failed_poll_and_not_silence(source: Moody) -> None:
    source.moods["museum"] = ZeroDivisionError("ours")
    told = polled(source, BOTH).snapshot.projects["museum"]
    assert told.result is PollResult.BAD_RESPONSE
    assert "a fault of the exporter" in told.message


def test_a_project_that_hangs_holds_up_nobody_and_is_not_polled_twice_at_once(source: Moody) -> None:
    hang = threading.Event()
    source.moods["museum"] = hang
    settings = config(projects=("museum", "shop-prod"), poll={"interval": "50ms"})
    told = poller(source, settings)
    told.start()

    def polls() -> int:
        status = told.snapshot.projects.get("shop-prod")
        return sum(status.polls.values()) if status else 0

    went_on = waiting(lambda: polls() >= 5)
    hung, ready = "museum" not in told.snapshot.projects, told.ready
    hang.set()
    came_back = waiting(lambda: told.ready)
    told.stop()
    assert (went_on, hung, ready, came_back) == (True, True, False, True)


def test_what_a_stopped_poller_still_learns_is_no_longer_wanted(source: Moody) -> None:
    hang = threading.Event()
    source.moods["museum"] = hang
    told = poller(source, config(projects=("museum",)))
    told.start()
    told.stop()
    hang.set()
    assert not waiting(lambda: bool(told.snapshot.projects), seconds=0.5)


def test_projects_found_by_a_search_are_polled_and_those_no_longer_found_are_forgotten(source: Moody) -> None:
    settings = Config.model_validate({"targets": [{"search": "state:ACTIVE", "refresh": "1ms"}]})
    first = polled(source, settings)
    assert sorted(first.snapshot.projects) == ["museum", "sealed", "shop-prod", "warehouse-prod"]
    source.world.projects = {"museum": source.world.projects["museum"]}
    second = polled(source, settings, first)
    assert sorted(second.snapshot.projects) == ["museum"]


def test_a_search_that_fails_keeps_what_it_found_and_says_so(source: Moody) -> None:
    settings = Config.model_validate({"targets": [{"search": "state:ACTIVE", "refresh": "1ms"}]})
    first = polled(source, settings)
    source.moods["state:ACTIVE"] = FORBIDDEN
    second = polled(source, settings, first)
    search = second.snapshot.searches["state:ACTIVE"]
    assert (search.up, search.message, len(search.projects)) == (False, "grant something", 4)
    assert second.snapshot.projects["museum"].polls[PollResult.SUCCESS] == 2


def test_a_project_named_by_two_targets_is_polled_once_with_the_instances_of_both(source: Moody) -> None:
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


def test_the_snapshot_is_replaced_and_never_changed(source: Moody) -> None:
    first = polled(source, BOTH)
    held, before = first.snapshot, dict(first.snapshot.projects)
    second = polled(source, BOTH, first)
    assert second.snapshot is not held
    assert dict(held.projects) == before


def test_progress_is_told(source: Moody) -> None:
    told: list[tuple[int, int]] = []
    poller(source, BOTH).poll_once(lambda done, total: told.append((done, total)))
    assert told[-1] == (2, 2)


def test_the_poller_is_healthy_until_its_beat_stops(source: Moody, monkeypatch: pytest.MonkeyPatch) -> None:
    told = poller(source, config(projects=("museum",), poll={"interval": "1s"}))
    told.start()
    assert told.healthy()
    told.stop()
    later = time.monotonic() + 63
    monkeypatch.setattr("exporter.poll.time.monotonic", lambda: later)
    assert not told.healthy()


def test_the_beat_acts_at_once_and_ends_as_soon_as_it_is_told() -> None:
    acts, stop = [], threading.Event()

    def act() -> None:
        acts.append(1)
        if len(acts) == 3:
            stop.set()

    beat(act, timedelta(milliseconds=1), stop)
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

    monkeypatch.setattr("exporter.poll.time.monotonic", lambda: now[0])
    beat(act, timedelta(seconds=1), Stop())
    assert waits == [0, 0, 0, 0]


def test_the_simulated_clock_is_the_exporters_clock() -> None:
    clock = SimulatedClock(NOW, speed=0)
    source = Moody(World(WORLDS["healthy"](), clock))
    clock.advance(3 * HOUR)
    told = polled(source, config(projects=("shop-prod",))).snapshot.projects["shop-prod"]
    assert told.last_success == NOW + 3 * HOUR


def test_a_fault_of_the_exporter_in_a_search_is_a_failed_search_and_polls_go_on(source: Moody) -> None:
    settings = Config.model_validate(
        {"targets": [{"search": "state:ACTIVE"}, {"project": "museum"}], "poll": {"concurrency": 1}}
    )
    source.moods["state:ACTIVE"] = ZeroDivisionError("ours")
    told = polled(source, settings).snapshot
    assert not told.searches["state:ACTIVE"].up
    assert "a fault of the exporter" in told.searches["state:ACTIVE"].message
    assert told.projects["museum"].up


def test_a_project_that_a_search_finds_while_it_is_polled_is_read_again_with_the_instances_of_both(
    source: Moody,
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
    assert waiting(lambda: bool(told.snapshot.searches))
    hang.set()
    assert waiting(lambda: (s := told.snapshot.projects.get("shop-prod")) is not None and s.up and told.ready)
    told.stop()
    scan = told.snapshot.projects["shop-prod"].scan
    assert scan is not None
    assert len(scan.records) == 9


def test_kept_facts_are_ready_at_once_and_outlive_a_search_that_fails(source: Moody) -> None:
    settings = Config.model_validate({"targets": [{"search": "state:ACTIVE"}]})
    kept = polled(source, settings).snapshot.projects["museum"].scan
    restarted = poller(source, settings)
    restarted.snapshot = Snapshot({"museum": ProjectStatus("museum", scan=kept)})
    assert restarted.ready
    source.moods["state:ACTIVE"] = FORBIDDEN
    restarted.poll_once()
    assert restarted.snapshot.projects["museum"].up


def test_a_fault_while_facts_are_kept_ends_neither_the_worker_nor_the_wait(source: Moody) -> None:
    """Every save fails in a way nobody thought of; polls go on, and none is asked for twice at once."""

    class Broken(MemoryLedger):
        def save(self, project: str, scan: ProjectScan) -> None:
            raise ZeroDivisionError(project, scan)

    settings = config(projects=("museum", "shop-prod"), poll={"concurrency": 1})
    told = poller(source, settings, Broken())
    told.poll_once()
    assert told.snapshot.projects == {}
    assert source.requests.count("/v1/projects/museum/instances") == 1


def test_a_project_that_is_targeted_again_goes_on_counting_where_it_was(source: Moody) -> None:
    ledger = MemoryLedger()
    both, other = BOTH, config(projects=("shop-prod",))
    assert isinstance(source.world.clock, SimulatedClock)
    first = poller(source, both, ledger)
    before = first.poll_once()
    without = Poller(other, first._outside, before)
    without._stop.clear()
    assert "museum" not in without.poll_once().projects
    source.world.clock.advance(3 * HOUR)
    without._stop.clear()
    again = Poller(both, first._outside, without.snapshot).poll_once().projects["museum"].scan
    assert again is not None
    assert again.records["running"].account.ended == {"AUTOMATED": {"SUCCESSFUL": 1}}


def test_once_ready_a_new_project_that_hangs_does_not_make_it_unready(source: Moody) -> None:
    known = polled(source, config(projects=("museum",))).snapshot
    source.moods["shop-prod"] = threading.Event()
    reloaded = poller(source, BOTH)
    reloaded = Poller(BOTH, reloaded._outside, known)
    reloaded.start()
    assert reloaded.ready
    reloaded.stop()
