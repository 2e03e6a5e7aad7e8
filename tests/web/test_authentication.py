"""Rate limit, headers and basic authentication, over real sockets."""

import base64
import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt
import pytest
from starlette.types import Receive, Scope, Send

from exporter.web import Authentication, WebConfigFile
from exporter.web.authentication import parse_credentials
from tests.support.web import port as port_of
from tests.support.web import serving


def hashed(password: bytes) -> str:
    return bcrypt.hashpw(password, bcrypt.gensalt(4)).decode()


ALICE, BOB = hashed(b"alice123"), hashed("pässwörd:1".encode())
USERS = f"basic_auth_users:\n  alice: {ALICE}\n  bob: {BOB}\n"


class Application:
    """Counts its requests."""

    requests = 0

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Respond with 200 and two headers."""
        self.requests += 1
        headers = [(b"content-length", b"2"), (b"X-Frame-Options", b"application"), (b"x-other", b"application")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


@dataclass
class Clock:
    """A clock that tests move."""

    seconds: float = 0

    def __call__(self) -> float:
        """Now."""
        return self.seconds


@dataclass
class Server:
    """A running server with a web configuration file."""

    path: Path
    web_config: WebConfigFile
    port: int = 0
    application: Application = field(default_factory=Application)
    clock: Clock = field(default_factory=Clock)

    def write(self, text: str) -> None:
        """Replace the web configuration file, and reload it."""
        self.path.write_text(text)
        self.web_config.reload()
        assert self.web_config.successful

    def get(
        self, user: str | None = None, password: str = "", method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a response."""
        if user is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, "/", headers=headers)
        with connection.getresponse() as response:
            answer = response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        connection.close()
        return answer

    def status(self, user: str | None = None, password: str = "", **headers: str) -> int:
        """The status of a response."""
        return self.get(user, password, **headers)[0]


@contextmanager
def running(folder: Path, text: str) -> Iterator[Server]:
    path = folder / "web.yml"
    path.write_text(text)
    server = Server(path, WebConfigFile(path))
    with serving(Authentication(server.application, server.web_config, server.clock)) as web_server:
        server.port = port_of(web_server)
        yield server


def test_without_users_nobody_is_asked_for_a_password(tmp_path: Path) -> None:
    with running(tmp_path, "") as server:
        assert [server.status(), server.status("alice", "wrong")] == [200, 200]


def test_users_and_passwords(tmp_path: Path) -> None:
    with running(tmp_path, USERS) as server:
        for _ in range(2):  # cold and cached
            assert server.status("alice", "alice123") == 200
            assert server.status("bob", "pässwörd:1") == 200
            for user, password in (
                ("alice", "alice1234"),
                ("alice", ""),
                ("alice", "pässwörd:1"),
                ("Alice", "alice123"),
                ("carol", "alice123"),
                ("carol", "fakepassword"),
                ("", ""),
                ("", "alice123"),
                ("alice" + ALICE, "alice123"),
                ("alice", ALICE + "alice123"),
                ("alice", "alice123" + "x" * 100),
                ("alice", "x" * 20_000),
            ):
                assert server.status(user, password) == 401
        assert server.application.requests == 4


def test_the_response_to_a_request_without_a_password(tmp_path: Path) -> None:
    with running(tmp_path, USERS) as server:
        status, headers, body = server.get()
        assert (status, headers["www-authenticate"], body) == (401, "Basic", b"Unauthorized\n")
        assert server.get(method="HEAD")[::2] == (401, b"")
        assert server.get(method="POST")[0] == 401
        assert server.application.requests == 0


def test_authorization_headers_that_are_not_of_basic_authentication(tmp_path: Path) -> None:
    valid = base64.b64encode(b"alice:alice123").decode()
    with running(tmp_path, USERS) as server:
        assert server.status(Authorization=f"basic {valid}") == 200
        for header in (
            "",
            "Basic",
            "Basic ",
            valid,
            f"Bearer {valid}",
            f"Basic {valid[:-1]}",
            f"Basic {valid}!",
            f"Basic  {valid}",
            "Basic é",
            "Basic " + base64.b64encode(b"alice").decode(),
            "Basic " + base64.b64encode(b"\xff\xfe:\0").decode(),
        ):
            assert server.status(Authorization=header) == 401
        assert server.application.requests == 1


def test_users_change_without_a_restart(tmp_path: Path) -> None:
    with running(tmp_path, USERS) as server:
        assert [server.status("alice", "alice123"), server.status("alice", "new")] == [200, 401]
        server.write(USERS.replace(ALICE, hashed(b"new")))
        assert [server.status("alice", "alice123"), server.status("alice", "new")] == [401, 200]
        server.write(f"basic_auth_users:\n  bob: {BOB}\n")
        assert [server.status("alice", "new"), server.status("bob", "pässwörd:1")] == [401, 200]
        server.write("{}")
        assert server.status() == 200


def test_150_valid_and_150_invalid_requests_in_parallel(tmp_path: Path) -> None:
    """As in the toolkit's test of its cache."""
    found: Counter[tuple[str, int]] = Counter()
    start = threading.Barrier(300)

    def request(password: str) -> None:
        start.wait(20)
        found[(password, server.status("alice", password))] += 1

    with running(tmp_path, USERS) as server:
        passwords = ["alice123", "alice1234"] * 150
        threads = [threading.Thread(target=request, args=(password,)) for password in passwords]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {("alice123", 200): 150, ("alice1234", 401): 150}
    assert server.application.requests == 150


HEADERS = """
http_server_config:
  headers:
    X-Frame-Options: deny
    X-XSS-Protection: 1
    Strict-Transport-Security: max-age=31536000; includeSubDomains
"""


def test_headers_are_in_every_response_and_replace_those_of_the_application(tmp_path: Path) -> None:
    with running(tmp_path, USERS + HEADERS) as server:
        for user, status in (("alice", 200), ("carol", 401)):
            found, headers, _ = server.get(user, "alice123")
            assert found == status
            assert headers["x-frame-options"] == "deny"
            assert headers["x-xss-protection"] == "1"
            assert headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
        assert server.get("alice", "alice123")[1]["x-other"] == "application"
        server.write(USERS)
        assert server.get("alice", "alice123")[1]["x-frame-options"] == "application"


def test_requests_beyond_the_rate_limit_get_429(tmp_path: Path) -> None:
    with running(tmp_path, "rate_limit: {interval: 10s, burst: 3}") as server:

        def allowed() -> int:
            """The number of requests until one is rejected."""
            return next(number for number in range(100) if server.status() == 429)

        assert allowed() == 3
        server.clock.seconds += 9
        assert allowed() == 0
        server.clock.seconds += 1
        assert allowed() == 1
        server.clock.seconds += 25
        assert allowed() == 2
        server.clock.seconds += 5  # half of a token was left
        assert allowed() == 1
        server.clock.seconds += 1000
        assert allowed() == 3
        assert server.application.requests == 10


def test_a_rate_limit_comes_before_headers_and_passwords(tmp_path: Path) -> None:
    with running(tmp_path, USERS + HEADERS + "rate_limit: {interval: 1h, burst: 1}") as server:
        assert server.status("alice", "wrong") == 401
        status, headers, body = server.get("alice", "alice123")
        assert (status, body) == (429, b"Too Many Requests\n")
        assert "x-frame-options" not in headers
        assert "www-authenticate" not in headers


@pytest.mark.parametrize(("text", "status"), [("{interval: 0, burst: 0}", 200), ("{interval: 1s, burst: 0}", 429)])
def test_limits_of_zero(tmp_path: Path, text: str, status: int) -> None:
    with running(tmp_path, f"rate_limit: {text}") as server:
        assert {server.status() for _ in range(11)} == {status}


def test_a_reload_keeps_the_state_of_an_unchanged_rate_limit(tmp_path: Path) -> None:
    limit = "rate_limit: {interval: 1h, burst: 1}\n"
    with running(tmp_path, limit) as server:
        assert [server.status(), server.status()] == [200, 429]
        server.write(limit + HEADERS)
        assert server.status() == 429
        server.write(limit.replace("1h", "2h"))
        assert [server.status(), server.status()] == [200, 429]
        server.write("{}")
        assert server.status() == 200
        server.write(limit)
        assert [server.status(), server.status()] == [200, 429]


@pytest.mark.parametrize(
    ("decoded", "expected"),
    [
        (b"alice:secret", (b"alice", b"secret")),
        (b"alice:a:b", (b"alice", b"a:b")),
        (b":", (b"", b"")),
        (b"\xff:\x00", (b"\xff", b"\x00")),
        (b"alice", None),
    ],
)
def test_credentials(decoded: bytes, expected: tuple[bytes, bytes] | None) -> None:
    assert parse_credentials("Basic " + base64.b64encode(decoded).decode()) == expected
