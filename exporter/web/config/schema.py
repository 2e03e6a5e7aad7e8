"""Schema of the web configuration file of Prometheus's exporter-toolkit. Every value is read as text.

Source: https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md
"""

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, SecretStr, StringConstraints

from exporter.web.config import names

T = TypeVar("T")

_BOOLEANS = {"true": True, "yes": True, "on": True, "y": True, "false": False, "no": False, "off": False, "n": False}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(rf"(\d+\.?\d*|\.\d+)({'|'.join(_SECONDS)})")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+")
# The last character of the salt stands for two bits only.
_BCRYPT_HASH = re.compile(r"\$2[aby]\$(?:0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")


def _not_empty(items: tuple[T, ...]) -> tuple[T, ...]:
    if not items:
        raise ValueError("must not be empty")
    return items


def _has_value(section: object) -> object:
    if section == "":
        raise ValueError("has no value; remove the key, or give it one")
    return section


def one_of(text: object, choices: Collection[str]) -> str:
    """The text. Raises ValueError if it is not a choice; the message says why, or names the nearest choice."""
    if isinstance(text, str) and text in choices:
        return text
    if isinstance(text, str) and text in names.REJECTED:
        raise ValueError(f"{text} {names.REJECTED[text]}")
    nearest = difflib.get_close_matches(str(text), choices, n=1)
    raise ValueError(f"unknown; did you mean {nearest[0]}?" if nearest else f"must be one of {', '.join(choices)}")


def _boolean(text: object) -> bool:
    value = _BOOLEANS.get(text.lower()) if isinstance(text, str) else None
    if value is None:
        raise ValueError("must be true or false")
    return value


def _count(text: object) -> int:
    if not (isinstance(text, str) and re.fullmatch(r"[0-9]{1,9}", text)):
        raise ValueError("must be a whole number, 0 or greater")
    return int(text)


def _seconds(text: object) -> float:
    if text == "0":
        return 0.0
    if not (isinstance(text, str) and _DURATION.fullmatch(text)):
        raise ValueError("must be a duration such as 500ms, 1s or 1m30s, or 0 for no rate limit")
    return sum(float(amount) * _SECONDS[unit] for amount, unit in _DURATION_PART.findall(text))


def _bcrypt_hash(secret: SecretStr) -> SecretStr:
    if not _BCRYPT_HASH.fullmatch(secret.get_secret_value()):
        hint = "60 characters that start with $2a$, $2b$ or $2y$, as printed by `htpasswd -nB USER`"
        raise ValueError(f"is not a bcrypt hash: {hint}")
    return secret


Text = Annotated[str, StringConstraints(min_length=1)]
Secret = Annotated[SecretStr, StringConstraints(min_length=1)]
Boolean = Annotated[bool, BeforeValidator(_boolean)]
ClientAuthType = Annotated[str, BeforeValidator(lambda text: one_of(text, names.CLIENT_AUTH_TYPES))]
Version = Annotated[str, BeforeValidator(lambda text: one_of(text, names.VERSIONS))]
CipherSuite = Annotated[str, BeforeValidator(lambda text: one_of(text, names.CIPHER_SUITES))]
Curve = Annotated[str, BeforeValidator(lambda text: one_of(text, names.CURVES))]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TlsServerConfig(_Section):
    """Certificates and TLS settings. A certificate, key or CA is either text in PEM format or the path of a file."""

    cert: Text | None = None
    cert_file: Text | None = None
    key: Secret | None = None
    key_file: Text | None = None
    client_ca: Text | None = None
    client_ca_file: Text | None = None
    client_auth_type: ClientAuthType = "NoClientCert"
    client_allowed_sans: Annotated[tuple[Text, ...], AfterValidator(_not_empty)] = ()
    min_version: Version = "TLS12"
    max_version: Version = "TLS13"
    cipher_suites: tuple[CipherSuite, ...] = ()
    curve_preferences: tuple[Curve, ...] = ()
    prefer_server_cipher_suites: Boolean = True


class HttpServerConfig(_Section):
    """HTTP settings. `http2` is accepted without effect: the server speaks HTTP/1.1."""

    http2: Boolean = True
    headers: Mapping[str, str] = {}


class RateLimit(_Section):
    """A token bucket: one token per `interval` in seconds, at most `burst` of them. No limit if `interval` is 0."""

    interval: Annotated[float, BeforeValidator(_seconds)] = 0.0
    burst: Annotated[int, BeforeValidator(_count)] = 0


class WebConfigSchema(_Section):
    """The web configuration file."""

    tls_server_config: Annotated[TlsServerConfig, BeforeValidator(_has_value)] = TlsServerConfig()
    http_server_config: Annotated[HttpServerConfig, BeforeValidator(_has_value)] = HttpServerConfig()
    basic_auth_users: Annotated[
        Mapping[str, Annotated[SecretStr, AfterValidator(_bcrypt_hash)]], BeforeValidator(_has_value)
    ] = {}
    rate_limit: Annotated[RateLimit, BeforeValidator(_has_value)] = RateLimit()
