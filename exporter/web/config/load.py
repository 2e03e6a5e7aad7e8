"""Loading of the web configuration file, with the certificates and keys that it names."""

import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pydantic import SecretStr

from exporter.config import ConfigError, Document, Problem
from exporter.web.config import rules
from exporter.web.config.schema import RateLimit, TlsServerConfig, WebConfigSchema
from exporter.web.config.tls import PemTexts, TlsError, server_context

log = logging.getLogger(__name__)


class WebConfigError(ConfigError):
    """The web configuration file, or a file that it names, cannot be used."""


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The settings of a web configuration file, ready for use."""

    tls: ssl.SSLContext | None = None
    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)  # bcrypt hash by name
    headers: tuple[tuple[bytes, bytes], ...] = ()
    rate_limit: RateLimit | None = None


class _TextLoader(yaml.SafeLoader):
    """Reads every scalar as text: the user `007`, the header value `1`."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (declared so by the base class)


def load(path: Path, *, allow_empty: bool = True, read: Callable[[Path], bytes] = Path.read_bytes) -> WebConfig:
    """Read a web configuration file. Relative paths in it are relative to its folder. Raises WebConfigError."""
    document = Document(str(path), WebConfigSchema, _TextLoader)
    try:
        content = document.validate(read(path).decode())
        if document.empty and not allow_empty:
            raise WebConfigError([Problem(str(path), None, "", "is empty; write {} for no settings")])
        problems = [document.problem_at(key, message) for key, message in rules.problems(content)]
        if problems:
            raise WebConfigError(sorted(problems, key=lambda problem: problem.line or 0))
        tls = _tls_context(content.tls_server_config, path.parent, read)
    except UnicodeDecodeError as error:
        raise WebConfigError([Problem(str(path), None, "", "is not UTF-8 text")]) from error
    except OSError as error:
        raise WebConfigError([Problem(str(path), None, "", f"cannot be read: {error.strerror}")]) from error
    except TlsError as error:
        raise WebConfigError([document.problem_at(("tls_server_config", error.key), str(error))]) from error
    except ConfigError as error:
        raise WebConfigError(error.problems) from error
    if "http2" in content.http_server_config.model_fields_set:
        log.info("http_server_config.http2 has no effect: the server speaks HTTP/1.1")
    return WebConfig(
        tls=tls,
        users={name.encode(): secret.get_secret_value().encode() for name, secret in content.basic_auth_users.items()},
        headers=tuple((k.lower().encode(), v.encode()) for k, v in content.http_server_config.headers.items() if v),
        rate_limit=content.rate_limit if content.rate_limit.interval else None,
    )


def _tls_context(config: TlsServerConfig, folder: Path, read: Callable[[Path], bytes]) -> ssl.SSLContext | None:
    if not config.model_fields_set:
        return None
    pem = PemTexts(*(_pem_text(config, name, folder, read) for name in ("cert", "key", "client_ca")))
    return server_context(config, pem)


def _pem_text(config: TlsServerConfig, name: str, folder: Path, read: Callable[[Path], bytes]) -> bytes:
    """The certificates or key of a name, from the file or its text; empty if neither is given."""
    text, file = getattr(config, name), getattr(config, f"{name}_file")
    if file is None:
        return str(text.get_secret_value() if isinstance(text, SecretStr) else text or "").encode()
    try:
        return read(folder / file)
    except OSError as error:
        raise TlsError(f"{name}_file", f"cannot read {folder / file}: {error.strerror}") from error
    except ValueError as error:  # a null character
        raise TlsError(f"{name}_file", "is not the path of a file") from error
