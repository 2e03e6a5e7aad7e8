"""Named stories of single instances. Window 0 opened last before the world began; 1 is the next, -1 the one before."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType

from exporter.simulator.timeline import HEALTHY, MISSED, OVERDUE, SKIPPED, Attempt, Resource, Run, failing

Outcome = Callable[[int], Run]

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def _always(run: Run) -> Outcome:
    return lambda _window: run


def _from(first: int, then: Run, before: Run = HEALTHY) -> Outcome:
    return lambda window: then if window >= first else before


@dataclass(frozen=True)
class Scenario:
    """An instance and what becomes of its backups.

    `opened_ago` places the daily window: how long ago it had opened when the world began. `instance`, `settings`
    and `backups` are laid over the resource of an ordinary instance. `on_demand` are runs asked for by hand, by how
    long before the world began; negative: after it.
    """

    name: str
    description: str
    windows: Outcome = field(default=_always(HEALTHY))
    opened_ago: timedelta = 8 * HOUR
    created_ago: timedelta = timedelta(days=400)
    on_demand: Mapping[timedelta, Run] = field(default_factory=dict)
    instance: Mapping[str, object] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    backups: Mapping[str, object] = field(default_factory=dict)


def _flapping(window: int) -> Run:
    """Fails on every third day, and recovers."""
    return failing("INTERNAL_ERROR") if window % 3 == 1 else HEALTHY


def _idle(window: int) -> Run:
    return HEALTHY if window <= -6 else SKIPPED


def _running(_window: int) -> Run:
    return Run((Attempt(after=10 * MINUTE, takes=90 * MINUTE),))


_RETRIED = Run((Attempt(takes=3 * MINUTE, error="INTERNAL_ERROR"), Attempt(after=90 * MINUTE)))
_STUCK = Run((Attempt(takes=None),))
_SLOW = Run((Attempt(takes=7 * HOUR, gigabytes=900),))
_NO_AUTOMATION: Mapping[str, object] = MappingProxyType({"enabled": False})

ALL = (
    Scenario("healthy", "backed up every day"),
    Scenario("idle", "no new data for six days: every run is SKIPPED, which is no problem", _idle),
    Scenario("failing", "has failed for three days", _from(-2, failing("DISK_SNAPSHOT_FAILED"))),
    Scenario("failing-uncoded", "failed last night, without an error code", _from(0, failing(""))),
    Scenario("flapping", "fails on every third day and recovers", _flapping),
    Scenario("retried", "fails at first every night and succeeds within the same window", _always(_RETRIED)),
    Scenario("overdue", "the API calls the last run OVERDUE", _from(0, OVERDUE), opened_ago=5 * HOUR),
    Scenario("missed", "the last window passed without a trace", _from(0, MISSED), opened_ago=5 * HOUR),
    Scenario("running", "is being backed up right now", _running, opened_ago=30 * MINUTE),
    Scenario(
        "running-after-failure",
        "failed last night and is being backed up again right now",
        lambda window: failing("INTERNAL_ERROR") if window == -1 else _running(window),
        opened_ago=30 * MINUTE,
    ),
    Scenario("stuck", "a backup has been running for seven hours and more", _from(0, _STUCK)),
    Scenario("slow", "the last backup took seven hours", _from(0, _SLOW), opened_ago=9 * HOUR),
    Scenario("stale", "no trace of a backup for two windows", _from(-1, MISSED), opened_ago=6 * HOUR),
    Scenario("abandoned", "no trace of a backup for a week", _from(-6, MISSED)),
    Scenario("never", "ten days old and never backed up", _always(MISSED), created_ago=timedelta(days=10)),
    Scenario("brand-new", "created two hours ago; its first window is still to come", created_ago=2 * HOUR),
    Scenario("disabled", "automated backups were switched off", _from(-3, MISSED), backups=_NO_AUTOMATION),
    Scenario(
        "on-demand-only",
        "automated backups are off; somebody makes one by hand now and then",
        _always(MISSED),
        on_demand={20 * HOUR: Run((Attempt(after=timedelta()),)), 60 * HOUR: Run((Attempt(after=timedelta()),))},
        backups=_NO_AUTOMATION,
    ),
    Scenario(
        "deleted",
        "the backups of the last three days were deleted",
        _from(-2, replace(HEALTHY, deleted_after=2 * HOUR)),
    ),
    Scenario("stopped", "stopped by its owner", _from(-20, MISSED), settings={"activationPolicy": "NEVER"}),
    Scenario(
        "suspended",
        "suspended for want of payment",
        _from(-20, MISSED),
        instance={"state": "SUSPENDED", "suspensionReason": ["BILLING_ISSUE"]},
    ),
    Scenario(
        "creating",
        "is being created right now",
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
        "a server outside, known as the source of a replica",
        _always(MISSED),
        instance={"instanceType": "ON_PREMISES_INSTANCE", "backendType": "EXTERNAL"},
        backups=_NO_AUTOMATION,
    ),
    Scenario(
        "green",
        "the green side of a blue-green deployment",
        _always(MISSED),
        instance={"instanceType": "GREEN_INSTANCE"},
        backups=_NO_AUTOMATION,
    ),
    Scenario(
        "enhanced",
        "its backups are kept by Backup and DR",
        _always(MISSED),
        backups={"backupTier": "ENHANCED"},
    ),
    Scenario(
        "high-availability",
        "backed up every day, regional, point-in-time recovery on",
        instance={"region": "europe-west4"},
        settings={"availabilityType": "REGIONAL", "edition": "ENTERPRISE_PLUS"},
        backups={"pointInTimeRecoveryEnabled": True, "backupRetentionSettings": {"retainedBackups": 15}},
    ),
)

SCENARIOS: Mapping[str, Scenario] = MappingProxyType({scenario.name: scenario for scenario in ALL})


def instance_resource(scenario: Scenario, project: str, name: str, created: str, opens: str) -> Resource:
    """The instance as `instances.list` shows it."""
    backups: Resource = {
        "kind": "sql#backupConfiguration",
        "enabled": True,
        "startTime": opens,
        "location": "eu",
        "backupTier": "STANDARD",
        "pointInTimeRecoveryEnabled": False,
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
        "backupConfiguration": backups | dict(scenario.backups),
    }
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
        "settings": settings | dict(scenario.settings),
    }
