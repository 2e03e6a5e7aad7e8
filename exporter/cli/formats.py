"""Output formats of `status`: the verdicts as a table, JSON, CSV or Markdown."""

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType

from msgspec import to_builtins
from rich.table import Table
from rich.text import Text

from exporter.cli.problems import advice
from exporter.cli.terminal import printable, table_text
from exporter.verdict import summary
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.listing import Listing, Selection
from exporter.verdict.rules import Protection
from exporter.verdict.summary import Row, rfc3339
from exporter.web.api.content import status_document

States = Collection[Protection]
Format = Callable[[Evaluation, States], str]

COLOURS = {
    Protection.UNPROTECTED: "bold red",
    Protection.UNKNOWN: "magenta",
    Protection.AT_RISK: "yellow",
    Protection.PROTECTED: "green",
    Protection.EXEMPT: "dim",
}

COLUMNS = (
    "state",
    "project",
    "instance_id",
    "findings",
    "exempt",
    "reasons",
    "recovery_point",
    "recovery_point_age_seconds",
    "next_due",
    "last_run",
)


def table_format(evaluation: Evaluation, states: States) -> str:
    """A table for people, the missing permissions and unneeded privileges, and the totals."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("VERDICT", "PROJECT", "INSTANCE", "RECOVERY POINT", "LAST RUN"):
        table.add_column(column, no_wrap=True, overflow="fold")
    table.add_column("REASON", overflow="fold")
    for row in summary.rows(evaluation, states):
        verdict = Text(row.state.replace("_", " "), style=COLOURS[row.state])
        age = f"{row.age} ago" if row.age else "none"
        cells = (row.project, row.instance, age, row.last_run, "; ".join(row.reasons))
        table.add_row(verdict, *(Text(printable(cell)) for cell in cells))
    lines = [printable(line) for line in advice(evaluation)]
    paragraph = "".join(f"{line}\n" for line in ("", *lines, "")) if lines else ""
    return f"{table_text(table)}{paragraph}{totals_text(evaluation)}\n"


def totals_text(evaluation: Evaluation) -> str:
    """The number of instances in each state, as text."""
    counts = summary.totals(evaluation).items()
    return ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in counts if count) or (
        "no instances: check targets"
    )


def json_format(evaluation: Evaluation, states: States) -> str:
    """The same document as /api/v1/status; ASCII only, other characters are escaped."""
    selected = Listing().select(evaluation, Selection(states=tuple(states)))
    return json.dumps(to_builtins(status_document(evaluation, selected)), indent=2) + "\n"


def csv_format(evaluation: Evaluation, states: States) -> str:
    """RFC 4180, with a header."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([_without_formula(cell) for cell in _cells(row)] for row in summary.rows(evaluation, states))
    return text.getvalue()


def markdown_format(evaluation: Evaluation, states: States) -> str:
    """A table of GitHub Flavored Markdown."""
    lines = [COLUMNS, ["---"] * len(COLUMNS)]
    lines += [[_without_markup(cell) for cell in _cells(row)] for row in summary.rows(evaluation, states)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(row: Row) -> Iterator[str]:
    """The printable cells of a row, in the order of COLUMNS."""
    for value in (
        row.state,
        row.project,
        row.instance,
        "; ".join(row.findings),
        row.exemption,
        "; ".join(row.reasons),
        rfc3339(row.recovery_point),
        row.age_seconds,
        rfc3339(row.next_due),
        row.last_run,
    ):
        yield "" if value is None else printable(str(value))


def _without_formula(cell: str) -> str:
    """The cell with a ' before text that a spreadsheet would run as a formula.

    No name of Google's begins so; text from elsewhere may. A negative age is a number, and stays one.
    """
    return f"'{cell}" if cell.lstrip().startswith(("=", "+", "-", "@")) and not _NUMBER.fullmatch(cell) else cell


_NUMBER = re.compile(r"-?\d+")
_MARKUP = re.compile(
    r"[\\`*\[\]<>|~&$]"  # inline markup, HTML and cells
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis; none within a word
    r"|(?<=:)(?=//)|(?<=www)\.|@"  # links without markup
)


def _without_markup(cell: str) -> str:
    """The cell with a backslash before everything that Markdown would not show as it is."""
    return _MARKUP.sub(lambda match: f"\\{match[0]}", cell)


FORMATS: Mapping[str, Format] = MappingProxyType(
    {"table": table_format, "json": json_format, "csv": csv_format, "markdown": markdown_format}
)
