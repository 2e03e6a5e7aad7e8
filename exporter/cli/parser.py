"""The parser of the flags of a command."""

import argparse
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from exporter import __version__
from exporter.cli.examples import NAME, examples
from exporter.errors import ExitCode

Command = Callable[[argparse.Namespace], int]


class FlagError(Exception):
    """An invalid flag, and the parser that refused it."""

    def __init__(self, parser: "Parser", message: str) -> None:
        super().__init__(message)
        self.parser = parser

    def end(self) -> NoReturn:
        """Print the usage and the error, and end the program."""
        self.parser.print_usage(sys.stderr)
        self.parser.exit(ExitCode.BAD_CONFIGURATION, f"{self.parser.prog}: error: {self}\n")


class Parser(argparse.ArgumentParser):
    """A parser of flags in full: an abbreviation that works today may be ambiguous tomorrow."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def set_command(self, name: str, run: Command, summary: str) -> None:
        """Make it the parser of a command: its help, and what all commands have."""
        self.description = f"{summary[0].upper()}{summary[1:]}."
        self.epilog = examples(name)
        self.add_argument("--version", action="version", version=f"{NAME} {__version__}")
        self.set_defaults(run=run, exit_codes={})

    def error(self, message: str) -> NoReturn:
        """Raise FlagError."""
        raise FlagError(self, message)
