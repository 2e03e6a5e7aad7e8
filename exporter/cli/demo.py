"""The command `demo`."""

import argparse
from datetime import timedelta

from exporter.cli.serve import run_server, with_state_path
from exporter.cli.simulate import describe_speed, print_world, run_simulator
from exporter.cli.terminal import stderr
from exporter.config import Config
from exporter.errors import ExitCode
from exporter.runtime import system_clock
from exporter.simulator import SimulatedClock, World, parse_world


def demo(options: argparse.Namespace) -> ExitCode:
    """Serve a simulated Cloud SQL, by its clock."""
    clock = SimulatedClock(system_clock(), options.speed)
    world = World(parse_world(options.world), clock)
    with run_simulator(world, options.faults) as simulator:
        config = with_state_path(demo_config(simulator.url, options.speed), options.state_path)

        def print_banner(urls: list[str]) -> None:
            console = stderr()
            console.print(
                f"[bold]Simulated Cloud SQL[/], world [bold]{options.world}[/], {describe_speed(options.speed)}:"
            )
            print_world(console, world)
            console.print(f"Simulated Admin API  {simulator.url}")
            for url in urls:
                console.print(f"[bold]Status page          {url}[/]\n[bold]Metrics              {url}metrics[/]")
            console.print("Press Ctrl-C to stop.")

        return run_server(options, lambda: config, clock, print_banner, simulated=True)


def demo_config(endpoint: str, speed: float) -> Config:
    """A configuration with an interval short enough for a fast clock, and stale_after of at least ten intervals."""
    interval = min(max(300 / max(speed, 0.01), 1), 15)
    stale_after = max(timedelta(hours=1), timedelta(seconds=interval * speed * 10))
    return Config.model_validate(
        {
            "cloudsql": {"endpoint": endpoint, "credentials": "anonymous", "requests_per_minute": 6000},
            "targets": [{"search": "state:ACTIVE", "refresh": "1m"}],
            "poll": {
                "interval": f"{round(interval * 1000)}ms",
                "stale_after": f"{round(stale_after.total_seconds())}s",
            },
            "collect": {"user_labels": ["team", "env"], "deleted_instances": True, "backup_dr": True},
            "state": {"path": None},
        }
    )
