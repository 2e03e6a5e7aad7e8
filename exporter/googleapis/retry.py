"""Client-side rate limiting, retries with exponential backoff, and a deadline for every API call."""

import random
import threading
import time
from collections.abc import Callable
from copy import copy
from typing import Protocol, TypeVar

from exporter.facts.model import PollResult
from exporter.googleapis.permissions import BACKUP_DR_METHODS
from exporter.scan.source import SourceError

T = TypeVar("T")

MAX_ATTEMPTS = 4
MAX_BACKGROUND_ATTEMPTS = 2
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


Wait = Callable[[float], None]  # waits for some seconds, or raises SourceError


class Limiter(Protocol):
    """A rate limit that adapts to responses."""

    def acquire(self, wait: Wait) -> None:
        """Wait until a request may be sent."""

    def slow_down(self) -> None:
        """Lower the rate, after a response that the quota is exceeded."""

    def recover(self) -> None:
        """Return towards the configured rate by a small step, after a successful request."""


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

    @property
    def next_slot(self) -> float:
        """When the next request may be sent, on the monotonic clock; in the past if the slot before it was not used."""
        return self._next

    def acquire(self, wait: Wait) -> None:
        """Wait for the next slot."""
        wait(self.reserve())

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


class UnusedSlots:
    """The slots that other requests left unused, for requests that must never delay them. Thread-safe.

    A slot is taken after it has passed, and does not move the next one: other requests wait no longer than without
    these, and both together do not exceed the rate limit. A quota that only these exceed slows down only these.
    """

    def __init__(self, rate_limiter: RateLimiter) -> None:
        """`rate_limiter` is that of the other requests."""
        self._rate_limiter = rate_limiter
        self._interval = 60 / rate_limiter.requests_per_minute
        self._slowdown = 1.0
        self._next = time.monotonic()
        self._lock = threading.Lock()

    def acquire(self, wait: Wait) -> None:
        """Wait for an unused slot, however long others need all of them."""
        while (delay := self.take()) > 0:
            wait(delay)

    def slow_down(self) -> None:
        """Halve the rate of these requests, after a response that the quota is exceeded."""
        with self._lock:
            self._slowdown = min(self._slowdown * 2, MAX_SLOWDOWN)

    def recover(self) -> None:
        """Return towards the configured rate by a small step, after a successful request."""
        with self._lock:
            self._slowdown = max(self._slowdown * RECOVERY_FACTOR, 1.0)

    def take(self) -> float:
        """Take the slot that has just passed unused, and return 0; else the seconds after which to try again."""
        with self._lock:
            now = time.monotonic()
            delay = max(self._next, self._rate_limiter.next_slot) - now
            if delay <= 0:
                self._next = now + self._interval * self._slowdown
            return max(delay, 0.0)


class OwnQuota:
    """The rate limit of the process for an API with a quota of its own. Safe to share between threads.

    A response that this quota is exceeded slows down these requests, and no others.
    """

    def __init__(self, rate_limiter: RateLimiter) -> None:
        self._shared = rate_limiter
        self._own = RateLimiter(rate_limiter.requests_per_minute)

    def acquire(self, wait: Wait) -> None:
        """Wait for the next slot of both."""
        wait(max(self._shared.reserve(), self._own.reserve()))

    def slow_down(self) -> None:
        """Halve the rate of these requests."""
        self._own.slow_down()

    def recover(self) -> None:
        """Return towards the configured rate by a small step."""
        self._own.recover()


class Retrying:
    """Runs requests under the rate limit and retries transient errors. Safe to share between threads."""

    def __init__(
        self,
        rate_limiter: RateLimiter,
        stop: threading.Event,
        on_retry: Callable[[str], None],
        *,
        background: bool = False,
    ) -> None:
        """`stop` ends every wait; `on_retry` is called with the method of each request that is retried.

        Requests in the `background` use only slots that others leave unused, and are retried once.
        """
        self._rate_limiter, self._stop, self._on_retry = rate_limiter, stop, on_retry
        self._limiter: Limiter = UnusedSlots(rate_limiter) if background else rate_limiter
        self._max_attempts = MAX_BACKGROUND_ATTEMPTS if background else MAX_ATTEMPTS

    def in_background(self) -> "Retrying":
        """The same for requests in the background."""
        return Retrying(self._rate_limiter, self._stop, self._on_retry, background=True)

    def with_own_quota(self) -> "Retrying":
        """The same for requests to an API whose quota is another than that of polls."""
        retrying = copy(self)
        retrying._limiter = OwnQuota(self._rate_limiter)
        return retrying

    def call(self, method: str, request: Callable[[], T], deadline: float) -> T:
        """Run a request under the rate limit; retry transient errors until `deadline`, on the monotonic clock.

        Raises the last SourceError.
        """
        for attempt in range(1, self._max_attempts + 1):
            self._limiter.acquire(self._wait)
            try:
                response = request()
            except SourceError as error:
                if error.result is PollResult.QUOTA and method not in BACKUP_DR_METHODS:
                    self._limiter.slow_down()
                delay = max(error.retry_after or 0, _backoff(attempt))
                transient = error.transient or (error.result in TRANSIENT and not error.denied)
                if not transient or attempt == self._max_attempts:
                    raise
                if time.monotonic() + delay >= deadline:
                    raise
                self._wait(delay)
                self._on_retry(method)
            else:
                self._limiter.recover()
                return response
        raise AssertionError("the last attempt returns or raises")

    def _wait(self, seconds: float) -> None:
        if seconds > 0 and self._stop.wait(seconds):
            raise SourceError(PollResult.UNREACHABLE, "the exporter is stopping")


def _backoff(attempt: int) -> float:
    limit = min(INITIAL_BACKOFF * 2 ** (attempt - 1), MAX_BACKOFF)
    return random.uniform(limit / 2, limit)  # nosec B311 # noqa: S311 (jitter, not a secret)
