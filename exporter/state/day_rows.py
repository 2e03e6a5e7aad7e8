"""Rows of the daily record: one instance on one day as 24 bytes, and back. Pure."""

import struct

from exporter.facts.daily import InstanceDay
from exporter.facts.model import RunStatus

# state, outcome, within policy, windows closed, window closes, recovery point, worst age, observed from, observed until
_ROW = struct.Struct("<BBbBiIiii")
_NONE = -1
# Saved rows contain positions in these two: append, never reorder.
_STATES = ("unprotected", "unknown", "at_risk", "protected", "exempt")
_OUTCOMES = (
    None,
    RunStatus.FAILED,
    RunStatus.OVERDUE,
    RunStatus.UNKNOWN,
    RunStatus.RUNNING,
    RunStatus.ENQUEUED,
    RunStatus.SKIPPED,
    RunStatus.SUCCESSFUL,
)


def encode(day: InstanceDay) -> bytes:
    """One instance on one day."""
    return _ROW.pack(
        _STATES.index(day.state),
        _OUTCOMES.index(day.outcome),
        _NONE if day.within_policy is None else day.within_policy,
        min(day.windows_closed, 255),
        _NONE if day.window_closes is None else day.window_closes,
        day.recovery_point or 0,
        _NONE if day.worst_age is None else day.worst_age,
        day.observed_from,
        _NONE if day.observed_until is None else day.observed_until,
    )


def decode(body: bytes) -> InstanceDay:
    """One instance on one day. Raises ValueError for a damaged row."""
    try:
        state, outcome, within, windows, closes, point, age, observed_from, until = _ROW.unpack(body)
        return InstanceDay(
            state=_STATES[state],
            outcome=_OUTCOMES[outcome],
            within_policy=None if within == _NONE else bool(within),
            window_closes=None if closes == _NONE else closes,
            windows_closed=windows,
            recovery_point=point or None,
            worst_age=None if age == _NONE else age,
            observed_from=observed_from,
            observed_until=None if until == _NONE else until,
        )
    except (struct.error, IndexError) as error:
        raise ValueError(f"damaged daily record: {error}") from error
