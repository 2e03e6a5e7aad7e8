"""Panels in the style of these dashboards. The functions are named after Grafana's visualizations.

`width` is in columns (a dashboard has 24), `height` in rows of the grid. `no_value` is shown instead of missing data.
"""
# ruff: noqa: PLR0913 (each call describes one panel, by keywords)

from collections.abc import Mapping, Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, statetimeline
from grafana_foundation_sdk.builders import stat as sdk_stat
from grafana_foundation_sdk.builders import table as sdk_table
from grafana_foundation_sdk.builders import timeseries as sdk_timeseries
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BarGaugeNamePlacement,
    BarGaugeSizing,
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
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
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    MatcherConfig,
    Threshold,
    ThresholdsMode,
    ValueMapping,
)

from grafana.source.queries import DATASOURCE, Query

MAX_GAP = 900_000  # milliseconds; lines connect points across shorter gaps
NO_RECORDED_DATA = "No data: no exporter is up, or the recording rules are not loaded"

P = TypeVar("P", sdk_stat.Panel, bargauge.Panel, sdk_timeseries.Panel, sdk_table.Panel, statetimeline.Panel)
Thresholds = Sequence[tuple[float | None, str]]  # lower bound and colour
UNCOLORED: Thresholds = ((None, "text"),)


def stat(
    title: str,
    description: str,
    query: Query,
    *,
    width: int,
    height: int,
    unit: str = "short",
    thresholds: Thresholds = UNCOLORED,
    decimals: int | None = None,
    no_value: str = "",
) -> sdk_stat.Panel:
    """Return a stat panel: one number, on a coloured background if there are thresholds."""
    mode = BigValueColorMode.BACKGROUND_SOLID if len(thresholds) > 1 else BigValueColorMode.VALUE
    panel = (
        _titled(sdk_stat.Panel(), title, description, [query], unit)
        .span(width)
        .height(height)
        .color_mode(mode)
        .graph_mode(BigValueGraphMode.NONE)
        .text_mode(BigValueTextMode.VALUE)
        .reduce_options(_last_value())
    )
    return _with_options(_with_thresholds(panel, thresholds), decimals, no_value)


def state_stat(
    title: str, description: str, query: Query, mappings: ValueMapping, *, width: int, height: int
) -> sdk_stat.Panel:
    """Return a stat panel that shows the state which a number stands for, on its colour."""
    panel = stat(title, description, query, width=width, height=height, unit="none").mappings([mappings])
    return panel.color_mode(BigValueColorMode.BACKGROUND_SOLID)


def bar_gauge(
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    width: int,
    height: int,
    unit: str = "short",
    thresholds: Thresholds,
    max_value: float | None = None,
    fill_height: bool = False,
    decimals: int | None = None,
    no_value: str = "",
) -> bargauge.Panel:
    """Return horizontal bars, each with name and value. With `fill_height` they share the height of the panel."""
    panel = (
        _titled(bargauge.Panel(), title, description, queries, unit)
        .span(width)
        .height(height)
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .name_placement(BarGaugeNamePlacement.LEFT)
        .sizing(BarGaugeSizing.AUTO if fill_height else BarGaugeSizing.MANUAL)
        .min_viz_height(12)
        .max_viz_height(24)
        .text(common.VizTextDisplayOptions().title_size(12).value_size(16))
        .reduce_options(_last_value())
        .min(0)
    )
    panel = panel if max_value is None else panel.max(max_value)
    return _with_options(_with_thresholds(panel, thresholds), decimals, no_value)


def timeseries(
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    width: int,
    height: int,
    unit: str,
    colors: Mapping[str, str] | None = None,
    dashed: Sequence[str] = (),
    stacked: bool = False,
    bars: bool = False,
    min_value: float | None = 0,
    soft_min: float | None = None,
    max_value: float | None = None,
    decimals: int | None = None,
    no_value: str = "",
) -> sdk_timeseries.Panel:
    """Return lines, stacked areas, or stacked bars over time. `colors` and `dashed` refer to series by legend."""
    legend = common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.LIST)
    panel = (
        _titled(sdk_timeseries.Panel(), title, description, queries, unit)
        .span(width)
        .height(height)
        .line_width(2)
        .fill_opacity(0)
        .show_points(VisibilityMode.NEVER)
        .span_nulls(MAX_GAP)
        .legend(legend.placement(LegendPlacement.BOTTOM).calcs([]))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .color_scheme(FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
    )
    panel = panel if min_value is None else panel.min(min_value)
    panel = panel if soft_min is None else panel.axis_soft_min(soft_min)
    panel = panel if max_value is None else panel.max(max_value)
    panel = _stacked(panel, bars=bars) if stacked or bars else panel
    return _with_options(_with_series_styles(panel, colors or {}, dashed), decimals, no_value)


def state_timeline(
    title: str, description: str, queries: Sequence[Query], mappings: ValueMapping, *, width: int, height: int
) -> statetimeline.Panel:
    """Return a state timeline: one lane per series."""
    legend = common.VizLegendOptions().show_legend(False).display_mode(LegendDisplayMode.LIST)
    panel = (
        _titled(statetimeline.Panel(), title, description, queries, "none")
        .span(width)
        .height(height)
        .mappings([mappings])
        .merge_values(True)
        .show_value(VisibilityMode.AUTO)
        .row_height(0.8)
        .fill_opacity(80)
        .line_width(0)
        .legend(legend.placement(LegendPlacement.BOTTOM).calcs([]))
    )
    return _with_thresholds(panel, UNCOLORED)


def table(
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    width: int,
    height: int,
    columns: Mapping[str, str],
    overrides: Mapping[str, Mapping[str, object]] | None = None,
    transformations: Sequence[DataTransformerConfig] = (),
    sort_by: str = "",
    descending: bool = True,
    no_value: str,
) -> sdk_table.Panel:
    """Return a table: queries merged by their common labels, after `transformations`.

    `columns` maps the fields to show, in order, to their headings. `overrides` are field options by heading.
    """
    fields = {"include": {"names": list(columns)}}
    order = {name: index for index, name in enumerate(columns)}
    organize = {"indexByName": order, "renameByName": dict(columns), "excludeByName": {}}
    panel = _titled(sdk_table.Panel(), title, description, queries, "none").span(width).height(height).show_header(True)
    panel = panel.thresholds(_thresholds(UNCOLORED))
    for transformation in (
        *transformations,
        DataTransformerConfig("merge", options={}),
        DataTransformerConfig("filterFieldsByName", options=fields),
        DataTransformerConfig("organize", options=organize),
    ):
        panel = panel.with_transformation(transformation)
    panel = panel.override_by_regexp("/.*/", [DynamicConfigValue("noValue", "–")])
    for heading, options in (overrides or {}).items():
        panel = panel.override_by_name(heading, [DynamicConfigValue(key, value) for key, value in options.items()])
    if sort_by:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(sort_by).desc(descending)])
    return panel.no_value(no_value)


def joined_values(label: str, ref: str) -> DataTransformerConfig:
    """Return a transformation that joins the values of a label, which query `ref` returns as one row each, by instance.

    The field of a table that contains them is `LABEL (uniqueValues)`.
    """
    fields = {
        "Time": {"operation": "groupby", "aggregations": []},  # without it an empty result cannot be merged
        "project": {"operation": "groupby", "aggregations": []},
        "instance_id": {"operation": "groupby", "aggregations": []},
        label: {"operation": "aggregate", "aggregations": ["uniqueValues"]},
    }
    return DataTransformerConfig("groupBy", options={"fields": fields}, filter_val=MatcherConfig("byRefId", ref))


def _titled(panel: P, title: str, description: str, queries: Sequence[Query], unit: str) -> P:
    panel = panel.title(title).description(description).datasource(DATASOURCE).unit(unit)
    for query in queries:
        panel = panel.with_target(query)
    return panel


def _with_options(panel: P, decimals: int | None, no_value: str) -> P:
    panel = panel if decimals is None else panel.decimals(decimals)
    return panel.no_value(no_value) if no_value else panel


def _with_thresholds(panel: P, thresholds: Thresholds) -> P:
    by_thresholds = FieldColor().mode(FieldColorModeId.THRESHOLDS)
    return panel.thresholds(_thresholds(thresholds)).color_scheme(by_thresholds)


def _thresholds(thresholds: Thresholds) -> ThresholdsConfig:
    steps = [Threshold(value, color) for value, color in thresholds]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _with_series_styles(
    panel: sdk_timeseries.Panel, colors: Mapping[str, str], dashed: Sequence[str]
) -> sdk_timeseries.Panel:
    for name, color in colors.items():
        panel = panel.override_by_name(name, [DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})])
    thin_dashes = [
        DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 8]}),
        DynamicConfigValue("custom.lineWidth", 1),
    ]
    for name in dashed:
        panel = panel.override_by_name(name, thin_dashes)
    return panel


def _stacked(panel: sdk_timeseries.Panel, *, bars: bool) -> sdk_timeseries.Panel:
    panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    if bars:
        return panel.draw_style(GraphDrawStyle.BARS).fill_opacity(80)
    return panel.fill_opacity(60).line_width(0).line_interpolation(LineInterpolation.STEP_AFTER)


def _last_value() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
