"""Discovery of projects: by a search, in Cloud Asset Inventory, or folder by folder."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from exporter.config import Discover, SearchingTarget, SearchTarget
from exporter.facts.model import PollResult
from exporter.facts.snapshot import DiscoveryMethod, SearchStatus
from exporter.scan.source import ProjectDirectory, SourceError

_NO_INVENTORY = {PollResult.FORBIDDEN, PollResult.API_DISABLED, PollResult.NOT_FOUND}


@dataclass(frozen=True, slots=True)
class Discovery:
    """Projects that were found, up to an error if there was one.

    `with_instances` are those in which the inventory knows instances; None: not known. `reason`: why it was not used.
    """

    method: DiscoveryMethod
    projects: Collection[str] = ()
    error: SourceError | None = None
    with_instances: frozenset[str] | None = None
    reason: str = ""

    def status(self, before: SearchStatus, account: str | None) -> SearchStatus:
        """The status of the search after this discovery. A failed one adds projects, and forgets none."""
        if self.error is None:
            projects, instances = tuple(sorted(self.projects)), self.with_instances
            return SearchStatus(True, True, projects, method=self.method, account=account, with_instances=instances)
        return replace(
            before,
            up=False,
            projects=tuple(sorted({*before.projects, *self.projects})),
            message=str(self.error),
            missing_permission=self.error.missing_permission,
            account=account,
        )


def discover(directory: ProjectDirectory, target: SearchingTarget, known: Collection[str] = ()) -> Discovery:
    """Find the projects of a target; `known` are those that it found before. Raises nothing of the directory's."""
    if isinstance(target, SearchTarget):
        return _collect(directory.projects(target.search), Discovery(DiscoveryMethod.SEARCH))
    if target.discover is Discover.WALK:
        return _walk(directory, target.query, known)
    inventory = _inventory(directory, target.query)
    if target.discover is Discover.INVENTORY or not inventory.error or inventory.error.result not in _NO_INVENTORY:
        return inventory
    return _walk_without_inventory(directory, target.query, known, inventory.error)


def _inventory(directory: ProjectDirectory, scope: str) -> Discovery:
    found = _collect(directory.projects_below(scope), Discovery(DiscoveryMethod.INVENTORY))
    if found.error:
        return found
    # The projects are known; where the instances are not, all projects are polled alike.
    instances = _collect(directory.projects_with_instances(scope), Discovery(DiscoveryMethod.INVENTORY))
    return found if instances.error else replace(found, with_instances=frozenset(instances.projects))


def _walk_without_inventory(
    directory: ProjectDirectory, scope: str, known: Collection[str], refused: SourceError
) -> Discovery:
    """The projects found folder by folder. Finding none is an error: a caller without permissions sees no folder."""
    walked = replace(_walk(directory, scope, known), reason=str(refused))
    if walked.projects and not walked.error:
        return walked
    walk = f"folder by folder: {walked.error}" if walked.error else "folder by folder, no project is found"
    permission = refused.missing_permission or (walked.error.missing_permission if walked.error else None)
    error = SourceError(refused.result, f"{refused}; {walk}", missing_permission=permission)
    return replace(walked, error=error)


def _walk(directory: ProjectDirectory, scope: str, known: Collection[str]) -> Discovery:
    """The projects in a folder or organization, and in all folders below it, each visited once."""
    found: set[str] = set()
    folders, visited = [scope], {scope}
    try:
        while folders:
            parent = folders.pop()
            found.update(directory.projects_in(parent))
            below = [folder for folder in directory.folders_in(parent) if folder not in visited]
            folders += below
            visited.update(below)
    except SourceError as failure:
        return Discovery(DiscoveryMethod.WALK, found, failure)
    if known and not found:
        text = (
            f"no project is found below {scope} any more; those found before are still polled. Without "
            "resourcemanager.projects.get and resourcemanager.folders.get there (roles/browser has them), projects and "
            "folders are invisible"
        )
        missing = "resourcemanager.projects.get"
        error = SourceError(PollResult.FORBIDDEN, text, missing_permission=missing)
        return Discovery(DiscoveryMethod.WALK, error=error)
    return Discovery(DiscoveryMethod.WALK, found)


def _collect(projects: Iterator[str], discovery: Discovery) -> Discovery:
    """The discovery with all projects of a listing, up to an error."""
    found: set[str] = set()
    try:
        found.update(projects)
    except SourceError as error:
        return replace(discovery, projects=found, error=error)
    return replace(discovery, projects=found)
