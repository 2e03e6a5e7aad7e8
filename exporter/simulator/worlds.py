"""Worlds: projects with their instances, and the API resources of these at the current time of a clock."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from zlib import crc32

from exporter.simulator import backups
from exporter.simulator.backup_plans import (
    GOLD,
    AssociatedInstance,
    Association,
    Plan,
    association_resource,
    failures,
)
from exporter.simulator.backups import DeletedInstance, retained_backups
from exporter.simulator.recovery_times import recovery_times
from exporter.simulator.scenarios import ALL, SCENARIOS, Scenario, instance_resource
from exporter.simulator.timeline import (
    Resource,
    Run,
    Unscheduled,
    completions,
    failing,
    resource,
    scheduled_start,
    timestamp,
)

DAY = timedelta(days=1)
LISTED_WINDOWS = 30  # number of windows whose runs are listed; retained backups are listed longer
ORGANIZATION = "organizations/1"
Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Project:
    """Instances by name, and deleted ones. `access_error` is the reason of the 403 with which the API responds, if any.

    A deleted instance exists until its deletion; it must not have the name of another one that exists then.
    `permissions` are those that the caller has according to Cloud Resource Manager. `plans` are the backup plans in the
    project, which instances of other projects use too; `backup_dr_error` is the reason of the 403 with which the
    Backup and DR API responds, if any.
    """

    instances: Mapping[str, Scenario] = field(default_factory=dict)
    access_error: str | None = None  # notAuthorized, accessNotConfigured
    labels: Mapping[str, str] = field(default_factory=lambda: {"env": "prod"})
    parent: str = ORGANIZATION  # or folders/ID
    state: str = "ACTIVE"  # or DELETE_REQUESTED
    permissions: frozenset[str] = frozenset({"cloudsql.instances.list", "cloudsql.backupRuns.list"})
    deleted: tuple[DeletedInstance, ...] = ()
    plans: tuple[Plan, ...] = ()
    backup_dr_error: str | None = None  # IAM_PERMISSION_DENIED, SERVICE_DISABLED


@dataclass(frozen=True)
class Folder:
    """A folder; `visible`: the caller has resourcemanager.folders.get on it."""

    parent: str = ORGANIZATION  # or folders/ID
    state: str = "ACTIVE"  # or DELETE_REQUESTED
    visible: bool = True


FOLDERS: Mapping[str, Folder] = {  # by resource name; organizations/1 contains them all
    "folders/10": Folder(),
    "folders/11": Folder("folders/10"),
    "folders/12": Folder("folders/11"),
    "folders/20": Folder(),
    "folders/90": Folder(state="DELETE_REQUESTED"),
}


class World:
    """Projects by ID, in folders, changing with a clock."""

    def __init__(
        self,
        projects: Mapping[str, Project],
        clock: Clock,
        folders: Mapping[str, Folder] = FOLDERS,
        inventory_scopes: frozenset[str] = frozenset({ORGANIZATION}),
    ) -> None:
        """Start the world now; times of scenarios are relative to this start.

        `inventory_scopes` are the organization, folders and projects on which the caller may search Cloud Asset
        Inventory; what is below them inherits this.
        """
        self.projects, self.clock, self.folders = projects, clock, folders
        self.inventory_scopes = inventory_scopes
        self.start = clock()
        self._minute = self.start.replace(second=0, microsecond=0)
        # Listing of all instances by project, reused while the clock stands still.
        self._listings: dict[str, tuple[Mapping[str, Scenario], datetime, list[Resource]]] = {}

    def ancestors(self, parent: str) -> list[str]:
        """Return a folder, all folders above it, and the organization, in this order."""
        found = [parent]
        while found[-1] in self.folders and self.folders[found[-1]].parent not in found:
            found.append(self.folders[found[-1]].parent)
        return found

    def instances(self, project: str) -> list[Resource]:
        """Return the items of `instances.list`."""
        return [self._instance(project, name) for name in sorted(self.existing(project))]

    def existing(self, project: str) -> Mapping[str, Scenario]:
        """Return the instances that exist now, by name."""
        content, now = self.projects[project], self.clock()
        if not content.deleted:
            return content.instances
        waiting = {other.name: other.scenario for other in content.deleted if now < self._deletion(other)}
        return {**waiting, **content.instances}

    def backups(self, project: str) -> list[Resource]:
        """Return the items of `backups.list`: of all instances, in an order that nothing can rely on."""
        now = self.clock()
        items = [
            item
            for name in self.existing(project)
            for item in backups.existing(self._runs(project, name), self._instance(project, name))
        ]
        for deleted in self.projects[project].deleted:
            deletion = self._deletion(deleted)
            if deletion <= now:
                instance = self._resource(deleted.scenario, project, deleted.name)
                runs = self._runs_of(deleted.scenario, instance, deletion)
                items += backups.outliving(deleted, runs, instance, deletion, now)
        return sorted(items, key=lambda item: crc32(str(item["name"]).encode()))

    def _deletion(self, deleted: DeletedInstance) -> datetime:
        return self.start - deleted.ago

    def backup_runs(self, project: str, instance: str | None = None) -> list[Resource]:
        """Return the items of `backupRuns.list` for one instance or all, by enqueued time, newest first."""
        if instance:
            return self._newest_first(project, [instance])
        instances, now = self.projects[project].instances, self.clock()
        cached_instances, cached_at, runs = self._listings.get(project, (None, None, []))
        if cached_instances is not instances or cached_at != now:
            runs = self._newest_first(project, self.existing(project))
            self._listings[project] = instances, now, runs
        return runs

    def recovery_times(self, project: str, instance: str) -> Resource | None:
        """Return the response of `getLatestRecoveryTime`; None where there is nothing to recover to."""
        logs = self.projects[project].instances[instance].logs
        resource = self._instance(project, instance)
        return recovery_times(resource, self._runs(project, instance), logs, self.start, self.clock())

    def backup_plan_associations(self, project: str) -> list[Resource]:
        """Return the items of `backupPlanAssociations.list` in all regions."""
        now = self.clock()
        return [
            association_resource(association, self._associated(project, name, association), number, now)
            for name, scenario in sorted(self.projects[project].instances.items())
            for number, association in enumerate(scenario.associations)
        ]

    def plan_rule_failures(self, project: str, instance: str, after: datetime, until: datetime) -> dict[str, int]:
        """Return the changes of each rule's state to a failed one in a period, as the expected value for tests."""
        return {
            rule: failures(runs, self._associated(project, instance, association), after, until)
            for association in self.projects[project].instances[instance].associations
            for rule, runs in association.rules.items()
        }

    def backup_plans(self, project: str) -> list[Resource]:
        """Return the items of `backupPlans.list` in all regions."""
        return [plan.resource() for plan in self.projects[project].plans]

    def _newest_first(self, project: str, names: Iterable[str]) -> list[Resource]:
        runs = [run for name in names for run in self._runs(project, name)]
        return sorted(runs, key=_enqueued, reverse=True)

    def completed_runs(self, project: str, instance: str, after: datetime, until: datetime) -> list[str]:
        """Return the status of every automated run completed in a period, as the expected value for tests."""
        scenario = self.projects[project].instances[instance]
        first_start = self._window_start(scenario, 0)
        runs = [
            (scenario.windows(window), scheduled_start(instance, self._window_start(scenario, window)))
            for window in range((after - first_start) // DAY - 1, (until - first_start) // DAY + 1)
        ]
        runs += [(other.run, self._minute - other.ago) for other in scenario.unscheduled if other.type == "AUTOMATED"]
        return [
            status
            for run, window_start in runs
            for completed, status in completions(run, window_start)
            if after < completed <= until
        ]

    def _instance(self, project: str, name: str) -> Resource:
        return self._resource(self.existing(project)[name], project, name)

    def _resource(self, scenario: Scenario, project: str, name: str) -> Resource:
        created = timestamp(self.start - scenario.created_ago)
        start_time = self._window_start(scenario, 0).strftime("%H:%M")
        return instance_resource(scenario, project, name, created, start_time)

    def _associated(self, project: str, name: str, association: Association) -> AssociatedInstance:
        scenario = self.projects[project].instances[name]
        return AssociatedInstance(
            project,
            name,
            str(self._instance(project, name)["region"]),
            created=self.start - (association.instance_created_ago or scenario.created_ago),
            window_start=partial(self._window_start, scenario),
            latest_window=(self.clock() - self._window_start(scenario, 0)) // DAY,
        )

    def _window_start(self, scenario: Scenario, window: int) -> datetime:
        return self._minute - scenario.opened_ago + window * DAY

    def _runs(self, project: str, name: str) -> Iterator[Resource]:
        return self._runs_of(self.existing(project)[name], self._instance(project, name), self.clock())

    def _runs_of(self, scenario: Scenario, instance: Resource, now: datetime) -> Iterator[Resource]:
        project, name = str(instance["project"]), str(instance["name"])
        retained = retained_backups(instance)
        for run in self._runs_without_instance(scenario, name, now):
            if run["status"] == "SUCCESSFUL" and run["type"] == "AUTOMATED":
                retained -= 1
                if retained < 0:  # expired: no longer listed
                    continue
            if not _reports_size(name, str(run["id"])):
                run.pop("maxChargeableBytes", None)
            yield {
                **run,
                "instance": name,
                "location": "eu",
                "databaseVersion": instance["databaseVersion"],
                "selfLink": f"https://sqladmin.googleapis.com/v1/projects/{project}/instances/{name}"
                f"/backupRuns/{run['id']}",
            }

    def _runs_without_instance(self, scenario: Scenario, name: str, now: datetime) -> Iterable[Resource]:
        """Return the runs that are listed, newest first."""
        scheduled = self._scheduled_runs(scenario, name, now)
        if not scenario.unscheduled:
            return scheduled
        return sorted((*scheduled, *self._unscheduled_runs(scenario, now)), key=_enqueued, reverse=True)

    def _scheduled_runs(self, scenario: Scenario, name: str, now: datetime) -> Iterator[Resource]:
        created = self.start - scenario.created_ago
        latest = (now - self._window_start(scenario, 0)) // DAY
        for window in range(latest, min(latest, 0) - LISTED_WINDOWS, -1):
            opening = self._window_start(scenario, window)
            if opening < created:  # the window in which an instance is created has no run, as recorded
                return
            run = resource(scenario.windows(window), "AUTOMATED", scheduled_start(name, opening), now)
            recent = window > latest - LISTED_WINDOWS
            if run and (recent or run["status"] == "SUCCESSFUL"):  # backups are listed until they expire
                yield run

    def _unscheduled_runs(self, scenario: Scenario, now: datetime) -> Iterator[Resource]:
        for other in scenario.unscheduled:
            run = resource(other.run, other.type, self._minute - other.ago, now)
            if run:
                yield run | ({"description": other.description} if other.description else {})


def _enqueued(run: Resource) -> str:
    """Return the key by which runs are listed; without the Z, times with and without milliseconds are in order."""
    return str(run.get("enqueuedTime", run["windowStartTime"])).removesuffix("Z")


def _reports_size(instance: str, run_id: str) -> bool:
    """Whether a run reports its size. Recorded ones often do not: here no run of some instances, and some of others."""
    match crc32(instance.encode()) % 4:
        case 1:
            return crc32(f"{instance} {run_id}".encode()) % 3 > 0
        case 3:
            return False
        case _:
            return True


def _all_scenarios() -> dict[str, Scenario]:
    return {scenario.name: scenario for scenario in ALL}


_RETAINED = SCENARIOS["backups-retained"]
_FINAL = SCENARIOS["final-backup"]
_BOTH = {**_RETAINED.settings, **_FINAL.settings}
_ON_DEMAND_TOO = (Unscheduled(timedelta(days=41, seconds=7.314), description="before the deletion"),)


def _always_failing(_window: int) -> Run:
    return failing("INTERNAL_ERROR")


DELETED = (  # deleted instances, by what is left of them
    DeletedInstance("former-final", timedelta(days=28), _FINAL),
    DeletedInstance("former-retained", timedelta(days=2)),
    DeletedInstance("former-dated", timedelta(days=6), automated_expiry=True),
    DeletedInstance("former-both", timedelta(days=3), replace(_RETAINED, settings=_BOTH)),
    DeletedInstance("former-on-demand", timedelta(days=40), replace(_RETAINED, unscheduled=_ON_DEMAND_TOO)),
    DeletedInstance("former-failing", timedelta(days=4), replace(_RETAINED, windows=_always_failing)),
    DeletedInstance("former-unknown", timedelta(days=5), fields={"instanceSettings": None}),
    DeletedInstance("brand-new", timedelta(days=10), _FINAL),  # the name of an instance that exists
    DeletedInstance("brand-new", timedelta(hours=3)),
)


def _healthy(*names: str) -> dict[str, Scenario]:
    return dict.fromkeys(names, SCENARIOS["healthy"])


def _with_team(team: str, scenarios: Mapping[str, Scenario]) -> dict[str, Scenario]:
    """Return the scenarios with a team label."""
    labels = {"userLabels": {"env": "prod", "team": team}}
    return {name: replace(scenario, settings={**scenario.settings, **labels}) for name, scenario in scenarios.items()}


def demo() -> dict[str, Project]:
    """Return four projects: mostly healthy, mostly unhealthy, one instance of every scenario, and access denied."""
    shop = _healthy("orders", "payments", "customers", "catalogue") | {
        "sessions": SCENARIOS["idle"],
        "search": SCENARIOS["running"],
        "orders-replica": SCENARIOS["replica"],
        "invoices": SCENARIOS["high-availability"],
        "reviews": SCENARIOS["flapping"],
    }
    warehouse = _healthy("stock") | {
        "ledger": SCENARIOS["failing"],
        "suppliers": SCENARIOS["missed"],
        "archive": SCENARIOS["stuck"],
        "returns": SCENARIOS["never"],
    }
    return {
        "shop-prod": Project(
            shop, parent="folders/11", deleted=(DeletedInstance("vouchers", timedelta(days=27, hours=9), _FINAL),)
        ),
        "warehouse-prod": Project(_with_team("logistics", warehouse), parent="folders/12"),
        "museum": Project(_with_team("insight", _all_scenarios()), parent="folders/20", deleted=DELETED),
        "sealed": Project(access_error="notAuthorized"),
        "vaults": Project(plans=(GOLD,)),
    }


def healthy() -> dict[str, Project]:
    """Return one project with only healthy and exempt instances."""
    names = ("healthy", "idle", "retried", "high-availability", "stopped", "suspended", "replica", "enhanced")
    return {"shop-prod": Project({name: SCENARIOS[name] for name in names})}


def organization(others: int) -> dict[str, Project]:
    """Return the demo among other projects, in folders: without instances, without the API, and deleted ones."""
    kinds = (Project(), Project(access_error="accessNotConfigured"), Project(state="DELETE_REQUESTED"))
    parents = (ORGANIZATION, *(name for name, folder in FOLDERS.items() if folder.state == "ACTIVE"))
    return demo() | {
        f"other-{number:04}": replace(kinds[min(number % 10 // 4, 2)], parent=parents[number % len(parents)])
        for number in range(others)
    }


def fleet(instances: int, projects: int) -> dict[str, Project]:
    """Return many instances with 30 backups each, mostly healthy, with windows spread over the day."""
    teams = ("storefront", "payments", "logistics", "insight", "platform")
    instances_by_project: list[dict[str, Scenario]] = [{} for _ in range(projects)]
    for number in range(instances):
        project, name = instances_by_project[number % projects], f"database-{number // projects:04}"
        scenario = SCENARIOS[_FLEET[number // projects % len(_FLEET)]]
        project[name] = replace(
            scenario,
            opened_ago=scenario.opened_ago if scenario.name in _TIMED else timedelta(hours=5 + number * 7 % 19),
            settings={
                "userLabels": {"env": "prod", "team": teams[number % projects % len(teams)]},
                **scenario.settings,
            },
            backups={"backupRetentionSettings": {"retentionUnit": "COUNT", "retainedBackups": 30}, **scenario.backups},
        )
    return {f"team-{number:03}-prod": Project(scenarios) for number, scenarios in enumerate(instances_by_project)}


# Scenarios of a hundred instances, with the rare ones spread out.
_RARE = ("failing", "missed", "stuck", "slow", "retried", "flapping", "running", "on-demand-only", "stale", "disabled")
_FLEET = tuple(
    _RARE[number // 10] if number % 10 == 5 else "idle" if number % 10 == 7 else "replica" if number == 9 else "healthy"
    for number in range(100)
)
_TIMED = ("missed", "running", "stale", "slow")  # scenarios that depend on opened_ago

MAX_INSTANCES, MAX_PROJECTS = 1_000_000, 100_000


def parse_world(text: str) -> dict[str, Project]:
    """Return the projects of a world.

    Worlds are `demo`, `healthy`, `organization:PROJECTS` or `fleet:INSTANCES:PROJECTS`. Raises ValueError.
    """
    name, *numbers = text.split(":")
    if name in WORLDS and not numbers:
        return WORLDS[name]()
    limit = {"fleet": 2, "organization": 1}.get(name, -1)
    if len(numbers) > limit or not all(number.isdecimal() for number in numbers):
        raise ValueError(
            f"unknown world {text!r}; known worlds: demo, healthy, organization, organization:PROJECTS, fleet, "
            "fleet:INSTANCES:PROJECTS"
        )
    if name == "organization":
        return organization(min(int(numbers[0]) if numbers else 30, MAX_PROJECTS))
    instances = int(numbers[0]) if numbers else 1000
    projects = int(numbers[1]) if numbers[1:] else max(1, instances // 100)
    if not 1 <= projects <= instances <= MAX_INSTANCES:
        raise ValueError(
            f"{text!r}: a fleet has 1 to {MAX_INSTANCES} instances, and at most as many projects as instances"
        )
    return fleet(instances, projects)


WORLDS: Mapping[str, Callable[[], dict[str, Project]]] = {"demo": demo, "healthy": healthy}
