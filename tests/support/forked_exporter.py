"""Exporters as processes that are born fast and die at any moment: a parent that has everything imported forks them.

The clock is a number in a shared file, so that a test can move time for the simulated API and the exporter at once.
"""

import mmap
import os
import signal
import struct
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from exporter.config import Config
from exporter.runtime import Exporter
from exporter.web import WebServer, application


class SharedClock:
    """Unix seconds in a file that several processes have mapped."""

    def __init__(self, file: Path, start: datetime | None = None) -> None:
        if start is not None:
            file.write_bytes(struct.pack("d", start.timestamp()))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), 8)

    def __call__(self) -> datetime:
        """What time it is."""
        (seconds,) = struct.unpack("d", self._map[:])
        return datetime.fromtimestamp(seconds, UTC)

    def advance(self, seconds: float) -> None:
        """Leap forward."""
        self._map[:] = struct.pack("d", self().timestamp() + seconds)


class ExporterForker:
    """The parent, from the test's side."""

    def __init__(self, clock: Path, config: str, address: str) -> None:
        command = [sys.executable, "-m", "tests.support.forked_exporter", str(clock), config, address]
        self._alive = 0
        self._parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def spawn(self) -> int:
        """Start an exporter; its process id."""
        assert self._parent.stdin
        assert self._parent.stdout
        self._parent.stdin.write("\n")
        self._parent.stdin.flush()
        self._alive = int(self._parent.stdout.readline())
        return self._alive

    def kill(self, process: int) -> None:
        """Kill an exporter, without any chance to tidy up, and see it gone."""
        assert self._parent.stdout
        os.kill(process, signal.SIGKILL)
        assert int(self._parent.stdout.readline()) == process
        self._alive = 0

    def close(self) -> None:
        """End the parent, and the exporter that a failed test left behind."""
        assert self._parent.stdin
        assert self._parent.stdout
        if self._alive:
            self.kill(self._alive)
        self._parent.stdin.close()
        self._parent.wait(10)
        self._parent.stdout.close()


def _live(clock: Path, config: str, address: str) -> None:
    settings = Config.model_validate_json(config)
    exporter = Exporter(lambda: settings, SharedClock(clock))
    server = WebServer(application(exporter), [address])
    server.start()
    exporter.start()
    time.sleep(600)


def _main() -> None:
    clock, config, address = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    for _line in sys.stdin:
        child = os.fork()
        if child == 0:
            _live(clock, config, address)
            os._exit(0)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        os.waitpid(child, 0)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
