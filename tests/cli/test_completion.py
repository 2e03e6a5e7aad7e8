"""The completion scripts, in the shells they are for."""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.cli.completion import SHELLS
from exporter.cli.main import main

PROGRAM = "cloudsql-backup-exporter"
Complete = Callable[[Path, str], list[str]]
COMMANDS = [
    *("check", "check-config", "demo", "healthcheck", "once", "report", "serve", "simulate", "state", "status"),
]
BASH = f"""
source "$1"
read -r -a COMP_WORDS <<< "$2"
[[ "$2" != *" " ]] || COMP_WORDS+=("")
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
function=$(complete -p {PROGRAM} | sed 's/.* -F \\([^ ]*\\) .*/\\1/')
$function {PROGRAM} "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
FISH = 'source "$argv[1]"; complete -C "$argv[2]"'


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[[str], Path]:
    def write(shell: str) -> Path:
        with pytest.raises(SystemExit) as ended:
            main([f"--print-completion={shell}"])
        file = tmp_path / f"_{PROGRAM}"
        file.write_text(capsys.readouterr().out)
        assert ended.value.code in (None, 0)
        return file

    return write


def run(*command: str) -> list[str]:
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603 (fixed)
    assert result.stderr == ""
    return sorted(line.partition("\t")[0] for line in result.stdout.splitlines() if line)


def bash(script: Path, line: str) -> list[str]:
    """The completions of a command line in bash."""
    return run("bash", "--norc", "-c", BASH, "bash", str(script), line)


def fish(script: Path, line: str) -> list[str]:
    """The completions of a command line in fish."""
    return run("fish", "--no-config", "-c", FISH, str(script), line)


@pytest.mark.parametrize(("shell", "complete"), [("bash", bash), ("fish", fish)])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("statu", ["status"]),
        ("state ", ["check", "export", "import"]),
        ("report --output ", ["csv", "html", "json"]),
        ("", COMMANDS),
        ("status --output ", ["csv", "json", "markdown", "table"]),
        ("serve --shard.by ", ["instance", "project"]),
        ("check --inst", ["--instance"]),
    ],
)
def test_commands_flags_and_values_are_completed(
    script: Callable[[str], Path],
    shell: str,
    complete: Complete,
    line: str,
    expected: list[str],
) -> None:
    assert complete(script(shell), f"{PROGRAM} {line}") == expected


@pytest.mark.parametrize(("shell", "complete"), [("bash", bash), ("fish", fish)])
def test_files_and_folders_are_completed(
    script: Callable[[str], Path], shell: str, complete: Complete, tmp_path: Path
) -> None:
    completion = script(shell)
    (tmp_path / "x-file.yaml").touch()
    (tmp_path / "x-folder").mkdir()
    start = tmp_path / "x-"
    files = [word.rstrip("/") for word in complete(completion, f"{PROGRAM} status --config.file {start}")]
    folders = [word.rstrip("/") for word in complete(completion, f"{PROGRAM} serve --state.path {start}")]
    assert files == [str(tmp_path / "x-file.yaml"), str(tmp_path / "x-folder")]
    assert folders == [str(tmp_path / "x-folder")]


def test_zsh_completes_commands_and_values(script: Callable[[str], Path], tmp_path: Path) -> None:
    folder = script("zsh").parent
    assert run("zsh", "-f", "-n", str(folder / f"_{PROGRAM}")) == []
    with Terminal(["zsh", "-f", "-i"], tmp_path) as shell:
        shell.type(f"fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D; print rea''dy\n")
        assert shell.shows("ready")
        shell.type(f"{PROGRAM} statu\t--output \t\t")
        assert shell.shows("status")
        assert shell.shows("csv +json +markdown +table")


class Terminal:
    """A program in a terminal; ends with the block."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._master, slave = pty.openpty()
        environment = {**os.environ, "TERM": "dumb", "HOME": str(folder), "COLUMNS": "200"}
        self._process = subprocess.Popen(  # noqa: S603 (fixed)
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self._text = ""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.wait(10)
        os.close(self._master)

    def type(self, text: str) -> None:
        """Type a text."""
        os.write(self._master, text.encode())

    def shows(self, pattern: str) -> bool:
        """Whether a text that matches appears before the timeout."""
        deadline = time.monotonic() + 20
        while not re.search(pattern, self._text) and time.monotonic() < deadline:
            if select.select([self._master], [], [], 0.1)[0]:
                self._text += os.read(self._master, 65536).decode(errors="replace")
        return re.search(pattern, self._text) is not None


@pytest.mark.parametrize("arguments", [["--print-completion=tcsh"], ["--print-completion"]])
def test_other_shells_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    output = capsys.readouterr()
    assert (ended.value.code, output.out) == (2, "")
    assert "--print-completion" in output.err


def test_every_shell_is_tested() -> None:
    assert set(SHELLS) == {"bash", "zsh", "fish"}
