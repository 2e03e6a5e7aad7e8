"""Backup plans of a project: spellings of names, reused names, unreachable regions, items that cannot be read."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.facts.backup_plans import InstancePlan, InstancePlans, PlanAssociation, RuleError, RuleStatus
from exporter.facts.model import Instance, InstanceId, PollResult
from exporter.scan.backup_plans import PlansReading, parse_association, parse_plan, read_plans
from exporter.scan.parse import UnreadableItemError
from exporter.scan.source import UNKNOWN_REGION, Page, SourceError
from exporter.simulator import WORLDS
from tests.support.builders import DAY, HOUR, INSTANCE, MINUTE, NOW, WorldSource, encoded, world
from tests.support.strategies import json_values

PLAN = "projects/vaults/locations/europe-west1/backupPlans/gold"
VAULT = "projects/vaults/locations/eu/backupVaults/main"
RULE = {
    "ruleId": "daily",
    "lastBackupState": "FAILED",
    "lastBackupError": {"code": 7, "message": "no access", "details": [{"@type": "x"}]},
    "lastSuccessfulBackupConsistencyTime": "2026-11-21T02:10:00Z",
}
ITEM: dict[str, Any] = {
    "name": "projects/p/locations/europe-west1/backupPlanAssociations/pg-9",
    "resource": "projects/p/instances/orders",
    "resourceType": "sqladmin.googleapis.com/Instance",
    "state": "ACTIVE",
    "backupPlan": PLAN,
    "dataSource": f"{VAULT}/dataSources/ds-1",
    "rulesConfigInfo": [RULE],
    "cloudSqlInstanceBackupPlanAssociationProperties": {"instanceCreateTime": "2025-10-19T12:00:00Z"},
}
PLAN_ITEM: dict[str, Any] = {
    "name": PLAN,
    "backupVault": VAULT,
    "backupRules": [{"ruleId": "daily", "backupRetentionDays": 35}],
}
ORDERS = replace(INSTANCE, region="europe-west1")


class ListedPlans(WorldSource):
    """A source of prepared items; a plan's project without any is denied."""

    def __init__(
        self,
        associations: list[object],
        plans: dict[str, list[object]] | None = None,
        unreachable: tuple[str, ...] = (),
    ) -> None:
        super().__init__(world({}))
        self.associations, self.plans, self.unreachable = associations, plans or {}, unreachable
        self.asked: list[str] = []

    def backup_plan_associations(self, project: str) -> Iterator[Page]:
        self.asked.append(project)
        yield Page([encoded(item) for item in self.associations], self.unreachable, last=True)

    def backup_plans(self, project: str) -> Iterator[Page]:
        self.asked.append(project)
        if project not in self.plans:
            raise SourceError(PollResult.FORBIDDEN, f"grant a role in {project}")
        yield Page([encoded(item) for item in self.plans[project]], last=True)


def read(
    source: ListedPlans,
    *instances: Instance,
    before: InstancePlans | None = None,
    reports: list[tuple[str, str]] | None = None,
) -> PlansReading:
    reported = [] if reports is None else reports
    found = {instance.id.name: instance for instance in instances or (ORDERS,)}
    return read_plans(source, "p", found, NOW, before, lambda kind, text: reported.append((kind, text)))


def plan_of(source: ListedPlans, *, instance: Instance = ORDERS) -> InstancePlan:
    return read(source, instance).plans.by_instance[instance.id.name]


def associated(source: ListedPlans) -> PlanAssociation:
    association = plan_of(source).association
    assert association
    return association


def test_association_and_plan_are_read_with_one_request_each() -> None:
    source = ListedPlans([ITEM], {"vaults": [PLAN_ITEM]})
    association = associated(source)
    (rule,) = association.rules
    assert (association.plan, association.vault, association.state) == (PLAN, VAULT, "ACTIVE")
    assert (rule.id, rule.status, rule.retention) == ("daily", RuleStatus.FAILED, 35 * DAY)
    assert rule.error == RuleError("PERMISSION_DENIED", "no access")
    assert rule.last_success
    assert rule.last_success.isoformat() == "2026-11-21T02:10:00+00:00"
    assert source.asked == ["p", "vaults"]


@pytest.mark.parametrize(
    ("resource", "resource_type"),
    [
        ("projects/p/instances/orders", "sqladmin.googleapis.com/Instance"),
        ("projects/p/instances/orders", "sql.googleapis.com/Instance"),
        ("projects/p/instances/orders", "SqlAdmin.googleapis.com/Instance"),
        ("projects/p/locations/europe-west1/instances/orders", "sql.googleapis.com/Instance"),
        ("projects/123456/locations/europe-west1/instances/orders", "sqladmin.googleapis.com/Instance"),
        ("//cloudsql.googleapis.com/projects/p/instances/orders", "sqladmin.googleapis.com/Instance"),
        ("https://sqladmin.googleapis.com/v1/projects/p/instances/orders", "sqladmin.googleapis.com/Instance"),
        ("projects/p/instances/orders", None),
        ("projects/p/locations/europe-west1/instances/orders/", "sqladmin.googleapis.com/Instance"),
    ],
)
def test_names_and_types_of_instances_in_every_spelling(resource: str, resource_type: str | None) -> None:
    item = {**ITEM, "resource": resource, "resourceType": resource_type}
    assert plan_of(ListedPlans([item])).association


@pytest.mark.parametrize(
    ("resource", "resource_type"),
    [
        ("projects/p/zones/europe-west1-b/instances/orders", "compute.googleapis.com/Instance"),
        ("projects/p/zones/europe-west1-b/instances/orders", None),
        ("projects/p/locations/europe-west1/instances/orders", "file.googleapis.com/Instance"),
        ("projects/1/locations/europe-west1/clusters/orders", "alloydb.googleapis.com/Cluster"),
    ],
)
def test_resources_of_other_services_are_not_instances(resource: str, resource_type: str | None) -> None:
    reports: list[tuple[str, str]] = []
    reading = read(ListedPlans([{**ITEM, "resource": resource, "resourceType": resource_type}]), reports=reports)
    assert (reading.plans.by_instance["orders"].association, reports) == (None, [])


@pytest.mark.parametrize(
    "name",
    [PLAN, PLAN.replace("vaults", "987654"), f"//backupdr.googleapis.com/{PLAN}"],
)
def test_plan_is_found_by_the_project_that_the_association_names(name: str) -> None:
    project = "987654" if "987654" in name else "vaults"
    source = ListedPlans([{**ITEM, "backupPlan": name}], {project: [PLAN_ITEM]})
    assert associated(source).rules[0].retention == 35 * DAY
    assert source.asked == ["p", project]


def test_plan_of_the_same_name_in_another_region_is_another_plan() -> None:
    other = {**PLAN_ITEM, "name": PLAN.replace("europe-west1", "us-east1")}
    assert associated(ListedPlans([ITEM], {"vaults": [other]})).rules[0].retention is None


def test_project_of_several_plans_is_asked_once() -> None:
    silver = {
        **ITEM,
        "name": "x",
        "resource": "projects/p/instances/pg-2",
        "backupPlan": PLAN.replace("gold", "silver"),
    }
    source = ListedPlans([ITEM, silver], {"vaults": [PLAN_ITEM]})
    read(source, ORDERS, replace(ORDERS, id=InstanceId("p", "pg-2")))
    assert source.asked == ["p", "vaults"]


def test_plan_whose_project_cannot_be_read_has_no_retention() -> None:
    before = read(ListedPlans([ITEM], {"vaults": [PLAN_ITEM]})).plans
    reading = read(ListedPlans([ITEM]), before=before)
    association = reading.plans.by_instance["orders"].association
    assert association
    assert (association.rules[0].status, association.rules[0].retention) == (RuleStatus.FAILED, None)
    assert (str(reading.failure), reading.failed_in) == ("grant a role in vaults", "vaults")


@pytest.mark.parametrize(
    "name", ["", "gold", "projects//locations/l/backupPlans/x", "projects/a?b/locations/l/backupPlans/x"]
)
def test_name_of_a_plan_without_a_plausible_project_is_not_asked_for(name: str) -> None:
    source = ListedPlans([{**ITEM, "backupPlan": name}])
    reading = read(source)
    assert (source.asked, reading.failure) == (["p"], None)
    assert reading.plans.by_instance["orders"].association


@pytest.mark.parametrize(
    ("created", "same"),
    [
        ("2025-10-19T12:00:00.123Z", True),
        ("2025-10-19T12:01:00Z", True),
        ("2025-10-19T12:01:01Z", False),
        ("2024-01-01T00:00:00Z", False),
        (None, True),
        ("yesterday", True),
    ],
)
def test_association_of_an_earlier_instance_of_the_same_name_is_told_apart(created: str | None, same: bool) -> None:
    item = {**ITEM, "cloudSqlInstanceBackupPlanAssociationProperties": {"instanceCreateTime": created}}
    assert (plan_of(ListedPlans([item])).association is not None) is same
    assert plan_of(ListedPlans([item]), instance=replace(ORDERS, created=None)).association


def test_of_several_associations_the_one_that_is_surely_of_the_instance_and_active_counts() -> None:
    states = ("DELETING", "ACTIVE", "CREATING", "NEWER_WORD")
    items: list[object] = [{**ITEM, "name": f"a-{state}", "state": state} for state in states]
    undated = {**ITEM, "name": "0", "cloudSqlInstanceBackupPlanAssociationProperties": {}}
    assert associated(ListedPlans([undated, *items])).name == "a-ACTIVE"
    assert associated(ListedPlans([undated, items[2], items[0]])).name == "a-CREATING"
    assert associated(ListedPlans([undated])).name == "0"


def test_association_that_is_listed_twice_counts_once_in_its_later_version() -> None:
    assert associated(ListedPlans([ITEM, {**ITEM, "state": "PAUSED"}])).state == "PAUSED"


def test_words_that_are_not_known_are_unknown() -> None:
    item = {**ITEM, "state": "HIBERNATING", "rulesConfigInfo": [{**RULE, "lastBackupState": "RETRYING"}, {}]}
    association = associated(ListedPlans([item]))
    assert association.state == "unknown"
    assert [(rule.id, rule.status, rule.error) for rule in association.rules] == [
        ("daily", RuleStatus.UNKNOWN, None),
        ("unknown", RuleStatus.UNKNOWN, None),
    ]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": 13}, RuleError("INTERNAL", "")),
        ({"code": 99, "message": "x" * 1000}, RuleError("99", "x" * 500)),
        ({"message": "no code"}, RuleError("", "no code")),
        ({"code": -1}, None),
        ({}, None),
        (None, None),
        ("text", None),
    ],
)
def test_error_of_a_rule(error: object, expected: RuleError | None) -> None:
    item = {**ITEM, "rulesConfigInfo": [{**RULE, "lastBackupError": error}]}
    assert associated(ListedPlans([item])).rules[0].error == expected


def test_instance_without_an_association_has_none() -> None:
    assert plan_of(ListedPlans([])) == InstancePlan(ORDERS.created)


def test_vault_of_a_new_association_is_that_of_its_plan() -> None:
    new = {key: value for key, value in ITEM.items() if key not in ("dataSource", "rulesConfigInfo")}
    assert associated(ListedPlans([new], {"vaults": [PLAN_ITEM]})).vault == VAULT
    assert associated(ListedPlans([new])).vault == ""


OTHER = replace(ORDERS, id=InstanceId("p", "pg-2"), region="europe-west9")


@pytest.mark.parametrize("region", ["europe-west9", UNKNOWN_REGION])
def test_instances_of_an_unreachable_region_keep_their_facts_with_their_age(region: str) -> None:
    second = {**ITEM, "name": "x", "resource": "projects/p/instances/pg-2"}
    earlier = read(ListedPlans([ITEM, second]), ORDERS, OTHER).plans
    earlier = replace(earlier, read_at=NOW - HOUR)
    plans = read(ListedPlans([ITEM], unreachable=(region,)), ORDERS, OTHER, before=earlier).plans
    assert plans.by_instance["pg-2"] is earlier.by_instance["pg-2"]
    assert (plans.facts_read_at("orders"), plans.facts_read_at("pg-2")) == (NOW, NOW - HOUR)
    assert plans.unreachable_regions == (region,)
    later = read(ListedPlans([ITEM], unreachable=(region,)), ORDERS, OTHER, before=replace(plans, read_at=NOW + HOUR))
    assert later.plans.facts_read_at("pg-2") == NOW - HOUR


def test_instance_of_an_unreachable_region_that_was_never_read_is_not_known() -> None:
    plans = read(ListedPlans([], unreachable=("europe-west9",)), ORDERS, OTHER).plans
    assert (plans.facts_read_at("orders"), plans.facts_read_at("pg-2")) == (NOW, None)


@pytest.mark.parametrize("resource", [7, "", None])
def test_item_whose_instance_cannot_be_read_is_reported_and_may_be_that_of_any_instance(resource: object) -> None:
    earlier = replace(read(ListedPlans([ITEM])).plans, read_at=NOW - MINUTE)
    reports: list[tuple[str, str]] = []
    plans = read(ListedPlans([{**ITEM, "resource": resource}]), before=earlier, reports=reports).plans
    assert reports == [("backup_plan_association", "resource")]
    assert plans.facts_read_at("orders") == NOW - MINUTE


@pytest.mark.parametrize("item", [3, None, [], {}, {"state": "ACTIVE", "resource": 7}])
def test_item_that_says_nothing_is_reported_and_affects_no_instance(item: object) -> None:
    reports: list[tuple[str, str]] = []
    other = replace(ORDERS, id=InstanceId("p", "pg-2"))
    plans = read(ListedPlans([item, ITEM, item]), ORDERS, other, reports=reports).plans
    assert [kind for kind, _ in reports] == ["backup_plan_association"] * 2
    assert plans.by_instance["orders"].association
    assert plans.by_instance["pg-2"] == InstancePlan(ORDERS.created)


def test_fields_that_cannot_be_read_are_reported_and_the_rest_is_used() -> None:
    odd = {**RULE, "lastSuccessfulBackupConsistencyTime": "soon", "lastBackupError": 5}
    reports: list[tuple[str, str]] = []
    plan = {**PLAN_ITEM, "backupRules": [{"ruleId": "daily", "backupRetentionDays": "many"}, 4]}
    source = ListedPlans([{**ITEM, "rulesConfigInfo": [odd, None]}], {"vaults": [plan, {"backupVault": VAULT}]})
    reading = read(source, reports=reports)
    assert reports == [
        (
            "backup_plan_association",
            "rulesConfigInfo, rulesConfigInfo.lastBackupError, rulesConfigInfo.lastSuccessfulBackupConsistencyTime",
        ),
        ("backup_plan", "backupRules, backupRules.backupRetentionDays"),
        ("backup_plan", "name"),
    ]
    association = reading.plans.by_instance["orders"].association
    assert association
    assert association.rules[0].status is RuleStatus.FAILED


@pytest.mark.parametrize(
    ("days", "expected"), [(35, 35 * DAY), ("35", 35 * DAY), (0, None), (10**9, None), (None, None)]
)
def test_retention_is_a_plausible_number_of_days(days: object, expected: object) -> None:
    plan = parse_plan({"name": PLAN, "backupRules": [{"ruleId": "daily", "backupRetentionDays": days}]}, latest=NOW)
    assert plan.fact.retention.get("daily") == expected


def test_failures_are_counted_from_one_reading_to_the_next() -> None:
    plans = None
    for state in ("SUCCEEDED", "FAILED", "FAILED", "SUCCEEDED", "PERMISSION_DENIED"):
        item = {**ITEM, "rulesConfigInfo": [{**RULE, "lastBackupState": state}]}
        plans = read(ListedPlans([item]), before=plans).plans
    assert plans
    assert plans.by_instance["orders"].failures == {"daily": 2}


@given(json_values, json_values, st.sampled_from(sorted(ITEM)))
def test_any_item_is_parsed_or_rejected(item: object, value: object, field: str) -> None:
    for candidate in (item, {**ITEM, field: value}, {**PLAN_ITEM, field: value}):
        for parse in (parse_association, parse_plan):
            try:
                parse(candidate, latest=NOW)
            except UnreadableItemError:
                continue


def test_plans_of_the_simulated_world_are_read() -> None:
    demo = world(WORLDS["demo"]())
    instances = {
        name: replace(ORDERS, id=InstanceId("museum", name), created=NOW - 400 * DAY) for name in ("enhanced",)
    }
    reading = read_plans(WorldSource(demo), "museum", instances, NOW, None, lambda _kind, _text: None)
    assert reading.failure is None
    plan = reading.plans.by_instance["enhanced"]
    assert [(rule.id, rule.retention) for rule in plan.rules] == [("daily", 35 * DAY), ("monthly", 365 * DAY)]
    assert plan.recovery_point
    assert NOW - plan.recovery_point < 8 * HOUR
