"""Optional facts about a project, beside its instances and backup runs. Immutable.

Each collection is read by requests of its own and fails by itself; a failed one keeps the facts of its last success.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from enum import StrEnum

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


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """The collected facts about one instance."""


@dataclass(frozen=True, slots=True)
class Collected:
    """The collected facts about one project. `status` is not saved."""

    status: Mapping[Collection, CollectionStatus] = field(default_factory=dict, compare=False)
    deleted_instances: tuple[DeletedInstance, ...] = ()

    def of(self, _instance_name: str) -> InstanceFacts:
        """The facts about an instance."""
        return NOTHING

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
