"""Every exported metric, declared once.

`/metrics`, `docs/metrics.md` and the checks of rules and dashboards all derive from these declarations.
A value that is not known yields no sample: never 0, never -1.
"""

from typing import Any

from exporter.assess import Assessment
from exporter.catalogue.instances import INSTANCE, instance_labels
from exporter.catalogue.itself import (
    API_METHODS,
    API_REQUEST_DURATION,
    API_REQUESTS,
    API_RETRIES,
    EXPORTER,
    FACTS_AGE,
    METERS,
    PROJECT,
    SEARCH,
    UNREADABLE_ITEMS,
)
from exporter.catalogue.runs import AGES, COUNTERS, RUNS, VERDICT
from exporter.metric import Metric, Section
from exporter.snapshot import ProjectStatus

__all__ = [
    "API_METHODS",
    "API_REQUESTS",
    "API_REQUEST_DURATION",
    "API_RETRIES",
    "METERS",
    "SEARCH",
    "UNREADABLE_ITEMS",
    "sections",
]


def sections(user_labels: tuple[str, ...] = ()) -> tuple[Section[Any], ...]:
    """All metrics read from a view, given the user labels to export."""

    def instance(title: str, *metrics: Metric[Assessment]) -> Section[Assessment]:
        def identity(verdict: Assessment) -> tuple[str, ...]:
            return verdict.instance.id.project, verdict.instance.id.name

        return Section(title, ("project", "instance_id"), lambda view: view.assessments, identity, metrics)

    def project(title: str, *metrics: Metric[ProjectStatus]) -> Section[ProjectStatus]:
        return Section(title, ("project",), lambda view: view.projects, lambda status: (status.project,), metrics)

    return (
        instance("Verdict", *VERDICT),
        instance("Runs", *RUNS),
        Section(
            "Counters",
            ("project", "instance_id"),
            lambda view: view.records,
            lambda record: (record.instance.id.project, record.instance.id.name),
            COUNTERS,
        ),
        instance("Instance", *INSTANCE, instance_labels(user_labels)),
        project("Projects", *PROJECT),
        Section("Searches", ("query",), lambda view: view.searches, lambda search: (search[0],), SEARCH),
        Section("Exporter", (), lambda view: (view.exporter,), lambda _facts: (), EXPORTER),
        instance("Ages at the moment of the scrape", *AGES),
        project("Age of the facts", FACTS_AGE),
    )
