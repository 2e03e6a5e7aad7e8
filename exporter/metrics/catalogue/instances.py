"""Metrics about each instance: its configuration, and the policy that applies to it."""

from collections.abc import Callable, Iterator

from exporter.config.schema import label_name
from exporter.facts.recovery_times import RecoveryTimes
from exporter.metrics.metric import Metric, Number, Sample, gauge
from exporter.verdict.assess import Verdict


def _info(verdict: Verdict) -> Iterator[Sample]:
    instance, backups = verdict.instance, verdict.instance.backups
    values = (
        str(instance.id),
        instance.region or "",
        instance.database_version or "",
        instance.edition,
        instance.type,
        instance.availability,
        backups.tier,
        backups.location or "",
    )
    yield Sample(values, 1.0)


def _suspension_reasons(verdict: Verdict) -> Iterator[Sample]:
    for reason in verdict.instance.suspension_reasons:
        yield Sample((reason.lower(),), 1.0)


def _of_recovery_times(name: str, help_text: str, read: Callable[[RecoveryTimes], Number | None]) -> Metric[Verdict]:
    """A gauge of instances whose recovery times are known."""

    def value(verdict: Verdict) -> Number | None:
        times = verdict.collected.recovery_times
        return read(times) if times else None

    return gauge(name, help_text, value)


INFO_LABELS = (
    "database_id",
    "region",
    "database_version",
    "edition",
    "instance_type",
    "availability_type",
    "backup_tier",
    "backup_location",
)

INSTANCE: tuple[Metric[Verdict], ...] = (
    Metric("cloudsql_backup_instance_info", "Information about the instance; always 1.", INFO_LABELS, _info),
    gauge(
        "cloudsql_backup_instance_created_timestamp_seconds",
        "When the instance was created.",
        lambda verdict: verdict.instance.created,
    ),
    gauge(
        "cloudsql_backup_enabled",
        "1 if automated backups are enabled.",
        lambda verdict: verdict.instance.backups.enabled,
    ),
    gauge(
        "cloudsql_backup_retention_backups",
        "Number of automated backups to retain, as configured.",
        lambda verdict: verdict.instance.backups.retained_backups,
    ),
    gauge(
        "cloudsql_backup_transaction_log_retention_seconds",
        "Retention of transaction logs, as configured.",
        lambda verdict: verdict.instance.backups.transaction_log_retention,
    ),
    gauge(
        "cloudsql_backup_window_start_seconds",
        "Start of the daily backup window, in seconds after 00:00 UTC.",
        lambda verdict: verdict.instance.backups.window_start,
    ),
    gauge(
        "cloudsql_backup_pitr_enabled",
        "1 if point-in-time recovery (PostgreSQL, SQL Server) or the binary log (MySQL) is enabled.",
        lambda verdict: verdict.instance.backups.pitr_enabled,
    ),
    _of_recovery_times(
        "cloudsql_backup_pitr_earliest_timestamp_seconds",
        "Earliest time to which point-in-time recovery can restore, as last read (collect.recovery_times).",
        lambda times: times.earliest,
    ),
    _of_recovery_times(
        "cloudsql_backup_pitr_latest_timestamp_seconds",
        "Latest time to which point-in-time recovery can restore, as last read (collect.recovery_times).",
        lambda times: times.latest,
    ),
    _of_recovery_times(
        "cloudsql_backup_pitr_read_timestamp_seconds",
        "When the recovery times were last read (collect.recovery_times).",
        lambda times: times.read_at,
    ),
    _of_recovery_times(
        "cloudsql_backup_pitr_lag_seconds",
        "How far the latest recovery time was behind when it was read (collect.recovery_times).",
        lambda times: times.lag,
    ),
    gauge(
        "cloudsql_backup_deletion_protection_enabled",
        "1 if the instance is protected against deletion.",
        lambda verdict: verdict.instance.deletion.protected,
    ),
    gauge(
        "cloudsql_backup_retain_backups_on_delete",
        "1 if the backups of the instance are retained when it is deleted.",
        lambda verdict: verdict.instance.deletion.backups_retained,
    ),
    gauge(
        "cloudsql_backup_final_backup_enabled",
        "1 if a final backup is made when the instance is deleted.",
        lambda verdict: verdict.instance.deletion.final_backup,
    ),
    Metric(
        "cloudsql_backup_suspension_reason",
        "1 for each reason why the instance is suspended, else absent.",
        ("reason",),
        _suspension_reasons,
    ),
    gauge(
        "cloudsql_backup_disk_full",
        "1 while the instance is shut down because its disk is full.",
        lambda verdict: verdict.instance.disk_full,
    ),
    gauge(
        "cloudsql_backup_policy_max_age_seconds",
        "Age of the recovery point beyond which the instance is at risk.",
        lambda verdict: verdict.policy.max_age,
    ),
    gauge(
        "cloudsql_backup_policy_critical_age_seconds",
        "Age of the recovery point beyond which the instance is unprotected.",
        lambda verdict: verdict.policy.critical_age,
    ),
    gauge(
        "cloudsql_backup_policy_max_duration_seconds",
        "Duration beyond which a backup run is slow, or stuck while in progress.",
        lambda verdict: verdict.policy.max_duration,
    ),
)


def instance_labels(names: tuple[str, ...]) -> Metric[Verdict]:
    """The metric with these user labels."""

    def samples(verdict: Verdict) -> Iterator[Sample]:
        yield Sample(tuple(verdict.instance.user_labels.get(name, "") for name in names), 1.0)

    help_text = "User labels of the instance, as selected by collect.user_labels; always 1."
    return Metric("cloudsql_backup_instance_labels", help_text, tuple(label_name(name) for name in names), samples)
