"""Output for people: text, tables and progress on a terminal. Colours respect NO_COLOR."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.measure import Measurement
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

UNLIMITED = 1_000_000  # columns: no line is wrapped


def printable(text: str) -> str:
    """The text with `?` for every character that could control a terminal or change the direction of the text."""
    return "".join(character if character.isprintable() else "?" for character in text)


def write(text: str) -> None:
    """Write data to stdout at once; what its encoding lacks is escaped."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stdout.write(text)
    sys.stdout.flush()


def clear_screen() -> None:
    """Clear the terminal that stdout is; the scrollback remains."""
    Console().clear()


def print_error(text: str) -> None:
    """Print one line to stderr."""
    stderr().print(Text.assemble(("error: ", "bold red"), printable(text)))


def print_advice(text: str) -> None:
    """Print one line to stderr, in a colour of its own."""
    stderr().print(Text(printable(text), style="bold"))


def stderr() -> Console:
    """A console on stderr."""
    return Console(stderr=True, soft_wrap=True, highlight=False)


def stdout() -> Console:
    """A console on stdout."""
    return Console(soft_wrap=True, highlight=False)


def table_text(table: Table, *, to_stderr: bool = False) -> str:
    """A table as text for stdout or stderr; no text is cut off.

    Cells are wrapped if that is a terminal and wide enough for the longest words.
    """
    console = Console(stderr=to_stderr, highlight=False)
    if not (console.file.isatty() and _longest_words(table, console) <= console.width):
        console.width = UNLIMITED
    with console.capture() as capture:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def _longest_words(table: Table, console: Console) -> int:
    """The width of a table whose cells are wrapped between all words."""
    return Measurement.get(console, console.options.update(max_width=UNLIMITED), table).minimum


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, if that is a terminal."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("polling", total=None)
        yield lambda finished, total: bar.update(task, completed=finished, total=total)


def count(number: int, singular: str, plural: str = "") -> str:
    """A number with its noun."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
