"""Configuration: its schema, the duration format, and loading it from a file."""

from exporter.config.document import ConfigError, Document, KeyPath, Problem
from exporter.config.duration import format_duration, parse_duration
from exporter.config.effective import effective_yaml
from exporter.config.load import load, loads
from exporter.config.schema import (
    CloudSql,
    Config,
    Credentials,
    Discover,
    Expected,
    FolderTarget,
    InstanceSelector,
    OrganizationTarget,
    Policy,
    ProjectTarget,
    SearchingTarget,
    SearchTarget,
    State,
    Target,
)

__all__ = [
    "CloudSql",
    "Config",
    "ConfigError",
    "Credentials",
    "Discover",
    "Document",
    "Expected",
    "FolderTarget",
    "InstanceSelector",
    "KeyPath",
    "OrganizationTarget",
    "Policy",
    "Problem",
    "ProjectTarget",
    "SearchTarget",
    "SearchingTarget",
    "State",
    "Target",
    "effective_yaml",
    "format_duration",
    "load",
    "loads",
    "parse_duration",
]
