"""Builders of facts, simulated worlds and configurations, with defaults for everything a test does not vary."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from exporter.config import Config, Policy
from exporter.facts.collected import NOTHING, InstanceFacts
from exporter.facts.exporter_info import ExporterInfo
from exporter.facts.history import history
from exporter.facts.model import (
    ActivationPolicy,
    BackupRun,
    BackupSettings,
    BackupTier,
    BackupType,
    Instance,
    InstanceId,
    InstanceState,
    InstanceType,
    PollResult,
    RunError,
    RunStatus,
)
from exporter.metrics.code_labels import CodeLabels
from exporter.scan.incremental import ScanOptions
from exporter.scan.source import Page, SourceError
from exporter.simulator import SimulatedClock, World
from exporter.simulator.api import ApiResponse, Request, respond
from exporter.simulator.worlds import FOLDERS, Folder, Project
from exporter.verdict.assess import Verdict, assess

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)

SETTINGS = BackupSettings(
    enabled=True, window_start=4 * HOUR, tier=BackupTier.STANDARD, pitr_enabled=False, retained_backups=7
)
INSTANCE = Instance(
    id=InstanceId("shop-prod", "orders"),
    type=InstanceType.CLOUD_SQL_INSTANCE,
    state=InstanceState.RUNNABLE,
    activation=ActivationPolicy.ALWAYS,
    created=NOW - 400 * DAY,
    backups=SETTINGS,
)
EXPORTER_INFO = ExporterInfo(
    version="1.2.3",
    revision="abc",
    python_version="3.11.0",
    shard_index=0,
    shard_total=1,
    stale_after=HOUR,
    requests_per_minute=300,
    reload_successful=True,
    last_successful_reload=NOW,
    state_persistent=True,
)


def run(
    status: RunStatus = RunStatus.SUCCESSFUL,
    ago: timedelta = 8 * HOUR,
    took: timedelta = 7 * MINUTE,
    kind: BackupType = BackupType.AUTOMATED,
    location: str | None = "eu",
    code: str = "INTERNAL_ERROR",
) -> BackupRun:
    """A run that started exactly `ago` before NOW, when its window opened."""
    start = NOW - ago
    never_started = status in (RunStatus.SKIPPED, RunStatus.OVERDUE)
    ended = status.completed and not never_started
    return BackupRun(
        id=str(round(start.timestamp() * 1000)),
        type=kind,
        status=status,
        scheduled=start,
        window_start=start,
        enqueued=None if never_started else start,
        start=None if never_started or status is RunStatus.ENQUEUED else start,
        end=start + took if ended else None,
        error=RunError(code, "it failed", code) if status is RunStatus.FAILED else None,
        location=location,
        size_bytes=2**30 if status is RunStatus.SUCCESSFUL else None,
    )


def verdict_on(
    *runs: BackupRun,
    instance: Instance = INSTANCE,
    policy: Policy | None = None,
    now: datetime = NOW,
    collected: InstanceFacts = NOTHING,
) -> Verdict:
    """The verdict on an instance with these runs."""
    return assess(instance, history(runs), policy or Policy(), now, collected=collected)


NEWEST_PAGE_SIZE = 5  # short, so that worlds of few runs need more than one page


def encoded(item: object) -> bytes:
    """An item in JSON."""
    return json.dumps(item).encode()


class WorldSource:
    """A Source that reads a simulated world without a network."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.requests: list[str] = []

    def instances(self, project: str) -> Iterator[Page]:
        """As the API lists them."""
        yield from self._pages(f"/v1/projects/{project}/instances", 1000)

    def backup_runs(self, project: str, instance: str, *, newest: bool = False) -> Iterator[Page]:
        """As the API lists them."""
        yield from self._pages(
            f"/v1/projects/{project}/instances/{instance}/backupRuns", NEWEST_PAGE_SIZE if newest else 1000
        )

    def backup_run(self, project: str, instance: str, run_id: str) -> bytes | None:
        """As the API returns it."""
        response = self._request(f"/v1/projects/{project}/instances/{instance}/backupRuns/{run_id}", {})
        return None if response.status == 404 else encoded(response.body)

    def recovery_times(self, project: str, instance: str) -> bytes | None:
        """As the API returns them."""
        response = self._request(f"/v1/projects/{project}/instances/{instance}/getLatestRecoveryTime", {})
        return encoded(response.body) if response.status == 200 else None

    def backups(self, project: str) -> Iterator[Page]:
        """As the API lists them."""
        yield from self._pages(f"/v1/projects/{project}/backups", 2000, "backups", "pageSize")

    def backup_plan_associations(self, project: str) -> Iterator[Page]:
        """As the API lists them."""
        yield self._plans_page(project, "backupPlanAssociations")

    def backup_plans(self, project: str) -> Iterator[Page]:
        """As the API lists them."""
        yield self._plans_page(project, "backupPlans")

    def projects(self, query: str) -> Iterator[str]:
        """Every project of the world."""
        assert query
        yield from self.world.projects

    def projects_in(self, parent: str) -> Iterator[str]:
        """As the API lists them."""
        yield from self._found("/v3/projects:search", "projects", "projectId", query=f"parent:{parent}")

    def folders_in(self, parent: str) -> Iterator[str]:
        """As the API lists them."""
        query = f"parent={parent} AND state=ACTIVE"
        yield from self._found("/v3/folders:search", "folders", "name", query=query)

    def projects_below(self, scope: str) -> Iterator[str]:
        """As the API lists them."""
        yield from self._in_inventory(scope, "cloudresourcemanager.googleapis.com/Project")

    def projects_with_instances(self, scope: str) -> Iterator[str]:
        """As the API lists them."""
        yield from self._in_inventory(scope, "sqladmin.googleapis.com/Instance")

    def _in_inventory(self, scope: str, asset_type: str) -> Iterator[str]:
        path = f"/v1/{scope}:searchAllResources"
        for name in self._found(path, "results", "name", assetTypes=asset_type, pageSize="500"):
            yield name.split("/")[4]

    def _found(self, path: str, key: str, field: str, **query: str) -> Iterator[str]:
        """One page is enough."""
        items = self._request(path, query).body.get(key, [])
        assert isinstance(items, list)
        yield from (str(item[field]) for item in items if item.get("state") in ("ACTIVE", "RUNNABLE"))

    def _plans_page(self, project: str, key: str) -> Page:
        response = self._request(f"/v1/projects/{project}/locations/-/{key}", {"pageSize": "1000"})
        if response.status != 200:
            raise SourceError(PollResult.FORBIDDEN, f"{key} of project {project}: grant a role")
        items = response.body.get(key, [])
        assert isinstance(items, list)
        return Page([encoded(item) for item in items], last=True)

    def _pages(self, path: str, size: int, key: str = "items", size_parameter: str = "maxResults") -> Iterator[Page]:
        query = {size_parameter: str(size)}
        while True:
            body = self._request(path, query).body
            items = body.get(key, [])
            assert isinstance(items, list)
            yield Page([encoded(item) for item in items], last="nextPageToken" not in body)
            if "nextPageToken" not in body:
                return
            query["pageToken"] = str(body["nextPageToken"])

    def _request(self, path: str, query: dict[str, str]) -> ApiResponse:
        self.requests.append(path)
        return respond(Request(self.world, path, query))


def world(projects: dict[str, Project], speed: float = 0, folders: Mapping[str, Folder] = FOLDERS) -> World:
    """A world whose clock starts at NOW and stands still, unless a speed is given."""
    return World(projects, SimulatedClock(NOW, speed), folders)


def config(
    endpoint: str = "http://127.0.0.1:1/", projects: tuple[str, ...] = ("museum",), **sections: object
) -> Config:
    """A configuration for simulated projects."""
    return Config.model_validate(
        {
            "cloudsql": {"endpoint": endpoint, "credentials": "anonymous", "requests_per_minute": 60_000},
            "targets": [{"project": project} for project in projects],
            "state": {"path": None},
            **sections,
        }
    )


def scan_options(
    unreadable: Callable[[str, str], None] = lambda _kind, _field: None,
    selects: Callable[[Instance], bool] = lambda _instance: True,
) -> ScanOptions:
    """Scan options that select every instance, with a full listing every six hours."""
    return ScanOptions(selects, CodeLabels().label, unreadable, 6 * HOUR)


def eventually(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether a condition becomes true before the timeout."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()
