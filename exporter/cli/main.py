"""Entry point of the command line: parses the flags, runs the command, and turns errors into exit codes."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from exporter.cli import healthcheck, logs
from exporter.cli.terminal import print_error
from exporter.errors import ExitCode, UserError

_TOP_LEVEL_FLAGS = ("-h", "--help", "--version", "--print-completion")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, by default `serve`. Returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or (arguments[0].startswith("-") and arguments[0].partition("=")[0] not in _TOP_LEVEL_FLAGS):
        arguments.insert(0, "serve")
    options = _parse_flags(arguments)
    if "log_level" in options:
        logs.configure(options.log_level, options.log_format)
    try:
        code = options.run(options)
        sys.stdout.flush()
        return int(code)
    except UserError as error:
        for message in str(error).splitlines():
            print_error(message)
        return int(options.exit_codes.get(type(error), error.exit_code))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of the output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        print_error(f"cannot write the output: {error.strerror}")
        return int(options.exit_codes.get(OSError, ExitCode.FAILURE))


def _parse_flags(arguments: Sequence[str]) -> argparse.Namespace:
    if arguments[0] == healthcheck.NAME:  # runs twice a minute: it does without the imports of the other commands
        return healthcheck.parse_flags(arguments[1:])
    from exporter.cli.flags import parse_flags  # noqa: PLC0415 (see above)

    return parse_flags(arguments)
