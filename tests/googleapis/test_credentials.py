"""Credentials: errors with advice, and signed requests."""

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from exporter.config import CloudSql
from exporter.googleapis import CredentialsError, GoogleApis
from exporter.scan.source import Page
from tests.googleapis.helpers import TIMEOUT, google_source, ignore, retrying, serve


@pytest.mark.parametrize(("content", "message"), [(None, "No such file"), ("{", "Expecting"), ("{}", "fields")])
def test_unusable_key_file_is_reported_with_reason(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "key.json"
    if content is not None:
        file.write_text(content)
    settings = CloudSql.model_validate({"credentials": {"file": str(file)}})
    with pytest.raises(
        CredentialsError, match=r"key\.json cannot be used.*check cloudsql\.credentials\.file"
    ) as raised:
        GoogleApis(settings, TIMEOUT, 8, retrying(), ignore)
    assert message in str(raised.value)


def test_missing_default_credentials_are_reported_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(CredentialsError, match="gcloud auth application-default login"):
        GoogleApis(CloudSql(), TIMEOUT, 8, retrying(), ignore)


def test_key_file_signs_requests_with_one_token(tmp_path: Path) -> None:
    """The token endpoint of the key is a server of this test."""
    requests: list[str] = []

    class GoogleServer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            requests.append("token")
            self._reply(b'{"access_token": "secret-token", "expires_in": 3600, "token_type": "Bearer"}')

        def do_GET(self) -> None:
            requests.append(self.headers["Authorization"])
            self._reply(b'{"kind": "sql#instancesList"}')

        def _reply(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Log nothing."""

    private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with serve(GoogleServer) as url:
        file = tmp_path / "key.json"
        key = {"type": "service_account", "client_email": "a@b.iam.gserviceaccount.com", "private_key": pem}
        file.write_text(json.dumps({**key, "private_key_id": "1", "token_uri": f"{url}token", "project_id": "b"}))
        source = google_source(url, credentials={"file": str(file)})
        for _ in range(2):
            assert list(source.instances("museum")) == [Page([])]
    assert requests == ["token", "Bearer secret-token", "Bearer secret-token"]
