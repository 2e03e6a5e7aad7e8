"""Named scenarios of single instances.

Backup windows are numbered: 0 is the last one that opened before the start of the world, 1 the next, -1 the previous.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType

from exporter.simulator.backup_plans import PERMISSION_DENIED, Association, RunOfWindow
from exporter.simulator.timeline import (
    HEALTHY,
    MISSED,
    OVERDUE,
    SKIPPED,
    Attempt,
    Resource,
    Run,
    Unscheduled,
    failing,
)

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def _always(run: Run) -> RunOfWindow:
    return lambda _window: run


def _from(first: int, run: Run, before: Run = HEALTHY) -> RunOfWindow:
    return lambda window: run if window >= first else before


@dataclass(frozen=True)
class Scenario:
    """An instance and its backup runs.

    `windows`: the run of each window, by number. `opened_ago`, `created_ago`: time from the opening of window 0 and
    from the creation of the instance to the start of the world. `unscheduled`: runs outside the schedule. `instance`,
    `settings` and `backups` override fields of the instance resource, its settings and its backup configuration; a
    setting that is None is absent, as most flags are in recorded responses while they are off. `associations`: those
    with backup plans.
    """

    name: str
    description: str
    windows: RunOfWindow = field(default=_always(HEALTHY))
    opened_ago: timedelta = 8 * HOUR
    created_ago: timedelta = timedelta(days=400)
    unscheduled: tuple[Unscheduled, ...] = ()
    instance: Mapping[str, object] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    backups: Mapping[str, object] = field(default_factory=dict)
    associations: tuple[Association, ...] = ()


def _flapping(window: int) -> Run:
    """Fail on every third day."""
    return failing("INTERNAL_ERROR") if window % 3 == 1 else HEALTHY


def _idle(window: int) -> Run:
    return HEALTHY if window <= -6 else SKIPPED


def _running(_window: int) -> Run:
    return Run((Attempt(after=10 * MINUTE, takes=90 * MINUTE),))


def _deleted(window: int) -> Run:
    """Be deleted after two hours; the newest run is still being deleted."""
    if window < -2:
        return HEALTHY
    status = "DELETED" if window < 0 else "DELETION_PENDING"
    return replace(HEALTHY, deleted_after=2 * HOUR, deletion_status=status)


def _vanished(window: int) -> Run:
    return replace(HEALTHY, deleted_after=2 * HOUR) if window == 0 else HEALTHY


_RETRIED = Run((Attempt(takes=3 * MINUTE, error="INTERNAL_ERROR"), Attempt(after=90 * MINUTE)))
_STUCK = Run((Attempt(takes=None),))
_SLOW = Run((Attempt(takes=7 * HOUR, gigabytes=900),))
_NO_AUTOMATION: Mapping[str, object] = MappingProxyType({"enabled": False})
_DELETABLE: Mapping[str, object] = MappingProxyType({"deletionProtectionEnabled": None})
_FINAL_BACKUP: Mapping[str, object] = MappingProxyType({"finalBackupConfig": {"enabled": True, "retentionDays": 30}})
_KEY = "projects/keys/locations/europe-west1/keyRings/sql/cryptoKeys/museum"
_DAILY_AND_MONTHLY: Mapping[str, RunOfWindow] = MappingProxyType(
    {"daily": _always(HEALTHY), "monthly": lambda window: HEALTHY if window % 30 == 0 else MISSED}
)


def _enhanced(
    name: str, description: str, *associations: Association, created_ago: timedelta = timedelta(days=400)
) -> Scenario:
    """Return a scenario of the enhanced tier, of which the Admin API lists no runs."""
    return Scenario(
        name,
        description,
        _always(MISSED),
        created_ago=created_ago,
        backups={"backupTier": "ENHANCED"},
        associations=associations,
    )


ALL = (
    Scenario("healthy", "backed up every day"),
    Scenario("idle", "no new data for six days: every run is SKIPPED, which is not a problem", _idle),
    Scenario("failing", "backups have failed for three days", _from(-2, failing("DISK_SNAPSHOT_FAILED"))),
    Scenario("failing-uncoded", "the last backup failed, without an error code", _from(0, failing(""))),
    Scenario("flapping", "the backup fails on every third day", _flapping),
    Scenario("retried", "every backup fails first and succeeds on retry in the same window", _always(_RETRIED)),
    Scenario("overdue", "the last run has the status OVERDUE", _from(0, OVERDUE), opened_ago=5 * HOUR),
    Scenario("missed", "no backup run in the last window", _from(0, MISSED), opened_ago=5 * HOUR),
    Scenario("running", "a backup is running", _running, opened_ago=30 * MINUTE),
    Scenario(
        "running-after-failure",
        "the last backup failed, and the next one is running",
        lambda window: failing("INTERNAL_ERROR") if window == -1 else _running(window),
        opened_ago=30 * MINUTE,
    ),
    Scenario("stuck", "a backup has been running for more than seven hours", _from(0, _STUCK)),
    Scenario("slow", "the last backup took seven hours", _from(0, _SLOW), opened_ago=9 * HOUR),
    Scenario("stale", "no backup run in the last two windows", _from(-1, MISSED), opened_ago=6 * HOUR),
    Scenario("abandoned", "no backup run for a week", _from(-6, MISSED)),
    Scenario("never", "created ten days ago and never backed up", _always(MISSED), created_ago=timedelta(days=10)),
    Scenario("brand-new", "created two hours ago, before its first window", created_ago=2 * HOUR),
    Scenario(
        "created-in-window",
        "created 46 minutes ago within its window, which has no run",
        opened_ago=2 * HOUR,
        created_ago=46 * MINUTE,
    ),
    Scenario("disabled", "automated backups were disabled", _from(-3, MISSED), backups=_NO_AUTOMATION),
    Scenario(
        "on-demand-only",
        "automated backups are disabled; on-demand backups exist",
        _always(MISSED),
        unscheduled=(
            Unscheduled(timedelta(hours=20, seconds=52.278)),
            Unscheduled(timedelta(hours=60, seconds=49.861), description="before the migration"),
        ),
        backups=_NO_AUTOMATION,
    ),
    Scenario(
        "unscheduled",
        "no backup run in the last window; a backup was made outside the schedule, when it was stopped for a while",
        _from(0, MISSED),
        opened_ago=5 * HOUR,
        unscheduled=(Unscheduled(timedelta(hours=23, minutes=29, seconds=3.071), "AUTOMATED"),),
    ),
    Scenario(
        "pitr-enabled",
        "point-in-time recovery was enabled an hour ago, which made a backup outside the schedule",
        unscheduled=(
            Unscheduled(
                timedelta(hours=1, seconds=3.071),
                "AUTOMATED",
                description="Backup created automatically during an update operation after enabling point-in-time "
                "recovery",
            ),
        ),
        backups={"pointInTimeRecoveryEnabled": True},
    ),
    Scenario("deleted", "the backups of the last three days were deleted; they are still listed", _deleted),
    Scenario("vanished", "today's backup was deleted; it is no longer listed", _vanished),
    Scenario("stopped", "stopped by its owner", _from(-20, MISSED), settings={"activationPolicy": "NEVER"}),
    Scenario(
        "suspended",
        "suspended because of a billing issue",
        _from(-20, MISSED),
        instance={"state": "SUSPENDED", "suspensionReason": ["BILLING_ISSUE"]},
    ),
    Scenario(
        "key-revoked",
        "suspended because its key was revoked, which makes its successful backups useless",
        _from(1, MISSED),
        instance={
            "state": "SUSPENDED",
            "suspensionReason": ["KMS_KEY_ISSUE"],
            "diskEncryptionConfiguration": {"kind": "sql#diskEncryptionConfiguration", "kmsKeyName": _KEY},
            "diskEncryptionStatus": {
                "kind": "sql#diskEncryptionStatus",
                "kmsKeyVersionName": f"{_KEY}/cryptoKeyVersions/1",
            },
        },
    ),
    Scenario(
        "disk-full",
        "shut down because its disk is full",
        _from(1, MISSED),
        instance={
            "outOfDiskReport": {"sqlOutOfDiskState": "SOFT_SHUTDOWN", "sqlMinRecommendedIncreaseSizeGb": 20},
        },
    ),
    Scenario(
        "deletion-unguarded",
        "its deletion would leave nothing: no deletion protection, retained backups or final backup",
        instance={"databaseVersion": "MYSQL_8_0"},
        settings={"deletionProtectionEnabled": False, "retainBackupsOnDelete": False},
        backups={"binaryLogEnabled": False},
    ),
    Scenario(
        "backups-retained",
        "not protected from deletion, which would retain its backups",
        settings={**_DELETABLE, "retainBackupsOnDelete": True},
    ),
    Scenario(
        "final-backup",
        "not protected from deletion, which would make a final backup",
        settings={**_DELETABLE, **_FINAL_BACKUP},
    ),
    Scenario(
        "deleting",
        "being deleted; its final backup was made",
        _from(1, MISSED),
        instance={"state": "PENDING_DELETE"},
        settings={**_DELETABLE, **_FINAL_BACKUP},
        unscheduled=(Unscheduled(timedelta(minutes=9, seconds=17.4), "FINAL"),),
    ),
    Scenario(
        "creating",
        "being created",
        _always(MISSED),
        created_ago=5 * MINUTE,
        instance={"state": "PENDING_CREATE"},
    ),
    Scenario(
        "replica",
        "a read replica: its primary is backed up",
        _always(MISSED),
        instance={"instanceType": "READ_REPLICA_INSTANCE", "masterInstanceName": "healthy"},
        backups=_NO_AUTOMATION,
    ),
    Scenario(
        "read-pool",
        "a read pool: its primary is backed up",
        _always(MISSED),
        instance={"instanceType": "READ_POOL_INSTANCE", "masterInstanceName": "healthy"},
        backups=_NO_AUTOMATION,
    ),
    Scenario(
        "external",
        "an external server, the source of a replica",
        _always(MISSED),
        instance={"instanceType": "ON_PREMISES_INSTANCE", "backendType": "EXTERNAL"},
        backups=_NO_AUTOMATION,
    ),
    Scenario(
        "green",
        "the green instance of a blue-green deployment",
        _always(MISSED),
        instance={"instanceType": "GREEN_INSTANCE"},
        backups=_NO_AUTOMATION,
    ),
    _enhanced("enhanced", "backed up every day by a backup plan, in Backup and DR", Association(_DAILY_AND_MONTHLY)),
    _enhanced(
        "enhanced-failing",
        "one rule of its backup plan has failed for three days",
        Association(
            {**_DAILY_AND_MONTHLY, "daily": _from(-2, failing("INTERNAL_ERROR"))},
            spelling="projects/123456789012/locations/{region}/instances/{instance}",
            resource_type="sql.googleapis.com/Instance",
        ),
    ),
    _enhanced(
        "enhanced-denied",
        "the vault may not read the instance since today",
        Association({"daily": _from(0, failing(PERMISSION_DENIED))}),
    ),
    _enhanced(
        "enhanced-new",
        "created two hours ago, and associated with a backup plan that has made no backup yet",
        Association(state="CREATING", fields={"dataSource": None}),
        created_ago=2 * HOUR,
    ),
    _enhanced("enhanced-never", "its backup plan has never made a backup", Association({"daily": _always(MISSED)})),
    _enhanced("enhanced-paused", "its backup plan was paused", Association({"daily": _from(-1, MISSED)}, "PAUSED")),
    _enhanced("enhanced-unplanned", "the enhanced tier, without a backup plan"),
    _enhanced(
        "enhanced-reused",
        "created ten days ago with the name of an instance whose association with a backup plan still exists",
        Association(instance_created_ago=timedelta(days=300)),
        created_ago=timedelta(days=10),
    ),
    Scenario(
        "high-availability",
        "regional, backed up every day, with point-in-time recovery",
        instance={"region": "europe-west4", "outOfDiskReport": {"sqlOutOfDiskState": "NORMAL"}},
        settings={"availabilityType": "REGIONAL", "edition": "ENTERPRISE_PLUS"},
        backups={"pointInTimeRecoveryEnabled": True, "backupRetentionSettings": {"retainedBackups": 15}},
    ),
)

SCENARIOS: Mapping[str, Scenario] = MappingProxyType({scenario.name: scenario for scenario in ALL})


def instance_resource(scenario: Scenario, project: str, name: str, created: str, start_time: str) -> Resource:
    """Return the API resource of an instance."""
    backups: Resource = {
        "kind": "sql#backupConfiguration",
        "enabled": True,
        "startTime": start_time,
        "location": "eu",
        "backupTier": "STANDARD",
        "transactionLogRetentionDays": 7,
        "backupRetentionSettings": {"retentionUnit": "COUNT", "retainedBackups": 7},
    }
    settings: Resource = {
        "kind": "sql#settings",
        "activationPolicy": "ALWAYS",
        "edition": "ENTERPRISE",
        "availabilityType": "ZONAL",
        "tier": "db-custom-2-8192",
        "userLabels": {"env": "prod", "team": "storefront"},
        "deletionProtectionEnabled": True,
        "backupConfiguration": backups | dict(scenario.backups),
    }
    overridden = settings | dict(scenario.settings)
    return {
        "kind": "sql#instance",
        "name": name,
        "project": project,
        "region": "europe-west1",
        "state": "RUNNABLE",
        "instanceType": "CLOUD_SQL_INSTANCE",
        "backendType": "SECOND_GEN",
        "databaseVersion": "POSTGRES_16",
        "createTime": created,
        **scenario.instance,
        "settings": {field: value for field, value in overridden.items() if value is not None},
    }
