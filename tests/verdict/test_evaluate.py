"""An evaluation based on an earlier one equals a new evaluation of the same facts."""

from dataclasses import replace
from datetime import timedelta
from operator import add, is_

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config import Expected, Policy
from exporter.facts.history import history
from exporter.facts.model import BackupRun, BackupType, RunStatus
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
thresholds = st.integers(30, 90 * 60)  # minutes
delays = st.sampled_from([timedelta(), MINUTE, 5 * HOUR])


def delayed_run(status: RunStatus, ago: timedelta, delay: timedelta, kind: BackupType) -> BackupRun:
    """A run that was enqueued and started some time after it was scheduled."""
    scheduled = run(status, ago=ago, kind=kind)
    return replace(
        scheduled,
        enqueued=scheduled.enqueued and scheduled.enqueued + delay,
        start=scheduled.start and scheduled.start + delay,
        end=scheduled.end and scheduled.end + delay,
    )


kinds = st.sampled_from([BackupType.AUTOMATED, BackupType.ON_DEMAND])
runs = st.builds(delayed_run, st.sampled_from(RunStatus), hours, delays, kinds)
in_progress = st.builds(delayed_run, st.sampled_from([RunStatus.ENQUEUED, RunStatus.RUNNING]), hours, delays, kinds)
policies = st.builds(
    lambda expected, ages, max_duration, grace: Policy.model_validate(
        {
            "expected": expected,
            "max_age": f"{min(ages)}m",
            "critical_age": f"{max(ages)}m",
            "max_duration": f"{max_duration}m",
            "grace": f"{grace}m",
        }
    ),
    st.sampled_from(Expected),
    st.tuples(thresholds, thresholds),
    thresholds,
    thresholds,
)


@settings(max_examples=400, deadline=None)
@given(
    all_runs=st.builds(add, st.lists(runs, max_size=5), st.lists(in_progress, max_size=2)),
    created=st.none() | hours,
    window_start=st.none() | st.integers(0, 1439).map(lambda minutes: minutes * MINUTE),
    policy=st.just(Policy()) | policies,
    freshness=st.builds(
        Freshness, st.floats(0, 3).map(lambda hours: NOW - timedelta(hours=hours)), st.sampled_from([HOUR, 2 * DAY])
    ),
    share=st.floats(0, 1),
)
def test_verdict_is_unchanged_until_valid_until(
    all_runs: list[BackupRun],
    created: timedelta | None,
    window_start: timedelta | None,
    policy: Policy,
    freshness: Freshness,
    share: float,
) -> None:
    """For runs of any status, thresholds in any order, and windows that open or close at any time."""
    past = history(all_runs)
    instance = replace(
        INSTANCE,
        created=None if created is None else NOW - created,
        backups=replace(INSTANCE.backups, window_start=window_start),
    )
    until = valid_until(instance, past, policy, NOW, freshness)
    assert until >= NOW
    for later in (until, NOW + (until - NOW) * share):
        assert assess(instance, past, policy, later, freshness) == assess(instance, past, policy, NOW, freshness)


def test_reused_evaluation_equals_a_new_one_over_three_days() -> None:
    demo = world({name: project for name, project in WORLDS["demo"]().items() if not project.access_error})
    assert isinstance(demo.clock, SimulatedClock)
    configuration, snapshot = config(), Snapshot()
    evaluation: Evaluation | None = None
    reused = changed = 0
    for step in range(3 * 24 * 4):
        now = demo.clock()
        if step % 5 == 0:  # polls are further apart than stale_after
            for project in demo.projects:
                status = snapshot.projects.get(project) or ProjectStatus(project)
                project_scan = scan(WorldSource(demo), project, now, scan_options(), status.scan)
                snapshot = snapshot.with_project(status.succeeded(project_scan, timedelta()))
        before, expected = evaluation, evaluate(snapshot, configuration, EXPORTER_INFO, now)
        evaluation = evaluate(snapshot, configuration, EXPORTER_INFO, now, before)
        assert evaluation.verdicts == expected.verdicts
        assert evaluation.records == expected.records
        if before:
            same = sum(map(is_, before.verdicts, evaluation.verdicts))
            assert len(before.verdicts) == len(evaluation.verdicts)
            reused, changed = reused + same, changed + len(evaluation.verdicts) - same
        demo.clock.advance(15 * MINUTE)
    assert reused > 20 * changed > 0


def demo_snapshot() -> Snapshot:
    demo = world({"museum": WORLDS["demo"]()["museum"]})
    project_scan = scan(WorldSource(demo), "museum", NOW, scan_options(), None)
    return Snapshot().with_project(ProjectStatus("museum").succeeded(project_scan, timedelta()))


def test_changed_policies_apply_to_the_next_evaluation() -> None:
    snapshot = demo_snapshot()
    strict = config(policies=[{"max_age": "1h", "critical_age": "2h"}])
    before = evaluate(snapshot, config(), EXPORTER_INFO, NOW)
    verdicts = evaluate(snapshot, strict, EXPORTER_INFO, NOW, before).verdicts
    assert verdicts == evaluate(snapshot, strict, EXPORTER_INFO, NOW).verdicts
    assert verdicts != before.verdicts


def test_evaluation_is_not_reused_after_the_clock_was_set_back() -> None:
    snapshot, configuration = demo_snapshot(), config()
    first = evaluate(snapshot, configuration, EXPORTER_INFO, NOW)
    later = evaluate(snapshot, configuration, EXPORTER_INFO, NOW + 3 * DAY, first)
    assert later.verdicts != first.verdicts
    assert evaluate(snapshot, configuration, EXPORTER_INFO, NOW, later).verdicts == first.verdicts
