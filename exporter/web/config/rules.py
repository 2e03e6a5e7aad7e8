"""Rules of the web configuration file that concern several keys, or the names of keys.

Settings without effect, and settings that would silently weaken security, are problems.
"""

import difflib
import ssl
from collections.abc import Iterator, Mapping

from exporter.config import KeyPath
from exporter.web.config.names import TLS12_CIPHER_SUITES, VERSIONS
from exporter.web.config.schema import TlsServerConfig, WebConfigSchema

HEADERS: Mapping[str, frozenset[str]] = {  # the names that may be set, with their values if only some are valid
    "Strict-Transport-Security": frozenset(),
    "X-Content-Type-Options": frozenset({"nosniff"}),
    "X-Frame-Options": frozenset({"deny", "sameorigin"}),
    "X-XSS-Protection": frozenset(),
    "Content-Security-Policy": frozenset(),
}
_CERTIFICATE_KEYS = {"cert", "cert_file", "key", "key_file"}


def problems(content: WebConfigSchema) -> Iterator[tuple[KeyPath, str]]:
    """The problems of a file whose values are valid on their own: path and message."""
    for name, message in _tls_problems(content.tls_server_config):
        yield ("tls_server_config", name), message
    for name, value in content.http_server_config.headers.items():
        if header_problem := _header_problem(name, value):
            yield ("http_server_config", "headers", name), header_problem
    for user in content.basic_auth_users:
        if ":" in user:
            yield ("basic_auth_users", user), "a user name cannot contain a colon in basic authentication"
    if content.rate_limit.burst and "interval" not in content.rate_limit.model_fields_set:
        yield ("rate_limit", "burst"), "has no effect without interval"


def _tls_problems(tls: TlsServerConfig) -> Iterator[tuple[str, str]]:
    for name in ("cert", "key", "client_ca"):
        if {name, f"{name}_file"} <= tls.model_fields_set:
            yield name, f"{name} and {name}_file exclude each other"
    if not tls.model_fields_set & _CERTIFICATE_KEYS:
        for name in tls.model_fields_set:
            yield name, "has no effect without a certificate; add cert_file and key_file"
        return
    for name, other in (("cert", "key"), ("key", "cert")):
        given = tls.model_fields_set & {name, f"{name}_file"}
        if given and not tls.model_fields_set & {other, f"{other}_file"}:
            yield given.pop(), f"is of no use without {other}_file or {other}"
    yield from _client_problems(tls)
    if VERSIONS[tls.min_version] > VERSIONS[tls.max_version]:
        yield "max_version", "must not be lower than min_version"
    if tls.cipher_suites and tls.max_version == "TLS12" and TLS12_CIPHER_SUITES.keys().isdisjoint(tls.cipher_suites):
        yield "cipher_suites", "contains no cipher suite of TLS 1.2, which max_version requires"
    if len(tls.curve_preferences) > 1 and not hasattr(ssl.SSLContext, "set_groups"):
        yield "curve_preferences", "must contain one curve only; Python's ssl module takes several from Python 3.15 on"


def _client_problems(tls: TlsServerConfig) -> Iterator[tuple[str, str]]:
    """Client certificates must be verified, and by the CA of the file: never by the CAs of the machine."""
    verified, ca_keys = tls.client_auth_type != "NoClientCert", tls.model_fields_set & {"client_ca", "client_ca_file"}
    if verified and not ca_keys:
        yield "client_auth_type", "needs a CA to verify client certificates; add client_ca_file"
    if not verified:
        hint = "has no effect without client certificates; add client_auth_type: RequireAndVerifyClientCert"
        for name in [*ca_keys, *(tls.model_fields_set & {"client_allowed_sans"})]:
            yield name, hint


def _header_problem(name: str, value: str) -> str | None:
    if name not in HEADERS:
        by_lower_case = {known.lower(): known for known in HEADERS}
        nearest = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
        hint = f"did you mean {by_lower_case[nearest[0]]}?" if nearest else f"known here: {', '.join(sorted(HEADERS))}"
        return f"this header cannot be set; {hint}"
    if HEADERS[name] and value not in HEADERS[name]:
        return f"must be {' or '.join(sorted(HEADERS[name]))}"
    if not (value.isascii() and (value.isprintable() or not value)):
        return "must be one line of ASCII characters"
    return None
