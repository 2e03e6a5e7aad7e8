"""The selection of instances: parameters, filters, order and pages."""

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import Config
from exporter.facts.counters import Counters
from exporter.facts.history import history
from exporter.facts.model import BackupRun, Instance, InstanceId, InstanceType, PollResult, RunStatus
from exporter.facts.record import ProjectScan, Record
from exporter.facts.snapshot import ProjectStatus, Snapshot
from exporter.verdict.evaluate import Evaluation, evaluate
from exporter.verdict.listing import SORT_KEYS, Listing, Selection
from exporter.verdict.rules import WORST_FIRST, Protection
from exporter.verdict.summary import worst_first
from tests.support.builders import DAY, EXPORTER_INFO, HOUR, INSTANCE, NOW, config, run

ANY_CONFIG = config(projects=("shop-prod", "museum"))
RUNS: dict[str, list[BackupRun]] = {
    "fresh": [run()],
    "slow-success": [run(took=7 * HOUR, ago=9 * HOUR)],
    "failing": [run(RunStatus.FAILED, code="DISK_SNAPSHOT_FAILED"), run(ago=2 * DAY)],
    "empty": [],
    "ancient": [run(ago=9 * DAY)],
}


def evaluation(
    projects: dict[str, dict[str, list[BackupRun]]], now: datetime = NOW, settings: Config = ANY_CONFIG, **labels: str
) -> Evaluation:
    """The evaluation of projects, each with the runs of its instances."""
    statuses = {}
    for project, instances in projects.items():
        records = {name: record(project, name, runs, labels) for name, runs in instances.items()}
        statuses[project] = ProjectStatus(
            project, PollResult.SUCCESS, scan=ProjectScan(read_at=now, full_listing_at=now, records=records)
        )
    return evaluate(Snapshot(statuses), settings, EXPORTER_INFO, now)


def record(project: str, name: str, runs: list[BackupRun], labels: dict[str, str]) -> Record:
    """The record of an instance; one that is called a replica is one."""
    of_type = InstanceType.READ_REPLICA_INSTANCE if "replica" in name else InstanceType.CLOUD_SQL_INSTANCE
    instance: Instance = replace(INSTANCE, id=InstanceId(project, name), type=of_type, user_labels=labels)
    return Record(instance, history(runs), Counters(NOW))


FLEET = evaluation({"museum": {**RUNS, "replica": []}, "shop-prod": {"fresh": [run()]}}, env="prod")


def names(selected_by: str, fleet: Evaluation = FLEET) -> list[str]:
    """The instances that a query string selects."""
    parameters = [tuple(part.split("=", 1)) for part in selected_by.split("&") if part]
    selection = Selection.parse((name, value) for name, value in parameters)
    return [str(verdict.instance.id) for verdict in Listing().select(fleet, selection).verdicts]


ALL = [
    "museum:empty",
    "museum:ancient",
    "museum:failing",
    "museum:slow-success",
    "museum:fresh",
    "shop-prod:fresh",
    "museum:replica",
]


def test_everything_is_listed_worst_first_by_default() -> None:
    assert names("") == ALL
    assert [str(verdict.instance.id) for verdict in worst_first(FLEET)] == ALL


@pytest.mark.parametrize(
    ("query", "selected"),
    [
        ("state=unprotected", ["museum:empty", "museum:ancient"]),
        ("state=unprotected&state=exempt", ["museum:empty", "museum:ancient", "museum:replica"]),
        ("state=exempt,unprotected, at_risk", [*ALL[:4], "museum:replica"]),
        ("project=shop-prod", ["shop-prod:fresh"]),
        ("project=shop-prod&project=museum", ALL),
        ("project=shop", []),
        ("q=shop", ["shop-prod:fresh"]),
        ("q=FRESH museum", ["museum:fresh"]),
        ("q=disk_snapshot", ["museum:failing"]),
        ("q=would lose", ["museum:ancient", "museum:failing"]),
        ("q=never_succeeded", ["museum:empty"]),
        ("q=env=prod", ALL),
        ("q=museumfresh", []),
        ("label.env=prod", ALL),
        ("label.env=test", []),
        ("label.env=test&label.env=prod&project=shop-prod", ["shop-prod:fresh"]),
        ("label.env=prod&label.team=web", []),
        ("limit=2", ALL[:2]),
        ("limit=2&offset=3", ALL[3:5]),
        ("offset=6", ALL[6:]),
        ("offset=100&limit=5", []),
        ("limit=0", []),
        ("state=&project=&q=&label.env=&sort=&limit=&offset=&page=7", ALL),
    ],
)
def test_parameters_select_rows(query: str, selected: list[str]) -> None:
    assert names(query) == selected


@pytest.mark.parametrize(
    ("sort", "first", "last"),
    [
        ("state", "museum:empty", "museum:replica"),
        ("-state", "museum:replica", "museum:empty"),
        ("project", "museum:ancient", "shop-prod:fresh"),
        ("instance", "museum:ancient", "museum:slow-success"),
        ("recovery_point", "museum:ancient", "museum:replica"),
        ("-recovery_point", "museum:fresh", "museum:replica"),
        ("-duration", "museum:slow-success", "museum:replica"),
        ("next_due", "museum:ancient", "museum:replica"),
    ],
)
def test_order_by_a_key_with_unknown_values_last_in_both_directions(sort: str, first: str, last: str) -> None:
    ordered = names(f"sort={sort}")
    assert (ordered[0], ordered[-1]) == (first, last)
    assert sorted(ordered) == sorted(ALL)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "state=green",
            "state: unknown state 'green'; the states are unprotected, unknown, at_risk, protected, exempt",
        ),
        ("state=protected,red", "state: unknown state 'red'"),
        ("sort=age", "sort: cannot sort by 'age'; choose state, project, instance, recovery_point"),
        ("sort=--state", "sort: cannot sort by '--state'"),
        ("limit=-1", "limit: '-1' is not a whole number from 0 to 999999999"),
        ("limit=ten", "limit: 'ten' is not a whole number"),
        ("offset=1.5", "offset: '1.5' is not a whole number"),
        ("offset=٣", "offset: '٣' is not a whole number"),
        ("limit=9999999999", "limit: '9999999999' is not a whole number"),
        ("limit=1&limit=2", "limit: given more than once"),
    ],
)
def test_an_invalid_parameter_is_an_error_that_names_it(query: str, message: str) -> None:
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(")):
        names(query)


def test_counts_are_those_without_the_choice_of_states_and_the_total_that_of_all_pages() -> None:
    selected = Listing().select(FLEET, Selection(states=(Protection.UNPROTECTED,), projects=("museum",), limit=1))
    assert (len(selected.verdicts), selected.total) == (1, 2)
    assert list(selected.counts) == list(WORST_FIRST)
    assert [selected.counts[state] for state in WORST_FIRST] == [2, 0, 2, 1, 1]


def test_a_default_limit_applies_where_none_is_given() -> None:
    assert Selection.parse([], default_limit=100).limit == 100
    assert Selection.parse([("limit", "7")], default_limit=100).limit == 7


TEXT = st.text(min_size=1).map(str.strip).filter(bool)


@given(
    st.builds(
        Selection,
        states=st.lists(st.sampled_from(list(Protection)), unique=True).map(tuple),
        projects=st.lists(TEXT, unique=True).map(tuple),
        text=TEXT | st.just(""),
        labels=st.dictionaries(TEXT, st.lists(TEXT, min_size=1, unique=True).map(tuple)),
        sort=st.sampled_from([*SORT_KEYS, *(f"-{key}" for key in SORT_KEYS)]),
        limit=st.none() | st.integers(0, 10**9 - 1),
        offset=st.integers(0, 10**9 - 1),
    )
)
def test_a_selection_is_restored_from_its_parameters(selection: Selection) -> None:
    assert Selection.parse(selection.parameters()) == selection


def test_a_listing_notices_verdicts_that_changed() -> None:
    listing, by_text = Listing(), Selection(text="would lose")
    project = {"orders": [run()], "other": [run(RunStatus.FAILED)]}
    assert listing.select(evaluation({"shop-prod": project}), by_text).total == 0
    later = evaluation({"shop-prod": project}, NOW + 30 * HOUR)
    assert listing.select(later, by_text).total == 1
    assert listing.select(later, Selection(text="INTERNAL_ERROR")).total == 1
    gone = evaluation({"shop-prod": {"other": [run()]}}, NOW + 31 * HOUR)
    assert [listing.select(gone, Selection(text=word)).total for word in ("orders", "other")] == [0, 1]
