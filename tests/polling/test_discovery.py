"""Discovery of projects: search, inventory, walk, the choice between them, and failures in the middle."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from exporter.config import Discover, FolderTarget, OrganizationTarget, SearchTarget
from exporter.facts.model import PollResult
from exporter.facts.snapshot import DiscoveryMethod, SearchStatus
from exporter.polling.discovery import Discovery, discover
from exporter.scan.source import SourceError

PERMISSION = "cloudasset.assets.searchAllResources"
REFUSED = SourceError(PollResult.FORBIDDEN, "refused; grant it", missing_permission=PERMISSION)
DISABLED = SourceError(PollResult.API_DISABLED, "not enabled")
MISSING = SourceError(PollResult.NOT_FOUND, "no such path")
BUSY = SourceError(PollResult.QUOTA, "too many requests")
DOWN = SourceError(PollResult.SERVER_ERROR, "503")
HTML = SourceError(PollResult.BAD_RESPONSE, "not JSON")

Items = Sequence[str | SourceError]


@dataclass
class FakeDirectory:
    """Lists what it is given; an error among the items is raised in its place."""

    search: Items = ()
    inventory: Items = ()
    instances: Items = ()
    projects_of: Mapping[str, Items] = field(default_factory=dict)
    folders_of: Mapping[str, Items] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def _list(self, call: str, items: Items) -> Iterator[str]:
        self.calls.append(call)
        for item in items:
            if isinstance(item, SourceError):
                raise item
            yield item

    def projects(self, query: str) -> Iterator[str]:
        return self._list(query, self.search)

    def projects_in(self, parent: str) -> Iterator[str]:
        return self._list(f"projects in {parent}", self.projects_of.get(parent, ()))

    def folders_in(self, parent: str) -> Iterator[str]:
        return self._list(f"folders in {parent}", self.folders_of.get(parent, ()))

    def projects_below(self, scope: str) -> Iterator[str]:
        return self._list(f"inventory of {scope}", self.inventory)

    def projects_with_instances(self, scope: str) -> Iterator[str]:
        return self._list(f"instances of {scope}", self.instances)


def folder(discover: Discover = Discover.AUTO) -> FolderTarget:
    return FolderTarget(folder="1", discover=discover)


PROJECTS: Mapping[str, Items] = {"folders/1": ["a"], "folders/2": ["b", "c"], "folders/3": ["d"]}
FOLDERS: Mapping[str, Items] = {"folders/1": ["folders/2"], "folders/2": ["folders/3"]}


def found(discovery: Discovery) -> list[str]:
    return sorted(discovery.projects)


def test_search_is_made_as_it_is_written() -> None:
    directory = FakeDirectory(search=["b", "a", "b"])
    result = discover(directory, SearchTarget(search="labels.env=prod"))
    assert (result.method, found(result), result.error) == (DiscoveryMethod.SEARCH, ["a", "b"], None)
    assert directory.calls == ["labels.env=prod"]


@pytest.mark.parametrize("choice", [Discover.AUTO, Discover.INVENTORY])
def test_inventory_finds_projects_and_tells_those_with_instances(choice: Discover) -> None:
    directory = FakeDirectory(
        inventory=["a", "b"], instances=["b", "b", "unknown"], projects_of=PROJECTS, folders_of=FOLDERS
    )
    result = discover(directory, folder(choice))
    assert (result.method, found(result)) == (DiscoveryMethod.INVENTORY, ["a", "b"])
    assert result.with_instances == frozenset({"b", "unknown"})
    assert directory.calls == ["inventory of folders/1", "instances of folders/1"]


@pytest.mark.parametrize("error", [REFUSED, DISABLED, BUSY, HTML])
def test_inventory_without_its_instances_still_finds_projects(error: SourceError) -> None:
    result = discover(FakeDirectory(inventory=["a"], instances=["a", error]), folder())
    assert (found(result), result.with_instances, result.error) == (["a"], None, None)


@pytest.mark.parametrize("error", [REFUSED, DISABLED, MISSING])
def test_auto_walks_where_there_is_no_inventory(error: SourceError) -> None:
    result = discover(FakeDirectory(inventory=[error], projects_of=PROJECTS, folders_of=FOLDERS), folder())
    assert (result.method, found(result), result.error) == (DiscoveryMethod.WALK, ["a", "b", "c", "d"], None)
    assert (result.reason, result.with_instances) == (str(error), None)


@pytest.mark.parametrize("error", [BUSY, DOWN, HTML])
def test_auto_does_not_walk_while_the_inventory_only_fails(error: SourceError) -> None:
    directory = FakeDirectory(inventory=["a", error], projects_of=PROJECTS, folders_of=FOLDERS)
    result = discover(directory, folder())
    assert (result.method, found(result), result.error) == (DiscoveryMethod.INVENTORY, ["a"], error)
    assert directory.calls == ["inventory of folders/1"]


def test_chosen_inventory_is_not_replaced_by_a_walk() -> None:
    result = discover(
        FakeDirectory(inventory=[REFUSED], projects_of=PROJECTS, folders_of=FOLDERS), folder(Discover.INVENTORY)
    )
    assert (result.method, found(result), result.error) == (DiscoveryMethod.INVENTORY, [], REFUSED)


def test_walk_visits_every_folder_once_also_in_circles() -> None:
    """A folder that is moved during the walk can be listed twice, or below itself."""
    circle = {
        "folders/1": ["folders/2", "folders/3"],
        "folders/2": ["folders/3"],
        "folders/3": ["folders/1", "folders/2"],
    }
    directory = FakeDirectory(projects_of=PROJECTS, folders_of=circle)
    result = discover(directory, folder(Discover.WALK))
    assert (found(result), result.error) == (["a", "b", "c", "d"], None)
    assert len(directory.calls) == len(set(directory.calls)) == 6


def test_walk_of_an_organization_begins_there() -> None:
    directory = FakeDirectory(projects_of={"organizations/7": ["a"]})
    assert found(discover(directory, OrganizationTarget(organization="7", discover=Discover.WALK))) == ["a"]


@pytest.mark.parametrize("error", [REFUSED, DISABLED, BUSY, DOWN, HTML])
def test_walk_that_fails_in_the_middle_has_what_it_found(error: SourceError) -> None:
    tree: Mapping[str, Items] = {**PROJECTS, "folders/2": ["b", error, "c"]}
    result = discover(FakeDirectory(projects_of=tree, folders_of=FOLDERS), folder(Discover.WALK))
    assert (found(result), result.error) == (["a", "b"], error)


def test_walk_without_any_project_fails_only_if_there_were_some() -> None:
    """Without permissions, folders and projects are invisible: an empty result is no proof that they are gone."""
    empty = discover(FakeDirectory(), folder(Discover.WALK))
    assert (found(empty), empty.error) == ([], None)
    error = discover(FakeDirectory(), folder(Discover.WALK), known=["a"]).error
    assert error is not None
    assert error.missing_permission == "resourcemanager.projects.get"
    assert "no project is found below folders/1 any more" in str(error)


@pytest.mark.parametrize(
    ("projects", "reason"),
    [({}, "no project is found"), ({"folders/1": ["a", DOWN]}, "folder by folder: 503")],
)
def test_failure_of_both_ways_names_both(projects: Mapping[str, Items], reason: str) -> None:
    result = discover(FakeDirectory(inventory=[REFUSED], projects_of=projects), folder())
    assert result.error is not None
    assert str(result.error).startswith("refused; grant it; ")
    assert reason in str(result.error)
    assert result.error.missing_permission == PERMISSION


def test_failed_discovery_adds_projects_and_forgets_none() -> None:
    before = SearchStatus(True, True, ("a", "b"), method=DiscoveryMethod.INVENTORY, with_instances=frozenset({"a"}))
    status = Discovery(DiscoveryMethod.INVENTORY, {"b", "c"}, REFUSED).status(before, "reader@shop")
    assert (status.up, status.answered, status.projects) == (False, True, ("a", "b", "c"))
    assert (status.message, status.missing_permission) == (str(REFUSED), REFUSED.missing_permission)
    assert (status.account, status.with_instances) == ("reader@shop", frozenset({"a"}))
    again = Discovery(DiscoveryMethod.INVENTORY, {"c"}).status(status, None)
    assert (again.up, again.projects, again.message, again.missing_permission) == (True, ("c",), "", None)
