"""The commands `state check`, `state export` and `state import`."""

import argparse
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from exporter.cli.state_folder import configured_folder
from exporter.cli.terminal import count, print_error, write
from exporter.errors import ExitCode
from exporter.state.reader import Contents, SavedState
from exporter.state.sqlite import FILE
from exporter.state.transfer import export_state, import_state
from exporter.web.pages.words import bytes_text


def check(options: argparse.Namespace) -> ExitCode:
    """Check that the state is sound, also while an exporter uses it, and print what it contains."""
    folder = options.state_path or configured_folder(options.config_file)
    with closing(SavedState.of_folder(folder)) as state:
        contents = state.check()
    write(_lines(folder / FILE, contents))
    return ExitCode.OK


def export(options: argparse.Namespace) -> ExitCode:
    """Copy the state into one new file."""
    folder = options.state_path or configured_folder(options.config_file)
    return _transfer(options.file, lambda: export_state(folder, options.file))


def import_(options: argparse.Namespace) -> ExitCode:
    """Copy an exported file into a folder without state."""
    folder = options.state_path or configured_folder(options.config_file)
    return _transfer(folder / FILE, lambda: import_state(options.file, folder))


def _transfer(written: Path, copy: Callable[[], Contents]) -> ExitCode:
    try:
        contents = copy()
    except OSError as error:
        print_error(f"cannot write {written}: {error.strerror}")
        return ExitCode.FAILURE
    write(_lines(written, contents))
    return ExitCode.OK


def _lines(file: Path, contents: Contents) -> str:
    """What a state file contains, one line each."""
    days = count(contents.instance_days, "instance day")
    if contents.first_day:
        days += f", {contents.first_day} to {contents.last_day}"
    read = f", last read {contents.last_read:%Y-%m-%d %H:%M:%S} UTC" if contents.last_read else ""
    lines = (
        ("file", str(file)),
        ("sound", "yes"),
        ("version", str(contents.version)),
        ("size", bytes_text(contents.size)),
        ("projects", f"{contents.projects}{read}"),
        ("searches", str(contents.searches)),
        ("instances", f"{contents.instances}, and the counters of {contents.removed_instances} that are gone"),
        ("backup runs", str(contents.runs)),
        ("daily record", days),
    )
    return "".join(f"{name + ':':<14}{value}\n" for name, value in lines)
