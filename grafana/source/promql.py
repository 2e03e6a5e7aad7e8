"""PromQL pieces that the panels share. Each is an expression that stands by itself.

Every selector carries the variables of its dashboard. What is shown of a target ends when a scrape of it fails; up to
then a gap of a few minutes is bridged (Prometheus was restarted, the exporter has not polled yet), so that a short one
does not blank the wall.
"""

GAP = "10m"
JOB = 'job=~"$job"'
PROJECT = f'{JOB}, project_id=~"$project"'
INSTANCE = f'{PROJECT}, instance_id=~"$instance"'
UP = f"up{{{JOB}}} == 1"
PREFIX = "cloudsql_backup_"
EXPORTER = PREFIX + "exporter_"
EACH = "project_id, instance_id"
OWNED = f'{PREFIX}instance_labels{{{INSTANCE}, label_team=~"$team"}}'


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


def project(metric: str, operation: str = "max", scope: str = PROJECT) -> str:
    """One value a project, of what the exporter says of it."""
    return f"{operation} by (project_id) ({seen(selector(EXPORTER + metric, scope))})"


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


def _failures() -> str:
    errors = selector(PREFIX + "errors_total", INSTANCE)
    first = f"min_over_time({errors}[$__range])"
    grown = f"round(\nincrease({errors}[$__range])\n+ ({first} unless {errors} offset $__range or 0 * {first})\n)"
    return f"max by ({EACH}, backup_type, code) ({living(grown)})"


AGE = each("recovery_point_age_seconds")
FAILURES = _failures()  # in the time range. A code is there from its first failure on, which increase() does not see
