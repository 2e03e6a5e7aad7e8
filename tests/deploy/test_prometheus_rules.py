"""The rules that ship: valid, about metrics that exist, each with a page that says what to do, and each tried."""

import re
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.facts.snapshot import ProjectStatus, Snapshot
from exporter.scan.incremental import scan
from exporter.simulator import SimulatedClock, World
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from exporter.verdict.evaluate import Evaluation, evaluate
from exporter.verdict.rules import Exemption, Finding
from tests.support.builders import EXPORTER_INFO, HOUR, NOW, WorldSource, config, scan_options
from tests.support.expositions import families
from tests.support.promql import RULES, compares, known, rules, unknown

ROOT = RULES.parent.parent.parent
ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
RUNBOOKS = ROOT / "docs" / "runbooks"
STORIES = sorted((RULES.parent / "tests").glob("*.yml"))
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
SERIES = known()


def ran(*command: str | Path) -> str:
    """What a program said; it is to succeed."""
    ended = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)  # noqa: S603 (fixed names)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_prometheus_takes_the_rules() -> None:
    assert "SUCCESS" in ran("promtool", "check", "rules", RULES)
    ran("promtool", "check", "config", "--syntax-only", RULES.parent / "prometheus.yml")


@pytest.mark.parametrize("stories", STORIES, ids=lambda path: path.stem)
def test_the_stories_of_the_rules_come_true(stories: Path) -> None:
    assert "SUCCESS" in ran("promtool", "test", "rules", stories)


def test_every_alert_is_seen_firing_not_firing_yet_and_resolved() -> None:
    fires: dict[str, list[bool]] = {name: [] for name in ALERTS}
    for file in STORIES:
        for story in yaml.safe_load(file.read_text())["tests"]:
            for check in story["alert_rule_test"]:
                fires[check["alertname"]].append(bool(check["exp_alerts"]))
    for name, seen in fires.items():
        first = seen.index(True) if True in seen else -1
        assert first > 0, f"{name}: no check before it fires"
        assert False in seen[first:], f"{name}: not seen resolved"


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_is_about_series_that_exist(rule: dict[str, Any]) -> None:
    assert unknown(rule["expr"], SERIES) == []
    if "record" in rule:
        assert re.fullmatch(r"[a-z_]+:[a-z_]+:[a-z0-9_]+", rule["record"])


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_people_need(name: str) -> None:
    rule = ALERTS[name]
    notes, labels = rule["annotations"], rule["labels"]
    assert re.fullmatch(r"CloudSQLBackup[A-Z]\w+", name)
    assert compares(rule["expr"])
    assert labels["severity"] in ("critical", "warning", "info")
    assert notes.keys() == {"summary", "description", "runbook_url", "dashboard_url"}
    assert "{{" not in notes["summary"]
    assert notes["runbook_url"].endswith(f"/{name}.md")
    used = set(re.findall(r"\$labels\.(\w+)", str(notes) + str(labels)))
    assert used <= set.union(*SERIES.values()) | {"label_team"}
    assert not re.search(r"\$value", str(labels)), "a value in a label makes a new alert at every change"


def test_each_finding_has_an_alert() -> None:
    text = RULES.read_text()
    assert [finding for finding in Finding if f'finding="{finding}"' not in text] == []


def test_rules_and_runbooks_are_one_to_one() -> None:
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


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_queries_to_paste_are_about_series_that_exist(page: Path) -> None:
    for block in re.findall(r"```promql\n(.*?)```", page.read_text(), re.DOTALL):
        for query in re.split(r"\n\n|\n(?=[A-Za-z\d(])", re.sub(r"#.*", "", block).strip()):
            assert unknown(query, SERIES) == [], query


def test_alertmanager_takes_its_configuration() -> None:
    assert "SUCCESS" in ran("amtool", "check-config", ALERTMANAGER)


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
def test_alerts_go_to_who_must_act(labels: str, receivers: str) -> None:
    ran(
        *("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}"),
        *(f"--verify.receivers={receivers}", *labels.split()),
    )


def month(instances: tuple[str, ...], tmp_path: Path) -> str:
    """What of `ALERTS` is firing in a simulated month of these scenarios, as promtool sees it."""
    world = World({"shop-prod": Project({name: SCENARIOS[name] for name in instances})}, SimulatedClock(NOW, 0))
    named = {name for rule in rules() for name in re.findall(r"cloudsql_backup_\w+", rule["expr"])}
    values: dict[str, list[str]] = {}
    status = ProjectStatus("shop-prod")
    settled = config(policies=[{"match": {"instance": "abandoned"}, "expected": "never"}])
    kept: Evaluation | None = None
    for step in range(STEPS):
        told = scan(WorldSource(world), "shop-prod", world.clock(), scan_options(), status.scan)
        status = status.succeeded(told, timedelta())
        kept = evaluate(Snapshot().with_project(status), settled, EXPORTER_INFO, world.clock(), kept)
        for family in families(kept):
            for sample in family.samples if sample_wanted(family.name, named) else ():
                series = sample.name + "".join(sorted(f',{k}="{v}"' for k, v in sample.labels.items())).join("{}")
                series = series.replace("{,", "{")
                values.setdefault(series, ["_"] * step).append(f"{sample.value:g}")
        for told_before in values.values():
            told_before.extend(["stale"] * (step + 1 - len(told_before)))
        assert isinstance(world.clock, SimulatedClock)
        world.clock.advance(EVERY * HOUR)
    story = {
        "rule_files": [str(RULES)],
        "evaluation_interval": f"{EVERY}h",
        "tests": [
            {
                "interval": f"{EVERY}h",
                "input_series": [{"series": name, "values": " ".join(told)} for name, told in values.items()],
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
    file.write_text(yaml.safe_dump(story, width=10**9))
    ended = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return "" if ended.returncode == 0 else ended.stdout + ended.stderr


EVERY = 3  # hours
FIRING = 'ALERTS{alertstate="firing"}'
STEPS = 30 * 24 // EVERY


def sample_wanted(name: str, named: set[str]) -> bool:
    return name in named or f"{name}_total" in named


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
    "abandoned": "ignored",  # by its policy
}


def test_every_exemption_is_among_the_instances_of_the_month() -> None:
    assert sorted(EXEMPT.values()) == sorted(Exemption)


def test_a_fleet_of_healthy_and_exempt_instances_fires_nothing_for_a_month(tmp_path: Path) -> None:
    assert month(("healthy", "idle", "high-availability", "running", *EXEMPT), tmp_path) == ""


def test_a_month_in_which_backups_fail_on_every_third_day_is_not_silent(tmp_path: Path) -> None:
    assert "CloudSQLBackupLastRunFailed" in month(("healthy", "flapping"), tmp_path)
