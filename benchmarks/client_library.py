"""An HTTP server of prometheus_client with the samples of an exposition in memory.

Run it with `python -m benchmarks.client_library EXPOSITION PORT`.
"""

import sys
from pathlib import Path

from prometheus_client import start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_fd_to_metric_families
from prometheus_client.registry import Collector


class Samples(Collector):
    """The metric families of an exposition."""

    def __init__(self, exposition: Path) -> None:
        with exposition.open(encoding="utf-8") as text:
            self._families: list[Metric] = list(text_fd_to_metric_families(text))

    def collect(self) -> list[Metric]:
        """Return the metric families."""
        return self._families


if __name__ == "__main__":
    _, thread = start_http_server(int(sys.argv[2]), "127.0.0.1", Samples(Path(sys.argv[1])))
    thread.join()
