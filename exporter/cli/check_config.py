"""The command `check-config`."""

import argparse
from pathlib import Path

from rich.text import Text

from exporter.cli.terminal import count, stdout
from exporter.config import ConfigError, Problem, load
from exporter.errors import ExitCode
from exporter.web import load_web_config


def check_config(options: argparse.Namespace) -> ExitCode:
    """Check the configuration and, if given, the web configuration file, offline.

    Raises ConfigError with every problem.
    """
    problems: list[Problem] = []
    results = []
    for file, check in ((options.config_file, _config), (options.web_config_file, _web_config)):
        if file is None:
            continue
        try:
            results.append(Text.assemble(f"{file}: ", ("OK", "bold green"), ", ", check(file)))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    for result in results:
        stdout().print(result)
    return ExitCode.OK


def _config(file: Path) -> str:
    """What a configuration contains. Raises ConfigError."""
    config = load(file)
    return f"{count(len(config.targets), 'target')}, {count(len(config.policies), 'policy', 'policies')}"


def _web_config(file: Path) -> str:
    """What a web configuration file sets up. Raises WebConfigError."""
    config = load_web_config(file)
    return f"{'TLS' if config.tls else 'no TLS'}, {count(len(config.users), 'user')}"
