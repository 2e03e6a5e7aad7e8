"""Incremental scans: only new runs are read between full listings, and all runs where that is not reliable."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from exporter.config import CloudSql
from exporter.facts.model import BackupRun, PollResult, RunStatus
from exporter.facts.record import ProjectScan
from exporter.googleapis import GoogleApis
from exporter.googleapis.retry import RateLimiter, Retrying
from exporter.scan.incremental import scan
from exporter.scan.source import Page, SourceError
from exporter.simulator import WORLDS, SimulatedClock, Simulator, World
from exporter.simulator.scenarios import SCENARIOS, Scenario
from exporter.simulator.timeline import HEALTHY, MISSED, Attempt, Run, scheduled_start
from exporter.simulator.worlds import Project
from tests.support.builders import HOUR, MINUTE, NOW, WorldSource, scan_options
from tests.support.builders import world as build_world

RUNS = "/v1/projects/museum/instances/-/backupRuns"


class OldestFirstSource(WorldSource):
    """A source that lists the oldest runs first."""

    def backup_runs(self, project: str, instance: str, *, newest: bool = False) -> Iterator[Page]:
        pages = list(super().backup_runs(project, instance, newest=newest))
        yield from (Page(page.items[::-1]) for page in pages[::-1])


@pytest.fixture
def museum() -> World:
    return build_world({"museum": WORLDS["demo"]()["museum"]})


def advance(world: World, duration: timedelta) -> None:
    assert isinstance(world.clock, SimulatedClock)
    world.clock.advance(duration)


def scan_museum(source: WorldSource, before: ProjectScan | None = None, *, full: bool = False) -> ProjectScan:
    source.requests.clear()
    return scan(source, "museum", source.world.clock(), scan_options(), before, full=full)


def listing_requests(source: WorldSource) -> int:
    return source.requests.count(RUNS)


def test_full_listing_requests_each_page_once(museum: World) -> None:
    source = WorldSource(museum)
    scan_museum(source)
    assert source.requests == ["/v1/projects/museum/instances", RUNS]


def test_poll_without_changes_reads_one_page_and_keeps_records(museum: World) -> None:
    source = WorldSource(museum)
    first = scan_museum(source)
    second = scan_museum(source, first)
    assert listing_requests(source) == 1
    assert all(second.records[name] is record for name, record in first.records.items())


def test_run_in_progress_below_newest_page_is_requested_singly(museum: World) -> None:
    """The stuck run is older than all other runs of the day."""
    source = WorldSource(museum)
    first = scan_museum(source)
    scan_museum(source, first)
    requests = [path for path in source.requests if path.startswith("/v1/projects/museum/instances/stuck/backupRuns/")]
    assert len(requests) == 1


@pytest.mark.parametrize("hours", [1, 2, 5])
def test_incremental_scans_equal_a_full_listing(museum: World, hours: int) -> None:
    """Runs start, end, fail and are retried; of the runs before the last full listing only expired ones differ."""
    source = WorldSource(museum)
    latest = scan_museum(source)
    for _ in range(5 // hours):
        advance(museum, hours * HOUR)
        latest = scan_museum(source, latest)
    full = scan_museum(source, latest, full=True)

    def runs_of(result: ProjectScan, present_in: ProjectScan) -> dict[tuple[str, str], BackupRun]:
        present = {(name, run.id) for name, record in present_in.records.items() for run in record.history.runs}
        return {
            (name, run.id): run
            for name, record in result.records.items()
            for run in record.history.runs
            if (name, run.id) in present
        }

    assert runs_of(latest, full) == runs_of(full, full)


def test_full_listing_is_made_when_due(museum: World) -> None:
    source = WorldSource(museum)
    first = scan_museum(source)
    advance(museum, 6 * HOUR - timedelta(seconds=1))
    assert scan_museum(source, first).full_listing_at == NOW
    advance(museum, timedelta(seconds=1))
    assert scan_museum(source, first).full_listing_at == NOW + 6 * HOUR


def test_full_listing_is_made_after_clock_is_set_back(museum: World) -> None:
    source = WorldSource(museum)
    first = scan_museum(source)
    advance(museum, -7 * HOUR)
    assert scan_museum(source, first).full_listing_at == NOW - 7 * HOUR


def test_project_not_listed_newest_first_is_always_listed_in_full(museum: World) -> None:
    source = OldestFirstSource(museum)
    first = scan_museum(source)
    assert not first.newest_first
    advance(museum, HOUR)
    second = scan_museum(source, first)
    assert (second.newest_first, second.full_listing_at) == (False, NOW + HOUR)
    assert second.records == scan_museum(WorldSource(museum), first, full=True).records


def test_new_instance_causes_a_full_listing(museum: World) -> None:
    source = WorldSource(museum)
    first = scan_museum(source)
    museum.projects = {"museum": Project({**museum.projects["museum"].instances, "another": SCENARIOS["failing"]})}
    second = scan_museum(source, first)
    assert len(second.records["another"].history.runs) > 5
    assert second.records["another"].counters.completed == {"AUTOMATED": {}}


def test_recreated_instance_continues_its_counters(museum: World) -> None:
    source = WorldSource(museum)
    projects = museum.projects
    first = scan_museum(source)
    advance(museum, HOUR)
    museum.projects = {"museum": Project({"healthy": SCENARIOS["healthy"]})}
    without = scan_museum(source, first)
    advance(museum, HOUR)
    museum.projects = projects
    again = scan_museum(source, without)
    assert (list(without.records), len(without.removed)) == (["healthy"], len(SCENARIOS) - 1)
    assert again.removed == {}
    assert again.records["failing"].counters.outcomes == first.records["failing"].counters.outcomes


def test_deleted_run_in_progress_is_removed_at_next_poll(museum: World) -> None:
    source = WorldSource(museum)
    first = scan_museum(source)
    museum.projects = {"museum": Project({**museum.projects["museum"].instances, "stuck": SCENARIOS["never"]})}
    second = scan_museum(source, first)
    in_progress = [run for run in second.records["stuck"].history.runs if run.status.in_progress]
    assert in_progress == []


def test_old_deleted_backup_is_found_by_next_full_listing() -> None:
    """Until then it is counted as retained, which docs/api.md says."""
    deleted = Scenario(
        "deleted-later",
        "a backup of four days ago is deleted an hour from now",
        lambda window: replace(
            HEALTHY, deleted_after=(4 * 24 + 9) * HOUR if window == -4 else None, deletion_status="DELETED"
        ),
    )
    others = {f"healthy-{n}": SCENARIOS["healthy"] for n in range(9)}
    world = build_world({"museum": Project({"deleted-later": deleted, **others})})
    source = WorldSource(world)
    first = scan_museum(source)
    advance(world, 2 * HOUR)

    def status(result: ProjectScan) -> RunStatus:
        window_start = scheduled_start("deleted-later", NOW - (4 * 24 + 8) * HOUR)
        (status,) = (r.status for r in result.records["deleted-later"].history.runs if r.window_start == window_start)
        return status

    second = scan_museum(source, first)
    assert (status(second), listing_requests(source)) == (RunStatus.SUCCESSFUL, 1)
    advance(world, 5 * HOUR)
    assert status(scan_museum(source, second)) is RunStatus.DELETED


class VanishingSource(WorldSource):
    """A source that no longer lists some runs; an item that contains a text in `broken` is damaged."""

    vanished: frozenset[str] = frozenset()
    broken: str | None = None

    def backup_runs(self, project: str, instance: str, *, newest: bool = False) -> Iterator[Page]:
        for page in super().backup_runs(project, instance, newest=newest):
            items = [item for item in page.items if not any(run_id.encode() in item for run_id in self.vanished)]
            if self.broken:
                items = [b"{" if self.broken.encode() in item else item for item in items]
            yield replace(page, items=items)


def listed(result: ProjectScan, name: str = "healthy-0") -> list[str]:
    return [run.id for run in result.records[name].history.runs if run.status is not RunStatus.VANISHED]


def vanishing(instances: int = 4) -> VanishingSource:
    healthy = {f"healthy-{number}": SCENARIOS["healthy"] for number in range(instances)}
    return VanishingSource(build_world({"museum": Project(healthy)}))


def test_vanished_run_of_the_newest_page_is_removed_at_next_poll_and_can_return() -> None:
    source = vanishing()
    first = scan_museum(source)
    newest, *others = listed(first)
    source.vanished = frozenset({newest})
    second = scan_museum(source, first)
    assert (listed(second), listing_requests(source)) == (others, 1)
    third = scan_museum(source, second)
    assert third.records["healthy-0"] is second.records["healthy-0"]
    source.vanished = frozenset()
    assert listed(scan_museum(source, third)) == [newest, *others]


def test_vanished_run_below_the_newest_page_is_removed_by_next_full_listing() -> None:
    """Until then it is counted as retained, which docs/api.md says."""
    source = vanishing()
    first = scan_museum(source)
    newest, *others, oldest = listed(first)
    source.vanished = frozenset({oldest})
    second = scan_museum(source, first)
    assert listed(second) == [newest, *others, oldest]
    assert listed(scan_museum(source, second, full=True)) == [newest, *others]


def test_only_run_of_a_project_vanishes() -> None:
    """No page follows an empty one: whatever was known is gone."""
    only = Scenario("a", "one run", lambda window: Run((Attempt(),)) if window == 0 else MISSED)
    source = VanishingSource(build_world({"museum": Project({"a": only})}))
    first = scan_museum(source)
    (run_id,) = listed(first, "a")
    source.vanished = frozenset({run_id})
    assert listed(scan_museum(source, first), "a") == []


def test_unreadable_item_is_not_taken_for_a_vanished_run() -> None:
    source = vanishing()
    first = scan_museum(source)
    source.broken = listed(first)[0]
    assert listed(scan_museum(source, first)) == listed(first)


def test_status_change_on_newest_page_is_read_without_timestamps() -> None:
    """The later version of a run counts, also if it has fewer fields."""
    deleted_later = Run((Attempt(after=10 * MINUTE),), deleted_after=9 * HOUR, deletion_status="DELETED")
    scenario = Scenario("a", "deleted in an hour", lambda window: deleted_later if window == 0 else MISSED)
    world = build_world({"museum": Project({"a": scenario})})
    source = WorldSource(world)
    first = scan_museum(source)
    advance(world, 2 * HOUR)
    assert [run.status for run in scan_museum(source, first).records["a"].history.runs] == [RunStatus.DELETED]


def test_poll_without_changes_makes_two_requests_per_project() -> None:
    """One page of instances and one of runs, whatever the length of the history; in full, each page once."""
    instances = {f"healthy-{number}": SCENARIOS["healthy"] for number in range(20)}
    projects = {f"project-{number}": Project(instances) for number in range(200)}
    with Simulator(build_world(projects)) as simulator:
        settings = CloudSql.model_validate({"endpoint": simulator.url, "credentials": "anonymous"})
        retrying = Retrying(RateLimiter(100_000), threading.Event(), lambda _method: None)
        source = GoogleApis(settings, MINUTE, 8, retrying, lambda _method, _code, _seconds: None).source(0)
        full = {name: scan(source, name, NOW, scan_options(), None) for name in projects}
        first = list(simulator.requests)
        simulator.requests.clear()
        quiet = {name: scan(source, name, NOW + MINUTE, scan_options(), result) for name, result in full.items()}
        second = list(simulator.requests)
    assert all(quiet[name].records == result.records for name, result in full.items())
    assert all(len(result.records) == 20 for result in quiet.values())
    for requests in (first, second):
        assert len(requests) == len(set(requests)) == 400
        assert sum("/instances/-/backupRuns" in path for path in requests) == 200


class SingleRunDeniedSource(WorldSource):
    """A source that denies single runs; the permission for them is optional."""

    def backup_run(self, project: str, instance: str, run_id: str) -> bytes | None:
        raise SourceError(PollResult.FORBIDDEN, f"{project} {instance} {run_id}", denied=True)


def test_full_listing_is_made_if_single_runs_are_denied(museum: World) -> None:
    source = SingleRunDeniedSource(museum)
    first = scan_museum(source)
    advance(museum, HOUR)
    second = scan_museum(source, first)
    assert second.full_listing_at == NOW + HOUR
    assert second.records == scan_museum(WorldSource(museum), first, full=True).records


class WildcardDeniedSource(WorldSource):
    """A source that denies the wildcard."""

    def backup_runs(self, project: str, instance: str, *, newest: bool = False) -> Iterator[Page]:
        if instance == "-":
            raise SourceError(PollResult.FORBIDDEN, "wildcard denied", denied=True)
        yield from super().backup_runs(project, instance, newest=newest)


def test_instances_are_always_listed_singly_if_wildcard_is_denied() -> None:
    source = WildcardDeniedSource(build_world({"museum": Project({"healthy": SCENARIOS["healthy"]})}))
    first = scan_museum(source)
    second = scan_museum(source, first)
    assert (first.newest_first, second.records["healthy"]) == (False, first.records["healthy"])


def test_denied_instance_keeps_its_facts_and_is_carried_over() -> None:
    class InstanceDeniedSource(WildcardDeniedSource):
        def backup_runs(self, project: str, instance: str, *, newest: bool = False) -> Iterator[Page]:
            if instance == "idle" and self.deny:
                raise SourceError(PollResult.NOT_FOUND, "gone", denied=True)
            yield from super().backup_runs(project, instance, newest=newest)

        deny = False

    world = build_world({"museum": Project({name: SCENARIOS[name] for name in ("healthy", "idle")})})
    source = InstanceDeniedSource(world)
    first = scan_museum(source)
    source.deny = True
    advance(world, HOUR)
    second = scan_museum(source, first)
    assert second.records["idle"] is first.records["idle"]
    assert second.carried_over == {"idle": NOW}


def test_instance_reachable_again_causes_a_full_listing(museum: World) -> None:
    source = WorldSource(museum)
    first = scan_museum(source)
    advance(museum, MINUTE)
    hidden = replace(first, carried_over={"failing": NOW})
    assert scan_museum(source, hidden).full_listing_at == NOW + MINUTE
    assert scan_museum(source, first).full_listing_at == NOW


def test_full_listing_is_made_after_ten_pages_without_known_runs() -> None:
    """The runs of the only selected instance are far below those of the others."""
    busy = {f"busy-{number}": SCENARIOS["healthy"] for number in range(9)}
    quiet = Scenario("quiet", "its window opened 23 hours ago", opened_ago=23 * HOUR)
    world = build_world({"museum": Project({**busy, "quiet": quiet})})
    source = WorldSource(world)
    options = scan_options(selects=lambda instance: instance.id.name == "quiet")
    first = scan(source, "museum", NOW, options, None)
    source.requests.clear()
    scan(source, "museum", NOW + MINUTE, options, first)
    assert listing_requests(source) <= 11
