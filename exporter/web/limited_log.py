"""A log for what clients can cause at will."""

import asyncio
import logging

FIRST = 5  # messages that are logged one by one
PERIOD = 60.0  # seconds


class LimitedLog:
    """Logs the first messages one by one, then their number once a minute, until a minute passes without any."""

    def __init__(self, log: logging.Logger, message: str, loop: asyncio.AbstractEventLoop) -> None:
        """Return a log of one message; its methods are called in the thread of the event loop."""
        self._log, self._message, self._loop = log, message, loop
        self._logged = self._unlogged = 0
        self._timer: asyncio.TimerHandle | None = None

    def warning(self, **fields: object) -> None:
        """Log a warning."""
        if self._is_next():
            self._log.warning(self._message, extra=fields)

    def exception(self) -> None:
        """Log the exception that is being handled, with its traceback."""
        if self._is_next():
            self._log.exception(self._message)

    def flush(self) -> None:
        """Log the number of messages since the last one."""
        if self._unlogged:
            self._log.warning("%s: %d more", self._message, self._unlogged)
        self._unlogged = 0

    def _is_next(self) -> bool:
        """Whether to log a message; count it if not."""
        if self._timer is None:
            self._timer = self._loop.call_later(PERIOD, self._end_period)
        if self._logged < FIRST:
            self._logged += 1
            return True
        self._unlogged += 1
        return False

    def _end_period(self) -> None:
        if self._unlogged:
            self._timer = self._loop.call_later(PERIOD, self._end_period)
        else:
            self._timer, self._logged = None, 0
        self.flush()
