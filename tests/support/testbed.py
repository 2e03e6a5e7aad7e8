"""A simulated API and exporters that come and go, on one clock that a test moves."""

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families as read_text

from exporter.simulator import Simulator, World
from exporter.simulator.worlds import Project
from exporter.state.sqlite import FILE
from tests.support.builders import NOW, eventually
from tests.support.forked_exporter import ExporterForker, SharedClock
from tests.support.processes import fetch, free_port

STEP = 300  # seconds by which time moves at once
Totals = dict[tuple[str, str], float]


class TestBed:
    """A simulated API and exporters that come and go, on one clock."""

    def __init__(self, folder: Path, projects: Mapping[str, Project], start: datetime = NOW, **more: object) -> None:
        self._projects = projects
        self.state = folder / "data"
        self.clock = SharedClock(folder / "clock", start)
        self.world = World(projects, self.clock)
        self.simulator = Simulator(self.world)
        self.simulator.start()
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}/"
        self.config = {
            "cloudsql": {
                "endpoint": self.simulator.url,
                "credentials": "anonymous",
                "requests_per_minute": 100_000,
            },
            "targets": [{"project": project} for project in projects],
            "poll": {"interval": "40ms", "full_listing_every": "6h"},
            "collect": {"user_labels": ["team"]},
            "state": {"path": str(self.state)},
            **more,
        }
        self.nursery = ExporterForker(folder / "clock", json.dumps(self.config), address)

    def kept(self) -> datetime | None:
        """The moment of the oldest poll that the ledger holds; None before each project has one."""
        try:
            connection = sqlite3.connect(f"file:{self.state / FILE}?mode=ro", uri=True, timeout=1)
            rows = connection.execute("SELECT read_at FROM project").fetchall()
            connection.close()
        except sqlite3.Error:
            return None
        taken = [datetime.fromisoformat(text) for (text,) in rows]
        return min(taken) if len(taken) == len(self._projects) else None

    def move(self) -> bool:
        """Let time go on by a step, unless the exporter is too far behind."""
        kept = self.kept()
        if kept is None or self.clock() - kept > timedelta(minutes=40):
            return False
        self.clock.advance(STEP)
        return True

    def caught_up(self) -> bool:
        """Wait until the ledger holds this very moment of each project."""
        return eventually(lambda: self.kept() == self.clock())

    def close(self) -> None:
        """End everything."""
        self.nursery.close()
        self.simulator.stop()

    def totals(self) -> Totals:
        """`runs_total` of every instance together, by instance and status."""
        totals: Totals = {}
        for family in read_text(fetch(f"{self.url}metrics").text):
            for sample in family.samples:
                if sample.name == "cloudsql_backup_runs_total":
                    totals[sample.labels["instance_id"], sample.labels["status"]] = sample.value
        return totals

    def made(self) -> Totals:
        """What the world itself says has come to an end since the first sight, in the same shape."""
        return {
            (name, status.lower()): float(count)
            for project, content in self._projects.items()
            for name in content.instances
            for status, count in Counter(self.world.completed_runs(project, name, NOW, self.clock())).items()
        }
