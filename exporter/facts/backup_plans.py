"""Backup plans of instances of the enhanced tier, as the Backup and DR API states them. Pure; immutable.

Field meanings: Google's discovery document of backupdr v1, schemas `BackupPlanAssociation` and `BackupPlan`. The API
tells the state of the last backup of each rule, but not when it was attempted: failures are counted as changes of that
state.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from exporter.facts.model import LenientEnum

MAX_RULES = 50  # more rules, current and former ones, are not remembered


class RuleStatus(LenientEnum):
    """`RuleConfigInfo.lastBackupState`."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    FIRST_BACKUP_PENDING = "FIRST_BACKUP_PENDING"
    UNKNOWN = "unknown"

    @property
    def failed(self) -> bool:
        """The last backup failed, or was denied."""
        return self in (RuleStatus.FAILED, RuleStatus.PERMISSION_DENIED)


class AssociationState(LenientEnum):
    """`BackupPlanAssociation.state`."""

    CREATING = "CREATING"
    ACTIVE = "ACTIVE"
    UPDATING = "UPDATING"
    PAUSED = "PAUSED"
    INACTIVE = "INACTIVE"
    DELETING = "DELETING"
    UNKNOWN = "unknown"

    @property
    def protects(self) -> bool:
        """Backups are made, or about to be."""
        return self in (AssociationState.ACTIVE, AssociationState.CREATING, AssociationState.UPDATING)


@dataclass(frozen=True, slots=True)
class RuleError:
    """Error of the last backup of a rule: the name of its code in google.rpc.Code, or its number, and a message."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class PlanRule:
    """A rule of a backup plan, applied to one instance.

    `last_success` is the consistency time of its newest backup: all data up to then is in it. `retention` is how long
    the plan keeps it; None where the plan could not be read.
    """

    id: str
    status: RuleStatus = RuleStatus.UNKNOWN
    last_success: datetime | None = None
    error: RuleError | None = None
    retention: timedelta | None = None


@dataclass(frozen=True, slots=True)
class BackupPlan:
    """A backup plan: its vault, and how long the backups of each rule are kept. Names are resource names."""

    name: str
    vault: str = ""
    retention: Mapping[str, timedelta] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlanAssociation:
    """The association of an instance with a backup plan. Names are resource names, empty where they are not known."""

    name: str
    plan: str
    vault: str = ""
    state: AssociationState = AssociationState.UNKNOWN
    rules: tuple[PlanRule, ...] = ()

    def with_plan(self, plan: BackupPlan) -> "PlanAssociation":
        """With what the plan adds to it."""
        rules = tuple(replace(rule, retention=plan.retention.get(rule.id)) for rule in self.rules)
        return replace(self, vault=self.vault or plan.vault, rules=rules)


@dataclass(frozen=True, slots=True)
class InstancePlan:
    """The backup plan of one instance, and the failures of its rules since the instance was first seen.

    `association` is None if the instance has none. `failures` are the changes of each rule's state to a failed one.
    `last_known` is the last state of each rule that was not unknown. `read` is false where nothing could be read yet.
    """

    instance_created: datetime | None = None
    association: PlanAssociation | None = None
    failures: Mapping[str, int] = field(default_factory=dict)
    last_known: Mapping[str, RuleStatus] = field(default_factory=dict)
    read: bool = True

    @property
    def rules(self) -> tuple[PlanRule, ...]:
        """The rules that apply to the instance."""
        return self.association.rules if self.association else ()

    @property
    def protects(self) -> bool:
        """Whether the instance has a plan that makes backups."""
        return self.association is not None and self.association.state.protects

    @property
    def recovery_point(self) -> datetime | None:
        """The newest consistency time of any rule; None while there is no backup."""
        return max((rule.last_success for rule in self.rules if rule.last_success), default=None)

    @property
    def failed_rules(self) -> tuple[PlanRule, ...]:
        """The rules whose last backup failed, or was denied."""
        return tuple(rule for rule in self.rules if rule.status.failed)

    def updated(self, instance_created: datetime | None, association: PlanAssociation | None) -> "InstancePlan":
        """The plan after another reading; the same object where nothing changed.

        An instance that was created at another time is another instance of the same name: nothing of it is known yet.
        """
        created = instance_created or self.instance_created
        before = self if created == self.instance_created or not self.instance_created else InstancePlan(created)
        rules = association.rules if association else ()
        failures, last_known = dict(before.failures), dict(before.last_known)
        for rule in rules:
            failures.setdefault(rule.id, 0)
            if rule.status is RuleStatus.UNKNOWN:
                continue
            if rule.status.failed and last_known.get(rule.id, rule.status) is not rule.status:
                failures[rule.id] += 1
            last_known[rule.id] = rule.status
        if len(failures) > MAX_RULES:
            current = {rule.id for rule in rules}
            failures = {rule: count for rule, count in failures.items() if rule in current}
            last_known = {rule: status for rule, status in last_known.items() if rule in current}
        after = InstancePlan(created, association, failures, last_known)
        return self if after == self else after


UNREAD = InstancePlan(read=False)


@dataclass(frozen=True, slots=True)
class InstancePlans:
    """The backup plans of a project's instances, by name.

    `carried_over` are those that could not be read this time, with the time at which they last were.
    """

    read_at: datetime
    by_instance: Mapping[str, InstancePlan] = field(default_factory=dict)
    unreachable_regions: tuple[str, ...] = ()
    carried_over: Mapping[str, datetime] = field(default_factory=dict)

    def facts_read_at(self, instance_name: str) -> datetime | None:
        """When the plan of an instance was read; None if it never was."""
        if instance_name not in self.by_instance:
            return None
        return self.carried_over.get(instance_name, self.read_at)


def last_segment(resource_name: str) -> str:
    """The last segment of a resource name, such as `gold` of projects/P/locations/L/backupPlans/gold."""
    return resource_name.rstrip("/").rpartition("/")[2]


def merged(rules: Iterable[PlanRule]) -> tuple[PlanRule, ...]:
    """The rules by id, in order. Of two with the same id, the failed one counts, with the newest backup of both."""
    by_id: dict[str, PlanRule] = {}
    for rule in rules:
        known = by_id.setdefault(rule.id, rule)
        if known is not rule:
            worse = rule if rule.status.failed else known
            times = [time for time in (known.last_success, rule.last_success) if time]
            by_id[rule.id] = replace(worse, last_success=max(times, default=None))
    return tuple(by_id.values())[:MAX_RULES]
