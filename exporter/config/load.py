"""Loading of a `Config` from a YAML file."""

from pathlib import Path

from exporter.config.document import ConfigError, Document, Problem
from exporter.config.schema import Config


def load(file: Path) -> Config:
    """Read a configuration file. Raises ConfigError; a relative key file is found beside the configuration."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = "no such file; name one with --config.file, or start from config.example.yaml"
        raise ConfigError([Problem(str(file), None, "", hint)]) from None
    except OSError as error:
        raise ConfigError([Problem(str(file), None, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(file), None, "", "is not UTF-8 text")]) from error
    config = loads(text, str(file))
    credentials = config.cloudsql.credentials
    if credentials.file is None:
        return config
    beside = credentials.model_copy(update={"file": file.parent / credentials.file})
    return config.model_copy(update={"cloudsql": config.cloudsql.model_copy(update={"credentials": beside})})


def loads(text: str, file: str = "config.yaml") -> Config:
    """Read a configuration from YAML text; `file` is the name used in problems. Raises ConfigError."""
    return Document(file, Config).validate(text)
