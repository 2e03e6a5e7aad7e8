"""The command `report`."""

import argparse
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import date, timedelta
from types import MappingProxyType

from exporter import __version__
from exporter.cli.state_folder import configured_folder
from exporter.cli.terminal import print_error, write
from exporter.errors import ExitCode
from exporter.report.data import Period, Report
from exporter.report.data import report as build_report
from exporter.report.formats import csv_text, json_text
from exporter.report.html import html_text
from exporter.runtime import system_clock
from exporter.state.reader import SavedState

DEFAULT_DAYS = timedelta(days=30)
FORMATS: Mapping[str, Callable[[Report], str]] = MappingProxyType(
    {"html": html_text, "csv": csv_text, "json": json_text}
)


def report(options: argparse.Namespace) -> ExitCode:
    """Print what the daily record says about a period; nothing is polled, and an exporter may be running."""
    now = system_clock()
    last: date = options.last_day or now.date()
    first: date = options.first_day or last - DEFAULT_DAYS + timedelta(days=1)
    if first > last:
        print_error(f"--from {first} is after --to {last}")
        return ExitCode.BAD_CONFIGURATION
    folders = []
    for folder in options.state_paths or [configured_folder(options.config_file)]:
        with closing(SavedState.of_folder(folder)) as state:
            folders.append(state.instances(first, last))
    write(FORMATS[options.output](build_report(folders, Period(first, last, now), __version__)))
    return ExitCode.OK
