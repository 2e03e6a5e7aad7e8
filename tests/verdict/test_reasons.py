"""Every finding and every exemption has a sentence, a rule, and a row in the documentation."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.facts.model import SuspensionReason
from exporter.verdict.reasons import EXEMPTIONS, FINDINGS
from exporter.verdict.rules import RULES, Exemption, Finding
from tests.support.builders import DAY, INSTANCE, NOW, run, verdict_on

PAGE = Path(__file__).parents[2] / "docs" / "verdicts.md"


def test_every_finding_and_exemption_has_a_sentence() -> None:
    assert set(FINDINGS) == set(Finding)
    assert set(EXEMPTIONS) == set(Exemption)


@pytest.mark.parametrize("finding", [Finding.STALE, Finding.STALE_CRITICAL])
def test_a_restore_loses_the_age_of_the_recovery_point_only_if_the_backup_can_be_read(finding: Finding) -> None:
    old = verdict_on(run(ago=3 * DAY))
    unreadable = verdict_on(
        run(ago=3 * DAY), instance=replace(INSTANCE, suspension_reasons=(SuspensionReason.KMS_KEY_ISSUE,))
    )
    assert {finding, Finding.DATA_UNREADABLE} <= set(unreadable.findings)
    assert FINDINGS[finding](old, NOW).startswith("a restore would lose 3d, more than ")
    assert FINDINGS[finding](unreadable, NOW).startswith("the recovery point is 3d old, more than ")


def test_every_finding_has_one_rule_in_the_same_order() -> None:
    assert [rule.finding for rule in RULES] == list(Finding)


def test_documented_findings_have_the_order_and_state_of_the_rules() -> None:
    findings = PAGE.read_text(encoding="utf-8").partition("## Findings")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| .* \| (\w+) \|$", findings, re.MULTILINE)
    assert rows == [(rule.finding.value, rule.state.value) for rule in RULES]


def test_documented_exemptions_are_complete() -> None:
    exemptions = PAGE.read_text(encoding="utf-8").partition("## Exemptions")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*`) \|", exemptions, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(Exemption)
