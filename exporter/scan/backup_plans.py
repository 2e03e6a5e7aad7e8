"""Reading the backup plans of a project's instances of the enhanced tier, from the Backup and DR API.

Two listings: the associations of a project's resources with backup plans, and the plans of each project that these
name, for retention. Google's documents spell the names of resources in several ways: a project by id or number,
instances with or without a location, types with two names of the service. All of them are read.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from exporter.facts.backup_plans import (
    AssociationState,
    BackupPlan,
    InstancePlan,
    InstancePlans,
    PlanAssociation,
    PlanRule,
    RuleError,
    RuleStatus,
    merged,
)
from exporter.facts.model import Instance
from exporter.scan.incremental import CLOCK_SKEW
from exporter.scan.parse import MAX_MESSAGE_LENGTH, Fields, Parsed, UnreadableItemError, json_value
from exporter.scan.source import UNKNOWN_REGION, Source, SourceError

SAME_CREATION = timedelta(minutes=1)  # two statements of when an instance was created may differ by that much
MAX_RETENTION_DAYS = 100_000  # a longer retention is not plausible
_SERVICES = ("sqladmin.googleapis.com", "sql.googleapis.com", "cloudsql.googleapis.com")
_INSTANCE_NAME = re.compile(r"(?:.*/)?projects/[^/]+(?:/locations/[^/]+)?/instances/[^/]+")  # where no type is given
_PLAN_NAME = re.compile(r"(?:.*/)?projects/(?P<project>[A-Za-z0-9][A-Za-z0-9._:-]*)/(?P<rest>.+)")
_VAULT_NAME = re.compile(r"(?P<vault>.+/backupVaults/[^/]+)(?:/.*)?")
_BEST_FIRST = (AssociationState.ACTIVE, AssociationState.UPDATING, AssociationState.CREATING)
_RPC_CODES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)

PlanKey = tuple[str, str]  # the project as it was asked for, and the rest of the resource name
Report = Callable[[str, str], None]  # kind of an item that is not fully readable, and what could not be read of it


@dataclass(frozen=True, slots=True)
class ListedAssociation:
    """An item of `backupPlanAssociations.list` about a Cloud SQL instance, which was created at `created`.

    `instance` is empty where its name cannot be read.
    """

    instance: str
    created: datetime | None
    association: PlanAssociation

    def is_of(self, instance: Instance) -> bool:
        """Whether it is about this instance, not an earlier one of the same name."""
        if self.created is None or instance.created is None:
            return True
        return abs(self.created - instance.created) <= SAME_CREATION


@dataclass(frozen=True, slots=True)
class PlansReading:
    """What was read of the plans of a project's instances.

    `failure` is the first error of a listing of plans, in whose project `failed_in` it occurred.
    """

    plans: InstancePlans
    failure: SourceError | None = None
    failed_in: str = ""


def read_plans(
    source: Source,
    project: str,
    instances: Mapping[str, Instance],
    now: datetime,
    before: InstancePlans | None,
    report: Report,
) -> PlansReading:
    """The backup plans of some instances of a project. Raises SourceError if the associations cannot be read.

    Instances that an incomplete listing may lack keep what was known of them, with the time at which it was read.
    """
    latest = now + CLOCK_SKEW
    listed, regions = _associations(source, project, latest, report)
    known = before.by_instance if before else {}
    found, carried_over = {}, {}
    for name, instance in instances.items():
        found[name] = _best(instance, listed.get(name, ()))
        if found[name] is None and not regions.isdisjoint((UNKNOWN_REGION, instance.region)):
            del found[name]
            read_at = before.facts_read_at(name) if before else None
            if read_at:
                carried_over[name] = read_at
    plans, failure, failed_in = _plans(source, (item.plan for item in found.values() if item), latest, report)
    by_instance = {name: known[name] for name in carried_over}
    for name, association in found.items():
        plan = plans.get(_plan_key(association.plan)) if association else None
        created = instances[name].created
        current = association.with_plan(plan) if association and plan else association
        by_instance[name] = known.get(name, InstancePlan(created)).updated(created, current)
    unreachable = tuple(sorted(filter(None, regions)))
    return PlansReading(InstancePlans(now, by_instance, unreachable, carried_over), failure, failed_in)


def _associations(
    source: Source, project: str, latest: datetime, report: Report
) -> tuple[dict[str, list[ListedAssociation]], set[str | None]]:
    """The associations by instance, and the regions that are missing: UNKNOWN_REGION if an instance is unreadable."""
    by_name: dict[str, ListedAssociation] = {}  # an item can be listed twice, when pages shift
    regions: set[str | None] = set()
    for page in source.backup_plan_associations(project):
        regions |= set(page.unreachable_regions)
        for number, item in enumerate(page.items):
            try:
                parsed = parse_association(json_value(item), latest=latest)
            except UnreadableItemError as error:
                report("backup_plan_association", str(error))
                continue
            if parsed is None:
                continue
            if parsed.unreadable:
                report("backup_plan_association", ", ".join(parsed.unreadable))
            if not parsed.fact.instance:  # it may be about any instance that is not found
                regions.add(UNKNOWN_REGION)
            by_name[parsed.fact.association.name or f"{len(by_name)} {number}"] = parsed.fact
    by_instance: dict[str, list[ListedAssociation]] = {}
    for listed in by_name.values():
        by_instance.setdefault(listed.instance, []).append(listed)
    return by_instance, regions


def _best(instance: Instance, candidates: Iterable[ListedAssociation]) -> PlanAssociation | None:
    """The association of an instance: one that is surely of this instance, and makes backups, if there are several."""

    def rank(listed: ListedAssociation) -> tuple[bool, int, str]:
        state = listed.association.state
        return listed.created is None, (*_BEST_FIRST, state).index(state), listed.association.name

    best = min((listed for listed in candidates if listed.is_of(instance)), key=rank, default=None)
    return best.association if best else None


def _plans(
    source: Source, names: Iterable[str], latest: datetime, report: Report
) -> tuple[dict[PlanKey | None, BackupPlan], SourceError | None, str]:
    """The plans in the projects of some plans, the first error, and in which project it occurred."""
    plans: dict[PlanKey | None, BackupPlan] = {}
    failure, failed_in = None, ""
    for project in sorted({key[0] for key in map(_plan_key, names) if key}):
        try:
            for page in source.backup_plans(project):
                for plan in _readable_plans(page.items, latest, report):
                    if key := _plan_key(plan.name):
                        plans[project, key[1]] = plan
        except SourceError as error:
            if failure is None:
                failure, failed_in = error, project
    return plans, failure, failed_in


def _readable_plans(items: Iterable[bytes], latest: datetime, report: Report) -> Iterator[BackupPlan]:
    for item in items:
        try:
            parsed = parse_plan(json_value(item), latest=latest)
        except UnreadableItemError as error:
            report("backup_plan", str(error))
            continue
        if parsed.unreadable:
            report("backup_plan", ", ".join(parsed.unreadable))
        yield parsed.fact


def _plan_key(name: str) -> PlanKey | None:
    """Project and rest of the name of a plan; None for a name without a project."""
    match = _PLAN_NAME.fullmatch(name)
    return (match["project"], match["rest"]) if match else None


def parse_association(item: object, *, latest: datetime) -> Parsed[ListedAssociation] | None:
    """Read an item of `backupPlanAssociations.list`; None if it is not about a Cloud SQL instance.

    `latest` is the latest plausible timestamp. Raises UnreadableItemError if it has neither a resource nor a type.
    """
    fields = Fields.of(item, latest)
    resource, resource_type = fields.text("resource"), fields.text("resourceType")
    if resource_type is not None and resource_type.partition("/")[0].lower() not in _SERVICES:
        return None
    if resource_type is None and resource is None:
        raise UnreadableItemError("resource")
    if resource_type is None and not _INSTANCE_NAME.fullmatch(resource or ""):
        return None
    if fields.is_blank("resource"):
        fields.unreadable.append("resource")
    properties = fields.child("cloudSqlInstanceBackupPlanAssociationProperties")
    vault = _VAULT_NAME.fullmatch(fields.text("dataSource") or "")
    association = PlanAssociation(
        name=fields.text("name") or "",
        plan=fields.text("backupPlan") or "",
        vault=vault["vault"] if vault else "",
        state=fields.enum("state", AssociationState),
        rules=merged(_rule(rule) for rule in fields.children("rulesConfigInfo")),
    )
    name = (resource or "").rstrip("/").rpartition("/")[2]
    return fields.parsed(ListedAssociation(name, properties.timestamp("instanceCreateTime"), association))


def _rule(fields: Fields) -> PlanRule:
    error = fields.child("lastBackupError")
    code, message = error.integer("code"), error.text("message")
    status = fields.enum("lastBackupState", RuleStatus)
    known = code is not None or message is not None
    return PlanRule(
        id=fields.text("ruleId") or "unknown",
        status=status,
        last_success=fields.timestamp("lastSuccessfulBackupConsistencyTime"),
        error=RuleError(_code_name(code), (message or "")[:MAX_MESSAGE_LENGTH]) if known and status.failed else None,
    )


def _code_name(code: int | None) -> str:
    """The name of a code in google.rpc.Code."""
    if code is None:
        return ""
    return _RPC_CODES[code] if code < len(_RPC_CODES) else str(code)


def parse_plan(item: object, *, latest: datetime) -> Parsed[BackupPlan]:
    """Read an item of `backupPlans.list`. Raises UnreadableItemError if it has no name."""
    fields = Fields.of(item, latest)
    name = fields.text("name")
    if name is None:
        raise UnreadableItemError("name")
    retention = {
        rule.text("ruleId") or "unknown": timedelta(days=days)
        for rule in fields.children("backupRules")
        if (days := rule.integer("backupRetentionDays")) is not None and 0 < days <= MAX_RETENTION_DAYS
    }
    return fields.parsed(BackupPlan(name, fields.text("backupVault") or "", retention))
