"""Panels in our own few words: how a number, a ranking, a line or a table looks here."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import bargauge, common, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BarGaugeNamePlacement,
    BarGaugeSizing,
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    DataSourceRef,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    LineInterpolation,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue, FieldColorModeId, ThresholdsMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.source.promql import within

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
GREEN, ORANGE, RED, PURPLE, GREY, BLUE = "green", "orange", "red", "purple", "#8e8e99", "blue"
STATES = {"unprotected": RED, "at_risk": ORANGE, "unknown": PURPLE, "protected": GREEN, "exempt": GREY}
COLOURED = {"custom.cellOptions": {"type": "color-text"}}
RUNS = {  # what a replica saw last comes before what another still sees
    "failed": (5, RED),
    "overdue": (6, ORANGE),
    "successful": (3, GREEN),
    "skipped": (4, GREY),
    "running": (2, BLUE),
    "enqueued": (1, "light-blue"),
    "unknown": (7, PURPLE),
}
BRIDGED = 900_000  # milliseconds of a gap that a line runs over
NO_DATA_YET = "Nothing: no exporter is up, or the recording rules are missing"

P = TypeVar("P", stat.Panel, bargauge.Panel, timeseries.Panel, table.Panel, statetimeline.Panel)
Query = Builder[Any]
Steps = Sequence[tuple[float | None, str]]


def instant(expression: str, legend: str = "__auto", ref: str = "A") -> Query:
    """What holds at the end of the time range."""
    return _query(expression, ref).instant().legend_format(legend)


def ranged(expression: str, legend: str = "__auto", ref: str = "A", interval: str = "") -> Query:
    """What held over the time range; `interval` is the shortest step that makes sense."""
    query = _query(expression, ref).range().legend_format(legend)
    return query.interval(interval) if interval else query


def rows(expression: str, ref: str) -> Query:
    """What holds at the end of the time range, as rows of a table."""
    return _query(expression, ref).instant().format(PromQueryFormat.TABLE)


def _query(expression: str, ref: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expression).ref_id(ref).datasource(DATASOURCE)


def number(
    title: str, description: str, query: Query, unit: str = "short", steps: Steps = ((None, "text"),)
) -> stat.Panel:
    """One large number; its colour says whether it is good."""
    panel = stat.Panel().color_mode(BigValueColorMode.BACKGROUND_SOLID if len(steps) > 1 else BigValueColorMode.VALUE)
    return (
        _common(panel, title, description, [query], unit)
        .graph_mode(BigValueGraphMode.NONE)
        .text_mode(BigValueTextMode.VALUE)
        .reduce_options(_last())
        .thresholds(_thresholds(steps))
        .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
    )


def worded(title: str, description: str, query: Query, mapping: dashboard.ValueMapping) -> stat.Panel:
    """One word in its colour, for a number that stands for it."""
    panel = number(title, description, query, "none").mappings([mapping])
    return panel.color_mode(BigValueColorMode.BACKGROUND_SOLID)


def ranking(
    title: str, description: str, queries: Sequence[Query], unit: str, steps: Steps, most: float | None = None
) -> bargauge.Panel:
    """Bars below each other, each with its name and value."""
    panel = (
        _common(bargauge.Panel(), title, description, queries, unit)
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .name_placement(BarGaugeNamePlacement.LEFT)
        .sizing(BarGaugeSizing.MANUAL)
        .min_viz_height(12)
        .max_viz_height(24)
        .text(common.VizTextDisplayOptions().title_size(12).value_size(16))
        .reduce_options(_last())
        .min(0)
        .thresholds(_thresholds(steps))
        .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
    )
    return panel if most is None else panel.max(most)


def lines(
    title: str,
    description: str,
    queries: Sequence[Query],
    unit: str,
    colours: Mapping[str, str] | None = None,
    *,
    floor: float | None = 0,
) -> timeseries.Panel:
    """Lines over time, bridging short gaps. `colours` by legend; what others are held against is dashed."""
    legend = common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.LIST)
    panel = (
        _common(timeseries.Panel(), title, description, queries, unit)
        .line_width(2)
        .fill_opacity(0)
        .show_points(VisibilityMode.NEVER)
        .span_nulls(BRIDGED)
        .legend(legend.placement(LegendPlacement.BOTTOM).calcs([]))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .color_scheme(FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
    )
    if floor is not None:
        panel = panel.min(floor)
    for name, colour in (colours or {}).items():
        panel = panel.override_by_name(name, [DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})])
    dashed = [
        DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 8]}),
        DynamicConfigValue("custom.lineWidth", 1),
    ]
    return panel.override_by_regexp("/^(limit|objective|usual|configured)/", dashed)


def stacked(panel: timeseries.Panel) -> timeseries.Panel:
    """Areas on top of each other, in steps: what is drawn adds up."""
    return (
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
        .fill_opacity(60)
        .line_width(0)
        .line_interpolation(LineInterpolation.STEP_AFTER)
    )


def bars(panel: timeseries.Panel) -> timeseries.Panel:
    """Bars instead of lines, on top of each other."""
    return (
        panel.draw_style(GraphDrawStyle.BARS)
        .fill_opacity(80)
        .stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    )


def timeline(
    title: str, description: str, queries: Sequence[Query], mapping: dashboard.ValueMapping
) -> statetimeline.Panel:
    """Lanes in which a state lasts until the next."""
    return (
        _common(statetimeline.Panel(), title, description, queries, "none")
        .mappings([mapping])
        .merge_values(True)
        .show_value(VisibilityMode.AUTO)
        .row_height(0.8)
        .fill_opacity(80)
        .line_width(0)
        .legend(
            common.VizLegendOptions()
            .show_legend(False)
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .calcs([])
        )
        .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .thresholds(_thresholds(((None, "text"),)))
    )


def listing(
    title: str,
    description: str,
    queries: Sequence[Query],
    columns: Mapping[str, str],
    overrides: Mapping[str, Mapping[str, object]],
    before: Sequence[dashboard.DataTransformerConfig] = (),
) -> table.Panel:
    """A table: queries merged by the labels they share. `columns` are kept, in this order, under these headings.

    A query that says something else than the others is made fit `before`.
    """
    panel = (
        _common(table.Panel(), title, description, queries, "none")
        .show_header(True)
        .thresholds(_thresholds(((None, "text"),)))
    )
    for transformation in (*before, dashboard.DataTransformerConfig("merge", options={})):
        panel = panel.with_transformation(transformation)
    order = {name: place for place, name in enumerate(columns)}
    only = {"include": {"names": list(columns)}}
    panel = panel.with_transformation(dashboard.DataTransformerConfig("filterFieldsByName", options=only))
    renamed = {"indexByName": order, "renameByName": dict(columns), "excludeByName": {}}
    panel = panel.with_transformation(dashboard.DataTransformerConfig("organize", options=renamed))
    panel = panel.override_by_regexp("/.*/", [DynamicConfigValue("noValue", "–")])
    for name, properties in overrides.items():
        panel = panel.override_by_name(name, [DynamicConfigValue(key, value) for key, value in properties.items()])
    return panel


def sort_by(heading: str, *, descending: bool = True) -> common.TableSortByFieldState:
    """Largest first, or smallest."""
    return common.TableSortByFieldState().display_name(heading).desc(descending)


def buckets(expression: str, bounds: Sequence[float], unit: str, factor: float) -> list[Query]:
    """How many values lie between bounds, one query each; `unit` times `factor` is what the expression is in."""
    names = [f"up to {bounds[0]:g} {unit}", *(f"{low:g} to {high:g} {unit}" for low, high in pairwise(bounds))]
    edges = [None, *(bound * factor for bound in bounds), None]
    return [
        instant(within(expression, low, high), name, ref)
        for (low, high), name, ref in zip(
            pairwise(edges), [*names, f"over {bounds[-1]:g} {unit}"], "ABCDEFGH", strict=False
        )
    ]


def words(told: Mapping[str, tuple[str, str]]) -> dashboard.ValueMapping:
    """Values shown as a text in a colour."""
    return dashboard.ValueMap(
        {
            value: dashboard.ValueMappingResult(text=text, color=colour, index=place)
            for place, (value, (text, colour)) in enumerate(told.items())
        }
    )


def spans(bounds: Sequence[float], told: Sequence[tuple[str, str]]) -> list[dict[str, object]]:
    """Ranges between bounds, each shown as a text in a colour; for an override."""
    return [
        {
            "type": "range",
            "options": {"from": low, "to": high, "result": {"text": text, "color": colour, "index": place}},
        }
        for place, ((low, high), (text, colour)) in enumerate(zip(pairwise(bounds), told, strict=True))
    ]


def area(panel: P, width: int, height: int) -> P:
    """How many of the 24 columns, and of the rows, it takes."""
    return panel.span(width).height(height)


def _common(panel: P, title: str, description: str, queries: Sequence[Query], unit: str) -> P:
    panel = panel.title(title).description(description).datasource(DATASOURCE).unit(unit)
    for query in queries:
        panel = panel.with_target(query)
    return panel


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def _thresholds(steps: Steps) -> ThresholdsConfig:
    return (
        ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([dashboard.Threshold(value, colour) for value, colour in steps])
    )
