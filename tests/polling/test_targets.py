"""Resolution of targets: named projects, searches in each status, shards, and completeness."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import FolderTarget, InstanceSelector, OrganizationTarget, ProjectTarget, SearchTarget, Target
from exporter.facts.model import InstanceId
from exporter.facts.snapshot import SearchStatus
from exporter.polling.shard import By, Shard
from exporter.polling.targets import Targets, resolve, selects, without_instances
from tests.support.builders import INSTANCE

ONE_PROCESS = Shard()
ALL = InstanceSelector()
ORDERS = InstanceSelector.model_validate({"include": ["orders"]})
PAYMENTS = InstanceSelector.model_validate({"include": ["payments"]})

ANSWERED = SearchStatus(up=True, answered=True, projects=("museum", "shop"))
FAILED_AFTER_ANSWER = replace(ANSWERED, up=False, message="grant something")
FAILED = SearchStatus(up=False, message="grant something")


def named(project: str, selector: InstanceSelector = ALL) -> ProjectTarget:
    return ProjectTarget(project=project, instances=selector)


def search(query: str, selector: InstanceSelector = ALL) -> SearchTarget:
    return SearchTarget(search=query, instances=selector)


def is_answered(target: SearchTarget, searches: Mapping[str, SearchStatus]) -> bool:
    return target.search in searches and searches[target.search].answered


def test_named_projects_are_targets_in_order() -> None:
    targets = resolve([named("shop"), named("museum", ORDERS)], {}, (), ONE_PROCESS)
    named_projects = frozenset({"shop", "museum"})
    assert targets == Targets({"shop": (ALL,), "museum": (ORDERS,)}, complete=True, named=named_projects)


def test_project_has_the_selectors_of_all_its_targets() -> None:
    targets = resolve(
        [named("shop", ORDERS), search("a", PAYMENTS), named("shop", ALL)], {"a": ANSWERED}, (), ONE_PROCESS
    )
    assert targets.selectors == {"shop": (ORDERS, PAYMENTS, ALL), "museum": (PAYMENTS,)}


@pytest.mark.parametrize("status", [ANSWERED, FAILED_AFTER_ANSWER])
def test_search_stands_for_the_projects_of_its_last_answer(status: SearchStatus) -> None:
    targets = resolve([search("a")], {"a": status}, ("saved",), ONE_PROCESS)
    assert targets == Targets({"museum": (ALL,), "shop": (ALL,)}, complete=True)


@pytest.mark.parametrize("searches", [{}, {"a": SearchStatus()}, {"a": FAILED}])
def test_unanswered_search_stands_for_known_projects(searches: Mapping[str, SearchStatus]) -> None:
    targets = resolve([search("a", ORDERS)], searches, ("saved",), ONE_PROCESS)
    assert targets == Targets({"saved": (ORDERS,)}, complete=False)


def test_unanswered_search_excludes_projects_of_other_targets() -> None:
    targets = resolve(
        [named("shop"), search("answered"), search("unanswered", ORDERS)],
        {"answered": SearchStatus(up=True, answered=True, projects=("museum",))},
        ("shop", "museum", "saved"),
        ONE_PROCESS,
    )
    selectors = {"shop": (ALL,), "museum": (ALL,), "saved": (ORDERS,)}
    assert targets == Targets(selectors, complete=False, named=frozenset({"shop"}))


def test_search_that_found_nothing_has_answered() -> None:
    targets = resolve([search("a")], {"a": SearchStatus(up=True, answered=True)}, ("saved",), ONE_PROCESS)
    assert targets == Targets({}, complete=True)


def test_targets_are_complete_only_if_every_search_has_answered() -> None:
    targets = [search("a"), search("b")]
    assert not resolve(targets, {"a": ANSWERED}, (), ONE_PROCESS).complete
    assert resolve(targets, {"a": ANSWERED, "b": FAILED_AFTER_ANSWER}, (), ONE_PROCESS).complete


def test_search_that_is_no_longer_configured_has_no_targets() -> None:
    assert resolve([named("other")], {"a": ANSWERED}, (), ONE_PROCESS).selectors == {"other": (ALL,)}


def test_shard_has_only_its_projects_and_may_have_none() -> None:
    projects = [f"project-{number}" for number in range(8)]
    shards = [resolve([*map(named, projects)], {}, (), Shard(index, 3)) for index in range(3)]
    assert [sorted(targets.selectors) for targets in shards] == [
        ["project-1", "project-2", "project-3", "project-4"],
        ["project-5", "project-7"],
        ["project-0", "project-6"],
    ]
    (shard,) = (index for index in range(3) if "shop" in resolve([named("shop")], {}, (), Shard(index, 3)).selectors)
    assert resolve([named("shop")], {}, (), Shard((shard + 1) % 3, 3)) == Targets({}, complete=True)


def test_every_shard_by_instance_has_all_projects() -> None:
    expected = resolve([search("a")], {"a": ANSWERED}, (), ONE_PROCESS)
    assert all(resolve([search("a")], {"a": ANSWERED}, (), Shard(index, 3, "instance")) == expected for index in (0, 2))


def test_instance_is_selected_by_any_selector_within_its_shard() -> None:
    assert selects((PAYMENTS, ORDERS), ONE_PROCESS, INSTANCE)
    assert not selects((PAYMENTS,), ONE_PROCESS, INSTANCE)
    assert not selects((), ONE_PROCESS, INSTANCE)
    by_shard = [selects((ALL,), Shard(index, 5, "instance"), INSTANCE) for index in range(5)]
    assert by_shard.count(True) == 1


def test_folders_and_organizations_stand_for_what_they_found() -> None:
    targets: list[Target] = [FolderTarget(folder="1", instances=ORDERS), OrganizationTarget(organization="2")]
    searches = {"folders/1": ANSWERED, "organizations/2": SearchStatus(True, True, ("shop",))}
    assert resolve(targets, searches, (), ONE_PROCESS).selectors == {"museum": (ORDERS,), "shop": (ORDERS, ALL)}


def test_search_that_failed_in_the_middle_stands_for_what_it_found_and_for_known_projects() -> None:
    searches = {"a": replace(FAILED, projects=("shop",))}
    assert resolve([search("a")], searches, ("saved", "shop"), ONE_PROCESS) == Targets(
        {"shop": (ALL,), "saved": (ALL,)}, complete=False
    )


def test_account_is_that_of_the_first_target_that_names_or_else_finds_the_project() -> None:
    targets: list[Target] = [
        SearchTarget(search="a", impersonate="first@x"),
        FolderTarget(folder="1", impersonate="second@x"),
        ProjectTarget(project="shop", impersonate="named@x"),
        ProjectTarget(project="shop", impersonate="later@x"),
        ProjectTarget(project="library"),
        SearchTarget(search="b", impersonate="third@x"),
    ]
    searches = {
        "a": ANSWERED,
        "folders/1": SearchStatus(True, True, ("museum", "archive", "library")),
        "b": SearchStatus(True, True, ("archive", "shop")),
    }
    result = resolve(targets, searches, (), ONE_PROCESS)
    assert result.accounts == {"museum": "first@x", "archive": "second@x", "shop": "named@x"}
    assert result.named == {"shop", "library"}


def test_projects_without_instances_are_those_that_no_inventory_knows_instances_in() -> None:
    searches = [
        SearchStatus(True, True, ("a", "b", "c", "d"), with_instances=frozenset({"b"})),
        SearchStatus(True, True, ("c", "e"), with_instances=frozenset({"c"})),
        SearchStatus(True, True, ("d",)),
    ]
    assert without_instances(searches) == {"a", "e"}


project_names = st.sampled_from([f"project-{number}" for number in range(6)])
queries = st.sampled_from(["a", "b", "c"])
selectors = st.sampled_from([ALL, ORDERS, PAYMENTS])
target_lists = st.lists(st.builds(named, project_names, selectors) | st.builds(search, queries, selectors), max_size=6)
found_projects = st.lists(project_names, unique=True).map(tuple)
answered = st.builds(SearchStatus, up=st.booleans(), answered=st.just(True), projects=found_projects)
statuses = st.dictionaries(queries, answered | st.just(FAILED) | st.just(SearchStatus()))
known_projects = st.lists(project_names, unique=True)


@given(target_lists, statuses, known_projects, st.integers(1, 5), st.sampled_from(["project", "instance"]))
def test_shards_together_have_the_targets_of_one_process(
    targets: Sequence[ProjectTarget | SearchTarget],
    searches: Mapping[str, SearchStatus],
    known: list[str],
    total: int,
    by: By,
) -> None:
    expected = resolve(targets, searches, known, ONE_PROCESS)
    shards = [resolve(targets, searches, known, Shard(index, total, by)) for index in range(total)]
    union = {project: found for shard in shards for project, found in shard.selectors.items()}
    assert union == expected.selectors
    assert all(shard.complete == expected.complete for shard in shards)
    copies = 1 if by == "project" else total
    assert sum(len(shard.selectors) for shard in shards) == copies * len(expected.selectors)


@given(target_lists, statuses, known_projects)
def test_answered_searches_bring_in_only_what_they_found(
    targets: Sequence[ProjectTarget | SearchTarget], searches: Mapping[str, SearchStatus], known: list[str]
) -> None:
    """Known projects become targets only through a search that has not answered, which makes the result incomplete."""
    found = {project for status in searches.values() if status.answered for project in status.projects}
    accounted = found | {target.project for target in targets if isinstance(target, ProjectTarget)}
    result = resolve(targets, searches, known, ONE_PROCESS)
    waiting = [target for target in targets if isinstance(target, SearchTarget) and not is_answered(target, searches)]
    unaccounted = result.selectors.keys() - accounted
    assert result.complete is not bool(waiting)
    assert unaccounted == (set(known) - accounted if waiting else set())
    for project in unaccounted:
        assert result.selectors[project] == tuple(target.instances for target in waiting)


@given(target_lists, statuses, known_projects, st.sampled_from(["orders", "payments", "other"]))
def test_instance_is_polled_by_one_shard_if_any_of_its_targets_selects_it(
    targets: Sequence[ProjectTarget | SearchTarget],
    searches: Mapping[str, SearchStatus],
    known: list[str],
    name: str,
) -> None:
    for project, of_project in resolve(targets, searches, known, ONE_PROCESS).selectors.items():
        instance = replace(INSTANCE, id=InstanceId(project, name))
        selected = any(selector.selects(instance) for selector in of_project)
        shards = [Shard(index, 4, "instance") for index in range(4)]
        assert sum(selects(of_project, shard, instance) for shard in shards) == selected
