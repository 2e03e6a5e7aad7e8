"""The Helm chart, rendered."""

import json
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.deploy_tools import HELM_VERSIONS, helm
from tests.support.kubernetes import Object, objects, of_kind
from tests.support.promql import RULES

NAME = "cloudsql-backup-exporter"
CHART = RULES.parents[1] / "helm" / NAME
VALUES = {file.name.removesuffix("-values.yaml"): file for file in sorted(CHART.glob("ci/*-values.yaml"))}
NEWEST = HELM_VERSIONS[-1]


def run_helm(*arguments: str | Path, version: str = NEWEST) -> subprocess.CompletedProcess[str]:
    """Run Helm until it ends."""
    return subprocess.run([helm(version), *arguments], capture_output=True, text=True, check=False)


def render(*arguments: str | Path, release: str = NAME, version: str = NEWEST) -> str:
    """Return what `helm template` prints for a release in the namespace `monitoring`."""
    process = run_helm("template", release, CHART, "--namespace=monitoring", *arguments, version=version)
    assert process.returncode == 0, process.stderr
    return process.stdout


@cache
def output(name: str, version: str = NEWEST) -> str:
    """Return the output for a file in ci/."""
    return render(f"--values={VALUES[name]}", version=version)


def render_all() -> None:
    """Render every file in ci/ with both versions, on two processors."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda job: output(*job), [(name, version) for name in VALUES for version in HELM_VERSIONS]))


def rendered(name: str, version: str = NEWEST) -> list[Object]:
    """Return the objects for a file in ci/."""
    return objects(output(name, version))


def values_file(folder: Path, values: Mapping[str, Any]) -> str:
    """Write values to a file; return the flag that names it."""
    file = folder / "values.yaml"
    file.write_text(json.dumps(values))
    return f"--values={file}"


def one(found: list[Object], kind: str) -> Object:
    """Return the only object of a kind."""
    (item,) = of_kind(found, kind)
    return item
