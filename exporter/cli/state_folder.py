"""The state folder of a configuration, for commands that read only the state."""

from pathlib import Path

from exporter.config import load
from exporter.state.reader import SavedStateError


def configured_folder(config_file: Path) -> Path:
    """The state folder that a configuration names. Raises ConfigError or SavedStateError."""
    folder = load(config_file).state.path
    if folder is None:
        raise SavedStateError(f"{config_file} keeps no state: state.path is null; name a folder with --state.path")
    return folder
