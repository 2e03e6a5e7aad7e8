"""Listening sockets: by address, or passed by systemd."""

import errno
import ipaddress
import os
import socket
from collections.abc import Mapping

from exporter.errors import UserError

BACKLOG = 4096  # connections that wait to be accepted; the kernel may allow fewer
FIRST_PASSED_FD = 3  # of sd_listen_fds(3)


class ListenError(UserError):
    """Cannot listen on an address; says why and what to do."""


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; an empty host means every interface. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} is not a valid listen address; write HOST:PORT, or :PORT for every interface")
    return host.removeprefix("[").removesuffix("]"), int(port)


def listen(address: str, flag: str = "--web.listen-address") -> socket.socket:
    """Return a socket that listens on `HOST:PORT`; without a host, on every interface.

    Raises ListenError, which names the flag.
    """
    host, port = split_address(address)
    try:
        if host:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return socket.create_server((host, port), family=family, backlog=BACKLOG)
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
        return socket.create_server(("", port), backlog=BACKLOG)
    except OSError as error:
        hint = f"another process listens there; stop it, or choose another port with {flag}"
        reason = hint if error.errno == errno.EADDRINUSE else str(error.strerror or error)
        raise ListenError(f"cannot listen on {address}: {reason}") from error


def passed_sockets(environment: Mapping[str, str] = os.environ, first: int = FIRST_PASSED_FD) -> list[socket.socket]:
    """Return the sockets that systemd has passed to this process, see sd_listen_fds(3). Raises ListenError."""
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal() or not int(count):
        raise ListenError("--web.systemd-socket: no socket was passed to this process; start it from a .socket unit")
    return [_passed_socket(number) for number in range(first, first + int(count))]


def _passed_socket(number: int) -> socket.socket:
    problem = f"--web.systemd-socket: file descriptor {number}"
    try:
        passed = socket.socket(fileno=number)
    except OSError as error:
        raise ListenError(f"{problem}: {error.strerror}") from error
    passed.set_inheritable(False)
    listening = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if passed.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX) or not listening:
        raise ListenError(f"{problem} is not a listening stream socket; use ListenStream= and Accept=no")
    return passed


def listener_url(listener: socket.socket, scheme: str, path: str) -> str:
    """Return the URL of a path that is served on a socket; of a Unix socket, the path of the socket."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:  # every interface
        host = "localhost"
    elif ":" in host:
        host = f"[{host}]"
    return f"{scheme}://{host}:{port}{path}"
