"""The Dockerfile: what can be checked without building it. `make check-image` builds and runs it."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from exporter import __version__
from exporter.cli.flags import parse_flags
from exporter.cli.healthcheck import healthcheck
from exporter.cli.serve import serve
from tests.support.deploy_tools import checkov, tool
from tests.support.dockerfile import DOCKERFILE, Instruction, stages

ROOT = DOCKERFILE.parent
TEXT = DOCKERFILE.read_text()
BUILD, FINAL = stages(TEXT)
PROGRAM = "cloudsql-backup-exporter"


def values(stage: list[Instruction], name: str) -> list[str]:
    return [instruction.value for instruction in stage if instruction.name == name]


def arguments(name: str) -> list[str]:
    """The only instruction of the final stage with this name, which is a JSON list."""
    (value,) = values(FINAL, name)
    found: list[str] = json.loads(value)
    return found


def hadolint(text: str, folder: Path) -> str:
    """What hadolint finds; empty if nothing."""
    (folder / "Dockerfile").write_text(text)
    result = subprocess.run(  # noqa: S603 (fixed)
        [tool("hadolint"), "--no-color", folder / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert result.returncode in (0, 1), result.stderr
    return result.stdout


def test_hadolint_finds_nothing(tmp_path: Path) -> None:
    assert hadolint(TEXT, tmp_path) == ""


def test_hadolint_finds_planted_errors(tmp_path: Path) -> None:
    planted = TEXT.replace(":bookworm-20260824-slim", ":latest", 1).replace(
        "WORKDIR /src", "RUN cd /src && sudo apt-get install vim"
    )
    assert {"DL3007", "DL3004", "DL3003"} <= set(re.findall(r"DL\d{4}", hadolint(planted, tmp_path)))


def test_checkov_finds_nothing_but_planted_errors(tmp_path: Path) -> None:
    planted = re.sub(r"^(USER|HEALTHCHECK) .*\n", "", TEXT, flags=re.MULTILINE)
    for name, text in (("shipped", TEXT), ("planted", planted)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Dockerfile").write_text(text)
    options = ["--framework=dockerfile", "--output=json", "--skip-download", "--soft-fail"]
    result = subprocess.run(  # noqa: S603 (fixed)
        [checkov(), *options, "--directory", tmp_path], capture_output=True, text=True, check=True
    )
    results = json.loads(result.stdout)["results"]
    passed, failed = (
        {(found["file_path"], found["check_id"]) for found in results[f"{outcome}_checks"]}
        for outcome in ("passed", "failed")
    )
    assert failed == {("/planted/Dockerfile", "CKV_DOCKER_2"), ("/planted/Dockerfile", "CKV_DOCKER_3")}
    assert {("/shipped/Dockerfile", "CKV_DOCKER_2"), ("/shipped/Dockerfile", "CKV_DOCKER_3")} <= passed


def test_both_stages_have_the_same_base_with_an_exact_tag() -> None:
    (build,), (final,) = values(BUILD, "FROM"), values(FINAL, "FROM")
    assert build == f"{final} AS build"
    assert re.fullmatch(r"debian:bookworm-\d{8}-slim", final)
    assert f'image.base.name="docker.io/library/{final}"' in TEXT


def test_the_version_is_that_of_the_program() -> None:
    assert f"VERSION={__version__}" in values(FINAL, "ARG")


def test_the_user_is_numeric() -> None:
    assert values(FINAL, "USER") == ["10853:10853"]


def test_the_commands_are_valid() -> None:
    (health,) = values(FINAL, "HEALTHCHECK")
    words = json.loads(health.partition(" CMD ")[2])
    assert arguments("ENTRYPOINT") == [words[0]] == [PROGRAM]
    assert parse_flags(words[1:]).run is healthcheck
    assert parse_flags(arguments("CMD")).run is serve


def test_every_api_that_the_exporter_uses_is_kept() -> None:
    sources = "".join(file.read_text() for file in (ROOT / "exporter" / "googleapis").glob("*.py"))
    used = set(re.findall(r'build_service\(\s*"(\w+)"', sources))
    kept = set(re.findall(r"! -name '(\w+)\.\*'", TEXT))
    assert {"sqladmin", "cloudresourcemanager"} <= used <= kept


@pytest.mark.parametrize("name", ["exporter", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"])
def test_the_build_context_contains_what_is_copied(name: str) -> None:
    copied = " ".join(values(BUILD, "COPY")).split()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert name in copied
    assert f"!{name}" in ignored
    assert {word for word in copied if word not in (".", "./")} == {line[1:] for line in ignored if line[:1] == "!"}
