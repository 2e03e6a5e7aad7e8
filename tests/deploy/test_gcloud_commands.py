"""gcloud commands in the documents: commands and flags exist, by gcloud's own check, where gcloud is installed."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GCLOUD = shutil.which("gcloud")
NUMBERS = {"N", "DAYS", "NUMBER"}  # placeholders that stand for numbers
NEWER_FLAGS = ("--final-backup",)  # which gcloud 528, of June 2025, does not have yet


def commands() -> list[str]:
    """The gcloud commands of all documents, each once, with values in place of the placeholders."""
    found: list[str] = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for block in re.findall(r"^ *```sh\n(.*?)^ *```", page.read_text(), flags=re.DOTALL | re.MULTILINE):
            found += re.findall(r"^ *(gcloud (?:'[^']*'|\"[^\"]*\"|\\\n|[^\n'\"#])*)", block, flags=re.MULTILINE)
    return list(dict.fromkeys(map(_with_values, found)))


def _with_values(command: str) -> str:
    def value(match: re.Match[str]) -> str:
        return "7" if match[0] in NUMBERS else "my-value"

    return " ".join(re.sub(r"\b[A-Z][A-Z_]*\b", value, command.replace("\\\n", " ")).split())


def lint(lines: list[str], folder: Path) -> list[dict[str, object]]:
    """gcloud's verdict on each command."""
    (folder / "commands.md").write_text("\n".join(["```sh", *lines, "```", ""]))
    assert GCLOUD
    result = subprocess.run(  # noqa: S603 (fixed names)
        [GCLOUD, "meta", "lint-gcloud-commands", f"--commands-text-file={folder / 'commands.md'}"],
        env={"CLOUDSDK_CONFIG": str(folder), "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    verdicts: list[dict[str, object]] = json.loads(result.stdout or "[]")
    assert verdicts, result.stderr
    return verdicts


def test_there_are_commands_and_each_can_be_split() -> None:
    assert len(commands()) > 30
    for command in commands():
        assert shlex.split(command)[0] == "gcloud"


@pytest.mark.skipif(GCLOUD is None, reason="gcloud is not installed")
def test_gcloud_accepts_every_command(tmp_path: Path) -> None:
    expected = commands()
    verdicts = lint(expected, tmp_path)
    refused = [str(verdict["command_string"]) for verdict in verdicts if not verdict["success"]]
    assert [command for command in refused if not any(flag in command for flag in NEWER_FLAGS)] == []
    assert len(verdicts) == len(expected)


@pytest.mark.skipif(GCLOUD is None, reason="gcloud is not installed")
def test_gcloud_finds_a_misspelt_flag(tmp_path: Path) -> None:
    (verdict,) = lint(["gcloud sql backups list --instanse=my-value --project=my-value"], tmp_path)
    assert not verdict["success"]
