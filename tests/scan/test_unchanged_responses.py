"""Responses that have not changed are not parsed again, and this never changes the result of a scan."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from exporter.facts.record import ProjectScan, RemovedInstance
from exporter.scan import decode
from exporter.scan.incremental import scan
from exporter.scan.source import Page
from exporter.simulator import WORLDS, SimulatedClock, World
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from tests.support.builders import DAY, HOUR, MINUTE, NOW, WorldSource, encoded, scan_options, world


def build_world(*names: str) -> World:
    return world({"museum": Project({name: SCENARIOS[name] for name in names})})


def read(source: WorldSource, previous: ProjectScan | None, *, full: bool = False) -> ProjectScan:
    return scan(source, "museum", source.world.clock(), scan_options(), previous, full=full)


def advance(simulated: World, duration: timedelta) -> None:
    assert isinstance(simulated.clock, SimulatedClock)
    simulated.clock.advance(duration)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kind of every item that is parsed."""
    kinds: list[str] = []
    for kind in ("instance", "backup_run"):
        original = getattr(decode, kind)

        def counting(*args: object, kind: str = kind, original: object = original, **options: object) -> object:
            kinds.append(kind)
            assert callable(original)
            return original(*args, **options)

        monkeypatch.setattr(decode, kind, counting)
    return kinds


def test_unchanged_responses_are_not_parsed(parsed: list[str]) -> None:
    source = WorldSource(build_world("healthy", "idle"))
    second = read(source, read(source, None))
    advance(source.world, 5 * MINUTE)
    parsed.clear()
    source.requests.clear()
    third = read(source, second)
    assert parsed == []
    assert len(source.requests) == 2
    assert third.read_at == second.read_at + 5 * MINUTE
    assert third.records is second.records
    assert third == replace(read(source, second, full=True), full_listing_at=second.full_listing_at)


def test_region_that_is_reachable_again_without_any_instance_is_no_longer_reported() -> None:
    source = WorldSource(build_world("healthy"))
    second = read(source, read(source, None))
    unreachable = replace(second, unreachable_regions=("europe-west9",))
    assert read(source, unreachable).unreachable_regions == ()


def test_instance_removed_more_than_a_week_ago_is_forgotten() -> None:
    source = WorldSource(build_world("healthy"))
    second = read(source, read(source, None))
    gone = RemovedInstance(second.records["healthy"].counters, NOW)
    before = replace(second, removed={"former": gone})
    advance(source.world, 5 * HOUR)
    assert read(source, before).removed == {"former": gone}
    assert read(source, replace(before, removed={"former": replace(gone, removed_at=NOW - 7 * DAY)})).removed == {}


def test_full_scan_parses_everything_again(parsed: list[str]) -> None:
    source = WorldSource(build_world("healthy", "idle"))
    second = read(source, read(source, None))
    parsed.clear()
    third = read(source, second, full=True)
    assert parsed.count("instance") == 2
    assert third.records is second.records


def test_run_in_progress_in_an_unchanged_response_is_not_parsed(parsed: list[str]) -> None:
    source = WorldSource(build_world("running"))
    second = read(source, read(source, None))
    parsed.clear()
    assert read(source, second).records["running"].history.in_progress
    assert parsed == []
    advance(source.world, 2 * HOUR)
    assert not read(source, second).records["running"].history.in_progress


def test_run_in_progress_below_an_unchanged_page_is_read_again(parsed: list[str]) -> None:
    source = WorldSource(world({"museum": WORLDS["demo"]()["museum"]}))
    second = read(source, read(source, None))
    for _ in range(2):
        parsed.clear()
        source.requests.clear()
        second = read(source, second)
        assert second.records["stuck"].history.in_progress
        assert "backup_run" in parsed
        assert source.requests[-1].startswith("/v1/projects/museum/instances/stuck/backupRuns/")


class TwoResponses(WorldSource):
    """Returns the newest page of an earlier time while `stale` is set, as a lagging replica of the API would."""

    stale: list[Page] | None = None

    def backup_runs(self, project: str, instance: str, *, newest: bool = False) -> Iterator[Page]:
        pages = list(super().backup_runs(project, instance, newest=newest))
        return iter(self.stale if newest and self.stale else pages)


def test_response_that_returns_after_a_change_is_parsed(parsed: list[str]) -> None:
    source = TwoResponses(build_world("healthy"))
    before = read(source, read(source, None))
    earlier = list(source.backup_runs("museum", "-", newest=True))
    advance(source.world, 24 * HOUR)
    source.stale = None
    changed = read(source, before)
    assert changed.records["healthy"] is not before.records["healthy"]
    source.stale = earlier
    read(source, changed)
    source.stale = None
    parsed.clear()
    last = read(source, read(source, changed))
    assert last.records["healthy"].history == changed.records["healthy"].history


def test_unreadable_item_is_reported_on_every_poll() -> None:
    reports: list[tuple[str, str]] = []

    class Broken(WorldSource):
        def instances(self, project: str) -> Iterator[Page]:
            for page in super().instances(project):
                yield Page([*page.items, encoded({"region": "x"})])

    source = Broken(build_world("healthy"))
    options = scan_options(lambda kind, field: reports.append((kind, field)))
    result = None
    for polls in range(1, 4):
        result = scan(source, "museum", NOW, options, result)
        assert reports == [("instance", "name")] * polls


def test_scans_equal_those_that_parse_everything_over_two_days() -> None:
    museum = world({"museum": WORLDS["demo"]()["museum"]})
    source = WorldSource(museum)
    reusing = parsing = read(source, None)
    reused = 0
    for step in range(2 * 24 * 6):
        advance(museum, (10 if step % 7 else 1) * MINUTE)
        reusing, before = read(source, reusing), reusing
        parsing = read(source, replace(parsing, digests=None))
        assert reusing == parsing
        reused += before.digests is not None and before.digests == reusing.digests
    assert reused > 0
