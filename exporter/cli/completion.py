"""The flag `--print-completion`: a script that completes commands, flags and values in a shell."""

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from exporter.cli.terminal import write

SHELLS = ("bash", "zsh", "fish")


class PrintCompletion(argparse.Action):
    """Print the script for a shell, and end the program."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002 (argparse passes it to every action)
        values: str | Sequence[Any] | None,
        option_string: str | None = None,  # noqa: ARG002 (argparse passes it to every action)
    ) -> None:
        """Generate the script from the parser."""
        import shtab  # noqa: PLC0415 (read only when it is needed)

        for action in _actions(parser):
            if action.metavar in ("FILE", "FOLDER"):
                action.complete = shtab.DIRECTORY if action.metavar == "FOLDER" else shtab.FILE  # type: ignore[attr-defined] # shtab reads it
        write(shtab.complete(parser, str(values)) + "\n")
        parser.exit()


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The actions of a parser and of its commands."""
    for action in parser._actions:  # argparse has no public list
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
