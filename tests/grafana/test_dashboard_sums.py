"""Failed runs, project status and the main finding computed from given series, checked with promtool."""

import subprocess
from pathlib import Path

import pytest
import yaml

from exporter.verdict.rules import Finding
from grafana.source.attention import main_finding
from grafana.source.promql import FAILED_RUNS, per_project
from tests.support.dashboards import interpolate

VALUES = {"job": ".+", "project": ".+", "instance": ".+", "team": ".*", "__range": "24h"}
NOW = 48  # hours; the time range begins at 24
ERRORS = 'cloudsql_backup_errors_total{project="p", instance_id="i", backup_type="automated", code="E", job="j"'
A, B = ', instance="a"}', ', instance="b"}'
BUILD = 'cloudsql_backup_exporter_build_info{job="j"'


def hours(*spans: tuple[int, int | None]) -> str:
    """Return hourly values, each repeated for a number of hours; None is a missing sample."""
    values = [f"{'_' if value is None else value}" for count, value in spans for _ in range(count)]
    return " ".join(values)


def promtool_error(expression: str, series: dict[str, str], expected: dict[str, float], folder: Path) -> str:
    """Return the output of promtool if the result differs from `expected`, else an empty string."""
    samples = [{"labels": labels, "value": value} for labels, value in expected.items()]
    rule_test = {
        "rule_files": [],
        "tests": [
            {
                "interval": "1h",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {"expr": interpolate(expression, VALUES), "eval_time": f"{NOW}h", "exp_samples": samples}
                ],
            }
        ],
    }
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump(rule_test, width=10**9))
    promtool = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return "" if promtool.returncode == 0 else promtool.stdout + promtool.stderr


ALWAYS = hours((49, 1))


@pytest.mark.parametrize(
    ("series", "failed"),
    [
        ({BUILD + A: ALWAYS, ERRORS + A: hours((30, None), (19, 1))}, 1),
        ({BUILD + A: ALWAYS, ERRORS + A: hours((30, None), (10, 1), (9, 2))}, 2),
        ({BUILD + A: ALWAYS, ERRORS + A: hours((30, 5), (19, 6))}, 1),
        ({BUILD + A: ALWAYS, ERRORS + A: hours((49, 5))}, 0),
        # A restart under another address, with the saved state.
        (
            {
                BUILD + A: hours((37, 1)),
                BUILD + B: hours((37, None), (12, 1)),
                ERRORS + A: hours((30, 5), (7, 6)),
                ERRORS + B: hours((37, None), (3, 6), (9, 7)),
            },
            2,
        ),
        # The same address, with the state lost.
        ({BUILD + A: ALWAYS, ERRORS + A: hours((30, 5), (10, None), (9, 1))}, 1),
        # Two replicas with the same counts.
        ({BUILD + A: ALWAYS, BUILD + B: ALWAYS, **{ERRORS + x: hours((30, 5), (19, 6)) for x in (A, B)}}, 1),
        # Prometheus started within the time range: earlier failures do not count.
        ({BUILD + A: hours((30, None), (19, 1)), ERRORS + A: hours((30, None), (10, 3), (9, 4))}, 1),
    ],
    ids=["first", "first-and-second", "increase", "none", "new-address", "lost-state", "replicas", "new-prometheus"],
)
def test_failed_runs_counts_failures_in_the_time_range(series: dict[str, str], failed: int, tmp_path: Path) -> None:
    labels = '{project="p", instance_id="i", backup_type="automated", code="E"}'
    assert promtool_error(FAILED_RUNS, series, {labels: failed}, tmp_path) == ""


def _shard(name: str, index: int, up: int) -> dict[str, str]:
    target = f'job="j", instance="{name}"'
    return {
        f"cloudsql_backup_exporter_build_info{{{target}}}": ALWAYS,
        f'cloudsql_backup_exporter_shard_info{{{target}, index="{index}", total="2"}}': ALWAYS,
        f'cloudsql_backup_exporter_project_up{{{target}, project="p"}}': hours((49, up)),
    }


@pytest.mark.parametrize(
    ("shards", "read"),
    [
        ([("a", 0, 1), ("b", 1, 1)], 1),
        ([("a", 0, 1), ("b", 1, 0)], 0),
        ([("a", 0, 0), ("b", 0, 1), ("c", 1, 1)], 1),
    ],
    ids=["both-shards-read", "one-shard-fails", "one-replica-fails"],
)
def test_project_is_up_if_a_replica_of_each_shard_reads_it(
    shards: list[tuple[str, int, int]], read: int, tmp_path: Path
) -> None:
    series = {name: values for shard in shards for name, values in _shard(*shard).items()}
    assert (
        promtool_error(
            per_project("cloudsql_backup_exporter_project_up", shards="min"), series, {'{project="p"}': read}, tmp_path
        )
        == ""
    )


@pytest.mark.parametrize(
    ("findings", "main"),
    [
        ([Finding.STALE_CRITICAL, Finding.STALE, Finding.OVERDUE, Finding.DATA_UNREADABLE], Finding.DATA_UNREADABLE),
        ([Finding.BACKUPS_DISABLED, Finding.DATA_UNREADABLE], Finding.DATA_UNREADABLE),
        ([Finding.STALE_CRITICAL, Finding.NEVER_SUCCEEDED, Finding.BACKUPS_DISABLED], Finding.BACKUPS_DISABLED),
        ([Finding.STALE, Finding.STALE_CRITICAL, Finding.LAST_RUN_FAILED], Finding.STALE_CRITICAL),
        ([Finding.DELETION_UNGUARDED, Finding.OVERDUE, Finding.STALE], Finding.OVERDUE),
        ([Finding.DELETION_UNGUARDED], Finding.DELETION_UNGUARDED),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_main_finding_is_the_one_from_which_others_follow(
    findings: list[Finding], main: Finding, tmp_path: Path
) -> None:
    target = 'job="j", instance="a"'
    instance = f'{target}, project="p", instance_id="i"'
    series = {
        f"cloudsql_backup_exporter_build_info{{{target}}}": ALWAYS,
        f'cloudsql_backup_instance_labels{{{instance}, label_team="t"}}': ALWAYS,
        f'cloudsql_backup_protection{{{instance}, state="unprotected"}}': ALWAYS,
        **{f'cloudsql_backup_finding{{{instance}, finding="{finding}"}}': ALWAYS for finding in findings},
    }
    shown = f'{{project="p", instance_id="i", finding="{main}", runbook="{main}"}}'
    assert promtool_error(f"({main_finding()}) > bool 0", series, {shown: 1}, tmp_path) == ""


def test_a_wrong_expectation_fails(tmp_path: Path) -> None:
    error = promtool_error("vector(1)", {}, {"{}": 2}, tmp_path)
    assert "FAILED" in error
