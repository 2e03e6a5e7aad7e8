"""Shell scripts, YAML files and spelling."""

import subprocess
from pathlib import Path

from tests.support.deploy_tools import tool

ROOT = Path(__file__).parents[2]
SCRIPTS = [ROOT / "scripts" / "setup", ROOT / ".ci" / "run"]
YAML_RULES = "{extends: relaxed, rules: {line-length: disable, key-duplicates: enable, truthy: {check-keys: false}}}"
TEXT = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs", "deploy", "exporter", ".github"]


def run(program: str, *arguments: str | Path, folder: Path = ROOT) -> tuple[int, str]:
    """Run a program in a folder; its exit code and output."""
    command = [str(tool(program)), *map(str, arguments)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 (fixed names)
    return result.returncode, result.stdout + result.stderr


def yaml_files() -> list[str]:
    """The YAML files of the repository; those of a Helm chart's templates are not YAML."""
    folders = (ROOT / "deploy", ROOT / "grafana", ROOT / ".github")
    found = [path for folder in folders for path in sorted(folder.rglob("*.y*ml")) if "templates" not in path.parts]
    return [str(path.relative_to(ROOT)) for path in found]


def test_shellcheck_finds_nothing() -> None:
    assert run("shellcheck", *SCRIPTS) == (0, "")


def test_shellcheck_finds_a_missing_quote(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\nrm $1/*\n")
    assert "SC2086" in run("shellcheck", tmp_path / "script")[1]


def test_yamllint_finds_nothing() -> None:
    assert len(yaml_files()) > 10
    assert run("yamllint", "--strict", "--config-data", YAML_RULES, *yaml_files()) == (0, "")


def test_yamllint_finds_a_key_given_twice(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1\na: 2\n")
    assert "key-duplicates" in run("yamllint", "--config-data", YAML_RULES, tmp_path / "a.yaml")[1]


def test_codespell_finds_nothing() -> None:
    assert run("codespell", *TEXT) == (0, "")


def test_codespell_finds_a_misspelt_word(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("A reciept.\n")
    assert "reciept ==> receipt" in run("codespell", tmp_path / "a.md")[1]
