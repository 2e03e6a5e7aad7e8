"""Checks of PromQL expressions against the metric catalogue: metric names and their labels."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import promql_parser
import yaml

from exporter.metrics import catalogue

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "cloudsql-backup.rules.yml"
TARGET = {"job", "instance"}  # labels that Prometheus adds to every scraped series
PROMETHEUS = {
    **dict.fromkeys(("up", "scrape_duration_seconds", "scrape_samples_scraped"), TARGET),
    **dict.fromkeys(
        ("process_start_time_seconds", "process_resident_memory_bytes", "process_cpu_seconds_total"), TARGET
    ),
    "ALERTS": {"alertname", "alertstate", "severity", "team", "project", "instance_id"},
}
COMPARISONS = ("==", "!=", "<", ">", "<=", ">=")
_GROUPING = re.compile(r"\b(?:by|on|ignoring|without|group_left|group_right)\s*\(([^)]*)\)")


def rules() -> list[dict[str, Any]]:
    """Return all shipped rules, recording and alerting."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def with_short_waits(text: str) -> str:
    """Return rules with durations of seconds instead of minutes in `for` and `keep_firing_for`."""
    text = re.sub(r"\bfor: \w+", "for: 2s", text)
    return text.replace("keep_firing_for: 15m", "keep_firing_for: 6s").replace(
        "keep_firing_for: 10m", "keep_firing_for: 2s"
    )


def known() -> dict[str, set[str]]:
    """Return the labels of every series that can be queried, by series name."""
    series: dict[str, set[str]] = {}
    for section in catalogue.sections(("team",)):
        for metric in section.metrics:
            labels = {*section.identity, *metric.labels, *TARGET}
            for suffix in ("", "_sum", "_count") if metric.type == "summary" else ("",):
                series[metric.name + suffix] = labels
    for meter in catalogue.DIRECT_METRICS:
        for suffix in ("_bucket", "_sum", "_count") if meter.type == "histogram" else ("",):
            series[meter.name + suffix] = {*meter.labels, *TARGET, "le"}
    all_labels = set.union(*series.values())
    return series | {rule["record"]: all_labels for rule in rules() if "record" in rule} | PROMETHEUS


def unknown(expression: str, series: Mapping[str, set[str]]) -> list[str]:
    """Return metrics that do not exist and labels that their metric does not have.

    Raises ValueError for invalid syntax.
    """
    problems = []
    all_labels = set.union(*series.values())
    for selector in selectors(promql_parser.parse(expression)):
        labels = {matcher.name for matcher in selector.matchers.matchers}
        if selector.name not in series:
            problems.append(str(selector.name))
        else:
            problems += [f"{selector.name}{{{label}}}" for label in sorted(labels - series[selector.name])]
    for listed in _GROUPING.findall(expression):
        problems += [label for label in re.findall(r"\w+", listed) if label not in all_labels]
    return problems


def has_comparison(expression: str) -> bool:
    """Return whether an expression contains a comparison."""
    nodes = below(promql_parser.parse(expression))
    return any(isinstance(node, promql_parser.BinaryExpr) and str(node.op) in COMPARISONS for node in nodes)


def selectors(node: Any) -> Iterator[Any]:
    """Yield every vector selector of an expression."""
    return (found for found in below(node) if isinstance(found, promql_parser.VectorSelector))


def below(node: Any) -> Iterator[Any]:
    """Yield an expression and all its subexpressions."""
    yield node
    operands = [getattr(node, name, None) for name in ("lhs", "rhs", "expr", "param", "vector_selector", "vs")]
    for child in [*operands, *(getattr(node, "args", None) or [])]:
        if child is not None and not isinstance(child, str):
            yield from below(child)
