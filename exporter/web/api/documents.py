"""The documents of the JSON API. The OpenAPI document describes them as they are declared here.

A number carries its unit in its name, as metrics do. Times are RFC 3339 text in UTC.
"""

from datetime import date, datetime
from typing import Annotated

from msgspec import Meta, Struct

from exporter.facts.backup_plans import RuleStatus
from exporter.facts.collected import Collection
from exporter.facts.deleted_instances import LastExpiry
from exporter.facts.model import BackupType, PollResult, RunStatus
from exporter.facts.snapshot import DiscoveryMethod, ProjectState
from exporter.verdict.rules import Exemption, Finding, Protection


def _text(description: str) -> Meta:
    return Meta(description=description)


def _words(description: str, words: type[RunStatus | BackupType]) -> Meta:
    return Meta(description=description, extra_json_schema={"enum": [word.lower() for word in words]})


State = Annotated[Protection, _text("State of the protection")]
Status = Annotated[str, _words("Status of a backup run; `vanished`: a backup that is no longer listed", RunStatus)]
Type = Annotated[str, _words("Backup type", BackupType)]
_RULE_STATUSES = [word.lower() for word in RuleStatus]
NonNegative = Annotated[float, Meta(ge=0)]
Seconds = NonNegative
Bytes = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0)]


class CollectionStatus(Struct, frozen=True):
    """An optional collection of a project."""

    what: Annotated[Collection, _text("Its key in `collect` of the configuration")]
    up: Annotated[bool, _text("Its last round succeeded")]
    message: Annotated[str, _text("Why its last round failed, and what to do; empty after a success")]
    missing_permission: Annotated[str | None, _text("The IAM permission that its last round lacked")]


class Project(Struct, frozen=True):
    """The polls of a project."""

    project: str
    up: Annotated[bool, _text("The last poll succeeded")]
    state: Annotated[
        ProjectState | None,
        _text(
            "read; empty: without instances; api_disabled: found by a search, and the API is off, which is no failure; "
            "or failing. null before the first poll"
        ),
    ]
    result: Annotated[PollResult | None, _text("Result of the last poll; null before the first")]
    message: Annotated[str, _text("Why the last poll failed, and what to do; empty after a success")]
    missing_permission: Annotated[str | None, _text("The IAM permission that the last poll lacked")]
    last_success: Annotated[datetime | None, _text("When the project was last read")]
    unreachable_regions: Annotated[list[str], _text("Regions that the API could not reach")]
    collections: Annotated[list[CollectionStatus], _text("The optional collections that are switched on")]


class Search(Struct, frozen=True):
    """A search for projects."""

    query: str
    up: Annotated[bool | None, _text("The last search succeeded; null before the first")]
    message: Annotated[str, _text("Why the last search failed, and what to do; empty after a success")]
    missing_permission: Annotated[str | None, _text("The IAM permission that the last search lacked")]
    method: Annotated[
        DiscoveryMethod | None, _text("How the projects are found; null before the first successful search")
    ]
    projects: Annotated[list[str], _text("The projects found; after a failed search, also those known from before")]


class Instance(Struct, frozen=True):
    """The verdict on an instance."""

    project: str
    instance_id: str
    state: State
    findings: Annotated[list[Finding], _text("Problems, the worst first")]
    exempt: Annotated[Exemption | None, _text("Why no automated backup is expected; null where one is")]
    reasons: Annotated[list[str], _text("The reasons for the state in words; empty for a protected instance")]
    recovery_point: Annotated[datetime | None, _text("The time up to which a restore loses nothing")]
    recovery_point_age_seconds: Annotated[Seconds | None, _text("Time since then: what a restore now would lose")]
    policy_max_age_seconds: Annotated[Seconds, _text("Age of the recovery point beyond which it is `stale`")]
    policy_critical_age_seconds: Annotated[Seconds, _text("Age beyond which it is `stale_critical`")]
    next_due: Annotated[datetime | None, _text("When the next automated run must have begun")]
    last_success: Annotated[datetime | None, _text("When the newest successful run ended")]
    last_success_duration_seconds: Annotated[Seconds | None, _text("End minus start of that run")]
    last_success_size_bytes: Annotated[Bytes | None, _text("Chargeable size of that run")]
    last_runs: Annotated[dict[str, Status], _text("Status of the newest run of each backup type")]
    labels: Annotated[dict[str, str], _text("User labels")]
    read_at: Annotated[datetime, _text("When the facts about the instance were read")]


class StatusDocument(Struct, frozen=True):
    """The selected instances, worst first unless `sort` says otherwise, and the polls that they rest on."""

    now: Annotated[datetime, _text("The time of the verdicts")]
    totals: Annotated[dict[str, Count], _text("The number of instances in each state, whether selected or not")]
    selected: Annotated[Count, _text("The number of selected instances; `limit` may leave some of them out")]
    projects: list[Project]
    searches: list[Search]
    instances: list[Instance]


class Policy(Struct, frozen=True):
    """The policy that applies to an instance."""

    number: Annotated[int | None, _text("Position in `policies`, from 1; null for the default policy")]
    expected: str
    max_age_seconds: Seconds
    critical_age_seconds: Seconds
    max_duration_seconds: Seconds
    grace_seconds: Seconds
    require_pitr: bool
    max_pitr_lag_seconds: Seconds
    require_deletion_guard: bool
    min_retained: int | None
    allowed_locations: list[str] | None


class Configuration(Struct, frozen=True):
    """The configuration of an instance; null where the API does not say."""

    instance_type: str
    instance_state: str
    activation_policy: str
    region: str | None
    database_version: str | None
    edition: str
    availability_type: str
    created: datetime | None
    suspension_reasons: list[str]
    disk_full: Annotated[bool, _text("Shut down because its disk is full")]
    backups_enabled: bool | None
    backup_tier: str
    backup_location: str | None
    window_start_seconds: Annotated[Seconds | None, _text("Start of the daily backup window after 00:00 UTC")]
    retention_backups: int | None
    transaction_log_retention_seconds: Seconds | None
    pitr_enabled: Annotated[bool | None, _text("Point-in-time recovery is on")]
    deletion_protection_enabled: bool | None
    retain_backups_on_delete: bool | None
    final_backup_enabled: bool | None


class RecoveryTimes(Struct, frozen=True):
    """What point-in-time recovery can restore to, as last read; null where the API does not say."""

    earliest: datetime | None
    latest: datetime | None
    read_at: Annotated[datetime, _text("When they were read")]
    lag_seconds: Annotated[Seconds | None, _text("How far the latest recovery time was behind then")]


class Backups(Struct, frozen=True):
    """The backups of one type, and its counters."""

    retained: Annotated[Count, _text("Backups that can be restored now")]
    retained_size_bytes: Annotated[Bytes | None, _text("Sum of their sizes; null unless each is known")]
    oldest_retained: Annotated[datetime | None, _text("When the oldest of them ended")]
    usual_duration_seconds: Annotated[
        Seconds | None, _text("Median of the successful runs before the newest one, at most 14; null below 7")
    ]
    usual_size_bytes: Annotated[NonNegative | None, _text("Likewise, of those that report a size")]
    consecutive_failures: Annotated[Count, _text("Failed runs since the last successful or skipped one")]
    runs_total: Annotated[dict[str, Count], _text("Completed runs since the instance was first seen, by status")]
    errors_total: Annotated[dict[str, Count], _text("Failed runs since then, by error code")]
    run_duration_seconds_sum: Annotated[Seconds, _text("Total duration of the successful runs since then")]
    run_duration_seconds_count: Annotated[Count, _text("Their number")]


class RunError(Struct, frozen=True):
    """The error of a failed run, as the API gives it."""

    code: str
    message: str


class Run(Struct, frozen=True):
    """A backup run; null where the API does not say."""

    id: str
    backup_type: Type
    status: Status
    window_start: datetime | None
    enqueued: datetime | None
    start: datetime | None
    end: datetime | None
    queue_seconds: Annotated[Seconds | None, _text("Start minus enqueued")]
    delay_seconds: Annotated[Seconds | None, _text("Start minus window start")]
    duration_seconds: Annotated[Seconds | None, _text("End minus start")]
    size_bytes: Annotated[Bytes | None, _text("Chargeable size")]
    location: str | None
    error: RunError | None


class PlanRule(Struct, frozen=True):
    """A rule of a backup plan; null where the API does not say."""

    rule: str
    status: Annotated[str, Meta(description="State of its last backup", extra_json_schema={"enum": _RULE_STATUSES})]
    last_success: Annotated[datetime | None, _text("Consistency time of its newest backup")]
    retention_seconds: Annotated[Seconds | None, _text("How long the plan keeps its backups")]
    failures_total: Annotated[Count, _text("Changes of its state to a failed one since the instance was first seen")]
    error: Annotated[RunError | None, _text("Why its last backup failed")]


class Plan(Struct, frozen=True):
    """The backup plan of an instance of the enhanced tier, in Backup and DR. Names are resource names."""

    plan: Annotated[str | None, _text("null if no plan is associated with the instance")]
    vault: str | None
    state: Annotated[str | None, _text("State of the association with the plan")]
    rules: list[PlanRule]
    read_at: Annotated[datetime | None, _text("When it was last read; null before the first time")]


class Day(Struct, frozen=True):
    """A day (UTC) of the daily record, as in `report`."""

    day: date
    state: Annotated[Protection, _text("The worst state of the day")]
    observed_share: Annotated[float, Meta(description="The share of the day that was observed", ge=0, le=1)]
    due: Annotated[int, _text("The number of backup windows that closed")]
    outcome: Annotated[str, _text("The worst status of the day's runs; `none` without a run")]
    worst_age_seconds: Annotated[Seconds | None, _text("The largest age of the recovery point")]
    within_policy: Annotated[bool | None, _text("The recovery point met the policy all day; null while exempt")]


class StateChange(Struct, frozen=True):
    """A change of the state."""

    at: datetime
    state: State


class InstanceDocument(Instance, frozen=True):
    """An instance in detail."""

    now: Annotated[datetime, _text("The time of the verdict")]
    since: Annotated[datetime | None, _text("When the state began; null where the facts do not tell")]
    next_change: Annotated[StateChange | None, _text("The next change without a new run; null if there is none")]
    recovery_point_source: Annotated[str | None, _text("What the recovery point rests on")]
    recovery_times: Annotated[RecoveryTimes | None, _text("Null unless known, with `collect.recovery_times`")]
    policy: Policy
    configuration: Configuration
    first_seen: Annotated[datetime, _text("When counting began")]
    backups: Annotated[dict[str, Backups], _text("By backup type")]
    runs: Annotated[list[Run], _text("Newest first")]
    plan: Annotated[Plan | None, _text("null unless the instance is judged by its backup plan")]
    days: Annotated[list[Day], _text("Oldest first; days without any observation are left out")]


class DeletedInstance(Struct, frozen=True):
    """A deleted instance of which backups are left; name and time of deletion identify it in its project."""

    project: str
    instance_id: str
    deleted: Annotated[datetime, _text("When it was deleted")]
    retained: Annotated[Count, _text("Backups that can be restored")]
    retained_size_bytes: Annotated[Bytes | None, _text("Sum of their sizes; null unless each is known")]
    newest_backup: Annotated[datetime | None, _text("When the newest of them started: what a restore returns to")]
    newest_backup_name: Annotated[str | None, _text("The resource name of that backup")]
    newest_backup_type: Annotated[Type | None, _text("The type of that backup")]
    last_expiry: Annotated[datetime | None, _text("When the last of them expires; null if never or not known")]
    last_expiry_status: Annotated[LastExpiry | None, _text("How that is known; null where none can be restored")]
    labels: Annotated[dict[str, str], _text("User labels that its backups recorded")]
    read_at: Annotated[datetime, _text("When its backups were read")]


class DeletedInstancesDocument(Struct, frozen=True):
    """The deleted instances of the selected projects, by project, name and time of deletion."""

    now: datetime
    collected: Annotated[bool, _text("`collect.deleted_instances` is on; else nothing is known of deleted instances")]
    instances: list[DeletedInstance]


class ErrorDocument(Struct, frozen=True):
    """Why there is no answer."""

    error: str
