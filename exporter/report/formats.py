"""A report as CSV and JSON, and the digest of its data. Pure."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator

from exporter.report.data import Report, ReportDay, ReportInstance, Totals

COLUMNS = (
    "project",
    "instance_id",
    "day",
    "state",
    "observed_share",
    "due",
    "outcome",
    "worst_age_seconds",
    "within_policy",
)


def csv_text(report: Report) -> str:
    """RFC 4180: a header, and a row for each instance and day."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(row for instance in report.instances for row in csv_rows(instance))
    return text.getvalue()


def csv_rows(instance: ReportInstance) -> Iterator[tuple[str, ...]]:
    """The rows of one instance; what is not known is empty."""
    for day in instance.days:
        yield (
            instance.project,
            instance.instance_id,
            day.day.isoformat(),
            day.state,
            "" if day.observed_share is None else f"{day.observed_share:.3f}",
            "" if day.due is None else str(day.due),
            day.outcome or "",
            "" if day.worst_age_seconds is None else str(day.worst_age_seconds),
            "" if day.within_policy is None else str(day.within_policy).lower(),
        )


def json_text(report: Report) -> str:
    """The same numbers with totals; ASCII only, other characters are escaped."""
    document = {
        "from": report.first.isoformat(),
        "to": report.last.isoformat(),
        "generated_at": report.generated_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "version": report.version,
        "digest": digest(report),
        "instances": [
            {
                "project": instance.project,
                "instance_id": instance.instance_id,
                **_totals(instance.totals),
                "days": [_day(day) for day in instance.days],
            }
            for instance in report.instances
        ],
        "projects": [{"project": project, **_totals(totals)} for project, totals in report.projects.items()],
        "fleet": _totals(report.fleet),
    }
    return json.dumps(document, indent=2) + "\n"


def digest(report: Report) -> str:
    """SHA-256 of the report in CSV: whoever has that file can compute it."""
    return f"sha256:{hashlib.sha256(csv_text(report).encode()).hexdigest()}"


def _totals(totals: Totals) -> dict[str, int]:
    return {"days_observed": totals.days_observed, "days_within_policy": totals.days_within_policy}


def _day(day: ReportDay) -> dict[str, object]:
    return {
        "day": day.day.isoformat(),
        "state": day.state,
        "observed_share": day.observed_share,
        "due": day.due,
        "outcome": day.outcome,
        "worst_age_seconds": day.worst_age_seconds,
        "within_policy": day.within_policy,
    }
