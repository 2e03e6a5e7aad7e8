"""Names of TLS settings in the web configuration file, which are those of Go, and their values in Python's ssl module.

Sources: `web/tls_config.go` of prometheus/exporter-toolkit; https://pkg.go.dev/crypto/tls#CipherSuites.
"""

import ssl
from collections.abc import Mapping

CLIENT_AUTH_TYPES: Mapping[str, ssl.VerifyMode] = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
VERSIONS: Mapping[str, ssl.TLSVersion] = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
CURVES: Mapping[str, str] = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
TLS12_CIPHER_SUITES: Mapping[str, str] = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
DEFAULT_CIPHER_SUITES = tuple(name for name in TLS12_CIPHER_SUITES if "_CBC_" not in name)  # of TLS 1.2
# Accepted in `cipher_suites`, and always enabled, as in Go.
TLS13_CIPHER_SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
CIPHER_SUITES = (*TLS12_CIPHER_SUITES, *TLS13_CIPHER_SUITES)

# Valid names of the format that are rejected, with the reason and the alternative.
_UNVERIFIED = "requests a client certificate without verifying it, which Python's ssl module cannot do; use"
REJECTED: Mapping[str, str] = {
    "RequestClientCert": f"{_UNVERIFIED} VerifyClientCertIfGiven with client_ca_file",
    "RequireAnyClientCert": f"{_UNVERIFIED} RequireAndVerifyClientCert with client_ca_file",
    "RequireClientCert": f"{_UNVERIFIED} RequireAndVerifyClientCert with client_ca_file",
    "TLS10": "is not supported because TLS 1.0 is insecure; use TLS12 or TLS13",
    "TLS11": "is not supported because TLS 1.1 is insecure; use TLS12 or TLS13",
}
