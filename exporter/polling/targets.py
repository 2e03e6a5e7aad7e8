"""Resolution of the configured targets into projects. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.config import InstanceSelector, ProjectTarget, Target
from exporter.facts.model import Instance
from exporter.facts.snapshot import SearchStatus
from exporter.polling.shard import Shard

Selectors = tuple[InstanceSelector, ...]


@dataclass(frozen=True, slots=True)
class Targets:
    """The projects to poll, each with the selectors of all targets that name or found it.

    `complete`: every search has answered, so that projects which are not here are no longer targets. `named` are the
    projects that a target names; searches found all others. `accounts` are the service accounts that read projects in
    place of the configured credentials: that of the first target that names the project, else of the first that finds
    it.
    """

    selectors: Mapping[str, Selectors]
    complete: bool
    named: frozenset[str] = frozenset()
    accounts: Mapping[str, str] = field(default_factory=dict)


def resolve(
    targets: Sequence[Target],
    searches: Mapping[str, SearchStatus],
    known: Collection[str],
    shard: Shard,
) -> Targets:
    """Resolve targets by the status of each search, for one shard.

    A search that has not answered yet stands for the `known` projects that no other target accounts for: it may have
    found them before a restart.
    """
    named = {target.project for target in targets if isinstance(target, ProjectTarget)}
    accounted = named.union(*(status.projects for status in searches.values()))
    unaccounted = tuple(project for project in known if project not in accounted)
    selectors: dict[str, Selectors] = {}
    accounts: dict[tuple[str, bool], str | None] = {}  # by project, and whether the target names it
    complete = True
    for target in targets:
        names_it = isinstance(target, ProjectTarget)
        projects: Collection[str]
        if isinstance(target, ProjectTarget):
            projects = (target.project,)
        else:
            search = searches.get(target.query, SearchStatus())
            projects = search.projects if search.answered else (*search.projects, *unaccounted)
            complete = complete and search.answered
        for project in filter(shard.holds_project, projects):
            selectors[project] = (*selectors.get(project, ()), target.instances)
            accounts.setdefault((project, names_it), target.impersonate)
    of_project = {project: accounts[project, project in named] for project in selectors}
    return Targets(
        selectors,
        complete,
        frozenset(named & selectors.keys()),
        {project: account for project, account in of_project.items() if account},
    )


def without_instances(searches: Iterable[SearchStatus]) -> set[str]:
    """The projects in which, by the inventory, there are no instances. It can be hours late."""
    empty, other = set[str](), set[str]()
    for search in searches:
        if search.with_instances is None:
            other.update(search.projects)
        else:
            empty.update(search.projects)
            other.update(search.with_instances)
    return empty - other


def selects(selectors: Selectors, shard: Shard, instance: Instance) -> bool:
    """Whether an instance is selected, and belongs to the shard."""
    return shard.holds(instance.id) and any(selector.selects(instance) for selector in selectors)
