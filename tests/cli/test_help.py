"""`--help` of every command fits 80 columns and ends with examples that are valid."""

import re
import shlex

import pytest

from exporter.cli.flags import parse_flags
from exporter.cli.main import main

COMMANDS = [
    *("serve", "check-config", "status", "check", "report", "once", "state", "healthcheck", "demo", "simulate"),
]


def help_text(arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def example_commands(text: str) -> list[list[str]]:
    """The examples of a help text, as arguments; a line that ends in a backslash goes on in the next."""
    _, _, examples = text.partition("\nexamples:\n")
    lines = examples.replace("\\\n", " ").splitlines()
    commands = [line.strip().partition(" > ")[0] for line in lines if line.startswith("  cloudsql-backup-exporter")]
    return [shlex.split(command)[1:] for command in commands]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_80_columns(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = help_text([command] if command else [], capsys, monkeypatch)
    assert [line for line in text.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_of_a_command_are_valid(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = example_commands(help_text([command], capsys, monkeypatch))
    assert examples
    for arguments in examples:
        assert arguments[0] == command
        assert callable(parse_flags(arguments).run)


def test_help_of_the_program_names_every_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = help_text([], capsys, monkeypatch)
    assert [name for name in COMMANDS if not re.search(rf"^    {name} ", text, re.MULTILINE)] == []
    assert {arguments[0] for arguments in example_commands(text)} <= {*COMMANDS, "--print-completion=bash"}


def test_state_path_of_demo_names_no_configuration(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = " ".join(help_text(["demo"], capsys, monkeypatch).split())
    assert "folder for facts and counters (default: none, in memory only)" in demo
    assert "state.path of the configuration" not in demo
