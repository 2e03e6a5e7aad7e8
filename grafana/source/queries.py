"""Queries of panels."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.source.promql import count_between

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
Query = Builder[Any]


def instant_query(expression: str, legend: str = "__auto", ref: str = "A") -> Query:
    """Return a query of the values at the end of the time range."""
    return _query(expression, ref).instant().legend_format(legend)


def range_query(expression: str, legend: str = "__auto", ref: str = "A", interval: str = "") -> Query:
    """Return a query of the values over the time range; `interval` is the minimum step."""
    query = _query(expression, ref).range().legend_format(legend)
    return query.interval(interval) if interval else query


def table_query(expression: str, ref: str = "A") -> Query:
    """Return a query of the values at the end of the time range, as table rows."""
    return _query(expression, ref).instant().format(PromQueryFormat.TABLE)


def distribution(expression: str, bounds: Sequence[float], unit: str, factor: float) -> list[Query]:
    """Return one query per bucket that counts its values. `bounds` are in `unit`, which is `factor` times the base."""
    names = [
        f"up to {bounds[0]:g} {unit}",
        *(f"{low:g} to {high:g} {unit}" for low, high in pairwise(bounds)),
        f"over {bounds[-1]:g} {unit}",
    ]
    edges = [None, *(bound * factor for bound in bounds), None]
    return [
        instant_query(count_between(expression, low, high), name, ref)
        for (low, high), name, ref in zip(pairwise(edges), names, "ABCDEFGH", strict=False)
    ]


def _query(expression: str, ref: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expression).ref_id(ref).datasource(DATASOURCE)
