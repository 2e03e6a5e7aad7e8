"""Output for people: errors, tables and progress on a terminal. Colours respect NO_COLOR."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from exporter.errors import ExitCode
from exporter.verdict import summary
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.rules import Protection

COLOURS = {
    Protection.UNPROTECTED: "bold red",
    Protection.UNKNOWN: "magenta",
    Protection.AT_RISK: "yellow",
    Protection.PROTECTED: "green",
    Protection.EXEMPT: "dim",
}


def print_error(text: str) -> None:
    """Print one line to stderr."""
    stderr().print(Text.assemble(("error: ", "bold red"), text))


def stderr() -> Console:
    """A console on stderr."""
    return Console(stderr=True, soft_wrap=True, highlight=False)


def stdout() -> Console:
    """A console on stdout."""
    return Console(soft_wrap=True, highlight=False)


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, if that is a terminal."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("polling projects", total=None)
        yield lambda finished, total: bar.update(task, completed=finished, total=total)


def report_problems(evaluation: Evaluation) -> ExitCode:
    """Print what could not be read, or only partially. Returns the resulting exit code."""
    problems = summary.problems(evaluation)
    for problem in problems:
        print_error(problem)
    return ExitCode.UNREADABLE if problems else ExitCode.OK


def count(number: int, singular: str, plural: str = "") -> str:
    """A number with its noun."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
