"""The declared dependencies are all that the program needs: tests run with more packages than users install."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "cloudsql-backup-exporter"
IMPORT_PROGRAM = """
import sys
before = set(sys.modules)
import exporter.cli.main, exporter.cli.flags, uvloop, httptools
print(*{name.partition(".")[0] for name in set(sys.modules) - before})
"""


def dependencies(name: str, extras: frozenset[str] = frozenset()) -> set[tuple[str, frozenset[str]]]:
    """The distributions that one requires, each with its extras."""
    found: set[tuple[str, frozenset[str]]] = set()
    for text in requires(name) or ():
        requirement = Requirement(text)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in {"", *extras}):
            found.add((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return found


def all_dependencies() -> set[str]:
    """The distributions that an installation without extras consists of."""
    done: set[tuple[str, frozenset[str]]] = set()
    todo = {(PROJECT, frozenset[str]())}
    while todo:
        item = todo.pop()
        done.add(item)
        todo |= dependencies(*item) - done
    return {name for name, _ in done}


def test_program_imports_only_declared_dependencies() -> None:
    command = [sys.executable, "-c", IMPORT_PROGRAM]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()  # noqa: S603 (fixed)
    owners = packages_distributions()
    imported = {canonicalize_name(owner) for name in loaded for owner in owners.get(name, ())}
    assert len(imported) > 10
    assert imported - all_dependencies() == set()


def test_versions_of_all_dependencies_are_pinned() -> None:
    constraints = (Path(__file__).parent.parent / "constraints.txt").read_text()
    pinned = {canonicalize_name(name) for name in re.findall(r"^([\w.-]+)==", constraints, re.MULTILINE)}
    assert all_dependencies() - pinned == {PROJECT}
