"""Backfill a Prometheus data folder with days of a simulated world, to view the dashboards with data.

The exporter's own code polls the world at times in the past, up to now. promtool creates blocks from the resulting
expositions, and from the recording rules evaluated over them.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from exporter.facts.model import PollResult
from exporter.facts.snapshot import ProjectStatus, Snapshot
from exporter.metrics.exposition import OPENMETRICS, Exposition
from exporter.metrics.instrumentation import Instrumentation
from exporter.scan.incremental import scan
from exporter.simulator import SimulatedClock, World, parse_world
from exporter.verdict.evaluate import evaluate
from tests.support.builders import EXPORTER_INFO, WorldSource, config, scan_options
from tests.support.processes import prometheus

RULES = Path(__file__).parent.parent / "deploy" / "prometheus" / "cloudsql-backup.rules.yml"
TARGET_LABELS = 'job="cloudsql-backup",instance="history:10853"'
INTERVAL = timedelta(minutes=5)  # the lookback delta of Prometheus
RULE_PASSES = 4  # rules that use results of other rules see them in the next pass
_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")


def expositions(name: str, days: float) -> Iterator[tuple[float, str]]:
    """Yield the expositions of a world from `days` ago until now: Unix seconds and OpenMetrics text."""
    clock = SimulatedClock(datetime.now(UTC).replace(second=0, microsecond=0), 0)
    world = World(parse_world(name), clock)  # scenarios lead up to the start time of the world
    steps = int(timedelta(days=days) / INTERVAL)
    clock.advance(-steps * INTERVAL)
    settings = config(collect={"user_labels": ["team", "env"]})
    snapshot = Snapshot()
    exposition = Exposition(
        lambda before: evaluate(snapshot, settings, EXPORTER_INFO, clock(), before), clock, Instrumentation().exposition
    )
    for _ in range(steps + 1):
        for project, content in world.projects.items():
            status = snapshot.projects.get(project) or ProjectStatus(project)
            if content.access_error:
                status = status.failed(PollResult.FORBIDDEN, content.access_error, timedelta())
            else:
                found = scan(WorldSource(world), project, clock(), scan_options(), status.scan)
                status = status.succeeded(found, timedelta(seconds=0.2))
            snapshot = snapshot.with_project(status)
        exposition.render()
        yield clock().timestamp(), b"".join(exposition.body(OPENMETRICS, gzip=False).parts).decode()
        clock.advance(INTERVAL)


def scraped_samples(timestamp: float, exposition: str) -> Iterator[str]:
    """Yield the samples of an exposition with timestamp and target labels, and the sample of `up`."""
    for line in exposition.splitlines():
        if sample := _SAMPLE.match(line):
            name, labels, value = sample.groups()
            yield f"{name}{{{TARGET_LABELS}{',' + labels if labels else ''}}} {value} {timestamp:.0f}\n"
    yield f"up{{{TARGET_LABELS}}} 1 {timestamp:.0f}\n"


def promtool(*arguments: str) -> None:
    """Create blocks. Raises CalledProcessError with the output of promtool."""
    command = ["promtool", "tsdb", "create-blocks-from", "--max-block-duration=720h", *arguments]
    subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 (a fixed list)


def backfill(folder: Path, world: str, days: float) -> None:
    """Create `folder / "data"`, a Prometheus data folder. Raises CalledProcessError."""
    timestamps = []
    data = str(folder / "data")
    with tempfile.NamedTemporaryFile("w", suffix=".om") as samples, Progress(console=Console(stderr=True)) as bar:
        total = int(timedelta(days=days) / INTERVAL) + 1
        for timestamp, exposition in bar.track(expositions(world, days), total, description="polling"):
            timestamps.append(timestamp)
            samples.writelines(scraped_samples(timestamp, exposition))
        samples.write("# EOF\n")
        samples.flush()
        task = bar.add_task("creating blocks", total=None)
        promtool("openmetrics", samples.name, data)
        for number in range(RULE_PASSES):
            bar.update(task, description=f"recording rules, pass {number + 1} of {RULE_PASSES}")
            with prometheus("", folder, scrape_configs=[]) as url:
                promtool(
                    *("rules", f"--url={url}", f"--output-dir={data}", str(RULES)),
                    *(f"--start={timestamps[0]:.0f}", f"--end={timestamps[-1]:.0f}"),
                    f"--eval-interval={INTERVAL.total_seconds():.0f}s",
                )


def main() -> int:
    """Parse the flags and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="demo", help="demo, healthy or fleet:INSTANCES:PROJECTS (%(default)s)")
    parser.add_argument("--days", type=float, default=8, help="days to backfill (%(default)s)")
    parser.add_argument("folder", type=Path, help="output folder; must not exist")
    options = parser.parse_args()
    if options.folder.exists():
        parser.error(f"{options.folder} already exists")
    try:
        backfill(options.folder, options.world, options.days)
    except subprocess.CalledProcessError as error:
        shutil.rmtree(options.folder, ignore_errors=True)
        sys.stderr.write(f"error: {' '.join(error.cmd[:4])} failed: {error.stderr.strip()}\n")
        return 1
    sys.stdout.write(
        f"Start Prometheus:  prometheus --config.file={RULES.parent / 'prometheus.yml'} "
        f"--storage.tsdb.path={options.folder / 'data'}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
