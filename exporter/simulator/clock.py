"""Time in a simulated world: it begins at a given moment and runs at a chosen speed."""

import time
from datetime import datetime, timedelta


class SimulatedClock:
    """Called, it says what time it is in the world. A speed of 1440 passes a day in a minute; 0 stands still."""

    def __init__(self, start: datetime, speed: float = 1.0) -> None:
        """Begin at `start`, an aware UTC moment."""
        self.start, self.speed = start, speed
        self._origin = time.monotonic()

    def __call__(self) -> datetime:
        """What time it is."""
        return self.start + timedelta(seconds=(time.monotonic() - self._origin) * self.speed)

    def advance(self, span: timedelta) -> None:
        """Leap forward."""
        self.start += span
