"""The verdict on one instance: (instance, its history, policy, now) -> Verdict. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from exporter.config import Policy
from exporter.facts.collected import NOTHING, InstanceFacts
from exporter.facts.history import History, RecoveryPointSource
from exporter.facts.model import Instance
from exporter.verdict.rules import (
    OTHER_BOUNDARIES,
    PLAN_RULES,
    RULES,
    Case,
    Exemption,
    Finding,
    Protection,
    exemption,
)
from exporter.verdict.windows import DAY, next_due


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one instance, with the facts it rests on. The worst finding comes first."""

    instance: Instance
    history: History
    policy: Policy
    state: Protection
    findings: tuple[Finding, ...]
    exemption: Exemption | None
    next_due: datetime | None
    recovery_point: datetime | None
    recovery_point_source: RecoveryPointSource | None
    collected: InstanceFacts = NOTHING


@dataclass(frozen=True, slots=True)
class Freshness:
    """When facts were read, and the age up to which they may be used."""

    read_at: datetime
    stale_after: timedelta


def assess(
    instance: Instance,
    history: History,
    policy: Policy,
    now: datetime,
    freshness: Freshness | None = None,
    collected: InstanceFacts = NOTHING,
) -> Verdict:
    """The verdict by facts of a given freshness, by default read now.

    If the facts are too old, the state is unknown; findings and exemption are those that were last known. It is also
    unknown if the instance has to be judged by a backup plan that was never read.
    """
    freshness = freshness or Freshness(now, DAY)
    case = Case(instance, history, policy, now, freshness.read_at, collected)
    exempt = exemption(case)
    rules = [] if exempt else [rule for rule in (PLAN_RULES if case.plan else RULES) if rule.holds(case)]
    unread = case.plan is not None and not case.plan.read
    if unread or now - freshness.read_at > freshness.stale_after:
        state = Protection.UNKNOWN
    elif exempt:
        state = Protection.EXEMPT
    else:
        state = rules[0].state if rules else Protection.PROTECTED
    expects_run = exempt in (None, Exemption.NEW, Exemption.CREATING) and instance.backups.enabled is not False
    due = next_due(instance, history, now) if expects_run and not case.plan else None
    return Verdict(
        instance=instance,
        history=history,
        policy=policy,
        state=state,
        findings=tuple(rule.finding for rule in rules),
        exemption=exempt,
        next_due=due,
        recovery_point=case.recovery_point,
        recovery_point_source=case.recovery_point_source,
        collected=collected,
    )


def valid_until(verdict: Verdict, since: datetime) -> datetime:
    """The latest time, inclusive, up to which `assess` is known to return the same verdict as at `since`.

    By facts that were read at `since` or later, say the same, and are not too old.
    """
    case = Case(verdict.instance, verdict.history, verdict.policy, since, since, verdict.collected)
    boundaries = (boundary for changes_after in _BOUNDARIES for boundary in changes_after(case))
    return min((boundary for boundary in boundaries if boundary >= since), default=since + DAY)


_BOUNDARIES = tuple(dict.fromkeys((*OTHER_BOUNDARIES, *(rule.changes_after for rule in RULES))))  # each once
