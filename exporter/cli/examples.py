"""Examples that `--help` shows for each command, at most 80 columns wide."""

from collections.abc import Mapping
from types import MappingProxyType

NAME = "cloudsql-backup-exporter"

_EXAMPLES: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "": (
            ("try it without a cloud", "demo --speed=1440"),
            ("poll and serve by a configuration", "serve --config.file=config.yaml"),
            ("see in a terminal what is not protected", "status --only=unprotected,at_risk"),
            ("complete commands and flags in bash", "--print-completion=bash > completion.bash"),
        ),
        "serve": (
            ("the configuration in the working folder", "serve"),
            ("on one address, with state in a folder", "serve --web.listen-address=127.0.0.1:10853 \\"),
            ("", "    --state.path=/var/lib/cloudsql-backup-exporter"),
            ("the second of three processes", "serve --shard.index=1 --shard.total=3"),
        ),
        "check-config": (("before a deployment", "check-config --config.file=config.yaml"),),
        "status": (
            ("everything, worst first", "status"),
            ("what needs attention in one project", "status --project=shop-prod \\"),
            ("", "    --only=unprotected,unknown,at_risk"),
            ("keep watching", "status --watch"),
            ("for a spreadsheet", "status --output=csv > backups.csv"),
        ),
        "check": (
            ("all projects", "check --config.file=config.yaml"),
            ("one project", "check --project=shop-prod"),
            ("one instance", "check --instance=shop-prod/orders"),
        ),
        "report": (
            ("the last 30 days, to read and to print", "report > report.html"),
            ("a quarter", "report --from=2026-07-01 --to=2026-09-30 > q3.html"),
            ("for a spreadsheet", "report --output=csv > report.csv"),
            ("of two shards", "report --output=json \\"),
            ("", "    --state.path=data-0 --state.path=data-1 > report.json"),
        ),
        "state": (
            ("what is kept, and is it sound?", "state check"),
            ("a backup, after stopping the exporter", "state export backup.sqlite3"),
            ("restore it in a new folder", "state import backup.sqlite3 --state.path=data"),
        ),
        "once": (
            ("print the metrics", "once"),
            ("for node_exporter", "once \\"),
            ("", "    --output=/var/lib/node_exporter/textfile/cloudsql_backup.prom"),
        ),
        "healthcheck": (
            ("an exporter on the default address", "healthcheck"),
            ("one that runs with --web.health-address=127.0.0.1:10854", "healthcheck --url=http://127.0.0.1:10854"),
        ),
        "demo": (
            ("in real time", "demo"),
            ("a day per minute", "demo --speed=1440"),
            ("1,000 instances in 10 projects", "demo --world=fleet:1000:10"),
            ("with a project that cannot be read", "demo --fault=quota:museum"),
        ),
        "simulate": (
            ("on the default address", "simulate"),
            ("every listing of backup runs fails", "simulate --fault=server-error:*:backupRuns.list"),
        ),
    }
)


def examples(command: str) -> str:
    """The examples of a command, or of the program for an empty name, as the end of its help."""
    lines = ["examples:"]
    for purpose, arguments in _EXAMPLES[command]:
        if purpose:
            lines.append(f"  # {purpose}")
        lines.append(f"  {NAME} {arguments}" if purpose else f"  {arguments}")
    return "\n".join(lines)
