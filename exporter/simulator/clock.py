"""Clock of a simulated world: starts at a given time and runs at a chosen speed."""

import time
from datetime import datetime, timedelta


class SimulatedClock:
    """A callable that returns the current time of the world. With speed 1440 a day passes per minute; 0 stops time."""

    def __init__(self, start: datetime, speed: float = 1.0) -> None:
        """Start at `start`, an aware UTC datetime."""
        self.start, self.speed = start, speed
        self._origin = time.monotonic()

    def __call__(self) -> datetime:
        """Return the current time of the world."""
        return self.start + timedelta(seconds=(time.monotonic() - self._origin) * self.speed)

    def advance(self, span: timedelta) -> None:
        """Move the clock forward."""
        self.start += span
