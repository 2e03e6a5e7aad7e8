"""Privileges that the exporter has but does not need, in words that say how to remove them."""

import logging
import os
import shlex
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from exporter.scan.source import SourceError

log = logging.getLogger(__name__)


def of_process(state_folder: Path | None) -> Iterator[str]:
    """Privileges of the process, and those of other users on its state folder."""
    if os.geteuid() == 0:
        yield "the process runs as root; run it as another user, which needs no privileges"
    mode = _mode(state_folder)
    if mode & stat.S_IRWXO:
        folder = shlex.quote(str(state_folder))
        yield f"the state folder is accessible to other users (mode {mode:03o}); run: chmod 700 {folder}"


def log_privileges_of_process(state_folder: Path | None) -> None:
    """Log each as a warning."""
    for text in of_process(state_folder):
        log.warning(text)


def _mode(folder: Path | None) -> int:
    """The mode of a folder; 0 if there is none, or it is not accessible."""
    try:
        return stat.S_IMODE(folder.stat().st_mode) if folder else 0
    except OSError:
        return 0


class WriteAccess:
    """The projects in which the credentials can do more than read, as far as the API has been asked.

    Each project is asked about once, and none after a request has failed: the API may be disabled, which is no problem.
    """

    def __init__(self, ask: Callable[[str], Sequence[str]] | None) -> None:
        """`ask` returns the write permissions in a project, or raises SourceError; None: there are no credentials."""
        self._ask = ask
        self._asked: set[str] = set()
        self._granted: dict[str, Sequence[str]] = {}

    def ask_next(self, projects: Iterable[str]) -> bool:
        """Ask about the first of these projects that has not been asked about; returns whether there was one."""
        ask, project = self._ask, next((name for name in projects if name not in self._asked), None)
        if ask is None or project is None:
            return False
        self._asked.add(project)
        try:
            permissions = ask(project)
        except SourceError as error:
            log.debug("it is not known whether the credentials can do more than read: %s", error)
            self._ask = None
            return False
        if permissions:
            self._granted[project] = permissions
        return True

    def found(self) -> Iterator[str]:
        """One text about all projects found."""
        granted = self._granted.copy()  # another thread may be asking
        if not granted:
            return
        project, permissions = next(iter(granted.items()))
        where = f"project {project}" if len(granted) == 1 else f"{len(granted)} projects, such as {project}"
        yield (
            f"the credentials can do more than read in {where} ({', '.join(permissions)}); "
            "use an account that has only roles/cloudsql.viewer there"
        )
