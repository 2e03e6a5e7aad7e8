"""The command `simulate`, and the simulated Admin API that `demo` shares with it."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from exporter.cli.serve import signal_queue
from exporter.cli.terminal import count, stderr, table_text
from exporter.errors import ExitCode
from exporter.runtime import system_clock
from exporter.simulator import Fault, SimulatedClock, Simulator, World, parse_world
from exporter.web import ListenError, split_address

MAX_LISTED_INSTANCES = 100  # of larger worlds only the size is printed


def simulate(options: argparse.Namespace) -> ExitCode:
    """Serve only the simulated Admin API, until SIGTERM or SIGINT."""
    world = World(parse_world(options.world), SimulatedClock(system_clock(), options.speed))
    host, port = split_address(options.listen_address)
    if host not in ("127.0.0.1", "localhost"):
        raise ListenError(
            f"{options.listen_address!r}: the simulated API listens on loopback only; write 127.0.0.1:PORT"
        )
    with run_simulator(world, options.faults, host, port) as simulator, signal_queue() as signals:
        console = stderr()
        console.print(f"World [bold]{options.world}[/], {describe_speed(options.speed)}:")
        print_world(console, world)
        console.print(
            f"[bold]Simulated Admin API  {simulator.url}[/]\nSet cloudsql.endpoint to it. Press Ctrl-C to stop."
        )
        signals.get()
    return ExitCode.OK


@contextmanager
def run_simulator(world: World, faults: Sequence[Fault], host: str = "127.0.0.1", port: int = 0) -> Iterator[Simulator]:
    """A running simulated API. Raises ListenError."""
    try:
        simulator = Simulator(world, host, port)
    except OSError as error:
        reason = f"{error.strerror}; choose another port with --web.listen-address"
        raise ListenError(f"the simulated API cannot listen on {host}:{port}: {reason}") from error
    for fault in faults:
        simulator.faults.add(fault)
    with simulator:
        yield simulator


def print_world(console: Console, world: World) -> None:
    """Print the instances of a world, each with its scenario."""
    instances = sum(len(project.instances) for project in world.projects.values())
    if instances > MAX_LISTED_INSTANCES:
        console.print(f"{instances} instances in {count(len(world.projects), 'project')}")
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for project, content in sorted(world.projects.items()):
        if content.access_error:
            table.add_row(project, "", f"cannot be read: {content.access_error}")
        for name, scenario in sorted(content.instances.items()):
            table.add_row(project, name, scenario.description)
    console.file.write(table_text(table, to_stderr=True))
    console.file.flush()


def describe_speed(speed: float) -> str:
    """How fast time passes, as text."""
    if speed == 1:
        return "in real time"
    return f"one day in {86400 / speed:.0f} seconds" if speed else "with a stopped clock"
