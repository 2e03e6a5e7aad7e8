"""Certificates for tests."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
LOCALHOST = (x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))


@dataclass(frozen=True)
class Certificate:
    """A certificate with its private key."""

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey

    @property
    def cert(self) -> bytes:
        """The certificate in PEM format."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key(self) -> bytes:
        """The private key in PEM format."""
        return self._private_bytes(serialization.NoEncryption())

    def encrypted_key(self, password: bytes) -> bytes:
        """The private key in PEM format, encrypted."""
        return self._private_bytes(serialization.BestAvailableEncryption(password))

    def _private_bytes(self, encryption: serialization.KeySerializationEncryption) -> bytes:
        encoding, key_format = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return self.private_key.private_bytes(encoding, key_format, encryption)

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write NAME.crt and NAME.key."""
        paths = folder / f"{name}.crt", folder / f"{name}.key"
        for path, content in zip(paths, (self.cert, self.key), strict=True):
            path.write_bytes(content)
        return paths


def authority(name: str = "CA", issuer: Certificate | None = None) -> Certificate:
    """A certificate authority, signed by itself unless there is an issuer."""
    return _signed(name, issuer, [(x509.BasicConstraints(ca=True, path_length=None), True)], -DAY, DAY)


def issue(
    issuer: Certificate,
    names: Sequence[x509.GeneralName] = LOCALHOST,
    usage: x509.ObjectIdentifier = SERVER,
    valid: tuple[timedelta, timedelta] = (-DAY, DAY),
) -> Certificate:
    """A certificate that is no authority; `valid` is relative to now."""
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.ExtendedKeyUsage([usage]), False),
    ]
    if names:
        extensions.append((x509.SubjectAlternativeName(names), False))
    return _signed("leaf", issuer, extensions, *valid)


def _signed(
    name: str,
    issuer: Certificate | None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
    begin: timedelta,
    end: timedelta,
) -> Certificate:
    now = datetime.now(UTC)
    private_key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(
        issuer.certificate.subject if issuer else subject,
        subject,
        private_key.public_key(),
        x509.random_serial_number(),
        now + begin,
        now + end,
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    signing_key = issuer.private_key if issuer else private_key
    return Certificate(builder.sign(signing_key, hashes.SHA256()), private_key)
