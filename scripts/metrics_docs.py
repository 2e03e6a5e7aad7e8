"""Writes docs/metrics.md from the catalogue; with --check, says whether it is current instead."""

import sys
from collections.abc import Sequence
from pathlib import Path

from exporter.metrics import catalogue

FILE = Path(__file__).parent.parent / "docs" / "metrics.md"

INTRODUCTION = """# Metrics

<!-- Written by `make docs` from exporter/catalogue/: change it there. -->

Times are Unix seconds, durations seconds, sizes bytes. A value that is not known is an absent series: never 0 or -1.
`backup_type` is `automated` or `on_demand` (`unknown` for a word that this release does not know); series of a type
exist only where the instance has runs of it. Beside these, `/metrics` has the client library's `process_*` and
`python_*` about the exporter itself; `once` leaves those out.
"""


def document() -> str:
    """The whole page."""
    lines = [INTRODUCTION]
    for section in catalogue.sections():
        lines.append(f"## {section.title}\n")
        if section.identity:
            labels = ", ".join(f"`{label}`" for label in section.identity)
            lines.append(f"Every series has {labels}, and:\n")
        rows = [(metric.name, metric.type, metric.labels, metric.help) for metric in section.metrics]
        lines += _table(rows)
    lines.append("## The exporter's own work\n\nCounted since the process began.\n")
    lines += _table([(meter.name, meter.type, meter.labels, meter.help) for meter in catalogue.DIRECT_METRICS])
    return "\n".join(lines).rstrip() + "\n"


def _table(rows: Sequence[tuple[str, str, tuple[str, ...], str]]) -> list[str]:
    lines = ["| name | type | labels | meaning |", "|---|---|---|---|"]
    for name, kind, labels, meaning in rows:
        listed = ", ".join(f"`{label}`" for label in labels)
        if name == "cloudsql_backup_instance_labels":
            listed = "`label_NAME` for each of `collect.user_labels`"
        lines.append(f"| `{name}` | {kind} | {listed} | {meaning} |")
    return [*lines, ""]


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if FILE.read_text(encoding="utf-8") == document() else "docs/metrics.md is old; run `make docs`")
    FILE.write_text(document(), encoding="utf-8")
    sys.stdout.write(f"{FILE.name} written\n")
