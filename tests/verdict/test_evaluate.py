"""An evaluation based on an earlier one equals a new evaluation of the same facts."""

from dataclasses import replace
from datetime import timedelta
from operator import add, is_

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config import Expected
from exporter.facts.backup_plans import (
    UNREAD,
    AssociationState,
    InstancePlan,
    InstancePlans,
    PlanAssociation,
    PlanRule,
    RuleStatus,
)
from exporter.facts.collected import Collected
from exporter.facts.counters import Counters
from exporter.facts.history import history
from exporter.facts.model import BackupRun, BackupTier, BackupType, RunStatus
from exporter.facts.record import ProjectScan, Record
from exporter.facts.recovery_times import RecoveryTimes
from exporter.facts.snapshot import ProjectStatus, Snapshot
from exporter.scan.incremental import scan
from exporter.simulator import WORLDS, SimulatedClock
from exporter.verdict.evaluate import Evaluation, evaluate
from exporter.verdict.rules import Protection
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
    lambda expected, ages, max_duration, grace: {
        "expected": expected,
        "max_age": f"{min(ages)}m",
        "critical_age": f"{max(ages)}m",
        "max_duration": f"{max_duration}m",
        "grace": f"{grace}m",
    },
    st.sampled_from(Expected),
    st.tuples(thresholds, thresholds),
    thresholds,
    thresholds,
)


def record(all_runs: list[BackupRun], created: timedelta | None, window_start: timedelta | None) -> Record:
    """An instance created some time ago."""
    instance = replace(
        INSTANCE,
        created=None if created is None else NOW - created,
        backups=replace(
            INSTANCE.backups, window_start=window_start, pitr_enabled=True, transaction_log_retention=2 * DAY
        ),
    )
    return Record(instance, history(all_runs), Counters(NOW))


records = st.builds(
    record,
    st.builds(add, st.lists(runs, max_size=5), st.lists(in_progress, max_size=2)),
    st.none() | hours,
    st.none() | st.integers(0, 1439).map(lambda minutes: minutes * MINUTE),
)
collected_facts = st.builds(
    lambda ago, lag, window, changed: Collected(
        recovery_times={"orders": RecoveryTimes(NOW - ago, NOW - ago - lag - window, NOW - ago - lag)},
        settings_changed={} if changed is None else {"orders": NOW - changed},
    ),
    hours,
    hours,
    hours,
    st.none() | hours,
)
plans = st.builds(
    lambda state, rules: InstancePlan(association=PlanAssociation("a", "gold", "vault", state, tuple(rules))),
    st.sampled_from(AssociationState),
    st.lists(
        st.builds(
            lambda status, ago: PlanRule("daily", status, None if ago is None else NOW - ago),
            st.sampled_from(RuleStatus),
            st.none() | hours,
        ),
        max_size=2,
    ),
)
steps = st.tuples(
    st.sampled_from([-2 * HOUR, timedelta(), MINUTE, 3 * HOUR]) | hours,
    st.none() | st.sampled_from([timedelta(), MINUTE, 90 * MINUTE, -6 * HOUR]) | hours,
)


@settings(max_examples=600, deadline=None)
@given(
    facts=records.map(lambda record: ProjectScan(NOW, NOW, records={"orders": record})),
    collected=st.just(Collected()) | collected_facts,
    policy=st.just({}) | policies,
    stale_after=st.sampled_from(["1h", "2d"]),
    steps=st.lists(steps, min_size=1, max_size=5),
    share=st.floats(0, 1),
    plan=st.none() | plans | st.just(UNREAD),
)
def test_reused_verdict_equals_a_new_one_whenever_facts_are_read(
    *,
    facts: ProjectScan,
    collected: Collected,
    policy: dict[str, str],
    stale_after: str,
    steps: list[tuple[timedelta, timedelta | None]],
    share: float,
    plan: InstancePlan | None,
) -> None:
    """For runs of any status, thresholds in any order, windows at any time, and a clock that may be set back.

    A plan is UNREAD, or was read an hour after the runs, at every second step. Each step is the time that passes, and
    how long ago the same facts were read again, if they were.
    """
    configuration = config(policies=[policy], poll={"stale_after": stale_after}, collect={"backup_dr": True})
    facts = _with_tier(facts, enhanced=plan is not None)
    evaluation: Evaluation | None = None
    now = NOW
    for number, (elapsed, read_ago) in enumerate(steps):
        now += elapsed
        if read_ago is not None:
            facts = replace(facts, read_at=now - read_ago)
        if plan and plan.read and not number % 2:
            collected = replace(collected, plans=InstancePlans(facts.read_at + HOUR, {"orders": plan}))
        snapshot = Snapshot().with_project(ProjectStatus("shop-prod", scan=facts, collected=collected))
        expected = evaluate(snapshot, configuration, EXPORTER_INFO, now)
        evaluation = evaluate(snapshot, configuration, EXPORTER_INFO, now, evaluation)
        assert evaluation.verdicts == expected.verdicts
        until = min(evaluation.by_project["shop-prod"].all_valid_until, now + 10 * DAY)
        assert until >= now
        for later in (until, now + (until - now) * share):
            assert evaluation.is_current(later)
            assert evaluate(snapshot, configuration, EXPORTER_INFO, later).verdicts == expected.verdicts


def _with_tier(facts: ProjectScan, *, enhanced: bool) -> ProjectScan:
    tier = BackupTier.ENHANCED if enhanced else BackupTier.STANDARD
    instances = {name: record.instance for name, record in facts.records.items()}
    records = {
        name: replace(facts.records[name], instance=replace(instance, backups=replace(instance.backups, tier=tier)))
        for name, instance in instances.items()
    }
    return replace(facts, records=records)


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


def test_poll_without_changes_leaves_everything_the_same_object() -> None:
    snapshot, configuration, source = Snapshot(), config(), WorldSource(world(WORLDS["healthy"]()))
    evaluation: Evaluation | None = None
    for _ in range(3):  # the first incremental listing has no earlier response to compare with
        for project in source.world.projects:
            status = snapshot.projects.get(project) or ProjectStatus(project)
            project_scan = scan(source, project, NOW, scan_options(), status.scan)
            snapshot = snapshot.with_project(status.succeeded(project_scan, timedelta()))
        before, evaluation = evaluation, evaluate(snapshot, configuration, EXPORTER_INFO, NOW, evaluation)
    assert before
    assert evaluation
    assert evaluation.verdicts is before.verdicts
    assert evaluation.records is before.records


def test_changed_instance_is_assessed_again() -> None:
    enabled = record([run()], created=400 * DAY, window_start=4 * HOUR)
    disabled = replace(
        enabled, instance=replace(enabled.instance, backups=replace(enabled.instance.backups, enabled=False))
    )
    configuration, evaluation, states = config(), None, []
    for read in (enabled, disabled):
        scanned = ProjectScan(NOW, NOW, records={"orders": read})
        snapshot = Snapshot().with_project(ProjectStatus("shop-prod", scan=scanned))
        evaluation = evaluate(snapshot, configuration, EXPORTER_INFO, NOW, evaluation)
        states.append(evaluation.verdicts[0].state)
    assert states == [Protection.PROTECTED, Protection.UNPROTECTED]


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
