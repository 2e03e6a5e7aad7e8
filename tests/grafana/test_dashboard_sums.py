"""What the dashboards make of counters and of several exporters, told in series and judged by promtool."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from grafana.source.promql import FAILURES, project
from tests.support.dashboards import filled

VALUES = {"job": ".+", "project": ".+", "instance": ".+", "__range": "24h"}
NOW = 48  # hours; the time range begins at 24
ERRORS = 'cloudsql_backup_errors_total{project="p", instance_id="i", backup_type="automated", code="E", job="j"'
A, B = ', instance="a"}', ', instance="b"}'
BUILD = 'cloudsql_backup_exporter_build_info{job="j"'


def hours(*spans: tuple[int, int | None]) -> str:
    """Values an hour apart, by how many hours each is there; None where there is none."""
    values = [f"{'_' if value is None else value}" for count, value in spans for _ in range(count)]
    return " ".join(values)


def holds(expression: str, series: dict[str, str], expected: dict[str, float], folder: Path) -> str:
    """What promtool says against it; empty if it is as expected."""
    samples = [{"labels": labels, "value": value} for labels, value in expected.items()]
    story = {
        "rule_files": [],
        "tests": [
            {
                "interval": "1h",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {"expr": filled(expression, VALUES), "eval_time": f"{NOW}h", "exp_samples": samples}
                ],
            }
        ],
    }
    file = folder / "story.yml"
    file.write_text(yaml.safe_dump(story, width=10**9))
    ended = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return "" if ended.returncode == 0 else ended.stdout + ended.stderr


WATCHED = hours((49, 1))


@pytest.mark.parametrize(
    ("series", "failed"),
    [
        ({BUILD + A: WATCHED, ERRORS + A: hours((30, None), (19, 1))}, 1),
        ({BUILD + A: WATCHED, ERRORS + A: hours((30, None), (10, 1), (9, 2))}, 2),
        ({BUILD + A: WATCHED, ERRORS + A: hours((30, 5), (19, 6))}, 1),
        ({BUILD + A: WATCHED, ERRORS + A: hours((49, 5))}, 0),
        # Another address, the same state.
        (
            {
                BUILD + A: hours((37, 1)),
                BUILD + B: hours((37, None), (12, 1)),
                ERRORS + A: hours((30, 5), (7, 6)),
                ERRORS + B: hours((37, None), (3, 6), (9, 7)),
            },
            2,
        ),
        # The same address, and the state lost.
        ({BUILD + A: WATCHED, ERRORS + A: hours((30, 5), (10, None), (9, 1))}, 1),
        # Two replicas that count alike.
        ({BUILD + A: WATCHED, BUILD + B: WATCHED, **{ERRORS + x: hours((30, 5), (19, 6)) for x in (A, B)}}, 1),
        # Prometheus is younger than the time range: what was counted before is none of its.
        ({BUILD + A: hours((30, None), (19, 1)), ERRORS + A: hours((30, None), (10, 3), (9, 4))}, 1),
    ],
    ids=["first", "first-and-second", "another", "none", "moved", "lost", "replicas", "young"],
)
def test_failures_of_the_time_range_are_those_that_happened_in_it(
    series: dict[str, str], failed: int, tmp_path: Path
) -> None:
    labels = '{project="p", instance_id="i", backup_type="automated", code="E"}'
    assert holds(FAILURES, series, {labels: failed}, tmp_path) == ""


def _shard(name: str, index: int, up: int) -> dict[str, str]:
    target = f'job="j", instance="{name}"'
    return {
        f"cloudsql_backup_exporter_build_info{{{target}}}": WATCHED,
        f'cloudsql_backup_exporter_shard_info{{{target}, index="{index}", total="2"}}': WATCHED,
        f'cloudsql_backup_exporter_project_up{{{target}, project="p"}}': hours((49, up)),
    }


@pytest.mark.parametrize(
    ("shards", "read"),
    [
        ([("a", 0, 1), ("b", 1, 1)], 1),
        ([("a", 0, 1), ("b", 1, 0)], 0),
        ([("a", 0, 0), ("b", 0, 1), ("c", 1, 1)], 1),
    ],
    ids=["both-read", "one-is-blind", "a-replica-is-blind"],
)
def test_a_project_is_read_if_some_replica_of_each_shard_reads_it(
    shards: list[tuple[str, int, int]], read: int, tmp_path: Path
) -> None:
    series = {name: values for shard in shards for name, values in _shard(*shard).items()}
    assert holds(project("project_up", shards="min"), series, {'{project="p"}': read}, tmp_path) == ""


def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    told = holds("vector(1)", {}, {"{}": 2}, tmp_path)
    assert re.search("FAILED", told)
