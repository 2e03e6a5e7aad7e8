"""HTTP: the application and the server that runs it."""

from exporter.web.app import application
from exporter.web.server import ListenError, WebServer, split_address

__all__ = ["ListenError", "WebServer", "application", "split_address"]
