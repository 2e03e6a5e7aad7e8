"""Polls: requests and CPU seconds, of ours and of a poller that asks for each instance by itself.

Each is measured in a process of its own: python -m benchmarks.polls ours|naive-newest|naive-facts CONFIG, which
prints JSON.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httplib2
from googleapiclient import discovery

from exporter.cli.serve import tune_interpreter
from exporter.config import load
from exporter.facts.history import history
from exporter.facts.model import PollResult
from exporter.runtime import Exporter, system_clock
from exporter.scan import parse


@dataclass
class Cost:
    """What it took."""

    requests: int
    cpu_seconds: float
    seconds: float


def measured(kind: str, config: Path) -> dict[str, Cost]:
    """Run one of them in a process of its own; the costs by name."""
    command = [sys.executable, "-m", "benchmarks.polls", kind, str(config)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603 (this very module)
    return {name: Cost(**cost) for name, cost in json.loads(ended.stdout).items()}


def _ours(config: Path) -> dict[str, Cost]:
    """The whole exporter with its state on disk: a first poll of everything, and the next, which finds nothing new."""
    settings = load(config)
    tune_interpreter()
    exporter = Exporter(lambda: settings, system_clock)
    polled = 0

    def polls() -> int:
        counts = [status.polls[PollResult.SUCCESS] for status in exporter.snapshot.projects.values()]
        found = exporter.snapshot.searches.values()
        return min(counts) if counts and len(counts) == sum(len(search.projects) for search in found) else 0

    costs = {}
    exporter.start()
    for name in ("full", "quiet"):
        with _cost(settings.cloudsql.endpoint or "") as cost:
            polled += 1
            while polls() < polled:
                time.sleep(0.02)
        costs[name] = cost
    exporter.stop()
    return costs


def _naive(config: Path, *, all_facts: bool) -> dict[str, Cost]:
    """What a script does: list the projects' instances, and then the runs of each.

    It looks at the newest run only, or, with `all_facts`, reads what we read from them, with our own parser.
    """
    endpoint = load(config).cloudsql.endpoint or ""
    options = {"api_endpoint": endpoint}
    sql = discovery.build("sqladmin", "v1", http=httplib2.Http(), client_options=options, static_discovery=True)
    found = json.loads(urllib.request.urlopen(f"{endpoint}v3/projects:search?pageSize=500").read())  # noqa: S310 (loopback)
    latest = datetime.now(UTC) + timedelta(days=1)
    with _cost(endpoint) as cost:
        for project in [item["projectId"] for item in found["projects"]]:
            for instance in sql.instances().list(project=project, maxResults=1000).execute()["items"]:
                request = sql.backupRuns().list(project=project, instance=instance["name"], maxResults=50)
                runs = request.execute().get("items", [])
                if all_facts:
                    parse.instance(instance, project=project, latest=latest)
                    history([parse.backup_run(run, latest=latest).fact[1] for run in runs])
                elif runs:
                    datetime.fromisoformat(runs[0]["windowStartTime"])
    return {"naive": cost}


@contextlib.contextmanager
def _cost(endpoint: str) -> Iterator[Cost]:
    cost = Cost(_requests(endpoint), time.process_time(), time.monotonic())
    yield cost
    cost.requests = _requests(endpoint) - cost.requests
    cost.cpu_seconds = time.process_time() - cost.cpu_seconds
    cost.seconds = time.monotonic() - cost.seconds


def _requests(endpoint: str) -> int:
    count: int = json.loads(urllib.request.urlopen(f"{endpoint}simulator/faults").read())["requests"]  # noqa: S310 (loopback)
    return count


if __name__ == "__main__":
    kind, file = sys.argv[1], Path(sys.argv[2])
    costs = _ours(file) if kind == "ours" else _naive(file, all_facts=kind == "naive-facts")
    sys.stdout.write(json.dumps({name: asdict(cost) for name, cost in costs.items()}))
    sys.stdout.flush()
    os._exit(0)  # threads that wait for the next beat wait in vain
