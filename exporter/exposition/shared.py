"""Work that many ask for at once, done once for all of them."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Makes a thing for whoever asks. What one is given was begun after it asked, for it or for somebody else."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._turn, self._lock = threading.Lock(), threading.Lock()
        self._next: Future[T] | None = None  # asked for, and not begun yet

    def get(self) -> T:
        """Raises what making it raises."""
        with self._lock:
            if asked_for := self._next:
                mine = asked_for
            else:
                mine = self._next = Future()
        if not asked_for:
            with self._turn:
                with self._lock:
                    self._next = None  # whoever asks from now on comes too late for this one
                try:
                    mine.set_result(self._make())
                except BaseException as error:  # noqa: BLE001 (it is for all who wait, and rises from `result`)
                    mine.set_exception(error)
        return mine.result()
