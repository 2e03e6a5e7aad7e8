"""Worlds: projects with their instances, and the API resources of these at the current time of a clock."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from exporter.simulator.scenarios import ALL, SCENARIOS, Scenario, instance_resource
from exporter.simulator.timeline import Resource, completions, resource, timestamp

DAY = timedelta(days=1)
LISTED_WINDOWS = 30  # number of windows whose runs are listed; retained backups are listed longer
Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Project:
    """Instances by name. `access_error` is the reason of the 403 with which the API responds, if any."""

    instances: Mapping[str, Scenario] = field(default_factory=dict)
    access_error: str | None = None  # notAuthorized, accessNotConfigured
    labels: Mapping[str, str] = field(default_factory=lambda: {"env": "prod"})
    parent: str = "organizations/1"  # or folders/ID
    state: str = "ACTIVE"  # or DELETE_REQUESTED


class World:
    """Projects by ID, changing with a clock."""

    def __init__(self, projects: Mapping[str, Project], clock: Clock) -> None:
        """Start the world now; times of scenarios are relative to this start."""
        self.projects, self.clock = projects, clock
        self.start = clock()
        # Listing of all instances by project, reused while the clock stands still.
        self._listings: dict[str, tuple[Mapping[str, Scenario], datetime, list[Resource]]] = {}

    def instances(self, project: str) -> list[Resource]:
        """Return the items of `instances.list`."""
        return [self._instance(project, name) for name in sorted(self.projects[project].instances)]

    def backup_runs(self, project: str, instance: str | None = None) -> list[Resource]:
        """Return the items of `backupRuns.list` for one instance or all, by enqueued time, newest first."""
        if instance:
            return self._newest_first(project, [instance])
        instances, now = self.projects[project].instances, self.clock()
        cached_instances, cached_at, runs = self._listings.get(project, (None, None, []))
        if cached_instances is not instances or cached_at != now:
            runs = self._newest_first(project, instances)
            self._listings[project] = instances, now, runs
        return runs

    def _newest_first(self, project: str, names: Iterable[str]) -> list[Resource]:
        runs = [run for name in names for run in self._runs(project, name)]
        return sorted(runs, key=lambda run: str(run.get("enqueuedTime", run["windowStartTime"])), reverse=True)

    def completed_runs(self, project: str, instance: str, after: datetime, until: datetime) -> list[str]:
        """Return the status of every automated run completed in a period, as the expected value for tests."""
        scenario = self.projects[project].instances[instance]
        first_start = self._window_start(scenario, 0)
        windows = range((after - first_start) // DAY - 1, (until - first_start) // DAY + 1)
        return [
            status
            for window in windows
            for completed, status in completions(scenario.windows(window), self._window_start(scenario, window))
            if after < completed <= until
        ]

    def _instance(self, project: str, name: str) -> Resource:
        scenario = self.projects[project].instances[name]
        created = timestamp(self.start - scenario.created_ago)
        start_time = self._window_start(scenario, 0).strftime("%H:%M")
        return instance_resource(scenario, project, name, created, start_time)

    def _window_start(self, scenario: Scenario, window: int) -> datetime:
        return self.start.replace(second=0, microsecond=0) - scenario.opened_ago + window * DAY

    def _runs(self, project: str, name: str) -> Iterator[Resource]:
        scenario, now = self.projects[project].instances[name], self.clock()
        instance = self._instance(project, name)
        retained = _retained_backups(instance)
        for run in self._runs_without_instance(scenario, now):
            if run["status"] == "SUCCESSFUL" and run["type"] == "AUTOMATED":
                retained -= 1
                if retained < 0:  # expired: no longer listed
                    continue
            yield {
                **run,
                "instance": name,
                "location": "eu",
                "databaseVersion": instance["databaseVersion"],
                "selfLink": f"https://sqladmin.googleapis.com/v1/projects/{project}/instances/{name}"
                f"/backupRuns/{run['id']}",
            }

    def _runs_without_instance(self, scenario: Scenario, now: datetime) -> Iterator[Resource]:
        """Yield automated runs, newest first, then on-demand runs."""
        created = self.start - scenario.created_ago
        latest = (now - self._window_start(scenario, 0)) // DAY
        for window in range(latest, min(latest, 0) - LISTED_WINDOWS, -1):
            start = self._window_start(scenario, window)
            automated = resource(scenario.windows(window), "AUTOMATED", start, now) if start >= created else None
            recent = window > latest - LISTED_WINDOWS
            if automated and (recent or automated["status"] == "SUCCESSFUL"):  # backups are listed until they expire
                yield automated
        for ago, run in scenario.on_demand.items():
            on_demand = resource(run, "ON_DEMAND", self.start - ago, now)
            if on_demand:
                yield on_demand


def _retained_backups(instance: Resource) -> int:
    match instance:
        case {"settings": {"backupConfiguration": {"backupRetentionSettings": {"retainedBackups": int(count)}}}}:
            return count
    return 7


def _all_scenarios() -> dict[str, Scenario]:
    return {scenario.name: scenario for scenario in ALL}


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
        "shop-prod": Project(shop),
        "warehouse-prod": Project(_with_team("logistics", warehouse)),
        "museum": Project(_with_team("insight", _all_scenarios())),
        "sealed": Project(access_error="notAuthorized"),
    }


def healthy() -> dict[str, Project]:
    """Return one project with only healthy and exempt instances."""
    names = ("healthy", "idle", "retried", "high-availability", "stopped", "suspended", "replica", "enhanced")
    return {"shop-prod": Project({name: SCENARIOS[name] for name in names})}


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

MAX_INSTANCES = 1_000_000


def parse_world(text: str) -> dict[str, Project]:
    """Return the projects of a world: `demo`, `healthy` or `fleet:INSTANCES:PROJECTS`. Raises ValueError."""
    name, *numbers = text.split(":")
    if name in WORLDS and not numbers:
        return WORLDS[name]()
    if name != "fleet" or len(numbers) > 2 or not all(number.isdecimal() for number in numbers):
        raise ValueError(f"unknown world {text!r}; known worlds: demo, healthy, fleet, fleet:INSTANCES:PROJECTS")
    instances = int(numbers[0]) if numbers else 1000
    projects = int(numbers[1]) if numbers[1:] else max(1, instances // 100)
    if not 1 <= projects <= instances <= MAX_INSTANCES:
        raise ValueError(
            f"{text!r}: a fleet has 1 to {MAX_INSTANCES} instances, and at most as many projects as instances"
        )
    return fleet(instances, projects)


WORLDS: Mapping[str, Callable[[], dict[str, Project]]] = {"demo": demo, "healthy": healthy}
