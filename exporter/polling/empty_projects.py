"""The projects that are polled every `poll.empty_interval` only: found by a search, and without instances or API."""

import time
from collections.abc import Iterable, Set
from dataclasses import replace
from datetime import timedelta

from exporter.config import Config
from exporter.facts.model import Clock
from exporter.facts.snapshot import ProjectState, ProjectStatus, Snapshot
from exporter.polling.schedule import SpreadSchedule
from exporter.polling.targets import Targets, without_instances


class EmptyProjects:
    """Decides which projects these are, and when they are polled. Not safe to share between threads."""

    def __init__(self, config: Config, clock: Clock, due: dict[str, float]) -> None:
        """`due` keeps, across reloads, when each project is due on the monotonic clock."""
        self._poll, self._clock = config.poll, clock
        self._interval = config.poll.empty_interval
        self._schedule = SpreadSchedule(self._interval, due)

    def __contains__(self, project: str) -> bool:
        return project in self._schedule

    def is_due(self, project: str) -> bool:
        """Whether a project is due, regardless of the pace."""
        return self._schedule.is_due(project, time.monotonic())

    def next_turn(self) -> tuple[str | None, float]:
        """The project to poll now, if any, and the seconds until the next turn."""
        return self._schedule.next(time.monotonic())

    def keep_found(self, targets: Targets) -> None:
        """Remove projects that are no longer targets, or that a target names."""
        self._schedule.keep(targets.selectors.keys() - targets.named)

    def add_unpolled(self, targets: Targets, polled: Set[str], snapshot: Snapshot) -> None:
        """Add the found projects that were empty before the start, or are so by Cloud Asset Inventory."""
        assumed = without_instances(snapshot.searches.values())
        for project in targets.selectors.keys() - targets.named - polled:
            status = snapshot.projects.get(project)
            empty = self.is_settled(replace(status, found=True)) if status else project in assumed
            if empty and project not in self:
                age = self._clock() - status.scan.read_at if status and status.scan else self._interval
                self._add(project, self._interval - age)

    def take_out(self, projects: Iterable[str]) -> list[str]:
        """Those of the projects that are here, to be polled now out of turn: an instance is known there."""
        taken = [project for project in projects if project in self]
        for project in taken:
            self._add(project, self._interval)
        return taken

    def update(self, status: ProjectStatus) -> None:
        """Add or remove a project after a poll; one that fails meanwhile is polled again earlier, in its turn."""
        project = status.project
        if self.is_settled(status):
            if project not in self:
                self._add(project, self._interval)
        elif status.found and status.state is ProjectState.FAILING and project in self:
            self._add(project, min(self._poll.interval, self._interval))
        else:
            self._schedule.discard(project)

    def is_settled(self, status: ProjectStatus) -> bool:
        """Whether a found project has had no instances, or no API, for at least the interval."""
        if not status.found or status.state not in (ProjectState.EMPTY, ProjectState.API_DISABLED):
            return False
        seen = status.scan.had_instances_at if status.scan else None
        return seen is None or self._clock() - seen >= self._interval

    def _add(self, project: str, after: timedelta) -> None:
        self._schedule.add(project, time.monotonic() + after.total_seconds())
