"""A server for ASGI applications that asks for the TLS context of each connection."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
import uvloop
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState


@contextmanager
def serving(app: ASGIApp, tls_context: Callable[[], ssl.SSLContext | None] = lambda: None) -> Iterator[int]:
    """Serve on a free loopback port until the block ends; the port."""
    loop = uvloop.new_event_loop()
    config = uvicorn.Config(app, lifespan="off", log_config=None, ws="none", interface="asgi3")
    state = ServerState()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
    listener.setblocking(False)

    async def accept() -> None:
        while True:
            accepted, _ = await loop.sock_accept(listener)
            opening = loop.create_task(
                loop.connect_accepted_socket(
                    lambda: HttpToolsProtocol(config, state, {}, loop), accepted, ssl=tls_context()
                )
            )
            opening.add_done_callback(lambda opening: opening.exception())

    task = loop.create_task(accept())

    def run() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        finally:
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        listener.close()
