"""Metrics about deleted instances of which backups are left."""

from collections.abc import Iterator

from exporter.facts.deleted_instances import DeletedInstance
from exporter.metrics.metric import Metric, Sample, gauge


def _last_expiry_status(instance: DeletedInstance) -> Iterator[Sample]:
    if instance.last_expiry_status:
        yield Sample((instance.last_expiry_status,), 1.0)


DELETED_INSTANCE: tuple[Metric[DeletedInstance], ...] = (
    gauge(
        "cloudsql_backup_deleted_instance_timestamp_seconds",
        "When the instance was deleted.",
        lambda instance: instance.deleted,
    ),
    gauge(
        "cloudsql_backup_deleted_instance_retained",
        "Backups of the deleted instance that can be restored.",
        lambda instance: instance.retained,
    ),
    gauge(
        "cloudsql_backup_deleted_instance_retained_size_bytes",
        "Chargeable size of these backups; absent unless the API reports the size of each.",
        lambda instance: instance.retained_bytes,
    ),
    gauge(
        "cloudsql_backup_deleted_instance_newest_backup_timestamp_seconds",
        "When the newest of these backups started, which is what a restore returns to.",
        lambda instance: instance.newest,
    ),
    gauge(
        "cloudsql_backup_deleted_instance_last_expiry_timestamp_seconds",
        "When the last of these backups expires; absent if one never does, or if that is not known.",
        lambda instance: instance.last_expiry,
    ),
    Metric(
        "cloudsql_backup_deleted_instance_last_expiry_status",
        "1 for how that is known: reported by the API, estimated from the retention, never, unknown; else absent.",
        ("status",),
        _last_expiry_status,
    ),
    gauge(
        "cloudsql_backup_deleted_instance_read_timestamp_seconds",
        "When the backups of the deleted instance were last read.",
        lambda instance: instance.read_at,
    ),
)
