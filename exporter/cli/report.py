"""The command `report`."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType

from exporter import __version__
from exporter.cli.state_folder import configured_folder
from exporter.cli.terminal import print_advice, print_error, write
from exporter.errors import ExitCode
from exporter.report.data import DAY, Period, Report
from exporter.report.data import report as build_report
from exporter.report.formats import csv_text, json_text
from exporter.report.html import html_text
from exporter.runtime import system_clock
from exporter.state.reader import SavedState
from exporter.state.sqlite import FILE

DEFAULT_DAYS = timedelta(days=30)
FORMATS: Mapping[str, Callable[[Report], str]] = MappingProxyType(
    {"html": html_text, "csv": csv_text, "json": json_text}
)


def report(options: argparse.Namespace) -> ExitCode:
    """Print what the daily record says about a period; nothing is polled, and an exporter may be running."""
    now = system_clock()
    last: date = options.last_day or now.date()
    if not options.first_day and last - date.min < DEFAULT_DAYS - DAY:
        print_error(f"{DEFAULT_DAYS.days} days up to --to {last} begin before the first date, {date.min}; set --from")
        return ExitCode.BAD_CONFIGURATION
    first: date = options.first_day or last - (DEFAULT_DAYS - DAY)
    if first > last:
        print_error(f"--from {first} is after --to {last}")
        return ExitCode.BAD_CONFIGURATION
    paths: list[Path] = options.state_paths or [configured_folder(options.config_file)]
    if twice := _same_state(paths):
        print_error(f"--state.path {twice[0]} and --state.path {twice[1]} have the same state; name it once")
        return ExitCode.BAD_CONFIGURATION
    folders = []
    found, read = set[str](), set[str]()
    for folder in paths:
        with closing(SavedState.of_folder(folder)) as state:
            folders.append(state.instances(first, last))
            found |= state.found_projects()
            read |= state.read_projects()
    result = build_report(folders, Period(first, last, now), __version__, found - read)
    if result.unread:
        print_advice(f"not in the report, since they were never read: {', '.join(result.unread)}")
    write(FORMATS[options.output](result))
    return ExitCode.OK


def _same_state(folders: Sequence[Path]) -> tuple[Path, Path] | None:
    """Two folders with the same state file, whatever their paths; what it contains must not be added up twice."""
    known: dict[tuple[int, int], Path] = {}
    for folder in folders:
        with suppress(OSError):  # opening the file tells what is wrong with it
            found = (folder / FILE).stat()
            if before := known.get((found.st_dev, found.st_ino)):
                return before, folder
            known[found.st_dev, found.st_ino] = folder
    return None
