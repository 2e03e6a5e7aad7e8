"""Worlds: projects, the instances in them, and what the API would say of them at any moment."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from exporter.simulator.history import Resource, ends, resource, timestamp
from exporter.simulator.scenarios import ALL, SCENARIOS, Scenario, instance_resource

DAY = timedelta(days=1)
HISTORY = 30  # windows that the listing remembers
Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Project:
    """Instances by name. `refuses` is the reason for which the API refuses the project, if it does."""

    instances: Mapping[str, Scenario] = field(default_factory=dict)
    refuses: str | None = None  # notAuthorized, accessNotConfigured
    labels: Mapping[str, str] = field(default_factory=lambda: {"env": "prod"})


class World:
    """Projects by id, moving with a clock."""

    def __init__(self, projects: Mapping[str, Project], clock: Clock) -> None:
        """Begin now: the scenarios are told from this moment."""
        self.projects, self.clock = projects, clock
        self.began = clock()

    def instances(self, project: str) -> list[Resource]:
        """The items of `instances.list`."""
        return [self._instance(project, name) for name in sorted(self.projects[project].instances)]

    def backup_runs(self, project: str, instance: str | None = None) -> list[Resource]:
        """The items of `backupRuns.list`, of one instance or of all: newest first by when they were enqueued."""
        names = [instance] if instance else list(self.projects[project].instances)
        runs = [run for name in names for run in self._runs(project, name)]
        return sorted(runs, key=lambda run: str(run.get("enqueuedTime", run["windowStartTime"])), reverse=True)

    def ends(self, project: str, instance: str, after: datetime, until: datetime) -> list[str]:
        """The world's own book: the status of every automated run that came to an end in a span of time."""
        scenario = self.projects[project].instances[instance]
        windows = range((after - self._opened(scenario, 0)) // DAY - 1, (until - self._opened(scenario, 0)) // DAY + 1)
        return [
            status
            for window in windows
            for ended, status in ends(scenario.windows(window), self._opened(scenario, window))
            if after < ended <= until
        ]

    def _instance(self, project: str, name: str) -> Resource:
        scenario = self.projects[project].instances[name]
        opened = self._opened(scenario, 0)
        created = timestamp(self.began - scenario.created_ago)
        return instance_resource(scenario, project, name, created, opened.strftime("%H:%M"))

    def _opened(self, scenario: Scenario, window: int) -> datetime:
        return self.began.replace(second=0, microsecond=0) - scenario.opened_ago + window * DAY

    def _runs(self, project: str, name: str) -> Iterator[Resource]:
        scenario, now = self.projects[project].instances[name], self.clock()
        instance = self._instance(project, name)
        retained = _retained(instance)
        for run in self._bare_runs(scenario, now):
            if run["status"] == "SUCCESSFUL" and run["type"] == "AUTOMATED":
                retained -= 1
                if retained < 0:  # expired: the API forgets it
                    continue
            yield {
                **run,
                "instance": name,
                "location": "eu",
                "databaseVersion": instance["databaseVersion"],
                "selfLink": f"https://sqladmin.googleapis.com/v1/projects/{project}/instances/{name}"
                f"/backupRuns/{run['id']}",
            }

    def _bare_runs(self, scenario: Scenario, now: datetime) -> Iterator[Resource]:
        """Automated runs newest first, then those on demand."""
        created = self.began - scenario.created_ago
        latest = (now - self._opened(scenario, 0)) // DAY
        for window in range(latest, latest - HISTORY, -1):
            opened = self._opened(scenario, window)
            shown = resource(scenario.windows(window), "AUTOMATED", opened, now) if opened >= created else None
            if shown:
                yield shown
        for ago, run in scenario.on_demand.items():
            shown = resource(run, "ON_DEMAND", self.began - ago, now)
            if shown:
                yield shown


def _retained(instance: Resource) -> int:
    match instance:
        case {"settings": {"backupConfiguration": {"backupRetentionSettings": {"retainedBackups": int(count)}}}}:
            return count
    return 7


def _one_of_each() -> dict[str, Scenario]:
    return {scenario.name: scenario for scenario in ALL}


def _healthy(*names: str) -> dict[str, Scenario]:
    return dict.fromkeys(names, SCENARIOS["healthy"])


def demo() -> dict[str, Project]:
    """Four projects: a shop that is mostly well, a warehouse in trouble, a museum of everything, and one sealed."""
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
        "warehouse-prod": Project(warehouse),
        "museum": Project(_one_of_each()),
        "sealed": Project(refuses="notAuthorized"),
    }


def healthy() -> dict[str, Project]:
    """Nothing but healthy and exempt instances."""
    well = ("healthy", "idle", "retried", "high-availability", "stopped", "suspended", "replica", "enhanced")
    return {"shop-prod": Project({name: SCENARIOS[name] for name in well})}


WORLDS: Mapping[str, Callable[[], dict[str, Project]]] = {"demo": demo, "healthy": healthy}
