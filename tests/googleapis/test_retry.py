"""Rate limit, retries, backoff and deadline, on a fake clock: nothing sleeps."""

import threading
from collections.abc import Callable

import pytest

from exporter.facts.model import PollResult
from exporter.googleapis.retry import RateLimiter, Retrying, UnusedSlots
from exporter.scan.source import SourceError


class FakeClock(threading.Event):
    """A monotonic clock that every wait advances; also the stop event."""

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
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr("exporter.googleapis.retry.time.monotonic", lambda: clock.now)
    monkeypatch.setattr("exporter.googleapis.retry.random.uniform", lambda low, high: (low + high) / 2)
    return clock


def request_returning(*outcomes: PollResult | float | str) -> Callable[[], str]:
    """A request with these outcomes in turn; a number is a quota error with that Retry-After."""
    remaining = list(outcomes)

    def request() -> str:
        outcome = remaining.pop(0)
        if isinstance(outcome, PollResult):
            raise SourceError(outcome, "error", denied=outcome is PollResult.FORBIDDEN)
        if isinstance(outcome, float):
            raise SourceError(PollResult.QUOTA, "too many", retry_after=outcome)
        return outcome

    return request


def build_retrying(clock: FakeClock, per_minute: int = 60_000) -> tuple[Retrying, list[str]]:
    retried: list[str] = []
    return Retrying(RateLimiter(per_minute), clock, retried.append), retried


def test_requests_are_evenly_spaced_without_burst_after_idle_time(clock: FakeClock) -> None:
    retrying, _ = build_retrying(clock, per_minute=60)
    clock.now += 3600
    for _ in range(4):
        retrying.call("m", request_returning("response"), deadline=9e9)
    assert clock.waits == [1, 1, 1]


def test_429_halves_the_rate_and_successes_restore_it_gradually(clock: FakeClock) -> None:
    retrying, _ = build_retrying(clock, per_minute=60)
    with pytest.raises(SourceError):
        retrying.call("m", request_returning(PollResult.QUOTA), deadline=0)
    intervals = []
    for _ in range(40):
        before = clock.now
        retrying.call("m", request_returning("response"), deadline=9e9)
        intervals.append(clock.now - before)
    assert intervals[0] == 1  # this slot was reserved before the 429
    assert intervals[1] == pytest.approx(2.0, rel=0.06)
    assert intervals[1:] == sorted(intervals[1:], reverse=True)
    assert intervals[-1] == 1


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
def test_transient_errors_are_retried_with_exponential_backoff(clock: FakeClock, result: PollResult) -> None:
    retrying, retried = build_retrying(clock)
    assert retrying.call("m", request_returning(result, result, result, "response"), deadline=9e9) == "response"
    assert [wait for wait in clock.waits if wait > 0.5] == [0.75, 1.5, 3.0]
    assert retried == ["m"] * 3


@pytest.mark.parametrize("result", [PollResult.UNAUTHENTICATED, PollResult.FORBIDDEN, PollResult.API_DISABLED])
def test_permanent_errors_are_not_retried(clock: FakeClock, result: PollResult) -> None:
    retrying, retried = build_retrying(clock)
    with pytest.raises(SourceError):
        retrying.call("m", request_returning(result, "response"), deadline=9e9)
    assert retried == []


def test_429_is_retried_after_retry_after(clock: FakeClock) -> None:
    retrying, _ = build_retrying(clock)
    retrying.call("m", request_returning(17.0, "response"), deadline=9e9)
    assert 17.0 in clock.waits


def test_request_is_not_retried_beyond_the_deadline(clock: FakeClock) -> None:
    retrying, retried = build_retrying(clock)
    with pytest.raises(SourceError, match="too many"):
        retrying.call("m", request_returning(17.0, "response"), deadline=clock.now + 17)
    assert retried == []


def test_retry_after_zero_still_backs_off(clock: FakeClock) -> None:
    retrying, _ = build_retrying(clock)
    retrying.call("m", request_returning(0.0, "response"), deadline=9e9)
    assert 0.75 in clock.waits


def test_request_is_attempted_at_most_four_times(clock: FakeClock) -> None:
    retrying, retried = build_retrying(clock)
    with pytest.raises(SourceError):
        retrying.call("m", request_returning(*[PollResult.TIMEOUT] * 4, "response"), deadline=9e9)
    assert len(retried) == 3


def test_stop_ends_every_wait(clock: FakeClock) -> None:
    retrying, _ = build_retrying(clock)
    clock.set()
    with pytest.raises(SourceError, match="stopping"):
        retrying.call("m", request_returning(PollResult.TIMEOUT, "response"), deadline=9e9)


def test_429_of_backup_and_dr_does_not_slow_other_requests_down(clock: FakeClock) -> None:
    limiter = RateLimiter(60)
    retrying = Retrying(limiter, clock, lambda _method: None)
    for method, rate in (("backupPlans.list", 60), ("instances.list", 30)):
        with pytest.raises(SourceError):
            retrying.call(method, request_returning(PollResult.QUOTA), deadline=clock.now)
        assert limiter.current_rate == rate


def test_the_current_rate_is_halved_by_a_quota_error_and_returns_to_the_configured_one(clock: FakeClock) -> None:
    rate_limiter = RateLimiter(60)
    assert rate_limiter.current_rate == 60
    rate_limiter.slow_down()
    assert rate_limiter.current_rate == 30
    for _ in range(100):
        rate_limiter.recover()
    assert rate_limiter.current_rate == 60
    assert clock.waits == []


def test_request_in_the_background_takes_the_slot_that_passed_unused(clock: FakeClock) -> None:
    rate_limiter = RateLimiter(60)
    retrying = Retrying(rate_limiter, clock, lambda _method: None)
    background = retrying.in_background()
    retrying.call("m", request_returning("response"), deadline=9e9)
    background.call("m", request_returning("response"), deadline=9e9)
    assert clock.waits == [1]
    assert rate_limiter.reserve() == 0  # it waits no longer for the request in the background


def test_requests_in_the_background_wait_as_long_as_others_need_every_slot(clock: FakeClock) -> None:
    rate_limiter = RateLimiter(60)
    slots = UnusedSlots(rate_limiter)
    for _ in range(100):
        clock.now += rate_limiter.reserve() + 0.5  # each request is sent half a second after the one before
        assert slots.take() > 0
    clock.now += 1
    assert slots.take() == 0
    assert slots.take() == pytest.approx(1)


def test_both_together_stay_within_the_rate_limit(clock: FakeClock) -> None:
    """Others send as much as they can for 20 seconds, then nothing for as long."""
    rate_limiter = RateLimiter(60)
    slots = UnusedSlots(rate_limiter)
    sent: list[float] = []
    last = 0.0
    for _ in range(3000):
        if clock.now % 40 < 20 and last <= clock.now:
            last = clock.now + rate_limiter.reserve()
            sent.append(last)
        if slots.take() == 0:
            sent.append(clock.now)
        clock.now += 0.2
    assert len(sent) == pytest.approx(600, rel=0.1)
    sent.sort()
    assert max(sum(start <= at < start + 60 for at in sent) for start in sent) <= 61


def test_429_in_the_background_slows_down_only_the_background(clock: FakeClock) -> None:
    rate_limiter = RateLimiter(60)
    background = Retrying(rate_limiter, clock, lambda _method: None).in_background()
    with pytest.raises(SourceError):
        background.call("m", request_returning(PollResult.QUOTA), deadline=0)
    assert rate_limiter.current_rate == 60
    background.call("m", request_returning("response"), deadline=9e9)
    clock.waits.clear()
    background.call("m", request_returning("response"), deadline=9e9)
    assert clock.waits == [2]


def test_request_in_the_background_is_retried_once(clock: FakeClock) -> None:
    retrying, retried = build_retrying(clock)
    with pytest.raises(SourceError):
        retrying.in_background().call("m", request_returning(*[PollResult.TIMEOUT] * 2, "response"), deadline=9e9)
    assert retried == ["m"]


def test_stop_ends_the_wait_for_an_unused_slot(clock: FakeClock) -> None:
    rate_limiter = RateLimiter(60)
    background = Retrying(rate_limiter, clock, lambda _method: None).in_background()
    rate_limiter.reserve()
    clock.set()
    with pytest.raises(SourceError, match="stopping"):
        background.call("m", request_returning("response"), deadline=9e9)


def test_quota_of_another_api_slows_down_only_its_own_requests(clock: FakeClock) -> None:
    polls, _ = build_retrying(clock, per_minute=60)
    searches = polls.with_own_quota()
    with pytest.raises(SourceError):
        searches.call("projects.search", request_returning(*[PollResult.QUOTA] * 4), deadline=9e9)
    clock.waits.clear()
    for _ in range(3):
        polls.call("instances.list", request_returning("response"), deadline=9e9)
    assert sum(clock.waits) <= 3
    clock.waits.clear()
    for _ in range(3):
        searches.call("projects.search", request_returning("response"), deadline=9e9)
    assert sum(clock.waits) > 30


def test_requests_with_their_own_quota_are_within_the_rate_limit(clock: FakeClock) -> None:
    polls, _ = build_retrying(clock, per_minute=60)
    searches, start = polls.with_own_quota(), clock.now
    for _ in range(5):
        polls.call("instances.list", request_returning("response"), deadline=9e9)
        searches.call("projects.search", request_returning("response"), deadline=9e9)
    assert clock.now - start >= 9
