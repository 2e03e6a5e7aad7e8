"""The command `healthcheck`, for health checks of containers.

Container engines run it every few seconds. It imports little, so that it needs a tenth of the CPU time of the others.
"""

import argparse
import http.client
import ssl
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from exporter.cli.examples import NAME as PROGRAM
from exporter.cli.parser import FlagError, Parser
from exporter.cli.terminal import printable, write
from exporter.errors import ExitCode, UserError

NAME = "healthcheck"
SUMMARY = "ask the running exporter whether it is healthy, for containers"
PATH = "/-/healthy"
TIMEOUT = 5.0  # seconds that the exporter may take to answer
MAX_BODY = 200  # bytes of a response to show
HINT = "with TLS, users or another address, start the exporter with --web.health-address and name that with --url"


class UnhealthyError(UserError):
    """The exporter cannot be reached, or is not healthy; says why."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command to its parser."""
    parser.add_argument(
        "--url",
        type=_exporter_url,
        default="http://127.0.0.1:10853",
        metavar="URL",
        help="URL of the exporter, with the path of --web.external-url (default: %(default)s)",
    )


def parse_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """The parsed flags, without the parser of the other commands. Ends the program for --help and invalid flags."""
    parser = Parser(prog=f"{PROGRAM} {NAME}")
    parser.set_command(NAME, healthcheck, SUMMARY)
    add_flags(parser)
    try:
        return parser.parse_args(arguments)
    except FlagError as error:
        error.end()


def _exporter_url(text: str) -> str:
    """`http(s)://HOST[:PORT][/PATH]`, without the slash or the path of the endpoint at its end."""
    try:
        url = urlsplit(text)
        valid = url.scheme in ("http", "https") and url.hostname and url.port != 0 and url.username is None
    except ValueError:
        valid = False
    if not valid or url.query or url.fragment or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid URL; write http(s)://HOST[:PORT][/PATH]")
    return text.rstrip("/").removesuffix(PATH)


def healthcheck(options: argparse.Namespace) -> ExitCode:
    """Ask a running exporter whether it is healthy. Raises UnhealthyError.

    No proxy is used and no redirect followed: what answers is the exporter itself.
    """
    url = f"{options.url}{PATH}"
    try:
        status, body = _get(url)
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise UnhealthyError(f"{url}: {_reason(error)}; {HINT}") from error
    if status != HTTPStatus.OK:
        hint = "" if status == HTTPStatus.SERVICE_UNAVAILABLE else f"; {HINT}"
        raise UnhealthyError(f"{url}: {status} {body}{hint}")
    write(f"{body}\n")
    return ExitCode.OK


def _get(url: str) -> tuple[int, str]:
    """Status and first line of a response. Raises OSError, HTTPException, and UnicodeError for the host name."""
    parts = urlsplit(url)
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connect(parts.hostname or "", parts.port, timeout=TIMEOUT)
    try:
        connection.request("GET", quote(parts.path, safe="/%"), headers={"Connection": "close"})
        response = connection.getresponse()
        lines = response.read(MAX_BODY).decode(errors="replace").splitlines()
        return response.status, printable(lines[0] if lines else response.reason)
    finally:
        connection.close()


def _reason(error: Exception) -> str:
    """Why there is no response, as text."""
    match error:
        case ssl.SSLError():
            return f"TLS failed: {getattr(error, 'verify_message', None) or error.reason}"
        case TimeoutError():
            return f"no response within {TIMEOUT:g} s"
        case http.client.RemoteDisconnected() | ConnectionResetError():
            return "the connection was closed without a response"
        case OSError():
            return error.strerror or str(error)
        case UnicodeError():
            return "not a valid host name"
    return "the response is not HTTP"
