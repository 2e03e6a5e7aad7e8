"""Optional facts about a project, beside its instances and backup runs. Immutable.

Each collection is read by requests of its own and fails by itself; a failed one keeps the facts of its last success.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from exporter.facts.backup_plans import InstancePlan, InstancePlans
from exporter.facts.deleted_instances import DeletedInstance
from exporter.facts.recovery_times import RecoveryTimes


class Collection(StrEnum):
    """Optional facts that `collect` in the configuration switches on, by the name of its key."""

    RECOVERY_TIMES = "recovery_times"
    DELETED_INSTANCES = "deleted_instances"
    BACKUP_DR = "backup_dr"


@dataclass(frozen=True, slots=True)
class CollectionStatus:
    """Outcome of the last round of one collection."""

    up: bool
    message: str = ""  # why it failed and what to do; empty after a success
    missing_permission: str | None = None  # the IAM permission for lack of which it failed
    resource: str = ""  # the project in which that is missing, if it is another one


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """The collected facts about one instance; None where they are not collected, or were never read.

    `settings_changed` is when the settings on which its recovery window depends were last seen to change, None if they
    were not since they are watched.
    """

    recovery_times: RecoveryTimes | None = None
    settings_changed: datetime | None = None
    plan: InstancePlan | None = None


@dataclass(frozen=True, slots=True)
class Collected:
    """The collected facts about one project, those about instances by name. `status` is not saved."""

    status: Mapping[Collection, CollectionStatus] = field(default_factory=dict, compare=False)
    recovery_times: Mapping[str, RecoveryTimes] = field(default_factory=dict)
    settings_changed: Mapping[str, datetime] = field(default_factory=dict)
    deleted_instances: tuple[DeletedInstance, ...] = ()
    plans: InstancePlans | None = None

    @property
    def plans_behind(self) -> bool:
        """Whether the last round did not read the backup plan of some instance."""
        last_round = self.status.get(Collection.BACKUP_DR)
        return bool((self.plans and self.plans.carried_over) or (last_round and not last_round.up))

    def of(self, instance_name: str) -> InstanceFacts:
        """The facts about an instance."""
        times, changed = self.recovery_times.get(instance_name), self.settings_changed.get(instance_name)
        plan = self.plans.by_instance.get(instance_name) if self.plans else None
        return InstanceFacts(times, changed, plan) if times or changed or plan else NOTHING

    def with_status(self, collection: Collection, status: CollectionStatus | None) -> "Collected":
        """The same facts after another round of a collection; without a status if it has nothing to read."""
        others = {known: outcome for known, outcome in self.status.items() if known is not collection}
        return replace(self, status={**others, collection: status} if status else others)

    def only(self, collections: Set[Collection]) -> "Collected":
        """The facts and the status of these collections; the others have been switched off."""
        recovery_times = Collection.RECOVERY_TIMES in collections
        return replace(
            self,
            status={collection: status for collection, status in self.status.items() if collection in collections},
            recovery_times=self.recovery_times if recovery_times else {},
            settings_changed=self.settings_changed if recovery_times else {},
            deleted_instances=self.deleted_instances if Collection.DELETED_INSTANCES in collections else (),
            plans=self.plans if Collection.BACKUP_DR in collections else None,
        )


NOTHING = InstanceFacts()
