"""Flags of every command."""

import argparse
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from exporter import __version__
from exporter.cli import flag_types, healthcheck, state
from exporter.cli.check import ServiceState, check, report_unknown
from exporter.cli.check_config import check_config
from exporter.cli.completion import SHELLS, PrintCompletion
from exporter.cli.demo import demo
from exporter.cli.examples import NAME, examples
from exporter.cli.formats import FORMATS
from exporter.cli.once import once
from exporter.cli.parser import Command, FlagError, Parser
from exporter.cli.report import FORMATS as REPORT_FORMATS
from exporter.cli.report import report
from exporter.cli.serve import serve
from exporter.cli.simulate import simulate
from exporter.cli.status import status
from exporter.errors import ExitCode
from exporter.googleapis import CredentialsError
from exporter.polling import shard
from exporter.simulator import KINDS
from exporter.verdict.rules import WORST_FIRST

EPILOG = "Documentation: README.md and docs/ of the project. Exit codes: docs/commands.md."


def parse_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """The parsed flags, with the command as `run`. Ends the program for --help, --version and invalid flags."""
    try:
        return _parse_flags(arguments)
    except FlagError as error:
        if arguments[:1] == ["check"]:  # a monitoring program shows stdout, and takes 2 for CRITICAL
            sys.exit(report_unknown(str(error)))
        error.end()


def _parse_flags(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    if "shard_total" in options:
        host_name = os.environ.get("POD_NAME") or socket.gethostname()
        try:
            options.shard = shard.from_flags(options.shard_index, options.shard_total, options.shard_by, host_name)
        except ValueError as error:
            parser.error(str(error))
    return options


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=NAME,
        description="Prometheus exporter for the health of Google Cloud SQL backups.",
        epilog=f"{examples('')}\n\n{EPILOG}",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=SHELLS,
        metavar="SHELL",
        help=f"print a script that completes commands and flags in a shell: {', '.join(SHELLS)}",
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)

    def add_command(name: str, run: Command, summary: str) -> argparse.ArgumentParser:
        command = subparsers.add_parser(name, help=summary)
        command.set_command(name, run, summary)
        return command

    _add_serve(add_command)
    _add_check_config(add_command)
    _add_status(add_command)
    _add_check(add_command)
    _add_report(add_command)
    _add_once(add_command)
    _add_healthcheck(add_command)
    _add_state(add_command)
    _add_demo(add_command)
    _add_simulate(add_command)
    return parser


AddCommand = Callable[[str, Command, str], argparse.ArgumentParser]


def _add_serve(add_command: AddCommand) -> None:
    parser = add_command("serve", serve, "poll, and serve /metrics until stopped; the default")
    _add_config_flags(parser)
    _add_state_flags(parser)
    _add_web_flags(parser, ":10853")
    _add_shard_flags(parser)
    _add_log_flags(parser, "info")


def _add_check_config(add_command: AddCommand) -> None:
    parser = add_command("check-config", check_config, "check the configuration offline; print each problem")
    _add_config_flags(parser)
    _add_web_config_flag(parser)


def _add_status(add_command: AddCommand) -> None:
    parser = add_command("status", status, "poll once and print the verdicts, worst first")
    _add_config_flags(parser)
    parser.add_argument(
        "--output", choices=tuple(FORMATS), default="table", help="output format (default: %(default)s)"
    )
    _add_project_flag(parser)
    parser.add_argument(
        "--only",
        dest="states",
        type=flag_types.states,
        action="extend",
        metavar="STATES",
        help=f"states to print, separated by commas: {', '.join(WORST_FIRST)} (default: all)",
    )
    parser.add_argument(
        "--watch", action="store_true", help="poll and print at every poll.interval, until Ctrl-C (default: off)"
    )
    _add_log_flags(parser, "off")
    parser.set_defaults(exit_codes={CredentialsError: ExitCode.UNREADABLE})


def _add_check(add_command: AddCommand) -> None:
    parser = add_command("check", check, "poll once and print one line for Icinga, Nagios and the like")
    _add_config_flags(parser)
    _add_project_flag(parser)
    parser.add_argument(
        "--instance",
        type=flag_types.instance,
        default=(None, None),
        metavar="[PROJECT/]INSTANCE",
        help="instance to check (default: all of the projects)",
    )
    _add_log_flags(parser, "off")
    parser.set_defaults(exit_codes={OSError: ServiceState.UNKNOWN})


def _add_once(add_command: AddCommand) -> None:
    parser = add_command("once", once, "poll once and print the metrics, for node_exporter's textfile collector")
    _add_config_flags(parser)
    _add_state_flags(parser)
    parser.add_argument("--output", type=Path, metavar="FILE", help="file to replace atomically (default: stdout)")
    _add_log_flags(parser, "off")
    parser.set_defaults(exit_codes={CredentialsError: ExitCode.UNREADABLE})


def _add_healthcheck(add_command: AddCommand) -> None:
    healthcheck.add_flags(add_command(healthcheck.NAME, healthcheck.healthcheck, healthcheck.SUMMARY))


def _add_report(add_command: AddCommand) -> None:
    parser = add_command("report", report, "print what happened on each day, from the kept history, for auditors")
    _add_config_flags(parser)
    parser.add_argument(
        "--state.path",
        dest="state_paths",
        type=Path,
        action="append",
        metavar="FOLDER",
        help="state folder; may be repeated, for shards (default: state.path of the configuration)",
    )
    parser.add_argument(
        "--from", dest="first_day", type=flag_types.day, metavar="DATE", help="first day (default: 30 days up to --to)"
    )
    parser.add_argument("--to", dest="last_day", type=flag_types.day, metavar="DATE", help="last day (default: today)")
    parser.add_argument(
        "--output", choices=tuple(REPORT_FORMATS), default="html", help="output format (default: %(default)s)"
    )


def _add_state(add_command: AddCommand) -> None:
    parser = add_command("state", state.check, "check, export or import the kept state")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, parser_class=Parser)
    for name, run, summary, file in (
        ("check", state.check, "check that the state is sound, and print what it contains", ""),
        ("export", state.export, "copy the state into one new file; no exporter may be using it", "new file"),
        ("import", state.import_, "copy an exported file into a folder without state", "file of `state export`"),
    ):
        action = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        action.add_argument("--version", action="version", version=f"cloudsql-backup-exporter {__version__}")
        if file:
            action.add_argument("file", type=Path, metavar="FILE", help=file)
        _add_config_flags(action)
        _add_state_flags(action)
        action.set_defaults(run=run)


def _add_demo(add_command: AddCommand) -> None:
    parser = add_command("demo", demo, "run the exporter against a simulated Cloud SQL, without a cloud")
    _add_simulation_flags(parser)
    _add_state_flags(parser, default="none, in memory only")
    _add_web_flags(parser, "127.0.0.1:10853")
    _add_shard_flags(parser)
    _add_log_flags(parser, "info")


def _add_simulate(add_command: AddCommand) -> None:
    parser = add_command("simulate", simulate, "run only the simulated Cloud SQL Admin API")
    _add_simulation_flags(parser)
    parser.add_argument(
        "--web.listen-address",
        dest="listen_address",
        type=flag_types.address,
        default="127.0.0.1:10854",
        metavar="HOST:PORT",
        help="address to listen on; loopback only (default: %(default)s)",
    )
    _add_log_flags(parser, "info")


def _add_config_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config.file",
        dest="config_file",
        type=Path,
        default=Path("config.yaml"),
        metavar="FILE",
        help="configuration file (default: %(default)s)",
    )


def _add_project_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--project",
        dest="projects",
        action="append",
        default=[],
        metavar="PROJECT",
        help="project to poll, one of the targets; may be repeated (default: all)",
    )


def _add_state_flags(parser: argparse.ArgumentParser, default: str = "state.path of the configuration") -> None:
    parser.add_argument(
        "--state.path",
        dest="state_path",
        type=Path,
        metavar="FOLDER",
        help=f"folder for facts and counters (default: {default})",
    )


def _add_web_flags(parser: argparse.ArgumentParser, address: str) -> None:
    parser.add_argument(
        "--web.listen-address",
        dest="listen_address",
        action="append",
        type=flag_types.address,
        metavar="HOST:PORT",
        help=f"address to serve on; may be repeated (default: {address})",
    )
    _add_web_config_flag(parser)
    parser.add_argument(
        "--web.enable-lifecycle",
        dest="lifecycle",
        action="store_true",
        help="enable reload with POST /-/reload (default: off)",
    )
    parser.add_argument(
        "--web.systemd-socket",
        dest="systemd_socket",
        action="store_true",
        help="serve on the sockets passed by systemd instead of --web.listen-address (default: off)",
    )
    parser.add_argument(
        "--web.health-address",
        dest="health_address",
        type=flag_types.address,
        metavar="HOST:PORT",
        help="address that serves /-/healthy and /-/ready without password and TLS, for probes (default: none)",
    )
    parser.add_argument(
        "--web.external-url",
        dest="external_path",
        type=flag_types.external_path,
        default="/",
        metavar="URL",
        help="URL at which a reverse proxy serves the exporter; everything is served under its path (default: none)",
    )
    parser.add_argument(
        "--web.alertmanager-url",
        dest="alertmanager_url",
        type=flag_types.external_site,
        default="",
        metavar="URL",
        help="URL of Alertmanager, for links to new silences (default: none)",
    )
    parser.add_argument(
        "--web.grafana-url",
        dest="grafana_url",
        type=flag_types.external_site,
        default="",
        metavar="URL",
        help="URL of Grafana, for links to dashboards (default: none)",
    )
    parser.add_argument(
        "--web.max-connections",
        dest="max_connections",
        type=flag_types.positive,
        default=512,
        metavar="N",
        help="connections above which the longest idle ones are closed (default: %(default)s)",
    )
    parser.set_defaults(default_address=address)


def _add_web_config_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--web.config.file",
        dest="web_config_file",
        type=flag_types.optional_file,
        metavar="FILE",
        help="file with TLS settings, users and more, in the format of Prometheus (default: none)",
    )


def _add_shard_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shard.index",
        dest="shard_index",
        type=flag_types.non_negative,
        metavar="N",
        help="index of this shard, from 0 (default: the number at the end of $POD_NAME or the host name)",
    )
    parser.add_argument(
        "--shard.total",
        dest="shard_total",
        type=flag_types.positive,
        default=1,
        metavar="N",
        help="number of shards (default: %(default)s)",
    )
    parser.add_argument(
        "--shard.by",
        dest="shard_by",
        choices=("project", "instance"),
        default="project",
        help="unit of sharding; instance only if one project is too large (default: %(default)s)",
    )


def _add_log_flags(parser: argparse.ArgumentParser, level: str) -> None:
    parser.add_argument(
        "--log.level",
        dest="log_level",
        choices=("debug", "info", "warn", "error", "off"),
        default=level,
        metavar="LEVEL",
        help="lowest level to log, to stderr: debug, info, warn, error or off (default: %(default)s)",
    )
    parser.add_argument(
        "--log.format",
        dest="log_format",
        choices=("logfmt", "json"),
        default="logfmt",
        metavar="FORMAT",
        help="log format: logfmt or json (default: %(default)s)",
    )


def _add_simulation_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--world",
        type=flag_types.world,
        default="demo",
        metavar="WORLD",
        help="world to simulate: demo, healthy, organization:PROJECTS or fleet:INSTANCES:PROJECTS (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--speed",
        type=flag_types.speed,
        default=1.0,
        metavar="N",
        help="factor by which time passes faster; 1440 is a day in a minute (default: 1, real time)",
    )
    parser.add_argument(
        "--fault",
        dest="faults",
        type=flag_types.fault,
        action="append",
        default=[],
        metavar="KIND[:PROJECT[:METHOD]]",
        help=f"fault to inject into responses; may be repeated. Kinds: {', '.join(KINDS)}",
    )
