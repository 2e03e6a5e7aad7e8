"""The command `status`."""

import argparse
import sys
import threading
from collections.abc import Callable

from exporter.cli.formats import FORMATS
from exporter.cli.problems import problems, report_problems
from exporter.cli.selection import open_exporter
from exporter.cli.terminal import clear_screen, print_advice, progress_bar, write
from exporter.config import format_duration
from exporter.errors import ExitCode
from exporter.polling.poller import run_every
from exporter.runtime import Exporter
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.rules import WORST_FIRST, Protection

PRIVILEGES_TIMEOUT = 5.0  # seconds that the output may be delayed by advice about privileges


def status(options: argparse.Namespace) -> ExitCode:
    """Poll once, or at every interval, without saved state, and print the verdicts."""
    exporter = open_exporter(options.config_file, options.projects)
    if options.watch:
        return _watch(exporter, options)
    with progress_bar() as progress:
        evaluation = _poll(exporter, progress)
    _report(evaluation, options)
    return _exit_code(evaluation, options)


def _watch(exporter: Exporter, options: argparse.Namespace) -> ExitCode:
    """Poll and print until Ctrl-C. Returns the exit code of the last poll."""
    interval = exporter.config.poll.interval
    codes: list[ExitCode] = []
    on_terminal = sys.stdout.isatty()

    def poll_and_report() -> None:
        with progress_bar() as progress:
            evaluation = _poll(exporter, progress)
        if on_terminal:
            clear_screen()
        codes[:] = [_exit_code(evaluation, options)]
        _report(evaluation, options)
        if on_terminal:
            polled = f"{evaluation.now:%H:%M:%S} UTC"
            print_advice(f"Polled at {polled}, and every {format_duration(interval)}. Press Ctrl-C to stop.")

    try:
        run_every(poll_and_report, interval, threading.Event())
    except KeyboardInterrupt:
        if not codes:
            raise
        if on_terminal:
            print_advice("")  # ends the line with the ^C
    return codes[0]


def _poll(exporter: Exporter, progress: Callable[[int, int], None]) -> Evaluation:
    """Poll once, and find out which privileges the exporter does not need."""
    evaluation = exporter.poll_all(progress)
    exporter.check_privileges(PRIVILEGES_TIMEOUT)
    return exporter.evaluate(evaluation)


def _report(evaluation: Evaluation, options: argparse.Namespace) -> None:
    """Print the selected verdicts, and what could not be read."""
    write(FORMATS[options.output](evaluation, options.states or WORST_FIRST))
    report_problems(evaluation, options.projects, advise=options.output != "table")


def _exit_code(evaluation: Evaluation, options: argparse.Namespace) -> ExitCode:
    """The exit code for the selected verdicts, and what could not be read."""
    if problems(evaluation, options.projects):
        return ExitCode.UNREADABLE
    states = options.states or WORST_FIRST
    well = (Protection.PROTECTED, Protection.EXEMPT)
    failure = any(verdict.state in states and verdict.state not in well for verdict in evaluation.verdicts)
    return ExitCode.FAILURE if failure else ExitCode.OK
