"""Run the benchmarks, print the results and write results.md. Takes several minutes; progress is logged to stderr."""

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

from rich.console import Console

from benchmarks import connections, polls, programs, report, scrapes
from benchmarks.report import Section, seconds

SLOW_PEERS = {"prometheus_client", "node_exporter", "pushgateway"}  # scrapes take seconds: fewer rounds
MIN_SPEEDUP = {
    "identity": {"prometheus_client": 40, "node_exporter": 25, "pushgateway": 10},
    "gzip": {"prometheus_client": 135, "node_exporter": 145, "pushgateway": 47},
}
SMALL_TARGET_SIZE = 100  # instances; the size with targets for keep-alive scrapes
MIN_GROWTH_SIZE = 1000  # instances; below, costs that do not depend on the size prevail
MIN_TARGET_SIZE = 10_000  # instances; the other targets apply from this size on
MAX_SCRIPT_SIZE = 10_000  # instances; one request for each takes long
MAX_PROMETHEUS_SIZE = 10_000  # instances; storing more series takes long
SCRIPTS = (("script-facts", "same facts"), ("script-newest", "newest run only"))
MAX_CPU_SHARE = {
    ("script-facts", "quiet poll"): 0.04,
    ("script-facts", "full listing"): 0.30,
    ("script-newest", "full listing"): 0.70,
}
DAY = {"quiet polls": 24 * 60 // 5, "full listings": 24 // 6, "scrapes": 24 * 60 * 60 // 15}
MAX_PAGE_SECONDS = {"status page": 0.05, "page of an instance": 0.02}
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
        earlier = len(sections)
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, programs.simulator(instances, projects) as api:
            fleet = Fleet(instances, projects, Path(folder), api.url, options)
            full, quiet = _measure_polls(fleet, sections)
            scrape, memory = _measure_serving(fleet, sections, (quiet, full))
            by_size[instances] = Measurements(scrape, memory, full)
        report.show(sections[earlier:])
    comparable = {size: values for size, values in by_size.items() if size >= MIN_GROWTH_SIZE}
    if len(comparable) > 1:
        sections.append(_growth(comparable))
        report.show(sections[-1:])
    sections += _measure_connections()
    report.show(sections[-2:])
    if not options.no_results:
        report.write(sections, f"python -m benchmarks --sizes={options.sizes}")
        _log(f"written: benchmarks/{report.RESULTS.name}")
    return 0


def _measure_connections() -> list[Section]:
    """Measure TLS and passwords, and scrapes during an attack."""
    _log("[bold]connections[/]")
    _log("  scraping with TLS and a password")
    security = connections.tls_and_passwords(SMALL_TARGET_SIZE)
    _log("  scraping for a minute during an attack")
    return [security, connections.under_attack(1000)]


def _measure_polls(fleet: Fleet, sections: list[Section]) -> tuple[float, float]:
    """Compare polls with a script that sends one request per instance.

    Return the CPU seconds of a full listing and of a quiet poll.
    """
    section = Section(f"Polls: {fleet.title}")
    sections.append(section)
    _log("  full listing and quiet poll")
    costs = polls.measure("exporter", fleet.config("polls"))
    full, quiet = costs["full"], costs["quiet"]
    for name, cost in (
        ("full listing", full),
        ("first quiet poll after a full listing", costs["first quiet"]),
        ("quiet poll (nothing changed)", quiet),
    ):
        section.add_value(name, f"{cost.requests} requests, {cost.cpu_seconds:.2f} s CPU, {cost.seconds:.1f} s")
    for kind, facts in SCRIPTS if fleet.instances <= MAX_SCRIPT_SIZE else ():
        _log(f"  one request per instance, {facts}")
        script = polls.measure(kind, fleet.config(kind))["poll"]
        peer = f"one request per instance, {facts}: {script.requests} requests, {script.cpu_seconds:.2f} s CPU"
        requests = quiet.requests / script.requests
        section.add_share("requests of a quiet poll", str(quiet.requests), peer, requests, fleet.target(0.02))
        for name, cost in (("quiet poll", quiet), ("full listing", full)):
            section.add_share(
                f"CPU of a {name}",
                seconds(cost.cpu_seconds),
                peer,
                cost.cpu_seconds / script.cpu_seconds,
                fleet.target(MAX_CPU_SHARE.get((kind, name))),
            )
    return full.cpu_seconds, quiet.cpu_seconds


def _measure_serving(fleet: Fleet, sections: list[Section], polls_cpu: tuple[float, float]) -> tuple[float, int]:
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
        _add_pages(fleet, section, exporter.url)
        _add_day(section, *polls_cpu, _cpu_per_scrape(fleet, exporter), _cpu_per_idle_second(exporter))
        for encoding, median in medians.items() if fleet.instances == MIN_TARGET_SIZE else ():
            _log(f"  scraping during full listings, {encoding}")
            slowest = _slowest_during_listing(fleet, exporter.url, compressed=encoding == "gzip")
            section.add_slowdown(
                f"slowest of {fleet.options.stressed} during full listings, compared with the median, {encoding}",
                slowest,
                median,
                fleet.target(5),
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
        "at most 32 KiB per instance",
        fleet.result(per_instance <= 32),
    )
    section.add_value(
        "peak memory", f"{peak / MEBIBYTE:.0f} MiB, {peak / fleet.instances / KIBIBYTE:.1f} KiB per instance"
    )
    limit = 2.5 if fleet.instances <= MIN_TARGET_SIZE else 12
    section.add_value(
        "time from start to /metrics from saved state",
        seconds(startup),
        f"at most {limit:g} s",
        fleet.result(startup <= limit),
    )
    return medians["gzip"], memory


def _add_pages(fleet: Fleet, section: Section, url: str) -> None:
    """Add the time of the status page and of an instance's page, compressed, over a keep-alive connection."""
    worst = json.loads(programs.fetch(f"{url}api/v1/status?limit=1"))["instances"][0]
    paths = {"status page": "", "page of an instance": f"instances/{worst['project']}/{worst['instance_id']}"}
    clients = {name: scrapes.Client(url + path, compressed=True, keep_alive=True) for name, path in paths.items()}
    measures = {name: client.scrape for name, client in clients.items()}
    for name, median in scrapes.medians(measures, fleet.options.rounds, set(), alternate=False).items():
        limit = MAX_PAGE_SECONDS[name]
        section.add_value(name, seconds(median), f"at most {seconds(limit)}", fleet.result(median <= limit))


def _add_day(section: Section, quiet: float, full: float, scrape: float, idle: float) -> None:
    """Add the CPU time of a normal day, computed from the CPU seconds of each poll, scrape and idle second."""
    costs = [count * cost for count, cost in zip(DAY.values(), (quiet, full, scrape), strict=True)]
    parts = ", ".join(f"{count:,} {name} {cost:.1f} s" for (name, count), cost in zip(DAY.items(), costs, strict=True))
    day = 24 * 60 * 60
    section.add_value("CPU of a compressed scrape, keep-alive", seconds(scrape))
    section.add_value("CPU of a normal day", f"{sum(costs):.1f} s, {sum(costs) / day:.3%} of one core: {parts}")
    section.add_value("CPU while idle", f"{idle * day:.1f} s per day, {idle:.3%} of one core")


def _compare_scrapes(fleet: Fleet, section: Section, exporter_url: str, exposition: Path) -> dict[str, float]:
    """Compare scrapes with the peers; return the exporter's medians over new connections, by encoding."""
    exporter_medians: dict[str, float] = {}
    rounds, slow = fleet.options.rounds, SLOW_PEERS if fleet.instances >= 1000 else set()
    with ExitStack() as stack:
        _log("  starting the peers with the same exposition")
        urls = {
            "exporter": exporter_url,
            "nginx": stack.enter_context(programs.nginx(exposition, fleet.folder)),
            "prometheus_client": stack.enter_context(programs.client_library(exposition)),
            "node_exporter": stack.enter_context(programs.node_exporter(exposition)),
            "pushgateway": stack.enter_context(programs.pushgateway(exposition)),
        }
        for keep_alive, encoding in product((False, True), ("identity", "gzip")):
            name = f"keep-alive, {encoding}" if keep_alive else encoding
            _log(f"  scraping the exporter and its peers, {name}")
            clients = {
                program: scrapes.Client(url, compressed=encoding == "gzip", keep_alive=keep_alive).scrape
                for program, url in urls.items()
            }
            medians = scrapes.medians(clients, rounds, slow, alternate=not keep_alive)
            _add_scrapes(fleet, section, name, medians)
            if not keep_alive:
                exporter_medians[encoding] = medians["exporter"]
        if fleet.instances <= MAX_PROMETHEUS_SIZE:
            durations = {}
            for program, url in urls.items():
                _log(f"  scraping with Prometheus, {program}")
                interval = max(1, 2 * medians[program] + fleet.instances / 5000)  # time to scrape and to store
                durations[program] = scrapes.duration_by_prometheus(
                    url, interval, scrapes.SLOW_ROUNDS if program in slow else rounds, fleet.folder / f"tsdb-{program}"
                )
            _add_scrapes(fleet, section, "scrape_duration_seconds", durations)
    return exporter_medians


def _add_scrapes(fleet: Fleet, section: Section, name: str, medians: dict[str, float]) -> None:
    """Add the exporter's median, compared with that of each peer."""
    limits = MIN_SPEEDUP.get("identity" if fleet.instances > MIN_TARGET_SIZE and name == "gzip" else name, {})
    for peer in ("prometheus_client", "node_exporter", "pushgateway"):
        section.add_speedup(f"{name}, {peer}", medians["exporter"], medians[peer], fleet.target(limits.get(peer)))
    at_most = fleet.target(3) if name == "identity" else None
    if name.startswith("keep-alive") and fleet.instances == SMALL_TARGET_SIZE:
        at_most = 4
    section.add_slowdown(f"{name}, nginx with the same bytes as a file", medians["exporter"], medians["nginx"], at_most)


def _cpu_per_scrape(fleet: Fleet, exporter: programs.Server) -> float:
    """Return the median of the CPU seconds of a compressed scrape over a keep-alive connection."""
    client = scrapes.Client(f"{exporter.url}metrics", compressed=True, keep_alive=True)
    readings = []
    for _ in range(fleet.options.rounds + 2):
        client.scrape()
        readings.append(exporter.cpu_seconds())
    return statistics.median(end - start for start, end in pairwise(readings))


def _cpu_per_idle_second(exporter: programs.Server) -> float:
    """Return the CPU seconds of one second without polls and scrapes: the minimum, because polls continue."""
    readings = []
    for _ in range(5):
        readings.append(exporter.cpu_seconds())
        time.sleep(1)
    return min(end - start for start, end in pairwise(readings))


def _slowest_during_listing(fleet: Fleet, url: str, *, compressed: bool) -> float:
    """Return the longest of many scrapes during full listings; each is started when the previous one is complete."""
    requests_per_listing = fleet.projects * 2  # minimum
    client = scrapes.Client(f"{url}metrics", compressed=compressed)
    durations = []
    next_reload = 0
    for _ in range(fleet.options.stressed):
        requests = json.loads(programs.fetch(f"{fleet.simulator}simulator/faults"))["requests"]
        if requests >= next_reload:
            programs.fetch(f"{url}-/reload", "POST")
            next_reload = requests + requests_per_listing
        durations.append(client.scrape())
    return max(durations)


def _growth(by_size: dict[int, Measurements]) -> Section:
    section = Section("Growth with the number of instances (exponent 1: proportional)")
    sizes = sorted(by_size)
    span = " to ".join(f"{size:,}" for size in (sizes[0], sizes[-1]))
    for name, values in (
        ("scrape, gzip", [by_size[size].scrape for size in sizes]),
        ("memory", [float(by_size[size].memory) for size in sizes]),
        ("CPU of a full listing", [by_size[size].full_listing for size in sizes]),
    ):
        section.add_value(f"{name}, {span} instances", f"exponent {report.exponent(sizes, values):.2f}")
    return section


def _log(text: str) -> None:
    _console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {text}")


if __name__ == "__main__":
    sys.exit(main())
