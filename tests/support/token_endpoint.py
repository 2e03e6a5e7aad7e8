"""A server with all endpoints that issue access tokens: metadata server, OAuth, STS and IAM Credentials."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

METADATA_ACCOUNT = "workload@shop.iam.gserviceaccount.com"
METADATA = "/computeMetadata/v1/instance/service-accounts/default/"
KEY_ACCOUNT = "exporter@shop.iam.gserviceaccount.com"
SUBJECT_TOKEN = "subject-token-secret"  # noqa: S105 (of this test)


@cache
def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def service_account_key(token_url: str) -> dict[str, str]:
    """The content of a key file whose tokens are issued at a URL."""
    key = {"type": "service_account", "client_email": KEY_ACCOUNT, "private_key": _private_key()}
    return {**key, "token_uri": token_url}


@dataclass(frozen=True)
class Response:
    """A response: what the server sends for a path."""

    status: int
    body: str
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class TokenEndpoint:
    """The server. Every token is a new one, valid for `lifetime` seconds."""

    lifetime: int = 3600
    failures: dict[str, Response] = field(default_factory=dict)  # by the end of the path
    hanging: str | None = None  # the end of the path of requests that are not responded to
    before_token: Callable[[], object] = lambda: None
    failures_left: int = 1_000_000  # then failures end
    echo: str | None = None  # the end of the path of requests whose response has status 400 and quotes the request
    paths: list[str] = field(default_factory=list)  # of the requests so far
    tokens: list[str] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads, self._server.block_on_close = True, False
        self.address = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.address}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse connections from now on."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._server.shutdown()
            self._server.server_close()

    def respond(self, path: str, request: str) -> Response | None:
        """The response for a path; None for none."""
        self.paths.append(path)
        if self.hanging and path.endswith(self.hanging):
            self._stopping.wait()
            return None
        if self.echo and path.endswith(self.echo):
            return Response(400, request, "text/plain")
        for end, failure in self.failures.items():
            if path.endswith(end) and self.failures_left > 0:
                self.failures_left -= 1
                return failure
        match path:
            case "/":
                return Response(200, "computeMetadata/", "text/plain")
            case "/computeMetadata/v1/project/project-id":
                return Response(200, "shop", "text/plain")
            case "/computeMetadata/v1/universe/universe-domain":
                return Response(404, "", "text/plain")
            case "/subject-token":
                return Response(200, json.dumps({"id_token": SUBJECT_TOKEN}))
            case _ if path.startswith(METADATA.removesuffix("default/")) and path.endswith("/"):
                return Response(200, json.dumps({"email": METADATA_ACCOUNT, "scopes": []}))
        self.before_token()
        return Response(200, json.dumps(self._token(path)))

    def _token(self, path: str) -> dict[str, object]:
        token = f"access-token-secret-{len(self.tokens) + 1}"
        self.tokens.append(token)
        if path.endswith(":generateAccessToken"):
            expiry = datetime.now(UTC) + timedelta(seconds=self.lifetime)
            return {"accessToken": token, "expireTime": f"{expiry:%Y-%m-%dT%H:%M:%SZ}"}
        return {"access_token": token, "expires_in": self.lifetime, "token_type": "Bearer"}

    def _handler(endpoint) -> type[BaseHTTPRequestHandler]:  # noqa: N805 (the handler's self is another)
        class Handler(BaseHTTPRequestHandler):
            protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                request = f"{self.headers}{self.rfile.read(length).decode()}"
                response = endpoint.respond(urlsplit(self.path).path, request)
                if response is None:
                    self.close_connection = True
                    return
                body = response.body.encode()
                self.send_response(response.status)
                headers = {"Content-Type": response.content_type, "Metadata-Flavor": "Google", **response.headers}
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_args: object) -> None:
                """Log nothing."""

        return Handler
