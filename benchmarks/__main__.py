"""Compare, print, and write results.md. Takes some minutes, and says meanwhile what it is doing."""

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
from benchmarks.report import Part, seconds

RARE = {"prometheus_client", "node_exporter", "pushgateway"}  # they take seconds: fewer rounds
WANTED = {"prometheus_client": 40, "node_exporter": 25, "pushgateway": 10}  # times as fast
WANTED_FROM = 10_000  # instances; of smaller fleets nothing is wanted
NAIVE_UP_TO = 10_000  # instances: one request for each takes long
KILOBYTE = 1024

_out = Console(stderr=True, highlight=False)


@dataclass
class Growth:
    """What is looked at for how it grows with size."""

    scrape: float
    memory: int
    full_poll: float


@dataclass
class Size:
    """One fleet: how large, where its files are, and where the simulated API answers for it."""

    instances: int
    projects: int
    folder: Path
    simulator: str
    options: argparse.Namespace

    @property
    def title(self) -> str:
        """In words."""
        return f"{self.instances:,} instances of 30 runs in {self.projects} projects"

    def wanted(self, limit: float | None) -> float | None:
        """A limit, where one holds for a fleet of this size."""
        return limit if self.instances >= WANTED_FROM else None

    def reached(self, holds: bool) -> bool | None:
        """Whether a limit is kept, where one holds."""
        return holds if self.instances >= WANTED_FROM else None

    def config(self, name: str) -> Path:
        """A configuration with a state folder of its own."""
        folder = self.folder / name
        folder.mkdir()
        return programs.configured(folder, self.simulator, f"{max(5, self.instances // 150)}s")


def main() -> int:
    """Run the sizes asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--sizes", default="100,1000,10000", help="instances, with commas (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="scrapes of each peer (default: %(default)s)")
    parser.add_argument("--stressed", type=int, default=200, help="scrapes while all is listed (default: %(default)s)")
    parser.add_argument("--no-results", action="store_true", help="leave results.md as it is")
    options = parser.parse_args()
    parts: list[Part] = []
    grown: dict[int, Growth] = {}
    for instances in map(int, options.sizes.split(",")):
        projects = max(1, instances // 100)
        _say(f"[bold]{instances:,} instances[/] in {projects} projects")
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, programs.simulator(instances, projects) as api:
            size = Size(instances, projects, Path(folder), api.url, options)
            full_poll = _polls(size, parts)
            grown[instances] = Growth(*_serving(size, parts), full_poll)
    if len(grown) > 1:
        parts.append(_growth(grown))
    report.show(parts)
    if not options.no_results:
        report.write(parts, f"python -m benchmarks --sizes={options.sizes}")
        _say(f"written: benchmarks/{report.RESULTS.name}")
    return 0


def _polls(size: Size, parts: list[Part]) -> float:
    """Polling, ours beside one request per instance; the CPU seconds of a full listing."""
    part = Part(f"Polls: {size.title}")
    parts.append(part)
    _say("  polling everything, and once more when nothing is new")
    ours = polls.measured("ours", size.config("polls"))
    full, quiet = ours["full"], ours["quiet"]
    part.plain("full listing", f"{full.requests} requests, {full.cpu_seconds:.2f} s CPU, {full.seconds:.1f} s")
    part.plain("quiet poll", f"{quiet.requests} requests, {quiet.cpu_seconds:.2f} s CPU, {quiet.seconds:.1f} s")
    if size.instances > NAIVE_UP_TO:
        return full.cpu_seconds
    for kind, reads in (("naive-facts", "reading the same facts"), ("naive-newest", "looking at the newest run only")):
        _say(f"  polling instance by instance, {reads}")
        naive = polls.measured(kind, size.config(kind))["naive"]
        peer = f"one by one, {reads}: {naive.requests} requests, {naive.cpu_seconds:.2f} s CPU"
        main_one = kind == "naive-facts"
        asked, cpu = quiet.requests / naive.requests, quiet.cpu_seconds / naive.cpu_seconds
        part.share("requests of a quiet poll", str(quiet.requests), peer, asked, size.wanted(0.02))
        part.share(
            "CPU of a quiet poll", seconds(quiet.cpu_seconds), peer, cpu, size.wanted(0.05 if main_one else None)
        )
        cpu = full.cpu_seconds / naive.cpu_seconds
        part.share(
            "CPU of a full listing", seconds(full.cpu_seconds), peer, cpu, size.wanted(0.25 if main_one else None)
        )
    return full.cpu_seconds


def _serving(size: Size, parts: list[Part]) -> tuple[float, int]:
    """Scrapes, memory and a restart; the median of a compressed scrape, and the memory."""
    part = Part(f"Scrapes: {size.title}")
    parts.append(part)
    config = size.config("serving")
    _say("  starting the exporter, which reads everything")
    with programs.exporter(config) as ours:
        exposition = size.folder / "textfile" / "metrics.prom"
        exposition.parent.mkdir()
        text = programs.fetch(f"{ours.url}metrics").splitlines(keepends=True)
        lines = [line for line in text if b"cloudsql_backup_" in line]  # each peer has process metrics of its own
        exposition.write_bytes(b"".join(lines))
        series = sum(not line.startswith(b"#") for line in lines)
        part.plain("exposition", f"{series:,} series, {exposition.stat().st_size / 1e6:.1f} MB")
        at_rest = _compared(size, part, f"{ours.url}metrics", exposition)
        for encoding, median in at_rest.items() if size.instances == WANTED_FROM else ():
            _say(f"  scraping while everything is listed anew, {encoding}")
            slowest = _slowest_while_listing(size, ours.url, compressed=encoding == "gzip")
            part.slower(
                f"slowest of {size.options.stressed} while all is listed, {encoding}", slowest, median, size.wanted(10)
            )
        memory, peak = ours.memory(), ours.peak_memory()
    _say("  starting it again from what it kept")
    with programs.exporter(config) as again:
        programs.fetch(f"{again.url}metrics")
        restart = time.monotonic() - again.started
    each = memory / size.instances / KILOBYTE
    part.plain(
        "memory", f"{memory / 2**20:.0f} MiB, {each:.1f} KiB an instance", "at most 40 KiB", size.reached(each <= 40)
    )
    part.plain("memory at its most", f"{peak / 2**20:.0f} MiB, {peak / size.instances / KILOBYTE:.1f} KiB an instance")
    part.plain("from start to /metrics out of kept state", seconds(restart), "under 3 s", size.reached(restart < 3))
    return at_rest["gzip"], memory


def _compared(size: Size, part: Part, ours: str, exposition: Path) -> dict[str, float]:
    """Ours beside the peers, plain and compressed; our medians."""
    at_rest: dict[str, float] = {}
    with ExitStack() as stack:
        _say("  starting the peers with the same exposition")
        library = scrapes.ClientLibrary(exposition)
        urls = {
            "ours": ours,
            "nginx": stack.enter_context(programs.nginx(exposition, size.folder)),
            "node_exporter": stack.enter_context(programs.node_exporter(exposition)),
            "pushgateway": stack.enter_context(programs.pushgateway(exposition)),
        }
        for encoding in ("identity", "gzip"):
            _say(f"  scraping them in turns, {encoding}")
            compressed = encoding == "gzip"
            measures = {name: partial(scrapes.scrape, url, compressed=compressed) for name, url in urls.items()}
            measures["prometheus_client"] = partial(library.render, compressed=compressed)
            medians = scrapes.medians(measures, size.options.rounds, RARE if size.instances >= 1000 else set())
            for peer, at_least in WANTED.items():
                part.faster(f"{encoding}, {peer}", medians["ours"], medians[peer], size.wanted(at_least))
            if encoding == "identity":
                part.slower("identity, nginx with the same bytes", medians["ours"], medians["nginx"], size.wanted(3))
            else:
                part.faster("gzip, nginx with a compressed file", medians["ours"], medians["nginx"])
            at_rest[encoding] = medians["ours"]
    return at_rest


def _slowest_while_listing(size: Size, url: str, *, compressed: bool) -> float:
    """The slowest of many scrapes; as soon as a full listing is done, the next is asked for."""
    whole = size.projects * 2  # requests that a full listing makes at the least
    taken = []
    until = 0
    for _ in range(size.options.stressed):
        asked = json.loads(programs.fetch(f"{size.simulator}simulator/faults"))["requests"]
        if asked >= until:
            programs.fetch(f"{url}-/reload", "POST")
            until = asked + whole
        taken.append(scrapes.scrape(f"{url}metrics", compressed=compressed))
    return max(taken)


def _growth(grown: dict[int, Growth]) -> Part:
    part = Part("Growth with the number of instances; 1 is in proportion")
    sizes = [size for size in sorted(grown) if size >= 1000] or sorted(grown)
    for what, values in (
        ("scrape, gzip", [grown[size].scrape for size in sizes]),
        ("memory", [float(grown[size].memory) for size in sizes]),
        ("CPU of a full listing", [grown[size].full_poll for size in sizes]),
    ):
        if len(sizes) > 1:
            counted = " to ".join(f"{size:,}" for size in (sizes[0], sizes[-1]))
            part.plain(f"{what}, {counted} instances", f"exponent {report.exponent(sizes, values):.2f}")
    return part


def _say(text: str) -> None:
    _out.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {text}")


if __name__ == "__main__":
    sys.exit(main())
