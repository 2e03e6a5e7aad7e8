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
from exporter.config.schema import CloudSql, Config, Credentials

_URLS = ("endpoint", "resource_manager_endpoint", "backup_dr_endpoint", "cloud_asset_endpoint")


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
        case CloudSql():
            return _fields(value) | {name: _without_user(getattr(value, name)) for name in _URLS}
        case BaseModel():
            return _fields(value)
        case timedelta():
            return exact_duration(value)
        case re.Pattern():
            return value.pattern
        case StrEnum() | Path():
            return str(value)
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case tuple() | list():
            return [_plain(item) for item in value]
        case _:
            return value


def _fields(section: BaseModel) -> dict[str, object]:
    return {name: _plain(getattr(section, name)) for name in type(section).model_fields}


def _credentials(credentials: Credentials) -> object:
    match credentials.kind:
        case "file":
            return {"file": str(credentials.file)}
        case "impersonate":
            return {"impersonate": credentials.impersonate, "lifetime": exact_duration(credentials.lifetime)}
        case kind:
            return kind


def _without_user(text: str | None) -> str | None:
    """A URL without user and password."""
    if text is None:
        return None
    url = urlsplit(text)
    return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()
