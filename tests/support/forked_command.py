"""Commands of the exporter as processes that start fast: forked by a server that has already imported everything."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from exporter.cli import flags  # noqa: F401 (imported once, by the fork server, for all commands)
from exporter.cli.main import main

TIMEOUT = 60  # seconds

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command until it ends. Raises TimeoutError after a minute."""
    with TemporaryDirectory() as folder:
        outputs = Path(folder, "stdout"), Path(folder, "stderr")
        process = _context.Process(target=_run, args=(arguments, dict(environment), *outputs))
        process.start()
        process.join(TIMEOUT)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"{arguments} still runs after {TIMEOUT} s")
        stdout, stderr = (output.read_text() for output in outputs)
        return subprocess.CompletedProcess(arguments, process.exitcode, stdout, stderr)


def _run(arguments: Sequence[str], environment: Mapping[str, str], stdout: Path, stderr: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for number, output in ((1, stdout), (2, stderr)):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT), number)
    sys.exit(main(arguments))
