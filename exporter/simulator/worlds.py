"""Worlds: projects, the instances in them, and what the API would say of them at any moment."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from exporter.simulator.scenarios import ALL, SCENARIOS, Scenario, instance_resource
from exporter.simulator.timeline import Resource, ends, resource, timestamp

DAY = timedelta(days=1)
HISTORY = 30  # windows that the listing remembers, beside the backups that are retained
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
        # A long listing, as long as the world stands still.
        self._listed: dict[str, tuple[Mapping[str, Scenario], datetime, list[Resource]]] = {}

    def instances(self, project: str) -> list[Resource]:
        """The items of `instances.list`."""
        return [self._instance(project, name) for name in sorted(self.projects[project].instances)]

    def backup_runs(self, project: str, instance: str | None = None) -> list[Resource]:
        """The items of `backupRuns.list`, of one instance or of all: newest first by when they were enqueued."""
        if instance:
            return self._newest_first(project, [instance])
        instances, now = self.projects[project].instances, self.clock()
        known, at, listed = self._listed.get(project, (None, None, []))
        if known is not instances or at != now:
            listed = self._newest_first(project, instances)
            self._listed[project] = instances, now, listed
        return listed

    def _newest_first(self, project: str, names: Iterable[str]) -> list[Resource]:
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
        for window in range(latest, min(latest, 0) - HISTORY, -1):
            opened = self._opened(scenario, window)
            shown = resource(scenario.windows(window), "AUTOMATED", opened, now) if opened >= created else None
            remembered = window > latest - HISTORY or (shown and shown["status"] == "SUCCESSFUL")  # until it expires
            if shown and remembered:
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


def _of(team: str, scenarios: Mapping[str, Scenario]) -> dict[str, Scenario]:
    """The same, owned by a team."""
    labels = {"userLabels": {"env": "prod", "team": team}}
    return {name: replace(scenario, settings={**scenario.settings, **labels}) for name, scenario in scenarios.items()}


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
        "warehouse-prod": Project(_of("logistics", warehouse)),
        "museum": Project(_of("insight", _one_of_each())),
        "sealed": Project(refuses="notAuthorized"),
    }


def healthy() -> dict[str, Project]:
    """Nothing but healthy and exempt instances."""
    well = ("healthy", "idle", "retried", "high-availability", "stopped", "suspended", "replica", "enhanced")
    return {"shop-prod": Project({name: SCENARIOS[name] for name in well})}


def fleet(instances: int, projects: int) -> dict[str, Project]:
    """Many instances with thirty backups each, most of them well; windows are spread over the day."""
    teams = ("storefront", "payments", "logistics", "insight", "platform")
    inhabited: list[dict[str, Scenario]] = [{} for _ in range(projects)]
    for number in range(instances):
        project, name = inhabited[number % projects], f"database-{number // projects:04}"
        story = SCENARIOS[_FLEET[number // projects % len(_FLEET)]]
        project[name] = replace(
            story,
            opened_ago=story.opened_ago if story.name in _TIMED else timedelta(hours=5 + number * 7 % 19),
            settings={"userLabels": {"env": "prod", "team": teams[number % projects % len(teams)]}, **story.settings},
            backups={"backupRetentionSettings": {"retentionUnit": "COUNT", "retainedBackups": 30}, **story.backups},
        )
    return {f"team-{number:03}-prod": Project(scenarios) for number, scenarios in enumerate(inhabited)}


# Of a hundred instances: what they are. The order puts the rare ones apart.
_RARE = ("failing", "missed", "stuck", "slow", "retried", "flapping", "running", "on-demand-only", "stale", "disabled")
_FLEET = tuple(
    _RARE[number // 10] if number % 10 == 5 else "idle" if number % 10 == 7 else "replica" if number == 9 else "healthy"
    for number in range(100)
)
_TIMED = ("missed", "running", "stale", "slow")  # stories that depend on when the window opened

MOST_INSTANCES = 1_000_000


def parse_world(text: str) -> dict[str, Project]:
    """The projects of a world: `demo`, `healthy`, or `fleet:INSTANCES:PROJECTS`. Raises ValueError."""
    name, *numbers = text.split(":")
    if name in WORLDS and not numbers:
        return WORLDS[name]()
    if name != "fleet" or len(numbers) > 2 or not all(number.isdecimal() for number in numbers):
        raise ValueError(f"{text!r} is not a known world; there are demo, healthy, fleet and fleet:INSTANCES:PROJECTS")
    instances = int(numbers[0]) if numbers else 1000
    projects = int(numbers[1]) if numbers[1:] else max(1, instances // 100)
    if not 1 <= projects <= instances <= MOST_INSTANCES:
        raise ValueError(f"{text!r}: a fleet has up to {MOST_INSTANCES} instances, in no more projects than that")
    return fleet(instances, projects)


WORLDS: Mapping[str, Callable[[], dict[str, Project]]] = {"demo": demo, "healthy": healthy}
