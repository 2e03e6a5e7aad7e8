"""HTTP: the application and the server that runs it."""

from exporter.web.app import application
from exporter.web.authentication import Authentication
from exporter.web.config import WebConfigError, WebConfigFile
from exporter.web.server import ListenError, WebServer, split_address

__all__ = [
    "Authentication",
    "ListenError",
    "WebConfigError",
    "WebConfigFile",
    "WebServer",
    "application",
    "split_address",
]
