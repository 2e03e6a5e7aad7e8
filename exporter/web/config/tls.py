"""TLS contexts for the connections that the server accepts."""

import ipaddress
import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, cast

from exporter.web.config.names import CLIENT_AUTH_TYPES, CURVES, DEFAULT_CIPHER_SUITES, TLS12_CIPHER_SUITES, VERSIONS
from exporter.web.config.schema import TlsServerConfig

_WEAK_CERTIFICATE = {"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"}


class TlsError(Exception):
    """A value of `tls_server_config` that cannot be used. `key` is its key."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def key_name(config: TlsServerConfig, name: str) -> str:
    """The key that gives a certificate, private key or CA: `cert` or `cert_file`."""
    return name if name in config.model_fields_set else f"{name}_file"


@dataclass(frozen=True, slots=True)
class PemTexts:
    """Certificate chain, private key and client CA, in PEM format."""

    cert: bytes
    key: bytes = field(repr=False)
    client_ca: bytes  # empty without client certificates


class VerifiedSSLObject(ssl.SSLObject):
    """A connection whose client certificate must have an allowed subject alternative name (SAN)."""

    def do_handshake(self) -> None:
        """Do the TLS handshake. Raises SSLCertVerificationError if the name is not allowed."""
        super().do_handshake()
        certificate = self.getpeercert()
        if certificate and not self.context.allowed_sans & _names(certificate):  # type: ignore[attr-defined]
            error = ssl.SSLCertVerificationError("client certificate not allowed")
            error.reason = "CERTIFICATE_VERIFY_FAILED"
            error.verify_message = "no allowed subject alternative name"
            raise error


class ServerContext(ssl.SSLContext):
    """A TLS context that also checks the names of client certificates, before any byte of a request is read."""

    allowed_sans: frozenset[str] = frozenset()

    def restrict_sans(self, allowed: tuple[str, ...]) -> None:
        """Accept only client certificates with one of these names."""
        self.allowed_sans = frozenset(map(_normalized, allowed))
        self.sslobject_class = VerifiedSSLObject


def server_context(config: TlsServerConfig, pem: PemTexts) -> ServerContext:
    """A context with these settings. Raises TlsError."""
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = VERSIONS[config.min_version], VERSIONS[config.max_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if not config.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    _set_cipher_suites(context, config.cipher_suites)
    _set_curves(context, config.curve_preferences)
    _load_certificate(context, config, pem)
    context.verify_mode = CLIENT_AUTH_TYPES[config.client_auth_type]
    if context.verify_mode is not ssl.CERT_NONE:
        _load_authorities(context, key_name(config, "client_ca"), pem.client_ca)
    if config.client_allowed_sans:
        context.restrict_sans(config.client_allowed_sans)
    return context


def _set_cipher_suites(context: ssl.SSLContext, names: tuple[str, ...]) -> None:
    """Set the cipher suites of TLS 1.2; those of TLS 1.3 cannot be chosen, as in Go."""
    tls12 = [TLS12_CIPHER_SUITES[name] for name in names or DEFAULT_CIPHER_SUITES if name in TLS12_CIPHER_SUITES]
    if not tls12:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return
    try:
        context.set_ciphers(":".join(tls12))
    except ssl.SSLError as error:
        raise TlsError("cipher_suites", f"is not supported by {ssl.OPENSSL_VERSION}") from error


def _set_curves(context: ssl.SSLContext, names: tuple[str, ...]) -> None:
    try:
        if len(names) == 1:
            context.set_ecdh_curve(CURVES[names[0]])
        elif names:
            context.set_groups(":".join(CURVES[name] for name in names))  # type: ignore[attr-defined]  # Python 3.15
    except (ValueError, ssl.SSLError) as error:
        raise TlsError("curve_preferences", f"is not supported by {ssl.OPENSSL_VERSION}") from error


def _load_certificate(context: ssl.SSLContext, config: TlsServerConfig, pem: PemTexts) -> None:
    cert_key, key_key = key_name(config, "cert"), key_name(config, "key")

    def refuse_password() -> str:
        raise TlsError(key_key, "is encrypted, and the exporter has no password for it; decrypt it with `openssl pkey`")

    _load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), cert_key, pem.cert)  # tells a bad chain from a bad key
    if b"PRIVATE KEY-----" not in pem.key:
        raise TlsError(key_key, "contains no private key in PEM format")
    try:
        with _file(pem.cert) as cert_file, _file(pem.key) as key_file:
            context.load_cert_chain(cert_file, key_file, password=refuse_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError(key_key, "is not the key of the certificate") from error
        raise TlsError(cert_key if error.reason in _WEAK_CERTIFICATE else key_key, _unusable(error)) from error


def _load_authorities(context: ssl.SSLContext, key: str, certificates: bytes) -> None:
    """Trust exactly these certificates, also if they are intermediates, as Go does."""
    try:
        with _file(certificates) as file:
            context.load_verify_locations(cafile=file)
    except ssl.SSLError as error:
        if error.reason in ("NO_CERTIFICATE_OR_CRL_FOUND", "NO_START_LINE"):
            raise TlsError(key, "contains no certificate in PEM format") from error
        raise TlsError(key, _unusable(error)) from error
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _unusable(error: ssl.SSLError) -> str:
    return f"cannot be used: {error.reason.replace('_', ' ').lower()}" if error.reason else "is not in PEM format"


@contextmanager
def _file(content: bytes) -> Iterator[str]:
    """The path of a private file, in memory if possible: the ssl module reads keys from files only."""
    with _private_file() as file:
        file.write(content)
        file.flush()
        yield file.name if isinstance(file.name, str) else f"/proc/self/fd/{file.fileno()}"


def _private_file() -> IO[bytes]:
    try:
        return os.fdopen(os.memfd_create("pem"), "wb")
    except (AttributeError, OSError):  # another system than Linux, or a filter of system calls
        return cast(IO[bytes], tempfile.NamedTemporaryFile())


def _names(certificate: object) -> set[str]:
    """The names of a certificate as returned by getpeercert(), which writes IP addresses in various notations."""
    alternatives = certificate.get("subjectAltName", ()) if isinstance(certificate, dict) else ()
    return {_normalized(name) for kind, name in alternatives if kind in ("DNS", "IP Address", "URI", "email")}


def _normalized(name: str) -> str:
    try:
        address = ipaddress.ip_address(name.strip())
    except ValueError:
        return name
    return str(getattr(address, "ipv4_mapped", None) or address)
