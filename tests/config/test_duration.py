"""Durations: Prometheus syntax in the configuration, two units in texts."""

from datetime import timedelta

import pytest

from exporter.config import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("26h", 93600), ("7d", 604800), ("1w", 604800), ("1h30m", 5400), ("250ms", 0.25)],
)
def test_durations_use_prometheus_syntax(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("value", ["", "5", "5 m", "m", "-5m", "1.5h", "30m1h", "5min", None, 5, True, "999999999y"])
def test_invalid_duration_is_rejected(value: object) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (3600, "1h"), (97200, "1d 3h"), (97261, "1d 3h"), (72001, "20h"), (-90, "-1m 30s")],
)
def test_durations_are_formatted_in_two_units(seconds: int, text: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == text
