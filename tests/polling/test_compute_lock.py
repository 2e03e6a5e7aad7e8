"""ComputeLockedSource: the compute lock is released while the source waits, and held while items are parsed."""

import threading
from collections.abc import Callable, Iterator

import pytest

from exporter.facts.model import Instance, PollResult
from exporter.polling.compute_lock import ComputeLockedSource
from exporter.scan.incremental import ScanOptions, scan
from exporter.scan.source import Page, Source, SourceError
from exporter.simulator import WORLDS, World
from tests.support.builders import HOUR, NOW, WorldSource, world


class LockCheckingSource(WorldSource):
    """A source that requires the lock to be free at every request."""

    def __init__(self, world: World, lock: threading.Lock) -> None:
        super().__init__(world)
        self.lock = lock
        self.error: SourceError | None = None

    def instances(self, project: str) -> Iterator[Page]:
        yield from self._unlocked_pages(super().instances(project))

    def backup_runs(self, project: str, instance: str, *, newest: bool = False) -> Iterator[Page]:
        yield from self._unlocked_pages(super().backup_runs(project, instance, newest=newest))

    def backup_run(self, project: str, instance: str, run_id: str) -> bytes | None:
        self._assert_unlocked()
        return super().backup_run(project, instance, run_id)

    def _unlocked_pages(self, pages: Iterator[Page]) -> Iterator[Page]:
        for page in pages:
            self._assert_unlocked()
            yield page

    def _assert_unlocked(self) -> None:
        assert self.lock.acquire(blocking=False)
        self.lock.release()
        if self.error:
            raise self.error


@pytest.fixture
def lock() -> threading.Lock:
    return threading.Lock()


@pytest.fixture
def source(lock: threading.Lock) -> LockCheckingSource:
    return LockCheckingSource(world(WORLDS["demo"]()), lock)


READS: list[Callable[[Source], object]] = [
    lambda source: next(source.instances("museum")),
    lambda source: next(source.backup_runs("museum", "-")),
    lambda source: next(source.backup_runs("museum", "-", newest=True)),
    lambda source: list(source.backup_runs("museum", "healthy", newest=True)),
    lambda source: source.backup_run("museum", "healthy", "1"),
]


@pytest.mark.parametrize("read", READS)
def test_response_is_that_of_the_source_and_lock_is_held_after_it(
    source: LockCheckingSource, lock: threading.Lock, read: Callable[[Source], object]
) -> None:
    with lock:
        response = read(ComputeLockedSource(source, lock))
        assert lock.locked()
    assert not lock.locked()
    assert response == read(WorldSource(source.world))


@pytest.mark.parametrize("read", READS)
def test_lock_is_held_again_after_an_error(
    source: LockCheckingSource, lock: threading.Lock, read: Callable[[Source], object]
) -> None:
    source.error = SourceError(PollResult.UNREACHABLE, "cannot be reached")
    with lock:
        with pytest.raises(SourceError) as raised:
            read(ComputeLockedSource(source, lock))
        assert lock.locked()
    assert raised.value is source.error


def test_lock_is_held_for_every_page_and_after_the_last(source: LockCheckingSource, lock: threading.Lock) -> None:
    with lock:
        pages = ComputeLockedSource(source, lock).backup_runs("museum", "-", newest=True)
        held = [lock.locked() for _page in pages]
        assert lock.locked()
    assert len(held) > 10
    assert all(held)


def test_scan_parses_under_the_lock(source: LockCheckingSource, lock: threading.Lock) -> None:
    held: list[bool] = []

    def selects(_instance: Instance) -> bool:
        held.append(lock.locked())
        return True

    def code_label(code: str) -> str:
        held.append(lock.locked())
        return code

    options = ScanOptions(selects, code_label, lambda _kind, _field: None, 6 * HOUR)
    with lock:
        first = scan(ComputeLockedSource(source, lock), "museum", NOW, options, None)
        scan(ComputeLockedSource(source, lock), "museum", NOW, options, first, full=True)
    assert len(held) > 2 * len(first.records)
    assert all(held)


def test_another_thread_computes_while_the_source_waits(lock: threading.Lock) -> None:
    waiting, computed = threading.Event(), threading.Event()

    class WaitingSource(WorldSource):
        def instances(self, project: str) -> Iterator[Page]:
            waiting.set()
            assert computed.wait(60)
            yield from super().instances(project)

    def compute() -> None:
        waiting.wait(60)
        with lock:
            computed.set()

    other = threading.Thread(target=compute)
    other.start()
    with lock:
        pages = list(ComputeLockedSource(WaitingSource(world(WORLDS["demo"]())), lock).instances("museum"))
    other.join(60)
    assert len(pages) == 1
