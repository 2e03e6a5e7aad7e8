"""Cost of polls in requests and CPU seconds, for the exporter and for a script with one request per instance.

Each is measured in a separate process, `python -m benchmarks.polls exporter|script-newest|script-facts CONFIG`, which
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
    """Cost of a poll."""

    requests: int
    cpu_seconds: float
    seconds: float


def measure(kind: str, config: Path) -> dict[str, Cost]:
    """Measure one kind in a separate process and return its costs by name."""
    command = [sys.executable, "-m", "benchmarks.polls", kind, str(config)]
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603 (runs this module, without input from outside)
    return {name: Cost(**cost) for name, cost in json.loads(result.stdout).items()}


def _exporter(config: Path) -> dict[str, Cost]:
    """Run the exporter with its state on disk: the first poll, which is a full listing, and two quiet polls.

    The first of these has no earlier response to compare that of the newest runs with.
    """
    settings = load(config)
    tune_interpreter()
    exporter = Exporter(lambda: settings, system_clock)
    expected_polls = 0

    def completed_polls() -> int:
        counts = [status.polls[PollResult.SUCCESS] for status in exporter.snapshot.projects.values()]
        searches = exporter.snapshot.searches.values()
        return min(counts) if counts and len(counts) == sum(len(search.projects) for search in searches) else 0

    costs = {}
    exporter.start()
    for name in ("full", "first quiet", "quiet"):
        with _measure_cost(settings.cloudsql.endpoint or "") as cost:
            expected_polls += 1
            start = time.thread_time()
            while completed_polls() < expected_polls:
                time.sleep(0.02)
            waiting = time.thread_time() - start
        cost.cpu_seconds -= waiting
        costs[name] = cost
    exporter.stop()
    return costs


def _script(config: Path, *, all_facts: bool) -> dict[str, Cost]:
    """Poll as a simple script does: list the instances of each project, then the runs of each instance.

    It reads only the newest run or, with `all_facts`, the same facts as the exporter, with the exporter's parser.
    """
    endpoint = load(config).cloudsql.endpoint or ""
    options = {"api_endpoint": endpoint}
    sql = discovery.build("sqladmin", "v1", http=httplib2.Http(), client_options=options, static_discovery=True)
    url = f"{endpoint}v3/projects:search?pageSize=500"
    search = json.loads(urllib.request.urlopen(url).read())  # noqa: S310 (http on loopback)
    latest = datetime.now(UTC) + timedelta(days=1)
    with _measure_cost(endpoint) as cost:
        for project in [item["projectId"] for item in search["projects"]]:
            for instance in sql.instances().list(project=project, maxResults=1000).execute()["items"]:
                request = sql.backupRuns().list(project=project, instance=instance["name"], maxResults=50)
                runs = request.execute().get("items", [])
                if all_facts:
                    parse.instance(instance, project=project, latest=latest)
                    history([parse.backup_run(run, latest=latest).fact[1] for run in runs])
                elif runs:
                    datetime.fromisoformat(runs[0]["windowStartTime"])
    return {"poll": cost}


@contextlib.contextmanager
def _measure_cost(endpoint: str) -> Iterator[Cost]:
    cost = Cost(_request_count(endpoint), time.process_time(), time.monotonic())
    yield cost
    cost.requests = _request_count(endpoint) - cost.requests
    cost.cpu_seconds = time.process_time() - cost.cpu_seconds
    cost.seconds = time.monotonic() - cost.seconds


def _request_count(endpoint: str) -> int:
    count: int = json.loads(urllib.request.urlopen(f"{endpoint}simulator/faults").read())["requests"]  # noqa: S310 (http on loopback)
    return count


if __name__ == "__main__":
    kind, file = sys.argv[1], Path(sys.argv[2])
    costs = _exporter(file) if kind == "exporter" else _script(file, all_facts=kind == "script-facts")
    sys.stdout.write(json.dumps({name: asdict(cost) for name, cost in costs.items()}))
    sys.stdout.flush()
    os._exit(0)  # do not wait for threads that sleep until the next poll
