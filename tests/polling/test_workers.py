"""WorkerPool: one job per key at a time, reruns, heartbeats, errors in jobs, and waiting until idle."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from types import SimpleNamespace

import pytest

from exporter.polling.workers import WorkerPool

LIMIT = 60  # seconds after which a wait fails a test


class BlockedJob:
    """A job that runs until it is released."""

    def __init__(self) -> None:
        self.started, self.release = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.started.set()
        assert self.release.wait(LIMIT)


MakePool = Callable[[int], WorkerPool]


@pytest.fixture
def make_pool() -> Iterator[MakePool]:
    """Makes a pool of a number of threads, which is stopped after the test."""
    pools: list[WorkerPool] = []

    def make(size: int) -> WorkerPool:
        pools.append(WorkerPool(size, threading.Event()))
        return pools[-1]

    yield make
    for pool in pools:
        pool.stop()


@pytest.fixture
def calls() -> list[str]:
    return []


def wait_idle(pool: WorkerPool) -> list[tuple[int, int]]:
    progress: list[tuple[int, int]] = []
    pool.wait_idle(lambda finished, total: progress.append((finished, total)))
    return progress


def start_blocked(pool: WorkerPool, key: str) -> BlockedJob:
    """Run a job under a key, up to where it blocks."""
    job = BlockedJob()
    pool.submit(key, job)
    assert job.started.wait(LIMIT)
    return job


def test_jobs_of_different_keys_run_in_parallel(make_pool: MakePool) -> None:
    pool = make_pool(2)
    pool.start()
    jobs = [start_blocked(pool, key) for key in ("a", "b")]  # both have started, and neither has ended
    assert pool.finished() == set()
    for job in jobs:
        job.release.set()
    wait_idle(pool)
    assert pool.finished() == {"a", "b"}


def test_pool_runs_at_most_as_many_jobs_as_it_has_threads(make_pool: MakePool, calls: list[str]) -> None:
    pool = make_pool(1)
    pool.start()
    job = start_blocked(pool, "a")
    pool.submit("b", lambda: calls.append("b"))
    assert calls == []  # the only thread is blocked
    job.release.set()
    wait_idle(pool)
    assert calls == ["b"]


@pytest.mark.parametrize("rerun", [False, True])
def test_job_is_dropped_while_the_key_has_a_waiting_one(make_pool: MakePool, calls: list[str], rerun: bool) -> None:
    pool = make_pool(2)
    pool.submit("a", lambda: calls.append("first"))
    pool.submit("a", lambda: calls.append("second"), rerun=rerun)
    pool.start()
    wait_idle(pool)
    assert calls == ["first"]


def test_job_is_dropped_while_the_key_has_a_running_one(make_pool: MakePool, calls: list[str]) -> None:
    pool = make_pool(2)
    pool.start()
    job = start_blocked(pool, "a")
    pool.submit("a", lambda: calls.append("second"))
    job.release.set()
    wait_idle(pool)
    assert calls == []


def test_rerun_follows_the_running_job_once(make_pool: MakePool, calls: list[str]) -> None:
    pool = make_pool(2)
    pool.start()
    job = start_blocked(pool, "a")
    pool.submit("a", lambda: calls.append("second"), rerun=True)
    pool.submit("a", lambda: calls.append("third"), rerun=True)
    assert calls == []
    job.release.set()
    wait_idle(pool)
    assert calls == ["third"]


def test_job_is_dropped_while_the_key_has_a_waiting_rerun(make_pool: MakePool, calls: list[str]) -> None:
    pool = make_pool(1)
    pool.start()
    first, other = start_blocked(pool, "a"), BlockedJob()
    pool.submit("b", other)
    pool.submit("a", lambda: calls.append("rerun"), rerun=True)
    first.release.set()
    assert other.started.wait(LIMIT)  # the rerun waits behind it
    pool.submit("a", lambda: calls.append("dropped"))
    other.release.set()
    wait_idle(pool)
    assert calls == ["rerun"]


def test_rerun_of_an_idle_key_runs_once(make_pool: MakePool, calls: list[str]) -> None:
    pool = make_pool(1)
    pool.start()
    pool.submit("a", lambda: calls.append("first"), rerun=True)
    wait_idle(pool)
    assert calls == ["first"]


def test_key_can_be_submitted_again_after_its_job(make_pool: MakePool, calls: list[str]) -> None:
    pool = make_pool(1)
    pool.start()
    for number in ("first", "second"):
        pool.submit("a", lambda number=number: calls.append(number))  # type: ignore[misc] # binds the loop variable
        wait_idle(pool)
    assert calls == ["first", "second"]


def test_rerun_is_never_lost_and_never_overlaps_with_the_running_job(make_pool: MakePool) -> None:
    """Threads submit random keys; the last job of each key starts after the last submission."""
    pool = make_pool(4)
    pool.start()
    lock = threading.Lock()
    submitted: Counter[str] = Counter()
    read: dict[str, int] = {}
    running: Counter[str] = Counter()
    most_running: Counter[str] = Counter()

    def run(key: str) -> None:
        with lock:
            running[key] += 1
            most_running[key] = max(most_running[key], running[key])
            read[key] = submitted[key]
        with lock:
            running[key] -= 1

    def submit(seed: int) -> None:
        random = Random(seed)
        for _ in range(300):
            key = random.choice("abc")
            with lock:
                submitted[key] += 1
            pool.submit(key, lambda key=key: run(key), rerun=True)  # type: ignore[misc] # binds the loop variable

    threads = [threading.Thread(target=submit, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    wait_idle(pool)
    assert read == submitted
    assert most_running == {"a": 1, "b": 1, "c": 1}


def test_exception_in_a_job_is_logged_and_the_worker_continues(
    make_pool: MakePool, calls: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("broken")

    pool = make_pool(1)
    pool.start()
    pool.submit("a", fail)
    pool.submit("b", lambda: calls.append("b"))
    wait_idle(pool)
    assert calls == ["b"]
    assert pool.finished() == {"a", "b"}
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "internal error, please report it")
    assert record.__dict__["job"] == "a"
    assert "ZeroDivisionError: broken" in caplog.text
    assert not pool.stuck(0)


def test_rerun_follows_a_job_that_raises(make_pool: MakePool, calls: list[str]) -> None:
    job = BlockedJob()

    def fail() -> None:
        job()
        raise ZeroDivisionError("broken")

    pool = make_pool(1)
    pool.start()
    pool.submit("a", fail)
    assert job.started.wait(LIMIT)
    pool.submit("a", lambda: calls.append("second"), rerun=True)
    job.release.set()
    wait_idle(pool)
    assert calls == ["second"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("exporter.polling.workers.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_busy_worker_is_stuck_at_the_limit_without_heartbeat(make_pool: MakePool, clock: SimpleNamespace) -> None:
    pool = make_pool(1)
    pool.start()
    assert not pool.stuck(10)
    job = start_blocked(pool, "a")
    clock.now += 9
    assert not pool.stuck(10)
    clock.now += 1
    assert pool.stuck(10)
    job.release.set()
    wait_idle(pool)
    assert not pool.stuck(10)


def test_one_stuck_worker_is_enough(make_pool: MakePool, clock: SimpleNamespace) -> None:
    pool = make_pool(2)
    pool.start()
    first = start_blocked(pool, "a")
    clock.now += 10
    second = start_blocked(pool, "b")
    assert (pool.stuck(10), pool.stuck(11)) == (True, False)
    first.release.set()
    second.release.set()
    wait_idle(pool)


def test_idle_worker_is_never_stuck(make_pool: MakePool, clock: SimpleNamespace) -> None:
    pool = make_pool(1)
    pool.start()
    pool.submit("a", lambda: None)
    wait_idle(pool)
    clock.now += 1000
    assert not pool.stuck(10)


def test_heartbeat_counts_only_for_the_calling_worker(make_pool: MakePool, clock: SimpleNamespace) -> None:
    started, heartbeat, recorded, recorded_by_other = (threading.Event() for _ in range(4))
    job = BlockedJob()

    def work() -> None:
        started.set()
        assert heartbeat.wait(LIMIT)
        pool.heartbeat()
        recorded.set()
        job()

    def work_elsewhere() -> None:
        pool.heartbeat()
        recorded_by_other.set()

    pool = make_pool(2)
    pool.start()
    pool.submit("a", work)
    assert started.wait(LIMIT)
    clock.now += 10
    pool.heartbeat()  # this thread is not a worker
    pool.submit("b", work_elsewhere)
    assert recorded_by_other.wait(LIMIT)
    assert pool.stuck(10)
    heartbeat.set()
    assert recorded.wait(LIMIT)
    assert not pool.stuck(10)
    clock.now += 10
    assert pool.stuck(10)
    job.release.set()
    wait_idle(pool)


def test_wait_idle_returns_at_once_without_jobs(make_pool: MakePool) -> None:
    assert wait_idle(make_pool(1)) == [(0, 0)]


def test_wait_idle_reports_finished_and_total_jobs(make_pool: MakePool) -> None:
    pool = make_pool(1)
    job, progress = BlockedJob(), list[tuple[int, int]]()
    pool.submit("a", job)
    for key in ("b", "c"):
        pool.submit(key, lambda: None)
    pool.start()

    def report(finished: int, total: int) -> None:
        progress.append((finished, total))
        job.release.set()

    pool.wait_idle(report)
    assert (progress[0], progress[-1]) == ((0, 3), (3, 3))
    assert progress == sorted(progress)
    assert {total for _finished, total in progress} == {3}


def test_wait_idle_waits_for_reruns(make_pool: MakePool, calls: list[str]) -> None:
    pool = make_pool(1)
    pool.start()
    job = start_blocked(pool, "a")
    pool.submit("a", lambda: calls.append("rerun"), rerun=True)
    waiting = threading.Thread(target=wait_idle, args=(pool,))
    waiting.start()
    job.release.set()
    waiting.join(LIMIT)
    assert (calls, waiting.is_alive()) == (["rerun"], False)


def test_no_job_starts_after_stop(make_pool: MakePool, calls: list[str]) -> None:
    before = set(threading.enumerate())
    pool = make_pool(1)
    pool.start()
    (worker,) = set(threading.enumerate()) - before
    job = start_blocked(pool, "a")
    pool.submit("b", lambda: calls.append("b"))
    pool.stop()
    job.release.set()
    worker.join(LIMIT)
    assert (worker.is_alive(), calls) == (False, [])
    assert pool.finished() == {"a"}
