"""The table of deleted instances, of the Fleet dashboard."""

from grafana_foundation_sdk.builders import table as sdk_table

from grafana.source.panels import table
from grafana.source.promql import INSTANCE_LABELS, per_instance
from grafana.source.queries import table_query
from grafana.source.style import COLORED_TEXT, ORANGE, RED

DAY = 86400


def _value(metric: str) -> str:
    """Return one value per deleted instance: a name can be used again, so that the time of deletion belongs to it."""
    return per_instance(metric, by="deleted")


def _queries() -> list[str]:
    status = per_instance("cloudsql_backup_deleted_instance_last_expiry_status", by="deleted, status")
    return [
        _value("cloudsql_backup_deleted_instance_retained"),
        f"{_value('cloudsql_backup_deleted_instance_last_expiry_timestamp_seconds')} - time()",
        f"topk by ({INSTANCE_LABELS}, deleted) (1, {status})",
        f"{_value('cloudsql_backup_deleted_instance_newest_backup_timestamp_seconds')} * 1000",
        _value("cloudsql_backup_deleted_instance_retained_size_bytes"),
        f"time() - {_value('cloudsql_backup_deleted_instance_read_timestamp_seconds')}",
    ]


def deleted_instances_table() -> sdk_table.Panel:
    """Return the table."""
    steps = [{"value": None, "color": RED}, {"value": 0, "color": ORANGE}, {"value": 3 * DAY, "color": "text"}]
    return table(
        "Deleted instances with backups",
        "Instances that were deleted and of which backups are left, those whose last backup expires first at the top. "
        "An expiry is reported by the API or estimated from the retention; a backup can also never expire. Requires "
        "`collect.deleted_instances`. For all teams.",
        [table_query(query, ref) for query, ref in zip(_queries(), "ABCDEF", strict=True)],
        width=24,
        height=9,
        columns={
            "project": "Project",
            "instance_id": "Instance",
            "deleted": "Deleted",
            "Value #A": "Restorable",
            "Value #B": "Last backup expires in",
            "status": "Expiry",
            "Value #D": "Newest backup",
            "Value #E": "Size",
            "Value #F": "Read",
        },
        overrides={
            "Last backup expires in": {
                "unit": "s",
                "decimals": 1,
                "thresholds": {"mode": "absolute", "steps": steps},
                **COLORED_TEXT,
            },
            "Newest backup": {"unit": "dateTimeAsIso"},
            "Size": {"unit": "bytes", "decimals": 1},
            "Read": {"unit": "s", "decimals": 0},
        },
        sort_by="Last backup expires in",
        descending=False,
        no_value="No deleted instance has backups, or they are not collected",
    )
