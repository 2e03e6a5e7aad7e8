"""How the API is asked: at an even pace, slower after a 429, again after passing trouble, and never for too long."""

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from exporter.model import PollResult
from exporter.scan import SourceError

T = TypeVar("T")

ATTEMPTS = 4
FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 32.0  # seconds; each is drawn from half to the whole of its length
SLOWEST = 16.0  # times the configured interval between requests
RECOVERY = 0.95  # what an undisturbed request leaves of the slowing
PASSING = frozenset(
    {
        PollResult.QUOTA,
        PollResult.SERVER_ERROR,
        PollResult.TIMEOUT,
        PollResult.UNREACHABLE,
        PollResult.BAD_RESPONSE,
    }
)


class Pacer:
    """Gives every request of the process a turn of its own, evenly apart: no bursts."""

    def __init__(self, requests_per_minute: int) -> None:
        self._interval = 60 / requests_per_minute
        self._slowing = 1.0
        self._next = time.monotonic()
        self._lock = threading.Lock()

    def turn(self) -> float:
        """Take the next turn; how many seconds it is away."""
        with self._lock:
            now = time.monotonic()
            turn = max(self._next, now)
            self._next = turn + self._interval * self._slowing
            return turn - now

    def slower(self) -> None:
        """The API asked for less."""
        with self._lock:
            self._slowing = min(self._slowing * 2, SLOWEST)

    def undisturbed(self) -> None:
        """A request was answered: come back to the configured pace, little by little."""
        with self._lock:
            self._slowing = max(self._slowing * RECOVERY, 1.0)


class Manners:
    """Asks as one should. Shared by all threads of a poller."""

    def __init__(self, pacer: Pacer, stop: threading.Event, retried: Callable[[str], None]) -> None:
        """`stop` ends every waiting; `retried` is told the method of each request that is made again."""
        self._pacer, self._stop, self._retried = pacer, stop, retried

    def ask(self, method: str, request: Callable[[], T], until: float) -> T:
        """Make a request in its turn, and again while its trouble is of the passing kind and there is time.

        `until` is a moment of the monotonic clock. Raises the last SourceError.
        """
        for attempt in range(1, ATTEMPTS + 1):
            self._wait(self._pacer.turn())
            try:
                answer = request()
            except SourceError as error:
                if error.result is PollResult.QUOTA:
                    self._pacer.slower()
                pause = max(error.retry_after or 0, _backoff(attempt))
                if error.result not in PASSING or error.refused or attempt == ATTEMPTS:
                    raise
                if time.monotonic() + pause >= until:
                    raise
                self._wait(pause)
                self._retried(method)
            else:
                self._pacer.undisturbed()
                return answer
        raise AssertionError("the last attempt returns or raises")

    def _wait(self, seconds: float) -> None:
        if seconds > 0 and self._stop.wait(seconds):
            raise SourceError(PollResult.UNREACHABLE, "the exporter is stopping")


def _backoff(attempt: int) -> float:
    longest = min(FIRST_BACKOFF * 2 ** (attempt - 1), LONGEST_BACKOFF)
    return random.uniform(longest / 2, longest)  # noqa: S311 (spreads load, keeps no secret)
