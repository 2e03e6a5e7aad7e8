"""The Fleet dashboard: are all backups well, and if not, whose are not, since when, why, and who must act."""

from collections.abc import Iterator

from grafana_foundation_sdk.builders import stat
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import BarGaugeSizing
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from grafana.source.assembly import (
    FLEET,
    Row,
    dashboard,
    failures,
    instance_variable,
    project_variable,
    team_variable,
    to_instance,
)
from grafana.source.attention import attention
from grafana.source.panels import (
    BLUE,
    COLOURED,
    GREEN,
    NO_DATA_YET,
    ORANGE,
    PURPLE,
    RED,
    STATES,
    Query,
    area,
    buckets,
    instant,
    lines,
    listing,
    number,
    ranged,
    ranking,
    rows,
    stacked,
)
from grafana.source.promql import (
    AGE,
    EACH,
    EXPECTED,
    FAILURES,
    each,
    expected,
    owned,
    project,
    recorded,
    state,
    ten_projects,
)

HOUR = 3600
DURATION = each("last_success_duration_seconds", 'backup_type="automated"')
SUMS = 'project_state:cloudsql_backup_protection:sum{project=~"$project"'
COVERED = ((None, RED), (0.9, ORANGE), (0.99, GREEN))
COARSE = "15m"  # the shortest step over days: backups happen once a day
RECORDED = "From the recording rules that ship with the exporter."
VARIABLES = (project_variable(several=True), team_variable(), instance_variable(several=True))


def _total(*states: str) -> str:
    return f"sum({owned(state(*states))})"


def _tiles() -> Iterator[stat.Panel]:
    none_is_good = ((None, GREEN), (1, RED))
    yield number(
        "Unprotected",
        "Instances without a backup to rely on: nothing restorable, or what is there is critically old. Act now.",
        instant(_total("unprotected")),
        steps=none_is_good,
    )
    yield number(
        "At risk",
        "Instances with a recent enough backup, and something wrong that may cost them the next. Act today.",
        instant(_total("at_risk")),
        steps=((None, GREEN), (1, ORANGE)),
    )
    yield number(
        "Unknown",
        "Instances whose project was not read for longer than `stale_after`: nobody would notice a missing backup.",
        instant(_total("unknown")),
        steps=((None, GREEN), (1, PURPLE)),
    )
    yield number("Protected", "Instances with a recent backup and nothing wrong.", instant(_total("protected")))
    yield number(
        "Exempt",
        "Instances of which no automated backup is expected: replicas, stopped, brand new, and others.",
        instant(_total("exempt")),
    )
    yield number(
        "Protected share",
        "Protected instances, of all of which backups are expected. Colours suit the default objective of 99 %.",
        instant(f"{_total('protected')}\n/ count({owned(EXPECTED)})"),
        unit="percentunit",
        steps=COVERED,
    )
    yield number(
        "Projects not read",
        "Projects whose last poll failed: their instances will be unknown once the facts are too old.",
        instant(f"sum(1 - {project('project_up', shards='min')})"),
        steps=none_is_good,
    )
    yield number(
        "Oldest facts",
        "Time since the project that was read longest ago was read. Everything here is at most this old. "
        "Colours suit the default `stale_after` of one hour.",
        instant(f"max({project('project_facts_age_seconds', replicas='min')})"),
        unit="s",
        steps=((None, GREEN), (2700, ORANGE), (HOUR, PURPLE)),
    ).decimals(0)


def _over_time() -> Iterator[Builder[Panel]]:
    by_state = lines(
        "Instances by state",
        f"How many instances were in which state, of all teams. {RECORDED}",
        [
            ranged(recorded(f'sum({SUMS}, state="{name}"}})'), name.replace("_", " "), ref, COARSE)
            for ref, name in zip("ABCDE", STATES, strict=True)
        ],
        "short",
        {name.replace("_", " "): colour for name, colour in STATES.items()},
    ).no_value(NO_DATA_YET)
    share = f'sum({SUMS}, state="protected"}}) / sum({SUMS}, state!="exempt"}})'
    ratio, weight = (
        f'project:cloudsql_backup_{name}{{project=~"$project"}}' for name in ("protected:ratio_30d", "expected:sum")
    )
    month = f"sum({ratio} * {weight}) / sum({weight} and {ratio})"
    against = lines(
        "Protected share against the objective",
        "Protected instances, of those of which backups are expected: at each moment, and of all hours of the 30 days "
        "before it, for which the objective is meant; projects weigh what they have instances. Of all teams. "
        f"{RECORDED}",
        [
            ranged(recorded(share), "now", "A", COARSE),
            ranged(recorded(month), "30 days", "B", COARSE),
            ranged(recorded("max(cloudsql_backup:objective:ratio)"), "objective", "C", COARSE),
        ],
        "percentunit",
        {"now": GREEN, "30 days": BLUE, "objective": RED},
        floor=None,
    ).axis_soft_min(0.9)
    yield area(stacked(by_state), 12, 9)
    yield area(against.max(1).no_value(NO_DATA_YET), 12, 9)


def _where() -> Iterator[Builder[Panel]]:
    protected = owned(state("protected"))
    coverage = f"sum by (project) ({protected})\n/ count by (project) ({owned(EXPECTED)})"
    yield area(
        ranking(
            "Coverage by project, lowest ten",
            "Protected instances, of those of which backups are expected.",
            [instant(f"bottomk(10, {coverage})", "{{project}}")],
            "percentunit",
            COVERED,
            most=1,
        ),
        8,
        9,
    )
    for title, label in (("Failures by error code", "code"), ("Failures by project", "project")):
        yield area(
            ranking(
                f"{title}, in the time range",
                "Backups that failed, the highest ten. Those that a retry made good are among them.",
                [instant(f"topk(10, sum by ({label}) ({owned(FAILURES)}) > 0)", f"{{{{{label}}}}}")],
                "short",
                ((None, GREEN), (0.5, RED)),
            )
            .decimals(0)
            .no_value("No failure, as long as there are numbers above"),
            8,
            9,
        )


def _distribution(title: str, description: str, queries: list[Query]) -> Builder[Panel]:
    panel = ranking(title, description, queries, "short", ((None, BLUE),))
    return area(panel.sizing(BarGaugeSizing.AUTO), 5, 12)


def _ten(title: str, description: str, expression: str, heading: str, cell: dict[str, object]) -> Builder[Panel]:
    """The ten instances that an expression brings, each with a link to its history."""
    columns = {"project": "Project", "instance_id": "Instance", "Value": heading}
    cells: dict[str, dict[str, object]] = {
        "Instance": {"links": [to_instance("Open its history")]},
        heading: {**cell, "custom.width": 110},
    }
    listed = listing(title, description, [rows(expression, "A")], columns, cells).no_value("No instance is there")
    return area(listed, 7, 12)


def _spread() -> Iterator[Builder[Panel]]:
    """Ages and durations: how they are distributed, and the ten that stand out."""
    age, duration = owned(expected(AGE)), owned(DURATION)
    ratio = owned(expected(f"{AGE} / {each('policy_max_age_seconds')}"))
    yield _distribution(
        "Age of the recovery point",
        "How many instances would lose how much: time since the moment up to which a restore loses nothing.",
        buckets(age, (6, 12, 24, 30, 54), "h", HOUR),
    )
    steps = [{"value": None, "color": GREEN}, {"value": 1, "color": ORANGE}]
    yield _ten(
        "Ten oldest against their limit",
        "Age of the recovery point, of what the policy allows. Instances that never had a backup have none.",
        f"topk(10, {ratio})",
        "Age / limit",
        {"unit": "percentunit", "decimals": 0, "thresholds": {"mode": "absolute", "steps": steps}, **COLOURED},
    )
    yield _distribution(
        "Duration of the last backup",
        "How many instances took how long for the newest successful automated backup.",
        buckets(duration, (5, 15, 60, 180, 360), "min", 60),
    )
    yield _ten(
        "Ten longest",
        "How long the newest successful automated backup took.",
        f"topk(10, {duration})",
        "Took",
        {"unit": "s", "decimals": 1},
    )


def _ahead() -> Iterator[Builder[Panel]]:
    scheduled = f"{each('next_due_timestamp_seconds')} and on ({EACH}) {each('enabled')} == 1"
    due = owned(f"({scheduled}) - time()")
    yield _distribution(
        "Due in the next hours",
        "How many automated backups must have begun by when: their window of four hours ends at that moment. "
        "Only where automated backups are on.",
        buckets(due, (1, 4, 8, 12, 16), "h", HOUR),
    )
    yield _ten(
        "Ten due next",
        "Time until the next automated backup must have begun.",
        f"bottomk(10, {due})",
        "Due in",
        {"unit": "s", "decimals": 1},
    )
    size = 'project:cloudsql_backup_retained_size_bytes:sum{project=~"$project"}'
    growth = lines(
        "Retained size, largest ten projects",
        f"Chargeable size of all backups that can be restored, where the API reports it. Of all teams. {RECORDED}",
        [ranged(recorded(ten_projects(size, size)), "{{project}}", interval=COARSE)],
        "bytes",
    )
    yield area(stacked(growth).no_value(NO_DATA_YET), 12, 12)


def build() -> Dashboard:
    """The whole dashboard."""
    return dashboard(
        FLEET,
        VARIABLES,
        [
            Row("", [area(tile, 3, 4) for tile in _tiles()]),
            Row("", [area(attention(), 24, 18)]),
            Row("Over time", list(_over_time())),
            Row("Where", list(_where())),
            Row("Ages and durations", list(_spread())),
            Row("Ahead", list(_ahead())),
        ],
        [failures()],
    )
