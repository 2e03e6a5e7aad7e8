"""How a dashboard is put together: identity, variables, links, annotations, and panels in rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DashboardLinkType, VariableHide

from grafana.source import promql
from grafana.source.panels import DATASOURCE, ORANGE, PURPLE, RED

TAG = "cloudsql-backup"
SCHEMA = 42
STEP = "5m"  # of annotations, or longer where the time range is
RUNBOOKS_AT = "https://runbooks.example.com/cloudsql-backup"  # as in the rules: users put their own place into it
BLIND = "facts_too_old"  # beside the findings: why an instance is unknown,
UNREAD = "project_not_read"  # and why nothing recent will be known of a whole project
RUNBOOKS = {  # the page of each finding, without what all their names begin with; and a colour
    "backups_disabled": ("Disabled", RED),
    "never_succeeded": ("NeverSucceeded", RED),
    "stale_critical": ("StaleCritical", RED),
    "stale": ("Stale", ORANGE),
    "last_run_failed": ("LastRunFailed", ORANGE),
    "overdue": ("Overdue", ORANGE),
    "stuck": ("Stuck", ORANGE),
    "slow": ("Slow", ORANGE),
    "pitr_disabled": ("PITRDisabled", ORANGE),
    "retention_low": ("RetentionLow", ORANGE),
    "location_not_allowed": ("LocationNotAllowed", ORANGE),
    BLIND: ("Unknown", PURPLE),
    UNREAD: ("ProjectUnreadable", PURPLE),
}
KEPT = "${datasource:queryparam}&${job:queryparam}&${__url_time_range}"


@dataclass(frozen=True)
class Identity:
    """What names a dashboard. The uids are those that the rules link to."""

    uid: str
    title: str
    description: str
    since: str  # how far back it looks when opened


FLEET = Identity(
    "cloudsql-backup-fleet",
    "Cloud SQL backups / Fleet",
    "Whether all Cloud SQL backups are well; if not, whose are not, since when, why, and who must act.",
    "now-7d",
)
INSTANCE = Identity(
    "cloudsql-backup-instance",
    "Cloud SQL backups / Instance",
    "One Cloud SQL instance: the verdict on its backups, what it rests on, and how it came about.",
    "now-7d",
)
EXPORTER = Identity(
    "cloudsql-backup-exporter",
    "Cloud SQL backups / Exporter",
    "Whether the exporter sees what it should: how old its facts are, and what it asks of the API and of the machine.",
    "now-6h",
)


@dataclass(frozen=True)
class Row:
    """Panels beside and below each other, under a heading if there is one."""

    title: str
    panels: Sequence[Builder[model.Panel]]


def dashboard(
    identity: Identity,
    variables: Sequence[Builder[model.VariableModel]],
    rows: Sequence[Row],
    annotations: Sequence[Builder[model.AnnotationQuery]] = (),
) -> model.Dashboard:
    """The whole dashboard, classic schema."""
    built = (
        sdk.Dashboard(identity.title)
        .uid(identity.uid)
        .description(identity.description)
        .tags([TAG])
        .readonly()
        .timezone("browser")
        .time(identity.since, "now")
        .refresh("5m")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(_dashboards())
        .link(_runbooks())
    )
    for annotation in (*annotations, _restarts()):
        built = built.annotation(annotation)
    for variable in (_datasource(), _job(), *variables, _runbook_address()):
        built = built.with_variable(variable)
    for row in rows:
        built = built.with_row(sdk.Row(row.title)) if row.title else built
        for panel in row.panels:
            built = built.with_panel(panel)
    whole = built.build()
    whole.schema_version = SCHEMA
    for number, each in enumerate(whole.panels or [], 1):
        each.id_val = number
    return whole


def project_variable(*, several: bool) -> sdk.QueryVariable:
    """Projects that the exporter knows."""
    query = f"label_values({promql.EXPORTER}project_up{{{promql.JOB}}}, project)"
    return _query_variable("project", "Project", query, ".+" if several else None)


def team_variable() -> sdk.QueryVariable:
    """Teams of their instances. All of them are those without a team too."""
    query = f"label_values({promql.PREFIX}instance_labels{{{promql.PROJECT}}}, label_team)"
    return _query_variable("team", "Team", query, ".*")


def instance_variable(*, several: bool) -> sdk.QueryVariable:
    """The instances of these teams."""
    of_teams = promql.selector(f"{promql.PREFIX}instance_labels", promql.PROJECT, 'label_team=~"$team"')
    return _query_variable("instance", "Instance", f"label_values({of_teams}, instance_id)", ".+" if several else None)


def unseen(variable: sdk.QueryVariable) -> sdk.QueryVariable:
    """A choice that means nothing to a dashboard, kept for the next one that a link leads to."""
    return variable.hide(VariableHide.HIDE_VARIABLE)


def _query_variable(name: str, label: str, query: str, everything: str | None = None) -> sdk.QueryVariable:
    """A variable whose values Prometheus knows. With `everything`, several can be chosen, or all by this expression."""
    variable = (
        sdk.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(query)
        .definition(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
    )
    if everything is None:
        return variable
    chosen = model.VariableOption(selected=True, text=["All"], value=["$__all"])
    return variable.multi(True).include_all(True).all_value(everything).current(chosen)


def to_instance(title: str) -> dict[str, Any]:
    """A link from a row of a table to the history of its instance."""
    one = "var-project=${__data.fields.project}&var-instance=${__data.fields.instance_id}"
    return {"title": title, "url": f"/d/{INSTANCE.uid}?{one}&{KEPT}"}


def to_exporter(title: str) -> dict[str, Any]:
    """A link from a row of a table to how its project is read."""
    return {"title": title, "url": f"/d/{EXPORTER.uid}?var-project=${{__data.fields.project}}&{KEPT}"}


def to_runbook(prefix: str = "CloudSQLBackup") -> dict[str, Any]:
    """A link from a cell that names an alert, less a prefix, to its page."""
    return {"title": "What to do", "url": f"${{runbooks}}/{prefix}${{__value.text}}.md", "targetBlank": True}


def _datasource() -> sdk.DatasourceVariable:
    return sdk.DatasourceVariable("datasource").label("Data source").type("prometheus")


def _job() -> sdk.QueryVariable:
    query = f"label_values({promql.EXPORTER}build_info, job)"
    return _query_variable("job", "Job", query, ".+")


def _runbook_address() -> sdk.ConstantVariable:
    variable = sdk.ConstantVariable("runbooks").label("Runbooks").value(RUNBOOKS_AT)
    variable._internal.hide = VariableHide.HIDE_VARIABLE  # the builder of constants has no word for it
    return variable


def _dashboards() -> sdk.DashboardLink:
    link = sdk.DashboardLink("Cloud SQL backups").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.include_vars(True).keep_time(True).as_dropdown(False).icon("external link")


def _runbooks() -> sdk.DashboardLink:
    link = sdk.DashboardLink("Runbooks").type(DashboardLinkType.LINK).url("${runbooks}/README.md").icon("doc")
    return link.target_blank(True).tooltip("What each alert means, and what to do")


def failures() -> sdk.AnnotationQuery:
    """Marks of failed backups: counters that grew within a step, or came."""
    errors = promql.selector(f"{promql.PREFIX}errors_total", promql.INSTANCE)
    before = "offset $__interval"
    came = f"{errors} unless {errors} {before} and on (job, instance) {promql.UP} {before}"
    return (
        sdk.AnnotationQuery()
        .name("Failed backups")
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color(RED)
        .expr(f"max by ({promql.EACH}, code) (\n{errors} > {errors} {before}\nor ({came})\n)")
        .step(STEP)
        .title_format("Backup failed")
        .text_format("{{project}}:{{instance_id}} {{code}}")
    )


def _restarts() -> sdk.AnnotationQuery:
    started = promql.living(f"process_start_time_seconds{{{promql.JOB}}}")
    return (
        sdk.AnnotationQuery()
        .name("Exporter restarts")
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color(ORANGE)
        .expr(f"{started} > time() - $__interval_ms / 1000")
        .step(STEP)
        .title_format("Exporter restarted")
        .text_format("{{instance}}")
    )
