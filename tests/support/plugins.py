"""A parser of the output of monitoring plugins, by the Plugin API of Nagios and the development guidelines.

The first line is text, optionally followed by `|` and performance data; further lines are details, which end at another
`|`. Performance data is `'label'=value[unit];[warn];[crit];[min];[max]`, separated by spaces.
"""

import re
from dataclasses import dataclass

_NUMBER = r"-?\d+(?:\.\d+)?"
_RANGE = rf"@?(?:(?:~|{_NUMBER})?:)?(?:{_NUMBER})?"
_ITEM = re.compile(
    rf"(?P<label>'(?:[^'=]|'')+'|[^\s'=]+)=(?P<value>{_NUMBER}|U)(?P<unit>us|ms|s|%|[KMGT]?B|c)?"
    rf"(?:;(?P<warning>{_RANGE})(?:;(?P<critical>{_RANGE})(?:;(?P<minimum>{_NUMBER})?(?:;(?P<maximum>{_NUMBER})?)?)?)?)?"
)


@dataclass(frozen=True)
class PerformanceValue:
    """One item of performance data, as text; empty where it is not given."""

    value: str
    unit: str
    warning: str
    critical: str
    minimum: str
    maximum: str


@dataclass(frozen=True)
class PluginOutput:
    """The parts of the output of a plugin."""

    text: str
    performance: dict[str, PerformanceValue]
    details: list[str]


def parse_output(output: str) -> PluginOutput:
    """Parse the output of a plugin. Raises ValueError where it breaks the convention."""
    first, *details = output.removesuffix("\n").split("\n")
    text, separator, data = first.partition("|")
    if not re.match(r"[A-Z ]+ (OK|WARNING|CRITICAL|UNKNOWN): \S", text):
        raise ValueError(f"not SERVICE STATUS: text: {text!r}")
    if any("|" in line for line in (data, *details)):
        raise ValueError("a second |")
    if not all(line.isprintable() for line in (first, *details)):
        raise ValueError("control characters")
    return PluginOutput(text.rstrip(), _performance(data) if separator else {}, details)


def _performance(data: str) -> dict[str, PerformanceValue]:
    values: dict[str, PerformanceValue] = {}
    position, data = 0, data.strip()
    while position < len(data):
        item = _ITEM.match(data, position)
        if not item or (item.end() < len(data) and data[item.end()] != " "):
            raise ValueError(f"not performance data: {data[position:]!r}")
        parts = item.groupdict(default="")
        label = parts.pop("label").strip("'").replace("''", "'")
        if label in values:
            raise ValueError(f"{label} is given twice")
        values[label] = PerformanceValue(**parts)
        position = item.end() + 1
    return values
