"""Durations as Prometheus writes them: `90s`, `5m`, `26h`, `7d`, `1h30m`."""

import re
from datetime import timedelta

_UNITS = {
    "y": timedelta(days=365),
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_DURATION = re.compile("".join(rf"(?:(\d{{1,9}}){unit})?" for unit in _UNITS))
_LONGEST = timedelta(days=365 * 100)


def parse_duration(text: object) -> timedelta:
    """Read a duration; each unit at most once, largest first. Raises ValueError, saying what is expected."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if not match or not text:
        hint = f"; did you mean {text}s?" if isinstance(text, int) and not isinstance(text, bool) else ""
        raise ValueError(f"must be a duration such as 90s, 5m, 26h, 7d or 1h30m{hint}")
    parts = zip(match.groups(), _UNITS.values(), strict=True)
    seconds = sum(int(amount) * unit.total_seconds() for amount, unit in parts if amount)
    if seconds > _LONGEST.total_seconds():
        raise ValueError("must be a duration of at most 100y")
    return timedelta(seconds=seconds)


def exact_duration(duration: timedelta) -> str:
    """Format a duration that is not negative as `parse_duration` reads it, to the millisecond: `1h30m`, `7d`, `0s`."""
    rest, parts = duration, []
    for unit, length in list(_UNITS.items())[2:]:  # days are the largest unit that everyone reads alike
        amount, rest = divmod(rest, length)
        parts += [f"{amount}{unit}"] if amount else []
    return "".join(parts) or "0s"


def format_duration(duration: timedelta) -> str:
    """Format a duration for people, in its two largest units: `3d 4h`, `26m`, `0s`."""
    seconds = round(abs(duration.total_seconds()))
    amounts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    largest = next((index for index, (amount, _) in enumerate(amounts) if amount), len(amounts) - 1)
    parts = [f"{amount}{unit}" for amount, unit in amounts[largest : largest + 2] if amount]
    return ("-" if duration < timedelta() and parts else "") + (" ".join(parts) or "0s")
