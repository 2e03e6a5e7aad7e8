"""Listings of backup plans that are shared by polls: many projects may use the plans of one."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from exporter.scan.source import Page, Source, SourceError


@dataclass(slots=True)
class _Listing:
    """The pages of one listing, or its error, and when it ended on the monotonic clock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    ended: float | None = None
    pages: tuple[Page, ...] = ()
    error: SourceError | None = None


class SharedPlans:
    """Reads the backup plans of a project once for all polls within some time, successfully or not. Thread-safe."""

    def __init__(self, max_age: timedelta) -> None:
        self._max_age = max_age.total_seconds()
        self._listings: dict[str, _Listing] = {}
        self._lock = threading.Lock()

    def pages(self, source: Source, project: str) -> Iterator[Page]:
        """The pages of `Source.backup_plans`. Raises SourceError. Waits for a listing by another thread."""
        with self._lock:
            listing = self._listings.setdefault(project, _Listing())
        with listing.lock:
            if listing.ended is None or time.monotonic() - listing.ended >= self._max_age:
                listing.pages, listing.error = (), None
                try:
                    listing.pages = tuple(source.backup_plans(project))
                except SourceError as failure:
                    listing.error = failure
                listing.ended = time.monotonic()
            pages, error = listing.pages, listing.error
        if error:
            raise error.with_traceback(None)
        yield from pages
