"""The programs that check the files in deploy/ are the expected ones."""

import subprocess
from pathlib import Path

import pytest

from tests.support.deploy_tools import HELM_VERSIONS, KUBECTL_VERSIONS, checkov, helm, kubectl, tool


def output(program: Path, *arguments: str) -> str:
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout  # noqa: S603 (fixed)


@pytest.mark.parametrize("version", KUBECTL_VERSIONS)
def test_kubectl_has_the_version(version: str) -> None:
    assert f"Client Version: v{version}." in output(kubectl(version), "version", "--client")


@pytest.mark.parametrize("version", HELM_VERSIONS)
def test_helm_has_the_version(version: str) -> None:
    assert output(helm(version), "version", "--short").startswith(f"v{version}.")


def test_programs_of_python_packages_run() -> None:
    assert "Haskell Dockerfile Linter" in output(tool("hadolint"), "--version")
    assert output(checkov(), "--version").startswith("3.")


def test_a_missing_program_names_the_command_that_installs_it() -> None:
    with pytest.raises(RuntimeError, match="no-such-program does not exist; run `scripts/setup dev`"):
        tool("no-such-program")
