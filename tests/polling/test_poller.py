"""Poller: isolation of projects, facts after failures, searches, readiness and health."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from exporter.config import Config
from exporter.facts.collected import Collected
from exporter.facts.daily import DailyRecord
from exporter.facts.model import PollResult, RunStatus
from exporter.facts.record import ProjectScan
from exporter.facts.snapshot import ProjectStatus, Snapshot
from exporter.metrics.code_labels import CodeLabels
from exporter.polling.poller import Poller, PollerDependencies, run_every
from exporter.polling.shard import Shard
from exporter.polling.workers import WorkerPool
from exporter.scan.source import Page, SourceError
from exporter.simulator import WORLDS, SimulatedClock, World
from exporter.state.ledger import Ledger, MemoryLedger
from exporter.verdict.evaluate import Evaluation, evaluate
from exporter.verdict.rules import Protection
from tests.support.builders import DAY, EXPORTER_INFO, HOUR, NOW, SECOND, WorldSource, config, eventually, world


class FaultySource(WorldSource):
    """A source whose projects and searches can be made to raise an exception, or to wait for an event."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.faults: dict[str, Exception | threading.Event] = {}

    def instances(self, project: str) -> Iterator[Page]:
        fault = self.faults.get(project)
        if isinstance(fault, threading.Event):
            fault.wait(30)
        elif fault:
            raise fault
        yield from super().instances(project)

    def projects(self, query: str) -> Iterator[str]:
        if fault := self.faults.get(query):
            assert isinstance(fault, Exception)
            raise fault
        yield from super().projects(query)


FORBIDDEN = SourceError(PollResult.FORBIDDEN, "grant something")


@pytest.fixture
def source() -> FaultySource:
    return FaultySource(world(WORLDS["demo"]()))


def build_poller(source: FaultySource, settings: Config, ledger: Ledger | None = None) -> Poller:
    return Poller(settings, dependencies(source, settings, ledger or MemoryLedger()), Snapshot())


def dependencies(source: FaultySource, settings: Config, ledger: Ledger) -> PollerDependencies:
    stop = threading.Event()
    return PollerDependencies(
        source=lambda _deadline, _account: source,
        directory=lambda _deadline, _account: source,
        clock=source.world.clock,
        ledger=ledger,
        workers=WorkerPool(settings.poll.concurrency, stop),
        code_label=CodeLabels().label,
        on_unreadable=lambda _kind: None,
        on_change=lambda: None,
        stop=stop,
    )


def poll_once(source: FaultySource, settings: Config, before: Poller | None = None) -> Poller:
    after = build_poller(source, settings)
    after.snapshot = before.snapshot if before else after.snapshot
    after.poll_once()
    return after


def evaluate_poller(poller: Poller, settings: Config, now: datetime = NOW) -> Evaluation:
    return evaluate(poller.snapshot, settings, EXPORTER_INFO, now)


BOTH = config(projects=("museum", "shop-prod"))


def test_failing_project_does_not_affect_others(source: FaultySource) -> None:
    source.faults["museum"] = FORBIDDEN
    projects = poll_once(source, BOTH).snapshot.projects
    assert (projects["museum"].result, projects["museum"].message) == (PollResult.FORBIDDEN, "grant something")
    assert projects["museum"].scan is None
    assert projects["shop-prod"].up
    assert len(projects["shop-prod"].scan.records) == 9  # type: ignore[union-attr] # it is up


def test_failed_poll_keeps_last_facts_until_they_are_stale(source: FaultySource) -> None:
    first = poll_once(source, BOTH)
    source.faults["museum"] = FORBIDDEN
    second = poll_once(source, BOTH, first)
    assert second.snapshot.projects["museum"].scan is first.snapshot.projects["museum"].scan
    assert second.snapshot.projects["museum"].polls[PollResult.FORBIDDEN] == 1
    assert second.snapshot.projects["museum"].polls[PollResult.SUCCESS] == 1

    def states(now: datetime) -> set[Protection]:
        return {v.state for v in evaluate_poller(second, BOTH, now).verdicts if v.instance.id.project == "museum"}

    assert Protection.UNKNOWN not in states(NOW + HOUR)
    assert states(NOW + HOUR + SECOND) == {Protection.UNKNOWN}


def test_internal_error_fails_the_poll(source: FaultySource) -> None:
    source.faults["museum"] = ZeroDivisionError("broken")
    status = poll_once(source, BOTH).snapshot.projects["museum"]
    assert status.result is PollResult.BAD_RESPONSE
    assert status.message == "internal error: ZeroDivisionError('broken')"


def test_hanging_project_does_not_delay_others(source: FaultySource) -> None:
    release = threading.Event()
    source.faults["museum"] = release
    settings = config(projects=("museum", "shop-prod"), poll={"interval": "50ms"})
    poller = build_poller(source, settings)
    poller.start()

    def polls() -> int:
        status = poller.snapshot.projects.get("shop-prod")
        return sum(status.polls.values()) if status else 0

    others_polled = eventually(lambda: polls() >= 5)
    missing, ready = "museum" not in poller.snapshot.projects, poller.update_readiness()
    release.set()
    ready_later = eventually(poller.update_readiness)
    poller.stop()
    assert (others_polled, missing, ready, ready_later) == (True, True, False, True)


def test_stopped_poller_discards_polls_in_progress(source: FaultySource) -> None:
    release = threading.Event()
    source.faults["museum"] = release
    poller = build_poller(source, config(projects=("museum",)))
    poller.start()
    poller.stop()
    release.set()
    assert not eventually(lambda: bool(poller.snapshot.projects), seconds=0.5)


def test_found_projects_are_polled_until_no_longer_found(source: FaultySource) -> None:
    settings = Config.model_validate({"targets": [{"search": "state:ACTIVE", "refresh": "1ms"}]})
    first = poll_once(source, settings)
    assert sorted(first.snapshot.projects) == ["museum", "sealed", "shop-prod", "vaults", "warehouse-prod"]
    source.world.projects = {"museum": source.world.projects["museum"]}
    second = poll_once(source, settings, first)
    assert sorted(second.snapshot.projects) == ["museum"]


def test_failed_search_keeps_found_projects_and_reports_the_error(source: FaultySource) -> None:
    settings = Config.model_validate({"targets": [{"search": "state:ACTIVE", "refresh": "1ms"}]})
    first = poll_once(source, settings)
    source.faults["state:ACTIVE"] = FORBIDDEN
    second = poll_once(source, settings, first)
    search = second.snapshot.searches["state:ACTIVE"]
    assert (search.up, search.message, len(search.projects)) == (False, "grant something", 5)
    polls = [poller.snapshot.projects["museum"].polls[PollResult.SUCCESS] for poller in (first, second)]
    assert polls[1] > polls[0]


def test_project_of_two_targets_is_polled_once_with_both_selectors(source: FaultySource) -> None:
    settings = Config.model_validate(
        {
            "targets": [
                {"project": "shop-prod", "instances": {"include": ["orders"]}},
                {"project": "shop-prod", "instances": {"include": ["pay.*"]}},
            ]
        }
    )
    status = poll_once(source, settings).snapshot.projects["shop-prod"]
    assert status.scan is not None
    assert sorted(status.scan.records) == ["orders", "payments"]
    assert sum(status.polls.values()) == 1


def test_snapshot_is_replaced_and_never_modified(source: FaultySource) -> None:
    first = poll_once(source, BOTH)
    snapshot, before = first.snapshot, dict(first.snapshot.projects)
    second = poll_once(source, BOTH, first)
    assert second.snapshot is not snapshot
    assert dict(snapshot.projects) == before


def test_poll_once_reports_progress(source: FaultySource) -> None:
    release = threading.Event()
    source.faults["museum"] = release
    calls: list[tuple[int, int]] = []

    def progress(finished: int, total: int) -> None:
        calls.append((finished, total))
        release.set()

    build_poller(source, BOTH).poll_once(progress)
    assert calls[-1] == (2, 2)


def test_poll_all_can_be_repeated_and_keeps_facts_of_a_failing_project(source: FaultySource) -> None:
    poller = build_poller(source, BOTH)
    poller.poll_all()
    source.faults["museum"] = SourceError(PollResult.FORBIDDEN, "no", missing_permission="cloudsql.instances.list")
    poller.poll_all()
    museum, shop = (poller.snapshot.projects[project] for project in ("museum", "shop-prod"))
    assert (museum.up, museum.missing_permission, museum.scan is not None) == (False, "cloudsql.instances.list", True)
    assert (shop.up, shop.polls[PollResult.SUCCESS]) == (True, 2)
    del source.faults["museum"]
    poller.poll_all()
    poller.stop()
    assert poller.snapshot.projects["museum"].missing_permission is None


def test_poller_is_healthy_until_scheduling_stops(source: FaultySource, monkeypatch: pytest.MonkeyPatch) -> None:
    poller = build_poller(source, config(projects=("museum",), poll={"interval": "1s"}))
    poller.start()
    assert poller.healthy()
    poller.stop()
    later = time.monotonic() + 63
    monkeypatch.setattr("exporter.polling.poller.time.monotonic", lambda: later)
    assert not poller.healthy()


def test_run_every_runs_at_once_and_ends_on_stop() -> None:
    calls, stop = [], threading.Event()

    def job() -> None:
        calls.append(1)
        if len(calls) == 3:
            stop.set()

    run_every(job, timedelta(milliseconds=1), stop)
    assert len(calls) == 3


def test_run_every_skips_late_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run takes three intervals: waits are never negative, and late runs do not add up."""
    now, waits = [0.0], []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            if len(waits) == 4:
                self.set()
            return self.is_set()

    def job() -> None:
        now[0] += 3

    monkeypatch.setattr("exporter.polling.poller.time.monotonic", lambda: now[0])
    run_every(job, timedelta(seconds=1), Stop())
    assert waits == [0, 0, 0, 0]


def test_poll_uses_the_given_clock() -> None:
    clock = SimulatedClock(NOW, speed=0)
    source = FaultySource(World(WORLDS["healthy"](), clock))
    clock.advance(3 * HOUR)
    status = poll_once(source, config(projects=("shop-prod",))).snapshot.projects["shop-prod"]
    assert status.last_success == NOW + 3 * HOUR


def test_internal_error_in_a_search_fails_only_the_search(source: FaultySource) -> None:
    settings = Config.model_validate(
        {"targets": [{"search": "state:ACTIVE"}, {"project": "museum"}], "poll": {"concurrency": 1}}
    )
    source.faults["state:ACTIVE"] = ZeroDivisionError("broken")
    snapshot = poll_once(source, settings).snapshot
    assert not snapshot.searches["state:ACTIVE"].up
    assert snapshot.searches["state:ACTIVE"].message == "internal error: ZeroDivisionError('broken')"
    assert snapshot.projects["museum"].up


def test_project_found_while_polled_is_polled_again_with_both_selectors(
    source: FaultySource,
) -> None:
    """Its own target selects one instance, the search all of them."""
    settings = Config.model_validate(
        {
            "targets": [
                {"project": "shop-prod", "instances": {"include": ["orders"]}},
                {"search": "state:ACTIVE"},
            ]
        }
    )
    release = threading.Event()
    source.faults["shop-prod"] = release
    poller = build_poller(source, settings)
    poller.start()
    assert eventually(lambda: bool(poller.snapshot.searches))
    release.set()
    assert eventually(
        lambda: (s := poller.snapshot.projects.get("shop-prod")) is not None and s.up and poller.update_readiness()
    )
    poller.stop()
    scan = poller.snapshot.projects["shop-prod"].scan
    assert scan is not None
    assert len(scan.records) == 9


def test_saved_facts_make_ready_and_survive_a_failed_search(source: FaultySource) -> None:
    settings = Config.model_validate({"targets": [{"search": "state:ACTIVE"}]})
    saved = poll_once(source, settings).snapshot.projects["museum"].scan
    restarted = build_poller(source, settings)
    restarted.snapshot = Snapshot({"museum": ProjectStatus("museum", scan=saved)})
    assert restarted.update_readiness()
    source.faults["state:ACTIVE"] = FORBIDDEN
    restarted.poll_once()
    assert restarted.snapshot.projects["museum"].up


def test_internal_error_on_save_does_not_stop_the_worker(source: FaultySource) -> None:
    """Every save raises; both projects are still polled, each once."""

    class BrokenLedger(MemoryLedger):
        def save(
            self,
            project: str,
            scan: ProjectScan | None,
            days: Sequence[DailyRecord] = (),
            collected: Collected | None = None,
        ) -> None:
            raise ZeroDivisionError(project, scan, days, collected)

    settings = config(projects=("museum", "shop-prod"), poll={"concurrency": 1})
    poller = build_poller(source, settings, BrokenLedger())
    poller.poll_once()
    assert poller.snapshot.projects == {}
    assert source.requests.count("/v1/projects/museum/instances") == 1


def test_project_targeted_again_continues_its_counters(source: FaultySource) -> None:
    ledger = MemoryLedger()
    other = config(projects=("shop-prod",))
    assert isinstance(source.world.clock, SimulatedClock)
    first = build_poller(source, BOTH, ledger).poll_once()
    second = Poller(other, dependencies(source, other, ledger), first)
    assert "museum" not in second.poll_once().projects
    source.world.clock.advance(3 * HOUR)
    third = Poller(BOTH, dependencies(source, BOTH, ledger), second.snapshot)
    scan = third.poll_once().projects["museum"].scan
    assert scan is not None
    assert scan.records["running"].counters.completed == {"AUTOMATED": {"SUCCESSFUL": 1}}


def test_shard_without_projects_is_ready_once_every_search_has_answered(source: FaultySource) -> None:
    settings = config(projects=("museum",))
    shards = [Shard(index, total=3) for index in range(3)]
    ready = [
        Poller(settings, dependencies(source, settings, MemoryLedger()), Snapshot(), shard).update_readiness()
        for shard in shards
    ]
    assert ready == [not shard.holds_project("museum") for shard in shards]
    searching = Config.model_validate({"targets": [{"search": "state:ACTIVE"}]})
    poller = Poller(searching, dependencies(source, searching, MemoryLedger()), Snapshot(), shards[0])
    assert not poller.update_readiness()


def test_poller_stays_ready_while_a_new_project_hangs(source: FaultySource) -> None:
    known = poll_once(source, config(projects=("museum",))).snapshot
    source.faults["shop-prod"] = threading.Event()
    reloaded = Poller(BOTH, dependencies(source, BOTH, MemoryLedger()), known)
    reloaded.start()
    assert reloaded.update_readiness()
    reloaded.stop()


def test_daily_record_of_polls_failures_and_a_reload(source: FaultySource) -> None:
    """Two hours with a poll, two with failures, of which the facts are too old for one, and a reload between polls."""
    clock = source.world.clock
    assert isinstance(clock, SimulatedClock)
    settings, ledger, observed = config(projects=("museum",)), MemoryLedger(), dict[str, float]()
    known = Snapshot()
    for hour in range(5):
        if hour in (3, 4):
            source.faults["museum"] = FORBIDDEN
        needed = replace(
            dependencies(source, settings, ledger), monotonic=lambda: clock().timestamp(), observed=observed
        )
        known = Poller(settings, needed, known).poll_once()
        clock.advance(HOUR)
    ((project, day),) = ledger.days("museum", "running", NOW.date(), NOW.date())
    assert project.share(day) == 4 / 24
    assert (day.state, day.outcome, day.within_policy) == ("unknown", RunStatus.SUCCESSFUL, False)


@pytest.mark.parametrize("by", ["reload", "search"])
def test_time_in_which_a_project_is_no_target_is_not_observed(source: FaultySource, by: str) -> None:
    """Two polls with an hour between them, half a day in which the project is no target, and two polls again."""
    clock = source.world.clock
    assert isinstance(clock, SimulatedClock)
    ledger, observed, known = MemoryLedger(), dict[str, float](), Snapshot()
    projects = source.world.projects
    begin = NOW.replace(hour=0) + DAY
    clock.advance(begin - clock())
    for hour in (0, 1, 2, 8, 14, 15):
        targeted = hour in (0, 1, 14, 15)
        clock.advance(begin + hour * HOUR - clock())
        if by == "search":
            source.world.projects = projects if targeted else {"shop-prod": projects["shop-prod"]}
            settings = config(targets=[{"search": "state:ACTIVE"}])
        else:
            settings = config(projects=("museum" if targeted else "shop-prod",))
        needed = replace(
            dependencies(source, settings, ledger), monotonic=lambda: clock().timestamp(), observed=observed
        )
        known = Poller(settings, needed, known).poll_once()
        assert ("museum" in observed) == targeted
    ((project, day),) = ledger.days("museum", "running", begin.date(), begin.date())
    assert project.share(day) == 2 / 24
    assert (day.state, day.within_policy) == ("protected", True)


def test_first_poll_after_a_start_begins_the_observation(source: FaultySource) -> None:
    assert isinstance(source.world.clock, SimulatedClock)
    settings, ledger = config(projects=("museum",)), MemoryLedger()
    for _ in range(2):
        build_poller(source, settings, ledger).poll_once()
        source.world.clock.advance(HOUR)
    ((project, day),) = ledger.days("museum", "running", NOW.date(), NOW.date())
    assert project.share(day) == 0


def test_verdicts_after_a_poll_are_used_by_the_evaluation(source: FaultySource) -> None:
    settings = config(projects=("museum",))
    poller = build_poller(source, settings)
    poller.poll_once()
    evaluation = evaluate(poller.snapshot, settings, EXPORTER_INFO, NOW, latest=poller.verdicts)
    assert evaluation.by_project["museum"] is poller.verdicts["museum"]
