"""Loading of web configuration files: each key is honored, or rejected with file, line and key."""

import logging
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from exporter.web.config import RateLimit, WebConfig, WebConfigError, load
from tests.support.certificates import Certificate, authority, issue

HASH = "$2y$04$" + "a" * 21 + "." + "b" * 31
CERTIFICATE = "cert_file: server.crt, key_file: server.key"


@pytest.fixture(scope="module")
def server() -> Certificate:
    return issue(authority())


@pytest.fixture
def folder(tmp_path: Path, server: Certificate) -> Path:
    """A folder with certificates and keys."""
    server.write(tmp_path, "server")
    issue(authority()).write(tmp_path, "other")
    authority().write(tmp_path, "ca")
    (tmp_path / "encrypted.key").write_bytes(server.encrypted_key(b"secret"))
    (tmp_path / "empty.pem").write_bytes(b"")
    (tmp_path / "text.pem").write_text("no certificate\n")
    (tmp_path / "damaged.crt").write_bytes(server.cert.replace(b"\nM", b"\n!M", 1))
    (tmp_path / "damaged.key").write_bytes(server.key.replace(b"\nM", b"\n!M", 1))
    return tmp_path


def loaded(folder: Path, text: str) -> WebConfig:
    file = folder / "web.yml"
    file.write_text(text)
    return load(file)


def problems(folder: Path, text: str) -> list[str]:
    """The messages for a file, without its path."""
    with pytest.raises(WebConfigError) as raised:
        loaded(folder, text)
    assert raised.value.exit_code == 2
    return [line.removeprefix(f"{folder / 'web.yml'}") for line in str(raised.value).splitlines()]


@pytest.mark.parametrize("text", ["", "---\n", "# a comment\n", "{}", "basic_auth_users: {}", "tls_server_config: {}"])
def test_a_file_without_settings_means_no_tls_and_no_users(folder: Path, text: str) -> None:
    assert loaded(folder, text) == WebConfig()


def test_users_and_headers_are_read_as_text(folder: Path) -> None:
    config = loaded(
        folder,
        "basic_auth_users:\n"
        + "".join(f"  {name}: {HASH}\n" for name in ("007", "yes", "null", "1.0", "2026-11-24", "jürgen", "'<a>'"))
        + "http_server_config:\n"
        "  headers:\n"
        "    X-XSS-Protection: 1\n"
        "    X-Frame-Options: sameorigin\n"
        "    X-Content-Type-Options: nosniff\n"
        "    Strict-Transport-Security: max-age=31536000; includeSubDomains\n"
        "    Content-Security-Policy:\n",
    )
    assert [name.decode() for name in config.users] == ["007", "yes", "null", "1.0", "2026-11-24", "jürgen", "<a>"]
    assert set(config.users.values()) == {HASH.encode()}
    assert config.headers == (
        (b"x-xss-protection", b"1"),
        (b"x-frame-options", b"sameorigin"),
        (b"x-content-type-options", b"nosniff"),
        (b"strict-transport-security", b"max-age=31536000; includeSubDomains"),
    )


@pytest.mark.parametrize("bcrypt_hash", [f"$2a$05{HASH[6:]}", f"$2b$31{HASH[6:]}", f"$2y$10{HASH[6:]}"])
def test_bcrypt_hashes_of_any_cost_are_valid(folder: Path, bcrypt_hash: str) -> None:
    assert loaded(folder, f"basic_auth_users: {{alice: {bcrypt_hash}}}").users == {b"alice": bcrypt_hash.encode()}


@pytest.mark.parametrize(
    ("interval", "seconds"),
    [("1s", 1), ("500ms", 0.5), ("1m30s", 90), ("1.5h", 5400), (".5s", 0.5), ("20us", 2e-5), ("20µs", 2e-5)],
)
def test_rate_limits_are_durations_as_go_writes_them(folder: Path, interval: str, seconds: float) -> None:
    limit = loaded(folder, f"rate_limit: {{interval: {interval}, burst: 20}}").rate_limit
    assert limit == RateLimit(interval=f"{round(seconds * 1e6)}us", burst="20")


@pytest.mark.parametrize("text", ["{interval: 0, burst: 20}", "{interval: 0s}", "{}", "{interval: 0, burst: 0}"])
def test_an_interval_of_zero_means_no_rate_limit(folder: Path, text: str) -> None:
    assert loaded(folder, f"rate_limit: {text}").rate_limit is None


@pytest.mark.parametrize("value", ["true", "false", "yes"])
def test_http2_is_accepted_and_the_log_says_that_it_has_no_effect(
    folder: Path, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    loaded(folder, f"http_server_config: {{http2: {value}}}")
    assert caplog.messages == ["http_server_config.http2 has no effect: the server speaks HTTP/1.1"]


HAS_NO_EFFECT = "has no effect without a certificate; add cert_file and key_file"
NO_CLIENTS = "has no effect without client certificates; add client_auth_type: RequireAndVerifyClientCert"
VERIFY = "client_auth_type: RequireAndVerifyClientCert"
UNVERIFIED = "requests a client certificate without verifying it, which Python's ssl module cannot do; use"
BCRYPT = "is not a bcrypt hash: 60 characters that start with $2a$, $2b$ or $2y$, as printed by `htpasswd -nB USER`"
DURATION = "must be a duration such as 500ms, 1s or 1m30s, or 0 for no rate limit"
KNOWN_HEADERS = (
    "Content-Security-Policy, Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection"
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("junk", ":1: must be a mapping of keys to values"),
        ("- a", ":1: must be a mapping of keys to values"),
        ("a: b: c", ":1: is not YAML: mapping values are not allowed here"),
        ("a: 1\n---\nb: 1", ":2: is not YAML: but found another document"),
        ("a: &a [*a]", ": is not YAML: nested too deeply"),
        ("basic_auth_user: {}", ":1: basic_auth_user: unknown key; did you mean basic_auth_users?"),
        (
            "web: {}",
            ":1: web: unknown key; known here: basic_auth_users, http_server_config, rate_limit, tls_server_config",
        ),
        ("\nbasic_auth_users: {}\nbasic_auth_users: {}", ":3: basic_auth_users: is given twice"),
        (f"basic_auth_users:\n  1: {HASH}\n  '1': {HASH}", ":3: basic_auth_users.1: is given twice"),
        *[
            (f"{section}:\n", f":1: {section}: has no value; remove the key, or give it one")
            for section in ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
        ],
        ("basic_auth_users: [alice]", ":1: basic_auth_users: must be a mapping of keys to values"),
        ("basic_auth_users: {a:b: x}", ":1: basic_auth_users.a:b: " + BCRYPT),
        (
            f"basic_auth_users: {{'a:b': {HASH}}}",
            ":1: basic_auth_users.a:b: a user name cannot contain a colon in basic authentication",
        ),
        *[
            (f"basic_auth_users:\n  alice: {value}", f":2: basic_auth_users.alice: {BCRYPT}")
            for value in (
                "secret",
                "''",
                HASH[:-1],
                f"{HASH}b",
                HASH.replace("2y", "2x"),
                HASH.replace("2y", "2"),
                HASH.replace("$04", "$03"),
                HASH.replace("$04", "$32"),
                HASH.replace(".", "b"),
            )
        ],
        ("rate_limit: {interval: 5}", f":1: rate_limit.interval: {DURATION}"),
        ("rate_limit: {interval: -1s}", f":1: rate_limit.interval: {DURATION}"),
        ("rate_limit: {interval: 1d}", f":1: rate_limit.interval: {DURATION}"),
        ("rate_limit: {interval: }", f":1: rate_limit.interval: {DURATION}"),
        ("rate_limit: {burst: -1}", ":1: rate_limit.burst: must be a whole number, 0 or greater"),
        ("rate_limit: {burst: 1.5}", ":1: rate_limit.burst: must be a whole number, 0 or greater"),
        ("rate_limit:\n  burst: 20", ":2: rate_limit.burst: has no effect without interval"),
        ("http_server_config: {http2: maybe}", ":1: http_server_config.http2: must be true or false"),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: foo",
            ":3: http_server_config.headers.X-Frame-Options: must be deny or sameorigin",
        ),
        (
            "http_server_config:\n  headers:\n    X-Content-Type-Options: sniff",
            ":3: http_server_config.headers.X-Content-Type-Options: must be nosniff",
        ),
        (
            "http_server_config: {headers: {Server: x}}",
            f":1: http_server_config.headers.Server: this header cannot be set; known here: {KNOWN_HEADERS}",
        ),
        (
            "http_server_config: {headers: {x-frame-options: deny}}",
            ":1: http_server_config.headers.x-frame-options: this header cannot be set; did you mean X-Frame-Options?",
        ),
        *[
            (
                f"http_server_config: {{headers: {{X-XSS-Protection: {value}}}}}",
                ":1: http_server_config.headers.X-XSS-Protection: must be one line of ASCII characters",
            )
            for value in (r'"1\nSet-Cookie: a"', r'"1\0"', "é")
        ],
        *[
            (f"tls_server_config:\n  {setting}", f":2: tls_server_config.{setting.split(':')[0]}: {HAS_NO_EFFECT}")
            for setting in (
                "min_version: TLS13",
                "max_version: TLS12",
                "client_auth_type: NoClientCert",
                "client_ca_file: ca.crt",
                "client_ca: text",
                "client_allowed_sans: [a]",
                "cipher_suites: []",
                "curve_preferences: [X25519]",
                "prefer_server_cipher_suites: true",
            )
        ],
        (
            "tls_server_config: {cert_file: server.crt}",
            ":1: tls_server_config.cert_file: is of no use without key_file or key",
        ),
        (
            "tls_server_config: {key: text}",
            ":1: tls_server_config.key: is of no use without cert_file or cert",
        ),
        (
            f"tls_server_config: {{{CERTIFICATE}, key: text}}",
            ":1: tls_server_config.key: key and key_file exclude each other",
        ),
        *[
            (f"tls_server_config:\n  {name}: ''", f":2: tls_server_config.{name}: must not be empty")
            for name in ("cert", "cert_file", "key", "key_file", "client_ca", "client_ca_file")
        ],
        (
            f"tls_server_config: {{{CERTIFICATE}, client_allowed_sans: [], {VERIFY}}}",
            ":1: tls_server_config.client_allowed_sans: must not be empty",
        ),
        (
            f"tls_server_config: {{{CERTIFICATE}, client_allowed_sans: ['']}}",
            ":1: tls_server_config.client_allowed_sans[0]: must not be empty",
        ),
        ("tls_server_config: {cipher_suites: a}", ":1: tls_server_config.cipher_suites: must be a list"),
        (
            f"tls_server_config: {{{CERTIFICATE}, client_allowed_sans: [a]}}",
            f":1: tls_server_config.client_allowed_sans: {NO_CLIENTS}",
        ),
        (
            f"tls_server_config: {{{CERTIFICATE}, client_auth_type: NoClientCert, client_ca_file: ca.crt}}",
            f":1: tls_server_config.client_ca_file: {NO_CLIENTS}",
        ),
        *[
            (
                f"tls_server_config: {{{CERTIFICATE}, client_auth_type: {policy}}}",
                ":1: tls_server_config.client_auth_type: needs a CA to verify client certificates; add client_ca_file",
            )
            for policy in ("RequireAndVerifyClientCert", "VerifyClientCertIfGiven")
        ],
        *[
            (
                f"tls_server_config: {{{CERTIFICATE}, client_auth_type: {policy}, client_ca_file: ca.crt}}",
                f":1: tls_server_config.client_auth_type: {policy} {UNVERIFIED} {alternative} with client_ca_file",
            )
            for policy, alternative in (
                ("RequestClientCert", "VerifyClientCertIfGiven"),
                ("RequireAnyClientCert", "RequireAndVerifyClientCert"),
                ("RequireClientCert", "RequireAndVerifyClientCert"),
            )
        ],
        (
            "tls_server_config: {client_auth_type: x}",
            ":1: tls_server_config.client_auth_type: must be one of NoClientCert, VerifyClientCertIfGiven, "
            "RequireAndVerifyClientCert",
        ),
        *[
            (
                f"tls_server_config: {{{CERTIFICATE}, {key}: TLS1{n}}}",
                f":1: tls_server_config.{key}: TLS1{n} is not supported because TLS 1.{n} is insecure; "
                "use TLS12 or TLS13",
            )
            for key in ("min_version", "max_version")
            for n in (0, 1)
        ],
        ("tls_server_config: {min_version: 1}", ":1: tls_server_config.min_version: must be one of TLS12, TLS13"),
        (
            f"tls_server_config: {{{CERTIFICATE}, min_version: TLS13, max_version: TLS12}}",
            ":1: tls_server_config.max_version: must not be lower than min_version",
        ),
        (
            "tls_server_config:\n  cipher_suites:\n  - TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048",
            ":3: tls_server_config.cipher_suites[0]: unknown; did you mean TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256?",
        ),
        (
            f"tls_server_config: {{{CERTIFICATE}, max_version: TLS12, cipher_suites: [TLS_AES_128_GCM_SHA256]}}",
            ":1: tls_server_config.cipher_suites: contains no cipher suite of TLS 1.2, which max_version requires",
        ),
        (
            "tls_server_config: {curve_preferences: [CurveP257]}",
            ":1: tls_server_config.curve_preferences[0]: unknown; did you mean CurveP256?",
        ),
        *[
            (f"tls_server_config: {{cert_file: {cert}, key_file: {key}}}", f":1: tls_server_config.{name}: {message}")
            for cert, key, name, message in (
                ("server.crt", "other.key", "key_file", "is not the key of the certificate"),
                ("empty.pem", "server.key", "cert_file", "contains no certificate in PEM format"),
                ("text.pem", "server.key", "cert_file", "contains no certificate in PEM format"),
                ("server.key", "server.key", "cert_file", "contains no certificate in PEM format"),
                ("damaged.crt", "server.key", "cert_file", "is not in PEM format"),
                ("server.crt", "empty.pem", "key_file", "contains no private key in PEM format"),
                ("server.crt", "server.crt", "key_file", "contains no private key in PEM format"),
                ("server.crt", "damaged.key", "key_file", "is not in PEM format"),
                (
                    "server.crt",
                    "encrypted.key",
                    "key_file",
                    "is encrypted, and the exporter has no password for it; decrypt it with `openssl pkey`",
                ),
                (r'"a\0b"', "server.key", "cert_file", "is not the path of a file"),
            )
        ],
        (
            f"tls_server_config: {{{CERTIFICATE}, {VERIFY}, client_ca_file: empty.pem}}",
            ":1: tls_server_config.client_ca_file: contains no certificate in PEM format",
        ),
        (
            f"tls_server_config: {{{CERTIFICATE}, {VERIFY}, client_ca: text}}",
            ":1: tls_server_config.client_ca: contains no certificate in PEM format",
        ),
        (
            f"tls_server_config: {{{CERTIFICATE}, {VERIFY}, client_ca_file: damaged.crt}}",
            ":1: tls_server_config.client_ca_file: is not in PEM format",
        ),
    ],
)
def test_problems_name_line_and_key(folder: Path, text: str, problem: str) -> None:
    assert problems(folder, text) == [problem]


@pytest.mark.parametrize("key", ["cert_file", "key_file", "client_ca_file"])
def test_a_file_that_cannot_be_read_is_named(folder: Path, key: str) -> None:
    files = {"cert_file": "server.crt", "key_file": "server.key", "client_ca_file": "ca.crt"}
    for name, reason in (("none.pem", "No such file or directory"), (".", "Is a directory")):
        text = "".join(f"  {k}: {name if k == key else file}\n" for k, file in files.items())
        line = list(files).index(key) + 2
        assert problems(folder, f"tls_server_config:\n{text}  {VERIFY}") == [
            f":{line}: tls_server_config.{key}: cannot read {folder / name}: {reason}"
        ]


def test_all_problems_are_reported_at_once(folder: Path) -> None:
    text = "rate_limit:\n  burst: x\ntls_server_config:\n  min_version: TLS9\n  cert_fiel: a\n"
    assert problems(folder, text) == [
        ":2: rate_limit.burst: must be a whole number, 0 or greater",
        ":4: tls_server_config.min_version: unknown; did you mean TLS13?",
        ":5: tls_server_config.cert_fiel: unknown key; did you mean cert_file?",
    ]


def test_problems_between_keys_are_in_the_order_of_the_file(folder: Path) -> None:
    text = (
        "rate_limit: {burst: 1}\ntls_server_config:\n  client_ca_file: a\n  min_version: TLS12\n  cipher_suites: []\n"
    )
    assert [problem.split(": ")[1] for problem in problems(folder, text)] == [
        "rate_limit.burst",
        "tls_server_config.client_ca_file",
        "tls_server_config.min_version",
        "tls_server_config.cipher_suites",
    ]


def test_a_file_that_cannot_be_read_at_all(tmp_path: Path) -> None:
    with pytest.raises(WebConfigError, match=r"none.yml: cannot be read: No such file or directory"):
        load(tmp_path / "none.yml")
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WebConfigError, match=r"binary.yml: is not UTF-8 text"):
        load(tmp_path / "binary.yml")


def test_several_curves_need_a_newer_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"tls_server_config: {{{CERTIFICATE}, curve_preferences: [X25519, CurveP256]}}"
    groups: list[str] = []
    monkeypatch.delattr(ssl.SSLContext, "set_groups", raising=False)
    assert problems(folder, text) == [
        ":1: tls_server_config.curve_preferences: must contain one curve only; "
        "Python's ssl module takes several from Python 3.15 on"
    ]
    monkeypatch.setattr(ssl.SSLContext, "set_groups", lambda _context, names: groups.append(names), raising=False)
    assert loaded(folder, text).tls
    assert groups == ["X25519:prime256v1"]


@pytest.mark.parametrize(
    ("function", "error", "setting"),
    [
        ("set_ecdh_curve", ValueError, "curve_preferences: [X25519]"),
        ("set_ciphers", ssl.SSLError, "cipher_suites: [TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]"),
    ],
)
def test_names_that_openssl_does_not_know(
    folder: Path, function: str, error: type[Exception], setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in FIPS mode."""

    def fail(_context: ssl.SSLContext, name: str) -> None:
        raise error(name)

    monkeypatch.setattr(ssl.SSLContext, function, fail)
    assert problems(folder, f"tls_server_config: {{{CERTIFICATE}, {setting}}}") == [
        f":1: tls_server_config.{setting.split(':', maxsplit=1)[0]}: is not supported by {ssl.OPENSSL_VERSION}"
    ]


def test_secrets_are_neither_in_problems_nor_in_representations(folder: Path, server: Certificate) -> None:
    key = "".join(f"    {line}\n" for line in server.key.decode().splitlines())
    secret_line = server.key.decode().splitlines()[1]
    inline = f"tls_server_config:\n  cert_file: server.crt\n  key: |\n{key}"
    users = f"basic_auth_users:\n  alice: {HASH}\n  bob: hunter2\n"
    config = loaded(folder, f"{inline}basic_auth_users: {{alice: {HASH}}}\n")
    wrong_certificate = inline.replace("server.crt", "other.crt")
    texts = [repr(config), str(config), *problems(folder, inline + users), *problems(folder, wrong_certificate)]
    assert config.tls
    assert config.users
    for text in texts:
        assert secret_line not in text
        assert HASH not in text
        assert "hunter2" not in text


ALL_CIPHERS = """
    [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256,
    TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
    TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA]"""
CA = "client_ca_file: ca.crt"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "basic_auth_users: {}",
        f"basic_auth_users: {{alice: {HASH}, '007': {HASH}}}",
        f"tls_server_config: {{{CERTIFICATE}}}",
        f"tls_server_config: {{{CERTIFICATE}, min_version: TLS12, max_version: TLS13}}",
        f"tls_server_config: {{{CERTIFICATE}, min_version: TLS13, curve_preferences: [CurveP521]}}",
        f"tls_server_config: {{{CERTIFICATE}, cipher_suites: {ALL_CIPHERS}}}",
        f"tls_server_config: {{{CERTIFICATE}, cipher_suites: [], prefer_server_cipher_suites: false}}",
        f"tls_server_config: {{{CERTIFICATE}, client_auth_type: NoClientCert}}",
        f"tls_server_config: {{{CERTIFICATE}, {CA}, client_auth_type: VerifyClientCertIfGiven}}",
        f"tls_server_config: {{{CERTIFICATE}, {CA}, {VERIFY}}}",
        f"http_server_config: {{http2: false}}\ntls_server_config: {{{CERTIFICATE}}}",
        "http_server_config: {headers: {X-Frame-Options: deny, X-XSS-Protection: 1, X-Content-Type-Options: nosniff}}",
        "http_server_config: {headers: {Content-Security-Policy: ''}}",
    ],
)
def test_promtool_accepts_what_is_accepted(folder: Path, text: str) -> None:
    loaded(folder, text)
    assert promtool_accepts(folder, text)


@pytest.mark.parametrize(
    "text",
    [
        "junk",
        "tls_server_config: {cert_filse: server.crt}",
        "tls_server_config: {cert_file: '', key_file: server.key}",
        "tls_server_config: {cert_file: server.crt, key_file: ''}",
        "tls_server_config: {cert_file: none.crt, key_file: server.key}",
        "tls_server_config: {cert_file: server.crt, key_file: other.key}",
        "tls_server_config: {cert_file: server.crt}",
        f"tls_server_config: {{{CERTIFICATE}, {CA}}}",
        f"tls_server_config: {{{CERTIFICATE}, client_ca_file: none.crt, {VERIFY}}}",
        f"tls_server_config: {{{CERTIFICATE}, client_auth_type: Other}}",
        f"tls_server_config: {{{CERTIFICATE}, cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048]}}",
        f"tls_server_config: {{{CERTIFICATE}, curve_preferences: [CurveP257]}}",
        f"tls_server_config: {{{CERTIFICATE}, min_version: TLS111}}",
        "tls_server_config: {cert_file: server.crt, key_file: encrypted.key}",
        "http_server_config: {headers: {X-Frame-Options: foo}}",
        "http_server_config: {headers: {X-Content-Type-Options: sniff}}",
        "http_server_config: {headers: {Content-Type: foo}}",
        "http_server_config: {http2: maybe}",
        "basic_auth_users: [alice]",
        "basic_auth_users: {}\nbasic_auth_users: {}",
    ],
)
def test_promtool_rejects_what_is_rejected(folder: Path, text: str) -> None:
    assert problems(folder, text)
    assert not promtool_accepts(folder, text)


def promtool_accepts(folder: Path, text: str) -> bool:
    file = folder / "web.yml"
    file.write_text(text)
    promtool = shutil.which("promtool")
    assert promtool
    result = subprocess.run([promtool, "check", "web-config", file], capture_output=True, text=True, check=False)  # noqa: S603
    assert result.returncode in (0, 1), result.stderr
    assert "flag" not in result.stderr
    return result.returncode == 0
