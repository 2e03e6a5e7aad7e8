"""What each command does. Here the program is put together: the only place that picks a clock and a configuration."""

import argparse
import gc
import json
import logging
import os
import queue
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from exporter import report
from exporter.assess import Protection
from exporter.cloudsql import CredentialsError
from exporter.config import Config, ConfigError, State, load
from exporter.exposition import TEXT
from exporter.model import Clock
from exporter.service import Exporter, system_clock
from exporter.simulator import Fault, SimulatedClock, Simulator, World, named
from exporter.view import View
from exporter.web import ListenError, WebServer, application, split_address

log = logging.getLogger(__name__)

FATAL, BAD_CONFIGURATION, UNREAD = 1, 2, 3
SWITCH = 0.0005  # seconds that a busy poll may keep a scrape from going on; Python's own default is ten times that
GARBAGE = 50_000  # objects after which Python looks for cycles: facts are many, and have none
MANY = 100  # instances: too many to tell the story of each
COLOURS = {
    Protection.UNPROTECTED: "bold red",
    Protection.UNKNOWN: "magenta",
    Protection.AT_RISK: "yellow",
    Protection.PROTECTED: "green",
    Protection.EXEMPT: "dim",
}


def complain(text: str) -> None:
    """One line on stderr for the person at the keyboard."""
    Console(stderr=True, soft_wrap=True, highlight=False).print(Text.assemble(("error: ", "bold red"), text))


def serve(options: argparse.Namespace) -> int:
    """Poll and serve until SIGTERM or SIGINT; SIGHUP reloads."""
    return _serve(options, lambda: _with_state(load(options.config_file), options.state_path), system_clock)


def tune_interpreter() -> None:
    """Settings of Python for a process that computes and answers at once."""
    sys.setswitchinterval(SWITCH)
    gc.set_threshold(GARBAGE)


def check_config(options: argparse.Namespace) -> int:
    """Say whether the configuration can be used."""
    config = load(options.config_file)
    Console(soft_wrap=True, highlight=False).print(
        Text.assemble(
            f"{options.config_file}: ",
            ("OK", "bold green"),
            f", {_count(len(config.targets), 'target')}, {_count(len(config.policies), 'policy', 'policies')}",
        )
    )
    return 0


def once(options: argparse.Namespace) -> int:
    """Print what one poll found, as metrics; those about this short-lived process itself are left out."""
    config = _with_state(load(options.config_file), options.state_path)
    exporter = Exporter(lambda: config, system_clock, process_metrics=False)
    with _progress() as progress:
        view = exporter.poll_once(progress)
    exposition = b"".join(exporter.exposition(TEXT).parts)
    if options.output in (None, Path("-")):
        sys.stdout.write(exposition.decode())
        sys.stdout.flush()
    else:
        try:
            _write(options.output, exposition)
        except OSError as error:
            complain(f"{options.output} cannot be written: {error.strerror}")
            return FATAL
    return _complain_of_unread(view)


def status(options: argparse.Namespace) -> int:
    """Print the verdict on every instance, worst first."""
    config = load(options.config_file)
    without_state = config.model_copy(update={"state": State(path=None)})
    exporter = Exporter(lambda: without_state, system_clock)
    with _progress() as progress:
        view = exporter.poll_once(progress)
    if options.output == "json":
        sys.stdout.write(json.dumps(report.as_json(view), indent=2) + "\n")
    else:
        _print_table(view)
    well = all(verdict.state in (Protection.PROTECTED, Protection.EXEMPT) for verdict in view.assessments)
    return _complain_of_unread(view) or (0 if well else 1)


def demo(options: argparse.Namespace) -> int:
    """Serve what a simulated Cloud SQL shows, by its clock."""
    clock = SimulatedClock(system_clock(), options.speed)
    world = World(named(options.world), clock)
    with _simulator(world, options.faults) as simulator:
        config = _with_state(_demo_config(simulator.url, options.speed), options.state_path)

        def introduce(urls: list[str]) -> None:
            out = Console(stderr=True, soft_wrap=True, highlight=False)
            out.print(f"[bold]A simulated Cloud SQL[/], world [bold]{options.world}[/], {_pace(options.speed)}:")
            _print_world(out, world)
            out.print(f"Simulated Admin API  {simulator.url}")
            for url in urls:
                out.print(f"[bold]Status page          {url}[/]\n[bold]Metrics              {url}metrics[/]")
            out.print("Ctrl-C ends it.")

        return _serve(options, lambda: config, clock, introduce, reloadable=False)


def simulate(options: argparse.Namespace) -> int:
    """Serve only the simulated Admin API."""
    world = World(named(options.world), SimulatedClock(system_clock(), options.speed))
    host, port = split_address(options.listen_address)
    if host not in ("127.0.0.1", "localhost"):
        raise ListenError(
            f"{options.listen_address!r}: the simulated API listens on loopback only; write 127.0.0.1:PORT"
        )
    with _simulator(world, options.faults, host, port) as simulator, _signals() as signals:
        out = Console(stderr=True, soft_wrap=True, highlight=False)
        out.print(f"World [bold]{options.world}[/], {_pace(options.speed)}:")
        _print_world(out, world)
        out.print(f"[bold]Simulated Admin API  {simulator.url}[/]\nPoint cloudsql.endpoint at it. Ctrl-C ends it.")
        signals.get()
    return 0


def _serve(
    options: argparse.Namespace,
    read_config: Callable[[], Config],
    clock: Clock,
    introduce: Callable[[list[str]], None] = lambda _urls: None,
    *,
    reloadable: bool = True,
) -> int:
    """Serve until a signal ends it; one of them, SIGHUP, only reloads where there is something to reload."""
    tune_interpreter()
    exporter = Exporter(read_config, clock, options.shard)
    server = WebServer(
        application(exporter, lifecycle=options.lifecycle), options.listen_address or [options.default_address]
    )
    with _signals() as signals:
        introduce(server.urls)
        server.start()
        exporter.start()
        log.info("serving", extra={"addresses": " ".join(server.urls)})
        while signals.get() is signal.SIGHUP and reloadable:
            try:
                exporter.reload()
            except (ConfigError, CredentialsError) as error:
                log.error("the configuration was not reloaded, the old one stays in force: %s", error)
        log.info("stopping")
        exporter.stop()
        server.stop()
    return 0


@contextmanager
def _signals() -> Iterator["queue.SimpleQueue[signal.Signals]"]:
    """Signals as a queue; a queue of this kind may be filled from within a handler."""
    received: queue.SimpleQueue[signal.Signals] = queue.SimpleQueue()
    wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.signal(number, lambda n, _frame: received.put(signal.Signals(n))) for number in wanted]
    try:
        yield received
    finally:
        for number, handler in zip(wanted, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal's stderr; nothing elsewhere."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("polling projects", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _complain_of_unread(view: View) -> int:
    """Name all that could not be read, or not in whole; the exit code that follows."""
    troubles = report.troubles(view)
    for trouble in troubles:
        complain(trouble)
    return UNREAD if troubles else 0


def _print_table(view: View) -> None:
    """One line an instance; a narrow terminal wraps it, and nothing is cut off."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("VERDICT", "PROJECT", "INSTANCE", "RECOVERY POINT", "LAST RUN", "WHY"):
        table.add_column(column, no_wrap=True)
    for row in report.rows(view):
        age = f"{row.age} ago" if row.age else "none"
        verdict = Text(row.state.replace("_", " "), style=COLOURS[row.state])
        table.add_row(verdict, row.project, row.instance, age, row.last_run, "; ".join(row.reasons))
    out = Console(highlight=False, markup=False, width=2000)
    with out.capture() as printed:
        out.print(table)
    lines = [line.rstrip() for line in printed.get().splitlines()]
    totals = [f"{count} {state.replace('_', ' ')}" for state, count in report.totals(view).items() if count]
    sys.stdout.write("\n".join([*lines, ", ".join(totals) or "no instance is watched: see targets"]) + "\n")


def _write(file: Path, content: bytes) -> None:
    """Write into a device or pipe as it is; put a whole new file in place of any other. Raises OSError."""
    file = file.resolve()
    if file.exists() and not file.is_file():
        file.write_bytes(content)
    else:
        _write_atomically(file, content)


def _write_atomically(file: Path, content: bytes) -> None:
    """Put a whole new file in place of the old one: a reader sees either, never a part. Raises OSError."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        temporary.chmod(0o644)  # node_exporter reads it as another user
        temporary.replace(file)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def _simulator(world: World, faults: Sequence[Fault], host: str = "127.0.0.1", port: int = 0) -> Iterator[Simulator]:
    try:
        simulator = Simulator(world, host, port)
    except OSError as error:
        reason = f"{error.strerror}; choose another port with --web.listen-address"
        raise ListenError(f"the simulated API cannot listen on {host}:{port}: {reason}") from error
    for fault in faults:
        simulator.faults.add(fault)
    with simulator:
        yield simulator


def _with_state(config: Config, path: Path | None) -> Config:
    """The configuration, with its state kept where a flag says."""
    return config if path is None else config.model_copy(update={"state": State(path=path)})


def _demo_config(endpoint: str, speed: float) -> Config:
    """Poll often enough that nothing of a fast world is missed, and call no fact old that is a few polls young."""
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
            "collect": {"user_labels": ["team", "env"]},
            "state": {"path": None},
        }
    )


def _print_world(out: Console, world: World) -> None:
    instances = sum(len(project.instances) for project in world.projects.values())
    if instances > MANY:
        out.print(f"{instances} instances in {_count(len(world.projects), 'project')}")
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for project, content in sorted(world.projects.items()):
        if content.refuses:
            table.add_row(project, "", f"cannot be read: {content.refuses}")
        for name, scenario in sorted(content.instances.items()):
            table.add_row(project, name, scenario.story)
    out.print(table)


def _pace(speed: float) -> str:
    if speed == 1:
        return "in real time"
    return f"a day in {86400 / speed:.0f} seconds" if speed else "standing still"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
