"""When the state of a verdict began, and when and into what it changes next, by the same facts. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from exporter.config import Expected
from exporter.facts.model import BackupType, RunStatus
from exporter.verdict.assess import Freshness, Verdict, assess, valid_until
from exporter.verdict.rules import RESOLUTION, RULES, Exemption, Finding, Protection
from exporter.verdict.windows import DAY, WINDOW, last_opening

HORIZON = timedelta(days=60)  # changes later than that are not looked for

_STATES = {rule.finding: rule.state for rule in RULES}


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a verdict's state, at a time, into another state."""

    at: datetime
    state: Protection


def next_change(verdict: Verdict, now: datetime) -> Change | None:
    """The next change if there is no new run, by facts that are read again and say the same; None if there is none."""
    waits = verdict.exemption in (None, Exemption.NEW)
    if not waits or verdict.state in (Protection.UNPROTECTED, Protection.UNKNOWN):
        return None
    until = valid_until(verdict, now)
    while until - now < HORIZON:
        at = until + RESOLUTION
        later = assess(verdict.instance, verdict.history, verdict.policy, at, Freshness(at, DAY), verdict.collected)
        if later.state is not verdict.state:
            return Change(at, later.state)
        until = valid_until(later, at)
    return None


def change_without_polls(verdict: Verdict, freshness: Freshness) -> Change | None:
    """The change to unknown if the facts are not read again; None where the state is unknown already."""
    if verdict.state is Protection.UNKNOWN:
        return None
    return Change(freshness.read_at + freshness.stale_after, Protection.UNKNOWN)


def began(verdict: Verdict, now: datetime, freshness: Freshness) -> datetime | None:
    """When the state of a verdict began, by its facts; None where they do not tell."""
    if verdict.state is Protection.UNKNOWN:
        return freshness.read_at + freshness.stale_after
    findings = [finding for finding in verdict.findings if _STATES[finding] is verdict.state]
    times = [[timestamp for timestamp in _beginnings(finding, verdict, now) if timestamp] for finding in findings]
    if not all(times):  # the beginning of one of them is not known, and may be the earliest
        return None
    return min((timestamp for of_finding in times for timestamp in of_finding), default=None)


def _beginnings(finding: Finding, verdict: Verdict, now: datetime) -> Iterable[datetime | None]:
    instance, history, policy = verdict.instance, verdict.history, verdict.policy
    match finding:
        case Finding.NEVER_SUCCEEDED if instance.created and not any(run.status.deleted for run in history.runs):
            yield instance.created if policy.expected is Expected.ALWAYS else instance.created + policy.grace
        case Finding.STALE_CRITICAL if verdict.recovery_point:
            yield verdict.recovery_point + policy.critical_age
        case Finding.STALE if verdict.recovery_point:
            yield verdict.recovery_point + policy.max_age
        case Finding.LAST_RUN_FAILED:
            yield None if verdict.collected.plan else _first_of_failures(verdict)
        case Finding.OVERDUE:
            yield _window_missed_at(verdict, now)
        case Finding.STUCK:
            yield min((run.effective_start + policy.max_duration for run in history.in_progress), default=None)
        case Finding.SLOW if history.newest_success:
            yield history.newest_success.end


def _first_of_failures(verdict: Verdict) -> datetime | None:
    """When the first of the automated runs that failed, one after another up to the newest, ended."""
    completed = (run for run in verdict.history.runs if run.type is BackupType.AUTOMATED and run.status.completed)
    failed = list(takewhile(lambda run: run.status is RunStatus.FAILED, completed))
    return (failed[-1].end or failed[-1].effective_start) if failed else None


def _window_missed_at(verdict: Verdict, now: datetime) -> datetime | None:
    """When the first window closed in which no automated run began, since one did."""
    window_start = verdict.instance.backups.window_start
    if window_start is None:
        return None
    begun = (
        run.scheduled
        for run in verdict.history.runs
        if run.type is BackupType.AUTOMATED and run.status is not RunStatus.OVERDUE and not run.status.deleted
    )
    newest = next(begun, None)
    if newest is None:
        return None
    return min(last_opening(window_start, newest) + DAY + WINDOW, now)
