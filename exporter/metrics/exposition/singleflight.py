"""Single flight: concurrent calls share one computation."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Coalesces concurrent calls: every caller gets a result whose computation started after its call."""

    def __init__(self, compute: Callable[[], T]) -> None:
        self._compute = compute
        self._computing, self._lock = threading.Lock(), threading.Lock()
        self._next: Future[T] | None = None  # requested, and not started yet

    def get(self) -> T:
        """The result. Raises what the computation raises."""
        with self._lock:
            if requested := self._next:
                future = requested
            else:
                future = self._next = Future()
        if not requested:
            with self._computing:
                with self._lock:
                    self._next = None  # later callers need a later computation
                try:
                    future.set_result(self._compute())
                except BaseException as error:  # noqa: BLE001 (raised by `result` in every waiting caller)
                    future.set_exception(error)
        return future.result()
