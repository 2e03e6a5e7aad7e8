"""Exporters as processes that start fast: forked by a parent that has already imported everything.

The clock is a number in a shared file, so that a test can advance it for the simulated API and the exporter together.
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
from exporter.web import Service, WebServer, application, listen


class SharedClock:
    """A clock shared by several processes: Unix seconds in a memory-mapped file."""

    def __init__(self, file: Path, start: datetime | None = None) -> None:
        if start is not None:
            file.write_bytes(struct.pack("d", start.timestamp()))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), 8)

    def __call__(self) -> datetime:
        """The current time."""
        (seconds,) = struct.unpack("d", self._map[:])
        return datetime.fromtimestamp(seconds, UTC)

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self._map[:] = struct.pack("d", self().timestamp() + seconds)


class ExporterForker:
    """Starts and kills exporters through the parent process."""

    def __init__(self, clock: Path, config: str, address: str) -> None:
        command = [sys.executable, "-m", "tests.support.forked_exporter", str(clock), config, address]
        self._exporter_pid = 0
        self._parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def spawn(self) -> int:
        """Start an exporter and return its process id."""
        assert self._parent.stdin
        assert self._parent.stdout
        self._parent.stdin.write("\n")
        self._parent.stdin.flush()
        self._exporter_pid = int(self._parent.stdout.readline())
        return self._exporter_pid

    def kill(self, pid: int) -> None:
        """Kill an exporter with SIGKILL and wait until it has ended."""
        assert self._parent.stdout
        os.kill(pid, signal.SIGKILL)
        assert int(self._parent.stdout.readline()) == pid
        self._exporter_pid = 0

    def close(self) -> None:
        """End the parent, and the exporter if it is still running."""
        assert self._parent.stdin
        assert self._parent.stdout
        if self._exporter_pid:
            self.kill(self._exporter_pid)
        self._parent.stdin.close()
        self._parent.wait(10)
        self._parent.stdout.close()


def _run_exporter(clock: Path, config: str, address: str) -> None:
    settings = Config.model_validate_json(config)
    exporter = Exporter(lambda: settings, SharedClock(clock))
    server = WebServer(Service(application(exporter), [listen(address)]))
    server.start()
    exporter.start()
    time.sleep(600)


def _main() -> None:
    clock, config, address = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    for _line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _run_exporter(clock, config, address)
            os._exit(0)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        os.waitpid(pid, 0)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
