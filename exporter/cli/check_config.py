"""The command `check-config`."""

import argparse

from rich.text import Text

from exporter.cli.terminal import count, stdout
from exporter.config import load
from exporter.errors import ExitCode


def check_config(options: argparse.Namespace) -> ExitCode:
    """Check the configuration, offline. Raises ConfigError with every problem."""
    config = load(options.config_file)
    targets, policies = count(len(config.targets), "target"), count(len(config.policies), "policy", "policies")
    stdout().print(Text.assemble(f"{options.config_file}: ", ("OK", "bold green"), f", {targets}, {policies}"))
    return ExitCode.OK
