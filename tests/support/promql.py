"""What a PromQL expression names, held against the catalogue: metrics, and labels that they have."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import promql_parser
import yaml

from exporter.metrics import catalogue

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "cloudsql-backup.rules.yml"
TARGET = {"job", "instance"}  # every series has them once it is scraped
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
    """Every rule that ships."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def with_short_waits(text: str) -> str:
    """Rules that wait seconds where the shipped ones wait minutes."""
    with_short_waits = re.sub(r"\bfor: \w+", "for: 2s", text)
    return with_short_waits.replace("keep_firing_for: 15m", "keep_firing_for: 6s").replace(
        "keep_firing_for: 10m", "keep_firing_for: 2s"
    )


def known() -> dict[str, set[str]]:
    """The labels of every series that can be asked for, by its name."""
    series: dict[str, set[str]] = {}
    for section in catalogue.sections(("team",)):
        for metric in section.metrics:
            labels = {*section.identity, *metric.labels, *TARGET}
            for suffix in ("", "_sum", "_count") if metric.type == "summary" else ("",):
                series[metric.name + suffix] = labels
    for meter in catalogue.DIRECT_METRICS:
        for suffix in ("_bucket", "_sum", "_count") if meter.type == "histogram" else ("",):
            series[meter.name + suffix] = {*meter.labels, *TARGET, "le"}
    every = set.union(*series.values())
    return series | {rule["record"]: every for rule in rules() if "record" in rule} | PROMETHEUS


def unknown(expression: str, series: Mapping[str, set[str]]) -> list[str]:
    """The metrics that do not exist, and the labels that their metric has not. Raises ValueError for bad syntax."""
    wrong = []
    every = set.union(*series.values())
    for selector in selectors(promql_parser.parse(expression)):
        labels = {matcher.name for matcher in selector.matchers.matchers}
        if selector.name not in series:
            wrong.append(str(selector.name))
        else:
            wrong += [f"{selector.name}{{{label}}}" for label in sorted(labels - series[selector.name])]
    for listed in _GROUPING.findall(expression):
        wrong += [label for label in re.findall(r"\w+", listed) if label not in every]
    return wrong


def compares(expression: str) -> bool:
    """Whether there is a comparison in it."""
    nodes = below(promql_parser.parse(expression))
    return any(isinstance(node, promql_parser.BinaryExpr) and str(node.op) in COMPARISONS for node in nodes)


def selectors(node: Any) -> Iterator[Any]:
    """Every vector selector in an expression."""
    return (found for found in below(node) if isinstance(found, promql_parser.VectorSelector))


def below(node: Any) -> Iterator[Any]:
    """An expression and everything in it."""
    yield node
    inner = [getattr(node, name, None) for name in ("lhs", "rhs", "expr", "param", "vector_selector", "vs")]
    for child in [*inner, *(getattr(node, "args", None) or [])]:
        if child is not None and not isinstance(child, str):
            yield from below(child)
