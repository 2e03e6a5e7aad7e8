"""The exporter's verdict equals that of a second implementation, on random instances."""

from collections import Counter
from functools import cache
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.facts.collected import InstanceFacts
from exporter.facts.history import history
from exporter.verdict import assess as assess_module
from exporter.verdict.assess import Freshness
from exporter.verdict.rules import Exemption, Finding, Protection
from tests.verdict.broken_rules import BROKEN
from tests.verdict.random_cases import RandomCase, random_case
from tests.verdict.reference import ReferenceRuns, ReferenceVerdict, reference_verdict

NUMBER_OF_CASES = 10_000


def expected_verdict(case: RandomCase) -> ReferenceVerdict:
    return reference_verdict(
        case.instance, case.runs, case.policy, case.now, case.read_at, case.stale_after, plan=case.plan
    )


def actual_verdict(case: RandomCase) -> ReferenceVerdict:
    """The exporter's verdict in the words of the reference."""
    freshness = Freshness(case.read_at, case.stale_after)
    facts = InstanceFacts(plan=case.plan)
    verdict = assess_module.assess(case.instance, history(case.runs), case.policy, case.now, freshness, facts)
    return ReferenceVerdict(
        state=verdict.state.value,
        findings=frozenset(finding.value for finding in verdict.findings),
        exemption=verdict.exemption.value if verdict.exemption else None,
        recovery_point=verdict.recovery_point,
        next_due=verdict.next_due,
        runs={
            backup_type.value.lower(): ReferenceRuns(
                retained=of_type.retained,
                retained_size_bytes=of_type.retained_bytes,
                oldest_retained=of_type.oldest_retained_end,
                consecutive_failures=of_type.consecutive_failures,
                newest_status=of_type.newest.status.value.lower() if of_type.newest else None,
                newest_completed_status=(
                    of_type.newest_completed.status.value.lower() if of_type.newest_completed else None
                ),
            )
            for backup_type, of_type in verdict.history.by_type.items()
        },
    )


@cache
def seeded_cases() -> list[tuple[RandomCase, ReferenceVerdict]]:
    """The same random instances in every test run, with the verdict of the reference."""
    cases = [random_case(Random(seed)) for seed in range(NUMBER_OF_CASES)]
    return [(case, expected_verdict(case)) for case in cases]


def test_verdict_equals_that_of_the_reference() -> None:
    for case, expected in seeded_cases():
        assert actual_verdict(case) == expected, case


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_verdict_equals_that_of_the_reference_on_other_instances(seed: int) -> None:
    case = random_case(Random(seed))  # not a Random of hypothesis: it would give all runs the same id
    assert actual_verdict(case) == expected_verdict(case), case


def test_random_instances_have_every_state_finding_and_exemption() -> None:
    verdicts = [verdict for _, verdict in seeded_cases()]
    counts = Counter(verdict.state for verdict in verdicts)
    counts.update(finding for verdict in verdicts for finding in verdict.findings)
    counts.update(verdict.exemption for verdict in verdicts if verdict.exemption)
    assert not {word for word in (*Protection, *Finding, *Exemption) if counts[word] < 50}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rule_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    BROKEN[name](monkeypatch)
    assert any(actual_verdict(case) != expected for case, expected in seeded_cases())
