"""Run the benchmarks, print the results and write results.md. Takes several minutes; progress is logged to stderr."""

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks import polls, programs, report, scrapes
from benchmarks.report import Section, seconds

SLOW_PEERS = {"prometheus_client", "node_exporter", "pushgateway"}  # scrapes take seconds: fewer rounds
MIN_SPEEDUP = {"prometheus_client": 40, "node_exporter": 25, "pushgateway": 10}
MIN_TARGET_SIZE = 10_000  # instances; smaller fleets have no targets
MAX_SCRIPT_SIZE = 10_000  # instances; one request for each takes long
KIBIBYTE = 1024
MEBIBYTE = 1024**2

_console = Console(stderr=True, highlight=False)


@dataclass
class Measurements:
    """Values whose growth with the number of instances is reported."""

    scrape: float
    memory: int
    full_listing: float


@dataclass
class Fleet:
    """A simulated fleet: its size, its folder of temporary files and the URL of its simulated API."""

    instances: int
    projects: int
    folder: Path
    simulator: str
    options: argparse.Namespace

    @property
    def title(self) -> str:
        """The size as text."""
        return f"{self.instances:,} instances with 30 runs each, projects: {self.projects}"

    def target(self, limit: float | None) -> float | None:
        """Return the limit if targets apply to a fleet of this size."""
        return limit if self.instances >= MIN_TARGET_SIZE else None

    def result(self, met: bool) -> bool | None:
        """Return whether a target is met, or None if targets do not apply to a fleet of this size."""
        return met if self.instances >= MIN_TARGET_SIZE else None

    def config(self, name: str) -> Path:
        """Write a configuration with a separate state folder."""
        folder = self.folder / name
        folder.mkdir()
        return programs.write_config(folder, self.simulator, f"{max(5, self.instances // 150)}s")


def main() -> int:
    """Run the benchmarks for each size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--sizes", default="100,1000,10000", help="numbers of instances (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="scrapes of each program (default: %(default)s)")
    parser.add_argument("--stressed", type=int, default=200, help="scrapes during full listings (default: %(default)s)")
    parser.add_argument("--no-results", action="store_true", help="do not write results.md")
    options = parser.parse_args()
    sections: list[Section] = []
    by_size: dict[int, Measurements] = {}
    for instances in map(int, options.sizes.split(",")):
        projects = max(1, instances // 100)
        _log(f"[bold]{instances:,} instances[/], projects: {projects}")
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, programs.simulator(instances, projects) as api:
            fleet = Fleet(instances, projects, Path(folder), api.url, options)
            full_listing = _measure_polls(fleet, sections)
            by_size[instances] = Measurements(*_measure_serving(fleet, sections), full_listing)
    if len(by_size) > 1:
        sections.append(_growth(by_size))
    report.show(sections)
    if not options.no_results:
        report.write(sections, f"python -m benchmarks --sizes={options.sizes}")
        _log(f"written: benchmarks/{report.RESULTS.name}")
    return 0


def _measure_polls(fleet: Fleet, sections: list[Section]) -> float:
    """Compare polls with a script that sends one request per instance; return the CPU seconds of a full listing."""
    section = Section(f"Polls: {fleet.title}")
    sections.append(section)
    _log("  full listing and quiet poll")
    costs = polls.measure("exporter", fleet.config("polls"))
    full, quiet = costs["full"], costs["quiet"]
    section.add_value("full listing", f"{full.requests} requests, {full.cpu_seconds:.2f} s CPU, {full.seconds:.1f} s")
    section.add_value(
        "quiet poll (nothing changed)",
        f"{quiet.requests} requests, {quiet.cpu_seconds:.2f} s CPU, {quiet.seconds:.1f} s",
    )
    if fleet.instances > MAX_SCRIPT_SIZE:
        return full.cpu_seconds
    for kind, facts in (("script-facts", "same facts"), ("script-newest", "newest run only")):
        _log(f"  one request per instance, {facts}")
        script = polls.measure(kind, fleet.config(kind))["poll"]
        peer = f"one request per instance, {facts}: {script.requests} requests, {script.cpu_seconds:.2f} s CPU"
        has_cpu_target = kind == "script-facts"
        requests = quiet.requests / script.requests
        section.add_share("requests of a quiet poll", str(quiet.requests), peer, requests, fleet.target(0.02))
        for name, cost, limit in (("quiet poll", quiet, 0.05), ("full listing", full, 0.25)):
            section.add_share(
                f"CPU of a {name}",
                seconds(cost.cpu_seconds),
                peer,
                cost.cpu_seconds / script.cpu_seconds,
                fleet.target(limit if has_cpu_target else None),
            )
    return full.cpu_seconds


def _measure_serving(fleet: Fleet, sections: list[Section]) -> tuple[float, int]:
    """Measure scrapes, memory and a restart; return the median of a compressed scrape, and the memory."""
    section = Section(f"Scrapes: {fleet.title}")
    sections.append(section)
    config = fleet.config("serving")
    _log("  starting the exporter with a full listing")
    with programs.exporter(config) as exporter:
        exposition = fleet.folder / "textfile" / "metrics.prom"
        exposition.parent.mkdir()
        text = programs.fetch(f"{exporter.url}metrics").splitlines(keepends=True)
        lines = [line for line in text if b"cloudsql_backup_" in line]  # every peer has its own process metrics
        exposition.write_bytes(b"".join(lines))
        series = sum(not line.startswith(b"#") for line in lines)
        section.add_value("exposition", f"{series:,} series, {exposition.stat().st_size / 1e6:.1f} MB")
        medians = _compare_scrapes(fleet, section, f"{exporter.url}metrics", exposition)
        for encoding, median in medians.items() if fleet.instances == MIN_TARGET_SIZE else ():
            _log(f"  scraping during full listings, {encoding}")
            slowest = _slowest_during_listing(fleet, exporter.url, compressed=encoding == "gzip")
            section.add_slowdown(
                f"slowest of {fleet.options.stressed} during full listings, compared with the median, {encoding}",
                slowest,
                median,
                fleet.target(10),
            )
        memory, peak = exporter.memory(), exporter.peak_memory()
    _log("  restarting it from saved state")
    with programs.exporter(config) as restarted:
        programs.fetch(f"{restarted.url}metrics")
        startup = time.monotonic() - restarted.started
    per_instance = memory / fleet.instances / KIBIBYTE
    section.add_value(
        "memory",
        f"{memory / MEBIBYTE:.0f} MiB, {per_instance:.1f} KiB per instance",
        "at most 40 KiB per instance",
        fleet.result(per_instance <= 40),
    )
    section.add_value(
        "peak memory", f"{peak / MEBIBYTE:.0f} MiB, {peak / fleet.instances / KIBIBYTE:.1f} KiB per instance"
    )
    section.add_value(
        "time from start to /metrics from saved state", seconds(startup), "under 3 s", fleet.result(startup < 3)
    )
    return medians["gzip"], memory


def _compare_scrapes(fleet: Fleet, section: Section, exporter_url: str, exposition: Path) -> dict[str, float]:
    """Compare scrapes with the peers; return the exporter's medians by encoding."""
    exporter_medians: dict[str, float] = {}
    with ExitStack() as stack:
        _log("  starting the peers with the same exposition")
        library = scrapes.ClientLibrary(exposition)
        urls = {
            "exporter": exporter_url,
            "nginx": stack.enter_context(programs.nginx(exposition, fleet.folder)),
            "node_exporter": stack.enter_context(programs.node_exporter(exposition)),
            "pushgateway": stack.enter_context(programs.pushgateway(exposition)),
        }
        for encoding in ("identity", "gzip"):
            _log(f"  scraping the exporter and its peers in alternation, {encoding}")
            compressed = encoding == "gzip"
            measures = {name: partial(scrapes.scrape, url, compressed=compressed) for name, url in urls.items()}
            measures["prometheus_client"] = partial(library.render, compressed=compressed)
            slow = SLOW_PEERS if fleet.instances >= 1000 else set()
            medians = scrapes.medians(measures, fleet.options.rounds, slow)
            exporter = exporter_medians[encoding] = medians["exporter"]
            for peer, at_least in MIN_SPEEDUP.items():
                section.add_speedup(f"{encoding}, {peer}", exporter, medians[peer], fleet.target(at_least))
            if encoding == "identity":
                section.add_slowdown("identity, nginx with the same bytes", exporter, medians["nginx"], fleet.target(3))
            else:
                section.add_speedup("gzip, nginx with a compressed file", exporter, medians["nginx"])
    return exporter_medians


def _slowest_during_listing(fleet: Fleet, url: str, *, compressed: bool) -> float:
    """Return the longest of many scrapes during full listings; each is started when the previous one is complete."""
    requests_per_listing = fleet.projects * 2  # minimum
    durations = []
    next_reload = 0
    for _ in range(fleet.options.stressed):
        requests = json.loads(programs.fetch(f"{fleet.simulator}simulator/faults"))["requests"]
        if requests >= next_reload:
            programs.fetch(f"{url}-/reload", "POST")
            next_reload = requests + requests_per_listing
        durations.append(scrapes.scrape(f"{url}metrics", compressed=compressed))
    return max(durations)


def _growth(by_size: dict[int, Measurements]) -> Section:
    section = Section("Growth with the number of instances (exponent 1: proportional)")
    sizes = [size for size in sorted(by_size) if size >= 1000] or sorted(by_size)
    for name, values in (
        ("scrape, gzip", [by_size[size].scrape for size in sizes]),
        ("memory", [float(by_size[size].memory) for size in sizes]),
        ("CPU of a full listing", [by_size[size].full_listing for size in sizes]),
    ):
        if len(sizes) > 1:
            span = " to ".join(f"{size:,}" for size in (sizes[0], sizes[-1]))
            section.add_value(f"{name}, {span} instances", f"exponent {report.exponent(sizes, values):.2f}")
    return section


def _log(text: str) -> None:
    _console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {text}")


if __name__ == "__main__":
    sys.exit(main())
