"""The command `once`."""

import argparse
import sys
from pathlib import Path

from exporter.cli import files
from exporter.cli.problems import report_problems
from exporter.cli.serve import with_state_path
from exporter.cli.terminal import print_error, progress_bar
from exporter.config import load
from exporter.errors import ExitCode
from exporter.metrics.exposition import TEXT
from exporter.privileges import log_privileges_of_process
from exporter.runtime import Exporter, system_clock


def once(options: argparse.Namespace) -> ExitCode:
    """Poll once and write the exposition, without metrics about this short-lived process."""
    config = with_state_path(load(options.config_file), options.state_path)
    exporter = Exporter(lambda: config, system_clock, process_metrics=False)
    log_privileges_of_process(config.state.path)
    with progress_bar() as progress:
        evaluation = exporter.poll_once(progress)
    exposition = b"".join(exporter.exposition(TEXT).parts)
    if options.output in (None, Path("-")):
        sys.stdout.write(exposition.decode())
        sys.stdout.flush()
    else:
        try:
            files.write(options.output, exposition)
        except OSError as error:
            print_error(f"cannot write {options.output}: {error.strerror}")
            return ExitCode.FAILURE
    return report_problems(evaluation)
