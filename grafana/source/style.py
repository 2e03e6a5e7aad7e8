"""Colours and value mappings."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from grafana_foundation_sdk.models.dashboard import ValueMap, ValueMapping, ValueMappingResult

from exporter.facts.model import PollResult, RunStatus
from exporter.facts.snapshot import ProjectState
from exporter.verdict.rules import Protection

GREEN, ORANGE, RED, PURPLE, GREY, BLUE = "green", "orange", "red", "purple", "#8e8e99", "blue"
COLORED_TEXT = {"custom.cellOptions": {"type": "color-text"}}

STATE_COLORS: Mapping[str, str] = {
    Protection.UNPROTECTED: RED,
    Protection.AT_RISK: ORANGE,
    Protection.UNKNOWN: PURPLE,
    Protection.PROTECTED: GREEN,
    Protection.EXEMPT: GREY,
}
RUN_COLORS = {
    RunStatus.FAILED: RED,
    RunStatus.OVERDUE: ORANGE,
    RunStatus.SUCCESSFUL: GREEN,
    RunStatus.SKIPPED: GREY,
    RunStatus.RUNNING: BLUE,
    RunStatus.ENQUEUED: "light-blue",
    RunStatus.UNKNOWN: PURPLE,
}
POLL_RESULT_COLORS = {
    PollResult.SUCCESS: GREEN,
    PollResult.FORBIDDEN: RED,
    PollResult.UNAUTHENTICATED: "dark-red",
    PollResult.API_DISABLED: "light-red",
    PollResult.NOT_FOUND: "semi-dark-orange",
    PollResult.QUOTA: "yellow",
    PollResult.TIMEOUT: ORANGE,
    PollResult.UNREACHABLE: PURPLE,
    PollResult.SERVER_ERROR: "dark-purple",
    PollResult.BAD_RESPONSE: "light-purple",
}


PROJECT_STATE_COLORS = {
    ProjectState.READ.value: GREEN,
    ProjectState.EMPTY.value: GREY,
    ProjectState.API_DISABLED.value: BLUE,
    ProjectState.FAILING.value: RED,
}


def words(value: str) -> str:
    """Return a label value as words: at_risk is shown as "at risk"."""
    return value.replace("_", " ")


def value_mappings(texts: Mapping[str, tuple[str, str]]) -> ValueMapping:
    """Return mappings from values to text and colour."""
    return ValueMap(
        {
            value: ValueMappingResult(text=text, color=color, index=index)
            for index, (value, (text, color)) in enumerate(texts.items())
        }
    )


def range_mappings(bounds: Sequence[float], texts: Sequence[tuple[str, str]]) -> list[dict[str, object]]:
    """Return mappings from the ranges between `bounds` to text and colour, for an override."""
    return [
        {
            "type": "range",
            "options": {"from": low, "to": high, "result": {"text": text, "color": color, "index": index}},
        }
        for index, ((low, high), (text, color)) in enumerate(zip(pairwise(bounds), texts, strict=True))
    ]
