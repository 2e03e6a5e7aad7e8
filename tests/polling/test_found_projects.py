"""Projects that folders and organizations find: their states, intervals, accounts, and survival of failures."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import chain
from pathlib import Path

import pytest

from exporter.config import Config
from exporter.facts.model import PollResult
from exporter.facts.snapshot import DiscoveryMethod, ProjectState, SavedSearch, SearchStatus, Snapshot
from exporter.metrics.code_labels import CodeLabels
from exporter.polling.empty_projects import EmptyProjects
from exporter.polling.poller import Poller, PollerDependencies
from exporter.polling.shard import Shard
from exporter.polling.targets import resolve
from exporter.polling.workers import WorkerPool
from exporter.scan.source import Page, SourceError
from exporter.simulator import SimulatedClock
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from exporter.state.ledger import Ledger, MemoryLedger
from exporter.state.sqlite import open_ledger
from tests.support.builders import HOUR, MINUTE, SECOND, WorldSource, eventually, world

WITH_INSTANCES = Project({"orders": SCENARIOS["healthy"]}, parent="folders/11")
EMPTY = Project(parent="folders/12")
DISABLED = Project(access_error="accessNotConfigured", parent="folders/10")
DENIED = Project(access_error="notAuthorized", parent="folders/10")
FAILURE = SourceError(PollResult.SERVER_ERROR, "503")


@dataclass
class Bench:
    """A poller in steps, and what it asked for as whom. The methods in `failing` raise FAILURE."""

    projects: dict[str, Project]
    targets: Sequence[Mapping[str, object]] = ({"folder": "10"},)
    ledger: Ledger = field(default_factory=MemoryLedger)
    failing: set[str] = field(default_factory=set)
    polls: list[tuple[str, str | None]] = field(default_factory=list)
    searches: list[tuple[str, str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world = world(self.projects)
        self.due: dict[str, float] = {}

    @property
    def clock(self) -> SimulatedClock:
        assert isinstance(self.world.clock, SimulatedClock)
        return self.world.clock

    def config(self, **poll: object) -> Config:
        return Config.model_validate({"targets": self.targets, "poll": poll, "state": {"path": None}})

    def poller(self, known: Snapshot | None = None, shard: Shard = Shard(), **poll: object) -> Poller:  # noqa: B008
        settings, stop = self.config(**poll), threading.Event()
        dependencies = PollerDependencies(
            source=lambda _deadline, account: RecordingSource(self, account),
            directory=lambda _deadline, account: RecordingSource(self, account),
            clock=self.clock,
            ledger=self.ledger,
            workers=WorkerPool(1, stop),
            code_label=CodeLabels().label,
            on_unreadable=lambda _kind: None,
            on_change=lambda: None,
            stop=stop,
            due=self.due,
        )
        return Poller(settings, dependencies, known or Snapshot(), shard)

    def poll_once(self, known: Snapshot | None = None) -> Snapshot:
        return self.poller(known).poll_once()


class RecordingSource(WorldSource):
    def __init__(self, bench: Bench, account: str | None) -> None:
        super().__init__(bench.world)
        self.bench, self.account = bench, account

    def instances(self, project: str) -> Iterator[Page]:
        self.bench.polls.append((project, self.account))
        if project in self.bench.failing:
            raise FAILURE
        reason = self.world.projects[project].access_error
        if reason:
            result = PollResult.API_DISABLED if reason == "accessNotConfigured" else PollResult.FORBIDDEN
            raise SourceError(result, f"{project} {reason}")
        yield from super().instances(project)

    def projects_below(self, scope: str) -> Iterator[str]:
        self.bench.searches.append((scope, self.account))
        if "inventory" in self.bench.failing:
            raise FAILURE
        if "no inventory" in self.bench.failing:
            raise SourceError(PollResult.FORBIDDEN, "403")
        yield from super().projects_below(scope)


FOUR = {"shop": WITH_INSTANCES, "spare": EMPTY, "docs": DISABLED, "sealed": DENIED}


def states(snapshot: Snapshot) -> dict[str, ProjectState | None]:
    return {name: status.state for name, status in snapshot.projects.items()}


@pytest.mark.parametrize("discover", ["auto", "inventory", "walk"])
def test_each_project_below_is_in_one_state(discover: str) -> None:
    projects = {**FOUR, "outside": WITH_INSTANCES, "gone": replace(EMPTY, state="DELETE_REQUESTED")}
    projects["outside"] = replace(WITH_INSTANCES, parent="folders/20")
    snapshot = Bench(projects, [{"folder": "10", "discover": discover}]).poll_once()
    assert states(snapshot) == {
        "shop": ProjectState.READ,
        "spare": ProjectState.EMPTY,
        "docs": ProjectState.API_DISABLED,
        "sealed": ProjectState.FAILING,
    }
    assert [status.problem for status in snapshot.projects.values() if status.problem] == ["sealed notAuthorized"]
    method = DiscoveryMethod.WALK if discover == "walk" else DiscoveryMethod.INVENTORY
    search = snapshot.searches["folders/10"]
    assert (search.up, search.method, len(search.projects)) == (True, method, 4)


def test_named_project_without_the_api_fails() -> None:
    snapshot = Bench(FOUR, [{"folder": "10"}, {"project": "docs"}]).poll_once()
    assert states(snapshot)["docs"] is ProjectState.FAILING


def test_method_and_disabled_api_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    bench = Bench(FOUR, failing={"no inventory"}, targets=[{"folder": "10", "refresh": "1ms"}])
    poller = bench.poller(empty_interval="1ms")
    while bench.polls.count(("docs", None)) < 3:
        poller.poll_all()
    bench.failing.clear()
    while poller.snapshot.searches["folders/10"].method is DiscoveryMethod.WALK:
        poller.poll_all()
    poller.stop()
    found = [record for record in caplog.records if record.message.startswith("projects are found")]
    assert [record.message for record in found] == [
        "projects are found by Cloud Resource Manager, folder by folder, because Cloud Asset Inventory cannot be used: "
        "403",
        "projects are found in Cloud Asset Inventory",
    ]
    disabled = [record for record in caplog.records if "API is not enabled" in record.message]
    assert [(vars(record)["project"], record.levelname) for record in disabled] == [("docs", "INFO")]


def test_failed_discovery_forgets_nothing() -> None:
    bench = Bench(FOUR, [{"folder": "10", "refresh": "1ms"}])
    first = bench.poll_once()
    bench.failing.add("inventory")
    second = bench.poll_once(first)
    assert second.projects.keys() == first.projects.keys()
    assert (second.searches["folders/10"].up, second.searches["folders/10"].message) == (False, "503")


def test_project_that_is_moved_away_is_forgotten_by_the_next_discovery() -> None:
    bench = Bench(dict(FOUR), [{"folder": "10", "refresh": "1ms"}])
    first = bench.poll_once()
    bench.world.projects = {**FOUR, "shop": replace(WITH_INSTANCES, parent="folders/20")}
    assert sorted(bench.poll_once(first).projects) == ["docs", "sealed", "spare"]


def test_target_is_searched_and_read_as_its_account() -> None:
    targets = [
        {"folder": "10", "impersonate": "reader@x"},
        {"project": "shop"},
        {"project": "spare", "impersonate": "b@x"},
    ]
    bench = Bench(FOUR, targets)
    snapshot = bench.poll_once()
    assert set(bench.searches) == {("folders/10", "reader@x")}
    assert sorted(set(bench.polls), key=str) == [
        ("docs", "reader@x"),
        ("sealed", "reader@x"),
        ("shop", None),
        ("spare", "b@x"),
    ]
    assert (snapshot.projects["sealed"].account, snapshot.searches["folders/10"].account) == ("reader@x", "reader@x")


def test_projects_found_before_a_restart_are_polled_while_the_search_fails(tmp_path: Path) -> None:
    """The first process ends without closing its state: what a kill leaves."""
    ledger = open_ledger(tmp_path)
    first = Bench(FOUR, ledger=ledger).poller(empty_interval="1h").poll_once()
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tmp_path.glob("ledger*"):
        (copy / file.name).write_bytes(file.read_bytes())
    saved = open_ledger(copy)
    restored = Snapshot.restored(
        saved.scans(), {name: saved.collected(name) for name in saved.scans()}, saved.searches()
    )
    assert states(restored) == {
        name: state for name, state in states(first).items() if state is not ProjectState.FAILING
    }
    assert restored.searches["folders/10"].answered
    bench = Bench(FOUR, ledger=saved, failing={"inventory"})
    after = bench.poll_once(restored)
    assert after.projects.keys() == first.projects.keys()
    assert after.searches["folders/10"].projects == ("docs", "sealed", "shop", "spare")
    ledger.close()
    saved.close()


def test_search_that_is_no_longer_configured_is_not_restored(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    first = Bench(FOUR, ledger=ledger).poll_once()
    Bench(FOUR, [{"folder": "11"}], ledger=ledger).poll_once(first)
    assert ledger.searches().keys() == {"folders/11"}
    ledger.close()


def test_shards_agree_on_ownership() -> None:
    projects = {f"project-{number}": WITH_INSTANCES for number in range(12)}
    found = [sorted(Bench(projects).poller(shard=Shard(index, 3)).poll_once().projects) for index in range(3)]
    assert sorted(chain.from_iterable(found)) == sorted(projects)
    assert all(found)


class TestBackground:
    """Polls in the background. Intervals are so long that no second poll is due during the test."""

    def test_projects_with_instances_come_first_and_others_one_by_one(self) -> None:
        empty = {f"spare-{number}": EMPTY for number in range(100)}
        bench = Bench({**empty, **FOUR})
        poller = bench.poller()
        poller.start()
        assert eventually(lambda: len(bench.polls) >= 3)
        ready = poller.update_readiness()
        poller.stop()
        assert bench.polls[0] == ("shop", None)
        assert len(bench.polls) < 50  # the others follow, 84 in a minute
        assert ready

    def test_without_an_inventory_all_are_polled_at_once(self) -> None:
        empty = {f"spare-{number}": EMPTY for number in range(40)}
        bench = Bench({**empty, **FOUR}, failing={"no inventory"})
        poller = bench.poller()
        poller.start()
        assert eventually(lambda: len(bench.polls) == 44)
        poller.stop()

    def test_new_instance_is_noticed_within_empty_interval(self) -> None:
        """Also one that the inventory does not know yet."""
        bench = Bench(dict(FOUR))
        poller = bench.poller(interval="1h", empty_interval="200ms")
        poller.start()
        assert eventually(lambda: "spare" in poller.snapshot.projects)
        bench.world.projects = {**FOUR, "spare": replace(WITH_INSTANCES, instances={"new": SCENARIOS["healthy"]})}
        assert eventually(lambda: poller.snapshot.projects["spare"].state is ProjectState.READ)
        poller.stop()
        assert bench.polls.count(("shop", None)) == 1

    def test_api_that_is_enabled_is_noticed_within_empty_interval(self) -> None:
        bench = Bench(dict(FOUR))
        poller = bench.poller(interval="1h", empty_interval="200ms")
        poller.start()
        assert eventually(lambda: "docs" in poller.snapshot.projects)
        bench.world.projects = {**FOUR, "docs": replace(DISABLED, access_error=None)}
        assert eventually(lambda: poller.snapshot.projects["docs"].state is ProjectState.EMPTY)
        poller.stop()

    def test_reload_does_not_poll_empty_projects_again(self) -> None:
        bench = Bench(FOUR)
        first = bench.poller()
        first.start()
        assert eventually(lambda: len(bench.polls) == 4)
        known = first.stop()
        second = bench.poller(known)
        second.start()
        assert eventually(lambda: bench.polls.count(("shop", None)) == 2)
        second.stop()
        assert bench.polls.count(("spare", None)) == bench.polls.count(("docs", None)) == 1

    def test_instance_that_appears_in_the_inventory_is_polled_at_once(self) -> None:
        bench = Bench(dict(FOUR), [{"folder": "10", "refresh": "200ms"}])
        poller = bench.poller(interval="200ms", empty_interval="1h")
        poller.start()
        assert eventually(lambda: "spare" in poller.snapshot.projects)
        bench.world.projects = {**FOUR, "spare": replace(WITH_INSTANCES, parent="folders/12")}
        assert eventually(lambda: poller.snapshot.projects["spare"].state is ProjectState.READ)
        poller.stop()


class TestEmptyProjects:
    """Which projects are polled less often."""

    def empty_projects(self, bench: Bench) -> EmptyProjects:
        return EmptyProjects(bench.config(), bench.clock, {})

    def test_project_whose_instances_vanish_is_polled_as_before_for_empty_interval(self) -> None:
        bench = Bench(dict(FOUR))
        first = bench.poll_once()
        bench.world.projects = {**FOUR, "shop": replace(WITH_INSTANCES, instances={})}
        second = bench.poll_once(first)
        shop, empty = second.projects["shop"], self.empty_projects(bench)
        assert shop.state is ProjectState.EMPTY
        bench.clock.advance(HOUR - SECOND)
        assert not empty.is_settled(shop)
        bench.clock.advance(SECOND)
        assert empty.is_settled(shop)

    def test_project_whose_api_is_disabled_is_polled_as_before_for_empty_interval(self) -> None:
        bench = Bench(dict(FOUR))
        first = bench.poll_once()
        bench.world.projects = {**FOUR, "shop": replace(WITH_INSTANCES, access_error="accessNotConfigured")}
        shop = bench.poll_once(first).projects["shop"]
        assert (shop.state, shop.scan is not None) == (ProjectState.API_DISABLED, True)
        empty = self.empty_projects(bench)
        assert not empty.is_settled(shop)
        bench.clock.advance(HOUR)
        assert empty.is_settled(shop)

    def test_project_without_selected_instances_is_not_empty(self) -> None:
        bench = Bench(FOUR, [{"folder": "10", "instances": {"include": ["other"]}}])
        assert states(bench.poll_once())["shop"] is ProjectState.READ

    def test_empty_project_that_fails_is_retried_in_turn_after_the_interval(self) -> None:
        bench = Bench(FOUR)
        snapshot, empty = bench.poll_once(), self.empty_projects(bench)
        spare = snapshot.projects["spare"]
        empty.update(spare)
        assert empty.next_turn()[1] == pytest.approx(3600, abs=60)
        empty.update(spare.failed(PollResult.SERVER_ERROR, "503", timedelta()))
        assert "spare" in empty
        assert empty.next_turn()[1] == pytest.approx(300, abs=60)
        empty.update(snapshot.projects["sealed"])
        assert "sealed" not in empty

    def test_named_project_is_polled_every_interval(self) -> None:
        bench = Bench(FOUR)
        spare, empty = bench.poll_once().projects["spare"], self.empty_projects(bench)
        empty.update(spare)
        assert "spare" in empty
        targets = Bench(FOUR, [{"folder": "10"}, {"project": "spare"}]).config().targets
        empty.keep_found(resolve(targets, {}, (), Shard()))
        assert "spare" not in empty
        empty.update(replace(spare, found=False))
        assert "spare" not in empty

    def test_restored_projects_are_due_by_when_they_were_read(self) -> None:
        bench = Bench(FOUR)
        snapshot = bench.poll_once()
        bench.clock.advance(40 * MINUTE)
        empty = EmptyProjects(bench.config(), bench.clock, {})
        targets = resolve(bench.config().targets, snapshot.searches, (), Shard())
        empty.add_unpolled(targets, set(), snapshot)
        assert [project in empty for project in FOUR] == [False, True, True, False]
        assert empty.next_turn()[0] == "docs"  # when it was polled is not known
        assert empty.next_turn()[1] <= 20 * 60


def test_saved_search_has_the_projects_without_the_api() -> None:
    snapshot = Bench(FOUR).poll_once()
    expected = SavedSearch(("docs", "sealed", "shop", "spare"), ("docs",), frozenset({"shop"}))
    assert snapshot.saved_search("folders/10") == expected
    restored = Snapshot.restored({}, {}, {"folders/10": expected})
    assert restored.searches["folders/10"] == SearchStatus(
        answered=True, projects=expected.projects, with_instances=expected.with_instances
    )
