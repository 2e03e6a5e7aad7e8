"""Types of flag values: each reads the text of a flag, or raises ArgumentTypeError with what is wrong."""

import argparse
import re
from collections.abc import Callable
from datetime import date
from functools import wraps
from pathlib import Path
from typing import TypeVar

from exporter.simulator import Fault, parse_world
from exporter.verdict.rules import WORST_FIRST, Protection
from exporter.web import path_prefix, site_url, split_address

T = TypeVar("T")


def _flag_type(read: Callable[[str], T]) -> Callable[[str], T]:
    """The function, with ArgumentTypeError instead of ValueError: argparse shows the text of the former only."""

    @wraps(read)
    def checked(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


external_path = _flag_type(path_prefix)


@_flag_type
def address(text: str) -> str:
    """`HOST:PORT`."""
    split_address(text)
    return text


@_flag_type
def external_site(text: str) -> str:
    """The URL of another program; empty for none."""
    return site_url(text) if text else ""


def optional_file(text: str) -> Path | None:
    """A file; empty text means none, as in Prometheus."""
    return Path(text) if text else None


@_flag_type
def instance(text: str) -> tuple[str | None, str]:
    """`[PROJECT/]INSTANCE`."""
    project, separator, name = text.rpartition("/")
    if not name or (separator and not project):
        raise ValueError(f"{text!r} is not INSTANCE or PROJECT/INSTANCE")
    return project or None, name


@_flag_type
def states(text: str) -> list[Protection]:
    """`STATE[,STATE...]`."""
    words = [word.strip() for word in text.split(",")]
    unknown = [word for word in words if word not in set(Protection)]
    if unknown:
        raise ValueError(f"unknown state {unknown[0]!r}; the states are {', '.join(WORST_FIRST)}")
    return [Protection(word) for word in words]


@_flag_type
def non_negative(text: str) -> int:
    """A whole number from 0 to 999999."""
    if not (text.isascii() and text.isdecimal() and len(text) < 7):
        raise ValueError(f"{text!r} is not a whole number from 0 to 999999")
    return int(text)


@_flag_type
def positive(text: str) -> int:
    """A whole number from 1 to 999999."""
    number = non_negative(text)
    if not number:
        raise ValueError("must be at least 1")
    return number


@_flag_type
def world(text: str) -> str:
    """The name of a simulated world."""
    parse_world(text)
    return text


@_flag_type
def fault(text: str) -> Fault:
    """`KIND[:PROJECT[:METHOD]]`."""
    kind, project, method = [*text.split(":"), "*", "*"][:3]
    return Fault(kind, project or "*", method or "*", seconds=10 if kind == "slow" else 0)


@_flag_type
def day(text: str) -> date:
    """`YYYY-MM-DD`."""
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):  # Python also reads other forms, such as 2026-W48-2
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError(f"{text!r} is not a date such as 2026-11-24")


@_flag_type
def speed(text: str) -> float:
    """A factor from 0 to 100000."""
    try:
        factor = float(text)
    except ValueError:
        factor = -1.0
    if not 0 <= factor <= 100_000:
        raise ValueError(f"{text!r} is not a number from 0 to 100000")
    return factor
