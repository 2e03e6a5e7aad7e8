"""Output on terminals and in pipes: nothing is cut off, and no text controls the terminal."""

import io
import os
import pty
import sys
import termios

import pytest
from rich.table import Table

from exporter.cli.terminal import print_error, printable, table_text, write

CELLS = ("project-with-a-long-name", "a sentence of several words that a narrow terminal can wrap", "x" * 200)


def table(*cells: str) -> Table:
    made = Table(box=None, show_header=False)
    for _ in cells:
        made.add_column(overflow="fold")
    made.add_row(*cells)
    return made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ünïcödé 数据 שלום 🙂", "Ünïcödé 数据 שלום 🙂"),
        ("\x1b[31mred", "?[31mred"),
        ("a\nb\tc\rd", "a?b?c?d"),
        ("\u202egnp.exe", "?gnp.exe"),
        ("\u2066\u2069\u200f", "???"),
        ("\x9b2J\x7f", "?2J?"),
        ("\ud800", "?"),
    ],
)
def test_printable_replaces_controls_and_bidi_overrides(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_error_is_one_line_without_controls(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("project \x1b[2J[bold]p[/bold]\u202e:\n" + "word " * 60)
    assert capsys.readouterr().err == "error: project ?[2J[bold]p[/bold]?:?" + "word " * 60 + "\n"


def test_table_in_a_pipe_is_as_wide_as_it_needs() -> None:
    assert table_text(table(*CELLS)).splitlines() == [f" {'  '.join(CELLS)}"]


def terminal_text(width: int, made: Table, monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """The text of a table for a terminal of some width."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (50, width))
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm", "COLUMNS": str(width), **environment}.items():
        monkeypatch.setenv(name, value)
    with os.fdopen(slave, "w") as terminal, os.fdopen(master):
        monkeypatch.setattr(sys, "stdout", terminal)
        return table_text(made)


def test_table_on_a_wide_terminal_wraps_words(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = terminal_text(60, table(*CELLS[:2]), monkeypatch).splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 60
    assert CELLS[1] in " ".join(line[len(CELLS[0]) + 1 :].strip() for line in lines)


def test_table_wider_than_the_terminal_is_not_folded_within_words(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "x" * 200 in terminal_text(60, table(*CELLS), monkeypatch)


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_are_for_terminals_without_no_color(
    environment: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Table(box=None, header_style="red")
    made.add_column("HEADER")
    assert ("\x1b[31m" in terminal_text(60, made, monkeypatch, **environment)) == coloured
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert "\x1b" not in table_text(made)


def test_what_the_encoding_of_stdout_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="ascii"))
    write("naïve 数\n")
    assert out.getvalue() == b"na\\xefve \\u6570\n"
