"""What is exported of each instance itself: its configuration, and the policy in force for it."""

from collections.abc import Iterator

from exporter.assess import Assessment
from exporter.config.schema import label_name
from exporter.metric import PREFIX, Metric, Sample, gauge


def _info(verdict: Assessment) -> Iterator[Sample]:
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

INSTANCE: tuple[Metric[Assessment], ...] = (
    Metric(PREFIX + "instance_info", "Facts about the instance, as labels; always 1.", INFO_LABELS, _info),
    gauge(
        "instance_created_timestamp_seconds", "When the instance was created.", lambda verdict: verdict.instance.created
    ),
    gauge("enabled", "1 if automated backups are switched on.", lambda verdict: verdict.instance.backups.enabled),
    gauge(
        "retention_backups",
        "Automated backups the instance is configured to keep.",
        lambda verdict: verdict.instance.backups.retained_backups,
    ),
    gauge(
        "transaction_log_retention_seconds",
        "How long the instance is configured to keep transaction logs.",
        lambda verdict: verdict.instance.backups.transaction_log_retention,
    ),
    gauge(
        "window_start_seconds",
        "When the daily backup window opens, in seconds after 00:00 UTC.",
        lambda verdict: verdict.instance.backups.window_start,
    ),
    gauge(
        "pitr_enabled",
        "1 if point-in-time recovery (PostgreSQL, SQL Server) or the binary log (MySQL) is switched on.",
        lambda verdict: verdict.instance.backups.pitr_enabled,
    ),
    gauge(
        "policy_max_age_seconds",
        "Age of the recovery point beyond which the instance is at risk.",
        lambda verdict: verdict.policy.max_age,
    ),
    gauge(
        "policy_critical_age_seconds",
        "Age of the recovery point beyond which the instance is unprotected.",
        lambda verdict: verdict.policy.critical_age,
    ),
    gauge(
        "policy_max_duration_seconds",
        "Duration beyond which a run is slow, or stuck while it lasts.",
        lambda verdict: verdict.policy.max_duration,
    ),
)


def instance_labels(names: tuple[str, ...]) -> Metric[Assessment]:
    """The metric that carries these user labels."""

    def samples(verdict: Assessment) -> Iterator[Sample]:
        yield Sample(tuple(verdict.instance.user_labels.get(name, "") for name in names), 1.0)

    meaning = "User labels of the instance, those named in collect.user_labels; always 1."
    return Metric(PREFIX + "instance_labels", meaning, tuple(label_name(name) for name in names), samples)
