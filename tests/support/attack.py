"""Hostile clients of a web server: run with HOST and PORT, it attacks until it is terminated."""

import contextlib
import random
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

IDLE, HALF_SENT, SLOW = 1000, 400, 50  # connections
PAUSE = 0.03  # seconds between two bad requests: more than 1,000 a minute
SLOW_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
BAD_REQUESTS = (
    b"\r\n\r\n\r\nnonsense\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST /metrics HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET /%ff%00%0d%0a HTTP/1.1\r\nHost: \xff\r\n\r\n" * 30,
)
FUZZED = (
    b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\n\r\n",
    b"POST /-/reload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\nx: y\r\n\r\n",
    b"HEAD /-/ready HTTP/1.0\r\nAuthorization: Basic YTpi\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /api/v1/status?a=%20 HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nExpect: 100-continue\r\n\r\n",
)

Attack = Callable[[], None]


@dataclass
class Crowd:
    """Connections that are opened again when they have been closed."""

    open: Callable[[], socket.socket]
    size: int
    poke: Callable[[socket.socket], object]
    connections: list[socket.socket] = field(default_factory=list)

    def attack(self) -> None:
        """Use every connection, and replace those that are closed."""
        self.connections = [connection for connection in self.connections if self._is_open(connection)]
        while len(self.connections) < self.size:
            with contextlib.suppress(OSError):
                self.connections.append(self.open())

    def close(self) -> None:
        """Close them."""
        for connection in self.connections:
            connection.close()

    def _is_open(self, connection: socket.socket) -> bool:
        try:
            self.poke(connection)
            return True
        except (BlockingIOError, TimeoutError):
            return True
        except OSError:
            connection.close()
            return False


def connect(address: tuple[str, int], first: bytes = b"", receive_buffer: int = 0) -> socket.socket:
    """A connection that does not block, over which bytes were sent."""
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(10)
    try:
        connection.connect(address)
        connection.sendall(first)
    except OSError:
        connection.close()
        raise
    connection.setblocking(False)
    return connection


def receive(connection: socket.socket, size: int) -> None:
    """Read what has arrived. Raises OSError if the connection is closed."""
    if not connection.recv(size):
        raise ConnectionResetError


def send_and_read(address: tuple[str, int], data: bytes) -> None:
    """Send bytes over a new connection and read a bit of the response, if there is one."""
    with contextlib.suppress(OSError), connect(address, data) as connection:
        connection.settimeout(0.2)
        connection.recv(1000)


def mutated(template: bytes, choice: random.Random) -> bytes:
    """A request with some bytes changed, repeated or missing."""
    data = bytearray(template)
    for _ in range(choice.randint(1, 5)):
        position = choice.randrange(len(data) + 1)
        kind = choice.randrange(4)
        if kind == 0:
            data[position : position + 1] = bytes([choice.randrange(256)])
        elif kind == 1:
            data[position:position] = choice.choice(FUZZED)[: choice.randrange(80)]
        elif kind == 2:
            del data[position : position + choice.randrange(8)]
        else:
            data[position:position] = choice.choice((b"\r\n", b"\0", b"\xff", b" ", b":", b"a" * 3000))
    return bytes(data)


def attacks(address: tuple[str, int]) -> tuple[list[Crowd], list[Attack]]:
    """The connections that are kept, and what is done in addition, again and again."""
    choice = random.Random(7)
    crowds = [
        Crowd(lambda: connect(address), IDLE, lambda connection: receive(connection, 1)),
        Crowd(lambda: connect(address, b"GET /metrics HTTP/1.1\r\nHo"), HALF_SENT, lambda c: c.send(b"x")),
        Crowd(lambda: connect(address, SLOW_REQUEST, 4096), SLOW, lambda c: receive(c, 100)),
    ]
    return crowds, [
        lambda: send_and_read(address, choice.choice(BAD_REQUESTS)),
        lambda: send_and_read(address, mutated(choice.choice(FUZZED), choice)),
    ]


def repeated(attack: Attack, pause: float, end: threading.Event) -> threading.Thread:
    """Repeat an attack in a thread until the end."""

    def run() -> None:
        while not end.wait(pause):
            attack()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@contextlib.contextmanager
def under_attack(address: tuple[str, int]) -> Iterator[None]:
    """Attack an address until the block ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    crowds, others = attacks(address)
    end = threading.Event()
    threads = [repeated(crowd.attack, 1, end) for crowd in crowds]
    threads += [repeated(attack, PAUSE, end) for attack in others]
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join()
        for crowd in crowds:
            crowd.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


if __name__ == "__main__":
    with under_attack((sys.argv[1], int(sys.argv[2]))):
        signal.sigwait({signal.SIGTERM})
