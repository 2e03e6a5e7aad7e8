"""The configuration in force as YAML, with every key, without secrets."""

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel

from exporter.config.duration import exact_duration
from exporter.config.schema import Config, Credentials


def effective_yaml(config: Config) -> str:
    """The configuration as a file that `load` reads as the same one.

    Key files are named, not read; user and password of a URL are left out.
    """
    text: str = yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True, width=100)
    return text


def _plain(value: object) -> object:
    match value:
        case Credentials():
            return _credentials(value)
        case BaseModel():
            return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
        case timedelta():
            return exact_duration(value)
        case re.Pattern():
            return value.pattern
        case StrEnum() | Path():
            return str(value)
        case str():
            return _without_user(value)
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case tuple() | list():
            return [_plain(item) for item in value]
        case _:
            return value


def _credentials(credentials: Credentials) -> object:
    match credentials.kind:
        case "file":
            return {"file": str(credentials.file)}
        case "impersonate":
            return {"impersonate": credentials.impersonate, "lifetime": exact_duration(credentials.lifetime)}
        case kind:
            return kind


def _without_user(text: str) -> str:
    """The text; if it is a URL, without user and password."""
    if not text.startswith(("http://", "https://")):
        return text
    url = urlsplit(text)
    return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()
