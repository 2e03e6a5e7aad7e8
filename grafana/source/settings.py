"""The tables of the settings of one instance: properties, backup configuration, deletion and policy."""

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from grafana.source.panels import joined_values, table
from grafana.source.promql import INSTANCE, INSTANCE_LABELS, current, per_instance, selector
from grafana.source.queries import table_query
from grafana.source.style import COLORED_TEXT, GREEN, GREY, RED, value_mappings

NARROW = {"custom.minWidth": 80}  # Grafana's default is 150 pixels
DURATION = {"unit": "s", "decimals": 2, **NARROW}
ON_OR_OFF = {"mappings": [value_mappings({"0": ("off", RED), "1": ("on", GREEN)})], **COLORED_TEXT, **NARROW}
ON_OR_NEUTRAL = {"mappings": [value_mappings({"0": ("off", GREY), "1": ("on", GREEN)})], **COLORED_TEXT, **NARROW}
DISK_FULL = {"mappings": [value_mappings({"0": ("no", GREY), "1": ("yes", RED)})], **COLORED_TEXT, "custom.width": 90}


def _properties() -> Builder[Panel]:
    headings = {
        "database_version": "Database version",
        "edition": "Edition",
        "instance_type": "Instance type",
        "availability_type": "Availability type",
        "region": "Region",
        "backup_location": "Backup location",
        "backup_tier": "Backup tier",
    }
    labels = selector("cloudsql_backup_instance_labels", INSTANCE)
    return table(
        "Instance",
        "Properties of the instance as reported by the API, the reasons why it is suspended, whether it is shut down "
        "because its disk is full, and the team from its user label.",
        [
            table_query(current("cloudsql_backup_instance_info", by=", ".join(headings)), "A"),
            table_query(f"max by ({INSTANCE_LABELS}, label_team) ({labels})", "B"),
            table_query(f"{current('cloudsql_backup_suspension_reason', by='reason')} == 1", "C"),
            table_query(per_instance("cloudsql_backup_disk_full"), "D"),
        ],
        width=24,
        height=4,
        columns={
            **headings,
            "reason (uniqueValues)": "Suspended for",
            "Value #D": "Disk full",
            "label_team": "Team",
        },
        overrides={
            "Edition": {"custom.width": 110},
            "Instance type": {"custom.width": 180},
            "Backup tier": {"custom.width": 110},
            "Suspended for": {"custom.width": 220},
            "Disk full": DISK_FULL,
        },
        transformations=[joined_values("reason", "C")],
        no_value="No data",
    )


def _backup_configuration() -> Builder[Panel]:
    return table(
        "Backup configuration",
        "Backup configuration of the instance.",
        [
            table_query(per_instance("cloudsql_backup_enabled"), "A"),
            table_query(per_instance("cloudsql_backup_window_start_seconds"), "B"),
            table_query(per_instance("cloudsql_backup_retention_backups"), "C"),
            table_query(per_instance("cloudsql_backup_pitr_enabled"), "D"),
            table_query(per_instance("cloudsql_backup_transaction_log_retention_seconds"), "E"),
        ],
        width=12,
        height=4,
        columns={
            "Value #A": "Automated backups",
            "Value #B": "Window start (UTC)",
            "Value #C": "Retention",
            "Value #D": "Point-in-time recovery",
            "Value #E": "Log retention",
        },
        overrides={
            "Automated backups": ON_OR_OFF,
            "Point-in-time recovery": {**ON_OR_NEUTRAL, "custom.width": 185},
            "Window start (UTC)": {"unit": "dthms", **NARROW},
            "Retention": {"unit": "suffix: backups", **NARROW},
            "Log retention": DURATION,
        },
        no_value="No data",
    )


def _deletion() -> Builder[Panel]:
    return table(
        "On deletion",
        "What prevents a deletion of the instance, and what would be left after it. If all three are off, nothing "
        "would be left.",
        [
            table_query(per_instance("cloudsql_backup_deletion_protection_enabled"), "A"),
            table_query(per_instance("cloudsql_backup_retain_backups_on_delete"), "B"),
            table_query(per_instance("cloudsql_backup_final_backup_enabled"), "C"),
        ],
        width=7,
        height=4,
        columns={"Value #A": "Deletion protection", "Value #B": "Retained backups", "Value #C": "Final backup"},
        overrides={
            "Deletion protection": ON_OR_NEUTRAL,
            "Retained backups": ON_OR_NEUTRAL,
            "Final backup": ON_OR_NEUTRAL,
        },
        no_value="No data",
    )


def _policy() -> Builder[Panel]:
    return table(
        "Policy",
        "Limits of the policy that applies to the instance.",
        [
            table_query(per_instance("cloudsql_backup_policy_max_age_seconds"), "A"),
            table_query(per_instance("cloudsql_backup_policy_critical_age_seconds"), "B"),
            table_query(per_instance("cloudsql_backup_policy_max_duration_seconds"), "C"),
        ],
        width=5,
        height=4,
        columns={"Value #A": "Max age", "Value #B": "Critical age", "Value #C": "Max duration"},
        overrides={"Max age": DURATION, "Critical age": DURATION, "Max duration": DURATION},
        no_value="No data",
    )


def settings_tables() -> list[Builder[Panel]]:
    """Return the tables."""
    return [_properties(), _backup_configuration(), _deletion(), _policy()]
