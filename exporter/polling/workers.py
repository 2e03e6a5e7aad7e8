"""Worker threads that run keyed jobs. Knows nothing of projects."""

import logging
import queue
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

Job = Callable[[], None]


class WorkerPool:
    """Runs jobs on a number of threads until it is stopped. A key has at most one job waiting or running at a time."""

    def __init__(self, size: int, stop: threading.Event) -> None:
        """`stop` is set when the pool is stopped."""
        self._size, self._stop, self._started = size, stop, False
        self._queue: queue.SimpleQueue[tuple[str, Job] | None] = queue.SimpleQueue()
        self._waiting: set[str] = set()
        self._running: set[str] = set()
        self._rerun: dict[str, Job] = {}
        self._finished: set[str] = set()
        self._heartbeats: dict[str, float] = {}  # by the name of each busy thread, on the monotonic clock
        self._changed = threading.Condition()

    def start(self) -> None:
        """Start the threads, unless they run already."""
        if self._started:
            return
        self._started = True
        for number in range(self._size):
            threading.Thread(target=self._work, name=f"poll-{number}", daemon=True).start()

    def stop(self) -> None:
        """Start no further job; does not wait for running ones."""
        self._stop.set()
        self._queue.put(None)  # wakes one thread, which wakes the next

    def submit(self, key: str, job: Job, *, rerun: bool = False) -> None:
        """Queue a job, unless the key has one already. With `rerun`, a running one is followed by this one."""
        with self._changed:
            if key in self._running and rerun:
                self._rerun[key] = job
            if key in self._waiting | self._running:
                return
            self._waiting.add(key)
        self._queue.put((key, job))

    def wait_idle(self, progress: Callable[[int, int], None]) -> None:
        """Wait until no job is left; `progress` is called with the number of finished jobs and of all jobs."""
        with self._changed:
            while pending := self._waiting | self._running:
                self._changed.wait(timeout=0.1)
                progress(len(self._finished), len(self._finished | pending))
            progress(len(self._finished), len(self._finished))

    def finished(self) -> frozenset[str]:
        """The keys of jobs that have ended, successfully or not."""
        with self._changed:
            return frozenset(self._finished)

    def heartbeat(self) -> None:
        """Record that the calling worker thread makes progress; other threads have no effect."""
        name = threading.current_thread().name
        if name in self._heartbeats:
            self._heartbeats[name] = time.monotonic()

    def stuck(self, limit: float) -> bool:
        """Whether a busy worker has had no heartbeat for `limit` seconds."""
        now = time.monotonic()
        return any(now - heartbeat >= limit for heartbeat in self._heartbeats.copy().values())

    def _work(self) -> None:
        while (job := self._queue.get()) and not self._stop.is_set():
            self._run(*job)
        self._queue.put(None)

    def _run(self, key: str, job: Job) -> None:
        worker = threading.current_thread().name
        with self._changed:
            self._waiting.discard(key)
            self._running.add(key)
        self._heartbeats[worker] = time.monotonic()
        try:
            job()
        except Exception:  # the last facts age, and the worker continues
            log.exception("internal error, please report it", extra={"job": key})
        self._heartbeats.pop(worker, None)
        with self._changed:
            self._running.discard(key)
            self._finished.add(key)
            again = self._rerun.pop(key, None)
            if again:
                self._waiting.add(key)
                self._queue.put((key, again))
            self._changed.notify_all()
