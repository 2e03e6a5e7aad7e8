"""The command `status`."""

import argparse
import json
import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter.cli.terminal import COLOURS, progress_bar, report_problems
from exporter.config import State, load
from exporter.errors import ExitCode
from exporter.runtime import Exporter, system_clock
from exporter.verdict import summary
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.rules import Protection


def status(options: argparse.Namespace) -> ExitCode:
    """Poll once, without saved state, and print the verdict on every instance."""
    config = load(options.config_file).model_copy(update={"state": State(path=None)})
    exporter = Exporter(lambda: config, system_clock)
    with progress_bar() as progress:
        evaluation = exporter.poll_once(progress)
    if options.output == "json":
        sys.stdout.write(json.dumps(summary.as_json(evaluation), indent=2) + "\n")
    else:
        _print_table(evaluation)
    well = all(verdict.state in (Protection.PROTECTED, Protection.EXEMPT) for verdict in evaluation.verdicts)
    return report_problems(evaluation) or (ExitCode.OK if well else ExitCode.FAILURE)


def _print_table(evaluation: Evaluation) -> None:
    """Print one line per instance; a narrow terminal wraps lines, and nothing is cut off."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("VERDICT", "PROJECT", "INSTANCE", "RECOVERY POINT", "LAST RUN", "REASON"):
        table.add_column(column, no_wrap=True)
    for row in summary.rows(evaluation):
        age = f"{row.age} ago" if row.age else "none"
        verdict = Text(row.state.replace("_", " "), style=COLOURS[row.state])
        table.add_row(verdict, row.project, row.instance, age, row.last_run, "; ".join(row.reasons))
    console = Console(highlight=False, markup=False, width=2000)
    with console.capture() as capture:
        console.print(table)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    totals = [f"{count} {state.replace('_', ' ')}" for state, count in summary.totals(evaluation).items() if count]
    sys.stdout.write("\n".join([*lines, ", ".join(totals) or "no instances: check targets"]) + "\n")
