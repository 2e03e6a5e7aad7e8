"""Resolution of the configured targets into projects. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from exporter.config import InstanceSelector, ProjectTarget, SearchTarget
from exporter.facts.model import Instance
from exporter.facts.snapshot import SearchStatus
from exporter.polling.shard import Shard

Selectors = tuple[InstanceSelector, ...]


@dataclass(frozen=True, slots=True)
class Targets:
    """The projects to poll, each with the selectors of all targets that name or found it.

    `complete`: every search has answered, so that projects which are not here are no longer targets.
    """

    selectors: Mapping[str, Selectors]
    complete: bool


def resolve(
    targets: Sequence[ProjectTarget | SearchTarget],
    searches: Mapping[str, SearchStatus],
    known: Collection[str],
    shard: Shard,
) -> Targets:
    """Resolve targets by the status of each search, for one shard.

    A search that has not answered yet stands for the `known` projects that no other target accounts for: it may have
    found them before a restart.
    """
    selectors: dict[str, Selectors] = {}
    answered = {query: status.projects for query, status in searches.items() if status.answered}
    named = {target.project for target in targets if isinstance(target, ProjectTarget)}
    accounted = named.union(*answered.values())
    unaccounted = tuple(project for project in known if project not in accounted)
    complete = True
    for target in targets:
        projects: Collection[str]
        if isinstance(target, ProjectTarget):
            projects = (target.project,)
        else:
            projects = answered.get(target.search, unaccounted)
            complete = complete and target.search in answered
        for project in filter(shard.holds_project, projects):
            selectors[project] = (*selectors.get(project, ()), target.instances)
    return Targets(selectors, complete)


def selects(selectors: Selectors, shard: Shard, instance: Instance) -> bool:
    """Whether an instance is selected, and belongs to the shard."""
    return shard.holds(instance.id) and any(selector.selects(instance) for selector in selectors)
