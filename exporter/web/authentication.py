"""Rate limit, response headers and basic authentication, as in the web configuration file."""

import base64
import binascii
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.web.config import RateLimit, WebConfig, WebConfigFile
from exporter.web.passwords import PasswordVerifier

MonotonicClock = Callable[[], float]


class Authentication:
    """ASGI middleware that applies the web configuration in force at the time of each request."""

    def __init__(self, app: ASGIApp, file: WebConfigFile, monotonic: MonotonicClock = time.monotonic) -> None:
        self._app, self._file, self._monotonic = app, file, monotonic
        self._passwords = PasswordVerifier()
        self._bucket: TokenBucket | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request. Requests beyond the rate limit are rejected before their password is verified."""
        if scope["type"] != "http":
            return
        config = self._file.current
        if not self._within_rate(config.rate_limit):
            await PlainTextResponse("Too Many Requests\n", 429)(scope, receive, send)
            return
        send = _with_headers(send, config)
        response = await self._rejection(scope, config)
        await (response or self._app)(scope, receive, send)

    def _within_rate(self, rate_limit: RateLimit | None) -> bool:
        if rate_limit is None:
            self._bucket = None
            return True
        if self._bucket is None or self._bucket.rate_limit != rate_limit:
            self._bucket = TokenBucket(rate_limit, self._monotonic)
        return self._bucket.take()

    async def _rejection(self, scope: Scope, config: WebConfig) -> Response | None:
        """The response to a request without a valid password; None if it has one or needs none."""
        if not config.users:
            return None
        credentials = parse_credentials(Headers(scope=scope).get("authorization", ""))
        client = scope["client"][0] if scope.get("client") else ""
        if credentials and await self._passwords.verify(config.users, *credentials, client):
            return None
        return PlainTextResponse("Unauthorized\n", 401, {"WWW-Authenticate": "Basic"})


class TokenBucket:
    """A rate limit: a request takes a token. The bucket is full at first, and gets a token per interval."""

    def __init__(self, rate_limit: RateLimit, monotonic: MonotonicClock) -> None:
        self.rate_limit, self._monotonic = rate_limit, monotonic
        self._tokens, self._filled = float(rate_limit.burst), monotonic()

    def take(self) -> bool:
        """Take a token, if there is one."""
        now = self._monotonic()
        new_tokens = (now - self._filled) / self.rate_limit.interval
        self._tokens, self._filled = min(self.rate_limit.burst, self._tokens + new_tokens), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def parse_credentials(authorization: str) -> tuple[bytes, bytes] | None:
    """User and password of an Authorization header; None if it is not one of basic authentication (RFC 7617)."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        return None
    user, colon, password = decoded.partition(b":")
    return (user, password) if colon else None


def _with_headers(send: Send, config: WebConfig) -> Send:
    """Add the configured headers to a response; they replace its headers of the same names."""
    if not config.headers:
        return send
    names = {name for name, _ in config.headers}

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in names]
            message = {**message, "headers": [*kept, *config.headers]}
        await send(message)

    return send_with_headers
