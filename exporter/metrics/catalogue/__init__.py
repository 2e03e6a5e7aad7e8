"""Catalogue of all exported metrics, each declared once.

`/metrics`, `docs/metrics.md` and the checks of rules and dashboards all derive from these declarations.
An unknown value yields no sample: never 0, never -1.
"""

from typing import Any

from exporter.facts.snapshot import ProjectStatus
from exporter.metrics.catalogue.backup_plans import PLANS
from exporter.metrics.catalogue.backup_runs import AGES, COUNTERS, RUNS, VERDICT
from exporter.metrics.catalogue.deleted_instances import DELETED_INSTANCE
from exporter.metrics.catalogue.exporter import (
    API_METHODS,
    API_REQUEST_DURATION,
    API_REQUESTS,
    API_RETRIES,
    DIRECT_METRICS,
    EXPORTER,
    FACTS_AGE,
    PROJECT,
    PROJECTS_BY_STATE,
    SEARCH,
    UNREADABLE_ITEMS,
)
from exporter.metrics.catalogue.instances import INSTANCE, instance_labels
from exporter.metrics.catalogue.section import Section
from exporter.metrics.metric import Metric
from exporter.verdict.assess import Verdict

__all__ = [
    "API_METHODS",
    "API_REQUESTS",
    "API_REQUEST_DURATION",
    "API_RETRIES",
    "DIRECT_METRICS",
    "SEARCH",
    "UNREADABLE_ITEMS",
    "sections",
]


def sections(user_labels: tuple[str, ...] = ()) -> tuple[Section[Any], ...]:
    """All metrics read from an evaluation, given the user labels to export."""
    return (
        _of_instances("Verdict", *VERDICT),
        _of_instances("Runs", *RUNS),
        Section(
            "Counters",
            ("project", "instance_id"),
            lambda evaluation: evaluation.records,
            lambda record: (record.instance.id.project, record.instance.id.name),
            COUNTERS,
        ),
        _of_instances("Instance", *INSTANCE, instance_labels(user_labels)),
        _of_instances("Backup plans", *PLANS),
        Section(
            "Deleted instances",
            ("project", "instance_id", "deleted"),
            lambda evaluation: evaluation.deleted_instances,
            lambda instance: (instance.id.project, instance.id.name, instance.deleted_label),
            DELETED_INSTANCE,
        ),
        _of_projects("Projects", *PROJECT),
        Section(
            "Projects by state",
            (),
            lambda evaluation: (evaluation.projects,),
            lambda _projects: (),
            PROJECTS_BY_STATE,
            cached=False,
        ),
        Section(
            "Searches",
            ("query",),
            lambda evaluation: evaluation.searches,
            lambda search: (search[0],),
            SEARCH,
            cached=False,
        ),
        Section("Exporter", (), lambda evaluation: (evaluation.exporter,), lambda _info: (), EXPORTER, cached=False),
        _of_instances("Ages at the time of the scrape", *AGES),
        _of_projects("Age of the facts", FACTS_AGE),
    )


def _of_instances(title: str, *metrics: Metric[Verdict]) -> Section[Verdict]:
    return Section(
        title,
        ("project", "instance_id"),
        lambda evaluation: evaluation.verdicts,
        lambda verdict: (verdict.instance.id.project, verdict.instance.id.name),
        metrics,
    )


def _of_projects(title: str, *metrics: Metric[ProjectStatus]) -> Section[ProjectStatus]:
    return Section(
        title,
        ("project",),
        lambda evaluation: evaluation.projects,
        lambda status: (status.project,),
        metrics,
        cached=False,
    )
