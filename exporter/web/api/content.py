"""The content of the API's documents, from an evaluation. Pure."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import overload

from exporter.config import Config
from exporter.facts.backup_plans import InstancePlan
from exporter.facts.counters import Durations
from exporter.facts.daily import InstanceDay, ProjectDay
from exporter.facts.deleted_instances import DeletedInstance as DeletedInstanceFacts
from exporter.facts.model import BackupRun, BackupType, span
from exporter.facts.model import Instance as InstanceFacts
from exporter.facts.record import Record
from exporter.facts.snapshot import ProjectStatus, SearchStatus
from exporter.verdict.assess import Freshness, Verdict
from exporter.verdict.changes import began, next_change
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.listing import Selected
from exporter.verdict.reasons import reasons
from exporter.verdict.rules import Protection
from exporter.verdict.summary import recovery_point_age_seconds, totals
from exporter.web.api.documents import (
    Backups,
    CollectionStatus,
    Configuration,
    Day,
    DeletedInstance,
    DeletedInstancesDocument,
    Instance,
    InstanceDocument,
    Plan,
    PlanRule,
    Policy,
    Project,
    RecoveryTimes,
    Run,
    RunError,
    Search,
    StateChange,
    StatusDocument,
)

Days = Iterable[tuple[ProjectDay, InstanceDay]]


def status_document(evaluation: Evaluation, selected: Selected) -> StatusDocument:
    """The selected instances, and the status of all polls."""
    return StatusDocument(
        now=_second(evaluation.now),
        totals={str(state): count for state, count in totals(evaluation).items()},
        selected=selected.total,
        projects=[_project(status) for status in evaluation.projects],
        searches=[_search(query, search) for query, search in evaluation.searches],
        instances=[_instance(verdict, evaluation) for verdict in selected.verdicts],
    )


def instance_document(evaluation: Evaluation, verdict: Verdict, record: Record, days: Days) -> InstanceDocument:
    """An instance in detail, with the days of its daily record, oldest first."""
    summary = _instance(verdict, evaluation)
    freshness = Freshness(evaluation.facts_read_at(verdict), evaluation.config.poll.stale_after)
    change = next_change(verdict, evaluation.now)
    return InstanceDocument(
        **{name: getattr(summary, name) for name in Instance.__struct_fields__},
        now=_second(evaluation.now),
        since=_second(began(verdict, evaluation.now, freshness)),
        next_change=StateChange(_second(change.at), change.state) if change else None,
        recovery_point_source=verdict.recovery_point_source,
        recovery_times=_recovery_times(verdict),
        policy=_policy(verdict, evaluation.config),
        configuration=_configuration(verdict.instance),
        first_seen=_second(record.counters.first_seen),
        backups={_word(backup_type): _backups(backup_type, record) for backup_type in _types(record)},
        runs=[_run(run) for run in verdict.history.runs],
        plan=_plan(verdict.collected.plan, evaluation, verdict) if verdict.collected.plan else None,
        days=[_day(project_day, day, evaluation.now) for project_day, day in days],
    )


def deleted_instances_document(evaluation: Evaluation, projects: Collection[str]) -> DeletedInstancesDocument:
    """The deleted instances of these projects; of all if there are none."""
    return DeletedInstancesDocument(
        now=_second(evaluation.now),
        collected=evaluation.config.collect.deleted_instances,
        instances=[
            _deleted_instance(instance)
            for instance in evaluation.deleted_instances
            if not projects or instance.id.project in projects
        ],
    )


def _deleted_instance(instance: DeletedInstanceFacts) -> DeletedInstance:
    return DeletedInstance(
        project=instance.id.project,
        instance_id=instance.id.name,
        deleted=instance.deleted,
        retained=instance.retained,
        retained_size_bytes=instance.retained_bytes,
        newest_backup=_second(instance.newest),
        newest_backup_name=instance.newest_name or None,
        newest_backup_type=_word(instance.newest_type) if instance.newest_type else None,
        last_expiry=_second(instance.last_expiry),
        last_expiry_status=instance.last_expiry_status,
        labels=dict(instance.user_labels),
        read_at=_second(instance.read_at),
    )


def _project(status: ProjectStatus) -> Project:
    return Project(
        project=status.project,
        up=status.up,
        state=status.state,
        result=status.result,
        message=status.problem,
        missing_permission=status.missing_permission,
        last_success=_second(status.last_success),
        unreachable_regions=list(status.unreachable_regions),
        collections=[
            CollectionStatus(collection, outcome.up, outcome.message, outcome.missing_permission)
            for collection, outcome in sorted(status.collected.status.items())
        ],
    )


def _search(query: str, search: SearchStatus) -> Search:
    return Search(
        query=query,
        up=search.up,
        message=search.message,
        missing_permission=search.missing_permission,
        method=search.method,
        projects=list(search.projects),
    )


def _instance(verdict: Verdict, evaluation: Evaluation) -> Instance:
    history, newest_success = verdict.history, verdict.history.newest_success
    age = recovery_point_age_seconds(verdict, evaluation.now)
    return Instance(
        project=verdict.instance.id.project,
        instance_id=verdict.instance.id.name,
        state=verdict.state,
        findings=list(verdict.findings),
        exempt=verdict.exemption,
        reasons=list(reasons(verdict, evaluation)),
        recovery_point=_second(verdict.recovery_point),
        recovery_point_age_seconds=None if age is None else max(0, age),
        policy_max_age_seconds=verdict.policy.max_age.total_seconds(),
        policy_critical_age_seconds=verdict.policy.critical_age.total_seconds(),
        next_due=_second(verdict.next_due),
        last_success=_second(newest_success.end) if newest_success else None,
        last_success_duration_seconds=_seconds(newest_success.duration) if newest_success else None,
        last_success_size_bytes=newest_success.size_bytes if newest_success else None,
        last_runs={
            _word(backup_type): _word(of_type.newest.status)
            for backup_type, of_type in history.by_type.items()
            if of_type.newest
        },
        labels=dict(verdict.instance.user_labels),
        read_at=_second(evaluation.facts_read_at(verdict)),
    )


def _policy(verdict: Verdict, config: Config) -> Policy:
    policy = verdict.policy
    positions = (position for position, candidate in enumerate(config.policies, start=1) if candidate is policy)
    return Policy(
        number=next(positions, None),
        expected=policy.expected,
        max_age_seconds=policy.max_age.total_seconds(),
        critical_age_seconds=policy.critical_age.total_seconds(),
        max_duration_seconds=policy.max_duration.total_seconds(),
        grace_seconds=policy.grace.total_seconds(),
        require_pitr=policy.require_pitr,
        max_pitr_lag_seconds=policy.max_pitr_lag.total_seconds(),
        require_deletion_guard=policy.require_deletion_guard,
        min_retained=policy.min_retained,
        allowed_locations=None if policy.allowed_locations is None else list(policy.allowed_locations),
    )


def _configuration(instance: InstanceFacts) -> Configuration:
    backups, deletion = instance.backups, instance.deletion
    return Configuration(
        instance_type=_word(instance.type),
        instance_state=_word(instance.state),
        activation_policy=_word(instance.activation),
        region=instance.region,
        database_version=instance.database_version,
        edition=_word(instance.edition),
        availability_type=_word(instance.availability),
        created=instance.created,
        suspension_reasons=[_word(reason) for reason in instance.suspension_reasons],
        disk_full=instance.disk_full,
        backups_enabled=backups.enabled,
        backup_tier=_word(backups.tier),
        backup_location=backups.location,
        window_start_seconds=_seconds(backups.window_start),
        retention_backups=backups.retained_backups,
        transaction_log_retention_seconds=_seconds(backups.transaction_log_retention),
        pitr_enabled=backups.pitr_enabled,
        deletion_protection_enabled=deletion.protected,
        retain_backups_on_delete=deletion.backups_retained,
        final_backup_enabled=deletion.final_backup,
    )


def _recovery_times(verdict: Verdict) -> RecoveryTimes | None:
    times = verdict.collected.recovery_times
    if times is None:
        return None
    lag = None if times.lag is None else max(times.lag.total_seconds(), 0)
    return RecoveryTimes(_second(times.earliest), _second(times.latest), _second(times.read_at), lag)


def _types(record: Record) -> Sequence[BackupType]:
    """The backup types that an instance has, or had, runs of; automated backups where it can have them."""
    automated = {BackupType.AUTOMATED} if record.instance.can_have_backups else set()
    return sorted(automated | record.history.by_type.keys() | record.counters.completed.keys())


def _backups(backup_type: BackupType, record: Record) -> Backups:
    history, counters = record.history.of(backup_type), record.counters
    durations = counters.durations.get(backup_type, Durations())
    return Backups(
        retained=history.retained,
        retained_size_bytes=history.retained_bytes,
        oldest_retained=_second(history.oldest_retained_end),
        usual_duration_seconds=_seconds(history.usual_duration),
        usual_size_bytes=history.usual_size,
        consecutive_failures=history.consecutive_failures,
        runs_total={_word(status): count for status, count in counters.completed.get(backup_type, {}).items()},
        errors_total=dict(counters.errors.get(backup_type, {})),
        run_duration_seconds_sum=durations.seconds,
        run_duration_seconds_count=durations.count,
    )


def _run(run: BackupRun) -> Run:
    return Run(
        id=run.id,
        backup_type=_word(run.type),
        status=_word(run.status),
        window_start=run.window_start,
        enqueued=run.enqueued,
        start=run.start,
        end=run.end,
        queue_seconds=_seconds(span(run.enqueued, run.start)),
        delay_seconds=_seconds(span(run.window_start, run.start)),
        duration_seconds=_seconds(run.duration),
        size_bytes=run.size_bytes,
        location=run.location,
        error=RunError(run.error.code, run.error.message) if run.error else None,
    )


def _plan(plan: InstancePlan, evaluation: Evaluation, verdict: Verdict) -> Plan:
    association, plans = plan.association, evaluation.by_project[verdict.instance.id.project].collected.plans
    return Plan(
        plan=association.plan if association else None,
        vault=association.vault or None if association else None,
        state=_word(association.state) if association else None,
        rules=[
            PlanRule(
                rule=rule.id,
                status=_word(rule.status),
                last_success=rule.last_success,
                retention_seconds=_seconds(rule.retention),
                failures_total=plan.failures.get(rule.id, 0),
                error=RunError(rule.error.code, rule.error.message) if rule.error else None,
            )
            for rule in plan.rules
        ],
        read_at=_second(plans.facts_read_at(verdict.instance.id.name)) if plans else None,
    )


def _day(project_day: ProjectDay, day: InstanceDay, now: datetime) -> Day:
    return Day(
        day=project_day.day,
        state=Protection(day.state),
        observed_share=round(project_day.share(day), 3),
        due=project_day.due(day, now),
        outcome=_word(day.outcome) if day.outcome else "none",
        worst_age_seconds=project_day.worst_age(day),
        within_policy=day.within_policy,
    )


def _word(word: str) -> str:
    """A word of the API as in labels of metrics."""
    return word.lower()


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


@overload
def _second(timestamp: datetime) -> datetime: ...
@overload
def _second(timestamp: None) -> None: ...
def _second(timestamp: datetime | None) -> datetime | None:
    """A time to the second."""
    return timestamp and timestamp.replace(microsecond=0)
