"""Shipped Prometheus rules: valid, consistent with the exported metrics and the runbooks, and unit-tested."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.facts.snapshot import ProjectStatus, Snapshot
from exporter.simulator import SimulatedClock, World
from exporter.simulator.recovery_times import Logs
from exporter.simulator.scenarios import SCENARIOS, Scenario
from exporter.simulator.worlds import Project
from exporter.verdict.evaluate import Evaluation, evaluate
from exporter.verdict.rules import Exemption, Finding
from tests.support.builders import EXPORTER_INFO, HOUR, NOW, config
from tests.support.expositions import families, polled
from tests.support.promql import RULES, has_comparison, known, rules, unknown

ROOT = RULES.parent.parent.parent
ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
RUNBOOKS = ROOT / "docs" / "runbooks"
UNIT_TESTS = sorted((RULES.parent / "tests").glob("*.yml"))
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
SERIES = known()


def run_ok(*command: str | Path) -> str:
    """Run a program that must succeed; return its output."""
    process = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)  # noqa: S603 (fixed names)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout + process.stderr


def test_promtool_accepts_the_rules_and_the_prometheus_configuration() -> None:
    assert "SUCCESS" in run_ok("promtool", "check", "rules", RULES)
    run_ok("promtool", "check", "config", "--syntax-only", RULES.parent / "prometheus.yml")


@pytest.mark.parametrize("file", UNIT_TESTS, ids=lambda path: path.stem)
def test_unit_tests_of_the_rules_pass(file: Path) -> None:
    assert "SUCCESS" in run_ok("promtool", "test", "rules", file)


def test_unit_tests_cover_each_alert_before_during_and_after_firing() -> None:
    expected_firing: dict[str, list[bool]] = {name: [] for name in ALERTS}
    for file in UNIT_TESTS:
        for unit_test in yaml.safe_load(file.read_text())["tests"]:
            for check in unit_test["alert_rule_test"]:
                expected_firing[check["alertname"]].append(bool(check["exp_alerts"]))
    for name, firing in expected_firing.items():
        first = firing.index(True) if True in firing else -1
        assert first > 0, f"{name}: no check before it fires"
        assert False in firing[first:], f"{name}: no check after it resolves"


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_use_existing_series_and_labels(rule: dict[str, Any]) -> None:
    assert unknown(rule["expr"], SERIES) == []
    if "record" in rule:
        assert re.fullmatch(r"[a-z_]+:[a-z_]+:[a-z0-9_]+", rule["record"])


@pytest.mark.parametrize("name", ALERTS)
def test_alerts_have_the_required_labels_and_annotations(name: str) -> None:
    rule = ALERTS[name]
    annotations, labels = rule["annotations"], rule["labels"]
    assert re.fullmatch(r"CloudSQLBackup[A-Z]\w+", name)
    assert has_comparison(rule["expr"])
    assert labels["severity"] in ("critical", "warning", "info")
    assert annotations.keys() == {"summary", "description", "runbook_url", "dashboard_url"}
    assert "{{" not in annotations["summary"]
    assert annotations["runbook_url"].endswith(f"/{name}.md")
    used = set(re.findall(r"\$labels\.(\w+)", str(annotations) + str(labels)))
    assert used <= set.union(*SERIES.values()) | {"label_team"}
    assert not re.search(r"\$value", str(labels)), "a value in a label creates a new alert on every change"


def test_each_finding_has_an_alert() -> None:
    text = RULES.read_text()
    assert [finding for finding in Finding if f'finding="{finding}"' not in text] == []


def test_each_alert_has_a_runbook_with_the_standard_sections() -> None:
    pages = {page.stem: page.read_text() for page in RUNBOOKS.glob("CloudSQLBackup*.md")}
    assert pages.keys() == ALERTS.keys()
    for name, text in pages.items():
        assert re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE) == [
            name,
            "Meaning",
            "Impact",
            "Diagnosis",
            "Mitigation",
        ]


def test_index_and_runbooks_state_the_severity_of_each_alert() -> None:
    severities = {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}
    rows = re.findall(r"^\| \[(\w+)\]\(\w+\.md\) \| (\w+) \|", (RUNBOOKS / "README.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(severities.items())
    for name, severity in severities.items():
        assert f"## Impact\n\n{severity.capitalize()}" in (RUNBOOKS / f"{name}.md").read_text()


# The terms of a condition are findings, thresholds and durations. Other numbers are none: the values 0 and 1 of a flag,
# `1 -` for the complement of a ratio, `* 0` for a series of zeros.
TERM = rf"(?:{'|'.join(Finding)}|\d+(?:\.\d+)?[smhdw]?)"
NOT_A_TERM = re.compile(r"== [01]\b|\b1 - |\* 0\b(?!\.)|\b(?:on|group_left) \([^)]*\)\s*")
COMPARISON_WORDS = {"": "", "<": "less than ", "<=": "at most ", ">": "more than ", ">=": "at least "}
FIRES_WHEN = re.compile(
    r"\*\*Fires when\*\* (?P<condition>.+?), for `(?P<pending>\w+)`\."
    r"(?: \*\*Keeps firing\*\* for `(?P<keep>\w+)` afterwards\.)?"
)


def condition_terms(expression: str) -> list[str]:
    """Return the distinct terms of an alert expression in order, in the words of a runbook: "more than `0.75`"."""
    for rule in rules():
        if constant := re.fullmatch(r"vector\((.+)\)", rule["expr"]):
            expression = expression.replace(rule["record"], constant[1])
    found = re.findall(rf"(?:([<>]=?)\s*)?(?<![A-Za-z\d.])({TERM})\b", NOT_A_TERM.sub("", expression))
    return list(dict.fromkeys(f"{COMPARISON_WORDS[operator]}`{term}`" for operator, term in found))


@pytest.mark.parametrize("name", ALERTS)
def test_runbook_states_the_condition_and_durations_of_its_alert(name: str) -> None:
    rule = ALERTS[name]
    text = " ".join((RUNBOOKS / f"{name}.md").read_text().split())
    (stated,) = FIRES_WHEN.finditer(text)
    comparisons = "|".join(filter(None, COMPARISON_WORDS.values()))
    assert re.findall(rf"(?:{comparisons})?`{TERM}`", stated["condition"]) == condition_terms(rule["expr"])
    assert (stated["pending"], stated["keep"]) == (rule["for"], rule.get("keep_firing_for"))


@pytest.mark.parametrize("name", ALERTS)
def test_description_states_only_durations_of_its_alert_expression(name: str) -> None:
    stated = re.findall(r"\b\d+[smhdw]\b", ALERTS[name]["annotations"]["description"])
    assert {f"`{duration}`" for duration in stated} <= set(condition_terms(ALERTS[name]["expr"]))


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_runbook_queries_use_existing_series_and_labels(page: Path) -> None:
    for block in re.findall(r"```promql\n(.*?)```", page.read_text(), re.DOTALL):
        for query in re.split(r"\n\n|\n(?=[A-Za-z\d(])", re.sub(r"#.*", "", block).strip()):
            assert unknown(query, SERIES) == [], query


def test_amtool_accepts_the_alertmanager_configuration() -> None:
    assert "SUCCESS" in run_ok("amtool", "check-config", ALERTMANAGER)


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ("severity=critical", "on-call,databases-slack"),
        ("severity=warning", "databases-slack"),
        ("severity=critical team=payments", "payments-mail,on-call,databases-slack"),
        ("severity=warning team=payments", "payments-mail,databases-slack"),
        ("severity=info", "archive"),
    ],
)
def test_alerts_are_routed_by_severity_and_team(labels: str, receivers: str) -> None:
    run_ok(
        *("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}"),
        *(f"--verify.receivers={receivers}", *labels.split()),
    )


def alerts_of_a_month(tmp_path: Path, *names: str, **more: Scenario) -> str:
    """Return promtool's report of the alerts that fire in a simulated month of these scenarios; empty if none do."""
    instances = {**{name: SCENARIOS[name] for name in names}, **more}
    world = World({"shop-prod": Project(instances)}, SimulatedClock(NOW, 0))
    used_names = {name for rule in rules() for name in re.findall(r"cloudsql_backup_\w+", rule["expr"])}
    values: dict[str, list[str]] = {}
    status = ProjectStatus("shop-prod")
    settings = config(
        collect={"recovery_times": True}, policies=[{"match": {"instance": "abandoned"}, "expected": "never"}]
    )
    evaluation: Evaluation | None = None
    for step in range(STEPS):
        status = polled(world, status, settings)
        evaluation = evaluate(Snapshot().with_project(status), settings, EXPORTER_INFO, world.clock(), evaluation)
        for family in families(evaluation):
            for sample in family.samples if is_used(family.name, used_names) else ():
                series = sample.name + "".join(sorted(f',{k}="{v}"' for k, v in sample.labels.items())).join("{}")
                series = series.replace("{,", "{")
                values.setdefault(series, ["_"] * step).append(f"{sample.value:g}")
        for samples in values.values():
            samples.extend(["stale"] * (step + 1 - len(samples)))
        assert isinstance(world.clock, SimulatedClock)
        world.clock.advance(EVERY * HOUR)
    unit_test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": f"{EVERY}h",
        "tests": [
            {
                "interval": f"{EVERY}h",
                "input_series": [{"series": name, "values": " ".join(samples)} for name, samples in values.items()],
                "promql_expr_test": [
                    {
                        "expr": f"count by (alertname) (count_over_time({FIRING}[{STEPS * EVERY}h]))",
                        "eval_time": f"{(STEPS - 1) * EVERY}h",
                        "exp_samples": [],
                    }
                ],
            }
        ],
    }
    file = tmp_path / "month.yml"
    file.write_text(yaml.safe_dump(unit_test, width=10**9))
    process = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return "" if process.returncode == 0 else process.stdout + process.stderr


EVERY = 3  # hours
FIRING = 'ALERTS{alertstate="firing"}'
STEPS = 30 * 24 // EVERY


def is_used(family: str, used_names: set[str]) -> bool:
    return family in used_names or f"{family}_total" in used_names


EXEMPT = {
    "replica": "read_replica",
    "read-pool": "read_pool",
    "external": "external",
    "green": "green",
    "stopped": "stopped",
    "suspended": "suspended",
    "creating": "creating",
    "brand-new": "new",
    "enhanced": "managed_elsewhere",
    "abandoned": "ignored",  # set by the policy
}


def test_simulated_month_covers_every_exemption() -> None:
    assert sorted(EXEMPT.values()) == sorted(Exemption)


def test_no_alert_fires_in_a_month_of_healthy_and_exempt_instances(tmp_path: Path) -> None:
    """Among them instances with point-in-time recovery, with Google's defaults: 7 backups and 7 days of logs."""
    defaults = replace(SCENARIOS["pitr-lagging"], logs=Logs())
    idle = replace(defaults, windows=SCENARIOS["idle"].windows)
    names = ("healthy", "idle", "high-availability", "running", "pitr-logs-on-disk")
    assert alerts_of_a_month(tmp_path, *names, *EXEMPT, defaults=defaults, idle_with_logs=idle) == ""


def test_only_alerts_about_recovery_times_fire_for_instances_whose_backups_are_healthy(tmp_path: Path) -> None:
    report = alerts_of_a_month(tmp_path, "healthy", "pitr-window-short", "pitr-lagging")
    assert set(re.findall(r'alertname="(\w+)"', report)) == {
        "CloudSQLBackupPITRWindowShort",
        "CloudSQLBackupPITRLagging",
        "CloudSQLBackupErrorBudgetBurn",  # most of this small fleet is at risk
    }


def test_alert_fires_in_a_month_with_failing_backups(tmp_path: Path) -> None:
    assert "CloudSQLBackupLastRunFailed" in alerts_of_a_month(tmp_path, "healthy", "flapping")


def test_only_the_revoked_key_of_a_suspended_instance_fires(tmp_path: Path) -> None:
    """Its stale recovery point and missed windows follow from the suspension; without the key it would be exempt."""
    suspended = SCENARIOS["suspended"]
    revoked = replace(suspended, instance={"state": "SUSPENDED", "suspensionReason": ["KMS_KEY_ISSUE"]})
    report = alerts_of_a_month(tmp_path, "healthy", revoked=revoked)
    assert set(re.findall(r'alertname="(\w+)"', report)) == {
        "CloudSQLBackupDataUnreadable",
        "CloudSQLBackupErrorBudgetBurn",  # half of this small fleet is unprotected
    }
