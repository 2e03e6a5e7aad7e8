"""Tables of results, printed to the terminal and written to results.md."""

import math
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results.md"


@dataclass(frozen=True)
class Row:
    """One measurement of the exporter, with that of the peer it is compared with and its target, if any."""

    name: str
    exporter: str
    peer: str
    ratio: str
    target: str = ""
    met: bool | None = None


@dataclass
class Section:
    """A titled table of measurements."""

    title: str
    rows: list[Row] = field(default_factory=list)

    def add_speedup(self, name: str, exporter: float, peer: float, at_least: float | None = None) -> None:
        """Add the time that a slower peer takes as a multiple of the exporter's, with a minimum."""
        ratio = peer / exporter
        target, met = (f"at least {at_least:g} times as fast", ratio >= at_least) if at_least else ("", None)
        self.rows.append(Row(name, seconds(exporter), seconds(peer), f"{ratio:.1f} times as fast", target, met))

    def add_slowdown(self, name: str, exporter: float, reference: float, at_most: float | None) -> None:
        """Add the time that the exporter takes as a multiple of a reference, with a maximum."""
        ratio = exporter / reference
        target, met = (f"at most {at_most:g} times", ratio <= at_most) if at_most else ("", None)
        self.rows.append(Row(name, seconds(exporter), seconds(reference), f"{ratio:.1f} times the time", target, met))

    def add_share(self, name: str, exporter: str, peer: str, share: float, at_most: float | None) -> None:
        """Add the cost of the exporter as a share of that of a peer, with a limit."""
        target, met = (f"at most {at_most:.0%}", share <= at_most) if at_most else ("", None)
        self.rows.append(Row(name, exporter, peer, f"{share:.1%}", target, met))

    def add_value(self, name: str, exporter: str, target: str = "", met: bool | None = None) -> None:
        """Add a value without a peer; the target is omitted if `met` is None."""
        self.rows.append(Row(name, exporter, "", "", target if met is not None else "", met))


def seconds(value: float) -> str:
    """Format a duration with three significant digits below one second."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.3g} ms"


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Return the exponent of growth, 1 for proportional: the slope of the regression line in log-log scale."""
    points = [(math.log(size), math.log(value)) for size, value in zip(sizes, values, strict=True)]
    mean_x, mean_y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope: float = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    return slope


def show(sections: Iterable[Section]) -> None:
    """Print the tables."""
    out = Console(highlight=False, width=220)
    for section in sections:
        table = Table(title=section.title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for column in ("BENCHMARK", "EXPORTER", "PEER", "RATIO", "TARGET", "RESULT"):
            table.add_column(column)
        for row in section.rows:
            result = {None: "", True: "[green]met[/]", False: "[bold red]missed[/]"}[row.met]
            table.add_row(row.name, row.exporter, row.peer, row.ratio, row.target, result)
        out.print(table, "")


def write(sections: Iterable[Section], command: str) -> None:
    """Write results.md."""
    lines = ["# Benchmark results", "", f"Written by `{command}` on {datetime.now(UTC):%Y-%m-%d}.", "", *_machine()]
    for section in sections:
        lines += [
            "",
            f"## {section.title}",
            "",
            "| benchmark | exporter | peer | ratio | target | result |",
            "|---|---|---|---|---|---|",
        ]
        for row in section.rows:
            result = {None: "", True: "met", False: "**missed**"}[row.met]
            lines.append(f"| {row.name} | {row.exporter} | {row.peer} | {row.ratio} | {row.target} | {result} |")
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _machine() -> list[str]:
    cpu = next(
        (line.partition(":")[2].strip() for line in _read_lines("/proc/cpuinfo") if line.startswith("model name")),
        "unknown",
    )
    memory = next(
        (int(line.split()[1]) // 2**20 for line in _read_lines("/proc/meminfo") if line.startswith("MemTotal")), 0
    )
    packages = ("prometheus", "prometheus-node-exporter", "prometheus-pushgateway", "nginx-light")
    versions = [f"{name} {_debian_version(name)}" for name in packages]
    libraries = [f"{name} {version(name)}" for name in ("prometheus-client", "google-api-python-client", "uvicorn")]
    return [
        f"- Machine: {len([line for line in _read_lines('/proc/cpuinfo') if line.startswith('processor')])} x {cpu}, "
        f"{memory} GiB, {platform.system()} {platform.release()}",
        f"- Python {platform.python_version()}; {', '.join(libraries)}",
        f"- Peers: {', '.join(versions)}",
    ]


def _read_lines(file: str) -> list[str]:
    return Path(file).read_text(encoding="utf-8").splitlines()


def _debian_version(package: str) -> str:
    command = ["dpkg-query", "--show", "--showformat=${Version}", package]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 (fixed names of programs)
