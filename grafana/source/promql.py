"""PromQL expressions shared by the panels.

Every selector carries the variables of its dashboard. The data of a target disappears as soon as a scrape of it fails.
Until then gaps of a few minutes are bridged, so that restarting Prometheus or the exporter does not blank the
dashboards. Of two replicas of the exporter, the one that can read a project wins over one that cannot: the latter
keeps exporting old facts, and the state `unknown`.
"""

from collections.abc import Mapping

MAX_GAP = "10m"
JOB = 'job=~"$job"'
PROJECT = f'{JOB}, project=~"$project"'
INSTANCE = f'{PROJECT}, instance_id=~"$instance"'
AUTOMATED, ON_DEMAND = 'backup_type="automated"', 'backup_type="on_demand"'
INSTANCE_LABELS = "project, instance_id"
# Present while the last scrape of an exporter succeeded; `up` exists for every target of a Prometheus.
EXPORTER_UP = f"cloudsql_backup_exporter_build_info{{{JOB}}}"
SHARD = f"cloudsql_backup_exporter_shard_info{{{JOB}}}"


def selector(metric: str, scope: str, *matchers: str) -> str:
    """Return a selector of `metric` with the matchers of a scope (JOB, PROJECT or INSTANCE) and more."""
    return f"{metric}{{{', '.join((scope, *matchers))}}}"


def while_up(expression: str) -> str:
    """Return only series of targets that are up. A range selector alone would outlive its target."""
    return f"({expression} and on (job, instance) {EXPORTER_UP})"


def last_seen(selected: str) -> str:
    """Return the last value of each series, while its target is up."""
    return while_up(f"last_over_time({selected}[{MAX_GAP}])")


def rate(metric: str, scope: str, *matchers: str) -> str:
    """Return the per-second rate of a counter, while its target is up."""
    return while_up(f"rate({selector(metric, scope, *matchers)}[$__rate_interval])")


def recorded(expression: str) -> str:
    """Return series of recording rules while any exporter is up. They have no target, and may outlive the exporter."""
    return f"({expression}) and on () {EXPORTER_UP}"


def per_instance(metric: str, *matchers: str, by: str = "", operation: str = "max") -> str:
    """Return one value per instance (and per label of `by`): the maximum of all replicas."""
    labels = f"{INSTANCE_LABELS}, {by}" if by else INSTANCE_LABELS
    return f"{operation} by ({labels}) ({last_seen(selector(metric, INSTANCE, *matchers))})"


def current(metric: str, *matchers: str, by: str = "") -> str:
    """Return the same for series whose absence is information: no gap is bridged."""
    labels = f"{INSTANCE_LABELS}, {by}" if by else INSTANCE_LABELS
    return f"max by ({labels}) ({selector(metric, INSTANCE, *matchers)})"


def per_project(metric: str, replicas: str = "max", shards: str = "max") -> str:
    """Return one value per project, aggregated over the replicas of each shard, then over the shards."""
    of_shards = f"{last_seen(selector(metric, PROJECT))} * on (job, instance) group_left (index) {SHARD}"
    return f"{shards} by (project) ({replicas} by (project, index) ({of_shards}))"


def top_ten_projects(expression: str, selected: str) -> str:
    """Return the ten projects with the largest last value of a series. topk() alone selects others at each step."""
    largest = f"topk(10, max by (project) (last_over_time({selected}[1d] @ end())))"
    return f"{expression}\nand on (project) {largest}"


def for_teams(expression: str) -> str:
    """Return only instances of the selected teams."""
    return f"({expression})\nand on ({INSTANCE_LABELS}) {TEAM_INSTANCES}"


def not_exempt(expression: str) -> str:
    """Return only instances that should be backed up."""
    return f"({expression})\nunless on ({INSTANCE_LABELS}) {selector('cloudsql_backup_exempt', INSTANCE)} == 1"


def in_state(*states: str) -> str:
    """Return 1 for each instance in one of the states, else 0. `unknown` needs the agreement of all replicas."""
    operation = "min" if states == ("unknown",) else "max"
    return per_instance("cloudsql_backup_protection", f'state=~"{"|".join(states)}"', operation=operation)


def count_between(expression: str, low: float | None, high: float | None) -> str:
    """Return the number of values above `low` and up to `high`; 0 if there are none."""
    above = f" > {low:g}" if low is not None else ""
    bounded = f"(({expression}){above}){f' <= {high:g}' if high is not None else ''}"
    return f"count({bounded})\nor 0 * count({expression})"


def encoded(metric: str, label: str, codes: Mapping[str, int], *matchers: str) -> str:
    """Return the number of the label value that is 1. If replicas differ, the first of `codes` wins."""

    def is_set(value: str) -> str:
        selected = selector(metric, INSTANCE, *matchers, f'{label}="{value}"')
        return f"{'min' if value == 'unknown' else 'max'} by ({INSTANCE_LABELS}) ({last_seen(selected)}) == 1"

    return "\nor ".join(f"{code} * ({is_set(value)})" for value, code in codes.items())


def _failed_runs() -> str:
    """Return the increase of the error counters over the time range: the larger of two sums that may miss failures.

    Per target, increase() tolerates a counter reset. It misses the first failure of an error code, with which the
    counter appears: that one is added if an exporter was up at the beginning of the range and the counter was absent.
    Over all targets, the difference tolerates a restart under another address.
    """
    counter = f"{INSTANCE_LABELS}, backup_type, code"
    errors = selector("cloudsql_backup_errors_total", INSTANCE)
    first = f"min_over_time({errors}[$__range])"
    past = f"max by ({counter}) (last_over_time({errors}[1h] offset $__range))"
    was_up = f"last_over_time({EXPORTER_UP}[1h] offset $__range)"
    per_target = (
        f"increase({errors}[$__range])\n+ ({first} unless on ({counter}) {past} and on () {was_up} or 0 * {first})"
    )
    over_all = f"max by ({counter}) ({while_up(errors)}) - {past}"
    return f"(max by ({counter}) (\nround({per_target})\nor {over_all}\n) and on () {EXPORTER_UP})"


RECOVERY_POINT_AGE = per_instance("cloudsql_backup_recovery_point_age_seconds", operation="min")
FAILED_RUNS = _failed_runs()
BACKUP_EXPECTED = f"({in_state('protected', 'at_risk', 'unprotected')} == 1 or {in_state('unknown')} == 1)"
TEAM_INSTANCES = last_seen(selector("cloudsql_backup_instance_labels", INSTANCE, 'label_team=~"$team"'))
