"""Backup plans of the enhanced tier: their resources and those of their associations in the Backup and DR API.

Written from Google's discovery document of backupdr v1. A rule backs an instance up once a day, in the backup window of
its scenario, so that its state follows from runs as in the timeline.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from exporter.simulator.timeline import HEALTHY, Resource, Run, completions, timestamp

PERMISSION_DENIED = "PERMISSION_DENIED"  # the error code of a run to which access was denied
_RPC_CODES = {PERMISSION_DENIED: 7}
_INTERNAL = 13
_LISTED_WINDOWS = 60  # before those, no backup is looked for


@dataclass(frozen=True)
class Plan:
    """A backup plan. `rules` are the days for which each rule keeps its backups."""

    project: str = "vaults"
    region: str = "europe-west1"
    id: str = "gold"
    vault: str = "eu"
    rules: Mapping[str, int] = field(default_factory=lambda: {"daily": 35, "monthly": 365})

    @property
    def name(self) -> str:
        """The resource name."""
        return f"projects/{self.project}/locations/{self.region}/backupPlans/{self.id}"

    @property
    def vault_name(self) -> str:
        """The resource name of the vault."""
        return f"projects/{self.project}/locations/{self.region}/backupVaults/{self.vault}"

    def resource(self) -> Resource:
        """Return the item of `backupPlans.list`."""
        return {
            "name": self.name,
            "resourceType": "sqladmin.googleapis.com/Instance",
            "state": "ACTIVE",
            "backupVault": self.vault_name,
            "logRetentionDays": "7",
            "backupRules": [
                {
                    "ruleId": rule,
                    "backupRetentionDays": days,
                    "standardSchedule": {
                        "recurrenceType": "DAILY",
                        "timeZone": "UTC",
                        "backupWindow": {"startHourOfDay": 4, "endHourOfDay": 10},
                    },
                }
                for rule, days in self.rules.items()
            ],
        }


GOLD = Plan()
RunOfWindow = Callable[[int], Run]
Completed = tuple[str, str | None, datetime, datetime]  # state, error, end and consistency time of an attempt


@dataclass(frozen=True)
class Association:
    """The association of an instance with a plan.

    `rules`: the run of each window, by rule. `spelling` is the form of the name of the instance, of which Google's
    documents show several. `instance_created_ago`: from the creation of the instance that it was made for to the start
    of the world, if that was an earlier one of the same name. `fields` override fields of the resource; a field that is
    None is absent.
    """

    rules: Mapping[str, RunOfWindow] = field(default_factory=lambda: {"daily": lambda _window: HEALTHY})
    state: str = "ACTIVE"
    plan: Plan = GOLD
    spelling: str = "projects/{project}/instances/{instance}"
    resource_type: str = "sqladmin.googleapis.com/Instance"
    instance_created_ago: timedelta | None = None
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class AssociatedInstance:
    """The instance of an association. Its backup windows open once a day; `latest_window` is the last that opened."""

    project: str
    name: str
    region: str
    created: datetime
    window_start: Callable[[int], datetime]
    latest_window: int


def association_resource(
    association: Association, instance: AssociatedInstance, number: int, now: datetime
) -> Resource:
    """Return the item of `backupPlanAssociations.list`; `number` tells those of one instance apart."""
    plan, created = association.plan, instance.created
    identifier = f"{instance.name}-{number}" if number else instance.name
    resource: Resource = {
        "name": f"projects/{instance.project}/locations/{instance.region}/backupPlanAssociations/{identifier}",
        "resource": association.spelling.format(
            project=instance.project, instance=instance.name, region=instance.region
        ),
        "resourceType": association.resource_type,
        "backupPlan": plan.name,
        "backupPlanRevisionId": "v1",
        "state": association.state,
        "dataSource": f"{plan.vault_name}/dataSources/{instance.project}-{instance.name}",
        "createTime": timestamp(created),
        "rulesConfigInfo": [
            _rule(rule, list(_completed(runs, instance, now))) for rule, runs in association.rules.items()
        ],
        "cloudSqlInstanceBackupPlanAssociationProperties": {"instanceCreateTime": timestamp(created)},
        **association.fields,
    }
    return {key: value for key, value in resource.items() if value is not None}


def failures(runs: RunOfWindow, instance: AssociatedInstance, after: datetime, until: datetime) -> int:
    """Return how often the state of a rule changes to a failed one in a period, as the expected value for tests."""
    count, before = 0, None
    for state, _, completed, _ in _completed(runs, instance, until):
        failed = state in ("FAILED", PERMISSION_DENIED) and state != before
        count += failed and completed > after
        before = state
    return count


def _rule(rule: str, completed: Sequence[Completed]) -> Resource:
    """Return the state of a rule, by its completed backups."""
    if not completed:
        return {"ruleId": rule, "lastBackupState": "FIRST_BACKUP_PENDING"}
    state, error, *_ = completed[-1]
    info: Resource = {"ruleId": rule, "lastBackupState": state}
    if error is not None:
        message = f"The backup failed with {error or 'an error'}."
        info["lastBackupError"] = {"code": _RPC_CODES.get(error, _INTERNAL), "message": message}
    times = [consistent for word, *_, consistent in completed if word == "SUCCEEDED"]
    if times:
        info["lastSuccessfulBackupConsistencyTime"] = timestamp(times[-1])
    return info


def _completed(runs: RunOfWindow, instance: AssociatedInstance, now: datetime) -> Iterator[Completed]:
    """Every attempt that is completed, oldest first."""
    latest = instance.latest_window
    for window in range(latest - _LISTED_WINDOWS, latest + 1):
        opening = instance.window_start(window)
        if opening < instance.created:  # the window in which an instance is created has no run
            continue
        run = runs(window)
        for attempt, (completed, status) in zip(run.attempts, completions(run, opening), strict=False):
            if completed <= now:
                state = "SUCCEEDED" if status == "SUCCESSFUL" else "FAILED"
                state = PERMISSION_DENIED if attempt.error == PERMISSION_DENIED else state
                yield state, attempt.error, completed, opening + attempt.after + attempt.queue
