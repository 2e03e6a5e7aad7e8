"""The command `check`, a plugin for Icinga, Nagios and other programs that run monitoring plugins.

Its output and exit codes follow the development guidelines of the Monitoring Plugins: one line of text, `|` and
performance data, then details.
"""

import argparse
import logging
from collections.abc import Iterator, Sequence
from enum import IntEnum

from exporter.cli.problems import grants, problems
from exporter.cli.selection import open_exporter
from exporter.cli.terminal import printable, write
from exporter.errors import UserError
from exporter.verdict import summary
from exporter.verdict.assess import Verdict
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.reasons import reasons, recovery_point_age
from exporter.verdict.rules import WORST_FIRST, Protection

log = logging.getLogger(__name__)

MAX_DETAILS = 100  # lines: monitoring programs cut long output


class ServiceState(IntEnum):
    """Exit codes of a monitoring plugin."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


def check(options: argparse.Namespace) -> ServiceState:
    """Poll once, without saved state, and print the state of the selected instances."""
    try:
        state, output = _result(options)
    except UserError as error:
        return report_unknown(str(error))
    except Exception as error:  # Python's exit code for it would mean WARNING
        log.exception("internal error, please report it")
        return report_unknown(f"internal error, please report it: {error!r}")
    write(output)
    return state


def _result(options: argparse.Namespace) -> tuple[ServiceState, str]:
    """The state and the output. Raises UserError."""
    project, name = options.instance
    projects = options.projects or ([project] if project else [])
    evaluation = open_exporter(options.config_file, projects).poll_all(lambda _finished, _total: None)
    verdicts = [
        verdict
        for verdict in summary.worst_first(evaluation)
        if name in (None, verdict.instance.id.name) and project in (None, verdict.instance.id.project)
    ]
    unread = problems(evaluation, projects)
    state = service_state(verdicts, unread)
    return state, render(state, verdicts, unread, evaluation)


def render(state: ServiceState, verdicts: Sequence[Verdict], unread: Sequence[str], evaluation: Evaluation) -> str:
    """The output for these verdicts, worst first; `unread` is what could not be read."""
    details = [*_details(verdicts, evaluation), *unread]
    if len(details) > MAX_DETAILS:
        details[MAX_DETAILS:] = [f"and {len(details) - MAX_DETAILS} more"]
    lines = [f"{_headline(state, verdicts, unread, evaluation)} | {' '.join(_performance_data(verdicts, evaluation))}"]
    lines += [plugin_text(line) for line in (*details, *grants(evaluation))]
    return "".join(f"{line}\n" for line in lines)


def report_unknown(text: str) -> ServiceState:
    """Print why nothing could be checked."""
    first, *others = text.splitlines() or [""]
    write("".join(f"{plugin_text(line)}\n" for line in (f"CLOUDSQL BACKUPS UNKNOWN: {first}", *others)))
    return ServiceState.UNKNOWN


def plugin_text(text: str) -> str:
    """The text in one line, without the `|` that begins performance data."""
    return printable(text).replace("|", "?")


def service_state(verdicts: Sequence[Verdict], unread: Sequence[str]) -> ServiceState:
    """The state for these verdicts, the first that applies; `unread` is what could not be read."""
    states = {verdict.state for verdict in verdicts}
    if Protection.UNPROTECTED in states:
        return ServiceState.CRITICAL
    if not states or unread or Protection.UNKNOWN in states:
        return ServiceState.UNKNOWN
    return ServiceState.WARNING if Protection.AT_RISK in states else ServiceState.OK


def _headline(state: ServiceState, verdicts: Sequence[Verdict], unread: Sequence[str], evaluation: Evaluation) -> str:
    """The text of the first line: the state, and the instance or, of several, their number and the worst."""
    match verdicts:
        case []:
            parts = ["no instance matches"]
        case [verdict]:
            parts = [_detail(verdict, evaluation)]
        case [worst, *_]:
            parts = [_totals(verdicts)]
            if _needs_attention(worst):
                parts.append(f"worst: {_detail(worst, evaluation)}")
    if unread:
        parts.append(unread[0] if state is ServiceState.UNKNOWN else "not everything could be read")
    return plugin_text(f"CLOUDSQL BACKUPS {state.name}: {'; '.join(parts)}")


def _details(verdicts: Sequence[Verdict], evaluation: Evaluation) -> Iterator[str]:
    """What the first line does not say: the instances that need attention, of several."""
    if len(verdicts) > 1:
        yield from (_detail(verdict, evaluation) for verdict in verdicts if _needs_attention(verdict))


def _detail(verdict: Verdict, evaluation: Evaluation) -> str:
    """One verdict in words."""
    name = f"{verdict.instance.id.project}/{verdict.instance.id.name}"
    age = recovery_point_age(verdict, evaluation.now)
    reason = "; ".join(reasons(verdict, evaluation)) or (f"recovery point {age} ago" if age else "no recovery point")
    return f"{name} is {verdict.state.replace('_', ' ')}: {reason}"


def _totals(verdicts: Sequence[Verdict]) -> str:
    return ", ".join(f"{number} {state.replace('_', ' ')}" for state, number in _counts(verdicts) if number)


def _counts(verdicts: Sequence[Verdict]) -> list[tuple[Protection, int]]:
    states = [verdict.state for verdict in verdicts]
    return [(state, states.count(state)) for state in WORST_FIRST]


def _needs_attention(verdict: Verdict) -> bool:
    return verdict.state not in (Protection.PROTECTED, Protection.EXEMPT)


def _performance_data(verdicts: Sequence[Verdict], evaluation: Evaluation) -> Iterator[str]:
    """`label=value[unit];warn;crit;min;max`: the number in each state and, of a single instance, the recovery point."""
    thresholds = {Protection.UNPROTECTED: ";0", Protection.AT_RISK: "0;"}  # alert beyond 0
    for state, number in _counts(verdicts):
        yield f"{state}={number};{thresholds.get(state, ';')};0;{len(verdicts)}"
    if len(verdicts) == 1:
        yield from _age_data(verdicts[0], evaluation)


def _age_data(verdict: Verdict, evaluation: Evaluation) -> Iterator[str]:
    """The age of the recovery point, with the thresholds of the policy unless the instance is exempt."""
    age = summary.recovery_point_age_seconds(verdict, evaluation.now)
    if age is None:
        return
    ages = (verdict.policy.max_age, verdict.policy.critical_age)
    warning, critical = ("", "") if verdict.exemption else (f"{limit.total_seconds():.0f}" for limit in ages)
    yield f"recovery_point_age={max(age, 0)}s;{warning};{critical};0"
