"""Days of a simulated world, as Prometheus would have scraped them: a data folder to look at dashboards with.

Nobody wants to wait a week to see a week. The world is polled by the real exporter at moments of the past that end
now, and promtool makes blocks of what it exposed and of what the recording rules make of that.
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
TARGET = 'job="cloudsql-backup",instance="history:10853"'
EVERY = timedelta(minutes=5)  # Prometheus looks back no further for a sample
PASSES = 4  # a rule sees what others record only in the next pass
_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")


def exposed(name: str, days: float) -> Iterator[tuple[float, str]]:
    """What the exporter exposes of a world, again and again until now: Unix seconds, and OpenMetrics text."""
    clock = SimulatedClock(datetime.now(UTC).replace(second=0, microsecond=0), 0)
    world = World(parse_world(name), clock)  # its stories are told from the end, so that they lead up to it
    steps = int(timedelta(days=days) / EVERY)
    clock.advance(-steps * EVERY)
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
        clock.advance(EVERY)


def scraped(moment: float, text: str) -> Iterator[str]:
    """The samples as they are stored, with their moment and the labels of a target."""
    for line in text.splitlines():
        if sample := _SAMPLE.match(line):
            name, labels, value = sample.groups()
            yield f"{name}{{{TARGET}{',' + labels if labels else ''}}} {value} {moment:.0f}\n"
    yield f"up{{{TARGET}}} 1 {moment:.0f}\n"


def promtool(*arguments: str) -> None:
    """Make blocks. Raises CalledProcessError with what promtool said."""
    command = ["promtool", "tsdb", "create-blocks-from", "--max-block-duration=720h", *arguments]
    subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 (a fixed list)


def write(folder: Path, world: str, days: float) -> None:
    """Make `folder / "data"`, the data of a Prometheus. Raises CalledProcessError."""
    moments = []
    data = str(folder / "data")
    with tempfile.NamedTemporaryFile("w", suffix=".om") as samples, Progress(console=Console(stderr=True)) as bar:
        total = int(timedelta(days=days) / EVERY) + 1
        for moment, text in bar.track(exposed(world, days), total, description="polling the past"):
            moments.append(moment)
            samples.writelines(scraped(moment, text))
        samples.write("# EOF\n")
        samples.flush()
        task = bar.add_task("making blocks", total=None)
        promtool("openmetrics", samples.name, data)
        for number in range(PASSES):
            bar.update(task, description=f"recording, pass {number + 1} of {PASSES}")
            with prometheus("", folder, scrape_configs=[]) as url:
                promtool(
                    *("rules", f"--url={url}", f"--output-dir={data}", str(RULES)),
                    *(f"--start={moments[0]:.0f}", f"--end={moments[-1]:.0f}"),
                    f"--eval-interval={EVERY.total_seconds():.0f}s",
                )


def main() -> int:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="demo", help="demo, healthy or fleet:INSTANCES:PROJECTS (%(default)s)")
    parser.add_argument("--days", type=float, default=8, help="how far back (%(default)s)")
    parser.add_argument("folder", type=Path, help="where to make it; must not exist yet")
    options = parser.parse_args()
    if options.folder.exists():
        parser.error(f"{options.folder} exists already; remove it, or name another")
    try:
        write(options.folder, options.world, options.days)
    except subprocess.CalledProcessError as error:
        shutil.rmtree(options.folder, ignore_errors=True)
        sys.stderr.write(f"error: {' '.join(error.cmd[:4])} failed: {error.stderr.strip()}\n")
        return 1
    sys.stdout.write(
        f"Look at it:  prometheus --config.file={RULES.parent / 'prometheus.yml'} "
        f"--storage.tsdb.path={options.folder / 'data'}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
