"""The collection of deleted instances of which backups are left."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from exporter.facts.collected import Collected, Collection
from exporter.facts.deleted_instances import DeletedInstance
from exporter.facts.model import Instance
from exporter.polling.collect import Collector, Round
from exporter.polling.shard import Shard
from exporter.polling.targets import Selectors, selects
from exporter.scan.deleted_instances import Options, read_deleted_instances


def deleted_instances_collector(
    selectors: Callable[[str], Selectors], shard: Shard, report_unreadable: Callable[[str, str, str], None]
) -> Collector:
    """The collector of deleted instances, for the targets of a project and for one shard.

    `report_unreadable` is called with the project, the kind and what could not be read of each unreadable item.
    """

    def read(this_round: Round, collected: Collected) -> Collected:
        project = this_round.project
        options = Options(
            partial(_selects, selectors(project), shard),
            partial(report_unreadable, project, "backup"),
        )
        found = read_deleted_instances(this_round.source, project, this_round.now, options, collected.deleted_instances)
        return replace(collected, deleted_instances=found)

    return Collector(Collection.DELETED_INSTANCES, _is_due, read)


def _is_due(this_round: Round) -> bool:
    """With each full listing, and if it has not been tried since the start, because an earlier poll failed."""
    return this_round.full_listing or Collection.DELETED_INSTANCES not in this_round.before.collected.status


def _selects(selectors: Selectors, shard: Shard, deleted: DeletedInstance) -> bool:
    """As if the instance still existed, with the user labels that its backups recorded."""
    return selects(selectors, shard, Instance(deleted.id, user_labels=deleted.user_labels))
