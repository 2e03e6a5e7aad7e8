"""Optional facts about a project, beside its instances and backup runs. Immutable.

Each collection is read by requests of its own and fails by itself; a failed one keeps the facts of its last success.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from enum import StrEnum

from exporter.facts.backup_plans import InstancePlan, InstancePlans
from exporter.facts.deleted_instances import DeletedInstance


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
    """The collected facts about one instance; None where they are not collected, or were never read."""

    plan: InstancePlan | None = None


@dataclass(frozen=True, slots=True)
class Collected:
    """The collected facts about one project. `status` is not saved."""

    status: Mapping[Collection, CollectionStatus] = field(default_factory=dict, compare=False)
    deleted_instances: tuple[DeletedInstance, ...] = ()
    plans: InstancePlans | None = None

    @property
    def plans_behind(self) -> bool:
        """Whether the last round did not read the backup plan of some instance."""
        last_round = self.status.get(Collection.BACKUP_DR)
        return bool((self.plans and self.plans.carried_over) or (last_round and not last_round.up))

    def of(self, instance_name: str) -> InstanceFacts:
        """The facts about an instance."""
        plan = self.plans.by_instance.get(instance_name) if self.plans else None
        return InstanceFacts(plan=plan) if plan else NOTHING

    def with_status(self, collection: Collection, status: CollectionStatus) -> "Collected":
        """The same facts after another round of a collection."""
        return replace(self, status={**self.status, collection: status})

    def only(self, collections: Set[Collection]) -> "Collected":
        """The facts and the status of these collections; the others have been switched off."""
        return replace(
            self,
            status={collection: status for collection, status in self.status.items() if collection in collections},
            deleted_instances=self.deleted_instances if Collection.DELETED_INSTANCES in collections else (),
        )


NOTHING = InstanceFacts()
