"""Client-side rate limiting, retries with exponential backoff, and a deadline for every API call."""

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from exporter.facts.model import PollResult
from exporter.googleapis.permissions import BACKUP_DR_METHODS
from exporter.scan.source import SourceError

T = TypeVar("T")

MAX_ATTEMPTS = 4
INITIAL_BACKOFF, MAX_BACKOFF = 1.0, 32.0  # seconds, with jitter: the delay is drawn from half to all of it
MAX_SLOWDOWN = 16.0  # times the configured interval between requests
RECOVERY_FACTOR = 0.95  # applied to the slowdown by every successful request
TRANSIENT = frozenset(
    {
        PollResult.QUOTA,
        PollResult.SERVER_ERROR,
        PollResult.TIMEOUT,
        PollResult.UNREACHABLE,
        PollResult.BAD_RESPONSE,
    }
)


class RateLimiter:
    """Spaces the requests of the process evenly, without bursts. Safe to share between threads."""

    def __init__(self, requests_per_minute: int) -> None:
        self.requests_per_minute = requests_per_minute
        self._interval = 60 / requests_per_minute
        self._slowdown = 1.0
        self._next = time.monotonic()
        self._lock = threading.Lock()

    @property
    def current_rate(self) -> float:
        """Requests per minute at present: fewer than configured after responses that the quota is exceeded."""
        return self.requests_per_minute / self._slowdown

    def reserve(self) -> float:
        """Reserve the next slot; returns the seconds until then."""
        with self._lock:
            now = time.monotonic()
            slot = max(self._next, now)
            self._next = slot + self._interval * self._slowdown
            return slot - now

    def slow_down(self) -> None:
        """Halve the rate, after a response that the quota is exceeded."""
        with self._lock:
            self._slowdown = min(self._slowdown * 2, MAX_SLOWDOWN)

    def recover(self) -> None:
        """Return towards the configured rate by a small step, after a successful request."""
        with self._lock:
            self._slowdown = max(self._slowdown * RECOVERY_FACTOR, 1.0)


class Retrying:
    """Runs requests under the rate limit and retries transient errors. Safe to share between threads."""

    def __init__(self, rate_limiter: RateLimiter, stop: threading.Event, on_retry: Callable[[str], None]) -> None:
        """`stop` ends every wait; `on_retry` is called with the method of each request that is retried."""
        self._rate_limiter, self._stop, self._on_retry = rate_limiter, stop, on_retry

    def call(self, method: str, request: Callable[[], T], deadline: float) -> T:
        """Run a request under the rate limit; retry transient errors until `deadline`, on the monotonic clock.

        Raises the last SourceError.
        """
        for attempt in range(1, MAX_ATTEMPTS + 1):
            self._wait(self._rate_limiter.reserve())
            try:
                response = request()
            except SourceError as error:
                if error.result is PollResult.QUOTA and method not in BACKUP_DR_METHODS:
                    self._rate_limiter.slow_down()
                delay = max(error.retry_after or 0, _backoff(attempt))
                transient = error.transient or (error.result in TRANSIENT and not error.denied)
                if not transient or attempt == MAX_ATTEMPTS:
                    raise
                if time.monotonic() + delay >= deadline:
                    raise
                self._wait(delay)
                self._on_retry(method)
            else:
                self._rate_limiter.recover()
                return response
        raise AssertionError("the last attempt returns or raises")

    def _wait(self, seconds: float) -> None:
        if seconds > 0 and self._stop.wait(seconds):
            raise SourceError(PollResult.UNREACHABLE, "the exporter is stopping")


def _backoff(attempt: int) -> float:
    limit = min(INITIAL_BACKOFF * 2 ** (attempt - 1), MAX_BACKOFF)
    return random.uniform(limit / 2, limit)  # nosec B311 # noqa: S311 (jitter, not a secret)
