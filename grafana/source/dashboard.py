"""Assembly of a dashboard: metadata, variables, links, annotations and rows of panels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DashboardLinkType, VariableHide

from grafana.source import promql, runbooks
from grafana.source.queries import DATASOURCE
from grafana.source.style import ORANGE, RED

TAG = "cloudsql-backup"
SCHEMA_VERSION = 42
ANNOTATION_STEP = "5m"  # the minimum; Grafana widens it with the time range
FLEET_UID = "cloudsql-backup-fleet"  # alerting rules link to these addresses
INSTANCE_UID = "cloudsql-backup-instance"
EXPORTER_UID = "cloudsql-backup-exporter"
KEPT_PARAMETERS = "${datasource:queryparam}&${job:queryparam}&${__url_time_range}"


@dataclass(frozen=True)
class Metadata:
    """Identity and defaults of a dashboard."""

    uid: str
    title: str
    description: str
    time_from: str


@dataclass(frozen=True)
class Row:
    """Panels in reading order, below a row heading unless the title is empty."""

    title: str
    panels: Sequence[Builder[model.Panel]]


def dashboard(
    metadata: Metadata,
    variables: Sequence[Builder[model.VariableModel]],
    rows: Sequence[Row],
    annotations: Sequence[Builder[model.AnnotationQuery]] = (),
) -> model.Dashboard:
    """Return a dashboard in the classic schema."""
    builder = (
        sdk.Dashboard(metadata.title)
        .uid(metadata.uid)
        .description(metadata.description)
        .tags([TAG])
        .readonly()
        .timezone("browser")
        .time(metadata.time_from, "now")
        .refresh("5m")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(_dashboards_link())
        .link(_runbooks_link())
    )
    for annotation in (*annotations, _restarts()):
        builder = builder.annotation(annotation)
    for variable in (_datasource_variable(), _job_variable(), *variables, _runbooks_variable()):
        builder = builder.with_variable(variable)
    for row in rows:
        builder = builder.with_row(sdk.Row(row.title)) if row.title else builder
        for panel in row.panels:
            builder = builder.with_panel(panel)
    built = builder.build()
    built.schema_version = SCHEMA_VERSION
    for number, item in enumerate(built.panels or [], 1):
        item.id_val = number
    return built


def project_variable(*, multi: bool) -> sdk.QueryVariable:
    """Return a variable of the projects that the exporter polls."""
    projects = promql.selector("cloudsql_backup_exporter_project_up", promql.JOB)
    return _query_variable("project", "Project", f"label_values({projects}, project)", ".+" if multi else None)


def team_variable() -> sdk.QueryVariable:
    """Return a variable of the teams. All includes instances without a team."""
    instances = promql.selector("cloudsql_backup_instance_labels", promql.PROJECT)
    return _query_variable("team", "Team", f"label_values({instances}, label_team)", ".*")


def instance_variable(*, multi: bool) -> sdk.QueryVariable:
    """Return a variable of the instances of the selected teams."""
    instances = promql.selector("cloudsql_backup_instance_labels", promql.PROJECT, 'label_team=~"$team"')
    return _query_variable("instance", "Instance", f"label_values({instances}, instance_id)", ".+" if multi else None)


def hidden(variable: sdk.QueryVariable) -> sdk.QueryVariable:
    """Hide a variable that a dashboard does not use, but passes on to the dashboards that it links to."""
    return variable.hide(VariableHide.HIDE_VARIABLE)


def instance_link(title: str) -> dict[str, Any]:
    """Return a link from a table row to the Instance dashboard."""
    variables = "var-project=${__data.fields.project}&var-instance=${__data.fields.instance_id}"
    return {"title": title, "url": f"/d/{INSTANCE_UID}?{variables}&{KEPT_PARAMETERS}"}


def exporter_link(title: str) -> dict[str, Any]:
    """Return a link from a table row to the Exporter dashboard of its project."""
    return {"title": title, "url": f"/d/{EXPORTER_UID}?var-project=${{__data.fields.project}}&{KEPT_PARAMETERS}"}


def failed_runs_annotation() -> sdk.AnnotationQuery:
    """Return annotations for failed backup runs: error counters that grew, or appeared, within a step."""
    errors = promql.selector("cloudsql_backup_errors_total", promql.INSTANCE)
    before = "offset $__interval"
    new = f"{errors} unless {errors} {before} and on (job, instance) {promql.EXPORTER_UP} {before}"
    return (
        sdk.AnnotationQuery()
        .name("Failed backup runs")
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color(RED)
        .expr(f"max by ({promql.INSTANCE_LABELS}, code) (\n{errors} > {errors} {before}\nor ({new})\n)")
        .step(ANNOTATION_STEP)
        .title_format("Backup run failed")
        .text_format("{{project}}:{{instance_id}} {{code}}")
    )


def _restarts() -> sdk.AnnotationQuery:
    started = promql.while_up(promql.selector("process_start_time_seconds", promql.JOB))
    return (
        sdk.AnnotationQuery()
        .name("Exporter restarts")
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color(ORANGE)
        .expr(f"{started} > time() - $__interval_ms / 1000")
        .step(ANNOTATION_STEP)
        .title_format("Exporter restarted")
        .text_format("{{instance}}")
    )


def _query_variable(name: str, label: str, query: str, all_value: str | None = None) -> sdk.QueryVariable:
    """Return a variable with values from Prometheus. With `all_value`, it allows several values, and All."""
    variable = (
        sdk.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(query)
        .definition(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
    )
    if all_value is None:
        return variable
    everything = model.VariableOption(selected=True, text=["All"], value=["$__all"])
    return variable.multi(True).include_all(True).all_value(all_value).current(everything)


def _datasource_variable() -> sdk.DatasourceVariable:
    return sdk.DatasourceVariable("datasource").label("Data source").type("prometheus")


def _job_variable() -> sdk.QueryVariable:
    return _query_variable("job", "Job", "label_values(cloudsql_backup_exporter_build_info, job)", ".+")


def _runbooks_variable() -> sdk.ConstantVariable:
    return sdk.ConstantVariable("runbooks").label("Runbooks").value(runbooks.BASE_URL)


def _dashboards_link() -> sdk.DashboardLink:
    link = sdk.DashboardLink("Cloud SQL backups").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.include_vars(True).keep_time(True).as_dropdown(False).icon("external link")


def _runbooks_link() -> sdk.DashboardLink:
    link = sdk.DashboardLink("Runbooks").type(DashboardLinkType.LINK).url("${runbooks}/README.md").icon("doc")
    return link.target_blank(True).tooltip("Meaning of each alert, and what to do")
