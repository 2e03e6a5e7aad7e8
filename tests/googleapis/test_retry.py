"""Pace, retries, patience; with a clock of the test's own, so that nothing waits."""

import threading
from collections.abc import Callable

import pytest

from exporter.facts.model import PollResult
from exporter.googleapis.retry import RateLimiter, Retrying
from exporter.scan.source import SourceError


class Time(threading.Event):
    """A monotonic clock that waiting moves on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.now += timeout
        return self.is_set()


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr("exporter.googleapis.retry.time.monotonic", lambda: time.now)
    monkeypatch.setattr("exporter.googleapis.retry.random.uniform", lambda low, high: (low + high) / 2)
    return time


def request_with(*outcomes: PollResult | float | str) -> Callable[[], str]:
    """A request that meets these outcomes in turn; a number is a quota error with that Retry-After."""
    left = list(outcomes)

    def request() -> str:
        outcome = left.pop(0)
        if isinstance(outcome, PollResult):
            raise SourceError(outcome, "trouble", denied=outcome is PollResult.FORBIDDEN)
        if isinstance(outcome, float):
            raise SourceError(PollResult.QUOTA, "too many", retry_after=outcome)
        return outcome

    return request


def retrying(time: Time, per_minute: int = 60_000) -> tuple[Retrying, list[str]]:
    retried: list[str] = []
    return Retrying(RateLimiter(per_minute), time, retried.append), retried


def test_requests_are_evenly_apart_and_idle_time_earns_no_burst(time: Time) -> None:
    polite, _ = retrying(time, per_minute=60)
    time.now += 3600
    for _ in range(4):
        polite.call("m", request_with("fine"), deadline=9e9)
    assert time.waits == [1, 1, 1]


def test_a_429_halves_the_pace_and_it_recovers_little_by_little(time: Time) -> None:
    polite, _ = retrying(time, per_minute=60)
    with pytest.raises(SourceError):
        polite.call("m", request_with(PollResult.QUOTA), deadline=0)
    gaps = []
    for _ in range(40):
        before = time.now
        polite.call("m", request_with("fine"), deadline=9e9)
        gaps.append(time.now - before)
    assert gaps[0] == 1  # the turn after the refused request was given before it
    assert gaps[1] == pytest.approx(2.0, rel=0.06)
    assert gaps[1:] == sorted(gaps[1:], reverse=True)
    assert gaps[-1] == 1


@pytest.mark.parametrize(
    "result",
    [
        PollResult.QUOTA,
        PollResult.SERVER_ERROR,
        PollResult.TIMEOUT,
        PollResult.UNREACHABLE,
        PollResult.BAD_RESPONSE,
    ],
)
def test_passing_trouble_is_asked_again_with_growing_pauses(time: Time, result: PollResult) -> None:
    polite, retried = retrying(time)
    assert polite.call("m", request_with(result, result, result, "fine"), deadline=9e9) == "fine"
    assert [wait for wait in time.waits if wait > 0.5] == [0.75, 1.5, 3.0]
    assert retried == ["m"] * 3


@pytest.mark.parametrize("result", [PollResult.UNAUTHENTICATED, PollResult.FORBIDDEN, PollResult.API_DISABLED])
def test_lasting_trouble_is_not(time: Time, result: PollResult) -> None:
    polite, retried = retrying(time)
    with pytest.raises(SourceError):
        polite.call("m", request_with(result, "fine"), deadline=9e9)
    assert retried == []


def test_retry_after_is_honoured(time: Time) -> None:
    polite, _ = retrying(time)
    polite.call("m", request_with(17.0, "fine"), deadline=9e9)
    assert 17.0 in time.waits


def test_nobody_waits_beyond_the_polls_time(time: Time) -> None:
    polite, retried = retrying(time)
    with pytest.raises(SourceError, match="too many"):
        polite.call("m", request_with(17.0, "fine"), deadline=time.now + 17)
    assert retried == []


def test_a_retry_after_of_nothing_is_no_leave_to_press_on(time: Time) -> None:
    polite, _ = retrying(time)
    polite.call("m", request_with(0.0, "fine"), deadline=9e9)
    assert 0.75 in time.waits


def test_the_last_of_four_attempts_is_the_last(time: Time) -> None:
    polite, retried = retrying(time)
    with pytest.raises(SourceError):
        polite.call("m", request_with(*[PollResult.TIMEOUT] * 4, "fine"), deadline=9e9)
    assert len(retried) == 3


def test_stopping_ends_every_wait(time: Time) -> None:
    polite, _ = retrying(time)
    time.set()
    with pytest.raises(SourceError, match="stopping"):
        polite.call("m", request_with(PollResult.TIMEOUT, "fine"), deadline=9e9)
