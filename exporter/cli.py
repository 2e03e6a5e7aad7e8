"""The command line: flags, commands, exit codes."""

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

from exporter import __version__, commands, logs
from exporter.cloudsql import CredentialsError
from exporter.config import ConfigError
from exporter.ledger import StateInUseError
from exporter.shard import chosen
from exporter.simulator import KINDS, Fault, named
from exporter.web import ListenError, split_address

_DEFAULT_FILE = "the configuration (default: %(default)s)"
# Flags are written out in full: an abbreviation that works today may be ambiguous tomorrow.
_Parser = cast(type[argparse.ArgumentParser], partial(argparse.ArgumentParser, allow_abbrev=False))

EPILOG = "Documentation: README.md and docs/ of the project. Exit codes: docs/commands.md."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; without one, `serve`. Returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    flags_of_no_command = {"-h", "--help", "--version"}
    if not given or (given[0].startswith("-") and given[0] not in flags_of_no_command):
        given.insert(0, "serve")
    options = _options(given)
    if "log_level" in options:
        logs.configure(options.log_level, options.log_format)
    try:
        code = int(options.run(options))
        sys.stdout.flush()
        return code
    except ConfigError as error:
        for problem in error.problems:
            commands.complain(str(problem))
        return commands.BAD_CONFIGURATION
    except CredentialsError as error:
        commands.complain(str(error))
        return int(options.without_credentials)
    except (ListenError, StateInUseError) as error:
        commands.complain(str(error))
        return commands.FATAL
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        commands.complain(f"the output cannot be written: {error.strerror}")
        return commands.FATAL


def _options(given: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(given)
    if "shard_total" in options:
        host = os.environ.get("POD_NAME") or socket.gethostname()
        try:
            options.shard = chosen(options.shard_index, options.shard_total, options.shard_by, host)
        except ValueError as error:
            parser.error(str(error))
    return options


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="cloudsql-backup-exporter",
        description="Prometheus exporter for the health of Google Cloud SQL backups.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)

    def command(name: str, run: object, summary: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        sub.add_argument("--version", action="version", version=f"cloudsql-backup-exporter {__version__}")
        sub.set_defaults(run=run, without_credentials=commands.FATAL)
        return sub

    serve = command("serve", commands.serve, "poll, and serve /metrics until told to stop; the default")
    _config_flags(serve)
    _state_flags(serve)
    _web_flags(serve, ":10853")
    _shard_flags(serve)
    _log_flags(serve, "info")

    check = command("check-config", commands.check_config, "read the configuration offline and print each problem")
    check.add_argument(
        "--config.file", dest="config_file", type=Path, default=Path("config.yaml"), metavar="FILE", help=_DEFAULT_FILE
    )

    status = command("status", commands.status, "poll once and print the verdicts, worst first")
    _config_flags(status)
    status.add_argument(
        "--output", choices=("table", "json"), default="table", help="how to print (default: %(default)s)"
    )
    _log_flags(status, "off")
    status.set_defaults(without_credentials=commands.UNREAD)

    once = command("once", commands.once, "poll once and print the metrics, for node_exporter's textfile collector")
    _config_flags(once)
    _state_flags(once)
    once.add_argument("--output", type=Path, metavar="FILE", help="replace FILE as a whole (default: print)")
    _log_flags(once, "off")
    once.set_defaults(without_credentials=commands.UNREAD)

    demo = command("demo", commands.demo, "run the exporter against a simulated Cloud SQL; needs no cloud")
    _simulation_flags(demo)
    _state_flags(demo)
    _web_flags(demo, "127.0.0.1:10853")
    _shard_flags(demo)
    _log_flags(demo, "info")

    simulate = command("simulate", commands.simulate, "run only the simulated Cloud SQL Admin API")
    _simulation_flags(simulate)
    simulate.add_argument(
        "--web.listen-address",
        dest="listen_address",
        type=_address,
        default="127.0.0.1:10854",
        metavar="HOST:PORT",
        help="where to listen; loopback only (default: %(default)s)",
    )
    _log_flags(simulate, "info")
    return parser


def _config_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config.file", dest="config_file", type=Path, default=Path("config.yaml"), metavar="FILE", help=_DEFAULT_FILE
    )


def _state_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state.path",
        dest="state_path",
        type=Path,
        metavar="FOLDER",
        help="where to keep facts and counters (default: state.path of the configuration)",
    )


def _web_flags(parser: argparse.ArgumentParser, address: str) -> None:
    parser.add_argument(
        "--web.listen-address",
        dest="listen_address",
        action="append",
        type=_address,
        metavar="HOST:PORT",
        help=f"where to serve; may be repeated (default: {address})",
    )
    parser.add_argument(
        "--web.enable-lifecycle",
        dest="lifecycle",
        action="store_true",
        help="let POST /-/reload reload the configuration (default: off)",
    )
    parser.set_defaults(default_address=address)


def _shard_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shard.index",
        dest="shard_index",
        type=_whole,
        metavar="N",
        help="which shard this process is, from 0 (default: the number at the end of $POD_NAME or the host name)",
    )
    parser.add_argument(
        "--shard.total",
        dest="shard_total",
        type=_positive,
        default=1,
        metavar="N",
        help="how many processes share the work (default: %(default)s)",
    )
    parser.add_argument(
        "--shard.by",
        dest="shard_by",
        choices=("project", "instance"),
        default="project",
        help="what is shared out; instances only where one project is too large (default: %(default)s)",
    )


def _log_flags(parser: argparse.ArgumentParser, level: str) -> None:
    parser.add_argument(
        "--log.level",
        dest="log_level",
        choices=("debug", "info", "warn", "error", "off"),
        default=level,
        help="what to log to stderr (default: %(default)s)",
    )
    parser.add_argument(
        "--log.format",
        dest="log_format",
        choices=("logfmt", "json"),
        default="logfmt",
        help="how to log (default: %(default)s)",
    )


def _simulation_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--world",
        type=_world,
        default="demo",
        metavar="WORLD",
        help="what to simulate: demo, healthy, or fleet:INSTANCES:PROJECTS (default: %(default)s)",
    )
    parser.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="N",
        help="how fast time passes in it; 1440 is a day in a minute (default: 1, real time)",
    )
    parser.add_argument(
        "--fault",
        dest="faults",
        type=_fault,
        action="append",
        default=[],
        metavar="KIND[:PROJECT[:METHOD]]",
        help=f"let requests meet a fault; may be repeated. Kinds: {', '.join(KINDS)}",
    )


def _address(text: str) -> str:
    try:
        split_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 7):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def _positive(text: str) -> int:
    if not (number := _whole(text)):
        raise argparse.ArgumentTypeError("there is at least one shard")
    return number


def _world(text: str) -> str:
    try:
        named(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _fault(text: str) -> Fault:
    """`KIND[:PROJECT[:METHOD]]`."""
    kind, project, method = [*text.split(":"), "*", "*"][:3]
    try:
        return Fault(kind, project or "*", method or "*", seconds=10 if kind == "slow" else 0)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = -1.0
    if not 0 <= speed <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 100000")
    return speed
