"""What was measured, side by side: on the terminal, and in results.md."""

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
    """One figure beside what it is held against. `wanted` says what the figure should reach, where something is set."""

    what: str
    ours: str
    peer: str
    ratio: str
    wanted: str = ""
    reached: bool | None = None


@dataclass
class Part:
    """A table of figures about one thing."""

    title: str
    rows: list[Row] = field(default_factory=list)

    def faster(self, what: str, ours: float, peer: float, at_least: float | None = None) -> None:
        """A peer that should take longer."""
        wanted = f"at least {at_least:g} times as fast" if at_least else ""
        reached = peer / ours >= at_least if at_least else None
        self.rows.append(Row(what, seconds(ours), seconds(peer), f"{peer / ours:.1f} times as fast", wanted, reached))

    def slower(self, what: str, ours: float, peer: float, at_most: float | None) -> None:
        """A limit that may be missed by so much."""
        wanted, reached = (f"at most {at_most:g} times", ours / peer <= at_most) if at_most else ("", None)
        self.rows.append(Row(what, seconds(ours), seconds(peer), f"{ours / peer:.1f} times the time", wanted, reached))

    def share(self, what: str, ours: str, peer: str, share: float, below: float | None) -> None:
        """A cost that should be a small part of another."""
        wanted, reached = (f"under {below:.0%}", share < below) if below else ("", None)
        self.rows.append(Row(what, ours, peer, f"{share:.1%}", wanted, reached))

    def plain(self, what: str, ours: str, wanted: str = "", reached: bool | None = None) -> None:
        """A figure held against nothing but a limit, where one holds."""
        self.rows.append(Row(what, ours, "", "", wanted if reached is not None else "", reached))


def seconds(value: float) -> str:
    """A span with three digits that say something."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.3g} ms"


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """How a value grows with size: 1 is in proportion. The slope of the line through the logarithms."""
    points = [(math.log(size), math.log(value)) for size, value in zip(sizes, values, strict=True)]
    mean_x, mean_y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope: float = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    return slope


def show(parts: Iterable[Part]) -> None:
    """Print the tables."""
    out = Console(highlight=False, width=220)
    for part in parts:
        table = Table(title=part.title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for column in ("WHAT", "OURS", "PEER", "RATIO", "WANTED", ""):
            table.add_column(column)
        for row in part.rows:
            mark = {None: "", True: "[green]reached[/]", False: "[bold red]missed[/]"}[row.reached]
            table.add_row(row.what, row.ours, row.peer, row.ratio, row.wanted, mark)
        out.print(table, "")


def write(parts: Iterable[Part], command: str) -> None:
    """Write results.md."""
    lines = ["# Benchmark results", "", f"Written by `{command}` on {datetime.now(UTC):%Y-%m-%d}.", "", *_machine()]
    for part in parts:
        lines += ["", f"## {part.title}", "", "| what | ours | peer | ratio | wanted | |", "|---|---|---|---|---|---|"]
        for row in part.rows:
            mark = {None: "", True: "reached", False: "**missed**"}[row.reached]
            lines.append(f"| {row.what} | {row.ours} | {row.peer} | {row.ratio} | {row.wanted} | {mark} |")
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _machine() -> list[str]:
    cpu = next(
        (line.partition(":")[2].strip() for line in _read("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    memory = next((int(line.split()[1]) // 2**20 for line in _read("/proc/meminfo") if line.startswith("MemTotal")), 0)
    packages = ("prometheus-node-exporter", "prometheus-pushgateway", "nginx-light")
    versions = [f"{name} {_debian(name)}" for name in packages]
    libraries = [f"{name} {version(name)}" for name in ("prometheus-client", "google-api-python-client", "uvicorn")]
    return [
        f"- Machine: {len([line for line in _read('/proc/cpuinfo') if line.startswith('processor')])} x {cpu}, "
        f"{memory} GiB, {platform.system()} {platform.release()}",
        f"- Python {platform.python_version()}; {', '.join(libraries)}",
        f"- Peers: {', '.join(versions)}",
    ]


def _read(file: str) -> list[str]:
    return Path(file).read_text(encoding="utf-8").splitlines()


def _debian(package: str) -> str:
    command = ["dpkg-query", "--show", "--showformat=${Version}", package]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 (fixed names)
