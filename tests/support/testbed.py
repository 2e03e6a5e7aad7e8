"""A simulated API and forked exporters, on one clock that the test advances."""

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

STEP = 300  # seconds
MAX_LAG = timedelta(minutes=40)
Totals = dict[tuple[str, str], float]


class TestBed:
    """A simulated API and forked exporters with a state folder, on one clock."""

    __test__ = False  # for pytest: not a test class, despite its name

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
        self.forker = ExporterForker(folder / "clock", json.dumps(self.config), address)

    def oldest_saved_poll(self) -> datetime | None:
        """The time of the oldest poll in the saved state; None until every project has one."""
        try:
            connection = sqlite3.connect(f"file:{self.state / FILE}?mode=ro", uri=True, timeout=1)
            rows = connection.execute("SELECT read_at FROM project").fetchall()
            connection.close()
        except sqlite3.Error:
            return None
        poll_times = [datetime.fromisoformat(text) for (text,) in rows]
        return min(poll_times) if len(poll_times) == len(self._projects) else None

    def advance(self) -> bool:
        """Advance the clock by a step, unless the saved state lags too far behind; whether it was advanced."""
        oldest = self.oldest_saved_poll()
        if oldest is None or self.clock() - oldest > MAX_LAG:
            return False
        self.clock.advance(STEP)
        return True

    def caught_up(self) -> bool:
        """Wait until every project has been polled and saved at the current time."""
        return eventually(lambda: self.oldest_saved_poll() == self.clock())

    def close(self) -> None:
        """Stop the exporter, its parent process and the simulator."""
        self.forker.close()
        self.simulator.stop()

    def totals(self) -> Totals:
        """The values of `runs_total` by instance and status."""
        totals: Totals = {}
        for family in read_text(fetch(f"{self.url}metrics").text):
            for sample in family.samples:
                if sample.name == "cloudsql_backup_runs_total":
                    totals[sample.labels["instance_id"], sample.labels["status"]] = sample.value
        return totals

    def plan_rule_failures(self) -> Totals:
        """The values of `plan_rule_failures_total` by instance and rule."""
        return {
            (sample.labels["instance_id"], sample.labels["rule"]): sample.value
            for family in read_text(fetch(f"{self.url}metrics").text)
            for sample in family.samples
            if sample.name == "cloudsql_backup_plan_rule_failures_total"
        }

    def expected_plan_rule_failures(self) -> Totals:
        """The changes to a failed state in the simulated world since NOW, in the same form."""
        return {
            (name, rule): float(count)
            for project, content in self._projects.items()
            for name in content.instances
            for rule, count in self.world.plan_rule_failures(project, name, NOW, self.clock()).items()
        }

    def expected_totals(self) -> Totals:
        """The runs that the simulated world completed since NOW, in the same form."""
        return {
            (name, status.lower()): float(count)
            for project, content in self._projects.items()
            for name in content.instances
            for status, count in Counter(self.world.completed_runs(project, name, NOW, self.clock())).items()
        }
