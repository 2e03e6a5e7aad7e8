"""Suggestions for names that do not exist."""

from dataclasses import replace

from exporter.facts.model import InstanceId, PollResult
from exporter.facts.record import RemovedInstance
from exporter.facts.snapshot import ProjectStatus
from exporter.web.pages.names import similar_names
from tests.support.builders import DAY, NOW, run
from tests.web.pages.evaluations import evaluation, record, status

FLEET = evaluation(
    status(record("orders", [run()]), record("payments", [run()])),
    status(record("orders", [run()], project="museum"), record("paintings", [run()], project="museum")),
    ProjectStatus("sealed", PollResult.FORBIDDEN, "403"),
)


def suggestions(project: str, name: str) -> list[str]:
    return [path for _, path in similar_names(FLEET, InstanceId(project, name))[0]]


def message(project: str, name: str) -> str:
    return similar_names(FLEET, InstanceId(project, name))[1]


def test_similar_names_of_the_project_are_suggested() -> None:
    assert suggestions("shop-prod", "order") == ["instances/shop-prod/orders"]
    assert suggestions("shop-prod", "xyz") == []
    assert message("shop-prod", "xyz") == "Project shop-prod has no instance xyz, or none that the targets select."


def test_the_same_name_in_other_projects_comes_first() -> None:
    assert suggestions("shop-prod", "paintings") == ["instances/museum/paintings", "instances/shop-prod/payments"]


def test_similar_projects_are_suggested() -> None:
    assert suggestions("shop-prd", "payment") == ["instances/shop-prod/payments"]
    assert message("shop-prd", "payment") == "Project shop-prd is not among the targets of this exporter."


def test_a_project_that_was_never_read_is_told_apart() -> None:
    assert message("sealed", "orders") == "Project sealed has not been read yet; see the page Exporter."


def test_an_instance_that_was_removed_is_told_apart() -> None:
    orders = record("orders", [run()])
    project = status(orders)
    assert project.scan
    removed = {"payments": RemovedInstance(orders.counters, NOW - DAY)}
    found = evaluation(replace(project, scan=replace(project.scan, removed=removed)))
    assert similar_names(found, InstanceId("shop-prod", "payments"))[1] == (
        "shop-prod:payments was there until 2026-11-22 12:00 UTC; "
        "since then it has been deleted, or is no longer selected."
    )


def test_a_shard_says_that_another_one_may_have_the_instance() -> None:
    sharded = replace(FLEET, exporter=replace(FLEET.exporter, shard_index=1, shard_total=3))
    assert similar_names(sharded, InstanceId("x", "y"))[1].endswith("This is shard 1 of 3: another one may have it.")
