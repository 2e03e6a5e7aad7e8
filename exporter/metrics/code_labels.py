"""Label values for error codes, which are free text from outside."""

import threading
from collections.abc import Iterable

from exporter.facts.model import NO_CODE

OTHER = "other"


class CodeLabels:
    """The first `limit` distinct codes as they are, all others as `other`. Safe to share between threads."""

    def __init__(self, limit: int = 50) -> None:
        self._limit = limit
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def label(self, code: str) -> str:
        """The label value of a code; `unspecified` where there is none."""
        code = code or NO_CODE
        with self._lock:
            if code not in self._known and len(self._known) >= self._limit:
                return OTHER
            self._known.add(code)
        return code

    def restore(self, labels: Iterable[str]) -> None:
        """Reserve the label values of saved counters."""
        for label in labels:
            if label != OTHER:
                self.label(label)
