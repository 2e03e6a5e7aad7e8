"""Every finding and every exemption has a sentence, a rule, and a row in the documentation."""

import re
from pathlib import Path

from exporter.verdict.reasons import EXEMPTIONS, FINDINGS
from exporter.verdict.rules import RULES, Exemption, Finding

PAGE = Path(__file__).parents[2] / "docs" / "verdicts.md"


def test_every_finding_and_exemption_has_a_sentence() -> None:
    assert set(FINDINGS) == set(Finding)
    assert set(EXEMPTIONS) == set(Exemption)


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
