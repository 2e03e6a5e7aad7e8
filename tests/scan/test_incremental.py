"""Between full listings only what is new is read; and where that cannot be trusted, all is."""

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
from exporter.simulator.timeline import MISSED, Attempt, Run
from exporter.simulator.worlds import Project
from tests.support.builders import HOUR, MINUTE, NOW, WorldSource, scan_options, world

RUNS = "/v1/projects/museum/instances/-/backupRuns"


class OldestFirstSource(WorldSource):
    """A source that lists the oldest runs first."""

    def backup_runs(self, project: str, instance: str, *, newest: bool = False) -> Iterator[Page]:
        pages = list(super().backup_runs(project, instance, newest=newest))
        yield from (Page(page.items[::-1]) for page in pages[::-1])


@pytest.fixture
def museum() -> World:
    return world({"museum": WORLDS["demo"]()["museum"]})


def later(asked: World, span: timedelta) -> None:
    assert isinstance(asked.clock, SimulatedClock)
    asked.clock.advance(span)


def read(source: WorldSource, before: ProjectScan | None = None, *, full: bool = False) -> ProjectScan:
    source.requests.clear()
    return scan(source, "museum", source.world.clock(), scan_options(), before, full=full)


def listed(source: WorldSource) -> int:
    return source.requests.count(RUNS)


def test_a_full_listing_reads_each_page_once(museum: World) -> None:
    source = WorldSource(museum)
    read(source)
    assert source.requests == ["/v1/projects/museum/instances", RUNS]


def test_a_quiet_poll_reads_one_page_and_leaves_every_record_the_same_object(museum: World) -> None:
    source = WorldSource(museum)
    first = read(source)
    second = read(source, first)
    assert listed(source) == 1
    assert all(second.records[name] is record for name, record in first.records.items())


def test_runs_in_progress_below_the_newest_page_are_looked_at_one_by_one(museum: World) -> None:
    """The stuck run is older than all the others of the day."""
    source = WorldSource(museum)
    first = read(source)
    read(source, first)
    looks = [path for path in source.requests if path.startswith("/v1/projects/museum/instances/stuck/backupRuns/")]
    assert len(looks) == 1


@pytest.mark.parametrize("hours", [1, 2, 5])
def test_what_is_read_step_by_step_is_what_a_full_listing_says(museum: World, hours: int) -> None:
    """Runs come and end, fail and are tried again; nothing older than the last full listing changes but by expiry."""
    source = WorldSource(museum)
    known = read(source)
    for _ in range(5 // hours):
        later(museum, hours * HOUR)
        known = read(source, known)
    whole = read(source, known, full=True)

    def told(scanned: ProjectScan, ids: ProjectScan) -> dict[tuple[str, str], BackupRun]:
        present = {(name, run.id) for name, record in ids.records.items() for run in record.history.runs}
        return {
            (name, run.id): run
            for name, record in scanned.records.items()
            for run in record.history.runs
            if (name, run.id) in present
        }

    assert told(known, whole) == told(whole, whole)


def test_a_full_listing_is_made_when_it_is_time(museum: World) -> None:
    source = WorldSource(museum)
    first = read(source)
    later(museum, 6 * HOUR - timedelta(seconds=1))
    assert read(source, first).full_listing_at == NOW
    later(museum, timedelta(seconds=1))
    assert read(source, first).full_listing_at == NOW + 6 * HOUR


def test_a_clock_that_was_set_back_brings_the_full_listing_forward(museum: World) -> None:
    source = WorldSource(museum)
    first = read(source)
    later(museum, -7 * HOUR)
    assert read(source, first).full_listing_at == NOW - 7 * HOUR


def test_a_project_that_does_not_list_newest_first_is_listed_in_full_each_time(museum: World) -> None:
    source = OldestFirstSource(museum)
    first = read(source)
    assert not first.newest_first
    later(museum, HOUR)
    second = read(source, first)
    assert (second.newest_first, second.full_listing_at) == (False, NOW + HOUR)
    assert second.records == read(WorldSource(museum), first, full=True).records


def test_an_instance_that_is_new_brings_a_full_listing(museum: World) -> None:
    source = WorldSource(museum)
    first = read(source)
    museum.projects = {"museum": Project({**museum.projects["museum"].instances, "another": SCENARIOS["failing"]})}
    second = read(source, first)
    assert len(second.records["another"].history.runs) > 5
    assert second.records["another"].counters.completed == {"AUTOMATED": {}}


def test_an_instance_that_is_gone_goes_and_is_remembered_if_it_comes_back(museum: World) -> None:
    source = WorldSource(museum)
    everyone = museum.projects
    first = read(source)
    later(museum, HOUR)
    museum.projects = {"museum": Project({"healthy": SCENARIOS["healthy"]})}
    without = read(source, first)
    later(museum, HOUR)
    museum.projects = everyone
    again = read(source, without)
    assert (list(without.records), len(without.removed)) == (["healthy"], 27)
    assert again.removed == {}
    assert again.records["failing"].counters.outcomes == first.records["failing"].counters.outcomes


def test_a_run_in_progress_that_was_deleted_goes_at_the_next_poll(museum: World) -> None:
    source = WorldSource(museum)
    first = read(source)
    museum.projects = {"museum": Project({**museum.projects["museum"].instances, "stuck": SCENARIOS["never"]})}
    second = read(source, first)
    in_progress = [run for run in second.records["stuck"].history.runs if run.status.in_progress]
    assert in_progress == []


def test_a_deleted_backup_deep_in_the_listing_is_found_by_the_next_full_listing() -> None:
    """Until then it is counted as retained, which docs/api.md says."""
    deleted = Scenario(
        "deleted-later",
        "a backup of four days ago is deleted an hour from now",
        lambda window: Run((Attempt(),), deleted_after=(4 * 24 + 9) * HOUR if window == -4 else None),
    )
    others = {f"healthy-{n}": SCENARIOS["healthy"] for n in range(9)}
    asked = world({"museum": Project({"deleted-later": deleted, **others})})
    source = WorldSource(asked)
    first = read(source)
    later(asked, 2 * HOUR)

    def status(told: ProjectScan) -> RunStatus:
        opened = NOW - (4 * 24 + 8) * HOUR
        (status,) = (r.status for r in told.records["deleted-later"].history.runs if r.window_start == opened)
        return status

    second = read(source, first)
    assert (status(second), listed(source)) == (RunStatus.SUCCESSFUL, 1)
    later(asked, 5 * HOUR)
    assert status(read(source, second)) is RunStatus.DELETED


def test_a_status_that_changes_on_the_newest_page_is_seen_though_its_times_are_gone() -> None:
    """The later word holds, also where it says less."""
    bare = Run((Attempt(after=10 * MINUTE),), deleted_after=9 * HOUR)
    asked = world({"museum": Project({"a": Scenario("a", "deleted in an hour", lambda w: bare if w == 0 else MISSED)})})
    source = WorldSource(asked)
    first = read(source)
    later(asked, 2 * HOUR)
    assert [run.status for run in read(source, first).records["a"].history.runs] == [RunStatus.DELETED]


def test_a_quiet_poll_of_two_hundred_projects_is_two_requests_a_project_over_http() -> None:
    """One page of instances and one of runs, whatever the length of the history; in full, each page once."""
    instances = {f"healthy-{number}": SCENARIOS["healthy"] for number in range(20)}
    projects = {f"project-{number}": Project(instances) for number in range(200)}
    with Simulator(world(projects)) as simulator:
        settings = CloudSql.model_validate({"endpoint": simulator.url, "credentials": "anonymous"})
        manners = Retrying(RateLimiter(100_000), threading.Event(), lambda _method: None)
        source = GoogleApis(settings, MINUTE, 8, manners, lambda _method, _code, _seconds: None).source(0)
        in_full = {name: scan(source, name, NOW, scan_options(), None) for name in projects}
        first = list(simulator.requests)
        simulator.requests.clear()
        quiet = {name: scan(source, name, NOW + MINUTE, scan_options(), told) for name, told in in_full.items()}
        second = list(simulator.requests)
    assert all(quiet[name].records == told.records for name, told in in_full.items())
    assert all(len(told.records) == 20 for told in quiet.values())
    for requests in (first, second):
        assert len(requests) == len(set(requests)) == 400
        assert sum("/instances/-/backupRuns" in path for path in requests) == 200


class Refusing(WorldSource):
    """Single runs may not be looked at; the permission for that is optional."""

    def backup_run(self, project: str, instance: str, run_id: str) -> bytes | None:
        raise SourceError(PollResult.FORBIDDEN, f"{project} {instance} {run_id}", denied=True)


def test_without_the_permission_to_look_at_single_runs_the_listing_is_read_in_full(museum: World) -> None:
    source = Refusing(museum)
    first = read(source)
    later(museum, HOUR)
    second = read(source, first)
    assert second.full_listing_at == NOW + HOUR
    assert second.records == read(WorldSource(museum), first, full=True).records


class OneByOne(WorldSource):
    """The wildcard is refused."""

    def backup_runs(self, project: str, instance: str, *, newest: bool = False) -> Iterator[Page]:
        if instance == "-":
            raise SourceError(PollResult.FORBIDDEN, "no wildcard", denied=True)
        yield from super().backup_runs(project, instance, newest=newest)


def test_where_the_wildcard_is_refused_every_poll_is_one_by_one_also_with_a_single_instance() -> None:
    source = OneByOne(world({"museum": Project({"healthy": SCENARIOS["healthy"]})}))
    first = read(source)
    second = read(source, first)
    assert (first.newest_first, second.records["healthy"]) == (False, first.records["healthy"])


def test_an_instance_that_is_refused_alone_keeps_its_facts_and_is_carried() -> None:
    class Picky(OneByOne):
        def backup_runs(self, project: str, instance: str, *, newest: bool = False) -> Iterator[Page]:
            if instance == "idle" and self.refuse:
                raise SourceError(PollResult.NOT_FOUND, "gone", denied=True)
            yield from super().backup_runs(project, instance, newest=newest)

        refuse = False

    asked = world({"museum": Project({name: SCENARIOS[name] for name in ("healthy", "idle")})})
    source = Picky(asked)
    first = read(source)
    source.refuse = True
    later(asked, HOUR)
    second = read(source, first)
    assert second.records["idle"] is first.records["idle"]
    assert second.carried_over == {"idle": NOW}


def test_instances_back_in_reach_are_read_in_full(museum: World) -> None:
    source = WorldSource(museum)
    first = read(source)
    later(museum, MINUTE)
    hidden = replace(first, carried_over={"failing": NOW})
    assert read(source, hidden).full_listing_at == NOW + MINUTE
    assert read(source, first).full_listing_at == NOW


def test_a_quiet_poll_that_finds_nothing_familiar_is_read_in_full_after_ten_pages() -> None:
    """The only instance that is watched has its runs far below those of the others."""
    busy = {f"busy-{number}": SCENARIOS["healthy"] for number in range(9)}
    quiet = Scenario("quiet", "its window opened last", opened_ago=23 * HOUR)
    asked = world({"museum": Project({**busy, "quiet": quiet})})
    source = WorldSource(asked)
    chosen = scan_options(selects=lambda instance: instance.id.name == "quiet")
    first = scan(source, "museum", NOW, chosen, None)
    source.requests.clear()
    scan(source, "museum", NOW + MINUTE, chosen, first)
    assert listed(source) <= 11
