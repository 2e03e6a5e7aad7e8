"""PromQL pieces that the panels share. Each is an expression that stands by itself.

Every selector carries the variables of its dashboard. What is shown of a target ends when a scrape of it fails; up to
then a gap of a few minutes is bridged (Prometheus was restarted, the exporter has not polled yet), so that a short one
does not blank the wall. Of two replicas of the exporter the one that knows is believed: a blind one goes on exporting
what it last knew, and says `unknown`.
"""

from collections.abc import Mapping

GAP = "10m"
JOB = 'job=~"$job"'
PROJECT = f'{JOB}, project=~"$project"'
INSTANCE = f'{PROJECT}, instance_id=~"$instance"'
PREFIX = "cloudsql_backup_"
EXPORTER = PREFIX + "exporter_"
EACH = "project, instance_id"
UP = f"{EXPORTER}build_info{{{JOB}}}"  # there while the last scrape of an exporter succeeded; `up` is of any target
SHARD = f"{EXPORTER}shard_info{{{JOB}}}"


def selector(name: str, scope: str, *matchers: str) -> str:
    """A series by name, within the scope of the variables."""
    return f"{name}{{{', '.join((scope, *matchers))}}}"


def living(expression: str) -> str:
    """Only of targets that are up: what looks back over a range would outlive them."""
    return f"({expression} and on (job, instance) {UP})"


def seen(selected: str) -> str:
    """What was last seen of a series."""
    return living(f"last_over_time({selected}[{GAP}])")


def rate(metric: str, scope: str, *matchers: str) -> str:
    """How fast a counter of the exporter grows, per second."""
    return living(f"rate({selector(EXPORTER + metric, scope, *matchers)}[$__rate_interval])")


def recorded(expression: str) -> str:
    """What the recording rules made of it, while an exporter is up: they have no target, and may outlive it."""
    return f"({expression}) and on () {UP}"


def each(metric: str, *matchers: str, by: str = "", operation: str = "max") -> str:
    """One value an instance (and `by` more labels), of two replicas the larger."""
    labels = f"{EACH}, {by}" if by else EACH
    return f"{operation} by ({labels}) ({seen(selector(PREFIX + metric, INSTANCE, *matchers))})"


def now(metric: str, *matchers: str, by: str = "") -> str:
    """The same for a series whose absence says something: no gap is bridged."""
    labels = f"{EACH}, {by}" if by else EACH
    return f"max by ({labels}) ({selector(PREFIX + metric, INSTANCE, *matchers)})"


def project(metric: str, replicas: str = "max", shards: str = "max") -> str:
    """One value a project of what the exporter says of it: of the replicas of a shard, then of the shards."""
    of_shards = f"{seen(selector(EXPORTER + metric, PROJECT))} * on (job, instance) group_left (index) {SHARD}"
    return f"{shards} by (project) ({replicas} by (project, index) ({of_shards}))"


def ten_projects(expression: str, selected: str) -> str:
    """Over time, the ten in which a series ended largest; by itself topk() would choose others at each step."""
    largest = f"topk(10, max by (project) (last_over_time({selected}[1d] @ end())))"
    return f"{expression}\nand on (project) {largest}"


def owned(expression: str) -> str:
    """Only the instances of the teams that are chosen."""
    return f"({expression})\nand on ({EACH}) {OWNED}"


def expected(expression: str) -> str:
    """Only the instances of which backups are expected."""
    return f"({expression})\nunless on ({EACH}) {selector(PREFIX + 'exempt', INSTANCE)} == 1"


def state(*names: str) -> str:
    """1 for each instance in one of these states, else 0. Of two replicas the one that knows is believed."""
    operation = "min" if names == ("unknown",) else "max"
    return each("protection", f'state=~"{"|".join(names)}"', operation=operation)


def within(expression: str, above: float | None, upto: float | None) -> str:
    """How many values lie between two bounds; 0 where none does."""
    bounds = f" > {above:g}" if above is not None else ""
    bounded = f"(({expression}){bounds}){f' <= {upto:g}' if upto is not None else ''}"
    return f"count({bounded})\nor 0 * count({expression})"


def chosen(metric: str, label: str, codes: Mapping[str, int], *matchers: str) -> str:
    """A number for the one value of a label that holds; where two replicas differ, the first of `codes`."""

    def held(value: str) -> str:
        selected = selector(PREFIX + metric, INSTANCE, *matchers, f'{label}="{value}"')
        return f"{'min' if value == 'unknown' else 'max'} by ({EACH}) ({seen(selected)}) == 1"

    return "\nor ".join(f"{code} * ({held(value)})" for value, code in codes.items())


def _failures() -> str:
    """What counters of errors grew by in the time range: the larger of two sums that may miss some.

    Of each target, increase() bears a lost state. It does not see the first failure of a code, with which the counter
    comes: that is added where an exporter was seen at the beginning of the range, and the counter was not. Of all
    targets together, the difference bears a restart under another address.
    """
    counter = f"{EACH}, backup_type, code"
    errors = selector(PREFIX + "errors_total", INSTANCE)
    first = f"min_over_time({errors}[$__range])"
    past = f"max by ({counter}) (last_over_time({errors}[1h] offset $__range))"
    watched = f"last_over_time({UP}[1h] offset $__range)"
    of_each = (
        f"increase({errors}[$__range])\n+ ({first} unless on ({counter}) {past} and on () {watched} or 0 * {first})"
    )
    of_all = f"max by ({counter}) ({living(errors)}) - {past}"
    return f"(max by ({counter}) (\nround({of_each})\nor {of_all}\n) and on () {UP})"


AGE = each("recovery_point_age_seconds", operation="min")
FAILURES = _failures()
EXPECTED = f"({state('protected', 'at_risk', 'unprotected')} == 1 or {state('unknown')} == 1)"
OWNED = seen(selector(PREFIX + "instance_labels", INSTANCE, 'label_team=~"$team"'))
