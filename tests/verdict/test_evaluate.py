"""A view that builds on an earlier one says what a view from scratch would say."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config import Expected, Policy
from exporter.facts.history import history
from exporter.facts.model import BackupType, RunStatus
from exporter.facts.snapshot import ProjectStatus, Snapshot
from exporter.scan.incremental import scan
from exporter.simulator import WORLDS, SimulatedClock
from exporter.verdict.assess import Freshness, assess, valid_until
from exporter.verdict.evaluate import Evaluation, evaluate
from tests.support.builders import (
    DAY,
    EXPORTER_INFO,
    HOUR,
    INSTANCE,
    MINUTE,
    NOW,
    WorldSource,
    config,
    run,
    scan_options,
    world,
)

hours = st.floats(-1, 80).map(lambda hours: timedelta(hours=hours))
runs = st.builds(
    lambda status, ago, kind: (status, ago, kind),
    st.sampled_from(RunStatus),
    hours,
    st.sampled_from([BackupType.AUTOMATED, BackupType.ON_DEMAND]),
)


@settings(max_examples=200, deadline=None)
@given(
    told=st.lists(runs, max_size=5),
    created=st.none() | hours,
    opens=st.none() | st.integers(0, 1439),
    expected=st.sampled_from(Expected),
    read_ago=st.floats(0, 3).map(lambda hours: timedelta(hours=hours)),
    share=st.floats(0, 1),
)
def test_a_verdict_holds_as_long_as_is_said(
    told: list[tuple[RunStatus, timedelta, BackupType]],
    created: timedelta | None,
    opens: int | None,
    expected: Expected,
    read_ago: timedelta,
    share: float,
) -> None:
    past = history([run(status, ago=ago, kind=kind) for status, ago, kind in told])
    instance = replace(
        INSTANCE,
        created=None if created is None else NOW - created,
        backups=replace(INSTANCE.backups, window_start=None if opens is None else opens * MINUTE),
    )
    policy, freshness = Policy(expected=expected), Freshness(NOW - read_ago, HOUR)
    through = valid_until(instance, past, policy, NOW, freshness)
    assert through >= NOW
    for moment in (through, NOW + (through - NOW) * share):
        assert assess(instance, past, policy, moment, freshness) == assess(instance, past, policy, NOW, freshness)


def test_over_three_days_of_the_demo_a_kept_view_says_what_a_new_one_says() -> None:
    demo = world({name: project for name, project in WORLDS["demo"]().items() if not project.access_error})
    assert isinstance(demo.clock, SimulatedClock)
    settings, snapshot = config(), Snapshot()
    kept: Evaluation | None = None
    reused = changed = 0
    for step in range(3 * 24 * 4):
        now = demo.clock()
        if step % 5 == 0:  # polls stop for over an hour, so that facts grow old now and then
            for project in demo.projects:
                status = snapshot.projects.get(project) or ProjectStatus(project)
                told = scan(WorldSource(demo), project, now, scan_options(), status.scan)
                snapshot = snapshot.with_project(status.succeeded(told, timedelta()))
        before, fresh = kept, evaluate(snapshot, settings, EXPORTER_INFO, now)
        kept = evaluate(snapshot, settings, EXPORTER_INFO, now, before)
        assert kept.verdicts == fresh.verdicts
        assert kept.records == fresh.records
        if before:
            same = sum(one is other for one, other in zip(before.verdicts, kept.verdicts, strict=True))
            reused, changed = reused + same, changed + len(kept.verdicts) - same
        demo.clock.advance(15 * MINUTE)
    assert reused > 20 * changed > 0


def test_another_policy_holds_at_once_and_a_clock_set_back_is_believed() -> None:
    demo = world({"museum": WORLDS["demo"]()["museum"]})
    told = scan(WorldSource(demo), "museum", NOW, scan_options(), None)
    snapshot = Snapshot().with_project(ProjectStatus("museum").succeeded(told, timedelta()))
    strict = config(policies=[{"max_age": "1h", "critical_age": "2h"}])
    first = evaluate(snapshot, config(), EXPORTER_INFO, NOW)
    assert (
        evaluate(snapshot, strict, EXPORTER_INFO, NOW, first).verdicts
        == evaluate(snapshot, strict, EXPORTER_INFO, NOW).verdicts
    )
    later = evaluate(snapshot, config(), EXPORTER_INFO, NOW + 3 * DAY, first)
    assert evaluate(snapshot, config(), EXPORTER_INFO, NOW, later).verdicts != later.verdicts
    assert evaluate(snapshot, later.config, EXPORTER_INFO, NOW, later).verdicts == first.verdicts
