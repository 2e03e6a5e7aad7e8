"""Backup plans in the poll of a project: which projects are asked and how often, failures, and saved state."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from exporter.config import Config
from exporter.facts.collected import Collected, Collection, CollectionStatus
from exporter.facts.model import PollResult
from exporter.facts.snapshot import ProjectStatus, Snapshot
from exporter.polling.compute_lock import ComputeLockedSource
from exporter.polling.poller import Poller
from exporter.polling.shared_plans import SharedPlans
from exporter.scan.source import Page, SourceError
from exporter.simulator import SimulatedClock, World
from exporter.simulator.backup_plans import GOLD, Association
from exporter.simulator.scenarios import SCENARIOS, Scenario
from exporter.simulator.timeline import HEALTHY, Run, failing
from exporter.simulator.worlds import Project
from exporter.state.ledger import Ledger
from exporter.state.sqlite import open_ledger
from exporter.verdict.evaluate import Evaluation, evaluate
from exporter.verdict.rules import Exemption, Protection
from tests.polling.test_poller import FaultySource, build_poller
from tests.support.builders import DAY, EXPORTER_INFO, HOUR, MINUTE, NOW, WorldSource, config, world

COLLECT = {"backup_dr": True}
MUSEUM = config(collect=COLLECT)
ENHANCED = SCENARIOS["enhanced"]


class PlansSource(FaultySource):
    """A source whose listings of associations or plans can be made to fail, by project."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.errors: dict[tuple[str, str], SourceError] = {}
        self.asked: list[tuple[str, str]] = []

    def backup_plan_associations(self, project: str) -> Iterator[Page]:
        yield from self._listing("associations", project, super().backup_plan_associations(project))

    def backup_plans(self, project: str) -> Iterator[Page]:
        yield from self._listing("plans", project, super().backup_plans(project))

    def _listing(self, what: str, project: str, pages: Iterator[Page]) -> Iterator[Page]:
        self.asked.append((what, project))
        if error := self.errors.get((what, project)):
            raise error
        yield from pages


def denied(project: str, permission: str) -> SourceError:
    return SourceError(
        PollResult.FORBIDDEN, f"project {project}: grant {permission}", denied=True, missing_permission=permission
    )


ASSOCIATIONS_DENIED = denied("museum", "backupdr.backupPlanAssociations.list")
PLANS_DENIED = denied("vaults", "backupdr.backupPlans.list")


def source_of(**instances: Scenario) -> PlansSource:
    """A project with these instances, whose plans are in another project."""
    return PlansSource(world({"museum": Project(instances), "vaults": Project(plans=(GOLD,))}))


def poll(
    source: PlansSource, before: Poller | None = None, settings: Config = MUSEUM, ledger: Ledger | None = None
) -> Poller:
    """A poller after one more poll of each target; without a poller before, it starts from the saved state."""
    poller = build_poller(source, settings, ledger)
    saved = (
        ProjectStatus("museum", scan=ledger.last_scan("museum"), collected=ledger.collected("museum"))
        if ledger
        else None
    )
    poller.snapshot = before.snapshot if before else Snapshot({"museum": saved} if saved else {})
    poller.poll_once()
    return poller


def evaluation_of(source: PlansSource, poller: Poller, settings: Config = MUSEUM) -> Evaluation:
    return evaluate(poller.snapshot, settings, EXPORTER_INFO, source.world.clock())


def advance(source: PlansSource, elapsed: timedelta) -> None:
    assert isinstance(source.world.clock, SimulatedClock)
    source.world.clock.advance(elapsed)


def failures(poller: Poller, name: str) -> dict[str, int]:
    plans = poller.snapshot.projects["museum"].collected.plans
    assert plans
    return dict(plans.by_instance[name].failures)


def status_of(poller: Poller) -> CollectionStatus:
    return poller.snapshot.projects["museum"].collected.status[Collection.BACKUP_DR]


def test_project_with_an_enhanced_instance_costs_one_request_and_one_for_its_plans() -> None:
    source = source_of(enhanced=ENHANCED, healthy=SCENARIOS["healthy"])
    poller = poll(source)
    assert source.asked == [("associations", "museum"), ("plans", "vaults")]
    verdicts = {verdict.instance.id.name: verdict for verdict in evaluation_of(source, poller).verdicts}
    assert verdicts["healthy"].collected.plan is None
    plan = verdicts["enhanced"].collected.plan
    assert plan
    assert [rule.retention for rule in plan.rules] == [35 * DAY, 365 * DAY]
    assert status_of(poller) == CollectionStatus(up=True)


@pytest.mark.parametrize("tier", ["ENHANCED", "ADVANCED"])
def test_both_names_of_the_tier_are_read(tier: str) -> None:
    source = source_of(enhanced=replace(ENHANCED, backups={"backupTier": tier}))
    (verdict,) = evaluation_of(source, poll(source)).verdicts
    assert (verdict.state, verdict.recovery_point_source) == (Protection.PROTECTED, "vault")


@pytest.mark.parametrize(
    ("instances", "settings"),
    [
        ({"healthy": SCENARIOS["healthy"]}, MUSEUM),
        ({"replica": replace(SCENARIOS["replica"], backups={"backupTier": "ENHANCED"})}, MUSEUM),
        ({"enhanced": ENHANCED}, config()),
        (
            {"enhanced": ENHANCED},
            config(targets=[{"project": "museum", "instances": {"exclude": ["enhanced"]}}], collect=COLLECT),
        ),
    ],
    ids=["standard tier", "replica", "switched off", "not selected"],
)
def test_nothing_is_asked_without_need(instances: dict[str, Scenario], settings: Config) -> None:
    source = source_of(**instances)
    poller = poll(source, settings=settings)
    assert source.asked == []
    collected = poller.snapshot.projects["museum"].collected
    assert (collected.plans, collected.status) == (None, {})


def test_without_the_collection_an_enhanced_instance_is_managed_elsewhere() -> None:
    source = source_of(enhanced=ENHANCED)
    collecting = poll(source)
    (verdict,) = evaluation_of(source, collecting, config()).verdicts  # switched off since
    assert (verdict.exemption, verdict.collected.plan) == (Exemption.MANAGED_ELSEWHERE, None)


def test_plans_are_dropped_when_the_collection_is_switched_off() -> None:
    source = source_of(enhanced=ENHANCED)
    known = poll(source).snapshot
    off = build_poller(source, config())
    off.snapshot = known.only_collected(config().collect.collections)
    assert off.snapshot.projects["museum"].collected == Collected()
    assert off.poll_once().projects["museum"].collected == Collected()


def test_plans_of_one_project_are_read_once_for_many_projects() -> None:
    """Also if several workers need them at the same time."""
    names = tuple(f"shop-{number}" for number in range(24))
    projects = {name: Project({"enhanced": ENHANCED}) for name in names} | {"vaults": Project(plans=(GOLD,))}
    source = PlansSource(world(projects))
    poller = poll(source, settings=config(projects=names, collect=COLLECT))
    counts = Counter(source.asked)
    assert counts.pop(("plans", "vaults")) == 1
    assert counts == {("associations", name): 1 for name in names}
    for name in names:
        plans = poller.snapshot.projects[name].collected.plans
        assert plans
        assert plans.by_instance["enhanced"].rules[0].retention == 35 * DAY


def test_error_of_a_shared_listing_is_shared_too() -> None:
    names = ("shop-1", "shop-2", "shop-3")
    source = PlansSource(world({name: Project({"enhanced": ENHANCED}) for name in names}))
    source.errors["plans", "vaults"] = PLANS_DENIED
    poller = poll(source, settings=config(projects=names, collect=COLLECT))
    assert Counter(source.asked)["plans", "vaults"] == 1
    for name in names:
        status = poller.snapshot.projects[name].collected.status[Collection.BACKUP_DR]
        assert (status.up, status.resource) == (False, "vaults")


def test_shared_listing_is_read_again_after_its_time() -> None:
    source = source_of()
    shared, expired = SharedPlans(HOUR), SharedPlans(timedelta())
    for plans in (shared, shared, expired, expired):
        assert [len(page.items) for page in plans.pages(source, "vaults")] == [1]
    assert Counter(source.asked)["plans", "vaults"] == 3


def test_thread_that_waits_for_a_shared_listing_does_not_hold_the_compute_lock() -> None:
    """The thread that reads it takes the lock again when the API has answered."""
    compute_lock, asked, answer = threading.Lock(), threading.Event(), threading.Event()
    shared, results = SharedPlans(HOUR), []

    class SlowSource(WorldSource):
        def backup_plans(self, project: str) -> Iterator[Page]:
            asked.set()
            assert answer.wait(30)
            yield from super().backup_plans(project)

    source = ComputeLockedSource(SlowSource(source_of().world), compute_lock, shared)

    def read() -> None:
        with compute_lock:
            results.append(list(source.backup_plans("vaults")))

    threads = [threading.Thread(target=read, daemon=True) for _ in range(2)]
    threads[0].start()
    assert asked.wait(30)
    threads[1].start()
    answer.set()
    for thread in threads:
        thread.join(30)
    assert [len(pages) for pages in results] == [1, 1]


def test_instance_whose_plan_was_never_read_is_unknown() -> None:
    source = source_of(enhanced=ENHANCED, healthy=SCENARIOS["healthy"])
    source.errors["associations", "museum"] = ASSOCIATIONS_DENIED
    poller = poll(source)
    status = poller.snapshot.projects["museum"]
    assert (status.up, status_of(poller).missing_permission) == (True, "backupdr.backupPlanAssociations.list")
    enhanced, healthy = evaluation_of(source, poller).verdicts
    assert (enhanced.state, enhanced.findings, enhanced.recovery_point) == (Protection.UNKNOWN, (), None)
    assert healthy.state is Protection.PROTECTED


def test_failed_round_keeps_the_facts_until_they_are_stale() -> None:
    source = source_of(enhanced=ENHANCED, healthy=SCENARIOS["healthy"])
    first = poll(source)
    source.errors["associations", "museum"] = ASSOCIATIONS_DENIED
    states = []
    poller = first
    for elapsed in (MINUTE, HOUR - MINUTE, MINUTE):
        advance(source, elapsed)
        poller = poll(source, poller)
        states.append({verdict.instance.id.name: verdict.state for verdict in evaluation_of(source, poller).verdicts})
    current, stale = {"enhanced": "protected", "healthy": "protected"}, {"enhanced": "unknown", "healthy": "protected"}
    assert states == [current, current, stale]
    assert poller.snapshot.projects["museum"].collected.plans is first.snapshot.projects["museum"].collected.plans
    source.errors.clear()
    poller = poll(source, poller)
    assert {verdict.state for verdict in evaluation_of(source, poller).verdicts} == {Protection.PROTECTED}


def test_plans_project_that_cannot_be_read_leaves_the_verdict_and_no_retention() -> None:
    source = source_of(enhanced=ENHANCED)
    source.errors["plans", "vaults"] = PLANS_DENIED
    poller = poll(source)
    advance(source, 2 * HOUR)
    poller = poll(source, poller)
    (verdict,) = evaluation_of(source, poller).verdicts
    assert verdict.state is Protection.PROTECTED
    assert verdict.collected.plan
    assert [rule.retention for rule in verdict.collected.plan.rules] == [None, None]
    assert status_of(poller) == CollectionStatus(
        False, "project vaults: grant backupdr.backupPlans.list", "backupdr.backupPlans.list", "vaults"
    )


def test_missing_permission_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    source = source_of(enhanced=ENHANCED)
    source.errors["associations", "museum"] = ASSOCIATIONS_DENIED
    poll(source, poll(source))
    messages = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert messages == ["project museum: grant backupdr.backupPlanAssociations.list"]


def test_instance_that_leaves_the_tier_is_judged_by_its_runs_again() -> None:
    source = source_of(orders=ENHANCED)
    poller = poll(source)
    back = replace(ENHANCED, backups={}, windows=lambda _window: HEALTHY, associations=())
    source.world.projects["museum"].instances["orders"] = back  # type: ignore[index] # a dictionary
    advance(source, MINUTE)
    poller = poll(source, poller)
    (verdict,) = evaluation_of(source, poller).verdicts
    assert (verdict.state, verdict.recovery_point_source) == (Protection.PROTECTED, "backup")
    assert (poller.snapshot.projects["museum"].collected.plans, status_of(poller).up) == (None, True)


def every_second_day(window: int) -> Run:
    return failing("INTERNAL_ERROR") if window % 2 else HEALTHY


FLAPPING = replace(ENHANCED, associations=(Association({"daily": every_second_day}),))


def test_failures_and_facts_survive_restarts(tmp_path: Path) -> None:
    """Each day the exporter is restarted; what it serves before its first poll is what it had saved."""
    source = source_of(flapping=FLAPPING, failing=SCENARIOS["enhanced-failing"])
    for day in range(5):
        with closing(open_ledger(tmp_path)) as ledger:
            poller = poll(source, ledger=ledger)
            assert failures(poller, "flapping") == {"daily": (day + 1) // 2}
            assert failures(poller, "failing") == {"daily": 0, "monthly": 0}  # it had failed at first sight
        advance(source, DAY)
    with closing(open_ledger(tmp_path)) as ledger:
        saved = ledger.collected("museum")
        assert saved.plans == poller.snapshot.projects["museum"].collected.plans
        assert saved.status == {}


def test_facts_keep_their_age_across_a_restart(tmp_path: Path) -> None:
    source = source_of(enhanced=ENHANCED)
    with closing(open_ledger(tmp_path)) as ledger:
        poll(source, ledger=ledger)
    source.errors["associations", "museum"] = ASSOCIATIONS_DENIED
    advance(source, 50 * MINUTE)
    with closing(open_ledger(tmp_path)) as ledger:
        poller = poll(source, ledger=ledger)
    advance(source, 11 * MINUTE)
    evaluation = evaluation_of(source, poller)
    assert evaluation.verdicts[0].state is Protection.UNKNOWN
    assert evaluation.facts_read_at(evaluation.verdicts[0]) == NOW
